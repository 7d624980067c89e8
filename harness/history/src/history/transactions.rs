//! A history's operations grouped into transactions, and the intervals in which a lock was certainly held.
//!
//! [`Ledger::of`] follows every session through its operations once. What it says is what the
//! databases guarantee, never what usually happens:
//!
//! - A lock was granted when its reply said so: a row came back ([`Reply::Locked`]), or on SQLite,
//!   which has no row locks, `BEGIN IMMEDIATE` succeeded (sqlite.org/lang_transaction.html).
//! - It was certainly held from that reply's return to the invocation of the last operation that
//!   the same transaction carried out successfully, or until the gate let that operation go.
//! - On PostgreSQL an error ends what the innermost savepoint, or else the transaction, has locked
//!   since; so does ROLLBACK TO (manual, 13.3.2 "Row-Level Locks" and 13.3.5 "Advisory Locks").
//!   A session-level advisory lock lives until it is given back as often as it was taken.
//! - On SQLite an error other than a constraint's may roll the whole transaction back: nothing is
//!   certain after it.

mod follow;

use drift_engine::claim::CustomerId;
use drift_engine::op::Isolation;

use super::{ActorId, History, TaskId, Tick};

#[cfg(doc)]
use drift_engine::op::Reply;

/// What excludes: tasks of one key must not be in their critical sections at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The customer's row, or the advisory lock that stands for it.
    Customer(CustomerId),
    /// SQLite's one write lock.
    File,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Customer(customer) => write!(f, "customer {customer}"),
            Self::File => f.write_str("the database file"),
        }
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// COMMIT was answered with COMMIT.
    Committed,
    /// ROLLBACK, or COMMIT answered with ROLLBACK or refused, or the session was lost before COMMIT.
    RolledBack,
    /// The answer to COMMIT was lost.
    Unknown,
    /// The history ends before it does.
    Open,
}

/// One transaction. Entries are indices into the history's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Whose.
    pub actor: ActorId,
    /// For which task.
    pub task: Option<TaskId>,
    /// BEGIN; of an implicit transaction its one operation.
    pub begin: u32,
    /// Its last operation: COMMIT or ROLLBACK, if it came to that.
    pub last: u32,
    /// What it saw of others.
    pub isolation: Isolation,
    /// How it ended.
    pub end: End,
    /// Whether it is a single write outside BEGIN and COMMIT, which commits on its own.
    pub implicit: bool,
    /// Whether it recorded a failure, and did nothing else.
    pub records_failure: bool,
    /// The first change to run or events that no ROLLBACK TO undid.
    pub change: Option<u32>,
    /// The last write of events that no ROLLBACK TO undid.
    pub write: Option<u32>,
    /// The task's last successful read of claims before that write, wherever it was.
    pub basis: Option<u32>,
}

impl Transaction {
    /// Whether it took effect for certain.
    pub fn committed(&self) -> bool {
        self.end == End::Committed
    }

    /// Whether it may have taken effect.
    pub fn maybe_committed(&self) -> bool {
        matches!(self.end, End::Committed | End::Unknown)
    }
}

/// A lock that was granted, and how long it was certainly held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Whose.
    pub actor: ActorId,
    /// For which task.
    pub task: Option<TaskId>,
    /// What it excludes.
    pub key: Key,
    /// The entry that was answered with the grant.
    pub grant: u32,
    /// The last entry before whose invocation it was certainly held.
    pub last: u32,
    /// The entry that ended it, if the history shows one.
    pub end: Option<u32>,
    /// From when it was certainly held.
    pub from: Tick,
    /// Until when; `from` if nothing succeeded after the grant.
    pub until: Tick,
    /// Whether it excludes its like: `FOR SHARE` and `FOR KEY SHARE` do not.
    pub exclusive: bool,
}

impl Hold {
    /// Whether the interval has a duration.
    pub fn lasts(&self) -> bool {
        self.from < self.until
    }

    /// Whether it certainly covers everything from `from` to `until`.
    pub fn covers(&self, from: Tick, until: Tick) -> bool {
        self.from <= from && until <= self.until
    }
}

/// The transactions and holds of a history.
#[derive(Debug)]
pub struct Ledger {
    /// Every transaction, in the order of their beginnings.
    pub transactions: Vec<Transaction>,
    /// Every granted lock, in the order of the requests.
    pub holds: Vec<Hold>,
    transaction_of: Vec<u32>,
    hold_at: Vec<u32>,
}

/// Stands for "none" in the columns that have a value for each entry.
const NONE: u32 = u32::MAX;

fn some(index: u32) -> Option<usize> {
    (index != NONE).then_some(index as usize)
}

impl Ledger {
    /// Follows a history's sessions; `customer_of` names the customer of a task, `sent_at` says when
    /// an entry was really sent, which is later than invoked if it was held at the gate.
    ///
    /// # Panics
    /// The history has more than four thousand million entries.
    pub fn of(
        history: &History,
        customer_of: impl Fn(TaskId) -> Option<CustomerId>,
        sent_at: impl Fn(u32) -> Tick,
    ) -> Self {
        follow::follow(history, customer_of, sent_at)
    }

    /// The transaction that an entry belongs to, if any, as an index.
    pub fn transaction_of(&self, entry: usize) -> Option<usize> {
        some(self.transaction_of[entry])
    }

    /// The lock of the task's own customer that was granted and not yet given up when the entry was
    /// invoked, as an index; the strongest if there are several.
    pub fn hold_at(&self, entry: usize) -> Option<usize> {
        some(self.hold_at[entry])
    }
}

#[cfg(test)]
mod tests;
