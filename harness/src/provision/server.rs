//! A PostgreSQL server to work on, and the databases that we make on it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;

use super::admin::{About, Admin};
use super::binaries::binary_directories;
use super::cluster::Cluster;
use super::{PostgresChoice, Profile, ProvisionError, RunName, Settings, Swept, sweep};

/// What a server is wanted for.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// How it is to be provided.
    pub choice: PostgresChoice,
    /// The directory of the local server binaries, instead of looking for them.
    pub pg_bin: Option<PathBuf>,
    /// How a throw-away server treats the disk. A given one has its own settings.
    pub profile: Profile,
    /// Whether processes other than this one must be able to connect: a throw-away cluster then also
    /// listens on 127.0.0.1.
    pub tcp: bool,
}

/// The ways to a PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub enum Way {
    /// A server that was already there.
    #[serde(rename = "given URL")]
    Given,
    /// A throw-away cluster from local binaries.
    #[serde(rename = "local")]
    Local,
    /// A throw-away container.
    #[serde(rename = "container")]
    Container,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Given => "given URL",
            Self::Local => "local",
            Self::Container => "container",
        })
    }
}

/// The role that the harness has on the server.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Whether it is a superuser.
    pub superuser: bool,
    /// Whether it may create databases.
    pub create_db: bool,
    /// Whether it may create roles.
    pub create_role: bool,
}

/// A database that this run has created: the only kind that there is a way to connect to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Database {
    name: String,
}

impl Database {
    /// Its name on the server: `driftlock_<run>_<token>_<suffix>`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A PostgreSQL server to work on. Dropping it, in a panic too, removes everything that was made for
/// it before the drop returns (bounded); [`Server::stop`] does so without blocking and says what
/// went wrong.
#[derive(Debug)]
pub struct Server {
    admin: Arc<Admin>,
    run: RunName,
    about: About,
    swept: Swept,
    host: Host,
}

#[derive(Debug)]
enum Host {
    Cluster(Cluster),
}

impl Server {
    /// Provides a server, after sweeping what dead harnesses left behind.
    ///
    /// Cancellation: when the token fires, or the future is dropped, whatever was started is ended
    /// and whatever was made is removed.
    ///
    /// # Errors
    /// [`ProvisionError::NoPostgres`] when no way is open, [`ProvisionError::Cancelled`] when the
    /// token fired, or the reason why the way that was asked for is not open.
    pub async fn start(
        options: &StartOptions,
        run: &RunName,
        cancel: &CancellationToken,
    ) -> Result<Self, ProvisionError> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(ProvisionError::Cancelled),
            started = Self::provide(options, run) => started,
        }
    }

    async fn provide(options: &StartOptions, run: &RunName) -> Result<Self, ProvisionError> {
        let swept = sweep().await;
        let (usable, unusable) = binary_directories(options.pg_bin.as_deref());
        let Some(binaries) = usable.into_iter().next() else {
            let why = unusable.first().map_or_else(|| "no server binaries found".to_owned(), ToString::to_string);
            return Err(ProvisionError::NoPostgres { reasons: vec![(Way::Local, why)] });
        };
        if std::env::var_os("PGOPTIONS").is_some() {
            return Err(ProvisionError::Environment { variable: "PGOPTIONS" });
        }
        let cluster = Cluster::start(&binaries, options.profile, options.tcp).await?;
        let admin = Admin::new(cluster.options("postgres"));
        let about = admin.about().await?;
        Ok(Self { admin: Arc::new(admin), run: run.clone(), about, swept, host: Host::Cluster(cluster) })
    }

    /// How it was provided.
    pub fn way(&self) -> Way {
        match self.host {
            Host::Cluster(_) => Way::Local,
        }
    }

    /// What the server calls its version: "15.6 (Debian 15.6-0+deb12u1)".
    pub fn version(&self) -> &str {
        &self.about.version
    }

    /// The version as a number: 150006 is 15.6.
    pub fn version_number(&self) -> u32 {
        self.about.version_number
    }

    /// How it really treats the disk.
    pub fn settings(&self) -> &Settings {
        &self.about.settings
    }

    /// The role that the harness has on it.
    pub fn role(&self) -> &Role {
        &self.about.role
    }

    /// Whether scripts and programs of the user's own may be let loose on it: it is thrown away
    /// afterwards, or the role can reach neither other roles nor, as one of them, other databases.
    pub fn confines_foreign_code(&self) -> bool {
        self.way() != Way::Given || !(self.about.role.superuser || self.about.role.create_role)
    }

    /// The run whose databases are made here.
    pub fn run(&self) -> &RunName {
        &self.run
    }

    /// What the sweep before the start found.
    pub fn swept(&self) -> &Swept {
        &self.swept
    }

    /// How to connect to one of the run's databases. Beware: sqlx's options show their password when
    /// they are debug-printed.
    pub fn connect_options(&self, database: &Database) -> PgConnectOptions {
        self.admin.options().clone().database(&database.name)
    }

    /// Creates a database: an empty one (UTF8, C locale), or a copy of another one of this run, in
    /// which no session may be any more.
    ///
    /// Cancellation: a creation that was begun ends on its own; the server's end removes the database.
    ///
    /// # Errors
    /// The suffix cannot be part of a name (a-z, 0-9, _; at most 23), the template is still in use
    /// after 5 s, or the server refuses.
    pub async fn create_database(&self, suffix: &str, template: Option<&Database>) -> Result<Database, ProvisionError> {
        let database = Database { name: self.run.database(suffix)? };
        let (admin, name) = (self.admin.clone(), database.name.clone());
        let template = template.map(|t| t.name.clone());
        let creation = tokio::spawn(async move { admin.create(&name, template.as_deref(), "").await });
        finished(creation.await)?;
        Ok(database)
    }

    /// Drops one of the run's databases, and ends the sessions that are still in it.
    ///
    /// Cancellation: a drop that was begun ends on its own.
    ///
    /// # Errors
    /// The server refuses. The server's end tries again.
    pub async fn drop_database(&self, database: Database) -> Result<(), ProvisionError> {
        let admin = self.admin.clone();
        finished(tokio::spawn(async move { admin.remove(&database.name).await }).await)
    }

    /// Ends it: a throw-away server with everything in it, on a given one the run's databases.
    ///
    /// Cancellation: the end goes on on a thread of its own.
    ///
    /// # Errors
    /// Something could not be removed; the next start's sweep tries again.
    pub async fn stop(self) -> Result<(), ProvisionError> {
        self.admin.close().await;
        let ended = tokio::task::spawn_blocking(move || drop(self)).await;
        ended.map_err(|e| ProvisionError::Statement { what: "stop the server".into(), why: e.to_string() })
    }
}

fn finished<T>(outcome: Result<Result<T, ProvisionError>, tokio::task::JoinError>) -> Result<T, ProvisionError> {
    match outcome {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Only a runtime that is being shut down cancels a task that nobody aborts.
        Err(_) => Err(ProvisionError::Cancelled),
    }
}
