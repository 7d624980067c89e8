//! Everything the protocol can ask of a database, as data, and everything a database can answer.
//!
//! An [`Op`] is exactly one round trip. Only the order of operations is the protocol
//! ([`crate::protocol`]); how one is carried out is the session's business. Lists are shared, so
//! that an operation is cheap to clone into a history.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::claim::{Claim, CustomerId};
use crate::drift::{Cell, Signal};
use crate::policy::Windows;
use crate::run::{Identity, Run, RunId};
use crate::session::{Kind, Operation};

/// How much a transaction sees of others, on PostgreSQL. SQLite has one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Each statement sees what was committed before it began.
    ReadCommitted,
    /// Every statement sees what was committed before the transaction's first one.
    RepeatableRead,
    /// As if the transactions had run one after another.
    Serializable,
}

/// The strength of a PostgreSQL row lock, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strength {
    /// `FOR KEY SHARE`: what a foreign-key check takes.
    KeyShare,
    /// `FOR SHARE`.
    Share,
    /// `FOR NO KEY UPDATE`: excludes its like, lets foreign-key checks pass.
    NoKeyUpdate,
    /// `FOR UPDATE`: excludes every other row lock.
    Update,
}

/// What to do when a row is locked by another transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wait {
    /// Wait, up to the session's lock timeout.
    Block,
    /// Fail at once (55P03).
    NoWait,
    /// Return no row.
    SkipLocked,
}

/// How long an advisory lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Until the transaction ends.
    Transaction,
    /// Until it is given back, or the connection ends.
    Session,
}

/// What is locked to serialise the tasks of one customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lock {
    /// The customer's row.
    Row {
        /// Whose row.
        customer: CustomerId,
        /// How strongly.
        strength: Strength,
        /// What if it is taken.
        wait: Wait,
    },
    /// An advisory lock that stands for the customer.
    Advisory {
        /// Which customer it stands for.
        customer: CustomerId,
        /// How long it is held.
        scope: Scope,
    },
}

impl Lock {
    /// The customer whose tasks it serialises.
    pub fn customer(&self) -> CustomerId {
        match *self {
            Self::Row { customer, .. } | Self::Advisory { customer, .. } => customer,
        }
    }
}

/// What a write of events does when the run already has one with the same business key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnConflict {
    /// Bring it up to date (`ON CONFLICT … DO UPDATE`); an equal one is left alone.
    Update,
    /// Leave it as it is (`ON CONFLICT … DO NOTHING`).
    Nothing,
    /// Insert what this statement's snapshot does not show, with no conflict clause, and update the
    /// rest: a concurrent insert of the same key is a unique violation, or a duplicate where there is
    /// no constraint.
    Error,
}

/// One operation of the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Begins a transaction; `immediate` takes SQLite's write lock at once (PostgreSQL refuses it: there
    /// it would be a transaction without a lock).
    Begin {
        /// PostgreSQL's isolation level (SQLite ignores it).
        isolation: Isolation,
        /// `BEGIN IMMEDIATE` on SQLite.
        immediate: bool,
    },
    /// Takes a lock. Answer: [`Reply::Locked`]. SQLite refuses it: it has neither row locks nor advisory ones.
    Lock(Lock),
    /// Gives a session-level advisory lock back.
    Unlock {
        /// The customer that the lock stands for.
        customer: CustomerId,
    },
    /// Creates the run, or finds it. Answer: [`Reply::Opened`].
    OpenRun {
        /// What the run is about.
        identity: Identity,
        /// The name under which it is created.
        id: RunId,
        /// Whether it lies outside the identity's uniqueness.
        fresh: bool,
    },
    /// Counts the customer's claims. Answer: [`Reply::Claims`].
    ReadClaims {
        /// Whose claims.
        customer: CustomerId,
        /// Over which days.
        windows: Windows,
    },
    /// Makes the run's events these: inserts, updates, withdraws. Answer: [`Reply::Written`].
    WriteEvents {
        /// Whose run.
        customer: CustomerId,
        /// Which run.
        run: RunId,
        /// The windows that the events name.
        windows: Windows,
        /// The events.
        signals: Arc<[Signal]>,
        /// What if one is there already.
        on_conflict: OnConflict,
    },
    /// Marks the run as succeeded.
    CloseRun {
        /// Which run.
        run: RunId,
    },
    /// Marks the run as failed, creating it if need be, unless a task has succeeded.
    FailRun {
        /// What the run is about.
        identity: Identity,
        /// The name under which it is created.
        id: RunId,
        /// Whether it lies outside the identity's uniqueness.
        fresh: bool,
        /// Why, in one sentence.
        reason: Arc<str>,
    },
    /// Reads the run's events, ordered by business key. Answer: [`Reply::Events`].
    ReadEvents {
        /// Which run.
        run: RunId,
    },
    /// Inserts one claim: the bystander's work. Commits on its own outside a transaction.
    InsertClaim {
        /// Whose claim.
        customer: CustomerId,
        /// What was claimed.
        claim: Arc<Claim>,
    },
    /// Sets a savepoint; there is one name, a later one hides an earlier one.
    Savepoint,
    /// Undoes what came after the savepoint, and ends an aborted state.
    RollbackTo,
    /// Commits. Answer: [`Reply::Committed`] or [`Reply::RolledBack`].
    Commit,
    /// Rolls back; without a transaction it does nothing.
    Rollback,
    /// Waits on the client's side, between attempts.
    Pause(Duration),
}

impl Operation for Op {
    fn kind(&self) -> Kind {
        match self {
            Self::Begin { .. } => Kind::Begin,
            Self::Lock(_) => Kind::Lock,
            Self::Unlock { .. } => Kind::Unlock,
            Self::ReadClaims { .. } | Self::ReadEvents { .. } => Kind::Read,
            Self::OpenRun { .. }
            | Self::WriteEvents { .. }
            | Self::CloseRun { .. }
            | Self::FailRun { .. }
            | Self::InsertClaim { .. } => Kind::Write,
            Self::Savepoint => Kind::Savepoint,
            Self::RollbackTo => Kind::RollbackTo,
            Self::Commit => Kind::Commit,
            Self::Rollback => Kind::Rollback,
            Self::Pause(_) => Kind::Pause,
        }
    }
}

impl fmt::Display for Op {
    /// A short form for people: what a report's column shows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin { isolation: Isolation::ReadCommitted, immediate: false } => f.write_str("BEGIN"),
            Self::Begin { isolation: Isolation::ReadCommitted, immediate: true } => f.write_str("BEGIN IMMEDIATE"),
            Self::Begin { isolation: Isolation::RepeatableRead, .. } => f.write_str("BEGIN REPEATABLE READ"),
            Self::Begin { isolation: Isolation::Serializable, .. } => f.write_str("BEGIN SERIALIZABLE"),
            Self::Lock(Lock::Row { customer, strength, wait }) => {
                let strength = match strength {
                    Strength::KeyShare => "KEY SHARE",
                    Strength::Share => "SHARE",
                    Strength::NoKeyUpdate => "NO KEY UPDATE",
                    Strength::Update => "UPDATE",
                };
                let wait = match wait {
                    Wait::Block => "",
                    Wait::NoWait => " NOWAIT",
                    Wait::SkipLocked => " SKIP LOCKED",
                };
                write!(f, "lock customer {customer} FOR {strength}{wait}")
            }
            Self::Lock(Lock::Advisory { customer, scope: Scope::Transaction }) => {
                write!(f, "advisory lock of customer {customer}")
            }
            Self::Lock(Lock::Advisory { customer, scope: Scope::Session }) => {
                write!(f, "session advisory lock of customer {customer}")
            }
            Self::Unlock { customer } => write!(f, "unlock customer {customer}"),
            Self::OpenRun { id, .. } => write!(f, "open run {id}"),
            Self::ReadClaims { customer, .. } => write!(f, "read claims of customer {customer}"),
            Self::WriteEvents { run, signals, .. } => write!(f, "write {} events of run {run}", signals.len()),
            Self::CloseRun { run } => write!(f, "close run {run}"),
            Self::FailRun { id, .. } => write!(f, "record failure of run {id}"),
            Self::ReadEvents { run } => write!(f, "read events of run {run}"),
            Self::InsertClaim { customer, .. } => write!(f, "insert claim of customer {customer}"),
            Self::Savepoint => f.write_str("SAVEPOINT"),
            Self::RollbackTo => f.write_str("ROLLBACK TO SAVEPOINT"),
            Self::Commit => f.write_str("COMMIT"),
            Self::Rollback => f.write_str("ROLLBACK"),
            Self::Pause(delay) => write!(f, "pause {} ms", delay.as_millis()),
        }
    }
}

/// How many events of a run a write changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// New ones.
    pub inserted: u64,
    /// Ones whose values changed.
    pub updated: u64,
    /// Ones that are no longer true, and were removed.
    pub withdrawn: u64,
}

impl Changes {
    /// Whether the write found everything as it should be.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// The run that [`Op::OpenRun`] found or made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The run.
    pub run: Run,
    /// Whether it is about what was asked for; if not, only its name is the same.
    pub same: bool,
}

/// What the database answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done; there is nothing to tell.
    Done,
    /// Whether the lock was granted: a row really came back. It does not for an absent or a skipped row.
    Locked(bool),
    /// The run, or `None` when another task's run was committed after this statement's snapshot:
    /// the next statement sees it.
    Opened(Option<Opened>),
    /// The customer's claims, counted.
    Claims(Arc<[Cell]>),
    /// What was changed.
    Written(Changes),
    /// The run's events.
    Events(Arc<[Signal]>),
    /// The transaction is committed.
    Committed,
    /// The transaction had been aborted by an error: COMMIT was answered with ROLLBACK, or ROLLBACK was asked for.
    RolledBack,
}
