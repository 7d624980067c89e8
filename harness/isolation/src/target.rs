//! The database in which specifications run, and how sessions get into it.

use tokio_postgres::{Config, NoTls};

use driftlock_provision::{Database, ProvisionError, RunName, Server, StartOptions, Way};
use tokio_util::sync::CancellationToken;

/// What PostgreSQL's own suite calls its database: some of its specifications name it.
const NAME: &str = "isolation_regression";

/// What PostgreSQL's suite sets for each session, so that dates and intervals look the same everywhere.
const SETTINGS: &str = "-c timezone=America/Los_Angeles -c datestyle=Postgres,MDY -c intervalstyle=postgres_verbose";

/// Where specifications run: one database for all, since each cleans up after itself.
#[derive(Clone, Debug)]
pub struct Target {
    config: Config,
    /// How often a database was made.
    made: u32,
}

/// Why there is no database to run in.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The role on a given server could reach more than the run's own database.
    #[error(
        "the role {role} can reach other roles or databases, and a specification may do anything that its role may"
    )]
    Powerful {
        /// The role.
        role: String,
    },
    /// The server does not give one.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// The server's address cannot be used.
    #[error("failed to make the database {NAME}")]
    Make(#[source] tokio_postgres::Error),
    /// The server cannot be reached in a way that sessions can use.
    #[error("this server has no address for sessions")]
    Address,
}

/// Starts a server for code that is not ours: one whose role could reach more than its own databases is ended again.
///
/// # Errors
/// There is none, or its role could.
pub async fn start_confining(
    options: &StartOptions,
    run: &RunName,
    cancel: &CancellationToken,
) -> Result<Server, TargetError> {
    let server = Server::start(options, run, cancel).await?;
    if server.confines_foreign_code() {
        return Ok(server);
    }
    let role = server.role().name.clone();
    server.stop().await?;
    Err(TargetError::Powerful { role })
}

impl Target {
    /// Makes a database on a server.
    ///
    /// # Errors
    /// Specifications must not be let loose on the server, or it gives no database.
    pub async fn make(server: &Server, made: u32) -> Result<Self, TargetError> {
        if !server.confines_foreign_code() {
            return Err(TargetError::Powerful { role: server.role().name.clone() });
        }
        let database = server.create_database(&format!("isolation_{made}"), None).await?;
        let mut config = config(server, &database)?;
        if server.way() != Way::Given {
            // Nobody but us is on this server, so the name is free but for our own earlier database.
            let admin = admin(server, &config).await?;
            let statement = format!(
                "DROP DATABASE IF EXISTS {NAME} WITH (FORCE); ALTER DATABASE {} RENAME TO {NAME}",
                database.name()
            );
            for statement in statement.split("; ") {
                admin.batch_execute(statement).await.map_err(TargetError::Make)?;
            }
            config.dbname(NAME);
        }
        config.options(SETTINGS);
        Ok(Self { config, made: made + 1 })
    }

    /// Makes another database, for after a run that did not clean up.
    ///
    /// # Errors
    /// The server gives none.
    pub async fn renew(&mut self, server: &Server) -> Result<(), TargetError> {
        *self = Self::make(server, self.made).await?;
        Ok(())
    }

    /// How a session of a specification connects; the server shows it as `isolation/SPEC/SESSION`.
    pub(super) fn session(&self, spec: &str, session: &str) -> Config {
        let mut config = self.config.clone();
        config.application_name(format!("isolation/{spec}/{session}"));
        config
    }
}

/// A connection to the maintenance database.
async fn admin(server: &Server, config: &Config) -> Result<tokio_postgres::Client, TargetError> {
    let options = server.admin_options().ok_or(TargetError::Address)?;
    let mut config = config.clone();
    config.dbname(options.get_database().unwrap_or("postgres"));
    let (client, connection) = config.connect(NoTls).await.map_err(TargetError::Make)?;
    // It ends when the client is dropped.
    tokio::spawn(connection);
    Ok(client)
}

/// How a session of ours connects to one of a server's databases.
///
/// # Errors
/// The server has no address that sessions can use.
pub fn config(server: &Server, database: &Database) -> Result<Config, TargetError> {
    if let Some(url) = server.access(database) {
        return url.expose().parse().map_err(TargetError::Make);
    }
    let options = server.connect_options(database);
    let mut config = Config::new();
    config.host_path(options.get_socket().ok_or(TargetError::Address)?).port(options.get_port());
    config.user(options.get_username()).dbname(database.name());
    Ok(config)
}
