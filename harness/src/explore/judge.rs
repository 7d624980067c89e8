//! Judges every execution of a search by rules, and keeps the first violation of each check.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::reached::Reached;
use super::search::{Execution, Go, Visitor, choices};
use super::volatile::Volatile;
use super::world::{Choice, Lost, Taken, World};

/// A violation, and an execution that shows it.
#[derive(Clone, Debug)]
pub struct Found {
    /// What was violated: an invariant's name, or one of the script's own words.
    pub check: String,
    /// What happened, in a sentence.
    pub sentence: String,
    /// The execution.
    pub execution: Execution,
    /// The same actors one after the other, where that was seen not to violate it.
    pub serial: Option<Execution>,
}

/// The sentence of an execution in which nothing is violated. It tells it apart: an invariant may have any name.
pub const NOTHING: &str = "nothing is violated";

impl Found {
    /// An execution with which nothing is wrong.
    pub fn nothing(execution: Execution) -> Self {
        Self { check: "end".to_owned(), sentence: NOTHING.to_owned(), execution, serial: None }
    }

    /// Whether it is none.
    pub fn is_nothing(&self) -> bool {
        self.sentence == NOTHING
    }
}

/// A bound of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many executions.
    Executions(u64),
    /// So long, in whole seconds.
    Time(Duration),
}

impl fmt::Display for Limit {
    /// As it is written on a command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Executions(most) => write!(f, "{most}"),
            Self::Time(most) => write!(f, "{}s", most.as_secs()),
        }
    }
}

/// What executions in a world must not come to.
pub trait Rules<W: World>: Send {
    /// The queries that are asked at the end of each execution.
    fn queries(&self) -> Vec<String>;

    /// What is wrong with an execution, by check. The world is at rest, and may be used.
    fn wrong(
        &mut self,
        world: &mut W,
        execution: &Execution,
    ) -> impl Future<Output = Result<Vec<(String, String)>, Lost>> + Send;

    /// How often the actors may take another course than the time before, until they are warm.
    fn warm_ups(&self) -> u32 {
        0
    }

    /// Looks at a run in which nothing is concurrent, before the search.
    fn expect(&mut self, _execution: &Execution) {}

    /// Whether executions are so many, and so dear, that those in which most violations are found go first.
    fn looks_first(&self) -> bool {
        false
    }

    /// How many executions making a violation smaller may take.
    fn shrinks_max(&self) -> u32 {
        300
    }

    /// How many steps each actor takes if nobody is in its way.
    fn steps(&self) -> Vec<usize>;

    /// Whether a violation of this check is one of all who take part, so that with one of them missing it would be
    /// violated for that alone.
    fn needs_all(&self, _check: &str) -> bool {
        false
    }

    /// Whether values are compared, so that it is to be found out which differ by themselves.
    fn compares(&self) -> bool {
        false
    }

    /// Leaves these values out of comparison, too.
    fn leave_out(&mut self, _volatile: Volatile) {}

    /// What is left out of comparison.
    fn left_out(&self) -> Volatile {
        Volatile::default()
    }

    /// Looks at an execution of the search.
    fn see(&mut self, _execution: &Execution) {}

    /// Why a search in which nothing was violated says nothing, if so.
    fn says_nothing(&self) -> Option<String> {
        None
    }

    /// What in an execution, the world's last, nobody can have meant: whose it is, and what to say.
    fn mistake(&self, _world: &W, _execution: &Execution) -> Option<(usize, Lost)> {
        None
    }
}

/// Judges every execution.
pub struct Judge<R> {
    /// By what.
    pub rules: R,
    limit: Option<Limit>,
    begun: Instant,
    /// Whether to go on after a violation.
    goes_on: bool,
    /// The check that is expected to be violated: only that ends the search.
    expected: Option<String>,
    /// The first violation of each check.
    pub found: Vec<Found>,
    /// Every outcome, with how many executions came to it.
    pub outcomes: BTreeMap<String, Reached>,
    /// How many executions had a step that waited.
    pub waited: u64,
    /// How many executions had a fault.
    pub struck: u64,
    /// How many there were.
    executions: Arc<AtomicU64>,
    /// How many there were before the search, which its limit counts too.
    pub before: u64,
}

impl<R> Judge<R> {
    /// From now on; `goes_on` looks at all executions, even after a violation. If one is expected, a
    /// violation of another check does not end the search.
    pub fn new(rules: R, limit: Option<Limit>, goes_on: bool, expected: Option<&str>) -> Self {
        let (expected, found, outcomes) = (expected.map(str::to_owned), Vec::new(), BTreeMap::new());
        Self {
            rules,
            limit,
            begun: Instant::now(),
            goes_on,
            expected,
            found,
            outcomes,
            waited: 0,
            struck: 0,
            executions: Arc::default(),
            before: 0,
        }
    }

    /// Its time has begun earlier.
    #[must_use]
    pub fn since(self, begun: Instant) -> Self {
        Self { begun, ..self }
    }

    /// Counts its executions here, too.
    #[must_use]
    pub fn counting(self, executions: Arc<AtomicU64>) -> Self {
        Self { executions, ..self }
    }
}

/// Runs steps in an order of actors, from the beginning to the end. Whoever cannot go on where the order
/// wants it to is passed over, and does the rest at the end: each of these actors does all its steps.
///
/// # Errors
/// The database is lost.
pub async fn run<W: World>(world: &mut W, order: &[Choice], queries: &[String]) -> Result<Execution, Lost> {
    let actors: BTreeSet<usize> = order.iter().map(|choice| choice.actor).collect();
    let actors: Vec<usize> = actors.into_iter().collect();
    begin(world, &actors).await?;
    let mut taken: Vec<Taken> = Vec::new();
    for choice in order {
        if world.enabled().contains(&choice.actor) {
            taken.push(world.step(*choice, None).await?);
        }
    }
    end(world, taken, &actors, queries).await
}

/// Runs actors one after the other, each to its end. Whoever has to wait is passed over, and goes on when it can.
///
/// # Errors
/// The database is lost.
pub async fn run_serially<W: World>(world: &mut W, actors: &[usize], queries: &[String]) -> Result<Execution, Lost> {
    world.go_serially(true);
    begin(world, actors).await?;
    let ended = end(world, Vec::new(), actors, queries).await;
    world.go_serially(false);
    ended
}

/// Begins an execution in which only these actors take part.
async fn begin<W: World>(world: &mut W, actors: &[usize]) -> Result<(), Lost> {
    world.reset().await?;
    (0..world.actors()).filter(|actor| !actors.contains(actor)).for_each(|actor| world.leave_out(actor));
    Ok(())
}

/// Lets the first of these actors that can go on do so, until none can, and asks the queries.
async fn end<W: World>(
    world: &mut W,
    mut taken: Vec<Taken>,
    actors: &[usize],
    queries: &[String],
) -> Result<Execution, Lost> {
    loop {
        let can = choices(world, &taken);
        let Some(actor) = actors.iter().find(|actor| can.contains(actor)) else { break };
        taken.push(world.step((*actor).into(), None).await?);
    }
    let ended = world.finish(queries).await?;
    Ok(Execution { taken, ended })
}

impl<W: World, R: Rules<W>> Visitor<W> for Judge<R> {
    async fn visit(&mut self, world: &mut W, execution: Execution) -> Result<Go, Lost> {
        self.waited += u64::from(execution.taken.iter().any(Taken::waits));
        self.struck += u64::from(execution.fault().is_some());
        self.executions.fetch_add(1, Ordering::Relaxed);
        self.rules.see(&execution);
        let wrong = self.rules.wrong(world, &execution).await?;
        let ends = wrong.iter().any(|(check, _)| self.expected.as_ref().is_none_or(|expected| expected == check));
        for (check, sentence) in wrong {
            if !self.found.iter().any(|found| found.check == check) {
                self.found.push(Found { check, sentence, execution: execution.clone(), serial: None });
            }
        }
        let left_out = self.rules.left_out();
        let outcome = self.outcomes.entry(execution.outcome(&left_out));
        outcome.or_insert_with(|| Reached::by(&execution, &left_out)).executions += 1;
        Ok(if ends && !self.goes_on { Go::Stop } else { Go::On })
    }

    fn volatile(&self) -> Volatile {
        self.rules.left_out()
    }

    fn is_over(&self, executions: u64) -> Option<String> {
        let executions = self.before + executions;
        match self.limit? {
            Limit::Executions(most) => (executions >= most).then(|| format!("after {executions} executions")),
            Limit::Time(most) => (self.begun.elapsed() >= most).then(|| "by its time limit".to_owned()),
        }
    }
}
