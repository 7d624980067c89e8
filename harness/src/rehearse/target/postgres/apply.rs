//! Applies one file as its tool does, but statement by statement, so that each one's part is known.
//!
//! A file in a transaction: BEGIN, its statements one at a time, and before COMMIT the session's own locks are read
//! within it, so that one that is held for 3 ms is not missed. A file without one is sent as its tool sends it: one
//! statement after the other, or as one message; of one of several statements the server makes a transaction, and so do we.

use std::sync::Arc;
use std::time::Duration;

use drift_engine::postgres::classify;
use drift_engine::session::{DbError, ErrorClass, Kind};
use sqlx::postgres::{PgDatabaseError, PgErrorPosition};
use sqlx::{AssertSqlSafe, PgConnection};

use super::sending;
use super::within::Within;
use crate::clock::Clock;
use crate::database::postgres::PgDatabase;
use crate::history::Tick;
use crate::rehearse::apply::{Added, Applied, Ran, Tables, survivable};
use crate::rehearse::flight::Flight;
use crate::rehearse::migrations::{Script, Transaction};
use crate::rehearse::progress::Progress;
use crate::sql::Statement;

/// How long the server may take to end a session that does not answer, in milliseconds.
const TERMINATE_MS: i64 = 5_000;
/// How long after a statement's own bound the server's answer is still waited for.
const ANSWER: Duration = Duration::from_secs(10);

/// The migrating session.
pub struct Migrator {
    database: PgDatabase,
    connection: PgConnection,
    session: i64,
    clock: Clock,
    statement_max: Duration,
    traffic: Option<Arc<Flight>>,
    progress: Progress,
}

impl Migrator {
    /// Connects, and bounds the session's statements.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn new(database: PgDatabase, clock: Clock, statement_max: Duration) -> Result<Self, DbError> {
        let mut connection = database.plain().await?;
        let failed = |error| classify(error, Kind::Begin);
        let bound = format!("SET statement_timeout = {}", statement_max.as_millis());
        sqlx::raw_sql(AssertSqlSafe(bound)).execute(&mut connection).await.map_err(failed)?;
        let pid: i32 =
            sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await.map_err(failed)?;
        Ok(Self {
            database,
            connection,
            session: i64::from(pid),
            clock,
            statement_max,
            traffic: None,
            progress: Progress::default(),
        })
    }

    /// Says from now on what is under way.
    pub fn says(&mut self, progress: Progress) {
        self.progress = progress;
    }

    /// Sends what is next while an operation of this traffic is under way, from now on.
    pub fn runs_beside(&mut self, traffic: Option<Arc<Flight>>) {
        self.traffic = traffic;
    }

    /// The server's name for the session.
    pub fn session(&self) -> i64 {
        self.session
    }

    /// The connection itself, between two files.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Applies a file, without the statements in `skipped`.
    ///
    /// Cancellation: the session must be closed; its transaction is rolled back then.
    ///
    /// # Errors
    /// The database cannot be reached any more. What it refuses is part of the answer, and so is a session that a
    /// statement has ended; the next file gets a new one.
    pub async fn apply(&mut self, script: &Script, skipped: Option<usize>) -> Result<Applied, DbError> {
        let tables = tables(&mut self.connection).await?;
        let from = self.beside_traffic().await;
        let mut applied = Applied {
            sessions: vec![self.session],
            from,
            granted: None,
            until: from,
            tables,
            ran: Vec::new(),
            noted: Vec::new(),
            failed: None,
        };
        let went = match script.transaction {
            _ if script.is_one_transaction() => self.in_transaction(script, skipped, &mut applied).await,
            Transaction::One | Transaction::Message => self.whole(script, &mut applied).await,
            Transaction::Each => self.one_by_one(script, &mut applied).await,
        };
        if let Err(lost) = went {
            let statement = applied.ran.last().map_or(0, |ran| ran.statement);
            applied.failed = Some((statement, lost));
            *self = self.renewed().await?;
        }
        applied.until = self.clock.now();
        Ok(applied)
    }

    /// The same on a new connection, after the old session has ended.
    async fn renewed(&self) -> Result<Self, DbError> {
        let (database, clock) = (self.database.clone(), self.clock.clone());
        let mut new = Self::new(database, clock, self.statement_max).await?;
        new.runs_beside(self.traffic.clone());
        new.says(self.progress.clone());
        // A session that only does not answer still has its locks, and what comes next would wait for them. One that is
        // gone already is no error; what else is refused here, the next file will meet.
        let end = sqlx::query("SELECT pg_terminate_backend($1::int, $2::bigint)").bind(self.session).bind(TERMINATE_MS);
        let _ = tokio::time::timeout(ANSWER, end.execute(&mut new.connection)).await;
        Ok(new)
    }

    /// Now, and while an operation of the traffic is under way, if there is any traffic.
    async fn beside_traffic(&self) -> Tick {
        match &self.traffic {
            Some(traffic) => traffic.beside_one(&self.clock).await,
            None => self.clock.now(),
        }
    }

    async fn in_transaction(
        &mut self,
        script: &Script,
        skipped: Option<usize>,
        applied: &mut Applied,
    ) -> Result<(), DbError> {
        let has_own = script.has_own_block();
        if !has_own {
            self.send("BEGIN").await?;
        }
        let asked = Within::begin(&mut self.connection).await;
        let mut within = asked.map_err(|error| classify(error, Kind::Read))?;
        for (number, statement) in script.statements.iter().enumerate().filter(|(n, _)| Some(*n) != skipped) {
            self.progress.statement(script, number);
            // Whoever has locks already does not wait with them.
            let from = if within.has_locks() { self.clock.now() } else { self.beside_traffic().await };
            let sent = self.send_one(statement).await;
            let until = self.clock.now();
            let mut added = Added::default();
            if has_own && number == 0 && sent.is_ok() {
                // What the session has counted outside of its transaction may be taken from it at any time.
                let asked = Within::begin(&mut self.connection).await;
                within = asked.map_err(|error| classify(error, Kind::Read))?;
            } else if sent.is_ok() {
                let asked = within.look(&mut self.connection, &applied.tables).await;
                added = asked.map_err(|error| classify(error, Kind::Read))?;
            }
            applied.ran.push(Ran { statement: number, from, until, took: added.took, work: added.work });
            if let Err(error) = sent {
                applied.failed = Some((number, survivable(error)?));
                self.send("ROLLBACK").await?;
                return Ok(());
            }
        }
        if !has_own && let Err(error) = self.send("COMMIT").await {
            let last = script.statements.len().saturating_sub(1);
            applied.failed = Some((last, survivable(error)?));
        }
        Ok(())
    }

    async fn whole(&mut self, script: &Script, applied: &mut Applied) -> Result<(), DbError> {
        let Some(shown) = script.first() else { return Ok(()) };
        let statement = script.statements.iter().position(|one| one == shown).unwrap_or_default();
        let from = self.beside_traffic().await;
        // The server bounds each of its statements, not the message.
        let statements = u32::try_from(script.statements.len()).unwrap_or(u32::MAX);
        let bound = self.statement_max.saturating_mul(statements).saturating_add(ANSWER);
        let sent = tokio::time::timeout(bound, sending::message(&mut self.connection, &script.text)).await;
        applied.ran.push(Ran { statement, from, until: self.clock.now(), took: Vec::new(), work: Vec::new() });
        let (done, error) = match sent {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(refused)) => refused,
            Err(_) => return Err(unanswered(bound)),
        };
        let failed = refused_statement(script, done, &error).unwrap_or(statement);
        if let Some(ran) = applied.ran.last_mut() {
            ran.statement = failed;
        }
        applied.failed = Some((failed, survivable(refusal(error))?));
        // A transaction that the file has begun itself ends with the tool's session.
        self.send("ROLLBACK").await
    }

    async fn one_by_one(&mut self, script: &Script, applied: &mut Applied) -> Result<(), DbError> {
        for (number, statement) in script.statements.iter().enumerate() {
            self.progress.statement(script, number);
            let from = self.beside_traffic().await;
            let sent = self.send_one(statement).await;
            applied.ran.push(Ran {
                statement: number,
                from,
                until: self.clock.now(),
                took: Vec::new(),
                work: Vec::new(),
            });
            if let Err(error) = sent {
                applied.failed = Some((number, survivable(error)?));
                return self.send("ROLLBACK").await;
            }
        }
        Ok(())
    }

    async fn send_one(&mut self, statement: &Statement) -> Result<(), DbError> {
        let bound = self.statement_max + ANSWER;
        let sent = sending::statement(&mut self.connection, statement);
        match tokio::time::timeout(bound, sent).await {
            Ok(sent) => sent.map_err(refusal),
            Err(_) => Err(unanswered(bound)),
        }
    }

    async fn send(&mut self, sql: &str) -> Result<(), DbError> {
        let bound = self.statement_max + ANSWER;
        let sent = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection);
        match tokio::time::timeout(bound, sent).await {
            Ok(sent) => sent.map(drop).map_err(|error| classify(error, Kind::Write)),
            Err(_) => Err(unanswered(bound)),
        }
    }
}

/// The tables and indexes that there are.
///
/// # Errors
/// The database cannot be asked.
pub async fn tables(connection: &mut PgConnection) -> Result<Tables, DbError> {
    let rows: Vec<(i64, String)> = sqlx::query_as(
        "SELECT c.oid::int8, c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'driftlock_rehearsal') \
             AND n.nspname NOT LIKE 'pg\\_toast%'",
    )
    .fetch_all(connection)
    .await
    .map_err(|error| classify(error, Kind::Read))?;
    Ok(rows.into_iter().collect())
}

fn unanswered(bound: Duration) -> DbError {
    let message = format!("no answer within {} s", bound.as_secs());
    DbError { class: ErrorClass::Lost, code: None, message, during: Kind::Write }
}

/// The statement of a message at which the server refused it: where it points to in the text, or else the one after
/// those that it has carried out.
fn refused_statement(script: &Script, done: usize, error: &sqlx::Error) -> Option<usize> {
    // What cannot run beside others is refused at the first of them, and is their whole reason.
    let concurrent = script.statements.iter().position(|statement| statement.has("CONCURRENTLY"));
    let refused: &PgDatabaseError = error.as_database_error()?.try_downcast_ref()?;
    if concurrent.is_some() && refused.code() == "25001" {
        return concurrent;
    }
    let position = match refused.position() {
        Some(PgErrorPosition::Original(characters)) => Some(characters.saturating_sub(1)),
        _ => None,
    };
    let place = position.map(|characters| {
        let at = script.text.char_indices().nth(characters).map_or(script.text.len(), |(at, _)| at);
        crate::sql::place(&script.text, at)
    });
    let begun = |place| script.statements.iter().rposition(|one| (one.line, one.column) <= place);
    place.and_then(begun).or((done < script.statements.len()).then_some(done))
}

/// How the server refused a statement. What depends on what is to be dropped, only its detail says: objects' names, and
/// no values.
fn refusal(error: sqlx::Error) -> DbError {
    let dependents = error.as_database_error().and_then(|refused| {
        let refused: &PgDatabaseError = refused.try_downcast_ref()?;
        refused
            .detail()
            .filter(|_| refused.code() == DEPENDENTS)
            .map(|detail| detail.lines().collect::<Vec<_>>().join("; "))
    });
    let mut error = classify(error, Kind::Write);
    if let Some(dependents) = dependents {
        error.message = format!("{}: {dependents}", error.message);
    }
    error
}

/// Something still depends on what is to be dropped.
const DEPENDENTS: &str = "2BP01";
