//! An actor's connection to either database, as much as its steps need of it.

use std::sync::Arc;
use std::time::Duration;

use drift_engine::lock::Backend;
use drift_engine::session::{DbError, Kind, Session};
use drift_engine::{postgres, sqlite};
use futures_util::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Column, Either, Executor, PgConnection, Row, SqliteConnection, ValueRef};

use super::super::traffic;
use crate::database::Database;
use crate::explore::captured::{by_looks, of_builtin};
use crate::explore::sqlite::{fetch, returned as sqlite_returned, roll_back};
use crate::scenario::script::{Returned, Value};
use crate::sqlite_busy::Busy;

/// How long a statement of the traffic may take on a server; on SQLite the busy timeout is the bound.
const STATEMENT_MAX_MS: u64 = 30_000;
/// How long to rest between two rounds on SQLite: whoever writes keeps every other writer out.
const REST_ON_SQLITE: Duration = Duration::from_millis(25);

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

    /// Sends a statement; what of its answer can be captured.
    pub(super) async fn send(&mut self, sql: &str, during: Kind) -> Result<Returned, DbError> {
        match self {
            Self::Postgres(connection) => {
                returned(connection, sql).await.map_err(|error| postgres::classify(error, during))
            }
            Self::Sqlite(connection, busy) => {
                let answer = fetch(connection, sql).await;
                busy.ended();
                let (found, affected) = answer.map_err(|error| sqlite::classify(error, during))?;
                Ok(sqlite_returned(&found, affected))
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

async fn returned(connection: &mut PgConnection, sql: &str) -> Result<Returned, sqlx::Error> {
    let mut returned = Returned::default();
    let mut answers = connection.fetch_many(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())));
    while let Some(one) = answers.try_next().await? {
        match one {
            Either::Left(done) => returned.affected = Some(done.rows_affected()),
            Either::Right(row) => {
                let values = (0..row.len()).map(|at| value(&row, at)).collect::<Result<Vec<Value>, _>>()?;
                returned.column.extend(values.first().cloned());
                if returned.first.is_empty() {
                    returned.first = values;
                }
            }
        }
    }
    Ok(returned)
}

fn value(row: &PgRow, at: usize) -> Result<Value, sqlx::Error> {
    let value = row.try_get_raw(at)?;
    let text = if value.is_null() { None } else { Some(value.as_str().map_err(sqlx::Error::Decode)?.to_owned()) };
    // Others are left to the server, as a text of unknown type: migrations may change or drop them.
    let oid = row.column(at).type_info().oid();
    let literal = oid.and_then(|oid| of_builtin(oid.0, text.as_deref()));
    let literal = literal.unwrap_or_else(|| by_looks(text.as_deref()));
    Ok(Value { text, literal: Some(literal) })
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
