//! Several sessions that migrate one PostgreSQL database at once.

use std::collections::{BTreeMap, BTreeSet};

use drift_engine::lock::Backend;
use drift_engine::migrate::{MigrateError, postgres};
use drift_engine::session::ErrorClass;
use sqlx::migrate::Migrate;
use sqlx::{Executor, PgConnection};

use crate::cluster::Database;
use crate::postgres::{advisory_locks, seed};
use crate::{HASTY, PATIENT, stock, until, within_reason};

/// Waits until so many sessions have asked for the lock and been refused.
///
/// A session's statement starts anew with each message: parse, bind, execute, and bind of the next request. Who
/// was seen with a fourth start has asked twice.
async fn until_refused(watch: &mut PgConnection, sessions: usize) {
    let mut starts: BTreeMap<i32, BTreeSet<String>> = BTreeMap::new();
    until("the replicas were refused the lock", async || {
        let seen: Vec<(i32, String)> = sqlx::query_as(
            "SELECT pid, query_start::text FROM pg_stat_activity
             WHERE datname = current_database() AND query LIKE '%pg_try_advisory_lock%' AND pid <> pg_backend_pid()",
        )
        .fetch_all(&mut *watch)
        .await
        .unwrap();
        for (pid, start) in seen {
            starts.entry(pid).or_default().insert(start);
        }
        starts.values().filter(|starts| starts.len() >= 4).count() == sessions
    })
    .await;
}

#[tokio::test]
async fn three_replicas_at_once_migrate_without_an_error_beside_an_idle_transaction() {
    for round in 0..6 {
        let database = Database::new().await;
        let (mut first, mut idle) = (database.connect().await, database.connect().await);
        // From nothing, from before the build, and from before the attaching.
        let from = [0, 2, 3][round % 3];
        postgres::apply(&mut first, Some(from), &PATIENT).await.unwrap();
        idle.execute("BEGIN").await.unwrap();
        if from > 0 {
            seed(&mut first).await;
            idle.execute("SELECT count(*) FROM drift_runs").await.unwrap();
        }
        // All three are made to contend: somebody else has the lock until each of them was refused it.
        first.lock().await.unwrap();
        let mut replicas = Vec::new();
        for _ in 0..3 {
            let mut conn = database.connect().await;
            replicas.push(tokio::spawn(async move { postgres::apply(&mut conn, None, &PATIENT).await }));
        }
        until_refused(&mut first, 3).await;
        first.unlock().await.unwrap();
        let mut versions = Vec::new();
        for replica in replicas {
            let report = replica.await.unwrap().unwrap();
            assert!(report.refusals > 0);
            assert_eq!(report.repairs, []);
            versions.extend(report.versions);
        }
        assert_eq!(versions, (from + 1..=4).collect::<Vec<_>>(), "each step ran in exactly one of them");
        assert_eq!(advisory_locks(&mut first).await, 0);
    }
}

#[tokio::test]
async fn a_replica_that_waits_for_the_lock_does_not_hold_up_a_concurrent_build() {
    let database = Database::new().await;
    let mut holder = database.connect_with_lock_timeout("5s").await;
    postgres::apply(&mut holder, Some(1), &PATIENT).await.unwrap();
    holder.lock().await.unwrap();
    let mut conn = database.connect().await;
    let waiting = tokio::spawn(async move { postgres::apply(&mut conn, None, &PATIENT).await });
    until_refused(&mut holder, 1).await;
    holder.execute("CREATE INDEX CONCURRENTLY probe ON claims (payer)").await.expect("nobody holds a snapshot");
    holder.unlock().await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().versions, [2, 3, 4]);
}

#[tokio::test]
async fn a_replica_of_sqlx_alone_does_hold_up_a_concurrent_build() {
    let database = Database::new().await;
    let (mut holder, mut conn) = (database.connect().await, database.connect().await);
    let stock = stock(Backend::Postgres).await;
    stock.run_to(1, &mut holder).await.unwrap();
    holder.lock().await.unwrap();
    let build = async {
        until("sqlx waits for the lock", async || {
            sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event = 'advisory')",
            )
            .fetch_one(&mut holder)
            .await
            .unwrap()
        })
        .await;
        let built = holder.execute("CREATE INDEX CONCURRENTLY probe ON claims (payer)").await;
        // If the build was the victim its session still has the lock.
        holder.unlock().await.unwrap();
        built
    };
    let (waited, built) = tokio::join!(stock.run(&mut conn), build);
    let deadlock = |error: &sqlx::Error| error.as_database_error().and_then(|e| e.code()).as_deref() == Some("40P01");
    let waiter_died = matches!(&waited, Err(sqlx::migrate::MigrateError::Execute(error)) if deadlock(error));
    assert!(built.as_ref().is_err_and(deadlock) || waiter_died, "{built:?} {waited:?}");
}

#[tokio::test]
async fn a_lock_that_is_never_given_back_ends_in_an_error_after_the_bound() {
    let database = Database::new().await;
    let (mut holder, mut conn) = (database.connect().await, database.connect().await);
    // sqlx's own lock: a person with `sqlx migrate` and a replica exclude each other too.
    holder.lock().await.unwrap();
    let holder_pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut holder).await.unwrap();
    for error in [
        within_reason(postgres::apply(&mut conn, None, &HASTY)).await.unwrap_err(),
        within_reason(postgres::undo(&mut conn, 0, &HASTY)).await.unwrap_err(),
    ] {
        assert!(
            matches!(error, MigrateError::Locked { holder: Some(pid), polls: 5, .. } if pid == holder_pid),
            "{error}"
        );
        assert_eq!(error.class(), ErrorClass::LockTimeout);
    }
    assert_eq!(advisory_locks(&mut holder).await, 1, "the holder's, and no other");
    holder.unlock().await.unwrap();
    assert_eq!(postgres::apply(&mut conn, None, &HASTY).await.unwrap().refusals, 0);
}
