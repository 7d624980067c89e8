//! Visits the orders: exhaustively with sleep sets, by brute force, with few preemptions, or at random.
//!
//! An execution begins anew each time and takes the same course up to the last choice that is still
//! open; that it does is checked. A step that was explored at a point sleeps in what is explored there
//! afterwards, until a step is taken that it conflicts with: the orders in which it comes first have
//! been seen.

use std::collections::BTreeMap;
use std::fmt;

use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::IndexedRandom;

use super::footprint::{Footprint, Rule};
use super::volatile::Volatile;
use super::world::{Choice, Ended, Event, Lost, Rows, Taken, What, World, shown};

/// Which orders are visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// All, each class once.
    Exhaustive,
    /// All, each by itself.
    BruteForce,
    /// Those with at most so many preemptions: changes of the actor while it could go on.
    Preemptions(u32),
    /// Some with at most one preemption, which is what most violations need: a first look, before all are visited.
    FirstLook,
    /// This many, each choice even.
    Random(u64),
    /// This many by PCT (Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees of
    /// Finding Bugs", 2010): random priorities that are lowered at `depth - 1` random steps.
    Pct {
        /// How many.
        executions: u64,
        /// The number of orderings that a bug may need, from 1.
        depth: u32,
    },
}

/// One complete execution.
#[derive(Clone, Debug)]
pub struct Execution {
    /// What was taken, in order.
    pub taken: Vec<Taken>,
    /// How it ended.
    pub ended: Ended,
}

impl Execution {
    /// What became of steps, in order.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.taken.iter().flat_map(|taken| &taken.events)
    }
}

impl fmt::Display for Strategy {
    /// As it is written on a command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhaustive => f.write_str("exhaustive"),
            Self::BruteForce => f.write_str("brute-force"),
            Self::Preemptions(most) => write!(f, "preemptions={most}"),
            Self::FirstLook => f.write_str("first look"),
            Self::Random(executions) => write!(f, "random={executions}"),
            Self::Pct { executions, depth } => write!(f, "pct={executions},{depth}"),
        }
    }
}

impl Execution {
    /// The choices, in the order in which the steps were let through.
    pub fn order(&self) -> Vec<Choice> {
        self.taken.iter().map(Taken::choice).collect()
    }

    /// What it came to, for comparison with others: every answer of every step, and the final state, less what
    /// is not compared.
    pub fn outcome(&self, volatile: &Volatile) -> String {
        let mut steps: BTreeMap<(usize, usize), String> = BTreeMap::new();
        for event in self.taken.iter().flat_map(|taken| &taken.events) {
            let what = match &event.what {
                What::Done(done) => {
                    let done = volatile.of_step(event.actor, event.step, done);
                    let affected = done.affected.map(|rows| format!(" {rows}")).unwrap_or_default();
                    let undone = if done.rolled_back { " rolled back" } else { "" };
                    format!("{}{affected}{undone}", shown(&done.rows))
                }
                What::Failed { code, .. } => format!("!{code}"),
                What::Waits { .. } => "waits".to_owned(),
            };
            // A wait that ended is no outcome; the end comes later and takes its place.
            steps.insert((event.actor, event.step), what);
        }
        let answer = |(query, answer): (usize, &Result<Rows, String>)| match answer {
            Ok(rows) => shown(&volatile.of_query(query, rows)),
            Err(error) => format!("!{error}"),
        };
        let answers: Vec<String> = self.ended.answers.iter().enumerate().map(answer).collect();
        format!("{steps:?} {:?} {answers:?}", self.ended.stuck)
    }
}

/// How far a search came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// All classes of orders were visited.
    Exhausted,
    /// All within this bound were, or as many as were wanted.
    Bounded(String),
    /// The search was stopped before its end, by this.
    Stopped(String),
    /// The same steps came out differently again and again, in this way: something decides that is neither the
    /// order nor what the database holds.
    Diverged(String),
}

/// What a search did.
#[derive(Clone, Debug)]
pub struct Searched {
    /// How far it came.
    pub coverage: Coverage,
    /// Complete executions.
    pub executions: u64,
    /// Executions that were left half-way, for all that could follow had been seen.
    pub abandoned: u64,
    /// Executions in which a deadlock was found.
    pub deadlocks: u64,
    /// Executions that took another course than the same steps had before.
    pub otherwise: u64,
    /// What is not compared.
    pub volatile: Volatile,
}

impl Searched {
    /// Nothing was searched: the same order came to different ends, in this way.
    pub fn diverged(how: String) -> Self {
        let (coverage, volatile) = (Coverage::Diverged(how), Volatile::default());
        Self { coverage, executions: 0, abandoned: 0, deadlocks: 0, otherwise: 0, volatile }
    }
}

/// What whoever looks at an execution wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// More of them.
    On,
    /// No more.
    Stop,
}

/// Looks at each complete execution.
pub trait Visitor<W: World>: Send {
    /// Looks at one. The world is at rest, and may be used.
    fn visit(&mut self, world: &mut W, execution: Execution) -> impl Future<Output = Result<Go, Lost>> + Send;

    /// The values that are not compared.
    fn volatile(&self) -> Volatile {
        Volatile::default()
    }

    /// Whether the search is to stop for lack of time or executions, and why.
    fn is_over(&self, executions: u64) -> Option<String>;
}

/// The number of different orders of so many steps of each actor, as far as a float can tell.
pub fn orders(steps: &[usize]) -> f64 {
    let (mut orders, mut total) = (1.0_f64, 0_u32);
    for steps in steps {
        for step in 1..=*steps {
            total += 1;
            orders *= f64::from(total) / step as f64;
        }
    }
    orders.round()
}

/// How often the same steps may come out differently, one after another, before it is an error: of two
/// that wait for the same thing, a database may let either go first.
const OTHERWISE_MAX: u32 = 30;

struct Node {
    /// What sleeps here: each actor's next step, and what it touched.
    sleep: BTreeMap<Choice, Footprint>,
    enabled: Vec<Choice>,
    /// The preemptions before this point.
    preemptions: u32,
    /// Who was on before.
    last: Option<usize>,
    taken: Taken,
}

/// Searches the orders of a world's steps; `queries` are asked at each end.
///
/// # Errors
/// The database is lost.
pub async fn search<W: World, V: Visitor<W>>(
    world: &mut W,
    strategy: Strategy,
    seed: u64,
    queries: &[String],
    visitor: &mut V,
) -> Result<Searched, Lost> {
    search_by(world, strategy, seed, queries, visitor, &Rule::ALL).await
}

/// Searches as [`search`] does, with these rules alone for what may be exchanged.
///
/// # Errors
/// See there.
pub async fn search_by<W: World, V: Visitor<W>>(
    world: &mut W,
    strategy: Strategy,
    seed: u64,
    queries: &[String],
    visitor: &mut V,
    rules: &[Rule],
) -> Result<Searched, Lost> {
    let volatile = visitor.volatile();
    let searched =
        Searched { coverage: Coverage::Exhausted, executions: 0, abandoned: 0, deadlocks: 0, otherwise: 0, volatile };
    let mut search = Search { world, queries, visitor, searched, rules, difference: String::new() };
    match strategy {
        Strategy::Exhaustive => search.systematic(true, u32::MAX).await?,
        Strategy::BruteForce => search.systematic(false, u32::MAX).await?,
        Strategy::Preemptions(most) => {
            search.systematic(false, most).await?;
            search.bounded(format!("at most {most} preemptions"));
        }
        Strategy::FirstLook => {
            search.systematic(true, 1).await?;
            search.bounded("a first look".to_owned());
        }
        Strategy::Random(executions) => {
            search.sampled(executions, seed, 0).await?;
            search.bounded(format!("{executions} random orders, seed {seed}"));
        }
        Strategy::Pct { executions, depth } => {
            search.sampled(executions, seed, depth.max(1)).await?;
            search.bounded(format!("{executions} orders by PCT of depth {depth}, seed {seed}"));
        }
    }
    for bound in search.world.bounds() {
        search.bounded(bound);
    }
    let otherwise = search.searched.otherwise;
    if otherwise > 0 {
        let difference = &search.difference;
        search.bounded(format!(
            "{otherwise} times the database took another course after the same steps (the last time, {difference})"
        ));
    }
    if search.searched.deadlocks > 0 {
        search.bounded("of a deadlock, the victim is always who closes the circle".to_owned());
    }
    Ok(search.searched)
}

struct Search<'a, W, V> {
    world: &'a mut W,
    queries: &'a [String],
    visitor: &'a mut V,
    searched: Searched,
    rules: &'a [Rule],
    /// How the last execution differed that took another course.
    difference: String,
}

impl<W: World, V: Visitor<W>> Search<'_, W, V> {
    /// Notes what bounds the search.
    fn bounded(&mut self, bound: String) {
        match &mut self.searched.coverage {
            Coverage::Bounded(known) if !known.contains(&bound) => *known = format!("{known}; {bound}"),
            coverage @ Coverage::Exhausted => *coverage = Coverage::Bounded(bound),
            _ => {}
        }
    }

    /// Whether the search is over; notes why.
    fn is_over(&mut self) -> bool {
        let why = self.visitor.is_over(self.searched.executions);
        let over = why.is_some();
        if let Some(why) = why {
            self.searched.coverage = Coverage::Stopped(why);
        }
        over
    }

    /// Looks at an execution that has come to its end; whether to go on.
    async fn complete(&mut self, taken: Vec<Taken>) -> Result<bool, Lost> {
        let ended = self.world.finish(self.queries).await?;
        self.searched.executions += 1;
        self.searched.deadlocks += u64::from(taken.iter().any(Taken::deadlocked));
        let go = self.visitor.visit(self.world, Execution { taken, ended }).await?;
        if go == Go::Stop {
            self.searched.coverage = Coverage::Stopped("by what was found".to_owned());
        }
        Ok(go == Go::On)
    }

    async fn systematic(&mut self, reduce: bool, preemptions_max: u32) -> Result<(), Lost> {
        let mut path: Vec<Node> = Vec::new();
        // The choice with which the next execution leaves the path.
        let mut choice: Option<Choice> = None;
        let mut otherwise = 0;
        loop {
            if self.is_over() {
                return Ok(());
            }
            self.world.reset().await?;
            if let Some(other) = self.repeat(&path, choice).await? {
                self.searched.otherwise += 1;
                otherwise += 1;
                if !self.another_course(other).await? {
                    return Ok(());
                }
                if otherwise > OTHERWISE_MAX {
                    let why = format!("{otherwise} times in a row {}", self.difference);
                    self.searched.coverage = Coverage::Diverged(why);
                    return Ok(());
                }
                continue;
            }
            otherwise = 0;
            if let Some(choice) = choice {
                let node = path.last_mut().expect("a choice is made at a node");
                node.taken = self.world.step(choice, None).await?;
                node.enabled.extend(timed_out(&node.taken));
            }
            if self.descend(&mut path, reduce, preemptions_max).await? {
                let taken = path.iter().map(|node| node.taken.clone()).collect();
                if !self.complete(taken).await? {
                    return Ok(());
                }
            } else {
                self.searched.abandoned += 1;
            }
            choice = backtrack(&mut path, preemptions_max);
            if choice.is_none() {
                return Ok(());
            }
        }
    }

    /// Takes the path's steps again, all but the last one if a choice is to replace it. What was taken, if
    /// it came out otherwise than before, or whoever could go on cannot this time.
    async fn repeat(&mut self, path: &[Node], choice: Option<Choice>) -> Result<Option<Vec<Taken>>, Lost> {
        let until = path.len() - usize::from(choice.is_some());
        let mut again = Vec::new();
        for node in &path[..until] {
            if !self.can_go_on(node.taken.actor, &again) {
                return Ok(Some(again));
            }
            let taken = self.world.step(node.taken.choice(), Some(&node.taken)).await?;
            let agrees = taken.agrees(&node.taken, &self.searched.volatile);
            again.push(taken);
            if !agrees {
                let step = again.len();
                let [was, now] = [&node.taken, &again[step - 1]].map(Taken::told);
                self.difference = format!("step {step} of the same order came to {now}, after it had come to {was}");
                return Ok(Some(again));
            }
        }
        let can = choice.is_none_or(|choice| self.can_go_on(choice.actor, &again));
        Ok((!can).then_some(again))
    }

    /// Whether an actor can go on after these steps, as it could before; if not, that is the difference.
    fn can_go_on(&mut self, actor: usize, after: &[Taken]) -> bool {
        let can = self.world.enabled().contains(&actor);
        if !can {
            self.difference = format!("after {} steps of the same order another actor could not go on", after.len());
        }
        can
    }

    /// Goes on from where the database chose otherwise, to any end, and looks at that too; whether to go on.
    async fn another_course(&mut self, mut taken: Vec<Taken>) -> Result<bool, Lost> {
        while let Some(actor) = choices(self.world, &taken).first() {
            taken.push(self.world.step((*actor).into(), None).await?);
        }
        self.complete(taken).await
    }

    /// Goes on from the end of the path until nobody can; `false` when all that could follow has been
    /// seen already.
    async fn descend(&mut self, path: &mut Vec<Node>, reduce: bool, preemptions_max: u32) -> Result<bool, Lost> {
        loop {
            let (sleep, preemptions) = match path.last() {
                None => (BTreeMap::new(), 0),
                Some(node) if node.taken.futile => return Ok(false),
                Some(node) => (
                    if reduce { inherited(node, self.rules) } else { BTreeMap::new() },
                    preempted(node.preemptions, node.last, &node.enabled, node.taken.actor),
                ),
            };
            let mut enabled: Vec<Choice> = self.world.enabled().into_iter().map(Choice::from).collect();
            if enabled.is_empty() {
                return Ok(true);
            }
            let last = path.last().map(|node| node.taken.actor);
            // Whoever was on goes on, so that the first executions have the fewest changes.
            let mut wanted = enabled.clone();
            wanted.sort_by_key(|choice| Some(choice.actor) != last);
            let within = |choice: &Choice| preempted(preemptions, last, &enabled, choice.actor) <= preemptions_max;
            let next = wanted.into_iter().find(|choice| !sleep.contains_key(choice) && within(choice));
            let Some(choice) = next else { return Ok(false) };
            let taken = self.world.step(choice, None).await?;
            enabled.extend(timed_out(&taken));
            path.push(Node { sleep, enabled, preemptions, last, taken });
        }
    }

    /// Random orders: by even choices, or with priorities if there is a depth.
    async fn sampled(&mut self, executions: u64, seed: u64, depth: u32) -> Result<(), Lost> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut longest = 1;
        for _ in 0..executions {
            if self.is_over() {
                return Ok(());
            }
            self.world.reset().await?;
            let mut priorities: BTreeMap<usize, u64> = BTreeMap::new();
            let lowered: Vec<usize> = (1..depth).map(|_| rng.random_range(0..longest)).collect();
            let mut taken: Vec<Taken> = Vec::new();
            loop {
                let enabled = choices(self.world, &taken);
                for actor in &enabled {
                    priorities.entry(*actor).or_insert_with(|| rng.random_range(1_000..u64::MAX));
                }
                let actor = match depth {
                    0 => enabled.choose(&mut rng).copied(),
                    _ => enabled.iter().max_by_key(|actor| priorities[*actor]).copied(),
                };
                let Some(actor) = actor else { break };
                if let Some(point) = lowered.iter().position(|at| depth > 0 && *at == taken.len()) {
                    priorities.insert(actor, point as u64);
                }
                let times_out = self.world.may_time_out(actor) && rng.random_bool(0.5);
                taken.push(self.world.step(Choice { actor, times_out }, None).await?);
            }
            longest = longest.max(taken.len());
            if !self.complete(taken).await? {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Who can go on after these steps. What was just tried in vain is not tried again before somebody else
/// has moved.
pub(super) fn choices<W: World>(world: &W, taken: &[Taken]) -> Vec<usize> {
    let vain = taken.last().filter(|taken| taken.futile).map(|taken| taken.actor);
    world.enabled().into_iter().filter(|actor| Some(*actor) != vain).collect()
}

/// The preemptions after a step of `actor`, with so many before: it is one if whoever was on could go on.
fn preempted(before: u32, last: Option<usize>, enabled: &[Choice], actor: usize) -> u32 {
    before + u32::from(last.is_some_and(|last| last != actor && enabled.contains(&last.into())))
}

/// The other way of a step that waits, where it has one.
fn timed_out(taken: &Taken) -> Option<Choice> {
    (taken.may_time_out && !taken.times_out).then_some(Choice { actor: taken.actor, times_out: true })
}

/// What sleeps after a node's step: whatever does not conflict with it.
fn inherited(node: &Node, rules: &[Rule]) -> BTreeMap<Choice, Footprint> {
    let asleep = node.sleep.iter().filter(|(choice, _)| choice.actor != node.taken.actor);
    let asleep = asleep.filter(|(_, its)| !its.conflicts_by(&node.taken.footprint, rules));
    asleep.map(|(choice, its)| (*choice, its.clone())).collect()
}

/// Finds the last point at which another choice is left, and cuts the path there. The step that was
/// taken there sleeps from now on.
fn backtrack(path: &mut Vec<Node>, preemptions_max: u32) -> Option<Choice> {
    while let Some(node) = path.last_mut() {
        node.sleep.insert(node.taken.choice(), node.taken.footprint.clone());
        let within =
            |choice: &Choice| preempted(node.preemptions, node.last, &node.enabled, choice.actor) <= preemptions_max;
        let next = node.enabled.iter().find(|choice| !node.sleep.contains_key(choice) && within(choice)).copied();
        if next.is_some() {
            return next;
        }
        path.pop();
    }
    None
}
