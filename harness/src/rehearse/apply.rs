//! A file, applied: what was sent and when, and what is known of each statement's locks and work.

use std::collections::BTreeMap;

use drift_engine::session::{DbError, ErrorClass};
use serde::{Deserialize, Serialize};

use super::modes::Mode;
use crate::history::Tick;

/// What takes a statement longer, the more rows a table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// It reads all rows.
    Scans,
    /// It reads all rows and builds an index of them.
    Builds,
    /// It writes all rows anew.
    Rewrites,
}

impl Work {
    /// What it does to the table, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scans => "reads all rows of",
            Self::Builds => "builds an index of all rows of",
            Self::Rewrites => "rewrites all rows of",
        }
    }
}

/// What one statement has added, on what was there before the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// The locks that the session has now and had not before.
    pub took: Vec<(i64, Mode)>,
    /// What it did with all rows of a table.
    pub work: Vec<(i64, Work)>,
}

/// The tables and indexes that there were before a file, by their number.
pub type Tables = BTreeMap<i64, String>;

/// One statement, carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Ran {
    /// Its number in the file.
    pub statement: usize,
    /// Before it was sent.
    pub from: Tick,
    /// After it was answered.
    pub until: Tick,
    /// The locks that the session had after it and not before, on what was there before the file.
    pub took: Vec<(i64, Mode)>,
    /// What it did with all rows of a table that was there before the file.
    pub work: Vec<(i64, Work)>,
}

/// A file, carried out or refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The migrating sessions.
    pub sessions: Vec<i64>,
    /// Before its first message.
    pub from: Tick,
    /// When it was given what all its statements work under, where that is known: SQLite's write lock. Until then
    /// nobody waits for it.
    pub granted: Option<Tick>,
    /// After its last one: the locks are let go.
    pub until: Tick,
    /// What was there before.
    pub tables: Tables,
    /// The statements that were sent, in order.
    pub ran: Vec<Ran>,
    /// Locks that an event trigger noted within a runner's transactions; for how long they were held, it cannot say.
    pub noted: Vec<(i64, Mode)>,
    /// The statement that the database refused, and how.
    pub failed: Option<(usize, DbError)>,
}
/// An error after which the session goes on.
///
/// # Errors
/// The same, where it does not.
pub(super) fn survivable(error: DbError) -> Result<DbError, DbError> {
    if error.class == ErrorClass::Lost { Err(error) } else { Ok(error) }
}
