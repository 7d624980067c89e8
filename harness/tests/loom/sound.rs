//! The protocol as it ships keeps its promises in every order of operations that is tried, and none of
//! the promises is kept only because it was never put to the test.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Instant;

use drift_engine::lock::LockStrategy;
use driftlock::check::CheckName;
use driftlock::lens::mutant::Rewrite;
use driftlock::report::counterexample::render_steps;

use super::explore::{Bound, End, Tally, explore, least};
use super::setting::Setting;

/// What is explored of one strategy, each with its bound on preemptions.
fn settings(strategy: LockStrategy) -> Vec<(Setting, Option<usize>)> {
    let mut settings = vec![
        (Setting::same_run(strategy, 2), None),
        (Setting::failed_run(strategy), None),
        (Setting::only_failing_task(strategy), None),
        (Setting::failing_task(strategy), None),
        (Setting::arrivals(strategy), Some(4)),
        (Setting::two_customers(strategy), Some(4)),
        (Setting::same_run(strategy, 3), Some(4)),
    ];
    // With the others nothing that a task has is wanted by somebody who has what the task wants.
    if matches!(strategy, LockStrategy::RowNoKey | LockStrategy::Advisory) {
        settings.push((Setting::deadlocks(strategy, 2), Some(3)));
    }
    settings
}

/// What cannot be put to the test here, of what a strategy promises.
fn never_tested(strategy: LockStrategy) -> &'static [CheckName] {
    match strategy {
        // The model knows no time, and so not how long somebody waited.
        LockStrategy::RowNoKey | LockStrategy::Advisory | LockStrategy::Row => &[CheckName::NoStarvation],
        // And nothing fails that a second try could mend.
        _ => &[CheckName::RetriesBounded, CheckName::NoStarvation],
    }
}

fn keeps_its_promises(strategy: LockStrategy) {
    let mut tallies: BTreeMap<CheckName, Tally> = BTreeMap::new();
    for (setting, preemptions) in settings(strategy) {
        for (check, tally) in hold(&setting, preemptions) {
            let sum = tallies.entry(check).or_default();
            sum.passed += tally.passed;
            sum.inconclusive += tally.inconclusive;
        }
    }
    let mut out = io::stdout();
    for (check, Tally { passed, inconclusive }) in &tallies {
        writeln!(out, "{strategy}: {check} passed {passed} times, inconclusive {inconclusive}").expect("it is open");
    }
    let never: Vec<CheckName> =
        tallies.iter().filter(|(_, tally)| tally.passed == 0).map(|(check, _)| *check).collect();
    let mut expected = never_tested(strategy).to_vec();
    expected.retain(|check| tallies.contains_key(check));
    expected.sort_unstable();
    assert_eq!(never, expected, "these were never put to the test with {strategy}");
}

/// Explores a setting in which nothing may go wrong.
#[expect(clippy::disallowed_methods, reason = "how long an exploration takes is measured, and decides nothing")]
fn hold(setting: &Setting, preemptions: Option<usize>) -> BTreeMap<CheckName, Tally> {
    let begun = Instant::now();
    let (explored, end) = explore(setting, Bound { preemptions, targets: &[] });
    let mut out = io::stdout();
    let bound = preemptions.map_or("exhausted".to_owned(), |most| format!("exhausted up to {most} preemptions"));
    let (executions, strategy) = (explored.executions, setting.strategy);
    let seconds = begun.elapsed().as_secs_f64();
    if end == End::Exhausted {
        writeln!(out, "{strategy}, {}: {executions} executions in {seconds:.1} s, {bound}", setting.name)
            .expect("it is open");
        return explored.tallies;
    }
    // The least one is easier to read.
    let violations = least(std::slice::from_ref(setting), &[]).map_or(explored.violations, |least| least.violations);
    for shown in &violations {
        render_steps(shown, 150, &mut out).expect("it is open");
    }
    panic!("{strategy}, {}: {end:?} after {executions} executions", setting.name);
}

#[test]
fn two_tasks_of_one_customer_are_sound_with_every_strategy() {
    for strategy in LockStrategy::ALL.into_iter().filter(|strategy| *strategy != LockStrategy::Serializable) {
        hold(&Setting::same_run(strategy, 2), Some(1));
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "minutes without optimisation; run with --release")]
fn row_no_key_keeps_its_promises() {
    keeps_its_promises(LockStrategy::RowNoKey);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "minutes without optimisation; run with --release")]
fn row_keeps_its_promises() {
    keeps_its_promises(LockStrategy::Row);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "minutes without optimisation; run with --release")]
fn advisory_keeps_its_promises() {
    keeps_its_promises(LockStrategy::Advisory);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "minutes without optimisation; run with --release")]
fn constraint_keeps_its_promises() {
    keeps_its_promises(LockStrategy::Constraint);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "minutes without optimisation; run with --release")]
fn immediate_keeps_its_promises() {
    keeps_its_promises(LockStrategy::Immediate);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "minutes without optimisation; run with --release")]
fn a_violation_that_is_caught_inside_a_savepoint_is_not_reported() {
    let setting = Setting::failed_run(LockStrategy::Constraint);
    hold(&Setting { rewrite: Some(Rewrite::CaughtInSavepoint), ..setting }, Some(3));
}
