//! Tries what would mend a script, each to the end.

use std::sync::Arc;

use super::mutate::states;
use super::repairs::{Proposal, proposals};
use super::{Explorer, Refused, Seen, Serially, with_rows};
use crate::explore::case::Options;
use crate::explore::judge::Found;
use crate::explore::search::Coverage;
use crate::outcome::VerdictKind;
use crate::scenario::script::{NamedQuery, SERIAL, Script, ScriptCase};

/// What came of a repair.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// All orders were visited, and nothing is violated.
    Holds,
    /// Something is still violated.
    Violated(Found),
    /// Nothing was violated in what was visited, which is not all.
    NotProven(String),
    /// Nothing was violated, for nothing happened any more.
    SaysNothing(String),
    /// By itself, with nothing concurrent, the job comes to something else than before.
    ChangesTheJob(String),
    /// Nothing that is checked is violated, but an order comes to rows that no serial order gives.
    NotSerial(Found),
    /// It cannot be run.
    Inapplicable(String),
}

/// A repair that was tried.
#[derive(Clone, Debug)]
pub struct Tried {
    /// What was tried.
    pub proposal: Proposal,
    /// What came of it.
    pub verdict: Verdict,
    /// What was seen of it.
    pub seen: Option<Seen>,
}

impl Tried {
    /// How much of concurrency it costs: the parts of the executions in which something waited, or was refused.
    pub fn cost(&self) -> (u64, u64, u64) {
        let Some(seen) = &self.seen else { return (0, 0, 0) };
        let refused = seen.explored.refused.iter().map(|(.., times)| times).sum();
        (seen.explored.waited, refused, seen.explored.searched.executions)
    }
}

/// What came of looking for repairs.
#[derive(Clone, Debug)]
pub enum Repaired {
    /// Nothing is violated: there is nothing to mend.
    NothingToMend {
        /// The script's own verdict: pass, or no answer.
        verdict: VerdictKind,
        /// What it says.
        evidence: String,
    },
    /// Something is.
    Violated {
        /// What.
        found: Found,
        /// It is violated too where nothing is concurrent.
        also_serially: bool,
        /// What was tried, those that hold first, the cheapest of them foremost.
        tried: Vec<Tried>,
    },
}

/// Looks for what mends a script.
///
/// Cancellation: the explorer must then be dropped.
///
/// # Errors
/// The database is lost.
pub async fn repair<E: Explorer>(
    explorer: &mut E,
    script: &Arc<Script>,
    case: &ScriptCase,
    options: &Options,
) -> Result<Result<Repaired, Refused>, E::Error> {
    let broken = match explorer.explore(script, case, options).await? {
        Ok(broken) => broken,
        Err(refused) => return Ok(Err(refused)),
    };
    let Some(found) = broken.explored.found.first().cloned() else {
        let (verdict, evidence) = broken.explored.verdict(None, script.actors.len(), options.strategy);
        return Ok(Ok(Repaired::NothingToMend { verdict, evidence }));
    };
    let catalog = match explorer.catalog(script, case).await? {
        Ok(catalog) => catalog,
        Err(refused) => return Ok(Err(refused)),
    };
    let before = match explorer.serially(script, case, &catalog.rows).await? {
        Ok(before) => before,
        Err(refused) => return Ok(Err(refused)),
    };
    let also_serially = before.iter().any(|run| run.wrong.iter().any(|(check, _)| *check == found.check));
    let mut tried = Vec::new();
    for proposal in proposals(script, case, &catalog, &found) {
        tried.push(try_one(explorer, proposal, &catalog.rows, &before, also_serially, options).await?);
    }
    // What holds, and least often makes somebody wait or begin anew, goes first.
    tried.sort_by_key(|tried| {
        let (waited, refused, executions) = tried.cost();
        let share = (waited + refused) * 1_000 / executions.max(1);
        (!matches!(tried.verdict, Verdict::Holds), share)
    });
    Ok(Ok(Repaired::Violated { found, also_serially, tried }))
}

async fn try_one<E: Explorer>(
    explorer: &mut E,
    proposal: Proposal,
    rows: &[NamedQuery],
    before: &[Serially],
    also_serially: bool,
    options: &Options,
) -> Result<Tried, E::Error> {
    let (script, case) = (&proposal.variation.script, &proposal.variation.case);
    let seen = match explorer.explore(script, case, options).await? {
        Ok(seen) => seen,
        Err(Refused(why)) => return Ok(Tried { proposal, verdict: Verdict::Inapplicable(why), seen: None }),
    };
    let mut verdict = verdict(&seen, script.actors.len(), options);
    if matches!(verdict, Verdict::Holds) && !also_serially {
        // A repair may not buy its peace by having the job do something else.
        match explorer.serially(script, case, rows).await? {
            Ok(after) => {
                let (was, is) = (states(before), states(&after));
                if let Some(state) = is.difference(&was).next() {
                    verdict = Verdict::ChangesTheJob(format!(
                        "with nothing concurrent it comes to {state}, where it came to {} before",
                        was.iter().map(String::as_str).collect::<Vec<_>>().join(" or ")
                    ));
                }
            }
            Err(Refused(why)) => verdict = Verdict::Inapplicable(why),
        }
    }
    if matches!(verdict, Verdict::Holds) && !also_serially {
        // The user's checks may not see what is lost.
        if let Ok(seen) = explorer.explore(&with_rows(script, rows), case, options).await?
            && let Some(found) = seen.explored.found.into_iter().find(|found| found.check == SERIAL)
        {
            verdict = Verdict::NotSerial(found);
        }
    }
    Ok(Tried { proposal, verdict, seen: Some(seen) })
}

fn verdict(seen: &Seen, actors: usize, options: &Options) -> Verdict {
    let explored = &seen.explored;
    if let Some(found) = explored.found.first() {
        return Verdict::Violated(found.clone());
    }
    match &explored.searched.coverage {
        Coverage::Exhausted => {}
        Coverage::Bounded(bound) => return Verdict::NotProven(bound.clone()),
        Coverage::Stopped(why) => return Verdict::NotProven(format!("stopped {why}")),
        Coverage::Diverged(how) => return Verdict::NotProven(format!("diverged: {how}")),
    }
    if let Some(why) = &explored.says_nothing {
        return Verdict::SaysNothing(why.clone());
    }
    match explored.verdict(None, actors, options.strategy) {
        (VerdictKind::Pass, _) => Verdict::Holds,
        // Everything waits from the first step on: there is one order, and it is a serial one.
        (VerdictKind::Inconclusive, _) if explored.searched.executions == 1 => Verdict::Holds,
        (_, why) => Verdict::NotProven(why),
    }
}
