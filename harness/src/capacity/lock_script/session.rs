//! The statements of the lock script, prepared, over a [`Wire`].

use bytes::BytesMut;
use drift_engine::session::{DbError, Kind, Operation, Session, SessionId};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;
use tokio_postgres::Config;

use crate::capacity::wire::{Answer, Wire};

/// A statement of the lock script. Its keys and workers are numbers from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statement {
    /// `BEGIN`.
    Begin,
    /// Locks a row.
    Lock {
        /// Which one.
        row: u32,
    },
    /// Inserts an entry of the row.
    Insert {
        /// Of which one.
        row: u32,
    },
    /// `COMMIT`.
    Commit,
    /// `ROLLBACK`.
    Rollback,
}

impl Statement {
    /// Every statement's name, and how it is prepared; the row is the only parameter.
    const SQL: [(&'static str, &'static str); 5] = [
        ("begin", "BEGIN"),
        ("lock", "SELECT id FROM bench_rows WHERE id = $1::int FOR UPDATE"),
        ("insert", "INSERT INTO bench_entries (row_id) VALUES ($1::int)"),
        ("commit", "COMMIT"),
        ("rollback", "ROLLBACK"),
    ];

    fn name(self) -> &'static str {
        let index = match self {
            Self::Begin => 0,
            Self::Lock { .. } => 1,
            Self::Insert { .. } => 2,
            Self::Commit => 3,
            Self::Rollback => 4,
        };
        Self::SQL[index].0
    }

    fn row(self) -> Option<u32> {
        match self {
            Self::Lock { row } | Self::Insert { row } => Some(row),
            Self::Begin | Self::Commit | Self::Rollback => None,
        }
    }
}

impl Operation for Statement {
    fn kind(&self) -> Kind {
        match self {
            Self::Begin => Kind::Begin,
            Self::Lock { .. } => Kind::Lock,
            Self::Insert { .. } => Kind::Write,
            Self::Commit => Kind::Commit,
            Self::Rollback => Kind::Rollback,
        }
    }
}

/// A connection on which the statements are prepared.
#[derive(Debug)]
pub struct LockSession(Wire);

impl LockSession {
    /// Connects, and prepares the statements.
    ///
    /// # Errors
    /// The server cannot be reached, or has no tables for the load.
    pub async fn open(config: &Config) -> Result<Self, DbError> {
        let mut wire = Wire::open(config).await?;
        for (name, sql) in Statement::SQL {
            wire.prepare(name, sql).await?;
        }
        Ok(Self(wire))
    }
}

impl Session for LockSession {
    type Op = Statement;
    type Reply = Answer;

    fn id(&self) -> SessionId {
        self.0.id()
    }

    async fn call(&mut self, op: Statement) -> Result<Answer, DbError> {
        let during = op.kind();
        let row = op.row().map(|row| i32::try_from(row).unwrap_or(i32::MAX));
        let serialize = |row: i32, to: &mut BytesMut| {
            to.extend_from_slice(&row.to_be_bytes());
            Ok(IsNull::No)
        };
        let out = &mut self.0.out;
        let bound = frontend::bind("", op.name(), row.map(|_| 1), row, serialize, [], out);
        if bound.is_err() || frontend::execute("", 0, out).is_err() {
            unreachable!("a name and a number fit into a message");
        }
        frontend::sync(out);
        self.0.exchange(during).await
    }
}
