//! The run directory: everything that a run leaves, written as it goes, so that a crash loses nothing
//! that was finished.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{Report, ResultRow, junit};
use crate::history::{History, file};

/// A directory for the outputs of one run.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
}

/// Why an output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("failed to write {}: {source}", path.display())]
pub struct WriteError {
    /// Where.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl RunDirectory {
    /// Makes the directory, and the ones above it.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(path: PathBuf) -> Result<Self, WriteError> {
        fs::create_dir_all(&path).map_err(|source| WriteError { path: path.clone(), source })?;
        Ok(Self { path })
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
    pub fn report(&self, report: &Report) -> Result<(), WriteError> {
        self.write("report.json", |to| Ok(serde_json::to_writer_pretty(to, report)?))?;
        self.write("junit.xml", |to| junit::write(report, to))?;
        for row in report.results.iter().filter(|row| !row.counterexamples.is_empty()) {
            let name = format!("counterexample-{}.json", slug(row));
            self.write(&name, |to| Ok(serde_json::to_writer_pretty(to, &row.counterexamples)?))?;
        }
        Ok(())
    }

    /// Reads a report that was written before.
    ///
    /// # Errors
    /// There is none, or it is of another version.
    pub fn read(path: &Path) -> Result<Report, WriteError> {
        let file = path.join("report.json");
        let fail = |source| WriteError { path: file.clone(), source };
        let text = fs::read(&file).map_err(fail)?;
        serde_json::from_slice(&text).map_err(|error| fail(error.into()))
    }

    fn write(
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

fn slug(row: &ResultRow) -> String {
    format!("{}-{}-{}", row.name, row.backend, row.strategy)
}
