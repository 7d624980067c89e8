//! What an execution must not come to: what a script's invariants, its serial orders, its steps'
//! errors and its end say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::search::{Execution, Go, Visitor, choices};
use super::world::{Ended, Lost, Taken, What, World};
use crate::scenario::script::{ERRORS, SERIAL, STUCK, Script};

/// Codes with which a database refuses for the sake of concurrency: what a program must be ready for.
const CONCURRENCY: [&str; 6] = ["40001", "40P01", "55P03", "23505", "25P02", "57014"];

/// A violation, and an execution that shows it.
#[derive(Clone, Debug)]
pub struct Found {
    /// What was violated: an invariant's name, or one of the script's own words.
    pub check: String,
    /// What happened, in a sentence.
    pub sentence: String,
    /// The execution.
    pub execution: Execution,
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

/// Judges every execution of a script.
pub struct Judge<'s> {
    script: &'s Script,
    limit: Option<Limit>,
    begun: Instant,
    /// Whether to go on after a violation.
    goes_on: bool,
    /// The check that is expected to be violated: only that ends the search.
    expected: Option<&'s str>,
    /// The final states that serial orders of these actors give.
    serial: BTreeMap<BTreeSet<usize>, BTreeSet<String>>,
    /// The first violation of each check.
    pub found: Vec<Found>,
    /// Every outcome, with how many executions came to it.
    pub outcomes: BTreeMap<String, u64>,
    /// How many executions had a step that waited.
    pub waited: u64,
}

/// The queries that are asked at the end of each execution.
pub fn queries(script: &Script) -> Vec<String> {
    script.invariants.iter().chain(&script.serial).map(|query| query.sql.clone()).collect()
}

impl<'s> Judge<'s> {
    /// For a script, from now on; `goes_on` looks at all executions, even after a violation. If one is expected, a
    /// violation of another check does not end the search.
    pub fn new(script: &'s Script, limit: Option<Limit>, goes_on: bool, expected: Option<&'s str>) -> Self {
        let (serial, found, outcomes) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        Self { script, limit, begun: Instant::now(), goes_on, expected, serial, found, outcomes, waited: 0 }
    }

    /// What is wrong with an execution, by check.
    ///
    /// # Errors
    /// The database is lost.
    pub async fn judge<W: World>(
        &mut self,
        world: &mut W,
        execution: &Execution,
    ) -> Result<Vec<(String, String)>, Lost> {
        let mut wrong = Vec::new();
        let script = self.script;
        for event in execution.taken.iter().flat_map(|taken| &taken.events) {
            let actor = &script.actors[event.actor];
            let step = &actor.steps[event.step];
            if let What::Failed { code, message } = &event.what
                && !CONCURRENCY.contains(&code.as_str())
                && !is_busy(code)
                && !step.errors.contains(code)
            {
                let sentence = format!("step {} of {} failed: {message} ({code})", step.name, actor.name);
                wrong.push((ERRORS.to_owned(), sentence));
            }
        }
        if !execution.ended.stuck.is_empty() {
            let names: Vec<&str> =
                execution.ended.stuck.iter().map(|actor| script.actors[*actor].name.as_str()).collect();
            wrong.push((
                STUCK.to_owned(),
                format!("{} would wait for ever: whoever has the lock has ended", names.join(", ")),
            ));
        }
        for (query, answer) in script.invariants.iter().zip(&execution.ended.answers) {
            match answer {
                Ok(rows) if rows.is_empty() => {}
                Ok(rows) => {
                    wrong.push((query.name.clone(), format!("at the end {} returns {}", query.name, shown(rows))))
                }
                Err(error) => return Err(Lost::by_script(format!("failed to ask invariant {}: {error}", query.name))),
            }
        }
        if let Some(sentence) = self.differs(world, execution).await? {
            wrong.push((SERIAL.to_owned(), sentence));
        }
        Ok(wrong)
    }

    /// How the final state differs from that of every serial order: of those that did not roll back,
    /// or of all.
    async fn differs<W: World>(&mut self, world: &mut W, execution: &Execution) -> Result<Option<String>, Lost> {
        if self.script.serial.is_empty() {
            return Ok(None);
        }
        let state = self.state(&execution.ended)?;
        let [survived, all] = takers(execution);
        for actors in [&survived, &all] {
            if !self.serial.contains_key(actors) {
                let states = self.serial_states(world, actors).await?;
                self.serial.insert(actors.clone(), states);
            }
            if self.serial[actors].contains(&state) {
                return Ok(None);
            }
        }
        let serial: Vec<&str> = self.serial[&survived].iter().map(String::as_str).collect();
        Ok(Some(format!("the final state is {state}; serial orders give {}", serial.join(" or "))))
    }

    /// Those actors of an execution whose serial orders it is compared with, and are not known yet.
    pub fn unknown(&self, execution: &Execution) -> Vec<BTreeSet<usize>> {
        let mut sets = if self.script.serial.is_empty() { Vec::new() } else { takers(execution).to_vec() };
        sets.retain(|actors| !self.serial.contains_key(actors));
        sets
    }

    /// Takes the states of the serial orders of these actors from whoever has run them in another way.
    pub fn learn(&mut self, actors: BTreeSet<usize>, states: BTreeSet<String>) {
        self.serial.insert(actors, states);
    }

    /// The final state, as serial orders are compared by it.
    ///
    /// # Errors
    /// A query of the script fails.
    pub fn state(&self, ended: &Ended) -> Result<String, Lost> {
        let answers = &ended.answers[self.script.invariants.len()..];
        let mut state = Vec::new();
        for (query, answer) in self.script.serial.iter().zip(answers) {
            match answer {
                Ok(rows) => state.push(format!("{} = {}", query.name, shown(rows))),
                Err(error) => return Err(Lost::by_script(format!("failed to ask {}: {error}", query.name))),
            }
        }
        Ok(state.join(", "))
    }

    async fn serial_states<W: World>(&self, world: &mut W, actors: &BTreeSet<usize>) -> Result<BTreeSet<String>, Lost> {
        let mut states = BTreeSet::new();
        for order in permutations(&actors.iter().copied().collect::<Vec<_>>()) {
            let mut blocks = Vec::new();
            for actor in order {
                blocks.extend(std::iter::repeat_n(actor, self.script.actors[actor].steps.len()));
            }
            let execution = run(world, &blocks, &queries(self.script)).await?;
            states.insert(self.state(&execution.ended)?);
        }
        Ok(states)
    }
}

/// The actors of an execution that came to their end, and all that took part.
fn takers(execution: &Execution) -> [BTreeSet<usize>; 2] {
    let all: BTreeSet<usize> = execution.taken.iter().map(|taken| taken.actor).collect();
    let failed = |actor: &usize| {
        let mut events = execution.taken.iter().flat_map(|taken| &taken.events);
        events.any(|event| event.actor == *actor && matches!(event.what, What::Failed { .. }))
    };
    [all.iter().copied().filter(|actor| !failed(actor)).collect(), all]
}

/// The most serial orders that are tried: those of six actors.
const SERIAL_MAX: usize = 720;

/// The orders of these actors, up to that many.
pub fn permutations(of: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for one in of {
        let insert = |order: Vec<usize>| {
            (0..=order.len()).map(move |at| {
                let mut longer = order.clone();
                longer.insert(at, *one);
                longer
            })
        };
        all = all.into_iter().flat_map(insert).take(SERIAL_MAX).collect();
    }
    all
}

/// Runs steps in an order of actors, from the beginning to the end. Whoever cannot go on where the order
/// wants it to is passed over, and does the rest at the end: each of these actors does all its steps.
///
/// # Errors
/// The database is lost.
pub async fn run<W: World>(world: &mut W, order: &[usize], queries: &[String]) -> Result<Execution, Lost> {
    world.reset().await?;
    let mut taken: Vec<Taken> = Vec::new();
    for actor in order {
        if world.enabled().contains(actor) {
            taken.push(world.take(*actor, None).await?);
        }
    }
    while let Some(actor) = choices(world, &taken).into_iter().find(|actor| order.contains(actor)) {
        taken.push(world.take(actor, None).await?);
    }
    let ended = world.finish(queries).await?;
    Ok(Execution { taken, ended })
}

/// Whether a code is SQLite's for a lock that is taken: SQLITE_BUSY, SQLITE_LOCKED, and SQLITE_CONSTRAINT
/// for a unique key.
fn is_busy(code: &str) -> bool {
    code.parse::<i32>().is_ok_and(|code| code < 10_000 && (matches!(code & 0xff, 5 | 6) || matches!(code, 1555 | 2067)))
}

fn shown(rows: &[String]) -> String {
    const MAX: usize = 8;
    let more = if rows.len() > MAX { format!(", … ({} rows)", rows.len()) } else { String::new() };
    format!("[{}{more}]", rows.iter().take(MAX).map(|row| format!("({row})")).collect::<Vec<_>>().join(", "))
}

impl<W: World> Visitor<W> for Judge<'_> {
    async fn visit(&mut self, world: &mut W, execution: Execution) -> Result<Go, Lost> {
        self.waited += u64::from(execution.taken.iter().any(Taken::waits));
        let wrong = self.judge(world, &execution).await?;
        let ends = wrong.iter().any(|(check, _)| self.expected.is_none_or(|expected| expected == check));
        for (check, sentence) in wrong {
            if !self.found.iter().any(|found| found.check == check) {
                self.found.push(Found { check, sentence, execution: execution.clone() });
            }
        }
        *self.outcomes.entry(execution.outcome()).or_default() += 1;
        Ok(if ends && !self.goes_on { Go::Stop } else { Go::On })
    }

    fn is_over(&self, executions: u64) -> Option<String> {
        match self.limit? {
            Limit::Executions(most) => (executions >= most).then(|| format!("after {executions} executions")),
            Limit::Time(most) => (self.begun.elapsed() >= most).then(|| "by its time limit".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_are_all_and_different() {
        let all: BTreeSet<Vec<usize>> = permutations(&[0, 1, 2, 3]).into_iter().collect();
        assert_eq!(all.len(), 24);
        assert_eq!(permutations(&[]), [Vec::<usize>::new()]);
    }

    #[test]
    fn busy_is_told_from_other_codes() {
        assert!(is_busy("5") && is_busy("517") && is_busy("261") && is_busy("2067"));
        assert!(!is_busy("1") && !is_busy("787") && !is_busy("42601"));
    }
}
