//! Where rehearsals take place: databases at the version to begin at, filled, and a copy of one for each rehearsal.

use std::collections::BTreeMap;

use drift_engine::claim::CustomerId;
use drift_engine::drift::Cell;
use drift_engine::postgres::classify;
use drift_engine::session::{DbError, Kind};
use sqlx::{Connection, PgConnection};

use super::application::Application;
use super::dump::{self, Dump, DumpError};
use super::fill;
use super::migrations::Version;
use super::sending;
use super::subject::{Subject, SubjectError, own_migrations};
use crate::database::postgres::PgDatabase;
use crate::load::LoadError;
use crate::provision::{self, AccessUrl, ProvisionError, Server, Way};

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
struct Template {
    made: provision::Database,
    /// The claims of the traffic's customers, counted.
    base: Vec<(CustomerId, Vec<Cell>)>,
    /// Whether the engine's tables are there, and which code fits them.
    application: Option<Application>,
}

/// A database for one rehearsal.
#[derive(Debug)]
pub struct Place {
    made: provision::Database,
    /// How to work on it.
    pub database: PgDatabase,
    /// The newest code that fits it; none where the engine's tables are not there.
    pub application: Option<Application>,
    /// The claims in it, counted.
    pub base: Vec<(CustomerId, Vec<Cell>)>,
}

/// The databases of one run.
#[derive(Debug)]
pub struct Site<'s> {
    server: &'s Server,
    seed: u64,
    data: Option<Dump>,
    templates: BTreeMap<String, Template>,
    made: u32,
}

impl<'s> Site<'s> {
    /// Nothing yet, on a server; `data` is what the databases are filled with, instead of our own.
    pub fn new(server: &'s Server, seed: u64, data: Option<Dump>) -> Self {
        Self { server, seed, data, templates: BTreeMap::new(), made: 0 }
    }

    /// A database at the version at which a subject begins, with so many events in its archive.
    ///
    /// # Errors
    /// See [`SiteError`].
    pub async fn place(&mut self, subject: &Subject, events: u32) -> Result<Place, SiteError> {
        let (from, _) = subject.range()?;
        let whose = if from.is_none() { "" } else { subject.path.as_str() };
        // The user's own data has a size of its own.
        let events = if self.data.is_some() { 0 } else { events };
        let key = format!("{whose} {from} {} {events}", subject.settings.base_version);
        if !self.templates.contains_key(&key) {
            let template = self.template(subject, &from, events).await?;
            self.templates.insert(key.clone(), template);
        }
        let suffix = self.suffix();
        let template = &self.templates[&key];
        let made = self.server.create_database(&suffix, Some(&template.made)).await?;
        let database = PgDatabase::new(self.server.connect_options(&made), None);
        Ok(Place { made, database, application: template.application, base: template.base.clone() })
    }

    /// The root of everything random.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The server's version as a number: 150006 is 15.6.
    pub fn version_number(&self) -> u32 {
        self.server.version_number()
    }

    /// Where the server comes from.
    pub fn way(&self) -> Way {
        self.server.way()
    }

    /// How a runner reaches a rehearsal's database.
    pub fn access(&self, place: &Place) -> Option<AccessUrl> {
        self.server.access(&place.made)
    }

    /// Looks again at what a runner has brought to the version to begin at, and fills it if it can be.
    ///
    /// # Errors
    /// See [`SiteError`].
    pub async fn look_again(&self, place: &mut Place, events: u32) -> Result<(), SiteError> {
        let mut connection = place.database.plain().await?;
        if place.application.is_none() && fill::has_tables(&mut connection).await? {
            fill::fill(&mut connection, self.seed, events).await?;
            place.base = fill::counted(self.seed);
            place.application = Some(fitting(&mut connection).await?);
        } else if place.application.is_some() {
            place.application = Some(fitting(&mut connection).await?);
        }
        Ok(())
    }

    /// Drops a rehearsal's database.
    ///
    /// # Errors
    /// The server refuses; its end tries again.
    pub async fn leave(&self, place: Place) -> Result<(), ProvisionError> {
        self.server.drop_database(place.made).await
    }

    fn suffix(&mut self) -> String {
        self.made += 1;
        format!("db{}", self.made)
    }

    async fn template(&mut self, subject: &Subject, from: &Version, events: u32) -> Result<Template, SiteError> {
        let made = self.server.create_database(&self.suffix(), None).await?;
        let mut connection = PgDatabase::new(self.server.connect_options(&made), None).plain().await?;
        let own = own_migrations();
        let base = own.up_to(subject.settings.base_version).map(|migration| &migration.up);
        let theirs = subject.migrations.between(&Version::none(), from).map(|migration| &migration.up);
        let mut filled = false;
        // A dump with its schema is the database at that version.
        let is_whole = self.data.as_ref().is_some_and(|data| data.has_schema);
        for script in base.chain(theirs).filter(|_| !is_whole) {
            sending::script(&mut connection, script).await.map_err(|error| SiteError::Earlier {
                file: script.file.clone(),
                error: classify(error, Kind::Write),
            })?;
            if !filled && self.data.is_none() && fill::has_tables(&mut connection).await? {
                fill::fill(&mut connection, self.seed, events).await?;
                filled = true;
            }
        }
        let mut counted = if filled { fill::counted(self.seed) } else { Vec::new() };
        if let Some(data) = &self.data {
            let mut loading = PgDatabase::new(self.server.connect_options(&made), None).plain().await?;
            dump::load(&mut loading, data).await?;
            let _ = loading.close().await;
            if let Some(adopted) = fill::adopt(&mut connection, self.seed).await? {
                (counted, filled) = (adopted, true);
            }
        }
        let application = match filled {
            true => Some(fitting(&mut connection).await?),
            false => None,
        };
        sqlx::raw_sql("VACUUM ANALYZE").execute(&mut connection).await.map_err(|e| classify(e, Kind::Write))?;
        let _ = connection.close().await;
        Ok(Template { made, base: counted, application })
    }
}

/// The newest code that fits the schema: ON CONFLICT needs a valid unique index on exactly these columns.
async fn fitting(connection: &mut PgConnection) -> Result<Application, DbError> {
    let unique: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = 'drift_events'::regclass AND i.indisunique \
             AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND ARRAY( \
                 SELECT a.attname::text FROM unnest(i.indkey::int2[]) AS k (number) \
                 JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY a.attname::text COLLATE \"C\" \
             ) = ARRAY['cpt_group', 'customer_id', 'drift_type', 'payer', 'run_id'])",
    )
    .fetch_one(connection)
    .await
    .map_err(|error| classify(error, Kind::Read))?;
    Ok(if unique { Application::OnConflict } else { Application::Plain })
}
