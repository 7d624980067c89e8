//! What a script's rounds are sent over.

use drift_engine::session::{DbError, Kind};
use drift_engine::sqlite::classify;
use sqlx::SqliteConnection;
use tokio_postgres::Config;

use crate::capacity::wire::{First, Wire};
use crate::database::sqlite::SqliteDatabase;
use crate::explore::sqlite::{fetch, first_text};
use crate::explore::statement::{Class, class};

/// The database of a script's rounds.
#[derive(Clone, Debug)]
pub enum Place {
    /// On a PostgreSQL server.
    Postgres(Box<Config>),
    /// A file of SQLite's.
    Sqlite(Box<SqliteDatabase>),
}

/// A connection to it.
#[derive(Debug)]
pub struct Connection {
    way: Way,
    /// Whether a transaction may be open. On SQLite it counts as open until a message has ended one.
    pub(super) is_open: bool,
}

#[derive(Debug)]
enum Way {
    Postgres(Wire),
    Sqlite(Box<SqliteConnection>),
}

impl Place {
    /// Connects.
    ///
    /// # Errors
    /// The server cannot be reached, or the file not be opened.
    pub async fn connect(&self) -> Result<Connection, DbError> {
        let way = match self {
            Self::Postgres(config) => {
                let mut wire = Wire::open(config).await?;
                wire.query("SET statement_timeout = '30s'", Kind::Begin, None).await?;
                Way::Postgres(wire)
            }
            Self::Sqlite(database) => Way::Sqlite(Box::new(database.plain().await?)),
        };
        Ok(Connection { way, is_open: false })
    }
}

impl Connection {
    /// Sends SQL as one message, and keeps the first value if that is asked for.
    ///
    /// # Errors
    /// The database refuses it, or is gone.
    pub async fn send(&mut self, sql: &str, kind: Kind, first: Option<&mut First>) -> Result<(), DbError> {
        match &mut self.way {
            Way::Postgres(wire) => {
                let answer = wire.query(sql, kind, first).await?;
                self.is_open = !answer.is_idle;
            }
            Way::Sqlite(connection) => {
                let found = fetch(connection, sql).await.map_err(|error| classify(error, kind))?;
                self.is_open = class(sql) != Class::End;
                if let Some(first) = first {
                    first.value = first_text(&found.0);
                }
            }
        }
        Ok(())
    }
}
