//! Why a migration was not carried out.

use std::time::Duration;

use crate::lock::Backend;
use crate::session::ErrorClass;

/// Why a call failed. What it had applied or undone before stays so on PostgreSQL; on SQLite nothing does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The database refused a file. A concurrent build may have left an INVALID index; the next call drops it.
    #[error("migration {file} failed{}: {source}", in_brackets(code))]
    File {
        /// The version.
        version: i64,
        /// The file.
        file: &'static str,
        /// The database.
        backend: Backend,
        /// SQLSTATE or SQLite's extended result code.
        code: Option<String>,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// The database refused something that is in no file.
    #[error("could not {doing}{}: {source}", in_brackets(code))]
    Database {
        /// What was being done.
        doing: &'static str,
        /// The database.
        backend: Backend,
        /// SQLSTATE or SQLite's extended result code.
        code: Option<String>,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// Another session did not give the lock back in time: on PostgreSQL another migration, on SQLite a writer of
    /// the file, or a reader that held up the commit.
    #[error(
        "another session holds the lock that migrating needs{}: refused {polls} times, every {} ms",
        naming(holder), poll_every.as_millis()
    )]
    Locked {
        /// The backend that held it last, on PostgreSQL.
        holder: Option<i32>,
        /// How often it was asked for.
        polls: u32,
        /// The pause between two requests.
        poll_every: Duration,
    },
    /// Another backend's index build did not end in time. It was left alone.
    #[error(
        "another session{} is building an index on {table}, where {index} is to be built: looked {polls} times, every {} ms",
        naming(pid), poll_every.as_millis()
    )]
    BeingBuilt {
        /// The index that this call is about.
        index: &'static str,
        /// Its table.
        table: &'static str,
        /// The backend that builds; `None` if the index changed between every two looks.
        pid: Option<i32>,
        /// How often it was looked at.
        polls: u32,
        /// The pause between two looks.
        poll_every: Duration,
    },
    /// A valid index has the name, and is not the index that the migration builds. It was left alone.
    #[error("index {index} is valid, but is not a plain unique index on ({})", columns.join(", "))]
    NotOurs {
        /// Its name.
        index: &'static str,
        /// The columns that it should have.
        columns: &'static [&'static str],
    },
    /// The target is not a version of this program.
    #[error("there is no migration {target}; the latest is {latest}")]
    NoSuchVersion {
        /// What was asked for.
        target: i64,
        /// The newest that there is.
        latest: i64,
    },
    /// The database was migrated by a newer program.
    #[error("the database has migration {0}, which this program does not know")]
    Unknown(i64),
    /// A file was changed after it had been applied.
    #[error("migration {0} was changed after it had been applied")]
    Changed(i64),
    /// The lock was given back, but the server says that it was not held: something else ran at the same time.
    #[error("the migration lock was lost on the way; another migration may have run meanwhile")]
    LockLost,
    /// Anything else that sqlx's migrator reports.
    #[error("migrating failed: {0}")]
    Migrator(#[source] sqlx::migrate::MigrateError),
}

impl MigrateError {
    /// The SQLSTATE or SQLite's extended result code, if a database refused something.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::File { code, .. } | Self::Database { code, .. } => code.as_deref(),
            _ => None,
        }
    }

    /// What the failure means. A retryable one may go away if the same call is made again, on the same
    /// connection; after [`ErrorClass::Lost`], on a new one.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::File { backend, code, source, .. } | Self::Database { backend, code, source, .. } => {
                classify(*backend, code.as_deref(), source)
            }
            Self::Locked { .. } | Self::BeingBuilt { .. } => ErrorClass::LockTimeout,
            _ => ErrorClass::Other,
        }
    }

    pub(super) fn database(backend: Backend, doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { doing, backend, code: code_of(&source), source }
    }

    pub(super) fn file(
        backend: Backend,
        version: i64,
        file: &'static str,
    ) -> impl Fn(sqlx::migrate::MigrateError) -> Self {
        use sqlx::migrate::MigrateError as Sqlx;
        move |error| match error {
            Sqlx::Execute(source) | Sqlx::ExecuteMigration(source, _) => {
                Self::File { version, file, backend, code: code_of(&source), source }
            }
            other => Self::migrator(other),
        }
    }

    /// For what the migrator does outside of files: its own table.
    pub(super) fn records(backend: Backend) -> impl Fn(sqlx::migrate::MigrateError) -> Self {
        use sqlx::migrate::MigrateError as Sqlx;
        move |error| match error {
            Sqlx::Execute(source) => Self::database(backend, "read or write the table of migrations")(source),
            other => Self::migrator(other),
        }
    }

    fn migrator(error: sqlx::migrate::MigrateError) -> Self {
        use sqlx::migrate::MigrateError as Sqlx;
        match error {
            Sqlx::VersionMissing(version) => Self::Unknown(version),
            Sqlx::VersionMismatch(version) => Self::Changed(version),
            other => Self::Migrator(other),
        }
    }
}

fn code_of(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}

fn classify(backend: Backend, code: Option<&str>, source: &sqlx::Error) -> ErrorClass {
    match (backend, code) {
        (Backend::Postgres, Some(code)) => ErrorClass::of_sqlstate(code),
        (Backend::Sqlite, Some(code)) => code.parse().map_or(ErrorClass::Other, ErrorClass::of_sqlite),
        (_, None) if matches!(source, sqlx::Error::Io(_)) => ErrorClass::Lost,
        (_, None) => ErrorClass::Other,
    }
}

fn in_brackets(code: &Option<String>) -> String {
    code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default()
}

fn naming(pid: &Option<i32>) -> String {
    pid.map(|pid| format!(" (backend {pid})")).unwrap_or_default()
}
