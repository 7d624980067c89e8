//! Where rehearsals on SQLite take place: files at the version to begin at, filled, and a copy of one for each.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use drift_engine::claim::CustomerId;
use drift_engine::drift::Cell;
use drift_engine::lock::Backend;
use drift_engine::session::{DbError, Kind};
use drift_engine::sqlite::classify;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use super::super::application::Application;
use super::super::migrations::{Script, Version};
use super::super::site::SiteError;
use super::super::subject::{Subject, own_migrations_of};
use super::fill;
use crate::database::sqlite::SqliteDatabase;
use crate::provision::{self, Journal, SqliteFiles};

/// How long a session waits for the file's lock, unless said otherwise: what sqlx waits.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Template {
    made: provision::SqliteDatabase,
    application: Option<Application>,
}

/// A file for one rehearsal.
#[derive(Debug)]
pub struct Place {
    made: provision::SqliteDatabase,
    /// How to work on it.
    pub database: SqliteDatabase,
    /// The newest code that fits it; none where the engine's tables are not there.
    pub application: Option<Application>,
    /// The claims in it, counted.
    pub base: Vec<(CustomerId, Vec<Cell>)>,
}

impl Place {
    /// The file itself.
    pub fn path(&self) -> PathBuf {
        self.made.path().to_owned()
    }
}

/// The files of one run that keep what is unfinished in one way.
#[derive(Debug)]
pub struct Site {
    files: SqliteFiles,
    seed: u64,
    templates: BTreeMap<String, Template>,
    made: u32,
}

impl Site {
    /// Nothing yet, in a directory of its own.
    ///
    /// # Errors
    /// No temporary directory can be written to.
    pub async fn new(journal: Journal, seed: u64) -> Result<Self, SiteError> {
        let files = SqliteFiles::create(journal).await?;
        Ok(Self { files, seed, templates: BTreeMap::new(), made: 0 })
    }

    /// How its files keep what is unfinished.
    pub fn journal(&self) -> Journal {
        self.files.journal()
    }

    /// A file at the version at which a subject begins, with so many events in its archive.
    ///
    /// # Errors
    /// See [`SiteError`].
    pub async fn place(&mut self, subject: &Subject, events: u32) -> Result<Place, SiteError> {
        let (from, _) = subject.range()?;
        let whose = if from.is_none() { "" } else { subject.path.as_str() };
        let key = format!("{whose} {from} {} {events}", subject.settings.base_version);
        if !self.templates.contains_key(&key) {
            let template = self.template(subject, &from, events).await?;
            self.templates.insert(key.clone(), template);
        }
        let suffix = self.suffix();
        let template = &self.templates[&key];
        let made = self.files.create_database(&suffix, Some(&template.made)).await?;
        let database = SqliteDatabase::new(self.files.connect_options(&made), BUSY_TIMEOUT);
        let database = database.migrating(subject.foreign_keys());
        let base = if template.application.is_some() { super::super::fill::counted(self.seed) } else { Vec::new() };
        Ok(Place { made, database, application: template.application, base })
    }

    /// A file that is what another one would be after a crash: a copy of it, and of what lies beside it, as they are.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn crashed(&mut self, place: &Place) -> Result<Place, SiteError> {
        let suffix = self.suffix();
        let made = self.files.copy_as_it_is(&suffix, &place.made)?;
        let database = SqliteDatabase::new(self.files.connect_options(&made), BUSY_TIMEOUT);
        let database = database.migrating(place.database.migrates_with_foreign_keys());
        Ok(Place { made, database, application: place.application, base: place.base.clone() })
    }

    /// Removes a rehearsal's file.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn leave(&self, place: Place) -> Result<(), SiteError> {
        Ok(self.files.drop_database(place.made)?)
    }

    fn suffix(&mut self) -> String {
        self.made += 1;
        format!("db{}", self.made)
    }

    async fn template(&mut self, subject: &Subject, from: &Version, events: u32) -> Result<Template, SiteError> {
        let suffix = self.suffix();
        let made = self.files.create_database(&suffix, None).await?;
        let database = SqliteDatabase::new(self.files.connect_options(&made), BUSY_TIMEOUT);
        let mut connection = database.migrating(subject.foreign_keys()).migrator().await?;
        let own = own_migrations_of(Backend::Sqlite);
        let base = own.up_to(subject.settings.base_version).map(|migration| &migration.up);
        let theirs = subject.migrations.between(&Version::none(), from).map(|migration| &migration.up);
        let mut filled = false;
        for script in base.chain(theirs) {
            apply(&mut connection, script)
                .await
                .map_err(|error| SiteError::Earlier { file: script.file.clone(), error })?;
            if !filled && fill::has_tables(&mut connection).await? {
                fill::fill(&mut connection, self.seed, events).await?;
                filled = true;
            }
        }
        let application = if filled { Some(fill::fitting(&mut connection).await?) } else { None };
        connection.close().await.map_err(|error| classify(error, Kind::Commit))?;
        Ok(Template { made, application })
    }
}

/// Applies a file where nobody else is.
///
/// # Errors
/// SQLite refuses it; its transaction is rolled back.
pub(super) async fn apply(connection: &mut SqliteConnection, script: &Script) -> Result<(), DbError> {
    let failed = |error| classify(error, Kind::Write);
    let text = sqlx::raw_sql(AssertSqlSafe(script.text.clone()));
    if !script.in_transaction() {
        return text.execute(connection).await.map(drop).map_err(failed);
    }
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let done = match text.execute(&mut *transaction).await {
        Ok(_) => transaction.commit().await,
        Err(error) => transaction.rollback().await.and(Err(error)),
    };
    if done.is_err() {
        // sqlx only asks its thread for the rollback of a refused commit; the ping is answered after it, so
        // that the file's lock is free when the caller hears of the error.
        let _ = connection.ping().await;
    }
    done.map_err(failed)
}
