//! What is recorded of one rehearsal: everything that was seen, and nothing judged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use drift_engine::session::DbError;

use super::apply::Applied;
use super::catalog::Left;
use super::course::Pass;
use super::crowd::Ended;
use super::flight::Refusal;
use super::migrations::{Script, Version};
use super::observer::Windows;
use super::operation::Operation;
use super::sampler::Sample;
use super::twin::Twin;
use crate::history::{ActorId, History, Tick};

/// What a script has left.
#[derive(Debug)]
pub struct ScriptEnd {
    /// How many rounds its actors made.
    pub rounds: u64,
    /// Each invariant with what is wrong, which should be nothing.
    pub invariants: Vec<(String, Option<String>)>,
}

/// One try of one file.
#[derive(Clone, Debug)]
pub struct FileRun<'a> {
    /// In which part of the course.
    pub pass: Pass,
    /// The migration's version.
    pub version: Version,
    /// The file.
    pub script: &'a Script,
    /// Which try, from 1.
    pub attempt: u32,
    /// The statement that was left out, if one was.
    pub skipped: Option<usize>,
    /// What came of it.
    pub applied: Applied,
    /// What is there now that should not be, and was not before.
    pub left: BTreeSet<Left>,
    /// What of that kind was there before, and still is.
    pub still: BTreeSet<Left>,
    /// The companion's sessions.
    pub beside: Vec<i64>,
    /// What the database refused the companion.
    pub beside_refused: Vec<DbError>,
}

/// A stretch of time.
pub type Stretch = (Tick, Tick);

/// Everything that was seen.
#[derive(Debug, Default)]
pub struct Record<'a> {
    /// What the traffic was refused before the first file, without any migration: then no file was applied.
    pub failing: Vec<Refusal>,
    /// The files, in the order in which they were applied.
    pub files: Vec<FileRun<'a>>,
    /// What the server said on the way.
    pub samples: Vec<Sample>,
    /// What the traffic did, ordered by invocation.
    pub operations: Vec<Operation>,
    /// The same as the checks want it, if it was the engine's.
    pub history: Option<History>,
    /// How the database refused to tell what the engine's traffic left, if it did.
    pub unread: Option<DbError>,
    /// What a script has left, if it was one's.
    pub script: Option<ScriptEnd>,
    /// Which session was whose.
    pub sessions: BTreeMap<i64, ActorId>,
    /// Whether the record of the traffic was full before the end.
    pub full: bool,
    /// The traffic on its own before the first file.
    pub before: Windows,
    /// How long it took to record an operation.
    pub recording: Duration,
    /// The traffic on its own after the last file of the first pass.
    pub after: Option<Stretch>,
    /// What a database without traffic told of the same statements, if it was asked.
    pub twin: Option<Twin<'a>>,
    /// How many rows each table had before the first file, about.
    pub rows: BTreeMap<String, i64>,
    /// The partitions, each with the table that is partitioned.
    pub partitions: BTreeMap<String, String>,
    /// What is otherwise after going down than at the start; `None` if that was not reached.
    pub down_differs: Option<Vec<String>>,
    /// What is otherwise after going up again than after the first time; `None` if that was not reached.
    pub again_differs: Option<Vec<String>>,
    /// The tables whose columns stand in another order then, and are no difference: what to say of each.
    pub reordered: Vec<String>,
    /// The version that nothing undoes, if there is one.
    pub irreversible: Option<Version>,
    /// Bytes of each table and index, before and after the first pass.
    pub sizes: BTreeMap<String, (Option<i64>, Option<i64>)>,
    /// The most bytes that the log or the journal had during each file's first way up, by the file, where that was seen.
    pub peaks: BTreeMap<String, i64>,
}

impl Record<'_> {
    /// Adds what the traffic did and left.
    pub(super) fn add(&mut self, ended: Ended) {
        (self.operations, self.history, self.script) = (ended.operations, ended.history, ended.script);
        (self.sessions, self.full, self.recording) = (ended.sessions, ended.full, ended.recording);
        self.unread = ended.unread;
    }
}
