//! One database of a case: opens sessions on it, asks the server who waits, and reads what is left.
//!
//! Where the database comes from is `provision`'s business; what runs on it is not this module's.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use drift_engine::claim::CustomerId;
use drift_engine::drift::Signal;
use drift_engine::lock::LockStrategy;
use drift_engine::op::{Op, Reply};
use drift_engine::postgres::PgSession;
use drift_engine::session::{Connect, DbError, ErrorClass, Kind, Operation, Session, SessionId};
use drift_engine::sqlite::SqliteSession;

use crate::history::{StoredEvent, StoredRun};
use crate::lens::fault::Terminate;
use crate::schedule::opening::Watch;
use crate::sqlite_busy::Busy;

/// Defines `stored_run` for a driver's row.
macro_rules! stored_run {
    ($row:ty) => {
        fn stored_run(row: &$row) -> Result<StoredRun, sqlx::Error> {
            use sqlx::Row;
            let days = |column| row.try_get::<i64, _>(column).map(|days| u32::try_from(days).unwrap_or(u32::MAX));
            let [baseline, current, volume] = [days("baseline_days")?, days("current_days")?, days("min_volume")?];
            Ok(StoredRun {
                id: drift_engine::run::RunId::new(row.try_get("id")?).map_err($crate::database::decode)?,
                identity: drift_engine::run::Identity {
                    customer: drift_engine::claim::CustomerId(row.try_get("customer_id")?),
                    as_of: row.try_get::<&str, _>("as_of")?.parse().map_err($crate::database::decode)?,
                    policy: drift_engine::policy::Policy::new(baseline, current, volume)
                        .map_err($crate::database::decode)?,
                },
                fresh: row.try_get("fresh")?,
                status: drift_engine::run::Status::parse(row.try_get("status")?)
                    .ok_or_else(|| $crate::database::decode("unknown status of a run"))?,
            })
        }
    };
}
pub(crate) use stored_run;

fn decode(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}

pub mod postgres;
pub mod sqlite;
pub mod waiting;

/// How long a connection may take to open, and a statement to end, where nothing shorter was asked for.
pub const STATEMENT_MAX: Duration = Duration::from_secs(30);

/// How long an answer may take: longer than [`STATEMENT_MAX`], so that a server that lives speaks
/// first. No operation, and so no case, can hang for longer.
pub const ANSWER_MAX: Duration = Duration::from_secs(40);

/// Waits for an answer, at the most [`ANSWER_MAX`].
async fn bounded<T>(during: Kind, answer: impl Future<Output = Result<T, DbError>>) -> Result<T, DbError> {
    let message = || format!("no answer within {} s", ANSWER_MAX.as_secs());
    match tokio::time::timeout(ANSWER_MAX, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(DbError { class: ErrorClass::Lost, code: None, message: message(), during }),
    }
}

/// One database, of either kind.
#[derive(Clone, Debug)]
pub enum Database {
    /// On a PostgreSQL server.
    Postgres(postgres::PgDatabase),
    /// A SQLite file.
    Sqlite(sqlite::SqliteDatabase),
}

impl Database {
    /// Opens what asks the server who waits, on a connection of its own.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn watcher(&self, strategy: LockStrategy) -> Result<Watcher, DbError> {
        match self {
            Self::Postgres(database) => database.watcher(strategy).await.map(Watcher::Postgres),
            Self::Sqlite(database) => database.watcher().await.map(Watcher::Sqlite),
        }
    }

    /// Opens a session that does not notice deadlocks, so that another one of the circle does. Where
    /// the role may not set that, it is a session like any other.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn connect_patiently(&self) -> Result<Driver, DbError> {
        match self {
            Self::Postgres(database) => database.connect_patiently().await.map(Driver::Postgres),
            Self::Sqlite(_) => self.connect().await,
        }
    }

    /// Reads every run and every event, ordered by run and business key.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn stored(&self) -> Result<(Vec<StoredRun>, Vec<StoredEvent>), DbError> {
        self.stored_of(|_| true).await
    }

    /// Reads these runs and their events, ordered by run and business key.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn stored_of(
        &self,
        wanted: impl Fn(&StoredRun) -> bool + Send,
    ) -> Result<(Vec<StoredRun>, Vec<StoredEvent>), DbError> {
        let mut runs = match self {
            Self::Postgres(database) => bounded(Kind::Read, database.stored_runs()).await?,
            Self::Sqlite(database) => database.stored_runs().await?,
        };
        runs.retain(wanted);
        let (mut session, mut events) = (self.connect().await?, Vec::new());
        for StoredRun { id, identity, .. } in &runs {
            let Reply::Events(signals) = session.call(Op::ReadEvents { run: id.clone() }).await? else {
                unreachable!("a read of events is answered with events");
            };
            let event =
                |signal: &Signal| StoredEvent { customer: identity.customer, run: id.clone(), signal: signal.clone() };
            events.extend(signals.iter().map(event));
        }
        Ok((runs, events))
    }

    /// Drops the unique constraint of the events: for the mutants that do without it.
    ///
    /// # Errors
    /// It is not there.
    pub async fn drop_constraint(&self) -> Result<(), DbError> {
        match self {
            Self::Postgres(database) => database.drop_constraint().await,
            Self::Sqlite(database) => database.drop_constraint().await,
        }
    }
}

impl Connect for Database {
    type Session = Driver;

    async fn connect(&self) -> Result<Driver, DbError> {
        match self {
            Self::Postgres(database) => database.connect().await.map(Driver::Postgres),
            Self::Sqlite(database) => {
                let (session, busy) = database.connect().await?;
                Ok(Driver::Sqlite(session, busy))
            }
        }
    }
}

impl Terminate for Database {
    async fn terminate(&self, session: SessionId) -> Result<(), DbError> {
        match self {
            Self::Postgres(database) => bounded(Kind::Begin, database.terminate(session)).await,
            // A scenario that asks for it does not run on SQLite, which has no server to ask.
            Self::Sqlite(_) => unreachable!("terminating a session of SQLite was refused when the scenario was read"),
        }
    }
}

/// A session of either kind.
#[derive(Debug)]
pub enum Driver {
    /// On PostgreSQL.
    Postgres(PgSession),
    /// On SQLite, with what its busy handler tells.
    Sqlite(SqliteSession, Arc<Busy>),
}

impl Session for Driver {
    type Op = Op;
    type Reply = Reply;

    fn id(&self) -> SessionId {
        match self {
            Self::Postgres(session) => session.id(),
            Self::Sqlite(session, _) => session.id(),
        }
    }

    async fn call(&mut self, op: Op) -> Result<Reply, DbError> {
        let during = op.kind();
        match self {
            Self::Postgres(session) => bounded(during, session.call(op)).await,
            Self::Sqlite(session, busy) => {
                let result = bounded(during, session.call(op)).await;
                busy.ended();
                result
            }
        }
    }
}

/// Asks a server of either kind who waits.
#[derive(Debug)]
pub enum Watcher {
    /// On PostgreSQL.
    Postgres(postgres::PgWatcher),
    /// On SQLite.
    Sqlite(sqlite::SqliteWatcher),
}

impl Watch for Watcher {
    async fn waits(&mut self, sessions: &[SessionId]) -> Result<Vec<(SessionId, Vec<SessionId>)>, DbError> {
        match self {
            Self::Postgres(watcher) => bounded(Kind::Read, watcher.waits(sessions)).await,
            Self::Sqlite(watcher) => Ok(watcher.waits(sessions)),
        }
    }

    async fn is_locked(&mut self, key: CustomerId) -> Result<Option<bool>, DbError> {
        match self {
            Self::Postgres(watcher) => bounded(Kind::Lock, watcher.is_locked(key)).await,
            Self::Sqlite(watcher) => watcher.is_locked().await.map(Some),
        }
    }
}
