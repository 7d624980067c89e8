//! What if a migration is cut off: at each statement of each file, in each of four ways; then it is run again, as the
//! next deploy would, and the schema must be what a clean run gives.
//!
//! Another session has locks on the tables, so that the statement waits, by the server's word, when it is cut off. One
//! that does not wait has ended, and its transaction is cut off after it.

use std::time::Duration;

use drift_engine::postgres::classify;
use drift_engine::session::{DbError, Kind};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::task::JoinHandle;

use super::catalog::{self, Schema};
use super::migrations::{Migration, Script};
use super::sending;
use crate::database::postgres::PgDatabase;
use crate::sql::Statement;

/// How long a statement may take to get to where it waits.
const REACH_MAX: Duration = Duration::from_secs(10);
/// How long to rest between two questions.
const LOOK_EVERY: Duration = Duration::from_millis(3);
/// How long a statement waits for a lock, where that is what cuts it off, in milliseconds.
const LOCK_TIMEOUT_MS: u64 = 100;
/// How long one statement may take at all, in milliseconds.
const STATEMENT_MAX_MS: u64 = 60_000;

/// The ways to be cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manner {
    /// Somebody cancels the statement.
    Cancel,
    /// Somebody ends the session.
    Terminate,
    /// The session gives up waiting for a lock.
    LockTimeout,
    /// The migrating process is gone, and the server has not noticed yet; on SQLite, what it leaves are its files.
    Vanish,
    /// SQLite: the statement is interrupted.
    Interrupt,
    /// SQLite: somebody else has the file's lock for longer than the busy timeout.
    Busy,
}

impl Manner {
    /// Every way on PostgreSQL.
    pub const ALL: [Self; 4] = [Self::Cancel, Self::Terminate, Self::LockTimeout, Self::Vanish];
    /// Every way on SQLite.
    pub const ON_SQLITE: [Self; 3] = [Self::Interrupt, Self::Busy, Self::Vanish];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "a cancel",
            Self::Terminate => "the end of its session",
            Self::LockTimeout => "a lock_timeout",
            Self::Vanish => "the death of the migrating process",
            Self::Interrupt => "an interrupt",
            Self::Busy => "the busy timeout",
        }
    }
}

/// One cut, and what came of the next run.
#[derive(Debug)]
pub struct Cut<'a> {
    /// The file that was cut off.
    pub script: &'a Script,
    /// The statement at which it was.
    pub statement: usize,
    /// How.
    pub failure: Manner,
    /// How the next run ended.
    pub after: After,
}

/// How the next run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// The statement ended before it could be cut off in this way.
    NotReached,
    /// The schema is that of a clean run.
    Recovered,
    /// A file was refused.
    Refused {
        /// Which.
        file: String,
        /// How.
        error: DbError,
    },
    /// It went through, and the schema is another one.
    Differs(Vec<String>),
}

/// Applies everything without a cut: what the schema should be.
///
/// # Errors
/// A file is refused even so; its name and how.
pub async fn clean(migrations: &[&Migration], database: &PgDatabase) -> Result<Schema, (String, DbError)> {
    let lost = |error| (String::new(), error);
    for migration in migrations {
        apply(database, &migration.up).await.map_err(|error| (migration.up.file.clone(), error))?;
    }
    let mut connection = database.plain().await.map_err(lost)?;
    catalog::read(&mut connection).await.map_err(lost)
}

/// Cuts one statement of one file off, and runs that file and the later ones again. The database stands at the version
/// to begin at.
///
/// # Errors
/// The database is lost, or an earlier file is refused.
pub async fn cut<'a>(
    migrations: &[&'a Migration],
    (index, statement): (usize, usize),
    failure: Manner,
    database: &PgDatabase,
    clean: &Schema,
) -> Result<Cut<'a>, DbError> {
    for earlier in migrations.iter().take(index) {
        apply(database, &earlier.up).await?;
    }
    let script = &migrations[index].up;
    let reached = interrupt(database, script, statement, failure).await?;
    let told = |after| Cut { script, statement, failure, after };
    if !reached {
        return Ok(told(After::NotReached));
    }
    for migration in migrations.iter().skip(index) {
        if let Err(error) = apply(database, &migration.up).await {
            return Ok(told(After::Refused { file: migration.up.file.clone(), error }));
        }
    }
    let mut connection = database.plain().await?;
    let difference = clean.difference(&catalog::read(&mut connection).await?);
    Ok(told(if difference.is_empty() { After::Recovered } else { After::Differs(difference) }))
}

/// Applies a file, and answers how many bytes of WAL were written meanwhile, by the whole server.
///
/// # Errors
/// The file is refused, or the database cannot be asked.
pub async fn wal_of(script: &Script, database: &PgDatabase) -> Result<i64, DbError> {
    let mut asking = database.plain().await?;
    let before = written(&mut asking).await?;
    apply(database, script).await?;
    Ok(written(&mut asking).await? - before)
}

async fn written(asking: &mut PgConnection) -> Result<i64, DbError> {
    let asked = sqlx::query_scalar("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").fetch_one(asking).await;
    asked.map_err(|error| classify(error, Kind::Read))
}

/// Applies a file on a connection of its own.
pub(super) async fn apply(database: &PgDatabase, script: &Script) -> Result<(), DbError> {
    let mut connection = bounded(database).await?;
    sending::script(&mut connection, script).await.map_err(|error| classify(error, Kind::Write))?;
    let _ = connection.close().await;
    Ok(())
}

async fn bounded(database: &PgDatabase) -> Result<PgConnection, DbError> {
    let mut connection = database.plain().await?;
    send(&mut connection, &format!("SET statement_timeout = {STATEMENT_MAX_MS}")).await?;
    Ok(connection)
}

async fn send(connection: &mut PgConnection, sql: &str) -> Result<(), DbError> {
    let sent = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await;
    sent.map(drop).map_err(|error| classify(error, Kind::Write))
}

/// Runs a file up to a statement, and cuts that off; answers whether it could.
async fn interrupt(database: &PgDatabase, script: &Script, statement: usize, failure: Manner) -> Result<bool, DbError> {
    let mut other = database.plain().await?;
    let mut migrating = bounded(database).await?;
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut migrating)
        .await
        .map_err(|error| classify(error, Kind::Read))?;
    if failure == Manner::LockTimeout {
        send(&mut migrating, &format!("SET lock_timeout = {LOCK_TIMEOUT_MS}")).await?;
    }
    if script.in_transaction() {
        send(&mut migrating, "BEGIN").await?;
    }
    let next = if script.is_message() {
        Statement { text: script.text.clone(), ..script.statements[statement].clone() }
    } else {
        for earlier in script.statements.iter().take(statement) {
            one(&mut migrating, earlier).await?;
        }
        script.statements[statement].clone()
    };
    // Outside of a transaction a writer: a concurrent build gets as far as it can while it is waited for.
    hold(&mut other, if script.in_transaction() { "ACCESS EXCLUSIVE" } else { "ROW EXCLUSIVE" }).await?;
    let sent: JoinHandle<(PgConnection, Result<(), DbError>)> = tokio::spawn(async move {
        let sent = one(&mut migrating, &next).await;
        (migrating, sent)
    });
    let mut asking = database.plain().await?;
    let waits = waits(&mut asking, pid, &sent).await?;
    let end = |function: &str| format!("SELECT {function}({pid})");
    let reached = match failure {
        Manner::Cancel if waits => {
            send(&mut asking, &end("pg_cancel_backend")).await?;
            ended(sent).await.is_err()
        }
        Manner::LockTimeout if waits => ended(sent).await.is_err(),
        // What has ended outside of a transaction has taken effect: there is nothing left to cut off.
        Manner::Cancel | Manner::LockTimeout | Manner::Interrupt | Manner::Busy => false,
        Manner::Terminate | Manner::Vanish if !waits && !script.in_transaction() => false,
        Manner::Terminate => {
            send(&mut asking, &format!("SELECT pg_terminate_backend({pid}, 5000)")).await?;
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
    send(&mut other, "ROLLBACK").await?;
    Ok(reached)
}

async fn one(connection: &mut PgConnection, statement: &Statement) -> Result<(), DbError> {
    sending::statement(connection, statement).await.map_err(|error| classify(error, Kind::Write))
}

async fn ended(sent: JoinHandle<(PgConnection, Result<(), DbError>)>) -> Result<(), DbError> {
    let (connection, sent) = sent.await.expect("sending neither panics nor is aborted");
    drop(connection);
    sent
}

/// Takes a lock on every table that nobody has against it.
async fn hold(other: &mut PgConnection, mode: &str) -> Result<(), DbError> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY c.oid",
    )
    .fetch_all(&mut *other)
    .await
    .map_err(|error| classify(error, Kind::Read))?;
    send(other, "BEGIN").await?;
    for table in tables {
        send(other, "SAVEPOINT one").await?;
        if send(other, &format!("LOCK TABLE {table} IN {mode} MODE NOWAIT")).await.is_err() {
            send(other, "ROLLBACK TO one").await?;
        }
    }
    Ok(())
}

/// Whether the session comes to wait for a lock before what was sent has ended.
async fn waits<T>(asking: &mut PgConnection, pid: i32, sent: &JoinHandle<T>) -> Result<bool, DbError> {
    let mut left = REACH_MAX;
    while !sent.is_finished() && !left.is_zero() {
        let waits: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock')",
        )
        .bind(pid)
        .fetch_one(&mut *asking)
        .await
        .map_err(|error| classify(error, Kind::Read))?;
        if waits {
            return Ok(true);
        }
        tokio::time::sleep(LOOK_EVERY).await;
        left = left.saturating_sub(LOOK_EVERY);
    }
    Ok(false)
}
