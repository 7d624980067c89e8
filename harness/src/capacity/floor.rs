//! What the statements of the engine's task take without the engine: the same statements, prepared, sent
//! by a client that does next to nothing, in turns with the task itself on one server, both alone.
//!
//! The difference is ours: the driver and what it decodes, and what is computed between two statements.

use std::collections::BTreeMap;
use std::time::Duration;

use drift_engine::op::Op;
use drift_engine::postgres::text::{Text, text};
use drift_engine::protocol::recompute;
use drift_engine::run::RunId;
use drift_engine::session::{Connect, DbError, ErrorClass, Kind, Operation};
use serde::{Deserialize, Serialize};
use tokio_postgres::Config;

use super::job::{EngineJob, Turn};
use super::phase::{Phase, Times};
use super::recorder::Errors;
use super::wire::Wire;
use crate::capacity::timed::Timed;
use crate::history::ActorId;
use crate::lens::trace::{Log, Trace};

/// At most so many pairs are measured, and at least [`PAIRS_MIN`].
const PAIRS_MAX: usize = 200;
const PAIRS_MIN: usize = 5;
/// What is done beforehand, so that the run is there, and everything is planned and in memory.
const BEFOREHAND: u64 = 5;
/// The numbers of tasks that no load has.
const NUMBERS: u64 = 1 << 62;

/// Medians, in nanoseconds, of a task that is alone, while it has the lock; added round trips are not
/// in them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// The statements while it has the lock.
    pub statements: u32,
    /// The statements alone, sent raw: the database and the way to it.
    pub database: f64,
    /// The engine's operations: the same with the driver and what it decodes.
    pub operations: f64,
    /// The engine's task.
    pub engine: f64,
}

impl Floor {
    /// What the statements take at least with this added to each round trip.
    pub fn in_lock(&self, round_trip_added: Duration) -> f64 {
        self.database + f64::from(self.statements) * round_trip_added.as_nanos() as f64
    }

    /// The database's part of the engine's time in the lock.
    pub fn share(&self) -> f64 {
        self.database / self.engine.max(1.0)
    }
}

/// Measures for as long as `budget`; nothing where the task does not come to its end.
///
/// # Errors
/// The database is lost, or refuses a statement.
pub async fn measure(job: &EngineJob, config: &Config, budget: Duration) -> Result<Option<Floor>, DbError> {
    let clock = &job.clock;
    let mut driver = job.database.connect().await?;
    let task = |number: u64| job.task(Turn { number: NUMBERS + number, key: 1 });
    for number in 0..BEFOREHAND {
        if recompute(&mut driver, &task(number)).await.is_err() {
            return Ok(None);
        }
    }
    let mut log = Log::new(ActorId(0), clock.clone());
    if recompute(&mut Trace::new(&mut driver, &mut log, None), &task(BEFOREHAND)).await.is_err() {
        return Ok(None);
    }
    let ops: Vec<Op> = log.into_entries().into_iter().map(|entry| entry.op).collect();
    let granted = job.grants().unwrap_or(Kind::Begin);
    let Some(at) = ops.iter().position(|op| op.kind() == granted) else { return Ok(None) };
    let statements = u32::try_from(ops.len() - at - 1).unwrap_or(u32::MAX);
    let mut raw = Raw::open(config).await?;
    let [mut database, mut operations, mut engine] = [(); 3].map(|()| Vec::new());
    let began = clock.elapsed();
    let goes_on = |pairs: usize| pairs < PAIRS_MIN || (pairs < PAIRS_MAX && clock.elapsed() - began < budget);
    let errors = Errors::default();
    for pair in 0_u64.. {
        if !goes_on(database.len()) {
            break;
        }
        // A B B A: what drifts with time hits both alike.
        for is_raw in [pair.is_multiple_of(2), !pair.is_multiple_of(2)] {
            if is_raw {
                let texts = raw.prepared(&ops, pair).await?;
                database.push(raw.in_lock(job, &texts, at).await?);
                continue;
            }
            let mut times = Times::default();
            let mut timed = Timed::new(&mut driver, clock, job.grants(), &errors, &mut times);
            if recompute(&mut timed, &task(BEFOREHAND + 1 + pair)).await.is_err() {
                return Ok(None);
            }
            let of = |phase| times.get(phase).unwrap_or(0);
            operations.push([Phase::Read, Phase::Write, Phase::Commit, Phase::Other].map(of).iter().sum::<u64>());
            engine.push(of(Phase::InLock));
        }
    }
    let [database, operations, engine] = [database, operations, engine].map(median);
    Ok(Some(Floor { statements, database, operations, engine }))
}

/// A client that sends statements as they are.
struct Raw {
    wire: Wire,
    /// The names of the statements that are prepared.
    names: BTreeMap<&'static str, String>,
}

impl Raw {
    async fn open(config: &Config) -> Result<Self, DbError> {
        Ok(Self { wire: Wire::open(config).await?, names: BTreeMap::new() })
    }

    /// The operations as statements, all of them prepared; those about a fresh run are about another one.
    async fn prepared(&mut self, ops: &[Op], pair: u64) -> Result<Vec<(String, Text)>, DbError> {
        let mut statements = Vec::new();
        let is_fresh = ops.iter().any(|op| matches!(op, Op::OpenRun { fresh: true, .. }));
        for op in ops {
            let op = if is_fresh { about_another(op.clone(), pair)? } else { op.clone() };
            let Some(text) = text(&op) else { return Err(other(format!("{op} is no statement of a task"))) };
            if !self.names.contains_key(text.sql) {
                let name = format!("s{}", self.names.len());
                self.wire.prepare(&name, text.sql).await?;
                self.names.insert(text.sql, name);
            }
            statements.push((self.names[text.sql].clone(), text));
        }
        Ok(statements)
    }

    /// Sends them, and measures from the answer of the one that has the lock to the last one's.
    async fn in_lock(&mut self, job: &EngineJob, statements: &[(String, Text)], at: usize) -> Result<u64, DbError> {
        let mut granted = None;
        for (number, (name, text)) in statements.iter().enumerate() {
            self.wire.execute(name, &text.parameters).await?;
            if number == at {
                granted = Some(job.clock.now());
            }
        }
        Ok(granted.map_or(0, |granted| job.clock.now().0.saturating_sub(granted.0)))
    }
}

/// The same operation about a run that nobody has begun.
fn about_another(mut op: Op, pair: u64) -> Result<Op, DbError> {
    if let Op::OpenRun { id: run, .. } | Op::WriteEvents { run, .. } | Op::CloseRun { run } = &mut op {
        *run = RunId::new(&format!("{}-raw-{pair}", run.as_str())).map_err(|error| other(error.to_string()))?;
    }
    Ok(op)
}

fn other(message: String) -> DbError {
    DbError { class: ErrorClass::Other, code: None, message, during: Kind::Read }
}

fn median(mut times: Vec<u64>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| *time as f64)
}
