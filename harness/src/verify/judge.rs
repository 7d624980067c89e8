//! From an executed case to a row of the report.

use std::collections::BTreeSet;
use std::time::Duration;

use super::execute::Executed;
use super::plan::Case;
use crate::check::{self, Answer, CheckName};
use crate::history::{History, Seen};
use crate::mutant::recorded::{self, Fate};
use crate::mutant::{Mutant, Stance};
use crate::outcome::{self, CheckRow, ExpectedRow, MutantRow, NotApplicable, ResultRow, Shown, VerdictKind};
use crate::scenario::Expected;
use crate::verdict::Verdict;

/// What came of a case, and what was left out of it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The row of the report.
    pub row: ResultRow,
    /// The checks that make no sense for its strategy.
    pub not_applicable: Vec<NotApplicable>,
}

/// Puts the scenario's checks to the history, and compares the answer with what is expected.
pub fn judge(case: &Case<'_>, executed: &Executed, took: Duration) -> Judged {
    let expected = match case.mutant {
        Some(mutant) => ExpectedRow { verdict: VerdictKind::Violation, check: must_notice(mutant, case) },
        None => match case.scenario.expectation(case.backend, case.strategy) {
            Expected::Pass => ExpectedRow { verdict: VerdictKind::Pass, check: None },
            Expected::Violation { check } => ExpectedRow { verdict: VerdictKind::Violation, check: Some(check) },
        },
    };
    let history = &executed.history;
    let (mut checks, mut shown, mut not_applicable) = (Vec::new(), Vec::new(), Vec::new());
    // What is expected of a mutant is that a promise is broken; of a strategy, that it has not promised.
    let unpromised = expected.check.filter(|_| case.mutant.is_none());
    for (name, answer) in check::judge(history, &case.scenario.checks, unpromised) {
        match answer {
            Answer::NotApplicable { reason } => not_applicable.push(NotApplicable {
                name: format!("{}/{name} ({})", case.scenario.name, case.strategy),
                backend: case.backend,
                reason,
            }),
            Answer::Judged(verdict) => {
                if let Verdict::Violation { counterexample: found } = &verdict {
                    let steps = outcome::steps(history, &found.entries);
                    shown.push(Shown { check: name, sentence: found.sentence.clone(), steps });
                }
                checks.push(CheckRow { name, verdict: word(&verdict), why: verdict.sentence().to_owned() });
            }
        }
    }
    // The violation that was expected is the one to be shown first.
    shown.sort_by_key(|one| Some(one.check) != expected.check);
    let (verdict, evidence) = match case.mutant {
        None => conclude(&checks, expected.check, executed),
        Some(_) => conclude_mutant(&checks, expected.check, executed),
    };
    let violated: Vec<CheckName> = shown.iter().map(|one| one.check).collect();
    let met = match (case.mutant, expected.check) {
        (Some(_), check) => {
            verdict == VerdictKind::Violation
                && executed.altered > 0
                && check.is_none_or(|check| violated.contains(&check))
        }
        (None, Some(check)) => verdict == VerdictKind::Violation && violated == [check],
        (None, None) => verdict == VerdictKind::Pass,
    };
    let name = case.mutant.map_or(case.scenario.name.as_str(), |mutant| mutant.name);
    let row = ResultRow {
        name: name.to_owned(),
        backend: case.backend,
        strategy: case.strategy,
        verdict,
        expected,
        met,
        evidence,
        checks,
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        replay: String::new(),
        tasks: case.scenario.tasks.count,
        waiters: waiters(history),
        counterexamples: shown,
        mutant: case.mutant.map(|mutant| MutantRow {
            killed_by: violated,
            executed: executed.altered,
            loom: recorded::of(mutant.name, case.backend).and_then(Fate::row),
        }),
    };
    Judged { row, not_applicable }
}

/// The check that must notice a mutant.
fn must_notice(mutant: &Mutant, case: &Case<'_>) -> Option<CheckName> {
    match mutant.on(case.backend) {
        Stance::Runs { by, .. } => Some(by),
        Stance::NotApplicable { .. } => None,
    }
}

fn word(verdict: &Verdict) -> VerdictKind {
    match verdict {
        Verdict::Pass { .. } => VerdictKind::Pass,
        Verdict::Violation { .. } => VerdictKind::Violation,
        Verdict::Inconclusive { .. } => VerdictKind::Inconclusive,
    }
}

/// The verdict on the case, and the sentence that shows it.
fn conclude(checks: &[CheckRow], expected: Option<CheckName>, executed: &Executed) -> (VerdictKind, String) {
    let find = |word: VerdictKind| checks.iter().filter(move |row| row.verdict == word);
    let sentence = |row: &CheckRow| format!("{}: {}", row.name, row.why);
    // What was not expected comes first.
    if let Some(row) = find(VerdictKind::Violation).find(|row| Some(row.name) != expected) {
        return (VerdictKind::Violation, sentence(row));
    }
    // An expected violation does not excuse what else was not put to the test.
    if let Some(why) = &executed.gave_up {
        return (VerdictKind::Inconclusive, format!("the arranged contention did not come about: {why}"));
    }
    if let Some(row) = find(VerdictKind::Inconclusive).next() {
        return (VerdictKind::Inconclusive, sentence(row));
    }
    if let Some(row) = find(VerdictKind::Violation).next() {
        return (VerdictKind::Violation, sentence(row));
    }
    if checks.is_empty() {
        return (VerdictKind::Inconclusive, "no check of the scenario applies here".to_owned());
    }
    let all: Vec<String> = checks.iter().map(sentence).collect();
    (VerdictKind::Pass, all.join("; "))
}

/// The verdict on a mutant: any violation shows that it was noticed, the one that is expected best.
fn conclude_mutant(checks: &[CheckRow], expected: Option<CheckName>, executed: &Executed) -> (VerdictKind, String) {
    let mut violated: Vec<&CheckRow> = checks.iter().filter(|row| row.verdict == VerdictKind::Violation).collect();
    violated.sort_by_key(|row| Some(row.name) != expected);
    match violated.first() {
        Some(row) if executed.altered == 0 => {
            (VerdictKind::Violation, format!("its altered operation never ran, and yet {}: {}", row.name, row.why))
        }
        Some(row) => (VerdictKind::Violation, format!("{}: {}", row.name, row.why)),
        None if executed.altered == 0 => (VerdictKind::Inconclusive, "its altered operation never ran".to_owned()),
        None => conclude(checks, None, executed),
    }
}

/// How many actors the server was seen to keep waiting.
fn waiters(history: &History) -> u32 {
    let mut seen = BTreeSet::new();
    for one in &history.seen {
        if let Seen::Waits { waits, .. } = one {
            seen.extend(waits.iter().map(|(actor, _)| *actor));
        }
    }
    u32::try_from(seen.len()).unwrap_or(u32::MAX)
}
