//! Where cases are run: a server, a directory of files, and databases on them.
//!
//! ```
//! use drift_engine::lock::Backend;
//! use driftlock::explore::hosts::Hosts;
//! use driftlock::provision::{PostgresChoice, Profile, StartOptions};
//! use tokio_util::sync::CancellationToken;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), driftlock::explore::hosts::HostError> {
//! let start = StartOptions { choice: PostgresChoice::Auto, pg_bin: None, profile: Profile::Fast, tcp: false };
//! let mut hosts = Hosts::new(start, CancellationToken::new());
//! hosts.ready(Backend::Sqlite).await?;
//! assert_eq!(hosts.used[0].provisioned, "built in");
//! hosts.stop().await?;
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;

use drift_engine::lock::Backend;
use sqlx::sqlite::SqliteConnectOptions;
use tokio_util::sync::CancellationToken;

use super::application::sent::Alteration;
use super::application::{AppWorld, BeginError, Looking};
use super::engine::{EngineWorld, MakeError};
use super::postgres::PgWorld;
use super::postgres::site::Site;
use super::sqlite::SqliteWorld;
use super::world::Lost;
use crate::fixture::{Databases, Host, PrepareError};
use crate::isolation::{TargetError, start_confining};
use crate::outcome::BackendUsed;
use crate::provision::{Journal, ProvisionError, RunName, Server, SqliteFiles, StartOptions, sqlite_version};
use crate::scenario::application::Application;
use crate::scenario::script::{Script, ScriptCase};
use crate::setting::Setting;

/// Where cases are run. Whatever is started ends with [`stop`](Self::stop), or when this is dropped.
pub struct Hosts {
    start: StartOptions,
    cancel: CancellationToken,
    server: Option<Server>,
    files: Option<SqliteFiles>,
    /// The server, as soon as the engine's schema has been on it.
    postgres: Option<Databases>,
    /// The directory, as soon as the engine's schema has been in it.
    sqlite: Option<Databases>,
    made: u32,
    /// What was made ready, in that order.
    pub used: Vec<BackendUsed>,
}

/// Why a case could not be run.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The database was lost, or the case makes no sense.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The engine's databases could not be made.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// There is no server, or it gives no database.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// It gives none that may be used.
    #[error(transparent)]
    Target(#[from] TargetError),
}

impl From<BeginError> for HostError {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Setup(_) => Self::Lost(Lost::by_script(error.to_string())),
            BeginError::Lost(lost) => Self::Lost(lost),
        }
    }
}

impl From<MakeError> for HostError {
    fn from(error: MakeError) -> Self {
        match error {
            MakeError::Prepare(error) => Self::Prepare(error),
            MakeError::Lost(lost) => Self::Lost(lost),
        }
    }
}

impl HostError {
    /// Whether it says that a backend is not to be had here, and not that something asked for is wrong.
    fn is_absence(&self) -> bool {
        let is_absent = |error: &ProvisionError| !error.is_cancelled() && !error.is_usage();
        match self {
            Self::Provision(error) | Self::Target(TargetError::Provision(error)) => is_absent(error),
            Self::Target(TargetError::Powerful { .. }) | Self::Lost(_) | Self::Prepare(_) => false,
            Self::Target(TargetError::Make(_) | TargetError::Address) => true,
        }
    }
}

/// What could be made ready, and what not.
pub struct Started {
    /// What could.
    pub backends: Vec<BackendUsed>,
    /// How the server treats the disk, where there is one.
    pub profile: String,
    /// What could not be had, with the reason.
    pub missing: Vec<(Backend, String)>,
}

impl Started {
    /// Whether a backend could not be had.
    pub fn lacks(&self, backend: Backend) -> bool {
        self.missing.iter().any(|(missing, _)| *missing == backend)
    }

    /// What could not be had, in a line each.
    pub fn not_verified(&self) -> Vec<String> {
        self.missing.iter().map(|(backend, why)| format!("{backend}: {why}")).collect()
    }
}

impl Hosts {
    /// Nothing is started yet. A token that is cancelled ends the start of a server.
    pub fn new(start: StartOptions, cancel: CancellationToken) -> Self {
        let (server, files, postgres, sqlite) = (None, None, None, None);
        Self { start, cancel, server, files, postgres, sqlite, made: 0, used: Vec::new() }
    }

    /// Makes every backend ready that `wants` one.
    ///
    /// # Errors
    /// None can be had, or what was asked for is wrong.
    pub async fn start_all(&mut self, wants: impl Fn(Backend) -> bool) -> Result<Started, HostError> {
        let mut missing = Vec::new();
        for backend in Backend::ALL.into_iter().filter(|backend| wants(*backend)) {
            match self.ready(backend).await {
                Ok(()) => {}
                Err(error) if error.is_absence() => missing.push((backend, error)),
                Err(error) => return Err(error),
            }
        }
        if self.used.is_empty()
            && let Some((_, error)) = missing.pop()
        {
            return Err(error);
        }
        let missing = missing.into_iter().map(|(backend, error)| (backend, error.to_string())).collect();
        Ok(Started { backends: self.used.clone(), profile: self.profile().to_owned(), missing })
    }

    /// How the server treats the disk, or `none` where there is no server.
    pub fn profile(&self) -> &'static str {
        self.server().map_or("none", |server| server.settings().profile().as_str())
    }

    /// Makes a backend ready, if it is not yet.
    ///
    /// # Errors
    /// It cannot be had, or the role on a given server could reach more than its own databases.
    pub async fn ready(&mut self, backend: Backend) -> Result<(), HostError> {
        let is_ready = match backend {
            Backend::Postgres => self.server().is_some(),
            Backend::Sqlite => self.files().is_some(),
        };
        if is_ready {
            return Ok(());
        }
        let (version, provisioned) = match backend {
            Backend::Postgres => {
                let server = start_confining(&self.start, &RunName::new("explore")?, &self.cancel).await?;
                let used = (server.version().to_owned(), server.way().to_string());
                self.server = Some(server);
                used
            }
            Backend::Sqlite => {
                self.files = Some(SqliteFiles::create(Journal::Wal).await?);
                (sqlite_version().await?, "built in".to_owned())
            }
        };
        self.used.push(BackendUsed { name: backend.to_string(), version, provisioned });
        Ok(())
    }

    /// Ends the server, with everything on it.
    ///
    /// # Errors
    /// Something could not be removed.
    pub async fn stop(self) -> Result<(), ProvisionError> {
        match (self.server, self.postgres) {
            (Some(server), _) => server.stop().await,
            (None, Some(databases)) => databases.stop().await,
            (None, None) => Ok(()),
        }
    }

    /// The server, if it was started.
    pub fn server(&self) -> Option<&Server> {
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
    ///
    /// # Errors
    /// The database cannot be made.
    ///
    /// # Panics
    /// The backend was not made [`ready`](Self::ready); so do the other worlds.
    pub async fn engine(&mut self, setting: Setting) -> Result<EngineWorld, HostError> {
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
    ///
    /// # Errors
    /// The database cannot be made, or the set-up fails.
    pub async fn application(&mut self, app: Arc<Application>, looking: Looking) -> Result<AppWorld, HostError> {
        self.application_with(app, looking, &Alteration::default()).await
    }

    /// The same, with something changed.
    ///
    /// # Errors
    /// The database cannot be made, or the set-up fails.
    pub async fn application_with(
        &mut self,
        app: Arc<Application>,
        looking: Looking,
        alteration: &Alteration,
    ) -> Result<AppWorld, HostError> {
        let site = self.postgres_site().await?;
        Ok(AppWorld::altered(site, app, looking, alteration).await?)
    }

    /// The actors of a script, in a database of their own on PostgreSQL.
    ///
    /// # Errors
    /// The database cannot be made, or the set-up fails.
    pub async fn postgres(&mut self, script: Arc<Script>, case: &ScriptCase) -> Result<PgWorld, HostError> {
        let site = self.postgres_site().await?;
        PgWorld::new(site, script, case.clone()).await.map_err(HostError::Lost)
    }

    /// Makes a database for a case.
    ///
    /// # Errors
    /// The server gives none.
    pub async fn postgres_site(&mut self) -> Result<Site, HostError> {
        self.made += 1;
        let server = self.server().expect("a case runs on a backend that was started");
        Site::make(server, &format!("explore_{}", self.made)).await.map_err(HostError::Target)
    }

    /// The actors of a script, in a file of their own.
    ///
    /// # Errors
    /// The file cannot be made, or the set-up fails.
    pub async fn sqlite(&mut self, script: Arc<Script>, case: &ScriptCase) -> Result<SqliteWorld, HostError> {
        let (options, keep) = self.sqlite_options().await?;
        SqliteWorld::new(options, &keep, script, case.clone()).await.map_err(HostError::Lost)
    }

    /// Makes a file, and one that keeps the rows of its beginning.
    ///
    /// # Errors
    /// There is no room for them.
    pub async fn sqlite_options(&mut self) -> Result<(SqliteConnectOptions, String), HostError> {
        self.made += 1;
        let made = self.made;
        let files = self.files().expect("a case runs on a backend that was started");
        let create = async |what: &str| files.create_database(&format!("{what}_{made}"), None).await;
        let (database, keep) = (create("explore").await, create("start").await);
        let (database, keep) = database.and_then(|database| Ok((database, keep?))).map_err(HostError::Provision)?;
        Ok((files.connect_options(&database), keep.path().display().to_string()))
    }
}
