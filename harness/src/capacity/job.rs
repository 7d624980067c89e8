//! What is done again and again under load: the engine's task, with any lock.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use drift_engine::claim::CustomerId;
use drift_engine::lock::LockStrategy;
use drift_engine::protocol::{Task, recompute};
use drift_engine::session::{Connect, DbError, Kind};

use super::alarm::Alarm;
use super::phase::Times;
use super::recorder::{Errors, Outcome};
use crate::actor::worker::is_lost;
use crate::capacity::delay::Delayed;
use crate::capacity::timed::Timed;
use crate::clock::Clock;
use crate::database::{Database, Driver};
use crate::scenario::Scenario;
use crate::scenario::data::fork;

/// Which task it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its number: no other task of the load has it.
    pub number: u64,
    /// Whose it is, from 1.
    pub key: u32,
}

/// Something that is done again and again.
pub trait Job: Send + Sync + 'static {
    /// What it is done on.
    type Connection: Send + 'static;

    /// Opens one more connection.
    ///
    /// # Errors
    /// The database cannot be reached, or refuses.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, DbError>> + Send;

    /// Whose the task at a place of a row of tasks is, where that is not drawn. In a closed loop each worker has a row
    /// of its own, which begins at its number; in an open loop the arrivals are the row.
    fn key_at(&self, _place: u64) -> Option<u32> {
        None
    }

    /// Whose every task is that is done on this connection, where that is so.
    fn key_of(&self, _connection: &Self::Connection) -> Option<u32> {
        None
    }

    /// Every connection is open, and the load begins now.
    fn begins(&self) {}

    /// The names of the steps that it times one by one, for each key.
    fn steps(&self) -> Vec<Vec<String>> {
        Vec::new()
    }

    /// Does it once. It says itself how long its parts took; errors are counted in `errors`.
    fn perform(
        &self,
        connection: &mut Self::Connection,
        turn: Turn,
        errors: &Errors,
        times: &mut Times,
    ) -> impl Future<Output = Outcome> + Send;
}

/// The engine's recompute, as it ships, for the customers of a scenario.
#[derive(Debug)]
pub struct EngineJob {
    /// Where it is done.
    pub database: Database,
    /// Whose windows, runs and retries it has.
    pub scenario: Arc<Scenario>,
    /// With which lock.
    pub strategy: LockStrategy,
    /// What is added to each round trip.
    pub round_trip_added: Duration,
    /// What time is taken from.
    pub clock: Clock,
    /// Who waits for the added time.
    pub alarm: Arc<Alarm>,
    /// The root of the pauses between tries.
    pub seed: u64,
}

/// The operation that has the lock when it has been answered; `None` of a strategy that takes none.
pub fn grants(strategy: LockStrategy) -> Option<Kind> {
    match strategy {
        LockStrategy::Row | LockStrategy::RowNoKey | LockStrategy::Advisory => Some(Kind::Lock),
        LockStrategy::Immediate => Some(Kind::Begin),
        LockStrategy::Serializable | LockStrategy::Constraint => None,
    }
}

impl EngineJob {
    pub(super) fn grants(&self) -> Option<Kind> {
        grants(self.strategy)
    }

    pub(super) fn task(&self, turn: Turn) -> Task {
        let fresh = format!("fresh-{:x}-{}", self.seed, turn.number);
        let seed = fork(self.seed.wrapping_add(turn.number), "retries under load");
        self.scenario.task(CustomerId(i64::from(turn.key)), self.strategy, &fresh, seed)
    }
}

impl Job for EngineJob {
    type Connection = Driver;

    async fn connect(&self) -> Result<Driver, DbError> {
        self.database.connect().await
    }

    async fn perform(&self, connection: &mut Driver, turn: Turn, errors: &Errors, times: &mut Times) -> Outcome {
        let delayed = Delayed::new(connection, &self.alarm, self.round_trip_added);
        let mut timed = Timed::new(delayed, &self.clock, self.grants(), errors, times);
        let result = recompute(&mut timed, &self.task(turn)).await;
        match result {
            Ok(_) => Outcome::Done,
            Err(_) if is_lost(&result) => Outcome::Lost,
            Err(_) => Outcome::Failed,
        }
    }
}
