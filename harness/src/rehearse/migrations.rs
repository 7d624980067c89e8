//! The migrations of a directory: sqlx's (simple and reversible) and plain ordered files.
//!
//! `0001_name.sql`, `0001_name.up.sql` with `0001_name.down.sql`, `V1__name.sql` with `U1__name.sql`, or, where no
//! file has a number, `name.up.sql` with `name.down.sql`, ordered by name. As in sqlx, a file whose first bytes are
//! `-- no-transaction` runs outside of a transaction. Everything that is wrong is reported at once, with its place.

mod name;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use name::{Direction, Name};

use crate::sql::{self, Statement};

/// What the first bytes of a file say that does without a transaction.
pub const NO_TRANSACTION: &str = "-- no-transaction";
/// The most bytes that a file may have.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The most files that a directory may have.
const FILES_MAX: usize = 10_000;
/// The most mistakes that are listed; the others are counted.
const MISTAKES_MAX: usize = 50;

/// The migrations of a directory, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrations {
    /// Ordered by version, each version once.
    pub list: Vec<Migration>,
}

/// One migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its number.
    pub version: i64,
    /// What it says it does: the file's name without number and suffix.
    pub description: String,
    /// What applies it.
    pub up: Script,
    /// What undoes it, if anything does.
    pub down: Option<Script>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its path, as it is shown.
    pub file: String,
    /// What it says.
    pub text: String,
    /// Whether its statements run in one transaction.
    pub in_transaction: bool,
    /// Its statements.
    pub statements: Vec<Statement>,
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
    /// Reads a directory.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(directory: &Path) -> Result<Self, Mistakes> {
        let shown = directory.display().to_string();
        let unreadable = |error: std::io::Error| {
            let message = format!("failed to read the directory: {error}");
            Mistakes(vec![Mistake { file: shown.clone(), at: None, message, help: "Name a directory of SQL files." }])
        };
        let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)
            .map_err(unreadable)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .map_err(unreadable)?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
        paths.sort();
        if paths.len() > FILES_MAX {
            let message = format!("it has {} SQL files; {FILES_MAX} is the most", paths.len());
            let help = "Rehearse the newer ones in a directory of their own.";
            return Err(Mistakes(vec![Mistake { file: shown, at: None, message, help }]));
        }
        let (mut files, mut mistakes) = (Vec::new(), Vec::new());
        for path in &paths {
            match text_of(path) {
                Ok(text) => files.push((path.display().to_string(), text)),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        Self::assemble(&shown, files, mistakes)
    }

    /// The migrations of files that are already in memory: path and text of each.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn of_files<'a>(
        directory: &str,
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Mistakes> {
        let owned = files.into_iter().map(|(name, text)| (format!("{directory}/{name}"), text.to_owned())).collect();
        Self::assemble(directory, owned, Vec::new())
    }

    fn assemble(directory: &str, files: Vec<(String, String)>, mut mistakes: Vec<Mistake>) -> Result<Self, Mistakes> {
        let names: Vec<String> = files.iter().map(|(file, _)| file_name(file)).collect();
        let named = name::all(&names);
        let mut halves: BTreeMap<i64, Half> = BTreeMap::new();
        for ((file, text), named) in files.into_iter().zip(named) {
            let mut wrong = |at, message: String, help| {
                mistakes.push(Mistake { file: file.clone(), at, message, help });
            };
            let name = match named {
                Ok(name) => name,
                Err((message, help)) => {
                    wrong(None, message, help);
                    continue;
                }
            };
            let script = Script::parse(&file, text, &mut wrong);
            let half = halves.entry(name.version).or_default();
            let Name { version, direction, description } = name;
            let slot = if direction == Direction::Down { &mut half.down } else { &mut half.up };
            if let Some(other) = slot {
                let message = format!("version {version} is in {} already", file_name(&other.file));
                wrong(None, message, "Give each version one number.");
                continue;
            }
            *slot = Some(script);
            if direction != Direction::Down {
                half.description = description;
                half.simple = direction == Direction::Simple;
            }
        }
        let mut list = Vec::new();
        for (version, half) in halves {
            match (half.up, half.down) {
                (Some(_), Some(down)) if half.simple => mistakes.push(Mistake {
                    file: down.file,
                    at: None,
                    message: format!("version {version} can be undone, but its other file does not end in .up.sql"),
                    help: "Name the file that applies it NUMBER_name.up.sql.",
                }),
                (Some(up), down) => list.push(Migration { version, description: half.description, up, down }),
                (None, Some(down)) => mistakes.push(Mistake {
                    file: down.file,
                    at: None,
                    message: format!("undoes version {version}, which no file applies"),
                    help: "Add the file that applies it, or remove this one.",
                }),
                (None, None) => {}
            }
        }
        if list.is_empty() && mistakes.is_empty() {
            mistakes.push(Mistake {
                file: directory.to_owned(),
                at: None,
                message: "it has no migration".to_owned(),
                help: "Migrations are files such as 0001_name.sql, 0001_name.up.sql, V1__name.sql or name.up.sql.",
            });
        }
        mistakes.sort();
        if mistakes.is_empty() { Ok(Self { list }) } else { Err(Mistakes(mistakes)) }
    }

    /// The newest version.
    pub fn latest(&self) -> i64 {
        self.list.last().map_or(0, |migration| migration.version)
    }

    /// Whether there is such a version; zero is the empty database.
    pub fn knows(&self, version: i64) -> bool {
        version == 0 || self.list.iter().any(|migration| migration.version == version)
    }

    /// The migrations that lead from one version to a later one.
    pub fn between(&self, from: i64, to: i64) -> impl DoubleEndedIterator<Item = &Migration> {
        self.list.iter().filter(move |migration| migration.version > from && migration.version <= to)
    }
}

#[derive(Default)]
struct Half {
    description: String,
    simple: bool,
    up: Option<Script>,
    down: Option<Script>,
}

impl Script {
    fn parse(file: &str, text: String, wrong: &mut impl FnMut(Option<(u32, u32)>, String, &'static str)) -> Self {
        let in_transaction = !text.starts_with(NO_TRANSACTION);
        let statements = sql::split(&text).unwrap_or_else(|flaws| {
            for flaw in flaws {
                wrong(
                    Some((flaw.line, flaw.column)),
                    flaw.message,
                    "A migration's file holds SQL for the server only.",
                );
            }
            Vec::new()
        });
        // Outside of a transaction a file may have its own, as SQLite's way to rebuild a table needs.
        for statement in statements.iter().filter(|statement| in_transaction && controls_transaction(statement)) {
            wrong(
                Some((statement.line, statement.column)),
                format!("{} in a migration's file", statement.words.first().map_or("", String::as_str)),
                "Each file runs in one transaction, or outside of one if its first bytes are -- no-transaction.",
            );
        }
        let marker = || text.lines().position(|line| line.trim_start_matches('\u{feff}').trim() == NO_TRANSACTION);
        if let Some(line) = marker().filter(|_| in_transaction) {
            let line = u32::try_from(line + 1).unwrap_or(u32::MAX);
            wrong(
                Some((line, 1)),
                format!("{NO_TRANSACTION} is not the first thing in the file, and so means nothing"),
                "Make these the file's very first bytes: sqlx looks nowhere else.",
            );
        }
        Self { file: file.to_owned(), text, in_transaction, statements }
    }

    /// The statement at which an error in the whole file's message is shown.
    pub fn first(&self) -> Option<&Statement> {
        self.statements.iter().find(|statement| statement.has("CONCURRENTLY")).or(self.statements.first())
    }
}

/// Whether a statement begins or ends a transaction.
fn controls_transaction(statement: &Statement) -> bool {
    let alone = |word: &str| statement.begins(&[word]);
    (alone("BEGIN") || alone("COMMIT") || alone("END") || alone("ABORT") || statement.begins(&["START", "TRANSACTION"]))
        || (alone("ROLLBACK") && !statement.has("TO"))
        || statement.begins(&["PREPARE", "TRANSACTION"])
}

fn file_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

fn text_of(path: &Path) -> Result<String, Mistake> {
    let wrong = |at, message: String, help| Mistake { file: path.display().to_string(), at, message, help };
    let readable = "Make it a file that can be read.";
    let about = path.metadata().map_err(|error| wrong(None, format!("failed to read it: {error}"), readable))?;
    if !about.is_file() {
        return Err(wrong(None, "it is not a file".to_owned(), readable));
    }
    if about.len() > FILE_BYTES_MAX {
        let message = format!("it has {} bytes; {FILE_BYTES_MAX} is the most", about.len());
        return Err(wrong(None, message, "Load data in another way than in a migration."));
    }
    let bytes = std::fs::read(path).map_err(|error| wrong(None, format!("failed to read it: {error}"), readable))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let at = sql::place(&String::from_utf8_lossy(valid), valid.len());
        wrong(Some(at), "this is not UTF-8".to_owned(), "Save the file as UTF-8.")
    })?;
    match text.find('\0') {
        Some(at) => {
            Err(wrong(Some(sql::place(&text, at)), "a zero byte".to_owned(), "PostgreSQL knows none: remove it."))
        }
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<Migrations, Mistakes> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        Migrations::read(directory.path())
    }

    fn shape(migrations: &Migrations) -> Vec<(i64, &str, bool)> {
        let one = |m: &'_ Migration| (m.version, m.down.is_some());
        migrations.list.iter().map(|m| (one(m).0, m.description.as_str(), one(m).1)).collect()
    }

    #[test]
    fn the_four_kinds_of_names_are_read_in_order() {
        let x = "SELECT 1";
        let sqlx = read(&[("10_b_c.sql", x), ("9_a.up.sql", x), ("9_a.down.sql", x), ("README.md", "no")]).unwrap();
        assert_eq!(shape(&sqlx), [(9, "a", true), (10, "b c", false)]);
        let flyway = read(&[("V2__second.sql", x), ("V1__first.sql", x), ("U1__first.sql", x)]).unwrap();
        assert_eq!(shape(&flyway), [(1, "first", true), (2, "second", false)]);
        let named = read(&[("b.up.sql", x), ("a.up.sql", x), ("b.down.sql", x)]).unwrap();
        assert_eq!(shape(&named), [(1, "a", false), (2, "b", true)]);
        assert_eq!(named.between(1, 2).map(|m| m.version).collect::<Vec<_>>(), [2]);
        assert!(named.knows(0) && named.knows(2) && !named.knows(3));
    }

    #[test]
    fn only_the_first_bytes_take_a_file_out_of_its_transaction() {
        let found = read(&[("1_a.sql", "-- no-transaction\nVACUUM"), ("2_b.sql", "SELECT 1")]).unwrap();
        assert_eq!(found.list.iter().map(|m| m.up.in_transaction).collect::<Vec<_>>(), [false, true]);
        let Mistakes(late) = read(&[("1_a.sql", "-- first\n-- no-transaction\nVACUUM")]).unwrap_err();
        assert_eq!(late[0].at, Some((2, 1)));
        let Mistakes(marked) = read(&[("1_a.sql", "\u{feff}-- no-transaction\nVACUUM")]).unwrap_err();
        assert_eq!(marked[0].at, Some((1, 1)));
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once_with_its_place() {
        let mistakes = read(&[
            ("1_a.sql", "SELECT 1;\n\\dt"),
            ("1_b.sql", "SELECT 'x"),
            ("2_c.down.sql", "SELECT 1"),
            ("3_d.sql", "BEGIN;\nSELECT 1;\nCOMMIT;"),
            ("3_d.down.sql", "SELECT 1"),
            ("R__again.sql", "SELECT 1"),
            ("V1.2__dotted.sql", "SELECT 1"),
            ("name.sql", "SELECT 1"),
            ("name.up.sql", "SELECT 1"),
        ])
        .unwrap_err();
        let said: Vec<String> = mistakes
            .0
            .iter()
            .map(|m| {
                format!(
                    "{}{}: {}",
                    file_name(&m.file),
                    m.at.map(|a| format!(":{}:{}", a.0, a.1)).unwrap_or_default(),
                    m.message
                )
            })
            .collect();
        assert_eq!(
            said,
            [
                "1_a.sql:2:1: a command of psql, which no server understands",
                "1_b.sql: version 1 is in 1_a.sql already",
                "1_b.sql:1:8: a text has no end",
                "2_c.down.sql: undoes version 2, which no file applies",
                "3_d.down.sql: version 3 can be undone, but its other file does not end in .up.sql",
                "3_d.sql:1:1: BEGIN in a migration's file",
                "3_d.sql:3:1: COMMIT in a migration's file",
                "R__again.sql: a repeatable migration has no version",
                "V1.2__dotted.sql: V1.2 is no whole number",
                "name.sql: its name has no number",
                "name.up.sql: its name has no number, and other files have one",
            ]
        );
        assert_eq!(mistakes.to_string().lines().count(), 1 + 2 * said.len());
    }

    #[test]
    fn an_empty_directory_a_missing_one_and_unreadable_text_are_mistakes() {
        assert!(read(&[]).unwrap_err().to_string().contains("it has no migration"));
        let Mistakes(missing) = Migrations::read(Path::new("no/such/place")).unwrap_err();
        assert!(missing[0].message.starts_with("failed to read the directory"));
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("1_a.sql"), b"SELECT\n 1 \xff").unwrap();
        let Mistakes(found) = Migrations::read(directory.path()).unwrap_err();
        assert_eq!((found[0].at, found[0].message.as_str()), (Some((2, 4)), "this is not UTF-8"));
        assert_eq!(read(&[("1_a.sql", "SELECT\0")]).unwrap_err().0[0].at, Some((1, 7)));
    }

    #[test]
    fn our_own_are_read_as_the_engine_reads_them() {
        let directory: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../migrations/postgres"].iter().collect();
        let here = Migrations::read(&directory).unwrap();
        let there = drift_engine::migrate::steps(drift_engine::lock::Backend::Postgres);
        assert_eq!(here.list.len(), there.len());
        for (mine, step) in here.list.iter().zip(there) {
            assert_eq!((mine.version, &mine.description), (step.version, &step.description()));
            assert_eq!((mine.up.text.as_str(), mine.up.in_transaction), (step.up.sql, step.up.in_transaction()));
            assert!(mine.down.as_ref().is_some_and(|down| Some(down.text.as_str()) == step.down.map(|file| file.sql)));
        }
    }
}
