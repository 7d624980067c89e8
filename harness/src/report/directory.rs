//! The run directory: everything that a run leaves, written as it goes, so that a crash loses nothing
//! that was finished.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::explored::ExploreReport;
use super::junit;
use super::rehearsed::{self, RehearseReport};
use super::replayed::ReplayReport;
use super::rounds::RoundsReport;
use super::varied::VariedReport;
use crate::history::{History, file};
use crate::outcome::{ResultRow, SCHEMA_VERSION, SuiteReport};
use crate::overall::OverallReport;

/// What a run of several printed.
pub const OUTPUT: &str = "output.txt";

/// The longest history that is drawn, in bytes.
const HISTORY_BYTES_MAX: u64 = 64 << 20;

/// A directory for the outputs of one run. One that was made for it, and to which nothing came, is removed again.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    is_made: bool,
    /// The directory itself, locked: two runs would overwrite each other's outputs.
    _lock: File,
}

/// Why an output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("failed to write {}", path.display())]
pub struct WriteError {
    /// Where.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Why a report could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("failed to read {}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no report.
    #[error("{} is no report of driftlock: {source}", path.display())]
    Format {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// It was written by another version.
    #[error("{} has format version {found}; this program reads version {SCHEMA_VERSION}", path.display())]
    Version {
        /// Where.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
}

/// What every version of a report has, and what tells one command's from another's.
#[derive(serde::Deserialize)]
struct Header {
    schema_version: u32,
    #[serde(default)]
    command: String,
    #[serde(default)]
    rounds: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    by_version: bool,
    #[serde(default)]
    results: Vec<RowHeader>,
}

/// What tells the rows of one kind of report from another's.
#[derive(serde::Deserialize)]
struct RowHeader {
    #[serde(default)]
    fate: Option<serde::de::IgnoredAny>,
}

/// A report of any command.
#[derive(Clone, Debug)]
pub enum Recorded {
    /// Of `verify` or `mutate`.
    Suite(SuiteReport),
    /// Of `explore`.
    Explored(ExploreReport),
    /// Of `replay`.
    Replayed(Box<ReplayReport>),
    /// Of `verify` on scripts.
    Rounds(RoundsReport),
    /// Of `mutate` on scripts, or of `repair`.
    Varied(VariedReport),
    /// Of `rehearse`.
    Rehearsed(Box<RehearseReport>),
    /// Of `run`, or of a command on several versions.
    Overall(Box<OverallReport>),
}

impl RunDirectory {
    /// Makes the directory, and the ones above it. What an earlier run wrote there is removed: a run
    /// that comes to nothing must not seem to have left it.
    ///
    /// # Errors
    /// It cannot be made, or not be cleared.
    pub fn create(path: PathBuf) -> Result<Self, WriteError> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            |source| WriteError { path, source }
        };
        let is_made = !path.exists();
        fs::create_dir_all(&path).map_err(fail(&path))?;
        let lock = File::open(&path).map_err(fail(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let taken =
                    io::Error::new(io::ErrorKind::ResourceBusy, "another run writes its outputs there just now");
                return Err(fail(&path)(taken));
            }
            // A file system without locks keeps nobody from working.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(fail(&path)(error)),
        }
        for entry in fs::read_dir(&path).map_err(fail(&path))? {
            let file = entry.map_err(fail(&path))?.path();
            if is_output(&file) {
                fs::remove_file(&file).map_err(fail(&file))?;
            }
        }
        Ok(Self { path, is_made, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a case's history.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn history(&self, row: &ResultRow, history: &History) -> Result<(), WriteError> {
        self.write(&format!("history-{}.jsonl", slug(row)), |to| file::write(history, to))
    }

    /// Writes the report in every form, and each counterexample.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn report(&self, report: &SuiteReport) -> Result<(), WriteError> {
        self.write("report.json", |to| Ok(serde_json::to_writer_pretty(to, report)?))?;
        self.write("junit.xml", |to| junit::write(report, to))?;
        for row in report.results.iter().filter(|row| !row.counterexamples.is_empty()) {
            let name = format!("counterexample-{}.json", slug(row));
            self.write(&name, |to| Ok(serde_json::to_writer_pretty(to, &row.counterexamples)?))?;
        }
        Ok(())
    }

    /// Writes the report of `explore` in every form.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn explored(&self, report: &ExploreReport) -> Result<(), WriteError> {
        self.write("report.json", |to| Ok(serde_json::to_writer_pretty(to, report)?))?;
        self.write("junit.xml", |to| junit::write(report, to))
    }

    /// Writes the report of `mutate` on scripts, or of `repair`, in every form.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn varied(&self, report: &VariedReport) -> Result<(), WriteError> {
        self.write("report.json", |to| Ok(serde_json::to_writer_pretty(to, report)?))?;
        self.write("junit.xml", |to| junit::write(report, to))
    }

    /// Writes the report of `rehearse` in every form.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn rehearsed(&self, report: &RehearseReport) -> Result<(), WriteError> {
        self.write("report.json", |to| Ok(serde_json::to_writer_pretty(to, report)?))?;
        self.write("junit.xml", |to| junit::write(report, to))?;
        self.write("report.md", |to| rehearsed::markdown::write(report, to))?;
        self.write("report.sarif", |to| rehearsed::sarif::write(report, to))
    }

    /// Writes the report of `replay`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn replayed(&self, report: &ReplayReport) -> Result<(), WriteError> {
        self.write("report.json", |to| Ok(serde_json::to_writer_pretty(to, report)?))
    }

    /// Writes what `record` saw of a program.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn recorded(&self, report: &crate::app::record::account::Recorded) -> Result<(), WriteError> {
        self.write("report.json", |to| Ok(serde_json::to_writer_pretty(to, report)?))
    }

    /// Writes the report of rounds of scripts in every form, and each counterexample.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn rounds(&self, report: &RoundsReport) -> Result<(), WriteError> {
        self.write("report.json", |to| Ok(serde_json::to_writer_pretty(to, report)?))?;
        self.write("junit.xml", |to| junit::write(report, to))?;
        for row in report.results.iter().filter(|row| !row.counterexamples.is_empty()) {
            let name = format!("counterexample-{}.json", row.name.replace('/', "-"));
            self.write(&name, |to| Ok(serde_json::to_writer_pretty(to, &row.counterexamples)?))?;
        }
        Ok(())
    }

    /// Writes what an actor's program has printed in a round that came to a violation.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn printed(&self, slug: &str, text: &str) -> Result<(), WriteError> {
        self.write(&format!("printed-{slug}.log"), |to| to.write_all(text.as_bytes()))
    }

    /// Writes a file of a case: an order of its steps, as this text.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn schedule(&self, slug: &str, extension: &str, text: &str) -> Result<PathBuf, WriteError> {
        let name = format!("schedule-{slug}.{extension}");
        self.write(&name, |to| to.write_all(text.as_bytes()))?;
        Ok(self.path.join(name))
    }

    /// Reads a report that was written before.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(directory: &Path) -> Result<Recorded, ReadError> {
        let header: Header = Self::read_as(directory)?;
        match header.command.as_str() {
            _ if header.by_version => Self::read_as(directory).map(|report| Recorded::Overall(Box::new(report))),
            "explore" => Self::read_as(directory).map(Recorded::Explored),
            "replay" => Self::read_as(directory).map(|report| Recorded::Replayed(Box::new(report))),
            "rehearse" => Self::read_as(directory).map(|report| Recorded::Rehearsed(Box::new(report))),
            "repair" => Self::read_as(directory).map(Recorded::Varied),
            "mutate" if header.results.iter().any(|row| row.fate.is_some()) => {
                Self::read_as(directory).map(Recorded::Varied)
            }
            "run" => Self::read_as(directory).map(|report| Recorded::Overall(Box::new(report))),
            _ if header.rounds.is_some() => Self::read_as(directory).map(Recorded::Rounds),
            _ => Self::read_as(directory).map(Recorded::Suite),
        }
    }

    /// Which command wrote the report.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn command(directory: &Path) -> Result<String, ReadError> {
        Self::read_as::<Header>(directory).map(|header| header.command)
    }

    /// Reads a report of any command.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_as<T: serde::de::DeserializeOwned>(directory: &Path) -> Result<T, ReadError> {
        let path = directory.join("report.json");
        let unreadable = |source| ReadError::Io { path: path.clone(), source };
        let text = Self::bytes(&path).map_err(unreadable)?;
        let format = |source| ReadError::Format { path: path.clone(), source };
        match serde_json::from_slice(&text).map_err(format)? {
            Header { schema_version: SCHEMA_VERSION, .. } => serde_json::from_slice(&text).map_err(format),
            Header { schema_version: found, .. } => Err(ReadError::Version { path, found }),
        }
    }

    /// Reads what was recorded of a case, if it is there and not too long to be drawn.
    pub fn read_history(directory: &Path, row: &ResultRow) -> Option<History> {
        let path = directory.join(format!("history-{}.jsonl", slug(row)));
        let is_short = path.metadata().is_ok_and(|metadata| metadata.len() <= HISTORY_BYTES_MAX);
        let text = Self::bytes(&path).ok().filter(|_| is_short)?;
        file::read(&text[..]).ok()
    }

    /// What is in a file of a run.
    pub(crate) fn bytes(path: &Path) -> io::Result<Vec<u8>> {
        // A pipe would be waited for without end.
        if !path.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
        }
        fs::read(path)
    }

    /// Writes one file of the run.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(
        &self,
        name: &str,
        content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        let path = self.path.join(name);
        let written = File::create(&path).map(BufWriter::new).and_then(|mut to| {
            content(&mut to)?;
            to.flush()
        });
        written.map_err(|source| WriteError { path, source })
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        if self.is_made {
            // It fails where there is anything in it.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Whether a run directory's file is one that [`RunDirectory`] writes.
fn is_output(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let of_a_case = |prefix, suffix| name.starts_with(prefix) && name.ends_with(suffix);
    ["report.json", "junit.xml", "report.md", "report.sarif", "histograms.hlog", OUTPUT].contains(&&*name)
        || of_a_case("history-", ".jsonl")
        || of_a_case("counterexample-", ".json")
        || of_a_case("schedule-", ".json")
        || of_a_case("schedule-", ".spec")
        || of_a_case("schedule-", ".log")
        || of_a_case("printed-", ".log")
}

fn slug(row: &ResultRow) -> String {
    format!("{}-{}-{}", row.name, row.backend, row.strategy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_comes_to_nothing_leaves_no_directory_of_its_own() {
        let place = tempfile::tempdir().unwrap();
        let (own, used, given) = (place.path().join("own"), place.path().join("used"), place.path().join("given"));
        fs::create_dir(&given).unwrap();
        for path in [&own, &used, &given] {
            let directory = RunDirectory::create(path.clone()).unwrap();
            assert!(path.is_dir());
            if path == &used {
                directory.write("report.json", |to| to.write_all(b"{}")).unwrap();
            }
        }
        assert_eq!([own.exists(), used.exists(), given.exists()], [false, true, true]);
    }
}
