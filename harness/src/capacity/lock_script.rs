//! The lock script as a job: BEGIN; SELECT … FOR UPDATE; INSERT; COMMIT, each one round trip, as
//! pgbench sends it.

mod session;

use std::sync::Arc;
use std::time::Duration;

use drift_engine::session::{DbError, ErrorClass, Kind, Session};
use tokio_postgres::Config;

use self::session::{LockSession, Statement};

use super::alarm::Alarm;
use super::job::{Job, Turn};
use super::phase::Times;
use super::recorder::{Errors, Outcome};
use super::wire::Answer;
use crate::capacity::delay::Delayed;
use crate::capacity::timed::Timed;
use crate::clock::Clock;
use crate::database::ANSWER_MAX;

/// What the script works on, for this many rows. Whoever fills it says how many.
pub const TABLES: &str = "\
CREATE TABLE bench_rows (id int PRIMARY KEY);
CREATE TABLE bench_entries (row_id int NOT NULL, made_at timestamptz NOT NULL DEFAULT now());";

/// The same script for pgbench; `rows` is set on its command line.
pub const PGBENCH: &str = "\
\\set row random(1, :rows)
BEGIN;
SELECT id FROM bench_rows WHERE id = :row FOR UPDATE;
INSERT INTO bench_entries (row_id) VALUES (:row);
COMMIT;
";

/// The lock script on a database that has [`TABLES`].
#[derive(Debug)]
pub struct LockScript {
    /// Where that is.
    pub config: Config,
    /// What is added to each round trip.
    pub round_trip_added: Duration,
    /// What time is taken from.
    pub clock: Clock,
    /// Who waits for the added time.
    pub alarm: Arc<Alarm>,
}

impl LockScript {
    /// One transaction.
    async fn transaction<S>(session: &mut S, row: u32) -> Result<(), DbError>
    where
        S: Session<Op = Statement, Reply = Answer>,
    {
        session.call(Statement::Begin).await?;
        let locked = session.call(Statement::Lock { row }).await?;
        if locked.rows != 1 {
            let message = format!("there is no row {row} to lock");
            return Err(DbError { class: ErrorClass::Other, code: None, message, during: Kind::Lock });
        }
        session.call(Statement::Insert { row }).await?;
        session.call(Statement::Commit).await.map(drop)
    }
}

impl Job for LockScript {
    type Connection = LockSession;

    async fn connect(&self) -> Result<LockSession, DbError> {
        LockSession::open(&self.config).await
    }

    async fn perform(&self, session: &mut LockSession, turn: Turn, errors: &Errors, times: &mut Times) -> Outcome {
        let delayed = Delayed::new(session, &self.alarm, self.round_trip_added);
        let mut timed = Timed::new(delayed, &self.clock, Some(Kind::Lock), errors, times);
        // One bound for the task: a timer for each statement would cost as much as the statement.
        let transaction = tokio::time::timeout(ANSWER_MAX, Self::transaction(&mut timed, turn.key));
        match transaction.await {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(error)) if error.class != ErrorClass::Lost => match timed.call(Statement::Rollback).await {
                Ok(_) => Outcome::Failed,
                Err(_) => Outcome::Lost,
            },
            Ok(Err(_)) | Err(_) => Outcome::Lost,
        }
    }
}
