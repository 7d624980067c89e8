//! The seam: a session carries out one operation at a time, and says how it failed.
//!
//! Everything that attacks, records or schedules the protocol is a [`Session`] around a [`Session`].

use std::fmt;
use std::future::Future;

use serde::{Deserialize, Serialize};

/// What a session runs: an engine operation, a statement, a frame.
pub trait Operation: Clone + fmt::Debug + Send + Sync + 'static {
    /// What sort of operation it is: all that tracing, scheduling and faults may know of it.
    fn kind(&self) -> Kind;
}

/// The sorts of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Starts a transaction.
    Begin,
    /// Takes a lock explicitly.
    Lock,
    /// Gives a lock back explicitly.
    Unlock,
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Sets a savepoint.
    Savepoint,
    /// Rolls back to a savepoint.
    RollbackTo,
    /// Commits.
    Commit,
    /// Rolls back.
    Rollback,
    /// Waits on the client's side.
    Pause,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Begin => "begin",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::Read => "read",
            Self::Write => "write",
            Self::Savepoint => "savepoint",
            Self::RollbackTo => "rollback-to",
            Self::Commit => "commit",
            Self::Rollback => "rollback",
            Self::Pause => "pause",
        })
    }
}

/// What the server calls this session: the backend's process id on PostgreSQL, a number of the
/// process's own on SQLite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub i64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A connection on which operations are carried out, one after another.
pub trait Session: Send {
    /// What it carries out.
    type Op: Operation;
    /// What it answers.
    type Reply: Clone + fmt::Debug + Send + Sync + 'static;

    /// What the server calls this session.
    fn id(&self) -> SessionId;

    /// Carries out one operation: exactly one round trip.
    ///
    /// Cancellation: dropping the future leaves the operation's outcome, and the connection, in an
    /// unknown state; the session must then be closed.
    ///
    /// # Errors
    /// What the database refused, classified by its code, or the loss of the connection.
    fn call(&mut self, op: Self::Op) -> impl Future<Output = Result<Self::Reply, DbError>> + Send;
}

impl<S: Session> Session for &mut S {
    type Op = S::Op;
    type Reply = S::Reply;

    fn id(&self) -> SessionId {
        (**self).id()
    }

    fn call(&mut self, op: Self::Op) -> impl Future<Output = Result<Self::Reply, DbError>> + Send {
        (**self).call(op)
    }
}

/// Opens sessions.
pub trait Connect: Send + Sync {
    /// What it opens.
    type Session: Session;

    /// Opens one more session.
    ///
    /// # Errors
    /// The database cannot be reached, or refuses.
    fn connect(&self) -> impl Future<Output = Result<Self::Session, DbError>> + Send;
}

/// What a failure means to the protocol. Decided by SQLSTATE or SQLite result code, never by text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorClass {
    /// 40001: cannot be part of a serial order.
    Serialization,
    /// 40P01: chosen as a deadlock's victim.
    Deadlock,
    /// 55P03: a lock was not granted in time, or at once where NOWAIT was said.
    LockTimeout,
    /// SQLITE_BUSY and its kin: another connection holds the file's lock.
    Busy,
    /// 23505, SQLITE_CONSTRAINT_UNIQUE, SQLITE_CONSTRAINT_PRIMARYKEY.
    Unique,
    /// 23503, SQLITE_CONSTRAINT_FOREIGNKEY.
    ForeignKey,
    /// 25P02: the transaction was aborted by an earlier error.
    Aborted,
    /// The connection is gone; whether the operation took effect is unknown.
    Lost,
    /// Put there by a test on purpose; the operation was not sent.
    Injected,
    /// Anything else.
    Other,
}

impl ErrorClass {
    /// Classifies a PostgreSQL SQLSTATE (appendix A of its manual).
    pub fn of_sqlstate(code: &str) -> Self {
        match code {
            "40001" => Self::Serialization,
            "40P01" => Self::Deadlock,
            "55P03" => Self::LockTimeout,
            "23505" => Self::Unique,
            "23503" => Self::ForeignKey,
            "25P02" => Self::Aborted,
            // Class 08 and the shutdown codes: the server closes the connection.
            "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => Self::Lost,
            _ if code.starts_with("08") => Self::Lost,
            _ => Self::Other,
        }
    }

    /// Classifies a SQLite extended result code (sqlite.org/rescode.html).
    pub fn of_sqlite(code: i32) -> Self {
        match code {
            1555 | 2067 => Self::Unique,
            787 => Self::ForeignKey,
            // The primary code is the low byte: SQLITE_BUSY (5) and SQLITE_LOCKED (6).
            _ if matches!(code & 0xff, 5 | 6) => Self::Busy,
            _ => Self::Other,
        }
    }

    /// Whether the same transaction, run again from its beginning, may succeed.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Serialization | Self::Deadlock | Self::LockTimeout | Self::Busy)
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serialization => "serialization failure",
            Self::Deadlock => "deadlock",
            Self::LockTimeout => "lock timeout",
            Self::Busy => "database busy",
            Self::Unique => "unique violation",
            Self::ForeignKey => "foreign-key violation",
            Self::Aborted => "transaction already aborted",
            Self::Lost => "connection lost",
            Self::Injected => "injected failure",
            Self::Other => "database error",
        })
    }
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{class} during {during}{}: {message}", code.as_deref().map(|c| format!(" ({c})")).unwrap_or_default())]
pub struct DbError {
    /// What it means.
    pub class: ErrorClass,
    /// The SQLSTATE or the SQLite extended result code, if there was one.
    pub code: Option<String>,
    /// What the database said. Never holds a connection string.
    pub message: String,
    /// What was being done.
    pub during: Kind,
}
