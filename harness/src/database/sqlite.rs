//! A SQLite file.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use drift_engine::session::{DbError, ErrorClass, Kind, SessionId};
use drift_engine::sqlite::{SqliteSession, classify};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::history::StoredRun;
use crate::sqlite_busy::{self, Busy};

/// A SQLite file, and how the sessions on it are set.
#[derive(Clone, Debug)]
pub struct SqliteDatabase {
    options: SqliteConnectOptions,
    busy_timeout: Duration,
    next: Arc<AtomicI64>,
    sessions: Arc<Mutex<BTreeMap<SessionId, Arc<Busy>>>>,
    /// Whether a session that migrates looks after foreign keys.
    keys_in_migrations: bool,
}

impl SqliteDatabase {
    /// A file that `options` leads to; `busy_timeout` bounds each wait of its sessions.
    pub fn new(options: SqliteConnectOptions, busy_timeout: Duration) -> Self {
        let options = options.create_if_missing(false).disable_statement_logging();
        let (next, sessions) = (Arc::new(AtomicI64::new(1)), Arc::default());
        Self { options, busy_timeout, next, sessions, keys_in_migrations: true }
    }

    /// The same, with foreign keys in a session that migrates as its tool sets them.
    pub fn migrating(self, foreign_keys: bool) -> Self {
        Self { keys_in_migrations: foreign_keys, ..self }
    }

    /// Whether a session that migrates looks after foreign keys.
    pub fn migrates_with_foreign_keys(&self) -> bool {
        self.keys_in_migrations
    }

    /// Opens a plain connection that migrates.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub async fn migrator(&self) -> Result<SqliteConnection, DbError> {
        let options = self.options.clone().foreign_keys(self.keys_in_migrations);
        options.connect().await.map_err(|error| classify(error, Kind::Begin))
    }

    /// Opens a plain connection, with the driver's own busy handler.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub async fn plain(&self) -> Result<SqliteConnection, DbError> {
        self.options.connect().await.map_err(|error| classify(error, Kind::Begin))
    }

    /// Opens a session for an actor, and what its busy handler tells.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub async fn connect(&self) -> Result<(SqliteSession, Arc<Busy>), DbError> {
        self.connect_waiting(self.busy_timeout).await
    }

    /// The same for a session whose waits have another bound.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub async fn connect_waiting(&self, at_most: Duration) -> Result<(SqliteSession, Arc<Busy>), DbError> {
        let mut connection = self.plain().await?;
        let busy = sqlite_busy::install(&mut connection, at_most);
        let busy = busy.await.map_err(|error| classify(error, Kind::Begin))?;
        let id = SessionId(self.next.fetch_add(1, Ordering::Relaxed));
        self.sessions.lock().expect("nobody panics while holding the list").insert(id, busy.clone());
        Ok((SqliteSession::new(connection, id), busy))
    }

    /// Opens a session that is parked whenever it has to wait.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub async fn connect_parked(&self) -> Result<(SqliteSession, Arc<Busy>), DbError> {
        let mut connection = self.plain().await?;
        let busy = sqlite_busy::install_parked(&mut connection).await;
        let busy = busy.map_err(|error| classify(error, Kind::Begin))?;
        let id = SessionId(self.next.fetch_add(1, Ordering::Relaxed));
        Ok((SqliteSession::new(connection, id), busy))
    }

    /// The sessions that wait for a lock of the file's, by the word of their busy handlers.
    pub fn waiting(&self) -> Vec<SessionId> {
        let known = self.sessions.lock().expect("nobody panics while holding the list");
        known.iter().filter(|(_, busy)| busy.is_waiting()).map(|(session, _)| *session).collect()
    }

    pub(super) async fn watcher(&self) -> Result<SqliteWatcher, DbError> {
        let prober = self.options.clone().busy_timeout(Duration::ZERO).connect().await;
        let prober = prober.map_err(|error| classify(error, Kind::Begin))?;
        Ok(SqliteWatcher { sessions: self.sessions.clone(), prober })
    }

    pub(super) async fn stored_runs(&self) -> Result<Vec<StoredRun>, DbError> {
        let mut connection = self.plain().await?;
        let reading = |error| classify(error, Kind::Read);
        let runs = sqlx::query(
            "SELECT id, customer_id, as_of, baseline_days, current_days, min_volume, fresh, status \
             FROM drift_runs ORDER BY id",
        )
        .fetch_all(&mut connection)
        .await
        .map_err(reading)?;
        let _ = connection.close().await;
        runs.iter().map(stored_run).collect::<Result<_, _>>().map_err(reading)
    }

    pub(super) async fn drop_constraint(&self) -> Result<(), DbError> {
        let mut connection = self.plain().await?;
        let drop = "DROP INDEX drift_events_unique_signal";
        sqlx::raw_sql(drop).execute(&mut connection).await.map_err(|error| classify(error, Kind::Write))?;
        let _ = connection.close().await;
        Ok(())
    }
}

super::stored_run!(sqlx::sqlite::SqliteRow);

/// Asks the connections' busy handlers who waits.
#[derive(Debug)]
pub struct SqliteWatcher {
    sessions: Arc<Mutex<BTreeMap<SessionId, Arc<Busy>>>>,
    prober: SqliteConnection,
}

impl SqliteWatcher {
    /// SQLite does not say who holds the lock: no blockers are named.
    pub(super) fn waits(&self, sessions: &[SessionId]) -> Vec<(SessionId, Vec<SessionId>)> {
        let known = self.sessions.lock().expect("nobody panics while holding the list");
        let waiting = sessions.iter().filter(|session| known.get(session).is_some_and(|busy| busy.is_waiting()));
        waiting.map(|session| (*session, Vec::new())).collect()
    }

    /// Tries to become the writer.
    pub(super) async fn is_locked(&mut self) -> Result<bool, DbError> {
        match sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut self.prober).await {
            Ok(_) => {
                let ended = sqlx::raw_sql("ROLLBACK").execute(&mut self.prober).await;
                ended.map_err(|error| classify(error, Kind::Rollback))?;
                Ok(false)
            }
            Err(error) => match classify(error, Kind::Lock) {
                refused if refused.class == ErrorClass::Busy => Ok(true),
                other => Err(other),
            },
        }
    }
}
