//! Where rehearsals take place: databases at the version to begin at, filled, and a copy of one for each rehearsal.

use std::collections::BTreeMap;

use drift_engine::session::DbError;

use super::application::Application;
use super::dump::DumpError;
use super::fill;
use super::migrations::Version;
use super::subject::{Subject, SubjectError, own_migrations_of};
use super::target::{Counted, Line, Target};
use crate::database::Database;
use crate::load::LoadError;
use crate::provision::{AccessUrl, ProvisionError};

/// Why there is no database to rehearse on.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// No database could be made.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// The database was lost, or cannot be asked.
    #[error("{0}")]
    Database(#[from] DbError),
    /// It could not be filled.
    #[error(transparent)]
    Fill(#[from] LoadError),
    /// The user's own data could not be loaded.
    #[error(transparent)]
    Data(#[from] DumpError),
    /// A migration before those that are to be rehearsed was refused.
    #[error("{file} was refused before the rehearsal began: {error}")]
    Earlier {
        /// Which file.
        file: String,
        /// How.
        error: DbError,
    },
    /// An application of the engine's has no tables to work on.
    #[error("the application {0} needs driftlock's tables, which are not there at the version to begin at")]
    NoTables(String),
    /// The directory cannot be rehearsed.
    #[error(transparent)]
    Subject(#[from] SubjectError),
}

/// What stands at a version.
#[derive(Debug)]
struct Template<T: Target> {
    made: T::Made,
    /// The claims of the traffic's customers, counted.
    base: Counted,
    /// Whether the engine's tables are there, and which code fits them.
    application: Option<Application>,
}

/// A database for one rehearsal.
#[derive(Debug)]
pub struct Place<T: Target> {
    pub(super) made: T::Made,
    /// How to work on it.
    pub ground: T::Ground,
    /// The newest code that fits it; none where the engine's tables are not there.
    pub application: Option<Application>,
    /// The claims in it, counted.
    pub base: Counted,
}

impl<T: Target> Place<T> {
    /// The same for whoever works on either backend.
    pub fn database(&self) -> Database {
        T::database(&self.ground)
    }

    /// Opens a session on it.
    pub(super) async fn line(&self) -> Result<T::Line, DbError> {
        T::line(&self.ground).await
    }
}

/// The databases of one run on one target.
#[derive(Debug)]
pub struct Site<T: Target> {
    pub(super) target: T,
    seed: u64,
    templates: BTreeMap<String, Template<T>>,
    made: u32,
}

impl<T: Target> Site<T> {
    /// Nothing yet.
    pub fn new(target: T, seed: u64) -> Self {
        Self { target, seed, templates: BTreeMap::new(), made: 0 }
    }

    /// A database at the version at which a subject begins, with so many events in its archive.
    ///
    /// # Errors
    /// See [`SiteError`].
    pub async fn place(&mut self, subject: &Subject, events: u32) -> Result<Place<T>, SiteError> {
        let (from, _) = subject.range()?;
        let whose = if from.is_none() { "" } else { subject.path.as_str() };
        // The user's own data has a size of its own.
        let events = if self.target.data().is_some() { 0 } else { events };
        let key = format!("{whose} {from} {} {events}", subject.settings.base_version);
        if !self.templates.contains_key(&key) {
            let template = self.template(subject, &from, events).await?;
            self.templates.insert(key.clone(), template);
        }
        let suffix = self.suffix();
        let Template { made, base, application } = &self.templates[&key];
        let made = self.target.make(&suffix, Some(made)).await?;
        let ground = self.target.ground(&made, subject);
        Ok(Place { made, ground, application: *application, base: base.clone() })
    }

    /// The root of everything random.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How another process reaches a rehearsal's database, if it can.
    pub fn access(&self, place: &Place<T>) -> Option<AccessUrl> {
        self.target.access(&place.made)
    }

    /// Looks again at what a runner has brought to the version to begin at, and fills it if it can be.
    ///
    /// # Errors
    /// See [`SiteError`].
    pub async fn look_again(&self, place: &mut Place<T>, events: u32) -> Result<(), SiteError> {
        let mut line = place.line().await?;
        if place.application.is_none() && line.has_tables().await? {
            line.fill(self.seed, events).await?;
            place.base = fill::counted(self.seed);
            place.application = Some(line.fitting().await?);
        } else if place.application.is_some() {
            place.application = Some(line.fitting().await?);
        }
        Ok(())
    }

    /// Drops a rehearsal's database.
    ///
    /// # Errors
    /// The server or the file system refuses; the end of the run tries again.
    pub async fn leave(&self, place: Place<T>) -> Result<(), SiteError> {
        self.target.discard(place.made).await
    }

    pub(super) fn suffix(&mut self) -> String {
        self.made += 1;
        format!("db{}", self.made)
    }

    async fn template(&mut self, subject: &Subject, from: &Version, events: u32) -> Result<Template<T>, SiteError> {
        let suffix = self.suffix();
        let made = self.target.make(&suffix, None).await?;
        let ground = self.target.ground(&made, subject);
        let mut line = T::line(&ground).await?;
        let own = own_migrations_of(T::BACKEND);
        let base = own.up_to(subject.settings.base_version).map(|migration| &migration.up);
        let theirs = subject.migrations.between(&Version::none(), from).map(|migration| &migration.up);
        let data = self.target.data();
        // A dump with its schema is the database at that version.
        let is_whole = data.is_some_and(|data| data.has_schema);
        let mut counted = None;
        for script in base.chain(theirs).filter(|_| !is_whole) {
            line.script(script).await.map_err(|error| SiteError::Earlier { file: script.file.clone(), error })?;
            if counted.is_none() && data.is_none() && line.has_tables().await? {
                line.fill(self.seed, events).await?;
                counted = Some(fill::counted(self.seed));
            }
        }
        if data.is_some() {
            counted = self.target.load(&ground, &mut line, self.seed).await?;
        }
        let application = match counted {
            Some(_) => Some(line.fitting().await?),
            None => None,
        };
        line.settle().await?;
        line.close().await?;
        Ok(Template { made, base: counted.unwrap_or_default(), application })
    }
}
