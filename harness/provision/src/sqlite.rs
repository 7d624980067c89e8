//! SQLite databases in a private directory, and cheap copies of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection, Row};

use super::directory::{self, Contents, OwnedDirectory};
use super::{ProvisionError, Swept, sweep};

/// How long a template's writer may take to finish.
const SETTLE: Duration = Duration::from_millis(500);

/// How a file keeps what a transaction has not finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Journal {
    /// A write-ahead log: readers go on while somebody writes.
    #[default]
    Wal,
    /// A rollback journal: a writer that commits keeps readers out.
    Rollback,
}

impl Journal {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Wal, Self::Rollback];

    /// The name used in settings and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wal => "wal",
            Self::Rollback => "rollback",
        }
    }

    fn mode(self) -> SqliteJournalMode {
        match self {
            Self::Wal => SqliteJournalMode::Wal,
            Self::Rollback => SqliteJournalMode::Delete,
        }
    }
}

/// A SQLite database that this run has created.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SqliteDatabase {
    path: PathBuf,
}

impl SqliteDatabase {
    /// The database's main file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One of the files that SQLite keeps beside the main one.
    fn beside(&self, ending: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(ending);
        path.into()
    }

    /// Whether something is in the write-ahead log or the rollback journal.
    fn has_unfinished(&self) -> bool {
        ["-wal", "-journal"].iter().any(|e| fs::metadata(self.beside(e)).is_ok_and(|about| about.len() > 0))
    }
}

/// A private directory for SQLite databases. Dropping it removes them.
#[derive(Debug)]
pub struct SqliteFiles {
    directory: OwnedDirectory,
    journal: Journal,
    swept: Swept,
}

impl SqliteFiles {
    /// Makes the directory, after sweeping what dead harnesses left behind.
    ///
    /// Cancellation: nothing is left.
    ///
    /// # Errors
    /// No temporary directory can be written to.
    pub async fn create(journal: Journal) -> Result<Self, ProvisionError> {
        let swept = sweep().await;
        let mut directory = OwnedDirectory::create(&directory::parent(), 0o700, &Contents::Sqlite)?;
        // On a system without a shell the next start's sweep removes what a killed process leaves.
        let _ = directory.watch();
        Ok(Self { directory, journal, swept })
    }

    /// How its databases keep what is unfinished.
    pub fn journal(&self) -> Journal {
        self.journal
    }

    /// What the sweep before found.
    pub fn swept(&self) -> &Swept {
        &self.swept
    }

    /// How to connect to one of its databases: foreign keys are checked, and a locked database is
    /// waited for up to 5 s unless the caller says otherwise.
    pub fn connect_options(&self, database: &SqliteDatabase) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&database.path)
            .journal_mode(self.journal.mode())
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
    }

    /// Creates a database: an empty one, or a copy of another one's main file, once everything that
    /// was committed to that is in it.
    ///
    /// Cancellation: a file may be left in the directory, and goes with it.
    ///
    /// # Errors
    /// The suffix cannot be part of a name, a database of this name exists, somebody is still writing
    /// to the template, or the file system refuses.
    pub async fn create_database(
        &self,
        suffix: &str,
        template: Option<&SqliteDatabase>,
    ) -> Result<SqliteDatabase, ProvisionError> {
        let database = SqliteDatabase { path: self.path_of(suffix)? };
        if let Some(template) = template {
            self.settle(template).await?;
            fs::copy(&template.path, &database.path)
                .map_err(ProvisionError::file("copy a template to", &database.path))?;
        } else {
            let options = self.connect_options(&database).create_if_missing(true);
            let made = async { options.connect().await?.close().await };
            made.await.map_err(ProvisionError::statement("create a SQLite database", database.path.display()))?;
        }
        Ok(database)
    }

    /// Copies a database and what lies beside it as they are at this moment, as a crash would leave them. The index of a
    /// write-ahead log is made anew by whoever opens it first.
    ///
    /// # Errors
    /// The suffix cannot be part of a name, a database of this name exists, or the file system refuses.
    pub fn copy_as_it_is(&self, suffix: &str, of: &SqliteDatabase) -> Result<SqliteDatabase, ProvisionError> {
        let copy = SqliteDatabase { path: self.path_of(suffix)? };
        for ending in ["", "-wal", "-journal"] {
            let (from, to) = (of.beside(ending), copy.beside(ending));
            if ending.is_empty() || from.exists() {
                fs::copy(from, &to).map_err(ProvisionError::file("copy a database to", &to))?;
            }
        }
        Ok(copy)
    }

    /// Removes a database and the files beside it.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn drop_database(&self, database: SqliteDatabase) -> Result<(), ProvisionError> {
        for ending in ["-wal", "-shm", "-journal"] {
            let _ = fs::remove_file(database.beside(ending));
        }
        fs::remove_file(&database.path).map_err(ProvisionError::file("remove", &database.path))
    }

    fn path_of(&self, suffix: &str) -> Result<PathBuf, ProvisionError> {
        let bad = |problem| ProvisionError::BadName { name: suffix.to_owned(), problem };
        if suffix.is_empty() || !suffix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            return Err(bad("only a-z, 0-9 and _ are allowed"));
        }
        let path = self.directory.path().join(format!("{suffix}.db"));
        if path.exists() { Err(bad("a database of this name exists")) } else { Ok(path) }
    }

    /// Sees to it that the main file holds everything. The last connection to leave has normally done
    /// so; one that died has not.
    async fn settle(&self, template: &SqliteDatabase) -> Result<(), ProvisionError> {
        if !template.has_unfinished() {
            return Ok(());
        }
        let settle = async {
            let options = self.connect_options(template).busy_timeout(SETTLE);
            let mut connection: SqliteConnection = options.connect().await?;
            let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await?;
            let busy: i64 = row.try_get(0)?;
            connection.close().await?;
            Ok(busy != 0)
        };
        let busy =
            settle.await.map_err(ProvisionError::statement("checkpoint a SQLite template", template.path.display()))?;
        if busy || template.has_unfinished() {
            let name = template.path.display().to_string();
            return Err(ProvisionError::TemplateInUse { name, by: "a connection that is still open".into() });
        }
        Ok(())
    }
}

/// The version of SQLite that is built in.
///
/// # Errors
/// It cannot be opened.
pub async fn sqlite_version() -> Result<String, ProvisionError> {
    let ask = async {
        let mut connection = SqliteConnectOptions::new().in_memory(true).connect().await?;
        sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut connection).await
    };
    ask.await.map_err(ProvisionError::statement("open SQLite", "memory"))
}
