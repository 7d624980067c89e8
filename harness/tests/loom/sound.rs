//! The protocol as it ships keeps its promises in every order of operations that is tried, and none of
//! the promises is kept only because it was never put to the test.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::panic::resume_unwind;
use std::thread;
use std::time::Instant;

use drift_engine::lock::LockStrategy;
use driftlock::check::CheckName;
use driftlock::mutant;
use driftlock::mutant::recorded::{SOUND, Sound};
use driftlock::report::counterexample::render_steps;

use super::explore::{Bound, End, Explored, Tally, explore, least};
use super::record::keep;
use driftlock::setting::Setting;

/// What is explored of one strategy, each with its bound on preemptions.
fn settings(strategy: LockStrategy) -> Vec<(Setting, Option<usize>)> {
    // Three tasks are the costliest: further for what a task uses when nobody chooses.
    let of_three = Some(if strategy == strategy.backend().default_strategy() { 4 } else { 3 });
    let mut settings = vec![
        (Setting::same_run(strategy, 2), None),
        (Setting::failed_run(strategy), None),
        (Setting::only_failing_task(strategy), None),
        (Setting::failing_task(strategy), None),
        (Setting::arrivals(strategy), Some(4)),
        (Setting::two_customers(strategy), of_three),
        (Setting::same_run(strategy, 3), of_three),
    ];
    // With the others the antagonist waits before it has anything that a task wants.
    if matches!(strategy, LockStrategy::RowNoKey | LockStrategy::Advisory) {
        settings.push((Setting::deadlocks(strategy, 2), Some(3)));
    }
    settings
}

/// What cannot be put to the test here, of what a strategy promises.
fn never_tested(strategy: LockStrategy) -> &'static [CheckName] {
    match strategy {
        // The model knows no time, and so not how long somebody waited.
        LockStrategy::RowNoKey | LockStrategy::Advisory => &[CheckName::NoStarvation],
        // And nothing fails that a second try could mend.
        _ => &[CheckName::RetriesBounded, CheckName::NoStarvation],
    }
}

/// Explores everything of one strategy.
fn keeps_its_promises(strategy: LockStrategy) -> Vec<Sound> {
    let mut sound = Vec::new();
    let mut tallies: BTreeMap<CheckName, Tally> = BTreeMap::new();
    for (setting, preemptions) in settings(strategy) {
        let explored = hold(&setting, preemptions);
        let setting = setting.name.to_owned();
        sound.push(Sound { strategy, setting, preemptions, executions: explored.executions });
        for (check, tally) in explored.tallies {
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
    assert_eq!(never, expected, "these were never put to the test with {strategy}");
    sound
}

/// Explores a setting in which nothing may go wrong.
#[expect(clippy::disallowed_methods, reason = "how long an exploration takes is measured, and decides nothing")]
fn hold(setting: &Setting, preemptions: Option<usize>) -> Explored {
    let begun = Instant::now();
    let (explored, end) = explore(setting, Bound { preemptions, targets: &[] });
    let mut out = io::stdout();
    let bound = preemptions.map_or("all".to_owned(), |most| format!("all with up to {most} preemptions"));
    let (executions, strategy) = (explored.executions, setting.strategy);
    let seconds = begun.elapsed().as_secs_f64();
    if end == End::Exhausted {
        writeln!(out, "{strategy}, {}: {executions} executions in {seconds:.1} s, {bound}", setting.name)
            .expect("it is open");
        return explored;
    }
    // The least one is easier to read.
    let violations = least(std::slice::from_ref(setting), &[]).map_or(explored.violations, |least| least.violations);
    for shown in &violations {
        render_steps(shown, 150, &mut out).expect("it is open");
    }
    panic!("{strategy}, {}: {end:?} after {executions} executions", setting.name);
}

/// The strategies that the model has: the aborts of SERIALIZABLE are not for it to say.
fn modelled() -> impl Iterator<Item = LockStrategy> {
    LockStrategy::ALL.into_iter().filter(|strategy| *strategy != LockStrategy::Serializable)
}

#[test]
fn two_tasks_of_one_customer_are_sound_with_every_strategy() {
    for strategy in modelled() {
        hold(&Setting::same_run(strategy, 2), Some(1));
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "minutes without optimisation; run with --release")]
fn every_strategy_keeps_its_promises_in_every_order_that_is_tried() {
    let sound: Vec<Sound> = thread::scope(|scope| {
        let strategies: Vec<_> = modelled().map(|one| scope.spawn(move || keeps_its_promises(one))).collect();
        strategies.into_iter().flat_map(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    keep("loom-sound.json", SOUND, &sound);
}

#[test]
fn a_violation_that_is_caught_inside_a_savepoint_is_not_reported() {
    let setting = Setting::failed_run(LockStrategy::Constraint);
    let explored = hold(&Setting { rewrite: Some(mutant::SOUND.rewrite), ..setting }, Some(2));
    assert!(explored.altered > 0, "nothing was caught");
}
