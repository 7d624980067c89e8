//! One case, explored and judged.

use std::time::Duration;

use tokio::time::Instant;

use super::judge::{Found, Judge, Limit, Rules};
use super::overlap::Overlapped;
use super::search::{Coverage, Searched, Strategy, orders, search};
use super::shrink::shrink;
use super::world::{Lost, World};
use crate::report::Word;

/// How to explore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which orders to visit.
    pub strategy: Strategy,
    /// The seed of random orders.
    pub seed: u64,
    /// When to stop before the end, if ever.
    pub limit: Option<Limit>,
    /// Whether to go on after a violation.
    pub all: bool,
}

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Explored {
    /// What the search did.
    pub searched: Searched,
    /// The orders in which the actors' steps can be arranged, whether possible or not.
    pub orders: f64,
    /// Every outcome, with how many executions came to it.
    pub outcomes: Vec<(String, u64)>,
    /// The executions in which a step waited.
    pub waited: u64,
    /// The violations, one a check, each made smaller; the expected one first.
    pub found: Vec<Found>,
    /// What came of the steps that were run at the same time.
    pub overlaps: Vec<Overlapped>,
    /// How long the search took, without making violations smaller.
    pub took: Duration,
}

impl Explored {
    /// Whether the case has its violation, or one of any check if none is expected.
    pub fn has_found(&self, violates: Option<&str>) -> bool {
        let overlapped = self.overlaps.iter().flat_map(|of| &of.found).map(|together| &together.found);
        let mut found = self.found.iter().chain(overlapped);
        found.any(|found| violates.is_none_or(|check| found.check == check))
    }

    /// The verdict, and the sentence that shows it.
    pub fn verdict(&self, violates: Option<&str>, actors: usize) -> (Word, String) {
        let Searched { executions, abandoned, .. } = self.searched;
        if let Some(found) = self.found.first() {
            return (Word::Violation, format!("{}: {}, in execution {executions}", found.check, found.sentence));
        }
        let overlaps = || self.overlaps.iter().map(Overlapped::evidence).collect::<Vec<_>>().join("; ");
        for of in &self.overlaps {
            if let Some(together) = of.found.first() {
                let (found, [first, second]) = (&together.found, &of.names);
                let when = format!("with {first} and {second} at the same time, in execution {}", together.number);
                return (Word::Violation, format!("{}: {}, {when}", found.check, found.sentence));
            }
        }
        let all = match &self.searched.coverage {
            Coverage::Exhausted => "exhausted at statement granularity".to_owned(),
            Coverage::Bounded(bound) => format!("bounded: {bound}"),
            Coverage::Stopped(why) => {
                return (Word::Inconclusive, format!("stopped {why}, before all orders were visited"));
            }
        };
        let evidence = format!(
            "{all}: {executions} executions ({abandoned} more were left half-way) stand for {} orders; in {} of them \
             a step waited; outcomes: {}",
            self.orders,
            self.waited,
            self.outcomes.len()
        );
        if executions == 1 && actors > 1 && violates.is_none() {
            return (Word::Inconclusive, format!("nothing that one actor does touches what another does ({evidence})"));
        }
        if self.overlaps.is_empty() {
            return (Word::Pass, evidence);
        }
        let evidence = format!("bounded: {}; {evidence}", overlaps());
        if self.overlaps.iter().any(|of| of.in_flight == 0) {
            return (Word::Inconclusive, format!("what was to run at the same time never did ({evidence})"));
        }
        match violates {
            // Nothing was found where only chance could have.
            Some(check) => (Word::Inconclusive, format!("{check} was not violated, which proves nothing ({evidence})")),
            None => (Word::Pass, evidence),
        }
    }

    /// Whether it is what the case expects.
    pub fn is_met(&self, violates: Option<&str>, actors: usize) -> bool {
        match violates {
            Some(_) => self.has_found(violates),
            None => self.verdict(None, actors).0 == Word::Pass,
        }
    }
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
    let queries = rules.queries();
    let mut judge = Judge::new(rules, options.limit, options.all, violates);
    let searched = search(world, options.strategy, options.seed, &queries, &mut judge).await?;
    let took = begin.elapsed();
    let mut found = Vec::new();
    for one in std::mem::take(&mut judge.found) {
        found.push(shrink(world, &mut judge.rules, one).await?);
    }
    found.sort_by_key(|found| Some(found.check.as_str()) != violates);
    let outcomes = judge.outcomes.into_iter().collect();
    let orders = orders(&judge.rules.steps());
    let overlaps = Vec::new();
    Ok((Explored { searched, orders, outcomes, waited: judge.waited, found, overlaps, took }, judge.rules))
}
