//! One case, explored and judged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::time::Instant;

use super::faulted::Faulted;
use super::judge::{Found, Judge, Limit, Rules, run_serially};
use super::overlap::Overlapped;
use super::reached::Reached;
use super::rules::ScriptRules;
use super::search::{Coverage, Execution, Searched, Strategy, orders, search};
use super::shrink::shrink;
use super::volatile::Volatile;
use super::world::{Lost, Taken, World};
use crate::outcome::VerdictKind;
use crate::scenario::script::{ERRORS, NamedQuery, Script};

/// How to explore.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which orders to visit.
    pub strategy: Strategy,
    /// The seed of random orders.
    pub seed: u64,
    /// When to stop before the end, if ever.
    pub limit: Option<Limit>,
    /// Whether to go on after a violation.
    pub all: bool,
    /// How many executions there were so far, for whoever looks at it meanwhile.
    pub executions: Arc<AtomicU64>,
}

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Explored {
    /// What the search did.
    pub searched: Searched,
    /// The orders in which the actors' steps can be arranged, whether possible or not.
    pub orders: f64,
    /// Every outcome, with how many executions came to it.
    pub outcomes: Vec<Reached>,
    /// The executions in which a step waited.
    pub waited: u64,
    /// The violations, one a check, each made smaller; the expected one first.
    pub found: Vec<Found>,
    /// What came of the steps that were run at the same time.
    pub overlaps: Vec<Overlapped>,
    /// What came of what was let fail, if anything was.
    pub faulted: Option<Faulted>,
    /// How long the search took, without making violations smaller.
    pub took: Duration,
    /// Why finding nothing would say nothing, if so.
    pub says_nothing: Option<String>,
    /// The refusals of a script's steps, by step and code, each with how many executions had it.
    pub refused: Vec<(String, String, u64)>,
    /// The values of a script that differ between two runs of the same serial order, and are not compared.
    pub not_compared: Vec<String>,
}

impl Explored {
    /// Adds what is known of a script's actors by name.
    pub fn tell(&mut self, script: &Script, rules: &ScriptRules<'_>) {
        self.refused = rules.effects.refusals(script).collect();
        let (steps, queries) = rules.volatile.parts();
        let of_step = |(actor, step, column): &(usize, usize, usize)| {
            format!("column {} of step {}", column + 1, script.name_of((*actor, *step)))
        };
        let asked: Vec<&NamedQuery> = rules.asked().collect();
        let of_query = |(query, column): &(usize, usize)| format!("column {} of {}", column + 1, asked[*query].name);
        self.not_compared = steps.map(of_step).chain(queries.map(of_query)).collect();
    }

    /// Whether the case has its violation, or one of any check if none is expected.
    pub fn has_found(&self, violates: Option<&str>) -> bool {
        let overlapped = self.overlaps.iter().flat_map(|of| &of.found).map(|together| &together.found);
        let mut found = self.found.iter().chain(overlapped);
        found.any(|found| violates.is_none_or(|check| found.check == check))
    }

    /// The verdict, and the sentence that shows it.
    pub fn verdict(&self, violates: Option<&str>, actors: usize, strategy: Strategy) -> (VerdictKind, String) {
        let Searched { executions, abandoned, .. } = self.searched;
        if let Some(found) = self.found.first() {
            let by = found.execution.fault().and(self.faulted.as_ref());
            let fault =
                by.and_then(|faulted| faulted.first(&found.check)).map_or(String::new(), |how| format!(", {how}"));
            let number = executions + by.map_or(0, |faulted| faulted.executions);
            let sentence = format!("{}: {}{fault}, in execution {number}", found.check, found.sentence);
            return (VerdictKind::Violation, sentence);
        }
        let overlaps = || self.overlaps.iter().map(Overlapped::evidence).collect::<Vec<_>>().join("; ");
        for of in &self.overlaps {
            if let Some(together) = of.found.first() {
                let (found, [first, second]) = (&together.found, &of.names);
                let when = format!("with {first} and {second} at the same time, in execution {}", together.number);
                return (VerdictKind::Violation, format!("{}: {}, {when}", found.check, found.sentence));
            }
        }
        let all = match &self.searched.coverage {
            Coverage::Exhausted => "exhausted at statement granularity".to_owned(),
            Coverage::Bounded(bound) => format!("bounded: {bound}"),
            Coverage::Stopped(why) => {
                return (VerdictKind::Inconclusive, format!("stopped {why}, before all orders were visited"));
            }
            Coverage::Diverged(how) => return diverged(how),
        };
        // Only whoever leaves out what comes to the same has seen more orders than executions.
        let orders = match strategy {
            Strategy::Exhaustive => format!("stand for {} orders", self.orders),
            _ => format!("of {} orders", self.orders),
        };
        let mut evidence = format!(
            "{all}: {executions} executions ({abandoned} more were left half-way) {orders}; in {} of them \
             a step waited; outcomes: {}{}{}",
            self.waited,
            self.outcomes.len(),
            refusals(&self.refused),
            match &self.not_compared[..] {
                [] => String::new(),
                parts => format!("; not compared, for it differs by itself: {}", parts.join(", ")),
            }
        );
        if let Some(faulted) = &self.faulted {
            evidence = format!("{evidence}; {}", faulted.evidence());
            if faulted.is_empty() {
                let why = format!("nothing that was asked for could be let fail anywhere ({evidence})");
                return (VerdictKind::Inconclusive, why);
            }
            match &faulted.coverage {
                Coverage::Exhausted | Coverage::Bounded(_) => {}
                Coverage::Stopped(_) => return (VerdictKind::Inconclusive, evidence),
                Coverage::Diverged(how) => return diverged(how),
            }
        }
        if let Some(why) = self.says_nothing.as_ref().filter(|_| violates.is_none()) {
            return (VerdictKind::Inconclusive, format!("{why} ({evidence})"));
        }
        if executions == 1 && actors > 1 && violates.is_none() {
            return (
                VerdictKind::Inconclusive,
                format!("nothing that one actor does touches what another does ({evidence})"),
            );
        }
        if self.overlaps.is_empty() {
            return (VerdictKind::Pass, evidence);
        }
        let evidence = format!("bounded: {}; {evidence}", overlaps());
        if self.overlaps.iter().any(|of| of.in_flight == 0) {
            return (VerdictKind::Inconclusive, format!("what was to run at the same time never did ({evidence})"));
        }
        match violates {
            // Nothing was found where only chance could have.
            Some(check) => {
                (VerdictKind::Inconclusive, format!("{check} was not violated, which proves nothing ({evidence})"))
            }
            None => (VerdictKind::Pass, evidence),
        }
    }

    /// Whether it is what the case expects.
    pub fn is_met(&self, violates: Option<&str>, actors: usize, strategy: Strategy) -> bool {
        match violates {
            Some(_) => self.has_found(violates),
            None => self.verdict(None, actors, strategy).0 == VerdictKind::Pass,
        }
    }
}

fn diverged(how: &str) -> (VerdictKind, String) {
    // The executions differ; of which of these it came, nobody has said.
    let why = "something decides that is neither the order of steps nor the data: a clock, chance, or what an execution \
               before it has left outside of the database";
    (VerdictKind::Inconclusive, format!("diverged: {how}; {why}"))
}

/// How two executions of the same order differ, beside what is not compared.
fn difference(one: &Execution, other: &Execution, volatile: &Volatile) -> Option<String> {
    let (before, now) = (one.taken.len(), other.taken.len());
    if before != now {
        return Some(format!("one serial order took {now} steps, after it had taken {before}"));
    }
    let mut pairs = one.taken.iter().zip(&other.taken).enumerate();
    let (number, (a, b)) = pairs.find(|(_, (a, b))| !a.agrees(b, volatile))?;
    let [was, now] = [a, b].map(Taken::told);
    Some(format!("step {} of one serial order came to {now}, after it had come to {was}", number + 1))
}

/// The refusals, in words.
fn refusals(refused: &[(String, String, u64)]) -> String {
    let one = |(step, code, times): &(String, String, u64)| format!("{step} {code} ({times} times)");
    match refused {
        [] => String::new(),
        _ => format!("; refused: {}", refused.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}

/// Runs the actors one after the other, twice: what differs is no outcome. Answers how the two took different courses, if
/// they did.
///
/// # Errors
/// The database is lost, or an actor makes no sense even by itself.
pub async fn compare_serial_runs<W: World, R: Rules<W>>(
    world: &mut W,
    rules: &mut R,
    violates: Option<&str>,
) -> Result<Option<String>, Lost> {
    if !rules.compares() {
        return Ok(None);
    }
    let queries = rules.queries();
    let all: Vec<usize> = (0..rules.steps().len()).collect();
    let mut one = run_serially(world, &all, &queries).await?;
    let mut warm_ups = rules.warm_ups();
    let other = loop {
        world.vary();
        let other = run_serially(world, &all, &queries).await?;
        let mut volatile = rules.left_out();
        volatile.add(Volatile::between(&one, &other));
        if warm_ups == 0 || difference(&one, &other, &volatile).is_none() {
            rules.leave_out(volatile);
            break other;
        }
        // What is done once only, as to connect, has been done.
        (one, warm_ups) = (other, warm_ups - 1);
    };
    rules.expect(&other);
    if let Some((actor, _)) = rules.mistake(world, &other) {
        // By itself it fails too, so it is nobody else's doing.
        let alone = run_serially(world, &[actor], &queries).await?;
        if let Some((_, lost)) = rules.mistake(world, &alone)
            && violates != Some(ERRORS)
        {
            return Err(lost);
        }
    }
    Ok(difference(&one, &other, &rules.left_out()))
}

/// Searches, after a first look where executions are many and dear.
async fn searched<W: World, R: Rules<W>>(
    world: &mut W,
    judge: &mut Judge<R>,
    queries: &[String],
    options: &Options,
) -> Result<Searched, Lost> {
    if options.strategy == Strategy::Exhaustive && judge.rules.looks_first() {
        let looked = search(world, Strategy::FirstLook, options.seed, queries, judge).await?;
        if let Coverage::Stopped(_) = looked.coverage {
            // What was found is enough, or so many executions are.
            return Ok(looked);
        }
        // Those executions are visited again, and counted then.
        (judge.outcomes, judge.waited) = (BTreeMap::new(), 0);
        judge.before = looked.executions;
    }
    search(world, options.strategy, options.seed, queries, judge).await
}

/// Explores a case by rules, which are handed back; `violates` is the check that is expected to be violated.
///
/// Cancellation: the world must then be dropped.
///
/// # Errors
/// The database is lost, or a query of the script fails.
pub async fn explore<W: World, R: Rules<W>>(
    world: &mut W,
    rules: R,
    violates: Option<&str>,
    options: &Options,
) -> Result<(Explored, R), Lost> {
    let begin = Instant::now();
    let mut rules = rules;
    let diverged = compare_serial_runs(world, &mut rules, violates).await?;
    let queries = rules.queries();
    let mut judge = Judge::new(rules, options.limit, options.all, violates).counting(options.executions.clone());
    let searched = match diverged {
        Some(how) => Searched::diverged(how),
        None => searched(world, &mut judge, &queries, options).await?,
    };
    let took = begin.elapsed();
    let mut found = Vec::new();
    for one in std::mem::take(&mut judge.found) {
        found.push(shrink(world, &mut judge.rules, one).await?);
    }
    found.sort_by_key(|found| Some(found.check.as_str()) != violates);
    let outcomes = judge.outcomes.into_values().collect();
    let orders = orders(&judge.rules.steps());
    let (overlaps, faulted) = (Vec::new(), None);
    let (refused, not_compared) = (Vec::new(), Vec::new());
    let (waited, says_nothing) = (judge.waited, judge.rules.says_nothing());
    Ok((
        Explored {
            searched,
            orders,
            outcomes,
            waited,
            found,
            overlaps,
            faulted,
            took,
            says_nothing,
            refused,
            not_compared,
        },
        judge.rules,
    ))
}
