//! The connection on which databases are created and dropped.

use std::fmt;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row};
use tokio::sync::{Mutex, MutexGuard};

use super::binaries::MAJOR_MIN;
use super::{GivenUrl, ProvisionError, Role, Settings};

/// How long a server may take to answer a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a database's last sessions may take to leave it.
const LEAVE: Duration = Duration::from_secs(5);
/// How long one statement may take: CREATE DATABASE may have to write a checkpoint.
const STATEMENT: Duration = Duration::from_secs(120);
/// After how long a statement's server is asked whether it still answers anybody, and again each time.
const ATTENTION: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);

/// What a server says of itself.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub version: String,
    pub version_number: u32,
    pub settings: Settings,
    pub role: Role,
}

/// One connection, opened again when it is lost.
pub(super) struct Admin {
    options: PgConnectOptions,
    place: String,
    /// Whose disk the server's is, for messages.
    disk: String,
    given: Option<GivenUrl>,
    connection: Mutex<Option<PgConnection>>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its options would show their password.
        f.debug_struct("Admin").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Admin {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        let place = GivenUrl::place(&options);
        Self { disk: format!("the server {place}"), place, options, given: None, connection: Mutex::new(None) }
    }

    /// For a server whose data is in a directory of ours.
    pub(super) fn of_directory(options: PgConnectOptions, directory: &Path) -> Self {
        Self { disk: directory.display().to_string(), ..Self::new(options) }
    }

    /// For a server that is not ours.
    pub(super) fn given(url: &GivenUrl) -> Result<Self, ProvisionError> {
        Ok(Self { given: Some(url.clone()), ..Self::new(url.options()?) })
    }

    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// Where it connects to, for messages.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Opens a connection of its own, with a bound.
    pub(super) async fn connect(&self) -> Result<PgConnection, ProvisionError> {
        let at = self.place.clone();
        // No message known to us repeats a password; one from another server may.
        let scrub = |text: String| self.given.as_ref().map_or(text.clone(), |given| given.scrub(&text));
        match tokio::time::timeout(CONNECT, self.options.connect()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(sqlx::Error::Database(error))) => {
                let code = error.code().map(|code| format!(" ({code})")).unwrap_or_default();
                Err(ProvisionError::Refused { at, why: scrub(format!("{}{code}", error.message())) })
            }
            Ok(Err(sqlx::Error::Io(error))) => Err(ProvisionError::Unreachable { at, why: error.to_string() }),
            Ok(Err(error)) => Err(ProvisionError::Unreachable { at, why: scrub(error.to_string()) }),
            Err(_) => Err(ProvisionError::Unreachable { at, why: format!("no answer within {} s", CONNECT.as_secs()) }),
        }
    }

    /// What the server and our role on it are.
    pub(super) async fn about(&self) -> Result<About, ProvisionError> {
        let mut held = self.held().await?;
        let asked = sqlx::query(
            "SELECT current_setting('server_version'), current_setting('server_version_num')::int, \
                    current_setting('fsync'), current_setting('synchronous_commit'), \
                    current_setting('full_page_writes'), current_setting('deadlock_timeout'), \
                    rolname::text, rolsuper, rolcreatedb, rolcreaterole \
             FROM pg_roles WHERE rolname = current_user",
        );
        let row = self.attended("ask the server what it is", asked.fetch_one(held.connection())).await?;
        let read = || {
            Ok(About {
                version: row.try_get(0)?,
                version_number: u32::try_from(row.try_get::<i32, _>(1)?).unwrap_or_default(),
                settings: Settings {
                    fsync: row.try_get(2)?,
                    synchronous_commit: row.try_get(3)?,
                    full_page_writes: row.try_get(4)?,
                    deadlock_timeout: row.try_get(5)?,
                },
                role: Role {
                    name: row.try_get(6)?,
                    superuser: row.try_get(7)?,
                    create_db: row.try_get(8)?,
                    create_role: row.try_get(9)?,
                },
            })
        };
        let about: About = read().map_err(ProvisionError::statement("read what the server is", &self.disk))?;
        held.done();
        if about.version_number / 10_000 < MAJOR_MIN {
            return Err(ProvisionError::TooOld { version: about.version, at: self.place.clone(), needed: MAJOR_MIN });
        }
        Ok(about)
    }

    /// Creates a database. `clauses` go to the end of the statement.
    pub(super) async fn create(&self, name: &str, template: Option<&str>, clauses: &str) -> Result<(), ProvisionError> {
        let mut held = self.held().await?;
        if let Some(template) = template {
            wait_until_left(held.connection(), template, &self.disk).await?;
        }
        let source = match template {
            Some(template) => format!("TEMPLATE {}", quoted(template)),
            None => "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'".to_owned(),
        };
        let statement = format!("CREATE DATABASE {} {source} {clauses}", quoted(name));
        held.run(&format!("create the database {name}"), statement).await
    }

    /// Runs one statement that returns nothing of interest.
    pub(super) async fn run(&self, what: &str, statement: String) -> Result<(), ProvisionError> {
        self.held().await?.run(what, statement).await
    }

    /// Drops a database, with the sessions in it; one that is not there is dropped already.
    pub(super) async fn remove(&self, name: &str) -> Result<(), ProvisionError> {
        let mut held = self.held().await?;
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1";
        let ended = sqlx::query_scalar::<_, i64>(end).bind(name).fetch_one(held.connection());
        if self.attended("end the sessions in a database", ended).await? > 0 {
            // FORCE deals with those that are slow to leave.
            let _ = wait_until_left(held.connection(), name, &self.disk).await;
        }
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(name));
        held.run(&format!("drop the database {name}"), statement).await
    }

    /// Closes the connection, after whatever is still going on on it.
    pub(super) async fn close(&self) {
        if let Some(connection) = self.connection.lock().await.take() {
            let _ = tokio::time::timeout(CONNECT, connection.close()).await;
        }
    }

    pub(super) async fn held(&self) -> Result<Held<'_>, ProvisionError> {
        let mut slot = self.connection.lock().await;
        let connection = match slot.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        Ok(Held { admin: self, slot, connection: Some(connection) })
    }

    /// Waits for a statement as long as the server answers others: one that is busy does, and one that is frozen does not.
    pub(super) async fn attended<T>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, ProvisionError> {
        let mut work = pin!(bounded(what, &self.disk, work));
        loop {
            if let Ok(result) = tokio::time::timeout(ATTENTION, &mut work).await {
                return result;
            }
            tokio::select! {
                result = &mut work => return result,
                answer = self.connect() => match answer {
                    // To be refused is an answer too.
                    Ok(_) | Err(ProvisionError::Refused { .. }) => {}
                    Err(error) => return Err(error),
                },
            }
        }
    }
}

/// The connection in use. It goes back only when [`Held::done`] says that it is in order; after an
/// error, or when a future is dropped half-way, the next user opens a new one.
pub(super) struct Held<'a> {
    admin: &'a Admin,
    slot: MutexGuard<'a, Option<PgConnection>>,
    connection: Option<PgConnection>,
}

impl Held<'_> {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("it is taken only by done, which consumes self")
    }

    pub(super) fn done(mut self) {
        *self.slot = self.connection.take();
    }

    /// Runs one statement that returns nothing, and gives the connection back.
    async fn run(mut self, what: &str, statement: String) -> Result<(), ProvisionError> {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement));
        let admin = self.admin;
        admin.attended(what, self.connection().execute(statement)).await?;
        self.done();
        Ok(())
    }
}

/// CREATE and DROP DATABASE would wait for sessions to leave themselves, but in steps of 100 ms.
async fn wait_until_left(connection: &mut PgConnection, template: &str, at: &str) -> Result<(), ProvisionError> {
    let mut inside = None;
    let poll = async {
        loop {
            let asked = sqlx::query_scalar::<_, String>(
                "SELECT format('process %s %s', pid, application_name) FROM pg_stat_activity WHERE datname = $1 LIMIT 1",
            );
            inside = asked.bind(template).fetch_optional(&mut *connection).await?;
            if inside.is_none() {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    };
    match tokio::time::timeout(LEAVE, poll).await {
        Ok(result) => result.map_err(ProvisionError::statement("look for sessions in the template", at)),
        Err(_) => Err(match inside {
            Some(by) => ProvisionError::TemplateInUse { name: template.to_owned(), by },
            // Not once has it said that nobody is inside.
            None => {
                let what = "an answer to who is in the template".to_owned();
                ProvisionError::TimedOut { what, seconds: LEAVE.as_secs() }
            }
        }),
    }
}

/// A statement within its time, on a database that is kept at such a place.
pub(super) async fn bounded<T>(
    what: &str,
    at: &str,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, ProvisionError> {
    match tokio::time::timeout(STATEMENT, work).await {
        Ok(result) => result.map_err(ProvisionError::statement(what, at)),
        Err(_) => Err(ProvisionError::TimedOut { what: what.to_owned(), seconds: STATEMENT.as_secs() }),
    }
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
