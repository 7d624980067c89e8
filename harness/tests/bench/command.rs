use std::path::Path;
use std::time::Duration;

use driftlock::capacity::parts::Part;
use driftlock::capacity::phase::Phase;
use driftlock::capacity::wire::Wire;
use driftlock::provision::{PostgresChoice, Profile, RunName, Server, StartOptions};
use driftlock::report::bench::BenchReport;
use tokio_util::sync::CancellationToken;

use crate::{SMALL, call};

const QUICK: [&str; 4] = ["--warm-up", "100ms", "--duration", "700ms"];

/// A directory with the small scenario.
fn place() -> tempfile::TempDir {
    let at = tempfile::tempdir().unwrap();
    std::fs::write(at.path().join("small.toml"), SMALL).unwrap();
    at
}

#[tokio::test]
async fn runs_are_printed_again_as_they_were_and_merge_to_their_sum() {
    let at = place();
    for (seed, output) in [("1", "a"), ("2", "b")] {
        let common =
            ["bench", "small.toml", "--backend", "sqlite", "--workers", "1", "--seed", seed, "--output", output];
        let ran = call(at.path(), &[&common[..], &QUICK].concat()).await;
        assert!(matches!(ran.code, Some(0 | 3)), "{}{}", ran.out, ran.err);
        let again = call(at.path(), &["report", output]).await;
        assert_eq!((again.out, again.code), (ran.out, ran.code));
    }
    let merged = call(at.path(), &["merge", "a", "b", "--output", "ab"]).await;
    assert!(matches!(merged.code, Some(0 | 3)), "{}{}", merged.out, merged.err);
    let [a, b, ab] = ["a", "b", "ab"].map(|run| BenchReport::load(&at.path().join(run)).unwrap());
    assert!(a.recording.tasks() > 0 && b.recording.tasks() > 0);
    assert_eq!(ab.recording.tasks(), a.recording.tasks() + b.recording.tasks());
    assert_eq!((ab.recording.workers.len(), &ab.seeds[..]), (2, &[1, 2][..]));
    for (phase, histogram) in &ab.recording.histograms {
        let of = |run: &BenchReport| run.recording.histograms[phase].len();
        assert_eq!(histogram.len(), of(&a) + of(&b), "{phase:?}");
    }
    assert!(ab.recording.histograms.contains_key(&Phase::InLock));
    for (worker, run) in [(0, &a), (1, &b)] {
        for phase in [Phase::Response, Phase::LockWait] {
            let (whole, part) = (&ab.recording.parts, &run.recording.parts);
            assert_eq!(whole[&Part::Worker(worker, phase)], part[&Part::Worker(0, phase)], "{worker} {phase:?}");
        }
    }
    let key = |run: &BenchReport| run.recording.parts[&Part::Key(1, Phase::Response)].len();
    assert_eq!(key(&ab), key(&a) + key(&b));
    assert!(ab.parts.iter().any(|row| row.part == "worker-1/lock-wait" && row.tasks == b.recording.tasks()));
    assert_eq!(ab.spread.unwrap().tasks_min, a.recording.tasks().min(b.recording.tasks()));

    call(at.path(), &["report", "ab", "--html", "ab.html"]).await;
    let page = std::fs::read_to_string(at.path().join("ab.html")).unwrap();
    assert!(
        page.contains("Percentiles by phase")
            && page.contains("worker 1")
            && page.contains("Waits of each worker")
            && page.ends_with("</html>")
    );

    let twice = call(at.path(), &["merge", "a", "a"]).await.ends_with(2);
    assert!(twice.err.contains("seed: both have 1"), "{}", twice.err);
}

#[tokio::test]
async fn an_added_round_trip_is_waited_for_once_an_operation() {
    let at = place();
    let slow = ["bench", "small.toml", "--backend", "sqlite", "--workers", "1", "--rtt", "10ms", "--output", "slow"];
    let ran = call(at.path(), &[&slow[..], &QUICK].concat()).await;
    assert!(matches!(ran.code, Some(0 | 3)), "{}{}", ran.out, ran.err);
    let report = BenchReport::load(&at.path().join("slow")).unwrap();
    let recording = &report.recording;
    // In the lock: open the run, read, write, commit. Twice the delay would be 80 ms; half of the tasks may be slower
    // on a busy machine.
    let in_lock = recording.quantile(Phase::InLock, 0.5).unwrap();
    assert!((39_900_000..76_000_000).contains(&in_lock), "{in_lock}");
    let begin = &recording.histograms[&Phase::LockWait];
    assert!(begin.min() >= 9_990_000 && begin.value_at_quantile(0.5) < 19_000_000, "{begin:?}");
    let added = report.round_trip_added.unwrap();
    assert!((10e6..19e6).contains(&added), "{added}");
    assert!(ran.out.contains("10ms added to each round trip (measured: 1"), "{}", ran.out);
}

/// The engine's statements alone are measured, and the engine needs them and more, but for chance on a busy machine.
fn assert_floor(at: &Path, strategy: &str, out: &str) {
    let report = BenchReport::load(&at.join(strategy)).unwrap();
    let floor = report.calibration.unwrap().floor.unwrap();
    // Open the run, read, write, commit; without a lock the section begins with the transaction.
    assert_eq!(floor.statements, 4, "{strategy}");
    assert!(
        floor.database > 0.0 && floor.database < 2.0 * floor.engine && floor.operations < floor.engine,
        "{floor:?}"
    );
    assert!(floor.in_lock(Duration::from_millis(2)) > floor.database + 7_999_999.0);
    let section = if ["row", "advisory"].contains(&strategy) { "in the lock" } else { "after BEGIN" };
    assert!(report.floor_share.unwrap() > 0.0 && out.contains(&format!("floor: 4 statements {section}")), "{out}");
}

#[tokio::test]
async fn every_lock_is_put_under_load_on_postgres() {
    let at = place();
    for strategy in ["row", "advisory", "serializable", "constraint"] {
        let common =
            ["bench", "small.toml", "--strategy", strategy, "--rate", "60", "--pool", "2", "--output", strategy];
        let ran = call(at.path(), &[&common[..], &QUICK].concat()).await;
        assert!(matches!(ran.code, Some(0 | 3)), "{}{}", ran.out, ran.err);
        let recording = BenchReport::load(&at.path().join(strategy)).unwrap().recording;
        assert!(recording.tasks() > 10, "{}", ran.out);
        assert_floor(at.path(), strategy, &ran.out);
        for phase in [Phase::Lag, Phase::Pool, Phase::InLock, Phase::Commit] {
            assert!(recording.histograms.contains_key(&phase), "{strategy} without {phase:?}");
        }
        let locks = ["row", "advisory"].contains(&strategy);
        assert_eq!(recording.histograms.contains_key(&Phase::LockWait), locks);
        assert_eq!(ran.out.contains("ceiling: none by a lock"), !locks, "{}", ran.out);
    }
}

#[tokio::test]
async fn the_lock_script_is_measured_against_its_ceiling() {
    let at = place();
    let common = ["bench", "small.toml", "--script", "lock", "--rows", "5", "--keys", "uniform", "--output", "lock"];
    let ran = call(at.path(), &[&common[..], &QUICK].concat()).await;
    assert!(matches!(ran.code, Some(0 | 3)), "{}{}", ran.out, ran.err);
    let report = BenchReport::load(&at.path().join("lock")).unwrap();
    assert_eq!((report.recording.keys.len(), report.recording.failed), (5, 0));
    assert!(report.recording.keys.iter().all(|key| key.tasks > 0));
    assert!(!report.recording.histograms.contains_key(&Phase::Read), "a lock is no read");
    let (calibration, ceiling) = (report.calibration.unwrap(), report.ceiling().unwrap());
    let server = calibration.server.unwrap();
    assert!(server.round_trip > 0.0 && server.flush > 0.0);
    // Alone, a task has the lock for the INSERT and the COMMIT at least.
    assert!(calibration.in_lock_alone > 0.0 && calibration.in_lock_alone < calibration.service_alone);
    assert!(ceiling.whole > ceiling.one_key);
    assert_eq!(report.round_trip_added, None, "nothing was to be added");
}

#[tokio::test]
async fn the_lock_script_signs_in_over_tcp_with_a_password_and_not_with_a_wrong_one() {
    let at = place();
    let (choice, name) = (PostgresChoice::Local, RunName::new(&format!("tcp-{}", std::process::id())).unwrap());
    let options = StartOptions { choice, pg_bin: None, profile: Profile::Fast, tcp: true };
    let server = Server::start(&options, &name, &CancellationToken::new()).await.unwrap();
    let database = server.create_database("given", None).await.unwrap();
    let url = server.access(&database).unwrap().expose().to_owned();
    let common = ["bench", "small.toml", "--script", "lock", "--output", "tcp", "--postgres", &url];
    let ran = call(at.path(), &[&common[..], &QUICK].concat()).await;
    assert!(matches!(ran.code, Some(0 | 3)), "{}{}", ran.out, ran.err);
    let report = BenchReport::load(&at.path().join("tcp")).unwrap();
    assert!(report.recording.tasks() > 0 && report.recording.failed == 0);
    let mut config: tokio_postgres::Config = url.parse().unwrap();
    assert!(Wire::open(&config).await.is_ok());
    let wrong = Wire::open(config.password("wrong")).await.unwrap_err();
    assert_eq!(wrong.code.as_deref(), Some("28P01"), "{wrong}");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn pgbench_takes_turns_with_the_generator() {
    let at = place();
    let turns = ["beside-pgbench", "--clients", "2", "--rows", "1", "--rounds", "1", "--duration", "1s"];
    let ran = call(at.path(), &turns).await.ends_with(0);
    let row = ran.out.lines().find(|line| line.trim_start().starts_with("1 ")).unwrap_or_else(|| panic!("{}", ran.out));
    let numbers: Vec<f64> = row.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert_eq!(numbers.len(), 8);
    assert!(numbers.iter().all(|number| *number > 0.0), "{row}");
    let none = call(at.path(), &[&turns[..], &["--pgbench", "nowhere"]].concat()).await.ends_with(4);
    assert!(none.err.contains("nowhere"), "{}", none.err);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_is_started() {
    let at = place();
    let refused: [(&[&str], &str); 12] = [
        (&["bench", "small.toml", "--rows", "5"], "--script lock"),
        (&["bench", "small.toml", "--script", "lock", "--backend", "sqlite"], "PostgreSQL"),
        (&["bench", "small.toml", "--script", "lock", "--strategy", "advisory"], "no other way"),
        (&["bench", "nowhere.toml"], "nowhere.toml"),
        (&["bench", "deadlocks"], "deadlocks is no load"),
        (&["bench", "arrivals"], "claims arrive"),
        (&["bench", "small.toml", "--arrivals", "poisson"], "needs a rate"),
        (&["bench", "small.toml", "--arrivals", "closed", "--rate", "5"], "no rate"),
        (&["bench", "small.toml", "--backend", "sqlite", "--strategy", "row"], "--backend postgres"),
        (&["bench", "small.toml", "--duration", "0s"], "measures nothing"),
        (&["bench", "small.toml", "--pool", "9"], "more than the 3 workers"),
        (&["merge", "here", "there"], "here"),
    ];
    for (arguments, word) in refused {
        let called = call(at.path(), arguments).await.ends_with(2);
        assert!(called.err.contains(word), "{arguments:?}: {}", called.err);
    }
    assert!(!at.path().join("target").exists(), "a refused run leaves nothing");
}
