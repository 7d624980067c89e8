//! Applies and undoes the migrations that are embedded in the program, safely beside live traffic and
//! other replicas.
//!
//! It runs sqlx's own [`Migrator`](sqlx::migrate::Migrator) over files in sqlx's format, and adds what that
//! lacks: a lock that is polled for rather than waited in (a waiter's snapshot would hold up a concurrent
//! build), release on every path, and recovery from whatever an interrupted concurrent build left behind.
//! A database is thus always fit for `sqlx migrate` as well, and the two exclude each other.
//!
//! What it cannot do: hurry a transaction that holds up a build, or keep an application from writing
//! duplicates faster than they are folded. Both end in an error, after a bound.

mod error;
mod files;
pub mod postgres;
pub mod sqlite;

use std::collections::BTreeSet;
use std::time::Duration;

pub use error::MigrateError;
pub use files::{File, Step};

use crate::lock::Backend;

/// How long to be patient, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long to wait for another migration's lock, and for another backend's index build, each.
    pub wait_max: Duration,
    /// How often to look; at least once, whatever `wait_max` says.
    pub poll_every: Duration,
    /// How long a concurrent build may wait for one transaction of somebody else, on PostgreSQL. It counts
    /// only when the session has no `lock_timeout` of its own. Such a wait blocks nobody, so it may be long.
    pub build_wait_max: Duration,
}

impl Default for Limits {
    /// Five minutes for each wait, ten looks a second.
    fn default() -> Self {
        let wait_max = Duration::from_secs(300);
        Self { wait_max, poll_every: Duration::from_millis(100), build_wait_max: wait_max }
    }
}

impl Limits {
    /// How many looks fit into `wait_max` when each takes `look` besides the pause after it.
    fn polls_max(&self, look: Duration) -> u32 {
        let each = (self.poll_every + look).max(Duration::from_millis(1));
        u32::try_from(self.wait_max.as_nanos() / each.as_nanos()).unwrap_or(u32::MAX).max(1)
    }
}

/// What a call did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The versions applied or undone, in the order in which that happened.
    pub versions: Vec<i64>,
    /// What had to be put right on the way.
    pub repairs: Vec<Repair>,
    /// How often the lock was refused because another session held it.
    pub refusals: u32,
}

/// Something that an interrupted call, or the application, left behind, and that was put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// An INVALID index that nobody was building was dropped.
    DroppedInvalid {
        /// Its name.
        index: &'static str,
    },
    /// The spare index of an interrupted undo was dropped.
    DroppedSpare {
        /// Its name.
        index: &'static str,
    },
    /// An index was there, valid and as expected, and its version was not recorded: it is now.
    Recorded {
        /// The version.
        version: i64,
    },
    /// A version was recorded though its index was gone or INVALID: it was forgotten, and so became pending.
    Forgotten {
        /// The version.
        version: i64,
    },
    /// Duplicates had arrived after the fold, and were folded too.
    FoldedAgain {
        /// The version of the fold.
        version: i64,
    },
}

/// The steps of a backend, oldest first.
pub fn steps(backend: Backend) -> &'static [Step] {
    files::steps(backend)
}

/// The version of a fully migrated database.
pub fn latest(backend: Backend) -> i64 {
    files::steps(backend).last().expect("each backend has a step: its tables").version
}

/// How often a build is tried when duplicates keep arriving, with a fold before each further one.
const BUILD_TRIES_MAX: u32 = 3;

/// A step whose files build an index, and the step that makes the data fit for it.
#[derive(Debug)]
struct Build {
    version: i64,
    index: Index,
    /// The version that folds duplicates; its up file may be run again.
    fold: i64,
    /// The version that turns the index into a constraint, so that undoing it needs a spare.
    attach: i64,
    /// The index that takes over when the constraint goes, and goes under the index's name then.
    spare: Index,
}

/// An index as it must be.
#[derive(Debug)]
struct Index {
    name: &'static str,
    table: &'static str,
    columns: &'static [&'static str],
}

/// The one index that is built on a table with live traffic.
const SIGNAL: Build = {
    let name = "drift_events_unique_signal";
    let spare = "drift_events_unique_signal_spare";
    let table = "drift_events";
    let columns = &["customer_id", "run_id", "payer", "cpt_group", "drift_type"];
    Build {
        version: 3,
        index: Index { name, table, columns },
        fold: 2,
        attach: 4,
        spare: Index { name: spare, table, columns },
    }
};

/// Checks a target: zero, or a version that there is.
fn check_target(backend: Backend, target: i64) -> Result<i64, MigrateError> {
    if target == 0 || steps(backend).iter().any(|step| step.version == target) {
        return Ok(target);
    }
    Err(MigrateError::NoSuchVersion { target, latest: latest(backend) })
}

/// The steps up to `target` that are not applied, oldest first.
fn pending(backend: Backend, target: i64, applied: &BTreeSet<i64>) -> impl Iterator<Item = &'static Step> {
    steps(backend).iter().filter(move |step| step.version <= target && !applied.contains(&step.version))
}

/// The steps above `target` that are applied, newest first: what an undo has to undo.
fn surplus(backend: Backend, target: i64, applied: &BTreeSet<i64>) -> impl Iterator<Item = &'static Step> {
    steps(backend).iter().rev().filter(move |step| step.version > target && applied.contains(&step.version))
}
