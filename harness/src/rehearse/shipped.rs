//! The directories that the program carries: its own migrations, and the broken twins that must be found out.

use super::migrations::Migrations;
use super::subject::Subject;
use crate::sql::Dialect;

/// A directory of the program's own.
#[derive(Clone, Copy, Debug)]
pub struct ShippedDirectory {
    /// Where it is in the checkout.
    pub path: &'static str,
    /// Its settings.
    pub settings: &'static str,
    /// Its migrations: name and text of each file.
    pub files: &'static [(&'static str, &'static str)],
}

macro_rules! directory {
    ($path:literal: $($file:literal),+ $(,)?) => {
        ShippedDirectory {
            path: $path,
            settings: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $path, "/rehearse.toml")),
            files: &[$(
                (concat!($file, ".up.sql"), include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $path, "/", $file, ".up.sql"))),
                (concat!($file, ".down.sql"), include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $path, "/", $file, ".down.sql"))),
            )+],
        }
    };
}

/// Every directory, in the order in which they are rehearsed: the program's own migrations first, for PostgreSQL and then for SQLite.
pub const SHIPPED: [ShippedDirectory; 18] = [
    directory!("migrations/postgres":
        "0001_base", "0002_fold_duplicate_events", "0003_unique_signal_index", "0004_unique_signal_constraint"),
    directory!("scenarios/rehearse/plain-unique": "0003_unique_signal"),
    directory!("scenarios/rehearse/plain-index": "0003_unique_signal"),
    directory!("scenarios/rehearse/if-not-exists": "0003_unique_signal"),
    directory!("scenarios/rehearse/lock-timeout": "0003_lock_timeout", "0004_unique_signal"),
    directory!("scenarios/rehearse/blocking-lock": "0003_unique_signal"),
    directory!("scenarios/rehearse/down-order": "0003_unique_signal", "0004_unique_constraint"),
    directory!("scenarios/rehearse/down-in-transaction": "0003_index_by_payer", "0004_no_index_by_payer"),
    directory!("scenarios/rehearse/set-and-build": "0003_unique_signal"),
    directory!("scenarios/rehearse/null-groups":
        "0003_reference", "0004_no_duplicate_references", "0005_unique_reference"),
    directory!("scenarios/rehearse/early-code": "0003_unique_signal"),
    directory!("migrations/sqlite":
        "0001_base", "0002_fold_duplicate_events", "0003_unique_signal_index", "0004_unique_signal_constraint"),
    directory!("scenarios/rehearse/sqlite-unique-index": "0003_unique_signal"),
    directory!("scenarios/rehearse/sqlite-duplicates": "0002_unique_signal"),
    directory!("scenarios/rehearse/sqlite-down-forgets": "0003_note"),
    directory!("scenarios/rehearse/sqlite-half-a-file": "0002_note_and_index"),
    directory!("scenarios/rehearse/sqlite-early-code": "0003_unique_signal"),
    directory!("scenarios/rehearse/sqlite-long-reader": "0005_events_by_payer"),
];

impl ShippedDirectory {
    /// The directory, read.
    ///
    /// # Panics
    /// Never in a program whose tests have passed.
    pub fn subject(&self) -> Subject {
        let dialect = if self.settings.contains("backend = \"sqlite\"") { Dialect::Sqlite } else { Dialect::Postgres };
        let files = self.files.iter().copied();
        let migrations = Migrations::of_files(self.path, files, dialect).expect("a shipped file is sound");
        Subject::new(self.path.to_owned(), migrations, self.settings).expect("a shipped directory is sound")
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::rehearse::companion::Companion;

    #[test]
    fn what_is_carried_is_what_is_in_the_checkout() {
        let root: PathBuf = [env!("CARGO_MANIFEST_DIR"), ".."].iter().collect();
        for shipped in SHIPPED {
            let there = Subject::read(&root.join(shipped.path), None, None).unwrap();
            let here = shipped.subject();
            let texts = |subject: &Subject| -> Vec<String> {
                let both = |m: &crate::rehearse::migrations::Migration| {
                    [Some(m.up.text.clone()), m.down.as_ref().map(|down| down.text.clone())]
                };
                subject.migrations.list.iter().flat_map(both).flatten().collect()
            };
            assert_eq!(texts(&here), texts(&there), "{}", shipped.path);
            assert_eq!(here.settings, there.settings, "{}", shipped.path);
        }
        let listed = std::fs::read_dir(root.join("scenarios/rehearse")).unwrap().count();
        assert_eq!(listed, SHIPPED.len() - 2);
    }

    #[test]
    fn every_twin_expects_something_and_our_own_expect_nothing_where_nobody_else_is() {
        for shipped in SHIPPED {
            let subject = shipped.subject();
            assert!(subject.settings.summary.is_some(), "{}", shipped.path);
            let expected = subject.settings.expected(subject.companion());
            assert_eq!(expected.is_empty(), shipped.path.starts_with("migrations/"), "{}", shipped.path);
        }
        let ours = SHIPPED[0].subject();
        let expects = |companion| !ours.settings.expected(Some(companion)).is_empty();
        assert!(expects(Companion::IdleReader) && !expects(Companion::Replicas) && !expects(Companion::IdleSnapshot));
    }
}
