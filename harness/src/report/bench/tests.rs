use drift_engine::lock::Backend;

use super::*;
use crate::capacity::load::{KeyChoice, Load};
use crate::capacity::phase::Times;
use crate::capacity::recorder::{Finished, Outcome, Recorder};

fn load(round_trip_added: Duration) -> Load {
    Load {
        arrivals: Arrivals::Closed,
        workers: 2,
        pool: None,
        keys: KeyChoice::One,
        key_count: 1,
        round_trip_added,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(1),
        drain: Duration::ZERO,
        seed: 1,
    }
}

/// A run with so many tasks of two milliseconds, and so many arrivals that nobody came to.
fn ran(strategy: LockStrategy, load: Load, tasks: u32, unfinished: u32) -> BenchReport {
    let recorder = Recorder::new(&load, 1);
    let mut times = Times::default();
    times.add(Phase::InLock, 1_000_000);
    times.attempts = 1;
    for n in 0..tasks {
        let intended = Duration::from_micros(u64::from(n));
        let (ended, outcome) = (intended + Duration::from_millis(2), Outcome::Done);
        recorder.record(0, &Finished { worker: n % 2, key: 1, intended, ended, times: &times, outcome });
    }
    (0..unfinished).for_each(|_| recorder.unfinished(0, Duration::from_millis(1), Duration::from_secs(3)));
    let setting = Setting {
        scenario: "small".to_owned(),
        work: Work::Engine,
        backend: Backend::Postgres,
        strategy: Lock::Strategy(strategy),
        max_attempts: 5,
        data: String::new(),
        load,
    };
    let generator = Generator {
        cpu_seconds: 0.1,
        wall_seconds: 1.0,
        cores: 2,
        late_mean: 50_000.0,
        late_p99: 90_000,
        clock_step: 30,
        others: None,
    };
    let surroundings = Surroundings::here("17".to_owned(), "local".to_owned(), "durable".to_owned());
    BenchReport::new(setting, surroundings, recorder.finish(), generator, "driftlock bench small".to_owned())
}

fn calibrated(report: BenchReport) -> BenchReport {
    let floor = Some(Floor { statements: 4, database: 1.6e6, operations: 1.9e6, engine: 2e6 });
    let calibration = Calibration { server: None, service_alone: 2e6, in_lock_alone: 2e6, floor };
    report.calibrated(Some(calibration))
}

fn text(report: &BenchReport) -> String {
    let mut text = Vec::new();
    write(report, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn an_overloaded_system_is_a_result_that_is_told_and_no_task_at_all_is_none() {
    let overloaded = ran(LockStrategy::Row, load(Duration::ZERO), 50, 7);
    assert_eq!(overloaded.verdict, VerdictKind::Pass, "{:?}", overloaded.doubts);
    let told = "the system was overloaded: 7 arrivals found nobody free before the end";
    assert!(text(&overloaded).contains(told), "{}", text(&overloaded));
    let nothing = ran(LockStrategy::Row, load(Duration::ZERO), 0, 7);
    assert_eq!(nothing.verdict, VerdictKind::Inconclusive);
    assert!(text(&nothing).contains(told) && text(&nothing).contains("inconclusive: no task"), "{}", text(&nothing));
    assert!(!text(&ran(LockStrategy::Row, load(Duration::ZERO), 50, 0)).contains("overloaded"));
}

#[test]
fn without_a_lock_there_is_no_ceiling_by_one() {
    // Fifty tasks a second are a tenth of what one key's lock allows.
    let locked = calibrated(ran(LockStrategy::RowNoKey, load(Duration::ZERO), 50, 0));
    assert_eq!(locked.ceiling().unwrap().one_key, 500.0);
    assert!(text(&locked).contains("ceiling: 500.0/s on one key, 500.0/s here; achieved 10 %"), "{}", text(&locked));
    assert!(text(&locked).contains("floor: 4 statements in the lock, sent raw 1.600 ms"), "{}", text(&locked));
    for strategy in [LockStrategy::Serializable, LockStrategy::Constraint] {
        let report = calibrated(ran(strategy, load(Duration::ZERO), 50, 0));
        assert_eq!(report.ceiling(), None);
        let text = text(&report);
        assert!(text.contains(&format!("ceiling: none by a lock, since {strategy} takes none\n")), "{text}");
        assert!(text.contains("after BEGIN 2.000 ms") && !text.contains("achieved"), "{text}");
        assert!(text.contains("floor: 4 statements after BEGIN, sent raw") && !text.contains("in the lock"), "{text}");
    }
}

#[test]
fn what_was_really_added_to_a_round_trip_stands_beside_what_was_asked_for() {
    let report = ran(LockStrategy::Row, load(Duration::from_millis(5)), 50, 0);
    assert!(text(&report).contains(", 5ms added to each round trip\n"), "{}", text(&report));
    let mut report = report.delayed(Some(5_124_000.0));
    assert!(text(&report).contains(", 5ms added to each round trip (measured: 5.124 ms)\n"), "{}", text(&report));
    let mut other = ran(LockStrategy::Row, load(Duration::from_millis(5)), 50, 0).delayed(Some(6e6));
    other.seeds = vec![2];
    report.merge(&other).unwrap();
    assert_eq!(report.round_trip_added, Some(6e6));
}
