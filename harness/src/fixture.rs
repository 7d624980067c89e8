//! The databases of a suite: a migrated template for each backend, one with a scenario's data, and a
//! cheap copy of that for each case.

use std::collections::BTreeMap;
use std::sync::Arc;

use drift_engine::claim::CustomerId;
use drift_engine::drift::{Cell, aggregate};
use drift_engine::lock::Backend;
use drift_engine::migrate::{self, Limits, MigrateError};
use drift_engine::op::Op;
use drift_engine::protocol::{Retry, Task, TaskError, recompute};
use drift_engine::run::{Identity, RunChoice};
use drift_engine::session::{Connect, DbError, Session};
use sqlx::Connection;
use sqlx::sqlite::SqliteJournalMode;

use crate::database::postgres::PgDatabase;
use crate::database::sqlite::SqliteDatabase;
use crate::database::{Database, STATEMENT_MAX};
use crate::isolation::{TargetError, config};
use crate::load::reader::{ReadError, Rows, Step};
use crate::load::row::Row;
use crate::load::{self, LoadError};
use crate::provision::{self, ProvisionError, Server, SqliteFiles};
use crate::scenario::{Before, Journal, RunPlan, Scenario, SessionSettings, Source, data};

/// Why a database could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// No database could be made.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// The schema could not be made.
    #[error("failed to make the schema: {0}")]
    Migrate(#[from] MigrateError),
    /// The claims could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The database was lost, or refused.
    #[error("{0}")]
    Database(#[from] DbError),
    /// The first recompute failed.
    #[error("the recompute before the tasks failed: {0}")]
    Recompute(#[from] TaskError),
    /// The scenario wants more customers than its file has.
    #[error("the scenario is about {wanted} customers; its claims are those of {found}")]
    Customers {
        /// What `data.customers` says.
        wanted: u32,
        /// What the file holds.
        found: usize,
    },
}

impl PrepareError {
    /// Whether the scenario is to blame, and not the surroundings.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Customers { .. } | Self::Load(LoadError::Read(_)))
    }
}

impl From<ReadError> for PrepareError {
    fn from(error: ReadError) -> Self {
        Self::Load(error.into())
    }
}

/// A database of ours, of either kind.
#[derive(Debug)]
enum Made {
    Postgres(provision::Database),
    Sqlite(provision::SqliteDatabase),
}

/// A database with a scenario's data, to be copied.
#[derive(Debug)]
pub struct Template {
    made: Made,
    /// The claims in it, counted over the run's windows without the database's help.
    pub base: Vec<(CustomerId, Vec<Cell>)>,
}

/// A copy of a template, for one case.
#[derive(Debug)]
pub struct Copy {
    made: Made,
    /// How to work on it.
    pub database: Database,
}

/// Where a backend's databases are made.
#[derive(Debug)]
pub enum Host {
    /// On a PostgreSQL server.
    Postgres(Box<Server>),
    /// In a directory of SQLite files.
    Sqlite(SqliteFiles),
}

/// Makes the databases of one backend.
#[derive(Debug)]
pub struct Databases {
    host: Host,
    schema: Made,
    made: u32,
}

impl Databases {
    /// Makes the migrated template.
    ///
    /// # Errors
    /// See [`PrepareError`].
    pub async fn new(host: Host) -> Result<Self, PrepareError> {
        let schema = match &host {
            Host::Postgres(server) => {
                let database = server.create_database("schema", None).await?;
                let mut connection = PgDatabase::new(server.connect_options(&database), None).plain().await?;
                migrate::postgres::apply(&mut connection, None, &Limits::default()).await?;
                let _ = connection.close().await;
                Made::Postgres(database)
            }
            Host::Sqlite(files) => {
                let database = files.create_database("schema", None).await?;
                let options = files.connect_options(&database);
                let mut connection = SqliteDatabase::new(options, STATEMENT_MAX).plain().await?;
                migrate::sqlite::apply(&mut connection, None, &Limits::default()).await?;
                let _ = connection.close().await;
                Made::Sqlite(database)
            }
        };
        Ok(Self { host, schema, made: 0 })
    }

    /// Where they are made.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Ends the host, with everything on it.
    ///
    /// # Errors
    /// Something could not be removed.
    pub async fn stop(self) -> Result<(), ProvisionError> {
        match self.host {
            Host::Postgres(server) => server.stop().await,
            Host::Sqlite(_) => Ok(()),
        }
    }

    /// Makes a database with the scenario's data, generated from `seed` or read from its file.
    ///
    /// # Errors
    /// See [`PrepareError`].
    pub async fn template(&mut self, scenario: &Scenario, seed: u64) -> Result<Template, PrepareError> {
        let Copy { made, database } = self.copy_of(None, &scenario.session).await?;
        let base = count(scenario, seed).await?;
        let mut rows = rows(scenario, seed)?;
        match &database {
            Database::Postgres(database) => {
                let mut connection = database.plain().await?;
                load::postgres::load(&mut connection, &mut rows, |_| {}).await?;
                // Nobody has counted the new rows yet: without this the first plans are guesses.
                let analyze = sqlx::raw_sql("ANALYZE").execute(&mut connection).await;
                analyze.map_err(|error| drift_engine::postgres::classify(error, drift_engine::session::Kind::Read))?;
                let _ = connection.close().await;
            }
            Database::Sqlite(database) => {
                let mut connection = database.plain().await?;
                load::sqlite::load(&mut connection, &mut rows, |_| {}).await?;
                let _ = connection.close().await;
            }
        }
        prepare_runs(scenario, &database).await?;
        Ok(Template { made, base })
    }

    /// Copies a template for one case.
    ///
    /// # Errors
    /// See [`PrepareError`].
    pub async fn copy(&mut self, template: &Template, scenario: &Scenario) -> Result<Copy, PrepareError> {
        self.copy_of(Some(&template.made), &scenario.session).await
    }

    /// Makes a database with the schema, and these claims.
    ///
    /// # Errors
    /// See [`PrepareError`].
    pub async fn with_claims(&mut self, session: &SessionSettings, claims: Vec<Row>) -> Result<Copy, PrepareError> {
        let copy = self.copy_of(None, session).await?;
        let opening = |error| LoadError::Database(sqlx::Error::Io(error));
        let mut rows = Rows::made(claims.into_iter()).map_err(opening)?;
        match &copy.database {
            Database::Postgres(database) => {
                load::postgres::load(&mut database.plain().await?, &mut rows, |_| {}).await?;
            }
            Database::Sqlite(database) => {
                load::sqlite::load(&mut database.plain().await?, &mut rows, |_| {}).await?;
            }
        }
        Ok(copy)
    }

    /// How a session that is not the engine's connects to a copy on PostgreSQL.
    ///
    /// # Errors
    /// The server has no address that it could use.
    pub fn config(&self, copy: &Copy) -> Result<Option<tokio_postgres::Config>, TargetError> {
        match (&self.host, &copy.made) {
            (Host::Postgres(server), Made::Postgres(database)) => config(server, database).map(Some),
            _ => Ok(None),
        }
    }

    /// A file of SQLite's beside the others.
    ///
    /// # Errors
    /// The file system refuses.
    pub async fn spare_file(&mut self) -> Result<Option<String>, PrepareError> {
        self.made += 1;
        match &self.host {
            Host::Postgres(_) => Ok(None),
            Host::Sqlite(files) => {
                let spare = files.create_database(&format!("spare{}", self.made), None).await?;
                Ok(Some(spare.path().display().to_string()))
            }
        }
    }

    /// Drops a copy.
    ///
    /// # Errors
    /// The server or the file system refuses; the end of the host tries again.
    pub async fn discard(&self, copy: Copy) -> Result<(), ProvisionError> {
        match (&self.host, copy.made) {
            (Host::Postgres(server), Made::Postgres(database)) => server.drop_database(database).await,
            (Host::Sqlite(files), Made::Sqlite(database)) => files.drop_database(database),
            _ => unreachable!("a database is dropped where it was made"),
        }
    }

    async fn copy_of(&mut self, template: Option<&Made>, session: &SessionSettings) -> Result<Copy, PrepareError> {
        self.made += 1;
        let suffix = format!("db{}", self.made);
        match (&self.host, template.unwrap_or(&self.schema)) {
            (Host::Postgres(server), Made::Postgres(template)) => {
                let made = server.create_database(&suffix, Some(template)).await?;
                let database = PgDatabase::new(server.connect_options(&made), session.lock_timeout);
                Ok(Copy { made: Made::Postgres(made), database: Database::Postgres(database) })
            }
            (Host::Sqlite(files), Made::Sqlite(template)) => {
                let made = files.create_database(&suffix, Some(template)).await?;
                let options = files.connect_options(&made).journal_mode(match session.journal {
                    Journal::Wal => SqliteJournalMode::Wal,
                    Journal::Delete => SqliteJournalMode::Delete,
                });
                let database = SqliteDatabase::new(options, session.busy_timeout);
                Ok(Copy { made: Made::Sqlite(made), database: Database::Sqlite(database) })
            }
            _ => unreachable!("a database is copied where it was made"),
        }
    }
}

/// The claims of a scenario.
fn rows(scenario: &Scenario, seed: u64) -> Result<Rows, PrepareError> {
    let opening = |error| LoadError::Database(sqlx::Error::Io(error));
    match &scenario.data.source {
        Source::Csv(path) => Ok(Rows::open(path).map_err(opening)?),
        Source::Generated { .. } => Ok(Rows::made(generated(scenario, seed)).map_err(opening)?),
    }
}

fn generated(scenario: &Scenario, seed: u64) -> impl Iterator<Item = Row> + Send + use<> {
    let windows = scenario.data.windows().expect("a scenario's windows are in the calendar");
    let count = match scenario.data.source {
        Source::Generated { claims_per_customer } => claims_per_customer,
        Source::Csv(_) => 0,
    };
    (1..=scenario.data.customers).flat_map(move |id| {
        let customer: Arc<str> = format!("customer-{id}").into();
        let claims = data::claims(seed, windows, CustomerId(i64::from(id)), count);
        claims.map(move |claim| Row { customer: customer.clone(), claim })
    })
}

/// Counts the scenario's claims for each customer, in the order in which the database numbers them.
async fn count(scenario: &Scenario, seed: u64) -> Result<Vec<(CustomerId, Vec<Cell>)>, PrepareError> {
    let windows = scenario.data.windows().expect("a scenario's windows are in the calendar");
    let mut claims: BTreeMap<usize, Vec<_>> = BTreeMap::new();
    let mut numbers: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    let mut rows = rows(scenario, seed)?;
    while let Step::Rows(batch) = rows.next().await? {
        for row in batch {
            let next = numbers.len() + 1;
            let number = *numbers.entry(row.customer).or_insert(next);
            claims.entry(number).or_default().push(row.claim);
        }
    }
    if claims.len() < scenario.data.customers as usize {
        return Err(PrepareError::Customers { wanted: scenario.data.customers, found: claims.len() });
    }
    let id = |number: usize| CustomerId(i64::try_from(number).expect("there are fewer customers than claims"));
    Ok(claims.into_iter().map(|(number, claims)| (id(number), aggregate(&claims, &windows))).collect())
}

/// Brings each customer's run into the state in which the scenario finds it.
async fn prepare_runs(scenario: &Scenario, database: &Database) -> Result<(), PrepareError> {
    if scenario.data.before == Before::Nothing {
        return Ok(());
    }
    let mut session = database.connect().await?;
    for id in 1..=scenario.data.customers {
        let identity =
            Identity { customer: CustomerId(i64::from(id)), as_of: scenario.data.as_of, policy: scenario.data.policy };
        let run = match &scenario.tasks.run {
            RunPlan::Named(id) => RunChoice::Named(id.clone()),
            RunPlan::ByWindow | RunPlan::Fresh => RunChoice::Shared,
        };
        if scenario.data.before == Before::Failed {
            let (id, fresh) = (run.id_for(&identity), run.is_fresh());
            session.call(Op::FailRun { identity, id, fresh, reason: "an earlier task failed".into() }).await?;
        } else {
            let strategy = backend_of(database).default_strategy();
            recompute(&mut session, &Task { identity, run, strategy, retry: Retry::seeded(0) }).await?;
        }
    }
    Ok(())
}

fn backend_of(database: &Database) -> Backend {
    match database {
        Database::Postgres(_) => Backend::Postgres,
        Database::Sqlite(_) => Backend::Sqlite,
    }
}
