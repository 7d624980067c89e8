//! A PostgreSQL server to work on, and the databases that we make on it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;

use super::admin::{About, Admin};
use super::binaries::binary_directories;
use super::choice::scrub;
use super::cluster::{Cluster, SUPERUSER};
use super::container::Container;
use super::given::{Databases, Given};
use super::restart::Restarter;
use super::{GivenUrl, PostgresChoice, Profile, ProvisionError, RunName, Settings, Swept, sweep};

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

/// A connection URL with its password. It is shown only on purpose.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessUrl {
    url: String,
    /// Every form of its passwords, the longest first.
    passwords: Vec<String>,
}

impl AccessUrl {
    /// The URL, password and all.
    pub fn expose(&self) -> &str {
        &self.url
    }

    /// Takes every password out of what somebody said who was given it, in whatever form: as written and decoded.
    pub fn scrub(&self, text: &str) -> String {
        scrub(&self.passwords, text)
    }

    /// The most bytes that a password has, in whatever form.
    pub fn password_bytes(&self) -> usize {
        self.passwords.first().map_or(0, String::len)
    }
}

impl fmt::Debug for AccessUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessUrl(***)")
    }
}

/// A PostgreSQL server to work on. Dropping it, in a panic too, removes everything that was made for
/// it before the drop returns (bounded); [`Server::stop`] does so without blocking and says what
/// went wrong.
pub struct Server {
    admin: Arc<Admin>,
    run: RunName,
    about: About,
    swept: Swept,
    host: Host,
}

enum Host {
    Cluster(Cluster),
    Given(Given),
    Container(Box<Container>),
}

/// Where a server comes from by default.
pub(super) const URL_VARIABLE: &str = "DRIFTLOCK_POSTGRES_URL";

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Named one by one: sqlx's options, inside, would show a password.
        f.debug_struct("Server")
            .field("way", &self.way())
            .field("version", &self.about.version)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
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
        match &options.choice {
            PostgresChoice::Url(url) => Self::given(url, run, swept).await,
            PostgresChoice::Local => Self::local(options, run, swept).await,
            PostgresChoice::Docker => Self::container(options, run, swept).await,
            PostgresChoice::Auto => {
                if let Some(url) = given_url()? {
                    return Self::given(&url, run, swept).await;
                }
                let mut reasons = vec![(Way::Given, format!("{URL_VARIABLE} is not set"))];
                match Self::local(options, run, swept.clone()).await {
                    Ok(server) => return Ok(server),
                    // What is wrong here is wrong for a container too.
                    Err(error @ (ProvisionError::Environment { .. } | ProvisionError::DiskFull { .. })) => {
                        return Err(error);
                    }
                    Err(error) => reasons.push((Way::Local, error.in_full())),
                }
                match Self::container(options, run, swept).await {
                    Ok(server) => return Ok(server),
                    Err(error) => reasons.push((Way::Container, error.in_full())),
                }
                Err(ProvisionError::NoPostgres { reasons })
            }
        }
    }

    async fn given(url: &GivenUrl, run: &RunName, swept: Swept) -> Result<Self, ProvisionError> {
        let (given, admin, about, there) = Given::start(url, run).await?;
        there.tell();
        Ok(Self { admin, run: run.clone(), about, swept: swept.and(there), host: Host::Given(given) })
    }

    async fn local(options: &StartOptions, run: &RunName, swept: Swept) -> Result<Self, ProvisionError> {
        refuse_session_options()?;
        let pg_bin = options.pg_bin.clone();
        let found = tokio::task::spawn_blocking(move || binary_directories(pg_bin.as_deref())).await;
        let (usable, mut unusable) = found.unwrap_or_default();
        let Some(binaries) = usable.into_iter().next() else {
            let none = ProvisionError::NoBinaries;
            return Err(if unusable.is_empty() { none } else { unusable.swap_remove(0) });
        };
        let cluster = Cluster::start(&binaries, options.profile, options.tcp).await?;
        let admin = Arc::new(Admin::of_directory(cluster.options("postgres"), cluster.directory()));
        let about = admin.about().await?;
        Ok(Self { admin, run: run.clone(), about, swept, host: Host::Cluster(cluster) })
    }

    async fn container(options: &StartOptions, run: &RunName, swept: Swept) -> Result<Self, ProvisionError> {
        refuse_session_options()?;
        let container = Container::start(options.profile).await?;
        let admin = Arc::new(Admin::new(container.options().clone()));
        let about = admin.about().await?;
        Ok(Self { admin, run: run.clone(), about, swept, host: Host::Container(Box::new(container)) })
    }

    /// How it was provided.
    pub fn way(&self) -> Way {
        match self.host {
            Host::Cluster(_) => Way::Local,
            Host::Given(_) => Way::Given,
            Host::Container(_) => Way::Container,
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

    /// How a process other than this one connects to one of the run's databases, password included:
    /// for its environment, and for nothing else. A throw-away cluster has it only when it was
    /// started with [`StartOptions::tcp`].
    pub fn access(&self, database: &Database) -> Option<AccessUrl> {
        let url = |host: &str, port: u16, password: &str| AccessUrl {
            url: format!("postgres://{SUPERUSER}:{password}@{host}:{port}/{}", database.name),
            passwords: vec![password.to_owned()],
        };
        match &self.host {
            Host::Cluster(cluster) => cluster.tcp().map(|(port, password)| url("127.0.0.1", port, password)),
            Host::Container(container) => {
                let (host, port, password) = container.access();
                Some(url(host, port, password))
            }
            Host::Given(given) => Some(AccessUrl {
                url: given.url().with_database(&database.name).to_string(),
                passwords: given.url().passwords(),
            }),
        }
    }

    /// How to connect to the maintenance database, as a superuser; only where the whole server is
    /// thrown away afterwards.
    pub fn admin_options(&self) -> Option<PgConnectOptions> {
        (self.way() != Way::Given).then(|| self.admin.options().clone())
    }

    /// The process id of the server, where it is a child of this process.
    pub fn pid(&self) -> Option<u32> {
        match &self.host {
            Host::Cluster(cluster) => cluster.pid(),
            Host::Given(_) | Host::Container(_) => None,
        }
    }

    /// Whether it may be restarted: it is a throw-away cluster, and a child of this process.
    pub fn can_restart(&self) -> bool {
        matches!(self.host, Host::Cluster(_))
    }

    /// What makes and drops databases here, for who does not own the server.
    pub fn maker(&self) -> Maker {
        let restarter = match &self.host {
            Host::Cluster(cluster) => Some(cluster.restarter()),
            Host::Given(_) | Host::Container(_) => None,
        };
        Maker { admin: self.admin.clone(), run: self.run.clone(), given: self.databases(), restarter }
    }

    /// Creates a database: see [`Maker::create`].
    ///
    /// # Errors
    /// See there.
    pub async fn create_database(&self, suffix: &str, template: Option<&Database>) -> Result<Database, ProvisionError> {
        self.maker().create(suffix, template).await.map_err(|error| self.explained(error))
    }

    /// Drops one of the run's databases: see [`Maker::remove`].
    ///
    /// # Errors
    /// See there.
    pub async fn drop_database(&self, database: Database) -> Result<(), ProvisionError> {
        self.maker().remove(database).await.map_err(|error| self.explained(error))
    }

    /// Asks whether it still answers: after a lost connection, whether it was the server that was lost.
    ///
    /// Cancellation: nothing happens.
    ///
    /// # Errors
    /// It does not answer, within 10 s, or not sensibly.
    pub async fn check(&self) -> Result<(), ProvisionError> {
        self.admin.about().await.map(drop).map_err(|error| self.explained(error))
    }

    /// A server that is gone, or leaves in the middle, cannot say itself that its disk was full; its log does.
    fn explained(&self, error: ProvisionError) -> ProvisionError {
        match (&self.host, error) {
            (
                Host::Cluster(cluster),
                error @ (ProvisionError::Unreachable { .. } | ProvisionError::Statement { .. }),
            ) => cluster.disk_full("use the server").unwrap_or(error),
            (_, error) => error,
        }
    }

    /// Ends it: a throw-away server with everything in it, on a given one the run's databases.
    ///
    /// Cancellation: the end goes on, on a thread of its own.
    ///
    /// # Errors
    /// A database on a given server could not be dropped; the next start's sweep tries again.
    pub async fn stop(self) -> Result<(), ProvisionError> {
        // Whoever throws a whole server away need not wait for what is still going on on it, and it may never end.
        let dropped = match self.databases() {
            Some(given) => given.remove_all().await,
            None => Ok(()),
        };
        let ended = tokio::task::spawn_blocking(move || drop(self)).await;
        ended.map_err(|e| ProvisionError::Statement { what: "stop the server".into(), why: e.to_string() })?;
        dropped
    }

    /// What is kept of databases on a server that is not ours.
    fn databases(&self) -> Option<Arc<Databases>> {
        match &self.host {
            Host::Given(given) => Some(given.databases().clone()),
            Host::Cluster(_) | Host::Container(_) => None,
        }
    }
}

/// Makes and drops a run's databases. The server's end removes what is left of them.
#[derive(Clone)]
pub struct Maker {
    admin: Arc<Admin>,
    run: RunName,
    given: Option<Arc<Databases>>,
    restarter: Option<Restarter>,
}

impl fmt::Debug for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maker").field("run", &self.run).finish_non_exhaustive()
    }
}

impl Maker {
    /// Creates a database: an empty one (UTF8, C locale), or a copy of another one of this run, in
    /// which no session may be any more.
    ///
    /// Cancellation: a creation that was begun ends on its own; the server's end removes the database.
    ///
    /// # Errors
    /// The suffix cannot be part of a name (a-z, 0-9, _; at most 23), the template is still in use
    /// after 5 s, or the server refuses.
    pub async fn create(&self, suffix: &str, template: Option<&Database>) -> Result<Database, ProvisionError> {
        let database = Database { name: self.run.database(suffix)? };
        let (admin, given, name) = (self.admin.clone(), self.given.clone(), database.name.clone());
        let template = template.map(|t| t.name.clone());
        let creation = tokio::spawn(async move {
            match given {
                Some(given) => given.create(&name, template.as_deref()).await,
                None => admin.create(&name, template.as_deref(), "").await,
            }
        });
        finished(creation.await)?;
        Ok(database)
    }

    /// Drops one of the run's databases, and ends the sessions that are still in it.
    ///
    /// Cancellation: a drop that was begun ends on its own.
    ///
    /// # Errors
    /// The server refuses. The server's end tries again.
    pub async fn remove(&self, database: Database) -> Result<(), ProvisionError> {
        let (admin, given) = (self.admin.clone(), self.given.clone());
        let removal = tokio::spawn(async move {
            match given {
                Some(given) => given.remove(&database.name).await,
                None => admin.remove(&database.name).await,
            }
        });
        finished(removal.await)
    }

    /// Restarts the server, as `pg_ctl restart -m fast` does: every session ends, with 57P01, and what was committed is
    /// kept. Its address is the same afterwards. The server must still be there, and nobody else may need it.
    ///
    /// Cancellation: it may be down, which its owner's end takes care of.
    ///
    /// # Errors
    /// It is not a cluster of our own ([`ProvisionError::NotOurs`]), or does not end, or does not start again.
    pub async fn restart(&self) -> Result<(), ProvisionError> {
        let restarter = self.restarter.as_ref().ok_or(ProvisionError::NotOurs)?;
        self.admin.close().await;
        restarter.restart().await
    }
}

/// The server that the environment names.
pub(super) fn given_url() -> Result<Option<GivenUrl>, ProvisionError> {
    std::env::var(URL_VARIABLE).ok().filter(|text| !text.is_empty()).map(|text| text.parse()).transpose()
}

/// sqlx gives PGOPTIONS to every session, and there is no way to tell it not to.
fn refuse_session_options() -> Result<(), ProvisionError> {
    match std::env::var_os("PGOPTIONS") {
        Some(_) => Err(ProvisionError::Environment { variable: "PGOPTIONS" }),
        None => Ok(()),
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
