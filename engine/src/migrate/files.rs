//! The files of `migrations/`, compiled in: the program works without its checkout.
//!
//! Listed by hand, because the macro that would read the directory costs every build a procedural macro and
//! sqlx's parser; a test compares this list with the directories, down to the checksums.

use std::borrow::Cow;
use std::ops::Deref;
use std::pin::Pin;

use sqlx::migrate::{Migrate, Migration, MigrationType, Migrator};
use sqlx::{Acquire, SqlSafeStr};

use crate::lock::Backend;

/// One migration of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number; later ones are larger.
    pub version: i64,
    /// For which database it is.
    pub backend: Backend,
    /// What applies it.
    pub up: File,
    /// What undoes it; `None` if nothing does.
    pub down: Option<File>,
}

/// One file of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name within the backend's directory.
    pub name: &'static str,
    /// Its text.
    pub sql: &'static str,
}

impl File {
    /// Whether its statements run in a transaction; otherwise it has exactly one.
    pub fn in_transaction(&self) -> bool {
        !self.sql.starts_with("-- no-transaction")
    }
}

impl Step {
    /// What it does, in a few words: the file's name without number and suffix.
    pub fn description(&self) -> String {
        let stem = self.up.name.trim_end_matches(".sql").trim_end_matches(".up");
        stem.split_once('_').map_or(stem, |(_, words)| words).replace('_', " ")
    }

    /// Whether it can be undone.
    pub fn reversible(&self) -> bool {
        self.down.is_some()
    }
}

macro_rules! file {
    ($directory:literal, $name:expr) => {
        File {
            name: $name,
            sql: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/", $directory, "/", $name)),
        }
    };
}

macro_rules! steps {
    ($backend:ident in $directory:literal: $($version:literal $name:literal),+ $(,)?) => {
        &[$(Step {
            version: $version,
            backend: Backend::$backend,
            up: file!($directory, concat!($name, ".up.sql")),
            down: Some(file!($directory, concat!($name, ".down.sql"))),
        }),+]
    };
}

static POSTGRES: &[Step] = steps!(Postgres in "postgres":
    1 "0001_base",
    2 "0002_fold_duplicate_events",
    3 "0003_unique_signal_index",
    4 "0004_unique_signal_constraint",
);

static SQLITE: &[Step] = steps!(Sqlite in "sqlite":
    1 "0001_base",
    2 "0002_fold_duplicate_events",
    3 "0003_unique_signal_index",
    4 "0004_unique_signal_constraint",
);

pub(super) fn steps(backend: Backend) -> &'static [Step] {
    match backend {
        Backend::Postgres => POSTGRES,
        Backend::Sqlite => SQLITE,
    }
}

/// The step of a version that is known to exist.
pub(super) fn step(backend: Backend, version: i64) -> &'static Step {
    steps(backend).iter().find(|step| step.version == version).expect("the version is one of this list's")
}

/// The up file as sqlx wants it.
pub(super) fn up(step: &Step) -> Migration {
    migration(step, MigrationType::ReversibleUp, step.up)
}

/// A migrator over all files. It takes no lock: the caller holds one.
pub(super) fn migrator(backend: Backend) -> Migrator {
    let files = steps(backend).iter().flat_map(|step| {
        let down = step.down.map(|file| migration(step, MigrationType::ReversibleDown, file));
        std::iter::once(up(step)).chain(down)
    });
    let mut migrator = Migrator::with_migrations(files.collect());
    migrator.set_locking(false);
    migrator
}

/// A future of sqlx's migrator. Boxed: only behind a named lifetime does the compiler see that it is `Send`.
type Migrating<'a> = Pin<Box<dyn Future<Output = Result<(), sqlx::migrate::MigrateError>> + Send + 'a>>;

/// Applies what is pending up to and including `target`, and compares what is not with the files.
pub(super) fn run_to<'a, C>(migrator: &'a Migrator, target: i64, conn: &'a mut C) -> Migrating<'a>
where
    &'a mut C: Acquire<'a>,
    <<&'a mut C as Acquire<'a>>::Connection as Deref>::Target: Migrate + Send,
    C: Send,
{
    Box::pin(migrator.run_to(target, conn))
}

/// Undoes what is applied above `target`.
pub(super) fn undo_to<'a, C>(migrator: &'a Migrator, target: i64, conn: &'a mut C) -> Migrating<'a>
where
    &'a mut C: Acquire<'a>,
    <<&'a mut C as Acquire<'a>>::Connection as Deref>::Target: Migrate + Send,
    C: Send,
{
    Box::pin(migrator.undo(conn, target))
}

fn migration(step: &Step, kind: MigrationType, file: File) -> Migration {
    let description = Cow::Owned(step.description());
    Migration::new(step.version, description, kind, file.sql.into_sql_str(), !file.in_transaction())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[tokio::test]
    async fn the_embedded_files_are_those_of_the_directories() {
        for backend in Backend::ALL {
            let directory: PathBuf = [env!("CARGO_MANIFEST_DIR"), "migrations", backend.as_str()].iter().collect();
            let there = Migrator::new(directory).await.unwrap();
            let here = migrator(backend);
            let all = |migrator: &Migrator| -> Vec<_> {
                let describe = |m: &Migration| {
                    (m.version, m.description.to_string(), m.migration_type, m.no_tx, m.checksum.to_vec())
                };
                migrator.iter().map(describe).collect()
            };
            assert_eq!(all(&here), all(&there), "{backend}");
            assert!(steps(backend).is_sorted_by(|a, b| a.version < b.version), "{backend}");
        }
    }

    #[test]
    fn a_version_means_the_same_on_both_backends() {
        let names = |backend| steps(backend).iter().map(|step| (step.version, step.description())).collect::<Vec<_>>();
        assert_eq!(names(Backend::Postgres), names(Backend::Sqlite));
    }
}
