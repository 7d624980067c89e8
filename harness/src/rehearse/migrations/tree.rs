//! What is in a directory: the files, by their paths within it, with the texts of those that a layout may read.
//!
//! Everything has a bound, and whatever is not looked into is still listed.

use std::path::{Path, PathBuf};

use super::{Mistake, Mistakes};
use crate::sql;

/// The most bytes that a file may have.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The most bytes that all of them together may have.
const BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The most files that a directory may have.
const FILES_MAX: usize = 10_000;
/// How many directories deep it is looked into.
const DEPTH_MAX: usize = 6;
/// How many directories above are searched for a project's own file.
const ABOVE_MAX: usize = 6;
/// The endings of the files whose text a layout may read.
const READABLE: [&str; 4] = [".sql", ".toml", ".conf", ".json"];

/// The files that say what a project is built with.
pub(super) const PROJECTS: [&str; 6] =
    ["Cargo.toml", "go.mod", "package.json", "pom.xml", "build.gradle", "build.gradle.kts"];

/// A directory, read.
#[derive(Debug)]
pub(super) struct Tree {
    /// The directory, as it is shown, without a slash at its end.
    pub(super) shown: String,
    /// Its files, ordered by path.
    pub(super) files: Vec<Entry>,
    /// The file of [`PROJECTS`] that is nearest above it.
    pub(super) project: Option<&'static str>,
}

/// A file of a directory.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its path within the directory, with slashes.
    pub(super) path: String,
    /// What it says, or why that cannot be read; `None` where no layout reads such a file.
    pub(super) text: Option<Result<String, Mistake>>,
}

impl Entry {
    /// Its name.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The directory that it is in, within the one that is read: empty for itself.
    pub(super) fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// Its text, if it has one.
    pub(super) fn said(&self) -> &str {
        match &self.text {
            Some(Ok(text)) => text,
            _ => "",
        }
    }

    /// Whether it is an SQL file.
    pub(super) fn is_sql(&self) -> bool {
        self.path.ends_with(".sql")
    }
}

impl Tree {
    /// Reads a directory.
    pub(super) fn read(directory: &Path) -> Result<Self, Mistakes> {
        let shown = directory.display().to_string();
        let mut reader = Reader { shown: shown_directory(&shown), found: Vec::new(), bytes: 0 };
        reader.folder(directory, "", 0).map_err(|mistake| Mistakes(vec![mistake]))?;
        let Reader { shown, mut found, .. } = reader;
        found.sort_by(|a: &Entry, b| a.path.cmp(&b.path));
        Ok(Self { shown, files: found, project: project_above(directory) })
    }

    /// Files that are already in memory: path within the directory and text of each.
    pub(super) fn of<'a>(directory: &str, files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let entry = |(path, text): (&str, &str)| Entry { path: path.to_owned(), text: Some(Ok(text.to_owned())) };
        let mut files: Vec<Entry> = files.into_iter().map(entry).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { shown: shown_directory(directory), files, project: None }
    }

    /// A path within it as it is shown.
    pub(super) fn show(&self, path: &str) -> String {
        format!("{}/{path}", self.shown)
    }

    /// Its SQL files.
    pub(super) fn sql(&self) -> impl Iterator<Item = &Entry> {
        self.files.iter().filter(|entry| entry.is_sql())
    }

    /// The file with this path.
    pub(super) fn file(&self, path: &str) -> Option<&Entry> {
        self.files.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok().map(|at| &self.files[at])
    }

    /// The first SQL file of which this holds.
    pub(super) fn any(&self, holds: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        self.sql().find(|entry| holds(entry))
    }
}

fn shown_directory(shown: &str) -> String {
    let bare = shown.trim_end_matches('/');
    if bare.is_empty() { shown.to_owned() } else { bare.to_owned() }
}

struct Reader {
    shown: String,
    found: Vec<Entry>,
    bytes: u64,
}

impl Reader {
    fn mistake(&self, message: String, help: &'static str) -> Mistake {
        Mistake { file: self.shown.clone(), at: None, message, help }
    }

    fn folder(&mut self, folder: &Path, within: &str, depth: usize) -> Result<(), Mistake> {
        let unreadable = |error: std::io::Error| {
            let message = match within {
                "" => format!("failed to read the directory: {error}"),
                within => format!("failed to read the directory {within}: {error}"),
            };
            self.mistake(message, "Name a directory of SQL files.")
        };
        let entries = std::fs::read_dir(folder).map_err(unreadable)?;
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(unreadable)?;
        paths.sort();
        for path in paths {
            let Some(name) = path.file_name() else { continue };
            let name = name.to_string_lossy();
            let inner = if within.is_empty() { name.into_owned() } else { format!("{within}/{name}") };
            let is_link = path.symlink_metadata().is_ok_and(|about| about.is_symlink());
            let is_shut = depth >= DEPTH_MAX || is_link || inner.rsplit('/').next().is_some_and(is_foreign);
            match path.is_dir() {
                true if is_shut => self.found.push(Entry { path: format!("{inner}/"), text: None }),
                true => self.folder(&path, &inner, depth + 1)?,
                false => {
                    let is_read = READABLE.iter().any(|ending| inner.ends_with(ending));
                    let text = if is_read { Some(self.text(&path, &inner)?) } else { None };
                    self.found.push(Entry { path: inner, text });
                }
            }
            if self.found.len() > FILES_MAX {
                let message = format!("it has more than {FILES_MAX} files");
                return Err(self.mistake(message, "Rehearse the newer ones in a directory of their own."));
            }
        }
        Ok(())
    }

    /// The text of a file; the outer error is that of the whole directory.
    fn text(&mut self, path: &Path, inner: &str) -> Result<Result<String, Mistake>, Mistake> {
        let file = format!("{}/{inner}", self.shown);
        let wrong = |at, message: String, help| Ok(Err(Mistake { file: file.clone(), at, message, help }));
        let readable = "Make it a file that can be read.";
        let about = match path.metadata() {
            Ok(about) => about,
            Err(error) => return wrong(None, format!("failed to read it: {error}"), readable),
        };
        if !about.is_file() {
            return wrong(None, "it is not a file".to_owned(), readable);
        }
        if about.len() > FILE_BYTES_MAX {
            let message = format!("it has {} bytes; {FILE_BYTES_MAX} is the most", about.len());
            return wrong(None, message, "Load data in another way than in a migration.");
        }
        self.bytes += about.len();
        if self.bytes > BYTES_MAX {
            let message = format!("its files have more than {BYTES_MAX} bytes together");
            return Err(self.mistake(message, "Name the directory of the migrations only."));
        }
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => return wrong(None, format!("failed to read it: {error}"), readable),
        };
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let at = sql::place(&String::from_utf8_lossy(valid), valid.len());
                return wrong(Some(at), "this is not UTF-8".to_owned(), "Save the file as UTF-8.");
            }
        };
        match text.find('\0') {
            Some(at) => {
                let at = sql::place(&text, at);
                wrong(Some(at), "a zero byte".to_owned(), "PostgreSQL knows none: remove it.")
            }
            None => Ok(Ok(text)),
        }
    }
}

/// Whether a directory is none of a project's migrations: hidden, or filled by a package manager.
fn is_foreign(name: &str) -> bool {
    name.starts_with('.') || name == "node_modules" || name == "target"
}

/// The project's file in the nearest directory above that has one, within the same checkout.
fn project_above(directory: &Path) -> Option<&'static str> {
    let directory = directory.canonicalize().ok()?;
    for above in directory.ancestors().take(ABOVE_MAX) {
        if let Some(found) = PROJECTS.into_iter().find(|name| above.join(name).is_file()) {
            return Some(found);
        }
        if above.join(".git").exists() {
            break;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_looked_into_is_listed_and_the_nearest_project_counts() {
        let at = tempfile::tempdir().unwrap();
        for folder in ["m/.git", "m/deep", "m/node_modules/x"] {
            std::fs::create_dir_all(at.path().join(folder)).unwrap();
        }
        for file in ["go.mod", "m/deep/a.sql", "m/node_modules/x/b.sql", "m/README.md", "m/1_a.sql"] {
            std::fs::write(at.path().join(file), "x").unwrap();
        }
        let tree = Tree::read(&at.path().join("m")).unwrap();
        let paths: Vec<&str> = tree.files.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, [".git/", "1_a.sql", "README.md", "deep/a.sql", "node_modules/"]);
        assert_eq!((tree.files[1].said(), tree.files[2].text.is_none()), ("x", true));
        assert_eq!(tree.file("deep/a.sql").map(|entry| (entry.name(), entry.folder())), Some(("a.sql", "deep")));
        // The checkout begins at m: what is above it is another one's.
        assert_eq!(tree.project, None);
        std::fs::remove_dir(at.path().join("m/.git")).unwrap();
        assert_eq!(Tree::read(&at.path().join("m")).unwrap().project, Some("go.mod"));
    }
}
