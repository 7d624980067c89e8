//! A session on a SQLite file, whose busy handler waits as SQLite's own does and says so.

use std::sync::Arc;
use std::time::Duration;

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteConnectOptions;

use super::{Answer, Session};
use crate::explore::postgres::overlap::Flight;
use crate::explore::sqlite::{came, close, fetch_step, open, roll_back, unanswered};
use crate::explore::world::Lost;
use crate::sqlite_busy::{self, Busy};

/// How long a step waits for the file's lock before it is refused.
const BUSY_MAX: Duration = Duration::from_secs(10);

/// A session.
pub struct SqliteSession {
    /// Not there between a pass and the next: the file may be exchanged then.
    connection: Option<SqliteConnection>,
    busy: Arc<Busy>,
    options: SqliteConnectOptions,
}

impl SqliteSession {
    /// Opens a session.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub async fn open(options: &SqliteConnectOptions) -> Result<Self, Lost> {
        let mut connection = open(options).await?;
        let busy = sqlite_busy::install(&mut connection, BUSY_MAX).await;
        let busy = busy.map_err(|error| Lost::during("install a busy handler", error))?;
        Ok(Self { connection: Some(connection), busy, options: options.clone() })
    }
}

impl Session for SqliteSession {
    async fn send(&mut self, sql: &str, _stdin: Option<&str>, at_most: Duration) -> Result<Answer, Lost> {
        let waits = self.busy.waits();
        let connection = self.connection.as_mut().ok_or_else(|| Lost::new("the file is not open"))?;
        let answer = tokio::time::timeout(at_most, fetch_step(connection, sql)).await;
        let answer =
            answer.map_err(|_| Lost::new(format!("no answer within {} s (`step-seconds`)", at_most.as_secs())))?;
        self.busy.ended();
        let (what, returned) = came(answer).map_err(|error| unanswered("get an answer", error))?;
        let waited = (self.busy.waits() > waits).then(Vec::new);
        Ok(Answer { what, returned, notices: Vec::new(), waited })
    }

    async fn close(&mut self) -> Result<Option<Flight>, Lost> {
        if let Some(connection) = &mut self.connection {
            roll_back(connection).await;
        }
        Ok(None)
    }

    async fn renew(&mut self) -> Result<(), Lost> {
        match self.connection.take() {
            Some(connection) => close(connection).await,
            None => Ok(()),
        }
    }

    async fn reopen(&mut self) -> Result<(), Lost> {
        *self = Self::open(&self.options).await?;
        Ok(())
    }

    fn number(&self) -> Option<i32> {
        None
    }
}
