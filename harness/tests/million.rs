//! A million operations are judged by all checks in about a second; run with `--release -- --ignored`.

use std::time::Duration;

use drift_engine::lock::{Backend, LockStrategy};
use driftlock::check::{Answer, CheckName, judge};
use driftlock::history::Entry;
use driftlock::history::build::busy;

#[test]
fn a_long_sound_history_passes_every_check_that_it_reaches() {
    for strategy in LockStrategy::ALL.into_iter().filter(|strategy| strategy.backend() == Backend::Postgres) {
        let history = busy(strategy, 3_000);
        for (name, answer) in judge(&history, &CheckName::ALL, None) {
            let Answer::Judged(verdict) = answer else { continue };
            assert_eq!(verdict.word(), "pass", "{strategy} {name}: {}", verdict.sentence());
        }
    }
}

#[test]
#[ignore = "measures: needs a release build"]
#[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
fn a_million_operations_are_judged_in_about_a_second() {
    let history = busy(LockStrategy::RowNoKey, 1_000_000);
    let start = std::time::Instant::now();
    let answers = judge(&history, &CheckName::ALL, None);
    let elapsed = start.elapsed();
    let lines: Vec<String> = answers.iter().map(|(name, answer)| format!("{name}: {answer:?}")).collect();
    let report = format!(
        "{} operations of {} bytes in {elapsed:?}\n{}",
        history.entries.len(),
        size_of::<Entry>(),
        lines.join("\n")
    );
    assert!(elapsed < Duration::from_secs(5), "{report}");
    #[expect(clippy::print_stdout, reason = "the numbers are the point")]
    {
        println!("{report}");
    }
}
