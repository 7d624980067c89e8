//! A pause of the database is seen in full by an open loop: whoever should have started meanwhile has
//! waited. A closed loop is the broken twin: its workers stop asking, and the pause all but vanishes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use drift_engine::lock::LockStrategy;
use driftlock::capacity::alarm::Alarm;
use driftlock::capacity::drive::drive;
use driftlock::capacity::job::EngineJob;
use driftlock::capacity::load::{Arrivals, KeyChoice, Load};
use driftlock::capacity::phase::Phase;
use driftlock::capacity::recording::Recording;
use driftlock::clock::Clock;
use driftlock::database::Database;
use driftlock::fixture::{Databases, Host};
use driftlock::provision::{PostgresChoice, Profile, RunName, Server, StartOptions};
use driftlock::scenario::Scenario;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio_util::sync::CancellationToken;

use crate::SMALL;

const PAUSE: Duration = Duration::from_millis(900);
const RATE: f64 = 100.0;

/// How the database is made to pause.
#[derive(Clone, Copy, PartialEq)]
enum How {
    /// Another session has the lock.
    Lock,
    /// The server's processes are stopped.
    Stop,
}

/// The processes whose parent is `server`, and that itself.
fn processes(server: u32) -> Vec<Pid> {
    let server = i32::try_from(server).unwrap();
    let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap();
    let children = children.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap()));
    std::iter::once(Pid::from_raw(server)).chain(children).collect()
}

/// Holds the lock of customer 1, or stops the server, after 600 ms and for [`PAUSE`].
async fn pause(how: How, database: Database, server: u32) {
    let Database::Postgres(database) = database else { unreachable!("it was made on a server") };
    let mut holder = database.plain().await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    match how {
        How::Lock => {
            let lock = "BEGIN; SELECT FROM customers WHERE id = 1 FOR UPDATE";
            sqlx::raw_sql(lock).execute(&mut holder).await.unwrap();
            tokio::time::sleep(PAUSE).await;
            sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
        }
        How::Stop => {
            let stopped = processes(server);
            stopped.iter().for_each(|pid| kill(*pid, Signal::SIGSTOP).unwrap());
            tokio::time::sleep(PAUSE).await;
            stopped.iter().rev().for_each(|pid| kill(*pid, Signal::SIGCONT).unwrap());
        }
    }
}

async fn under(arrivals: Arrivals, how: How, databases: &mut Databases, scenario: &Arc<Scenario>) -> Recording {
    let template = databases.template(scenario, 1).await.unwrap();
    let copy = databases.copy(&template, scenario).await.unwrap();
    let Host::Postgres(server) = databases.host() else { unreachable!("it is PostgreSQL") };
    let server = server.pid().unwrap();
    let clock = Clock::start();
    let alarm = Arc::new(Alarm::start(clock.clone()).unwrap());
    let load = Load {
        arrivals,
        workers: 4,
        pool: None,
        keys: KeyChoice::One,
        key_count: 1,
        round_trip_added: Duration::ZERO,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(2),
        drain: Duration::from_secs(20),
        seed: 1,
    };
    let job = Arc::new(EngineJob {
        database: copy.database.clone(),
        scenario: scenario.clone(),
        strategy: LockStrategy::RowNoKey,
        round_trip_added: Duration::ZERO,
        clock: clock.clone(),
        alarm: alarm.clone(),
        seed: 1,
    });
    let pausing = tokio::spawn(pause(how, copy.database.clone(), server));
    let driven = drive(job, &load, &clock, &alarm, &CancellationToken::new()).await.unwrap();
    pausing.await.unwrap();
    databases.discard(copy).await.unwrap();
    assert_eq!((driven.recording.failed, driven.recording.unfinished), (0, 0));
    driven.recording
}

/// The tasks whose response took at least this part of the pause.
fn longer_than(recording: &Recording, part: f64) -> u64 {
    let nanos = (PAUSE.as_nanos() as f64 * part) as u64;
    recording.histograms[&Phase::Response].count_between(nanos, u64::MAX)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_server_shows_up_in_full_in_an_open_loop_and_hardly_in_a_closed_one() {
    let scenario = Arc::new(Scenario::parse(Path::new("small.toml"), SMALL.as_bytes()).unwrap());
    let options = StartOptions { choice: PostgresChoice::Local, pg_bin: None, profile: Profile::Durable, tcp: false };
    let name = RunName::new(&format!("omission-{}", std::process::id())).unwrap();
    let server = Server::start(&options, &name, &CancellationToken::new()).await.unwrap();
    let mut databases = Databases::new(Host::Postgres(Box::new(server))).await.unwrap();
    for how in [How::Lock, How::Stop] {
        let open = under(Arrivals::Constant(RATE), how, &mut databases, &scenario).await;
        // Nothing is skipped: two seconds of arrivals, each of them recorded.
        assert_eq!(open.tasks(), 200);
        let counted: u64 = open.intended.iter().map(|interval| interval.performed.done).sum();
        assert_eq!(counted, 200, "each in the interval in which it should have begun");
        assert!(open.histograms[&Phase::Response].max() >= PAUSE.as_nanos() as u64 * 9 / 10);
        // Those that should have started in the first half of the pause waited for at least the other half.
        let due = (RATE * PAUSE.as_secs_f64() / 2.0) as u64;
        let late = longer_than(&open, 0.5);
        assert!(late >= due - 3, "{late} of {due} tasks show half of the pause");

        let closed = under(Arrivals::Closed, how, &mut databases, &scenario).await;
        assert!(closed.tasks() > 20);
        assert!(longer_than(&closed, 0.5) <= 4, "a closed loop has one task a worker that waits");
    }
    databases.stop().await.unwrap();
}
