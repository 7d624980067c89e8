//! The files of a run: paths and patterns, resolved when the file is read. One that means nothing is a mistake.

use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};
use toml::de::DeValue;

use crate::value::{self, Wrong};

/// The most files that one pattern may mean.
const MATCHES_MAX: usize = 10_000;

/// As a shell does it: no star takes a slash, or the point of a hidden file.
const AS_A_SHELL: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// The files that a path or a pattern means, below `root`.
pub(super) fn resolved(value: &DeValue<'_>, root: &Path) -> Result<Vec<PathBuf>, Wrong> {
    let text = value::text(value)?;
    let path = root.join(&text);
    if path.exists() {
        return Ok(vec![path]);
    }
    if !text.contains(['*', '?', '[']) {
        return Err(Wrong::new(format!("names {}, which is not there", value::shown(&text))));
    }
    let within = match root.as_os_str().is_empty() {
        true => text.clone(),
        false => format!("{}/{text}", Pattern::escape(&root.display().to_string())),
    };
    let refused = |error: glob::PatternError| Wrong::new(format!("is no pattern: {}", error.msg));
    let mut files = Vec::new();
    for found in glob::glob_with(&within, AS_A_SHELL).map_err(refused)? {
        files.push(found.map_err(|error| Wrong::new(format!("cannot be looked through: {error}")))?);
        if files.len() > MATCHES_MAX {
            return Err(Wrong::new(format!("means more than {MATCHES_MAX} files")));
        }
    }
    if files.is_empty() {
        let help = "A star does not take a slash; ** means any directories.";
        return Err(Wrong::new(format!("means no file: nothing is called {}", value::shown(&text))).help(help));
    }
    Ok(files)
}

/// All of them, each once, in the order in which they were named.
pub(super) fn once(lists: impl Iterator<Item = Vec<PathBuf>>) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for file in lists.flatten() {
        if seen.insert(file.clone()) {
            all.push(file);
        }
    }
    all
}
