//! Cuts a statement off on PostgreSQL. Another session has locks on the tables, so that the statement waits, by the
//! server's word, when it is cut off. One that does not wait has ended, and its transaction is cut off after it.

use std::time::Duration;

use drift_engine::postgres::classify;
use drift_engine::session::{DbError, Kind};
use sqlx::PgConnection;
use tokio_util::task::AbortOnDropHandle;

use super::line::PgLine;
use crate::database::postgres::PgDatabase;
use crate::database::waiting;
use crate::rehearse::failures::Manner;
use crate::rehearse::migrations::Script;
use crate::rehearse::target::Line;
use crate::sql::Statement;

/// How long a statement may take to get to where it waits.
const REACH_MAX: Duration = Duration::from_secs(10);
/// How long to rest between two questions.
const LOOK_EVERY: Duration = Duration::from_millis(3);
/// How long a statement waits for a lock, where that is what cuts it off, in milliseconds.
const LOCK_TIMEOUT_MS: u64 = 100;

/// Applies a file, and answers how many bytes of WAL were written meanwhile, by the whole server.
///
/// # Errors
/// The file is refused, or the database cannot be asked.
pub(super) async fn wal_of(line: &mut PgLine, script: &Script) -> Result<i64, DbError> {
    let before = written(&mut line.connection).await?;
    line.script(script).await?;
    Ok(written(&mut line.connection).await? - before)
}

async fn written(asking: &mut PgConnection) -> Result<i64, DbError> {
    let asked = sqlx::query_scalar("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").fetch_one(asking).await;
    asked.map_err(|error| classify(error, Kind::Read))
}

/// Runs a file up to a statement, and cuts that off; answers whether it could.
///
/// # Errors
/// The database is lost, or an earlier statement is refused.
pub(super) async fn cut_off(
    database: &PgDatabase,
    mut migrating: PgLine,
    script: &Script,
    statement: usize,
    failure: Manner,
) -> Result<bool, DbError> {
    let mut other = PgLine::new(database.plain().await?);
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut migrating.connection)
        .await
        .map_err(|error| classify(error, Kind::Read))?;
    if failure == Manner::LockTimeout {
        migrating.text(&format!("SET lock_timeout = {LOCK_TIMEOUT_MS}")).await?;
    }
    if script.in_transaction() {
        migrating.text("BEGIN").await?;
    }
    let next = if script.is_message() {
        Statement { text: script.text.clone(), ..script.statements[statement].clone() }
    } else {
        for earlier in script.statements.iter().take(statement) {
            migrating.statement(earlier).await?;
        }
        script.statements[statement].clone()
    };
    // Outside of a transaction a writer: a concurrent build gets as far as it can while it is waited for.
    hold(&mut other, if script.in_transaction() { "ACCESS EXCLUSIVE" } else { "ROW EXCLUSIVE" }).await?;
    let sent: AbortOnDropHandle<Sent> = AbortOnDropHandle::new(tokio::spawn(async move {
        let sent = migrating.statement(&next).await;
        (migrating, sent)
    }));
    let mut asking = PgLine::new(database.plain().await?);
    let waits = waits(&mut asking.connection, pid, &sent).await?;
    let end = |function: &str| format!("SELECT {function}({pid})");
    let reached = match failure {
        Manner::Cancel if waits => {
            asking.text(&end("pg_cancel_backend")).await?;
            ended(sent).await.is_err()
        }
        Manner::LockTimeout if waits => ended(sent).await.is_err(),
        // What has ended outside of a transaction has taken effect: there is nothing left to cut off.
        Manner::Cancel | Manner::LockTimeout | Manner::Interrupt | Manner::Busy => false,
        Manner::Terminate | Manner::Vanish if !waits && !script.in_transaction() => false,
        Manner::Terminate => {
            asking.text(&format!("SELECT pg_terminate_backend({pid}, 5000)")).await?;
            let _ = ended(sent).await;
            true
        }
        Manner::Vanish => {
            // The task drops the connection, and the socket closes without a word.
            sent.abort();
            let _ = sent.await;
            true
        }
    };
    other.text("ROLLBACK").await?;
    Ok(reached)
}

/// What was sent, answered, and its session: that is to live until it is cut off.
type Sent = (PgLine, Result<(), DbError>);

async fn ended(sent: AbortOnDropHandle<Sent>) -> Result<(), DbError> {
    let (line, sent) = sent.await.expect("sending neither panics nor is aborted");
    drop(line);
    sent
}

/// Takes a lock on every table that nobody has against it.
async fn hold(other: &mut PgLine, mode: &str) -> Result<(), DbError> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY c.oid",
    )
    .fetch_all(&mut other.connection)
    .await
    .map_err(|error| classify(error, Kind::Read))?;
    other.text("BEGIN").await?;
    for table in tables {
        other.text("SAVEPOINT one").await?;
        if other.text(&format!("LOCK TABLE {table} IN {mode} MODE NOWAIT")).await.is_err() {
            other.text("ROLLBACK TO one").await?;
        }
    }
    Ok(())
}

/// Whether the session comes to wait for a lock before what was sent has ended.
async fn waits<T>(asking: &mut PgConnection, pid: i32, sent: &AbortOnDropHandle<T>) -> Result<bool, DbError> {
    let mut left = REACH_MAX;
    while !sent.is_finished() && !left.is_zero() {
        if waiting::waits(asking, pid).await.map_err(|error| classify(error, Kind::Read))? {
            return Ok(true);
        }
        tokio::time::sleep(LOOK_EVERY).await;
        left = left.saturating_sub(LOOK_EVERY);
    }
    Ok(false)
}
