//! Puts every check to every execution of a setting.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::EngineWorld;
use crate::check::{self, Answer, CheckName};
use crate::explore::search::{Execution, Go, Searched, Strategy, Visitor, search};
use crate::explore::world::{Lost, Taken};
use crate::report::{Shown, counterexample};
use crate::verdict::Verdict;

/// What came of a setting.
#[derive(Debug)]
pub struct Explored {
    /// What the search did.
    pub searched: Searched,
    /// The violations of the first execution that had one, that of the wanted check first.
    pub violations: Vec<Shown>,
    /// Of each check that applies: how many executions it passed, and in how many it had no answer.
    pub tallies: BTreeMap<CheckName, (u64, u64)>,
    /// The executions in which an operation waited.
    pub waited: u64,
    /// The number of different final states.
    pub outcomes: usize,
    /// How many operations the mutant altered.
    pub altered: u64,
}

struct EngineJudge {
    target: Option<CheckName>,
    until: Option<Instant>,
    violations: Vec<Shown>,
    tallies: BTreeMap<CheckName, (u64, u64)>,
    waited: u64,
    outcomes: BTreeMap<String, u64>,
}

/// Explores a setting until a violation of `target` (of any check, without one) or to the end.
///
/// Cancellation: the world must then be dropped.
///
/// # Errors
/// The database is lost.
pub async fn explore(
    world: &mut EngineWorld,
    strategy: Strategy,
    target: Option<CheckName>,
    until: Option<Instant>,
) -> Result<Explored, Lost> {
    let mut judge = EngineJudge {
        target,
        until,
        violations: Vec::new(),
        tallies: BTreeMap::new(),
        waited: 0,
        outcomes: BTreeMap::new(),
    };
    let searched = search(world, strategy, 1, &[], &mut judge).await?;
    let EngineJudge { violations, tallies, waited, outcomes, .. } = judge;
    Ok(Explored { searched, violations, tallies, waited, outcomes: outcomes.len(), altered: world.altered })
}

impl Visitor<EngineWorld> for EngineJudge {
    async fn visit(&mut self, world: &mut EngineWorld, execution: Execution) -> Result<Go, Lost> {
        self.waited += u64::from(execution.taken.iter().any(Taken::waits));
        let Some(history) = world.history.take() else {
            return Err(Lost::new(format!("actors {:?} wait for ever", execution.ended.stuck)));
        };
        for answer in execution.ended.answers.into_iter().flatten() {
            *self.outcomes.entry(answer.join("; ")).or_default() += 1;
        }
        let mut violations = Vec::new();
        for (check, answer) in check::judge(&history, &CheckName::ALL, None) {
            let Answer::Judged(verdict) = answer else { continue };
            let tally = self.tallies.entry(check).or_default();
            match verdict {
                Verdict::Pass { .. } => tally.0 += 1,
                Verdict::Inconclusive { .. } => tally.1 += 1,
                Verdict::Violation { counterexample: found } => {
                    let steps = counterexample::steps(&history, &found.entries);
                    violations.push(Shown { check, sentence: found.sentence, steps });
                }
            }
        }
        violations.sort_by_key(|shown| Some(shown.check) != self.target);
        let wanted = |shown: &Shown| self.target.is_none_or(|target| target == shown.check);
        if violations.iter().any(wanted) {
            self.violations = violations;
            return Ok(Go::Stop);
        }
        Ok(Go::On)
    }

    fn is_over(&self, _: u64) -> Option<String> {
        let late = self.until.is_some_and(|until| Instant::now() >= until);
        late.then(|| "by its time limit".to_owned())
    }
}
