//! A session on PostgreSQL where nobody else is.

use std::collections::BTreeMap;
use std::time::Duration;

use drift_engine::postgres::classify;
use drift_engine::session::{DbError, ErrorClass, Kind};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::within::Within;
use super::{apply, catalog, fill, sending};
use crate::load::LoadError;
use crate::rehearse::application::Application;
use crate::rehearse::apply::{Added, Tables};
use crate::rehearse::catalog::Schema;
use crate::rehearse::migrations::Script;
use crate::rehearse::target::Line;
use crate::sql::Statement;

/// The session.
pub struct PgLine {
    pub(super) connection: PgConnection,
    within: Within,
}

impl PgLine {
    /// On a connection that is open.
    pub fn new(connection: PgConnection) -> Self {
        Self { connection, within: Within::default() }
    }
}

fn written(error: sqlx::Error) -> DbError {
    classify(error, Kind::Write)
}

impl Line for PgLine {
    const BEGIN: &'static str = "BEGIN";

    async fn close(self) -> Result<(), DbError> {
        // What was committed is there, whatever becomes of the session.
        let _ = self.connection.close().await;
        Ok(())
    }

    async fn bound(&mut self, at_most: Duration) -> Result<(), DbError> {
        self.text(&format!("SET statement_timeout = {}", at_most.as_millis())).await
    }

    async fn bound_transaction(&mut self, at_most: Duration) -> Result<(), DbError> {
        self.text(&format!("SET LOCAL statement_timeout = {}", at_most.as_millis())).await
    }

    async fn text(&mut self, sql: &str) -> Result<(), DbError> {
        let sent = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection);
        sent.await.map(drop).map_err(written)
    }

    async fn statement(&mut self, statement: &Statement) -> Result<(), DbError> {
        sending::statement(&mut self.connection, statement).await.map_err(written)
    }

    async fn script(&mut self, script: &Script) -> Result<(), DbError> {
        sending::script(&mut self.connection, script).await.map_err(written)
    }

    async fn schema(&mut self) -> Result<Schema, DbError> {
        catalog::read(&mut self.connection).await
    }

    async fn sizes(&mut self) -> Result<Vec<(String, i64)>, DbError> {
        catalog::sizes(&mut self.connection).await
    }

    async fn rows(&mut self) -> Result<BTreeMap<String, i64>, DbError> {
        catalog::rows(&mut self.connection).await
    }

    async fn partitions(&mut self) -> Result<BTreeMap<String, String>, DbError> {
        catalog::partitions(&mut self.connection).await
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

    async fn settle(&mut self) -> Result<(), DbError> {
        self.text("VACUUM ANALYZE").await
    }

    async fn tables(&mut self) -> Result<Tables, DbError> {
        apply::tables(&mut self.connection).await
    }

    async fn begun(&mut self) -> Result<(), DbError> {
        let asked = Within::begin(&mut self.connection).await;
        self.within = asked.map_err(|error| classify(error, Kind::Read))?;
        Ok(())
    }

    async fn look(&mut self, known: &Tables) -> Result<Added, DbError> {
        self.within.look(&mut self.connection, known).await.map_err(|error| classify(error, Kind::Read))
    }

    async fn look_again(&mut self) -> Result<(), DbError> {
        self.within.look_again(&mut self.connection).await.map_err(|error| classify(error, Kind::Read))
    }

    /// In a transaction, so that it can be asked within it; one that cannot run in a transaction without.
    async fn alone(&mut self, statement: &Statement, known: &Tables) -> Result<Added, DbError> {
        if !statement.has("CONCURRENTLY") {
            self.text("BEGIN").await?;
            self.begun().await?;
            match self.statement(statement).await {
                Ok(()) => {
                    let added = self.look(known).await?;
                    return self.text("COMMIT").await.map(|()| added);
                }
                Err(lost) if lost.class == ErrorClass::Lost => return Err(lost),
                Err(_) => self.text("ROLLBACK").await?,
            }
        }
        self.statement(statement).await.map(|()| Added::default())
    }
}
