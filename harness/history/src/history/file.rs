//! A history as a file: JSON lines, one a fact, so that a file cut short still reads up to the cut.
//!
//! The first line is the header with the format's version, the last one the final state.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::{Entry, FinalState, History, Meta, Seen, TaskRecord};

/// The version of the format that this program writes and reads.
pub const SCHEMA_VERSION: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum LineRef<'a> {
    History { schema_version: u32, meta: &'a Meta },
    Op(&'a Entry),
    Seen(&'a Seen),
    Task(&'a TaskRecord),
    End(&'a FinalState),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    History { schema_version: u32, meta: Meta },
    Op(Entry),
    Seen(Seen),
    Task(TaskRecord),
    End(FinalState),
}

/// Why a history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error("failed to read the history")]
    Io(#[from] io::Error),
    /// A line is not what it should be.
    #[error("line {line} of the history is not a record of this format: {source}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It was written by another version.
    #[error("the history has format version {found}; this program reads version {SCHEMA_VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// The header or the end is missing.
    #[error("the history has no {missing}: it was cut short, or is no history")]
    Incomplete {
        /// `header` or `end`.
        missing: &'static str,
    },
}

/// Writes a history.
///
/// # Errors
/// The writer's.
pub fn write(history: &History, mut to: impl Write) -> io::Result<()> {
    let mut line = |record: LineRef<'_>| -> io::Result<()> {
        serde_json::to_writer(&mut to, &record)?;
        to.write_all(b"\n")
    };
    line(LineRef::History { schema_version: SCHEMA_VERSION, meta: &history.meta })?;
    history.entries.iter().try_for_each(|entry| line(LineRef::Op(entry)))?;
    history.seen.iter().try_for_each(|seen| line(LineRef::Seen(seen)))?;
    history.tasks.iter().try_for_each(|task| line(LineRef::Task(task)))?;
    line(LineRef::End(&history.end))?;
    to.flush()
}

/// Reads a history.
///
/// # Errors
/// See [`ReadError`].
pub fn read(from: impl BufRead) -> Result<History, ReadError> {
    let (mut meta, mut end) = (None, None);
    let (mut entries, mut seen, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
    for (index, text) in from.lines().enumerate() {
        let record = serde_json::from_str(&text?).map_err(|source| ReadError::Line { line: index + 1, source })?;
        match record {
            Line::History { schema_version: SCHEMA_VERSION, meta: header } => meta = Some(header),
            Line::History { schema_version: found, .. } => return Err(ReadError::Version { found }),
            Line::Op(entry) => entries.push(entry),
            Line::Seen(one) => seen.push(one),
            Line::Task(task) => tasks.push(task),
            Line::End(state) => end = Some(state),
        }
    }
    let meta = meta.ok_or(ReadError::Incomplete { missing: "header" })?;
    let end = end.ok_or(ReadError::Incomplete { missing: "end" })?;
    Ok(History { meta, entries, seen, tasks, end })
}
