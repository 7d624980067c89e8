//! Criterion benchmarks live in `benches/`; here is what those that recompute share.

use std::time::Duration;

use drift_engine::lock::Backend;
use driftlock::capacity::load::{Arrivals, KeyChoice, Load};
use driftlock::fixture::Host;
use driftlock::provision::{Journal, PostgresChoice, Profile, RunName, Server, SqliteFiles, StartOptions};
use tokio_util::sync::CancellationToken;

/// A throw-away database that flushes.
///
/// # Panics
/// None can be had.
pub async fn host(backend: Backend, run: &str) -> Host {
    match backend {
        Backend::Postgres => {
            let choice = PostgresChoice::Local;
            let options = StartOptions { choice, pg_bin: None, profile: Profile::Durable, tcp: false };
            let name = RunName::new(&format!("{run}-{}", std::process::id())).expect("a name");
            let server = Server::start(&options, &name, &CancellationToken::new()).await.expect("a server");
            Host::Postgres(Box::new(server))
        }
        Backend::Sqlite => Host::Sqlite(SqliteFiles::create(Journal::Wal).await.expect("a directory")),
    }
}

/// A closed loop of tasks that are all of one customer.
pub fn load(workers: u32, duration: Duration) -> Load {
    Load {
        arrivals: Arrivals::Closed,
        workers,
        pool: None,
        keys: KeyChoice::One,
        key_count: 1,
        round_trip_added: Duration::ZERO,
        warm_up: Duration::ZERO,
        duration,
        drain: Duration::ZERO,
        seed: 1,
    }
}
