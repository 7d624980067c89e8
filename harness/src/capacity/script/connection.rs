//! What a script's rounds are sent over.

use drift_engine::session::{DbError, Kind};
use drift_engine::sqlite::classify;
use sqlx::SqliteConnection;
use tokio_postgres::Config;

use super::steps::Rows;
use crate::capacity::wire::{Kept, Wire};
use crate::database::sqlite::SqliteDatabase;
use crate::explore::captured::Types;
use crate::explore::postgres::connect;
use crate::explore::sqlite::{fetch, returned};
use crate::explore::statement::{Class, class};
use crate::explore::world::Lost;
use crate::scenario::script::{Returned, Script, ScriptCase, ScriptStep, Value};

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
    /// The rows of the last answer.
    pub(super) rows: Rows,
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
        Ok(Connection { way, is_open: false, rows: Rows::default() })
    }

    /// The types of captured columns, where the database has any.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn types(&self, script: &Script, case: &ScriptCase) -> Result<Types, Lost> {
        match self {
            Self::Postgres(config) => Ok(Types::ask(&connect(config, "types").await?.0, script, case).await),
            Self::Sqlite(_) => Ok(Types::default()),
        }
    }
}

impl Connection {
    /// Sends SQL as one message; what of its answer the step captures, if it does.
    ///
    /// # Errors
    /// The database refuses it, or is gone.
    pub async fn send(&mut self, sql: &str, kind: Kind, step: Option<&ScriptStep>) -> Result<Returned, DbError> {
        let captures = step.filter(|step| step.captured().next().is_some());
        match &mut self.way {
            Way::Postgres(wire) => {
                let mut kept = captures.map(|step| Kept::nothing(step.rows.is_some()));
                let answer = wire.query(sql, kind, kept.as_mut()).await?;
                self.is_open = !answer.is_idle;
                self.rows = Rows { returned: u64::from(answer.rows), changed: answer.changed };
                let values = |texts: Vec<Option<String>>| texts.into_iter().map(|text| Value { text, literal: None });
                Ok(kept.map_or_else(Returned::default, |kept| Returned {
                    first: values(kept.first).collect(),
                    column: values(kept.column).collect(),
                    affected: kept.affected,
                }))
            }
            Way::Sqlite(connection) => {
                let (found, affected) = fetch(connection, sql).await.map_err(|error| classify(error, kind))?;
                self.is_open = class(sql) != Class::End;
                self.rows = Rows { returned: found.len() as u64, changed: affected };
                Ok(captures.map_or_else(Returned::default, |_| returned(&found, affected)))
            }
        }
    }
}
