//! What the server answered to a unit, described for whoever observes.

use bytes::Bytes;

use crate::unit::{Source, Text};

/// Where a session stands between two units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transaction {
    /// In none.
    Idle,
    /// In one.
    Open,
    /// In one that has failed: only its end is obeyed.
    Failed,
}

impl Transaction {
    pub(crate) fn of(status: u8) -> Option<Transaction> {
        match status {
            b'I' => Some(Transaction::Idle),
            b'T' => Some(Transaction::Open),
            b'E' => Some(Transaction::Failed),
            _ => None,
        }
    }
}

/// An error or a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// `ERROR`, `FATAL`, `NOTICE` and so on, never translated where the server says so.
    pub severity: String,
    /// Its SQLSTATE.
    pub sqlstate: String,
    /// Its message.
    pub message: Text,
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name; empty where its statement was described in an earlier unit.
    pub name: String,
    /// Its type's OID.
    pub type_oid: u32,
    /// Whether its values are in binary form.
    pub binary: bool,
}

/// What one statement came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The statement; of a simple query with several, nothing says which is which.
    pub statement: Option<Source>,
    /// The server's word: `INSERT 0 1`, or `ROLLBACK` as an answer to a COMMIT. Empty for a suspended portal or an empty
    /// query.
    pub tag: String,
    /// The rows that were sent, or the messages of a COPY.
    pub rows: u64,
    /// Whether the portal has more.
    pub suspended: bool,
    /// The columns, where they were described in this unit, or with their statement before.
    pub columns: Vec<Column>,
    /// The first rows, where they are watched; `None` is NULL.
    pub first_rows: Vec<Vec<Option<Bytes>>>,
}

/// What the server answered to a unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// One for each statement that ended or was suspended.
    pub outcomes: Vec<Outcome>,
    /// Outcomes that were not described, for there were too many.
    pub outcomes_left_out: u64,
    /// The error, if one came.
    pub error: Option<Report>,
    /// The notices that came in between.
    pub notices: Vec<Report>,
    /// Notices that were not described, for there were too many.
    pub notices_left_out: u64,
    /// Where the session stands now, where the server said so.
    pub transaction: Option<Transaction>,
    /// Whether the server now waits for the data of a COPY.
    pub copy_in: bool,
    /// Whether the server has ignored the unit, since an earlier one of the same batch failed.
    pub skipped: bool,
    /// Whether the server sent something that the grammar does not know, or not here.
    pub unknown: bool,
    /// The bytes of the answer.
    pub bytes: u64,
}

impl Answer {
    /// The SQLSTATE of the error, if one came.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        self.error.as_ref().map(|error| &*error.sqlstate)
    }
}
