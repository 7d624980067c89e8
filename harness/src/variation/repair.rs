//! Tries what would mend a script or an application, each to the end.

use std::future::Future;
use std::sync::Arc;

use super::case::OfScript;
use super::mutate::{Looked, states};
use super::repairs::{Proposal, proposals};
use super::{Explorer, Refused, Seen, Serially, Variation, with_rows};
use crate::explore::case::Options;
use crate::explore::judge::Found;
use crate::explore::search::Coverage;
use crate::outcome::VerdictKind;
use crate::scenario::script::{SERIAL, Script, ScriptCase};

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
        /// The script whose steps are those of the order that shows it.
        script: Arc<Script>,
        /// It is violated too where nothing is concurrent.
        also_serially: bool,
        /// What was tried, those that hold first, the cheapest of them foremost.
        tried: Vec<Tried>,
    },
}

/// What is mended.
pub trait Subject: Send {
    /// Why a database cannot be used.
    type Error: Send;

    /// How many act in it.
    fn actors(&self) -> usize;

    /// Explores it with something changed, or as it is; with `compared`, the rows of all tables are compared with those of
    /// serial orders.
    fn explore(
        &mut self,
        with: Option<&Variation>,
        compared: bool,
        options: &Options,
    ) -> impl Future<Output = Result<Result<Looked, Refused>, Self::Error>> + Send;

    /// Runs every serial order of it, up to a bound.
    fn serially(
        &mut self,
        with: Option<&Variation>,
    ) -> impl Future<Output = Result<Result<Vec<Serially>, Refused>, Self::Error>> + Send;

    /// What may mend it. It has been explored as it is.
    fn proposals(
        &mut self,
        found: &Found,
    ) -> impl Future<Output = Result<Result<Vec<Proposal>, Refused>, Self::Error>> + Send;

    /// The script whose steps are those of what was found as it is.
    fn shown(&self) -> Arc<Script>;
}

impl<E: Explorer> OfScript<'_, E> {
    /// The script and its case with something changed, or as they are.
    fn changed<'a>(&'a self, with: Option<&'a Variation>) -> (&'a Arc<Script>, &'a ScriptCase) {
        with.map_or((self.script, self.case), |with| (&with.script, &with.case))
    }
}

impl<E: Explorer> Subject for OfScript<'_, E> {
    type Error = E::Error;

    fn actors(&self) -> usize {
        self.script.actors.len()
    }

    async fn explore(
        &mut self,
        with: Option<&Variation>,
        compared: bool,
        options: &Options,
    ) -> Result<Result<Looked, Refused>, E::Error> {
        let (mut script, case) = match with {
            Some(with) => (with.script.clone(), with.case.clone()),
            None => (self.script.clone(), self.case.clone()),
        };
        if compared {
            script = match self.catalog().await? {
                Ok(catalog) => with_rows(&script, &catalog.rows),
                Err(refused) => return Ok(Err(refused)),
            };
        }
        let seen = match self.explorer.explore(&script, &case, options).await? {
            Ok(seen) => seen,
            Err(refused) => return Ok(Err(refused)),
        };
        let executed = seen.explored.searched.executions.max(1);
        Ok(Ok(Looked { seen, executed, script: None, cannot_run: None, left: None }))
    }

    async fn serially(&mut self, with: Option<&Variation>) -> Result<Result<Vec<Serially>, Refused>, E::Error> {
        let catalog = match self.catalog().await? {
            Ok(catalog) => catalog,
            Err(refused) => return Ok(Err(refused)),
        };
        let (script, case) = self.changed(with);
        let (script, case) = (script.clone(), case.clone());
        self.explorer.serially(&script, &case, &catalog.rows).await
    }

    async fn proposals(&mut self, found: &Found) -> Result<Result<Vec<Proposal>, Refused>, E::Error> {
        let catalog = self.catalog().await?;
        Ok(catalog.map(|catalog| proposals(self.script, self.case, &catalog, found)))
    }

    fn shown(&self) -> Arc<Script> {
        self.script.clone()
    }
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
    repair_subject(&mut OfScript::new(explorer, script, case), options).await
}

/// Looks for what mends a job.
///
/// Cancellation: the subject must then be dropped.
///
/// # Errors
/// The database is lost.
pub async fn repair_subject<S: Subject>(
    subject: &mut S,
    options: &Options,
) -> Result<Result<Repaired, Refused>, S::Error> {
    let broken = match subject.explore(None, false, options).await? {
        Ok(broken) => broken.seen,
        Err(refused) => return Ok(Err(refused)),
    };
    let Some(found) = broken.explored.found.first().cloned() else {
        let (verdict, evidence) = broken.explored.verdict(None, subject.actors(), options.strategy);
        return Ok(Ok(Repaired::NothingToMend { verdict, evidence }));
    };
    let before = match subject.serially(None).await? {
        Ok(before) => before,
        Err(refused) => return Ok(Err(refused)),
    };
    let also_serially = before.iter().any(|run| run.wrong.iter().any(|(check, _)| *check == found.check));
    let proposals = match subject.proposals(&found).await? {
        Ok(proposals) => proposals,
        Err(refused) => return Ok(Err(refused)),
    };
    let mut tried = Vec::new();
    for proposal in proposals {
        tried.push(try_one(subject, proposal, &before, also_serially, options).await?);
    }
    // What holds, and least often makes somebody wait or begin anew, goes first.
    tried.sort_by_key(|tried| {
        let (waited, refused, executions) = tried.cost();
        let share = (waited + refused) * 1_000 / executions.max(1);
        (!matches!(tried.verdict, Verdict::Holds), share)
    });
    Ok(Ok(Repaired::Violated { found, script: subject.shown(), also_serially, tried }))
}

async fn try_one<S: Subject>(
    subject: &mut S,
    mut proposal: Proposal,
    before: &[Serially],
    also_serially: bool,
    options: &Options,
) -> Result<Tried, S::Error> {
    let looked = match subject.explore(Some(&proposal.variation), false, options).await? {
        Ok(looked) => looked,
        Err(Refused(why)) => return Ok(Tried { proposal, verdict: Verdict::Inapplicable(why), seen: None }),
    };
    let mut verdict = verdict(&looked, subject.actors(), options);
    let mut shows = looked.script;
    if matches!(verdict, Verdict::Holds) && !also_serially {
        // A repair may not buy its peace by having the job do something else.
        match subject.serially(Some(&proposal.variation)).await? {
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
        // The user's checks may not see what is lost. What was not compared to the end is not safe.
        match subject.explore(Some(&proposal.variation), true, options).await? {
            Ok(Looked { seen, script, .. }) => {
                let left = not_visited(&seen.explored.searched.coverage);
                if let Some(found) = seen.explored.found.into_iter().find(|found| found.check == SERIAL) {
                    shows = script;
                    verdict = Verdict::NotSerial(found);
                } else if let Some(how) = left {
                    verdict = Verdict::NotProven(format!("not all orders were compared with serial ones: {how}"));
                }
            }
            Err(Refused(why)) => {
                verdict = Verdict::NotProven(format!("its orders could not be compared with serial ones: {why}"));
            }
        }
    }
    // What was sent instead is known only now.
    if let Some(script) = shows {
        proposal.variation.shows(script);
    }
    Ok(Tried { proposal, verdict, seen: Some(looked.seen) })
}

/// Why not everything was visited, if it was not.
fn not_visited(coverage: &Coverage) -> Option<String> {
    match coverage {
        Coverage::Exhausted => None,
        Coverage::Bounded(bound) => Some(bound.clone()),
        Coverage::Stopped(why) => Some(format!("stopped {why}")),
        Coverage::Diverged(how) => Some(format!("diverged: {how}")),
    }
}

fn verdict(looked: &Looked, actors: usize, options: &Options) -> Verdict {
    let explored = &looked.seen.explored;
    if let Some(why) = &looked.cannot_run {
        return Verdict::Inapplicable(why.clone());
    }
    if let Some(found) = explored.found.first() {
        return Verdict::Violated(found.clone());
    }
    if looked.executed == 0 {
        return Verdict::Inapplicable("what was changed never ran".to_owned());
    }
    if let Some(how) = not_visited(&explored.searched.coverage) {
        return Verdict::NotProven(how);
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
