//! The migrations, and `drift_engine::migrate`, on real databases.
//!
//! Where a test shows that a leftover is put right, it first shows that sqlx's own migrator trips over it.
#![expect(clippy::unwrap_used, reason = "a helper that cannot do its work fails the test")]

mod cluster;
mod postgres;
mod recovery;
mod replicas;
mod sqlite;

use std::path::PathBuf;
use std::time::Duration;

use drift_engine::lock::Backend;
use drift_engine::migrate::{self, Limits, MigrateError};
use sqlx::migrate::Migrator;

/// Short pauses, and a bound that no healthy run reaches.
const PATIENT: Limits = Limits {
    wait_max: Duration::from_secs(60),
    poll_every: Duration::from_millis(5),
    build_wait_max: Duration::from_secs(60),
};

/// Bounds that are reached at once.
const HASTY: Limits = Limits {
    wait_max: Duration::from_millis(50),
    poll_every: Duration::from_millis(10),
    build_wait_max: Duration::from_millis(100),
};

/// Two events of one business key, one of another key, and one more of the first.
const DUPLICATES: [(&str, f64); 4] = [("aetna", 0.1), ("aetna", 0.2), ("cigna", 0.3), ("aetna", 0.4)];

/// What sqlx does without us, reading the directory itself.
async fn stock(backend: Backend) -> Migrator {
    let directory: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../migrations", backend.as_str()].iter().collect();
    Migrator::new(directory).await.unwrap()
}

/// The code with which a call of sqlx's own migrator failed.
fn stock_code(result: Result<(), sqlx::migrate::MigrateError>) -> Option<String> {
    match result.expect_err("the stock migrator fails here") {
        sqlx::migrate::MigrateError::ExecuteMigration(error, _) | sqlx::migrate::MigrateError::Execute(error) => {
            Some(error.as_database_error()?.code()?.into_owned())
        }
        _ => None,
    }
}

/// Waits until `condition` holds. The bound is for a condition that never does.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..3_000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain until {what}");
}

/// What a call with [`HASTY`] limits answers, unless it has no bound after all.
async fn within_reason<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), call).await.expect("the limits bound the call")
}

#[test]
fn the_list_of_steps_says_what_there_is() {
    for backend in Backend::ALL {
        let steps = migrate::steps(backend);
        assert_eq!(migrate::latest(backend), steps[steps.len() - 1].version);
        assert!(steps.iter().all(|step| step.reversible() && step.backend == backend));
        assert_eq!(steps[1].description(), "fold duplicate events");
    }
    let outside: Vec<_> = migrate::steps(Backend::Postgres).iter().filter(|step| !step.up.in_transaction()).collect();
    assert_eq!(outside.iter().map(|step| step.version).collect::<Vec<_>>(), [3]);
}

#[test]
fn an_error_says_which_migration_and_which_code() {
    let error = MigrateError::NoSuchVersion { target: 9, latest: 4 };
    assert_eq!(error.to_string(), "there is no migration 9; the latest is 4");
    assert_eq!(error.code(), None);
}
