//! Rehearsals on a SQLite file, in WAL and in rollback-journal mode.
//!
//! What is recorded has the form of PostgreSQL's record, and is judged by the same rules. Who waits is the word of each
//! connection's busy handler; that it waits for the migration is certain, since the migrating session has the file's
//! one write lock meanwhile.

pub mod advice;
pub mod apply;
pub mod beside;
pub mod catalog;
mod cuts;
pub mod fill;
mod line;
pub mod sampler;
mod stage;

use std::path::PathBuf;
use std::time::Duration;

use drift_engine::lock::Backend;
use drift_engine::session::DbError;

pub use self::line::FileLine;
pub use self::stage::FileStage;
use super::Target;
use crate::clock::Clock;
use crate::database::Database;
use crate::database::sqlite::SqliteDatabase;
use crate::provision::{self, Journal, SqliteFiles};
use crate::rehearse::course::Plan;
use crate::rehearse::failures::Manner;
use crate::rehearse::finding::Finding;
use crate::rehearse::migrations::{Migrations, Script};
use crate::rehearse::site::{Place, Site, SiteError};
use crate::rehearse::subject::Subject;

/// How long a session waits for the file's lock, unless said otherwise: what sqlx waits.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The files of one run that keep what is unfinished in one way.
#[derive(Debug)]
pub struct Sqlite {
    files: SqliteFiles,
}

/// A file, and how it is worked on.
#[derive(Clone, Debug)]
pub struct Ground {
    /// How to work on it.
    pub database: SqliteDatabase,
    /// The file.
    pub path: PathBuf,
    /// How long the migrating session waits for its lock.
    pub busy_timeout: Duration,
}

impl Sqlite {
    /// Files in a directory of their own.
    ///
    /// # Errors
    /// No temporary directory can be written to.
    pub async fn new(journal: Journal) -> Result<Self, SiteError> {
        Ok(Self { files: SqliteFiles::create(journal).await? })
    }

    fn on(&self, made: &provision::SqliteDatabase, foreign_keys: bool, busy_timeout: Duration) -> Ground {
        let database = SqliteDatabase::new(self.files.connect_options(made), BUSY_TIMEOUT);
        Ground { database: database.migrating(foreign_keys), path: made.path().to_owned(), busy_timeout }
    }
}

impl Target for Sqlite {
    const BACKEND: Backend = Backend::Sqlite;
    const MANNERS: &'static [Manner] = &[Manner::Interrupt, Manner::Busy, Manner::Vanish];

    type Made = provision::SqliteDatabase;
    type Ground = Ground;
    type Line = FileLine;
    type Stage<'c> = FileStage<'c>;

    async fn make(&self, suffix: &str, like: Option<&Self::Made>) -> Result<Self::Made, SiteError> {
        Ok(self.files.create_database(suffix, like).await?)
    }

    async fn discard(&self, made: Self::Made) -> Result<(), SiteError> {
        Ok(self.files.drop_database(made)?)
    }

    fn ground(&self, made: &Self::Made, subject: &Subject) -> Ground {
        let busy_timeout = subject.settings.busy_timeout_ms.map_or(BUSY_TIMEOUT, Duration::from_millis);
        self.on(made, subject.foreign_keys(), busy_timeout)
    }

    fn database(ground: &Ground) -> Database {
        Database::Sqlite(ground.database.clone())
    }

    async fn line(ground: &Ground) -> Result<FileLine, DbError> {
        ground.database.migrator().await.map(FileLine::new)
    }

    async fn stage<'c>(plan: &'c Plan<'_>, ground: &'c Ground, clock: &Clock) -> Result<FileStage<'c>, DbError> {
        FileStage::open(plan, ground, clock).await
    }

    /// In a transaction the write lock is there from the first statement on.
    fn is_possible(script: &Script, statement: usize, manner: Manner) -> bool {
        manner != Manner::Busy || statement == 0 || !script.in_transaction()
    }

    async fn cut_off(
        site: &mut Site<Self>,
        place: &mut Place<Self>,
        line: FileLine,
        script: &Script,
        statement: usize,
        manner: Manner,
    ) -> Result<bool, SiteError> {
        cuts::cut_off(site, place, line, script, statement, manner).await
    }

    fn advise(findings: &mut [Finding], migrations: &Migrations) {
        advice::give(findings, migrations);
    }

    /// What is to be known where a file has foreign keys after which nobody looks.
    fn note(subject: &Subject) -> Option<String> {
        let has = |script: &Script| script.statements.iter().any(|statement| statement.has("REFERENCES"));
        let tool = subject.migrations.list.first().map(|migration| migration.up.layout.tool)?;
        let is_unchecked =
            !subject.foreign_keys() && subject.migrations.list.iter().any(|migration| has(&migration.up));
        is_unchecked.then(|| match subject.settings.foreign_keys {
            Some(_) => "foreign keys are off in the migrating session, as rehearse.toml says".to_owned(),
            None => format!(
                "foreign keys are off in the migrating session, as {tool} leaves them; foreign-keys = true in \
                 rehearse.toml turns them on"
            ),
        })
    }
}
