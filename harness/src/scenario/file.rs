//! From the bytes of a file to a [`Scenario`], or to everything that is wrong with it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::problem::{Problem, Problems};
use super::read::Section;
use super::{Scenario, draft, rules};

/// The largest scenario file, in bytes: 1 MiB.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// Why there is no scenario.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file was read, and makes no sense.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Wrong(Box<Problems>),
}

impl Scenario {
    /// Reads a scenario file. Paths in it start at its directory.
    ///
    /// # Errors
    /// The file cannot be read, or makes no sense.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        Self::parse(path, &bytes).map_err(LoadError::Wrong)
    }

    /// Reads the content of a scenario file that is, or could be, at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Box<Problems>> {
        let file = path.display().to_string();
        let refused = |text: &str, problems| Box::new(Problems::new(&file, text, problems));
        if bytes.len() > FILE_BYTES_MAX {
            let message = format!("a scenario file has at most {FILE_BYTES_MAX} bytes");
            return Err(refused("", vec![Problem::new(0..0, message)]));
        }
        let text = match str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let at = error.valid_up_to();
                let problem = Problem::new(at..at, "this is not UTF-8 text");
                return Err(refused(&String::from_utf8_lossy(bytes), vec![problem]));
            }
        };
        let directory = path.parent().unwrap_or(Path::new(""));
        read(text, directory).map_err(|problems| refused(text, problems))
    }
}

fn read(text: &str, directory: &Path) -> Result<Scenario, Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems = Vec::new();
    let mut section = Section::new(table.get_ref(), 0..0, "", &mut problems);
    let draft = draft::read(&mut section, directory);
    section.finish();
    if !errors.is_empty() {
        return Err(with_syntax(text, &errors, problems));
    }
    rules::compare(&draft, &mut problems);
    match draft.build() {
        Some(scenario) if problems.is_empty() => Ok(scenario),
        _ => Err(problems),
    }
}

/// Puts syntax errors first: what else is wrong on their lines, or missing, may be their consequence.
fn with_syntax(text: &str, errors: &[toml::de::Error], problems: Vec<Problem>) -> Vec<Problem> {
    let ends: Vec<_> = text.match_indices('\n').map(|(at, _)| at).collect();
    let line = |at: usize| ends.partition_point(|end| *end < at);
    let syntax = errors.iter().take(super::problem::PROBLEMS_MAX).map(|error| {
        Problem::new(error.span().unwrap_or(0..0), error.message().to_lowercase()).label("this is not TOML")
    });
    let mut all: Vec<_> = syntax.collect();
    let lines: Vec<_> = all.iter().map(|problem| line(problem.at.start)).collect();
    let is_missing = |problem: &Problem| problem.message.ends_with("is missing");
    all.extend(problems.into_iter().filter(|p| !is_missing(p) && !lines.contains(&line(p.at.start))));
    all
}
