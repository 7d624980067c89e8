//! The checks: each asks one question of a history. One check a file.
//!
//! Three rules hold for all of them. A violation is only what certainly happened, whatever the
//! order of events that the record leaves open. A pass says in numbers what it has seen. A run that
//! never reached the state in question is inconclusive.

mod accounted;
mod bystanders_free;
mod exclusion;
mod freshness;
mod keys_independent;
mod lock_held;
pub mod name;
mod no_duplicates;
mod no_starvation;
mod retries_bounded;
mod sections;
mod serial_oracle;
mod settled;
#[cfg(test)]
mod twins;
mod waiters_wait;
mod waits;
mod wording;

pub use name::CheckName;

use std::thread;

use drift_engine::op::Op;

use crate::history::History;
use crate::history::view::View;
use crate::verdict::Verdict;

/// The length of a history, in operations, from which its checks run side by side.
const PARALLEL_ENTRIES_MIN: usize = 50_000;

/// What a check says to a history.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The strategy does not promise what the check asks about.
    NotApplicable {
        /// Why not, as one sentence.
        reason: String,
    },
    /// The check was put to the history.
    Judged(Verdict),
}

/// One check.
#[derive(Clone, Copy)]
pub struct Check {
    /// What it is called.
    pub name: CheckName,
    /// What it asks.
    pub question: &'static str,
    /// Why the history's strategy does not promise it, if it does not.
    not_promised: fn(&History) -> Option<&'static str>,
    run: fn(&View<'_>) -> Verdict,
}

/// Every check, in the order of reports.
pub const CHECKS: [Check; 12] = [
    Check {
        name: CheckName::NoDuplicates,
        question: "is nobody alerted twice about the same thing?",
        not_promised: |_| None,
        run: no_duplicates::check,
    },
    Check {
        name: CheckName::SerialOracle,
        question: "are the events those that the tasks, one after another, would have left?",
        not_promised: not_settling,
        run: serial_oracle::check,
    },
    Check {
        name: CheckName::Settled,
        question: "does one more recompute see everything and change nothing?",
        not_promised: not_settling,
        run: settled::check,
    },
    Check {
        name: CheckName::Freshness,
        question: "did every task read every claim that it is promised to read?",
        not_promised: |history| {
            (!history.meta.strategy.promises().freshness).then_some("the strategy does not promise fresh reads")
        },
        run: freshness::check,
    },
    Check {
        name: CheckName::Exclusion,
        question: "were the critical sections of each key disjoint?",
        not_promised: not_exclusive,
        run: exclusion::check,
    },
    Check {
        name: CheckName::LockHeld,
        question: "did every task work under its customer's lock, until COMMIT?",
        not_promised: not_exclusive,
        run: lock_held::check,
    },
    Check {
        name: CheckName::WaitersWait,
        question: "while one held the lock, did the others of its key wait for it?",
        not_promised: not_exclusive,
        run: waiters_wait::check,
    },
    Check {
        name: CheckName::KeysIndependent,
        question: "did tasks of different keys go on without waiting for each other?",
        not_promised: |history| {
            let promised = history.meta.strategy.promises().independent_keys;
            (!promised).then_some("the strategy locks more than one customer: keys are not independent")
        },
        run: keys_independent::check,
    },
    Check {
        name: CheckName::BystandersFree,
        question: "could claims be inserted while a task was in its critical section?",
        not_promised: |history| {
            let promised = history.meta.strategy.promises().bystanders_free;
            (!promised).then_some("the strategy's lock blocks inserts of claims")
        },
        run: bystanders_free::check,
    },
    Check {
        name: CheckName::Accounted,
        question: "did every task take effect exactly once, or fail for a known reason and leave nothing?",
        not_promised: |_| None,
        run: accounted::check,
    },
    Check {
        name: CheckName::RetriesBounded,
        question: "were retries bounded, paused, and only of what a retry can mend?",
        not_promised: |_| None,
        run: retries_bounded::check,
    },
    Check {
        name: CheckName::NoStarvation,
        question: "did nobody wait out of all proportion to the others?",
        not_promised: not_exclusive,
        run: no_starvation::check,
    },
];

impl Check {
    /// The check of that name.
    pub fn named(name: CheckName) -> &'static Self {
        CHECKS.iter().find(|check| check.name == name).expect("every name has a check")
    }

    /// Puts the check to a history, whether it is promised or not.
    pub fn verdict(&self, view: &View<'_>) -> Verdict {
        match (self.run)(view) {
            Verdict::Violation { mut counterexample } => {
                counterexample.entries.sort_unstable();
                counterexample.entries.dedup();
                Verdict::Violation { counterexample }
            }
            verdict => verdict,
        }
    }
}

/// Puts checks to a history, in the order given.
///
/// A check outside the strategy's promises is not applicable, unless it is the violation that the
/// scenario expects.
pub fn judge(
    history: &History,
    checks: &[CheckName],
    expected_violation: Option<CheckName>,
) -> Vec<(CheckName, Answer)> {
    let view = View::of(history);
    let answer = |&name: &CheckName| {
        let check = Check::named(name);
        let answer = match (check.not_promised)(history) {
            Some(why) if expected_violation != Some(name) => {
                Answer::NotApplicable { reason: format!("{}: {why}", history.meta.strategy) }
            }
            _ => Answer::Judged(check.verdict(&view)),
        };
        (name, answer)
    };
    if history.entries.len() < PARALLEL_ENTRIES_MIN {
        return checks.iter().map(answer).collect();
    }
    thread::scope(|scope| {
        let answers: Vec<_> = checks.iter().map(|name| scope.spawn(|| answer(name))).collect();
        let joined = answers.into_iter().map(|answer| answer.join());
        joined.map(|answer| answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

fn not_exclusive(history: &History) -> Option<&'static str> {
    (!history.meta.strategy.promises().exclusion).then_some("the strategy does not exclude tasks of one customer")
}

/// Without fresh reads, the last to write need not be the last to have read: then the events are
/// those of the last claims only while no claim arrives.
fn not_settling(history: &History) -> Option<&'static str> {
    let arrives = || history.entries.iter().any(|entry| matches!(entry.op, Op::InsertClaim { .. }));
    (!history.meta.strategy.promises().freshness && arrives())
        .then_some("the strategy does not promise fresh reads, and claims arrived")
}

#[cfg(test)]
mod tests {
    use drift_engine::lock::LockStrategy;

    use super::*;

    fn answer(strategy: LockStrategy, name: CheckName, expected: Option<CheckName>) -> Answer {
        judge(&twins::contended(strategy).finish(), &[name], expected).remove(0).1
    }

    #[test]
    fn every_name_has_its_check_in_the_order_of_reports() {
        assert_eq!(CHECKS.map(|check| check.name), CheckName::ALL);
        assert!(CHECKS.iter().all(|check| check.question.ends_with('?')));
    }

    #[test]
    fn what_is_not_promised_does_not_apply_unless_its_violation_is_expected() {
        let (strategy, name) = (LockStrategy::Row, CheckName::BystandersFree);
        assert!(matches!(answer(strategy, name, None), Answer::NotApplicable { .. }));
        assert!(matches!(answer(strategy, name, Some(name)), Answer::Judged(_)));
        assert!(matches!(answer(strategy, CheckName::Exclusion, None), Answer::Judged(Verdict::Pass { .. })));
    }

    #[test]
    fn a_constraint_alone_promises_the_last_tasks_events_only_while_no_claim_arrives() {
        let name = CheckName::SerialOracle;
        assert!(matches!(answer(LockStrategy::Constraint, name, None), Answer::NotApplicable { .. }));
        let mut history = twins::contended(LockStrategy::Constraint).finish();
        history.entries.retain(|entry| !matches!(entry.op, Op::InsertClaim { .. }));
        assert!(matches!(judge(&history, &[name], None)[0].1, Answer::Judged(_)));
    }
}
