//! The ways to serialise one customer's tasks, and what each promises.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::claim::CustomerId;
use crate::op::{Isolation, Lock, Op, Scope, Strength, Wait};

/// The databases that the engine runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// PostgreSQL.
    Postgres,
    /// SQLite.
    Sqlite,
}

impl Backend {
    /// Every backend.
    pub const ALL: [Self; 2] = [Self::Postgres, Self::Sqlite];

    /// The name used on the command line and in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Sqlite => "sqlite",
        }
    }

    /// The strategy that a task uses when nobody chooses one.
    ///
    /// `row-no-key` on PostgreSQL: it gives everything that `row` gives and lets claims be inserted
    /// meanwhile; unlike `advisory` it also excludes code that locks the row without knowing of us.
    pub fn default_strategy(self) -> LockStrategy {
        match self {
            Self::Postgres => LockStrategy::RowNoKey,
            Self::Sqlite => LockStrategy::Immediate,
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How one customer's tasks are kept from running into each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockStrategy {
    /// PostgreSQL: the customer's row, `FOR UPDATE`.
    Row,
    /// PostgreSQL: the customer's row, `FOR NO KEY UPDATE`.
    RowNoKey,
    /// PostgreSQL: a transaction-level advisory lock.
    Advisory,
    /// PostgreSQL: no lock, `SERIALIZABLE`, and a retry.
    Serializable,
    /// PostgreSQL: no lock; the unique constraint and `ON CONFLICT` alone.
    Constraint,
    /// SQLite: `BEGIN IMMEDIATE`, the write lock of the whole file.
    Immediate,
}

/// What a strategy guarantees. A check of anything else does not apply to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Promises {
    /// Critical sections of one customer are disjoint, and others wait.
    pub exclusion: bool,
    /// A task reads every claim acknowledged before its lock was granted (without a lock: before
    /// its first read), and in commit order never fewer than its predecessor.
    pub freshness: bool,
    /// Tasks of different customers do not wait for each other.
    pub independent_keys: bool,
    /// Claims can be inserted while a task is in its critical section.
    pub bystanders_free: bool,
}

impl LockStrategy {
    /// Every strategy.
    pub const ALL: [Self; 6] =
        [Self::RowNoKey, Self::Row, Self::Advisory, Self::Serializable, Self::Constraint, Self::Immediate];

    /// The name used on the command line and in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Row => "row",
            Self::RowNoKey => "row-no-key",
            Self::Advisory => "advisory",
            Self::Serializable => "serializable",
            Self::Constraint => "constraint",
            Self::Immediate => "immediate",
        }
    }

    /// Parses the name used on the command line and in files.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// The backend on which it exists.
    pub fn backend(self) -> Backend {
        match self {
            Self::Immediate => Backend::Sqlite,
            _ => Backend::Postgres,
        }
    }

    /// What it guarantees.
    pub fn promises(self) -> Promises {
        let all = Promises { exclusion: true, freshness: true, independent_keys: true, bystanders_free: true };
        match self {
            Self::RowNoKey | Self::Advisory => all,
            Self::Row => Promises { bystanders_free: false, ..all },
            Self::Serializable => Promises { exclusion: false, ..all },
            Self::Constraint => Promises { exclusion: false, freshness: false, ..all },
            // One writer for the whole file: nobody else writes, whatever the customer.
            Self::Immediate => Promises { independent_keys: false, bystanders_free: false, ..all },
        }
    }

    /// The operation that begins a task's transaction.
    pub fn begin(self) -> Op {
        match self {
            Self::Serializable => Op::Begin { isolation: Isolation::Serializable, immediate: false },
            Self::Immediate => Op::Begin { isolation: Isolation::ReadCommitted, immediate: true },
            // Not REPEATABLE READ: its snapshot would be taken before the wait for the lock.
            _ => Op::Begin { isolation: Isolation::ReadCommitted, immediate: false },
        }
    }

    /// The operation that takes the lock, where it is not the beginning itself.
    pub fn lock(self, customer: CustomerId) -> Option<Op> {
        let row = |strength| Lock::Row { customer, strength, wait: Wait::Block };
        match self {
            Self::Row => Some(Op::Lock(row(Strength::Update))),
            Self::RowNoKey => Some(Op::Lock(row(Strength::NoKeyUpdate))),
            Self::Advisory => Some(Op::Lock(Lock::Advisory { customer, scope: Scope::Transaction })),
            Self::Serializable | Self::Constraint | Self::Immediate => None,
        }
    }
}

impl fmt::Display for LockStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
