//! Migrations on SQLite.
//!
//! A whole call is one `BEGIN IMMEDIATE` transaction: replicas exclude each other by the file's write lock,
//! sqlx's own transactions become savepoints in it, and a call that fails leaves nothing behind.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::{Connection, Executor, SqliteConnection};

use super::{Limits, MigrateError, Repair, Report, SIGNAL, Step, files};
use crate::lock::Backend;
use crate::session::ErrorClass;

const BACKEND: Backend = Backend::Sqlite;

/// Applies every pending migration, or those up to and including `target`, all of them or none.
///
/// The connection must be outside a transaction. Its `busy_timeout` counts as part of a poll: waiting for
/// other writers is bounded by [`Limits::wait_max`], or by one `busy_timeout` if that is longer.
///
/// Cancellation: dropping the future rolls everything back.
///
/// # Errors
/// See [`MigrateError`]. Nothing is changed then, and the same call may be made again.
pub async fn apply(conn: &mut SqliteConnection, target: Option<i64>, limits: &Limits) -> Result<Report, MigrateError> {
    migrate(conn, Way::Up, target.unwrap_or(super::latest(BACKEND)), limits).await
}

/// Undoes, newest first, every applied migration above `target`, all of them or none; zero undoes all.
///
/// The connection's part and cancellation are those of [`apply`].
///
/// # Errors
/// See [`MigrateError`]. Nothing is changed then, and the same call may be made again.
pub async fn undo(conn: &mut SqliteConnection, target: i64, limits: &Limits) -> Result<Report, MigrateError> {
    migrate(conn, Way::Down, target, limits).await
}

/// The versions that the database has, without changing or locking anything.
///
/// # Errors
/// The database refused the question.
pub async fn applied(conn: &mut SqliteConnection) -> Result<BTreeSet<i64>, MigrateError> {
    let failed = MigrateError::database(BACKEND, "look for the table of migrations");
    let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations')")
        .fetch_one(&mut *conn)
        .await
        .map_err(failed)?;
    if known { recorded(conn).await } else { Ok(BTreeSet::new()) }
}

async fn recorded(conn: &mut SqliteConnection) -> Result<BTreeSet<i64>, MigrateError> {
    sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
        .fetch_all(conn)
        .await
        .map(BTreeSet::from_iter)
        .map_err(MigrateError::database(BACKEND, "read the table of migrations"))
}

/// Which files of a step are run.
#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

/// Tries until the file's locks are granted, within the limits. A try that is refused them, be it as late as
/// its commit, which in rollback-journal mode waits for readers, has changed nothing and can be repeated.
async fn migrate(conn: &mut SqliteConnection, way: Way, target: i64, limits: &Limits) -> Result<Report, MigrateError> {
    let target = super::check_target(BACKEND, target)?;
    let failed = MigrateError::database(BACKEND, "ask for the busy timeout");
    let busy_timeout_ms: i64 = sqlx::query_scalar("PRAGMA busy_timeout").fetch_one(&mut *conn).await.map_err(failed)?;
    let polls = limits.polls_max(Duration::from_millis(busy_timeout_ms.unsigned_abs()));
    for poll in 1..=polls {
        match attempt(conn, way, target).await {
            Err(error) if error.class() == ErrorClass::Busy => {}
            done => return done.map(|report| Report { refusals: poll - 1, ..report }),
        }
        if poll < polls {
            tokio::time::sleep(limits.poll_every).await;
        }
    }
    Err(MigrateError::Locked { holder: None, polls, poll_every: limits.poll_every })
}

/// Begins with the write lock in hand. A deferred transaction would read first, and then be refused the lock
/// at once, without the busy timeout, when another replica has written meanwhile.
async fn attempt(conn: &mut SqliteConnection, way: Way, target: i64) -> Result<Report, MigrateError> {
    let failed = MigrateError::database(BACKEND, "begin a migration");
    let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let mut report = Report::default();
    let result = match way {
        Way::Up => up(&mut transaction, target, &mut report).await,
        Way::Down => down(&mut transaction, target, &mut report).await,
    };
    // A rollback is waited for, so that the file's lock is free when the caller hears of the error.
    let ended = match result {
        Ok(()) => match transaction.commit().await {
            // sqlx only asks its thread for the rollback of a refused commit; the ping is answered after it.
            Err(error) => conn.ping().await.and(Err(error)),
            Ok(()) => Ok(()),
        },
        Err(_) => transaction.rollback().await,
    };
    result.and(ended.map_err(MigrateError::database(BACKEND, "end a migration"))).map(|()| report)
}

async fn up(conn: &mut SqliteConnection, target: i64, report: &mut Report) -> Result<(), MigrateError> {
    let migrator = files::migrator(BACKEND);
    // Applies nothing: it creates the table of migrations and compares it with the files.
    files::run_to(&migrator, 0, &mut *conn).await.map_err(MigrateError::records(BACKEND))?;
    let applied = recorded(conn).await?;
    for step in super::pending(BACKEND, target, &applied) {
        run(conn, &migrator, step, report).await?;
        report.versions.push(step.version);
    }
    // Applies nothing either: it compares the checksums of what had been applied before.
    files::run_to(&migrator, target, &mut *conn).await.map_err(MigrateError::records(BACKEND))
}

/// Runs one step, and folds again if duplicates arrived between the fold and the index. Within this
/// transaction no more can arrive, so once is enough.
async fn run(
    conn: &mut SqliteConnection,
    migrator: &Migrator,
    step: &Step,
    report: &mut Report,
) -> Result<(), MigrateError> {
    let failed = MigrateError::file(BACKEND, step.version, step.up.name);
    let first = files::run_to(migrator, step.version, &mut *conn).await.map_err(&failed);
    match first {
        Err(error) if error.class() == ErrorClass::Unique && step.version == SIGNAL.version => {}
        done => return done,
    }
    let fold = files::step(BACKEND, SIGNAL.fold).up;
    conn.execute(fold.sql).await.map_err(|error| MigrateError::file(BACKEND, SIGNAL.fold, fold.name)(error.into()))?;
    report.repairs.push(Repair::FoldedAgain { version: SIGNAL.fold });
    files::run_to(migrator, step.version, conn).await.map_err(failed)
}

async fn down(conn: &mut SqliteConnection, target: i64, report: &mut Report) -> Result<(), MigrateError> {
    let migrator = files::migrator(BACKEND);
    files::run_to(&migrator, 0, &mut *conn).await.map_err(MigrateError::records(BACKEND))?;
    let applied = recorded(conn).await?;
    for step in super::surplus(BACKEND, target, &applied) {
        let file = step.down.expect("every step of these lists can be undone");
        let failed = MigrateError::file(BACKEND, step.version, file.name);
        files::undo_to(&migrator, step.version - 1, conn).await.map_err(failed)?;
        report.versions.push(step.version);
    }
    Ok(())
}
