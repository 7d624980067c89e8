//! Where cases are run: a server, a directory of files, and databases on them.

use std::sync::Arc;

use drift_engine::lock::Backend;
use sqlx::sqlite::SqliteConnectOptions;

use crate::cli::provisioning::PostgresArgs;
use crate::cli::{Context, Failure};
use crate::exit::Exit;
use crate::explore::application::sent::Alteration;
use crate::explore::application::{AppWorld, BeginError, Looking};
use crate::explore::engine::{EngineWorld, MakeError};
use crate::explore::postgres::PgWorld;
use crate::explore::postgres::site::Site;
use crate::explore::sqlite::SqliteWorld;
use crate::explore::world::Lost;
use crate::fixture::{Databases, Host, PrepareError};
use crate::isolation::TargetError;
use crate::outcome::BackendUsed;
use crate::provision::sqlite_version;
use crate::provision::{Journal, ProvisionError, Server, SqliteFiles};
use crate::scenario::application::Application;
use crate::scenario::script::{Script, ScriptCase};
use crate::setting::Setting;

/// Where cases are run.
#[derive(Default)]
pub(crate) struct Hosts {
    server: Option<Server>,
    files: Option<SqliteFiles>,
    /// The server, as soon as the engine's schema has been on it.
    postgres: Option<Databases>,
    /// The directory, as soon as the engine's schema has been in it.
    sqlite: Option<Databases>,
    made: u32,
    /// What was made ready when it was needed.
    pub(crate) used: Vec<BackendUsed>,
}

/// Why a case could not be explored.
pub(crate) enum CaseFailure {
    Lost(Lost),
    Prepare(PrepareError),
    Provision(ProvisionError),
    Target(TargetError),
}

impl From<PrepareError> for CaseFailure {
    fn from(error: PrepareError) -> Self {
        Self::Prepare(error)
    }
}

impl From<BeginError> for CaseFailure {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Setup(_) => Self::Lost(Lost::by_script(error.to_string())),
            BeginError::Lost(lost) => Self::Lost(lost),
        }
    }
}

impl From<Lost> for CaseFailure {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

impl From<MakeError> for CaseFailure {
    fn from(error: MakeError) -> Self {
        match error {
            MakeError::Prepare(error) => Self::Prepare(error),
            MakeError::Lost(lost) => Self::Lost(lost),
        }
    }
}

impl CaseFailure {
    pub(crate) fn about(self, file: &str, case: &str, backend: Backend) -> Failure {
        let lost = match self {
            Self::Provision(error) => return error.into(),
            Self::Target(error) => return error.into(),
            Self::Prepare(PrepareError::Provision(error)) => return error.into(),
            Self::Prepare(error) => Lost::new(error.to_string()),
            Self::Lost(lost) => lost,
        };
        let place = lost.at.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
        let report = miette::miette!("{file}{place}, case {case} on {backend}: {lost}");
        if lost.by_script { Failure::usage(report) } else { Failure::environment(report) }
    }
}

/// What could be made ready, and what not.
pub(crate) struct Started {
    pub backends: Vec<BackendUsed>,
    /// How the server treats the disk, where there is one.
    pub profile: String,
    /// What could not be had, with the reason.
    pub missing: Vec<(Backend, String)>,
}

impl Started {
    /// Whether a backend could not be had.
    pub(crate) fn lacks(&self, backend: Backend) -> bool {
        self.missing.iter().any(|(missing, _)| *missing == backend)
    }

    /// What could not be had, in a line each.
    pub(crate) fn not_verified(&self) -> Vec<String> {
        self.missing.iter().map(|(backend, why)| format!("{backend}: {why}")).collect()
    }
}

impl Hosts {
    /// Makes every backend ready that `wants` one; one at least can be had.
    pub(crate) async fn start_all(
        &mut self,
        wants: impl Fn(Backend) -> bool,
        postgres: &PostgresArgs,
        context: &Context<'_>,
    ) -> Result<Started, Failure> {
        let (mut backends, mut missing) = (Vec::new(), Vec::new());
        for backend in Backend::ALL.into_iter().filter(|backend| wants(*backend)) {
            match self.start(backend, postgres, context).await {
                Ok(used) => backends.push(used),
                Err(failure) if failure.exit != Exit::Environment => return Err(failure),
                Err(failure) => missing.push((backend, failure)),
            }
        }
        if backends.is_empty()
            && let Some((_, failure)) = missing.pop()
        {
            return Err(failure);
        }
        let profile = self.server().map_or("none", |server| server.settings().profile().as_str()).to_owned();
        let missing = missing.into_iter().map(|(backend, failure)| (backend, failure.report.to_string())).collect();
        Ok(Started { backends, profile, missing })
    }

    /// Makes a backend ready, if it is not yet.
    pub(crate) async fn ready(
        &mut self,
        backend: Backend,
        postgres: &PostgresArgs,
        context: &Context<'_>,
    ) -> Result<(), Failure> {
        let is_ready = match backend {
            Backend::Postgres => self.server().is_some(),
            Backend::Sqlite => self.files().is_some(),
        };
        if !is_ready {
            let used = self.start(backend, postgres, context).await?;
            self.used.push(used);
        }
        Ok(())
    }

    /// Makes a backend ready.
    pub(crate) async fn start(
        &mut self,
        backend: Backend,
        postgres: &PostgresArgs,
        context: &Context<'_>,
    ) -> Result<BackendUsed, Failure> {
        let name = backend.to_string();
        match backend {
            Backend::Postgres => {
                let server = super::start(postgres, context).await?;
                if !server.confines_foreign_code() {
                    let role = server.role().name.clone();
                    let stopped = server.stop().await;
                    return Err(stopped.map_or_else(Failure::from, |()| TargetError::Powerful { role }.into()));
                }
                let (version, provisioned) = (server.version().to_owned(), server.way().to_string());
                self.server = Some(server);
                Ok(BackendUsed { name, version, provisioned })
            }
            Backend::Sqlite => {
                self.files = Some(SqliteFiles::create(Journal::Wal).await?);
                Ok(BackendUsed { name, version: sqlite_version().await?, provisioned: "built in".to_owned() })
            }
        }
    }

    /// Ends the server, with everything on it.
    pub(crate) async fn stop(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let stopped = match (self.server, self.postgres) {
            (Some(server), _) => server.stop().await,
            (None, Some(databases)) => databases.stop().await,
            (None, None) => Ok(()),
        };
        super::told(stopped, context)
    }

    /// The server, if it was started.
    pub(crate) fn server(&self) -> Option<&Server> {
        match self.postgres.as_ref().map(Databases::host) {
            Some(Host::Postgres(server)) => Some(server),
            _ => self.server.as_ref(),
        }
    }

    fn files(&self) -> Option<&SqliteFiles> {
        match self.sqlite.as_ref().map(Databases::host) {
            Some(Host::Sqlite(files)) => Some(files),
            _ => self.files.as_ref(),
        }
    }

    /// The actors of a setting of the engine, in a database of their own.
    pub(crate) async fn engine(&mut self, setting: Setting) -> Result<EngineWorld, CaseFailure> {
        let (databases, host) = match setting.strategy.backend() {
            Backend::Postgres => {
                (&mut self.postgres, self.server.take().map(|server| Host::Postgres(Box::new(server))))
            }
            Backend::Sqlite => (&mut self.sqlite, self.files.take().map(Host::Sqlite)),
        };
        if let Some(host) = host {
            *databases = Some(Databases::new(host).await?);
        }
        let databases = databases.as_mut().expect("a case runs on a backend that was started");
        Ok(EngineWorld::new(databases, setting).await?)
    }

    /// The actors of an application, in a database of their own.
    pub(crate) async fn application(
        &mut self,
        app: Arc<Application>,
        looking: Looking,
    ) -> Result<AppWorld, CaseFailure> {
        self.application_with(app, looking, &Alteration::default()).await
    }

    /// The same, with something changed.
    pub(crate) async fn application_with(
        &mut self,
        app: Arc<Application>,
        looking: Looking,
        alteration: &Alteration,
    ) -> Result<AppWorld, CaseFailure> {
        let site = self.postgres_site().await?;
        Ok(AppWorld::altered(site, app, looking, alteration).await?)
    }

    pub(crate) async fn postgres(&mut self, script: Arc<Script>, case: &ScriptCase) -> Result<PgWorld, CaseFailure> {
        let site = self.postgres_site().await?;
        PgWorld::new(site, script, case.clone()).await.map_err(CaseFailure::Lost)
    }

    /// Makes a database for a case.
    pub(crate) async fn postgres_site(&mut self) -> Result<Site, CaseFailure> {
        self.made += 1;
        let server = self.server().expect("a case runs on a backend that was started");
        Site::make(server, &format!("explore_{}", self.made)).await.map_err(CaseFailure::Target)
    }

    pub(crate) async fn sqlite(&mut self, script: Arc<Script>, case: &ScriptCase) -> Result<SqliteWorld, CaseFailure> {
        let (options, keep) = self.sqlite_options().await?;
        SqliteWorld::new(options, &keep, script, case.clone()).await.map_err(CaseFailure::Lost)
    }

    /// Makes a file, and one that keeps the rows of its beginning.
    pub(crate) async fn sqlite_options(&mut self) -> Result<(SqliteConnectOptions, String), CaseFailure> {
        self.made += 1;
        let made = self.made;
        let files = self.files().expect("a case runs on a backend that was started");
        let create = async |what: &str| files.create_database(&format!("{what}_{made}"), None).await;
        let (database, keep) = (create("explore").await, create("start").await);
        let (database, keep) = database.and_then(|database| Ok((database, keep?))).map_err(CaseFailure::Provision)?;
        Ok((files.connect_options(&database), keep.path().display().to_string()))
    }
}
