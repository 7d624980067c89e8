//! What the traffic says of itself: its errors, its results, its throughput.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::blame::between;
use super::super::budget::Budget;
use super::super::course::{Pass, Plan, Record};
use super::super::finding::Kind;
use super::super::flight::Refusal;
use super::super::operation::Operation;
use super::super::rate::rate;
use super::super::refusals::{self, Group};
use super::cause::{self, Cause};
use super::{CHECKS, Judged, at, deadlock};
use crate::check::{self, Answer, CheckName};
use crate::history::Tick;
use crate::verdict::Verdict;

/// How long the files must have taken for their throughput to be compared.
const COMPARED_MIN: Duration = Duration::from_millis(1_000);
/// What a task that was refused fails by itself: that is said already.
const OF_REFUSED_TASKS: [CheckName; 3] = [CheckName::Accounted, CheckName::SerialOracle, CheckName::Settled];

/// The errors that the application saw, by SQLSTATE.
pub(super) fn errors(operations: &[Operation]) -> BTreeMap<String, u64> {
    let mut errors = BTreeMap::new();
    for (code, _) in operations.iter().filter_map(|operation| operation.refused.as_ref()) {
        *errors.entry(code.to_string()).or_default() += 1;
    }
    errors
}

/// Judges the traffic.
pub(super) fn judge(plan: &Plan<'_>, record: &Record<'_>, budget: &Budget, judged: &mut Judged) {
    application_errors(plan, record, budget, judged);
    checks(record, judged);
    invariants(record, judged);
    throughput(plan, record, budget, judged);
}

/// The traffic that is refused without any migration: nothing can be said of the migrations then.
pub(super) fn fails_by_itself(record: &Record<'_>, judged: &mut Judged) {
    for Refusal { code, count, what, message } in &record.failing {
        judged.inconclusive.push(format!(
            "the traffic itself fails, before any migration: {count} times {code}, first at {what}: {message}; no file was \
             applied. Mend the traffic or its set-up, or allow the error with --allow-error {code}"
        ));
    }
}

fn application_errors(plan: &Plan<'_>, record: &Record<'_>, budget: &Budget, judged: &mut Judged) {
    let Some(crowd) = &plan.traffic else { return };
    for (number, group) in refusals::groups(&record.operations, &budget.errors).iter().enumerate() {
        let Group { code, message, first, until, count } = group;
        let operation = &record.operations[*first];
        // A deadlock is told as one.
        let is_told = record.files.iter().zip(&judged.measured).any(|(file, measured)| {
            deadlock::broken(&record.operations, file, measured).any(|circle| circle.entry == *first)
        });
        if is_told {
            continue;
        }
        let times = if *count == 1 { "once".to_owned() } else { format!("{count} times") };
        let sentence = format!(
            "the application ({}) saw {code} {times} within {} ms, first at {}: {message}",
            crowd.application(),
            between(operation.invoked, *until).as_millis(),
            operation.what,
        );
        let (file, statement) = match cause::of(plan, record, &judged.measured, (number, group)) {
            Some(Cause::Statement(file, statement)) => (file, statement),
            Some(Cause::Itself) | None => {
                judged.inconclusive.push(format!(
                    "the traffic itself fails: {sentence}; no file was being applied, and no statement explains it. Mend \
                     the traffic, or allow the error with --allow-error {code}"
                ));
                continue;
            }
        };
        let mut finding = at(file, statement, Kind::ApplicationError, sentence);
        finding.code = Some(code.clone());
        if code == "42P10" {
            finding.advice = "ON CONFLICT needs its unique index to be valid: deploy the code that says it after the \
                              migration that builds it, and withdraw the code before undoing that."
                .to_owned();
        }
        judged.findings.push(finding);
    }
}

/// The checks of `verify`, on the engine's history.
fn checks(record: &Record<'_>, judged: &mut Judged) {
    if let Some(error) = &record.unread {
        judged.inconclusive.push(format!("what the traffic left cannot be read any more: {error}"));
    }
    let (Some(history), Some(first)) = (&record.history, record.files.first()) else { return };
    let refused = judged.findings.iter().any(|finding| finding.kind == Kind::ApplicationError);
    for (name, answer) in check::judge(history, &CHECKS, None) {
        let Answer::Judged(verdict) = answer else { continue };
        match &verdict {
            Verdict::Violation { .. } if refused && OF_REFUSED_TASKS.contains(&name) => {}
            Verdict::Violation { counterexample } => {
                let sentence = format!("{name}: {}", counterexample.sentence);
                judged.findings.push(at(first, 0, Kind::WrongResult, sentence));
            }
            // That nothing had to be tried again is no fault of the rehearsal's.
            Verdict::Inconclusive { .. } if name == CheckName::RetriesBounded => {}
            Verdict::Inconclusive { why } if !refused => judged.inconclusive.push(format!("{name}: {why}")),
            _ => {}
        }
        judged.checks.push((name, verdict));
    }
}

/// The invariants of a script.
fn invariants(record: &Record<'_>, judged: &mut Judged) {
    let (Some(script), Some(first)) = (&record.script, record.files.first()) else { return };
    if script.invariants.is_empty() {
        judged.inconclusive.push("the script has no invariant: nothing was asked of its results".to_owned());
    }
    for (name, found) in &script.invariants {
        if let Some(found) = found {
            let sentence = format!("invariant {name}: {found} at the end");
            judged.findings.push(at(first, 0, Kind::WrongResult, sentence));
        }
    }
}

fn throughput(plan: &Plan<'_>, record: &Record<'_>, budget: &Budget, judged: &mut Judged) {
    let (Some(first), Some(_)) = (record.files.first(), &plan.traffic) else { return };
    // What was blocked comes back after the file's end.
    let ends = record.files.iter().zip(&judged.measured).filter(|(file, _)| file.pass == Pass::Up);
    let ends = ends.map(|(file, measured)| file.applied.until.0 + (measured.recovery_ms * 1e6) as u64);
    let (from, until) = (first.applied.from, Tick(ends.max().unwrap_or_default()));
    let operations = &record.operations;
    let [unobserved, before] = record.before.rates(operations);
    let rates = [
        unobserved,
        before,
        rate(operations, (from, until)),
        record.after.map(|after| rate(operations, after)).unwrap_or_default(),
    ];
    let (before, during) = (&rates[1], &rates[2]);
    // Where nothing went on before, nothing can be lost.
    let dip = if before.per_second > 0.0 { 1.0 - during.per_second / before.per_second } else { 0.0 };
    if between(from, until) >= COMPARED_MIN && dip - before.noise / 2.0 > budget.throughput_dip {
        let sentence = format!(
            "{:.0} operations a second while the files were applied, {:.0} before: {:.0} % lost; {:.0} % are allowed",
            during.per_second,
            before.per_second,
            dip * 100.0,
            budget.throughput_dip * 100.0
        );
        judged.findings.push(at(first, 0, Kind::Throughput, sentence));
    }
    judged.rates = Some(rates);
}
