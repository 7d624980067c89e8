//! The migrations of a directory, in the order and with the semantics of the tool that they are written for.
//!
//! [`layout::LAYOUTS`] are the tools. A directory is recognised by its files, or its layout is named; a file that is not
//! taken is listed with the reason. Everything that is wrong is reported at once, with its place.

mod foreign;
pub mod layout;
mod layouts;
mod part;
mod reading;
mod script;
mod sqlite;
#[cfg(test)]
mod tests;
mod tree;
mod version;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::sql::Dialect;
use layout::Layout;
use layouts::sqlx;
use reading::Reading;
pub use script::{Script, Transaction};
use tree::Tree;
pub use version::Version;

/// The most mistakes that are listed; the others are counted.
const MISTAKES_MAX: usize = 50;

/// The migrations of a directory, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrations {
    /// Ordered as their tool orders them, each version once.
    pub list: Vec<Migration>,
    /// Whose they are, if that is known.
    pub origin: Option<Origin>,
}

/// Whose layout a directory has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Which.
    pub layout: &'static Layout,
    /// Why it is taken for that.
    pub why: String,
    /// The files that are not taken.
    pub left_out: Vec<LeftOut>,
    /// Why its SQL is taken for SQLite's, where nobody has said whose it is.
    pub sqlite: Option<String>,
}

/// A file that is not taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeftOut {
    /// The file, as it is shown.
    pub file: String,
    /// Why it is not taken.
    pub reason: String,
}

/// One migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// What its tool calls it.
    pub version: Version,
    /// What it says it does: the file's name without number and suffix.
    pub description: String,
    /// What applies it.
    pub up: Script,
    /// What undoes it, if anything does.
    pub down: Option<Script>,
}

/// One thing that is wrong with a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// The file or directory, as it is shown.
    pub file: String,
    /// The line and the column, from 1, where it is in a file's text.
    pub at: Option<(u32, u32)>,
    /// What it is: lower case, no full stop.
    pub message: String,
    /// What to do about it, as a sentence.
    pub help: &'static str,
}

/// Everything that is wrong with a directory: at least one mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the migrations cannot be read: {count} problem{}", if count == 1 { "" } else { "s" })?;
        for Mistake { file, at, message, help } in self.0.iter().take(MISTAKES_MAX) {
            let place = at.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
            write!(f, "\n  {file}{place}: {message}\n    {help}")?;
        }
        match count.saturating_sub(MISTAKES_MAX) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl Migrations {
    /// Reads a directory, as one of `layout` and of `dialect` if these are named.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(directory: &Path, layout: Option<&'static Layout>, dialect: Option<Dialect>) -> Result<Self, Mistakes> {
        let tree = Tree::read(directory)?;
        let sqlite = if dialect.is_none() { sqlite::recognise(&tree) } else { None };
        let dialect = dialect.unwrap_or(if sqlite.is_some() { Dialect::Sqlite } else { Dialect::Postgres });
        let (layout, why) = match layout {
            Some(layout) => (layout, "as --layout says".to_owned()),
            None => Layout::of(&tree).ok_or_else(|| unknown(&tree))?,
        };
        let mut read = Self::assemble(&tree, layout, why, dialect)?;
        if let Some(origin) = &mut read.origin {
            origin.sqlite = sqlite;
        }
        Ok(read)
    }

    /// sqlx's migrations of files that are already in memory: path and text of each.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn of_files<'a>(
        directory: &str,
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
        dialect: Dialect,
    ) -> Result<Self, Mistakes> {
        let read = Self::assemble(&Tree::of(directory, files), &sqlx::LAYOUT, String::new(), dialect)?;
        Ok(Self { origin: None, ..read })
    }

    /// None at all: a tool of the user's has them.
    pub fn none() -> Self {
        Self { list: Vec::new(), origin: None }
    }

    fn assemble(tree: &Tree, layout: &'static Layout, why: String, dialect: Dialect) -> Result<Self, Mistakes> {
        let mut reading = Reading::new(tree, layout, dialect);
        (layout.read)(&mut reading);
        reading.rest();
        let Reading { list, left_out, mut mistakes, .. } = reading;
        if list.is_empty() && mistakes.is_empty() {
            mistakes.push(Mistake {
                file: tree.shown.clone(),
                at: None,
                message: format!("it has no migration of {}'s", layout.tool),
                help: "Name another layout with --layout, or none to have it recognised.",
            });
        }
        mistakes.sort();
        mistakes.dedup();
        let origin = Some(Origin { layout, why, left_out, sqlite: None });
        if mistakes.is_empty() { Ok(Self { list, origin }) } else { Err(Mistakes(mistakes)) }
    }

    /// The newest version.
    pub fn latest(&self) -> Version {
        self.list.last().map_or_else(Version::none, |migration| migration.version.clone())
    }

    /// The version that somebody means by a name: as it is shown, the same number written otherwise, or the whole name
    /// of its file; `0` is the empty database.
    pub fn find(&self, wanted: &Version) -> Option<Version> {
        let text = wanted.as_str();
        let versions = || self.list.iter().map(|migration| &migration.version);
        let same = |version: &&Version| {
            let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| version::digits(text));
            number(text).is_some() && number(version.as_str()) == number(text)
        };
        let found = versions().find(|version| version.as_str() == text);
        if found.is_none() && text == "0" {
            return Some(Version::none());
        }
        let mut begun = versions().filter(|version| version.as_str().starts_with(&format!("{text}_")));
        let begun = begun.next().filter(|_| begun.next().is_none());
        found.or_else(|| versions().find(same)).or(begun).cloned()
    }

    /// The migrations that lead from one version to a later one.
    pub fn between<'a>(
        &'a self,
        from: &Version,
        to: &Version,
    ) -> impl DoubleEndedIterator<Item = &'a Migration> + use<'a> {
        let (from, to) = (from.clone(), to.clone());
        self.list.iter().filter(move |migration| migration.version > from && migration.version <= to)
    }

    /// The migrations up to a number.
    pub fn up_to(&self, number: i64) -> impl DoubleEndedIterator<Item = &Migration> {
        self.list.iter().filter(move |migration| migration.version.number().is_some_and(|one| one <= number))
    }

    /// The version before another one.
    pub fn before(&self, version: &Version) -> Version {
        let earlier = self.list.iter().map(|migration| &migration.version).rfind(|one| *one < version);
        earlier.cloned().unwrap_or_else(Version::none)
    }
}

/// What a directory of no layout has.
fn unknown(tree: &Tree) -> Mistakes {
    let mut kinds: BTreeMap<String, (usize, &str)> = BTreeMap::new();
    for entry in tree.files.iter().filter(|entry| entry.path != super::settings::FILE) {
        let name = entry.name();
        let kind = match name.rsplit_once('.') {
            _ if entry.path.ends_with('/') => "directories that are not looked into".to_owned(),
            Some((stem, end)) if !stem.is_empty() => format!(".{end}"),
            _ => "files without an ending".to_owned(),
        };
        kinds.entry(kind).or_insert((0, &entry.path)).0 += 1;
    }
    let found: Vec<String> = kinds.iter().map(|(kind, (count, one))| format!("{count} {kind} such as {one}")).collect();
    let message = match found.is_empty() {
        true => "it has no migration: it is empty".to_owned(),
        false => format!("it has no migration that is known; found: {}", found.join(", ")),
    };
    let help = "driftlock rehearse --help names the layouts; --layout NAME takes it for one; a tool of another kind is \
                rehearsed with --runner.";
    Mistakes(vec![Mistake { file: tree.shown.clone(), at: None, message, help }])
}
