//! An actor's connection to either database, as much as its steps need of it.

use std::sync::Arc;
use std::time::Duration;

use drift_engine::lock::Backend;
use drift_engine::session::{DbError, Kind, Session};
use drift_engine::{postgres, sqlite};
use sqlx::{AssertSqlSafe, PgConnection, Row, SqliteConnection, ValueRef};

use super::super::traffic;
use crate::database::Database;
use crate::explore::sqlite::{fetch, first_text, roll_back};
use crate::sqlite_busy::Busy;

/// How long a statement of the traffic may take on a server; on SQLite the busy timeout is the bound.
const STATEMENT_MAX_MS: u64 = 30_000;
/// How long to rest between two rounds on SQLite: whoever writes keeps every other writer out.
const REST_ON_SQLITE: Duration = Duration::from_millis(25);

/// The first value of a query's first row, if there is a row; a value may be NULL.
type First = Option<Option<String>>;

pub(super) enum Line {
    Postgres(PgConnection),
    Sqlite(SqliteConnection, Arc<Busy>),
}

impl Line {
    /// Opens one, and says which session it is.
    pub(super) async fn open(database: &Database) -> Result<(i64, Self), DbError> {
        match database {
            Database::Postgres(database) => {
                let failed = |error| postgres::classify(error, Kind::Begin);
                let mut connection = database.plain().await?;
                let bound = format!("SET statement_timeout = {STATEMENT_MAX_MS}");
                sqlx::raw_sql(AssertSqlSafe(bound)).execute(&mut connection).await.map_err(failed)?;
                let pid: i32 =
                    sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await.map_err(failed)?;
                Ok((i64::from(pid), Self::Postgres(connection)))
            }
            Database::Sqlite(database) => {
                let (session, busy) = database.connect().await?;
                Ok((session.id().0, Self::Sqlite(session.into_inner(), busy)))
            }
        }
    }

    /// Sends a statement.
    pub(super) async fn first(&mut self, sql: &str, during: Kind) -> Result<First, DbError> {
        match self {
            Self::Postgres(connection) => {
                first(connection, sql).await.map_err(|error| postgres::classify(error, during))
            }
            Self::Sqlite(connection, busy) => {
                let answer = fetch(connection, sql).await;
                busy.ended();
                let found = answer.map_err(|error| sqlite::classify(error, during))?;
                Ok((!found.0.is_empty()).then(|| first_text(&found.0)))
            }
        }
    }

    /// Ends what a round has left open; one that went well is not asked on a server, where it costs a round trip.
    pub(super) async fn clear(&mut self, went_well: bool) {
        match self {
            Self::Postgres(_) if went_well => {}
            Self::Postgres(connection) => {
                let _ = sqlx::raw_sql("ROLLBACK").execute(connection).await;
            }
            Self::Sqlite(connection, busy) => {
                roll_back(connection).await;
                busy.ended();
            }
        }
    }
}

async fn first(connection: &mut PgConnection, sql: &str) -> Result<First, sqlx::Error> {
    let row = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_optional(connection).await?;
    let Some(row) = row.filter(|row| !row.is_empty()) else { return Ok(None) };
    let value = row.try_get_raw(0)?;
    if value.is_null() {
        return Ok(Some(None));
    }
    value.as_str().map(|text| Some(Some(text.to_owned()))).map_err(sqlx::Error::Decode)
}

/// Runs a script's set-up, all of it at once.
pub(super) async fn set_up(setup: &str, database: &Database) -> Result<(), DbError> {
    let setup = sqlx::raw_sql(AssertSqlSafe(setup.to_owned()));
    match database {
        Database::Postgres(database) => {
            let mut connection = database.plain().await?;
            let failed = |error| postgres::classify(error, Kind::Write);
            setup.execute(&mut connection).await.map_err(failed)?;
            sqlx::raw_sql("VACUUM ANALYZE").execute(&mut connection).await.map(drop).map_err(failed)
        }
        Database::Sqlite(database) => {
            let mut connection = database.plain().await?;
            let sent = setup.execute(&mut connection).await;
            sent.map(drop).map_err(|error| sqlite::classify(error, Kind::Write))
        }
    }
}

pub(super) fn backend(database: &Database) -> Backend {
    match database {
        Database::Postgres(_) => Backend::Postgres,
        Database::Sqlite(_) => Backend::Sqlite,
    }
}

/// What begins a transaction where the script has no case on the backend.
pub(super) fn begin(backend: Backend) -> &'static str {
    match backend {
        Backend::Postgres => "BEGIN",
        Backend::Sqlite => "BEGIN IMMEDIATE",
    }
}

/// How long to rest between two rounds.
pub(super) fn rest(backend: Backend) -> Duration {
    match backend {
        Backend::Postgres => traffic::REST,
        Backend::Sqlite => REST_ON_SQLITE,
    }
}
