//! The record of a run: every operation that was really sent, what the server was seen to say
//! meanwhile, and what was left at the end. Checks and reports read this, and nothing else.
//!
//! Times are [`Tick`]s; results are ordered by them alone.

pub mod arrivals;
pub mod build;
pub mod file;
pub mod transactions;
pub mod view;

use std::collections::BTreeMap;
use std::fmt;

use drift_engine::claim::CustomerId;
use drift_engine::drift::{Cell, Signal};
use drift_engine::lock::{Backend, LockStrategy};
use drift_engine::op::{Changes, Op, Reply};
use drift_engine::protocol::{Recomputed, TaskError};
use drift_engine::run::{Identity, RunId, Status};
use drift_engine::session::{DbError, Kind, SessionId};
use serde::{Deserialize, Serialize};

/// A point in a run's time: nanoseconds since its start when free-running, a counter under a schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tick(pub u64);

/// Whoever sends operations: a worker that performs tasks, or a bystander.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActorId(pub u32);

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a task in its scenario, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub u32);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an actor is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Performs tasks, one after another, each on the same connection.
    Worker,
    /// Inserts claims, which should not be blocked.
    Bystander,
    /// Takes locks in the wrong order on purpose, to force deadlocks.
    Antagonist,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome<R = Reply> {
    /// The database answered.
    Ok(R),
    /// The database refused, and the operation did not take effect.
    Failed(Box<DbError>),
    /// The answer was lost: the operation took effect, or not.
    Unknown(Box<DbError>),
}

impl<R> Outcome<R> {
    /// The reply, if there was one.
    pub fn ok(&self) -> Option<&R> {
        match self {
            Self::Ok(reply) => Some(reply),
            Self::Failed(_) | Self::Unknown(_) => None,
        }
    }
}

/// One operation, from its invocation to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry<O = Op, R = Reply> {
    /// Who sent it.
    pub actor: ActorId,
    /// On which server session.
    pub session: SessionId,
    /// For which task, if the actor is a worker.
    pub task: Option<TaskId>,
    /// Just before it was sent.
    pub invoked: Tick,
    /// Just after the answer, or its loss, was seen. Never before `invoked`.
    pub returned: Tick,
    /// What was really sent.
    pub op: O,
    /// What came of it.
    pub outcome: Outcome<R>,
}

/// What was observed of the server, or arranged, beside the operations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// The server's word on who waits: one sample, taken somewhere in `from..=until`.
    Waits {
        /// Before the server was asked.
        from: Tick,
        /// After it had answered.
        until: Tick,
        /// Each waiter with those that block it. SQLite names no blocker.
        waits: Vec<(ActorId, Vec<ActorId>)>,
    },
    /// Whether the lock of `key` was taken, as tried by another connection while `holder` was held
    /// at the gate before COMMIT.
    Probe {
        /// Before the attempt.
        from: Tick,
        /// After its answer.
        until: Tick,
        /// Whose lock.
        key: CustomerId,
        /// Who should have it.
        holder: ActorId,
        /// Whether the attempt was refused.
        held: bool,
    },
    /// An actor was held at the gate.
    Hold {
        /// Who.
        actor: ActorId,
        /// The customer of its task.
        key: CustomerId,
        /// The operation that it was about to send.
        before: Kind,
        /// From when.
        from: Tick,
        /// Until when.
        until: Tick,
    },
}

/// A failure that the scenario puts into a task on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The operation is not sent, and is reported as failed.
    Fail,
    /// The server ends the session before the operation is sent.
    Terminate,
}

/// What became of one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Which one.
    pub id: TaskId,
    /// Whose drift.
    pub identity: Identity,
    /// Who performed it.
    pub actor: ActorId,
    /// When it should have started.
    pub intended: Tick,
    /// When it did.
    pub started: Tick,
    /// When it ended.
    pub finished: Tick,
    /// The failure that was put into it.
    pub fault: Option<Fault>,
    /// What it reported.
    pub result: Result<Recomputed, TaskError>,
}

/// A run as it was found at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRun {
    /// Its name.
    pub id: RunId,
    /// What it is about.
    pub identity: Identity,
    /// Whether it lies outside the identity's uniqueness.
    pub fresh: bool,
    /// Where it is in its life.
    pub status: Status,
}

/// An event as it was found at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// Whose.
    pub customer: CustomerId,
    /// In which run.
    pub run: RunId,
    /// What it says.
    pub signal: Signal,
}

/// What one more recompute of an identity did, after everything was quiet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recheck {
    /// What was recomputed.
    pub identity: Identity,
    /// What it read.
    pub cells: Vec<Cell>,
    /// What it changed; a sound history leaves nothing to change.
    pub result: Result<Changes, TaskError>,
}

/// What was left when everything was quiet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FinalState {
    /// Every run.
    pub runs: Vec<StoredRun>,
    /// Every event, before the recheck.
    pub events: Vec<StoredEvent>,
    /// One more recompute of each identity.
    pub rechecks: Vec<Recheck>,
}

/// What the run was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// The scenario.
    pub scenario: String,
    /// The database.
    pub backend: Backend,
    /// The strategy of every task.
    pub strategy: LockStrategy,
    /// The root seed.
    pub seed: u64,
    /// The number of tries that a task may make.
    pub max_attempts: u32,
    /// Every actor and its role.
    pub actors: BTreeMap<ActorId, Role>,
    /// The claims at the start, counted over the run's windows without the database's help.
    pub base: Vec<(CustomerId, Vec<Cell>)>,
    /// When the actors that were held at the opening were let go; before it, waits were arranged.
    pub released: Tick,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// What it was.
    pub meta: Meta,
    /// Every operation, ordered by invocation.
    pub entries: Vec<Entry>,
    /// What was observed beside them, in order.
    pub seen: Vec<Seen>,
    /// Every task that was started or should have been, ordered by id.
    pub tasks: Vec<TaskRecord>,
    /// What was left.
    pub end: FinalState,
}
