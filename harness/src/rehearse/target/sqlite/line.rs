//! A session on a SQLite file where nobody else is.

use drift_engine::session::{DbError, Kind};
use drift_engine::sqlite::classify;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use super::{catalog, fill};
use crate::load::LoadError;
use crate::rehearse::application::Application;
use crate::rehearse::catalog::Schema;
use crate::rehearse::migrations::Script;
use crate::rehearse::target::Line;

/// The session.
pub struct FileLine {
    pub(super) connection: SqliteConnection,
}

impl FileLine {
    /// On a connection that is open.
    pub fn new(connection: SqliteConnection) -> Self {
        Self { connection }
    }
}

impl Line for FileLine {
    const BEGIN: &'static str = "BEGIN IMMEDIATE";

    async fn close(self) -> Result<(), DbError> {
        self.connection.close().await.map_err(|error| classify(error, Kind::Commit))
    }

    async fn text(&mut self, sql: &str) -> Result<(), DbError> {
        let sent = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection).await;
        sent.map(drop).map_err(|error| classify(error, Kind::Write))
    }

    async fn script(&mut self, script: &Script) -> Result<(), DbError> {
        let connection = &mut self.connection;
        let failed = |error| classify(error, Kind::Write);
        let text = sqlx::raw_sql(AssertSqlSafe(script.text.clone()));
        if !script.in_transaction() {
            return text.execute(connection).await.map(drop).map_err(failed);
        }
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        let done = match text.execute(&mut *transaction).await {
            Ok(_) => transaction.commit().await,
            Err(error) => transaction.rollback().await.and(Err(error)),
        };
        if done.is_err() {
            // sqlx only asks its thread for the rollback of a refused commit; the ping is answered after it, so
            // that the file's lock is free when the caller hears of the error.
            let _ = connection.ping().await;
        }
        done.map_err(failed)
    }

    async fn schema(&mut self) -> Result<Schema, DbError> {
        catalog::read(&mut self.connection).await
    }

    async fn sizes(&mut self) -> Result<Vec<(String, i64)>, DbError> {
        catalog::sizes(&mut self.connection).await
    }

    async fn damage(&mut self) -> Result<Vec<String>, DbError> {
        let checked = sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut self.connection).await;
        let mut said: Vec<String> = checked.map_err(|error| classify(error, Kind::Read))?;
        said.retain(|line| line != "ok");
        Ok(said)
    }

    async fn has_tables(&mut self) -> Result<bool, DbError> {
        fill::has_tables(&mut self.connection).await
    }

    async fn fill(&mut self, seed: u64, events: u32) -> Result<(), LoadError> {
        fill::fill(&mut self.connection, seed, events).await
    }

    async fn fitting(&mut self) -> Result<Application, DbError> {
        fill::fitting(&mut self.connection).await
    }
}
