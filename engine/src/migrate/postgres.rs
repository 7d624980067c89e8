//! Migrations on PostgreSQL.
//!
//! One session at a time migrates a database: it holds the advisory lock that `sqlx migrate` takes as well.
//! What follows from that: an INVALID index under our name, which no backend is building, is a leftover.

mod index;
mod lock;

use std::collections::BTreeSet;

use sqlx::migrate::{Migrate, Migrator};
use sqlx::{Acquire, AssertSqlSafe, Executor, PgConnection};

use super::{BUILD_TRIES_MAX, Build, Limits, MigrateError, Repair, Report, SIGNAL, Step, files};
use crate::lock::Backend;
use crate::session::ErrorClass;

const BACKEND: Backend = Backend::Postgres;

/// Applies every pending migration, or those up to and including `target`.
///
/// The connection must be a session of its own (no transaction-pooling proxy) and outside a transaction.
/// Its `lock_timeout`, if it has one, bounds every wait for a table or for another transaction.
///
/// Cancellation: dropping the future rolls back an open transaction, leaves a concurrent build running in
/// the server until it notices, and gives the lock back when the connection is next used or closed; close
/// it. The next call recovers.
///
/// # Errors
/// See [`MigrateError`]. Whatever was applied before the failing step stays applied, the lock is given back,
/// and the same call may be made again.
pub async fn apply(conn: &mut PgConnection, target: Option<i64>, limits: &Limits) -> Result<Report, MigrateError> {
    let target = super::check_target(BACKEND, target.unwrap_or(super::latest(BACKEND)))?;
    let mut report = Report::default();
    let mut lock = lock::acquire(conn, limits, &mut report).await?;
    let result = apply_locked(lock.connection(), target, limits, &mut report).await;
    let released = lock.release().await;
    result.and(released).map(|()| report)
}

/// Undoes, newest first, every applied migration above `target`; zero undoes all.
///
/// Undoing the constraint first builds a spare index concurrently, so that `ON CONFLICT` never lacks one.
/// The connection's part and cancellation are those of [`apply`].
///
/// # Errors
/// See [`MigrateError`]. Whatever was undone before the failing step stays undone, the lock is given back,
/// and the same call may be made again.
pub async fn undo(conn: &mut PgConnection, target: i64, limits: &Limits) -> Result<Report, MigrateError> {
    let target = super::check_target(BACKEND, target)?;
    let mut report = Report::default();
    let mut lock = lock::acquire(conn, limits, &mut report).await?;
    let result = undo_locked(lock.connection(), target, limits, &mut report).await;
    let released = lock.release().await;
    result.and(released).map(|()| report)
}

/// The versions that the database has, without changing or locking anything.
///
/// # Errors
/// The database refused the question.
pub async fn applied(conn: &mut PgConnection) -> Result<BTreeSet<i64>, MigrateError> {
    let failed = MigrateError::database(BACKEND, "look for the table of migrations");
    let known: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *conn)
        .await
        .map_err(failed)?;
    if known { recorded(conn).await } else { Ok(BTreeSet::new()) }
}

async fn recorded(conn: &mut PgConnection) -> Result<BTreeSet<i64>, MigrateError> {
    sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
        .fetch_all(conn)
        .await
        .map(BTreeSet::from_iter)
        .map_err(MigrateError::database(BACKEND, "read the table of migrations"))
}

async fn apply_locked(
    conn: &mut PgConnection,
    target: i64,
    limits: &Limits,
    report: &mut Report,
) -> Result<(), MigrateError> {
    let migrator = files::migrator(BACKEND);
    // Applies nothing: it creates the table of migrations and compares it with the files.
    files::run_to(&migrator, 0, &mut *conn).await.map_err(MigrateError::records(BACKEND))?;
    let mut applied = recorded(conn).await?;
    finish_undo(conn, &SIGNAL, target, &mut applied, limits, report).await?;
    for step in super::pending(BACKEND, target, &applied) {
        if step.version == SIGNAL.version {
            build(conn, &migrator, step, &SIGNAL, limits, report).await?;
        } else {
            run(conn, &migrator, step).await?;
        }
        report.versions.push(step.version);
    }
    // Applies nothing either: it compares the checksums of what had been applied before.
    files::run_to(&migrator, target, &mut *conn).await.map_err(MigrateError::records(BACKEND))
}

/// Removes the spare that an interrupted undo of the constraint left, and makes the index's version pending
/// again if an interrupted undo took the index but not the record.
async fn finish_undo(
    conn: &mut PgConnection,
    build: &Build,
    target: i64,
    applied: &mut BTreeSet<i64>,
    limits: &Limits,
    report: &mut Report,
) -> Result<(), MigrateError> {
    if index::settle(conn, &build.spare, limits, report).await? {
        index::drop_concurrently(conn, &build.spare, limits).await?;
        report.repairs.push(Repair::DroppedSpare { index: build.spare.name });
    }
    if !applied.contains(&build.version) || applied.contains(&build.attach) || target < build.version {
        return Ok(());
    }
    if !index::settle(conn, &build.index, limits, report).await? {
        sqlx::query("DELETE FROM _sqlx_migrations WHERE version = $1")
            .bind(build.version)
            .execute(&mut *conn)
            .await
            .map_err(MigrateError::database(BACKEND, "forget a version whose index is gone"))?;
        applied.remove(&build.version);
        report.repairs.push(Repair::Forgotten { version: build.version });
    }
    Ok(())
}

async fn run(conn: &mut PgConnection, migrator: &Migrator, step: &Step) -> Result<(), MigrateError> {
    let failed = MigrateError::file(BACKEND, step.version, step.up.name);
    files::run_to(migrator, step.version, conn).await.map_err(failed)
}

/// Runs the step that builds an index, and folds again when duplicates arrived after the fold.
async fn build(
    conn: &mut PgConnection,
    migrator: &Migrator,
    step: &Step,
    build: &Build,
    limits: &Limits,
    report: &mut Report,
) -> Result<(), MigrateError> {
    let mut tries = 1;
    loop {
        if index::settle(conn, &build.index, limits, report).await? {
            // Built, but its session died before it could say so.
            conn.skip("_sqlx_migrations", &files::up(step)).await.map_err(MigrateError::records(BACKEND))?;
            report.repairs.push(Repair::Recorded { version: step.version });
            return Ok(());
        }
        let bound = index::bound_waits(conn, limits).await?;
        let built = run(conn, migrator, step).await;
        index::unbound_waits(conn, bound).await;
        match built {
            Err(error) if error.class() == ErrorClass::Unique && tries < BUILD_TRIES_MAX => tries += 1,
            done => return done,
        }
        fold_again(conn, build.fold).await?;
        report.repairs.push(Repair::FoldedAgain { version: build.fold });
    }
}

async fn fold_again(conn: &mut PgConnection, version: i64) -> Result<(), MigrateError> {
    let file = files::step(BACKEND, version).up;
    let work = async {
        let mut transaction = conn.begin().await?;
        transaction.execute(file.sql).await?;
        transaction.commit().await
    };
    work.await.map_err(|error| MigrateError::file(BACKEND, version, file.name)(error.into()))
}

async fn undo_locked(
    conn: &mut PgConnection,
    target: i64,
    limits: &Limits,
    report: &mut Report,
) -> Result<(), MigrateError> {
    let migrator = files::migrator(BACKEND);
    files::run_to(&migrator, 0, &mut *conn).await.map_err(MigrateError::records(BACKEND))?;
    let applied = recorded(conn).await?;
    for step in super::surplus(BACKEND, target, &applied) {
        if step.version == SIGNAL.attach && !index::settle(conn, &SIGNAL.spare, limits, report).await? {
            index::create_concurrently(conn, &SIGNAL.spare, limits).await?;
        }
        let file = step.down.expect("every step of these lists can be undone");
        let bound = if file.in_transaction() { false } else { index::bound_waits(conn, limits).await? };
        let undone = files::undo_to(&migrator, step.version - 1, conn).await;
        index::unbound_waits(conn, bound).await;
        undone.map_err(MigrateError::file(BACKEND, step.version, file.name))?;
        report.versions.push(step.version);
    }
    Ok(())
}

/// Runs a statement that is made of this program's own names.
async fn execute(conn: &mut PgConnection, sql: String, doing: &'static str) -> Result<(), MigrateError> {
    conn.execute(AssertSqlSafe(sql)).await.map(drop).map_err(MigrateError::database(BACKEND, doing))
}
