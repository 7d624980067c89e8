//! A database on a PostgreSQL server.

use std::time::Duration;

use drift_engine::claim::CustomerId;
use drift_engine::lock::LockStrategy;
use drift_engine::postgres::{PgSession, advisory_key, classify};
use drift_engine::session::{DbError, ErrorClass, Kind, SessionId};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

use super::STATEMENT_MAX;
use super::waiting::{Waiter, waiters};
use crate::history::StoredRun;

/// How long the server may take to end a session, in milliseconds.
const TERMINATE_MS: i64 = 5_000;
/// The sorts of locks that are about rows, or are asked for by name.
const SORTS: [&str; 4] = ["transactionid", "tuple", "advisory", "spectoken"];

/// A database on a PostgreSQL server, and how the sessions on it are set.
#[derive(Clone, Debug)]
pub struct PgDatabase {
    options: PgConnectOptions,
    lock_timeout: Option<Duration>,
}

impl PgDatabase {
    /// A database that `options` leads to; `lock_timeout` bounds each wait of its sessions for a lock.
    pub fn new(options: PgConnectOptions, lock_timeout: Option<Duration>) -> Self {
        Self { options: options.application_name("driftlock").disable_statement_logging(), lock_timeout }
    }

    /// How its sessions connect. Beware: sqlx's options show their password when they are debug-printed.
    pub fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// Opens a plain connection.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses.
    pub async fn plain(&self) -> Result<PgConnection, DbError> {
        let opening = self.options.connect();
        match tokio::time::timeout(STATEMENT_MAX, opening).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(classify(error, Kind::Begin)),
            Err(_) => Err(DbError {
                class: ErrorClass::Lost,
                code: None,
                message: format!("the server did not answer within {} s", STATEMENT_MAX.as_secs()),
                during: Kind::Begin,
            }),
        }
    }

    /// Opens a session for an actor.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses.
    pub async fn connect(&self) -> Result<PgSession, DbError> {
        PgSession::open(self.configured().await?).await
    }

    pub(super) async fn connect_patiently(&self) -> Result<PgSession, DbError> {
        let mut connection = self.configured().await?;
        // Only superusers may set it, and who may not gets a session like any other.
        let _ = sqlx::raw_sql("SET deadlock_timeout = '10min'").execute(&mut connection).await;
        PgSession::open(connection).await
    }

    async fn configured(&self) -> Result<PgConnection, DbError> {
        let mut connection = self.plain().await?;
        let lock_timeout = self.lock_timeout.map_or(0, |timeout| timeout.as_millis());
        let settings =
            format!("SET lock_timeout = {lock_timeout}; SET statement_timeout = {}", STATEMENT_MAX.as_millis());
        let set = sqlx::raw_sql(sqlx::AssertSqlSafe(settings)).execute(&mut connection).await;
        set.map_err(|error| classify(error, Kind::Begin))?;
        Ok(connection)
    }

    pub(super) async fn watcher(&self, strategy: LockStrategy) -> Result<PgWatcher, DbError> {
        Ok(PgWatcher { connection: self.plain().await?, strategy })
    }

    /// Ends a session, and waits until the server has let go of it.
    pub(super) async fn terminate(&self, session: SessionId) -> Result<(), DbError> {
        let mut connection = self.plain().await?;
        let ended: bool = sqlx::query_scalar("SELECT pg_terminate_backend($1::int, $2::bigint)")
            .bind(i32::try_from(session.0).expect("a process id of PostgreSQL fits"))
            .bind(TERMINATE_MS)
            .fetch_one(&mut connection)
            .await
            .map_err(|error| classify(error, Kind::Begin))?;
        let _ = connection.close().await;
        if ended {
            return Ok(());
        }
        let message = format!("the server did not end session {session} within {TERMINATE_MS} ms");
        Err(DbError { class: ErrorClass::Other, code: None, message, during: Kind::Begin })
    }

    pub(super) async fn stored_runs(&self) -> Result<Vec<StoredRun>, DbError> {
        let mut connection = self.plain().await?;
        let reading = |error| classify(error, Kind::Read);
        let runs = sqlx::query(
            "SELECT id, customer_id, as_of::text AS as_of, baseline_days::bigint AS baseline_days, \
                    current_days::bigint AS current_days, min_volume::bigint AS min_volume, fresh, status \
             FROM drift_runs ORDER BY id COLLATE \"C\"",
        )
        .fetch_all(&mut connection)
        .await
        .map_err(reading)?;
        let _ = connection.close().await;
        runs.iter().map(stored_run).collect::<Result<_, _>>().map_err(reading)
    }

    pub(super) async fn drop_constraint(&self) -> Result<(), DbError> {
        let mut connection = self.plain().await?;
        let drop = "ALTER TABLE drift_events DROP CONSTRAINT drift_events_unique_signal";
        sqlx::raw_sql(drop).execute(&mut connection).await.map_err(|error| classify(error, Kind::Write))?;
        let _ = connection.close().await;
        Ok(())
    }
}

super::stored_run!(sqlx::postgres::PgRow);

/// Asks PostgreSQL who waits.
#[derive(Debug)]
pub struct PgWatcher {
    connection: PgConnection,
    strategy: LockStrategy,
}

impl PgWatcher {
    /// A wait for a relation to be extended is a heavyweight lock too, and says nothing of whose rows it is about.
    pub(super) async fn waits(&mut self, sessions: &[SessionId]) -> Result<Vec<(SessionId, Vec<SessionId>)>, DbError> {
        let waiters = waiters(&mut self.connection).await.map_err(|error| classify(error, Kind::Read))?;
        let session = |pid: i32| SessionId(i64::from(pid));
        let is_meant = |waiter: &Waiter| sessions.contains(&session(waiter.pid)) && SORTS.contains(&&*waiter.sort);
        let meant = waiters.into_iter().filter(is_meant);
        Ok(meant.map(|waiter| (session(waiter.pid), waiter.behind.into_iter().map(session).collect())).collect())
    }

    /// Tries to take the strategy's own lock, for the length of one statement.
    pub(super) async fn is_locked(&mut self, key: CustomerId) -> Result<Option<bool>, DbError> {
        let row = match self.strategy {
            LockStrategy::Row => "SELECT id FROM customers WHERE id = $1::bigint FOR UPDATE NOWAIT",
            LockStrategy::RowNoKey => "SELECT id FROM customers WHERE id = $1::bigint FOR NO KEY UPDATE NOWAIT",
            LockStrategy::Advisory => {
                let granted: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1::bigint)")
                    .bind(advisory_key(key))
                    .fetch_one(&mut self.connection)
                    .await
                    .map_err(|error| classify(error, Kind::Lock))?;
                return Ok(Some(!granted));
            }
            LockStrategy::Serializable | LockStrategy::Constraint | LockStrategy::Immediate => return Ok(None),
        };
        match sqlx::query(row).bind(key.0).execute(&mut self.connection).await {
            Ok(_) => Ok(Some(false)),
            Err(error) => match classify(error, Kind::Lock) {
                refused if refused.class == ErrorClass::LockTimeout => Ok(Some(true)),
                other => Err(other),
            },
        }
    }
}
