//! A session on PostgreSQL, and a control connection that is asked about it.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::{Client, Config, SimpleQueryMessage};

use super::{Answer, Session};
use crate::database::ANSWER_MAX;
use crate::explore::postgres::notices::Notices;
use crate::explore::postgres::overlap::{Flight, activity};
use crate::explore::postgres::{KILLED, came, connect, is_gone, killed, said, send, victim};
use crate::explore::statement::{Does, message};
use crate::explore::world::{Lost, What};
use crate::scenario::script::Returned;

/// After how long without an answer the server is asked whether a step waits; each further time takes
/// twice as long, up to the most.
const ASK_AFTER: Duration = Duration::from_millis(1);
const ASK_MOST: Duration = Duration::from_millis(50);

/// A session.
pub struct PgSession {
    client: Client,
    control: Arc<Client>,
    pid: i32,
    notices: Notices,
    config: Config,
    name: String,
    /// Its transaction has failed.
    aborted: bool,
}

impl PgSession {
    /// Opens the connection that is asked about sessions.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn control(config: &Config) -> Result<Arc<Client>, Lost> {
        Ok(Arc::new(connect(config, "control").await?.0))
    }

    /// Opens a session.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn open(config: &Config, control: Arc<Client>, name: &str) -> Result<Self, Lost> {
        let (client, notices) = connect(config, name).await?;
        look_soon(&client).await;
        let row = client.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await;
        let pid = row.and_then(|row| row.try_get(0)).map_err(|error| said("ask a session's name", &error))?;
        let (config, name) = (config.clone(), name.to_owned());
        Ok(Self { client, control, pid, notices, config, name, aborted: false })
    }

    /// Opens the session anew that somebody has ended: its actor may go on.
    async fn open_anew(&mut self) -> Result<(), Lost> {
        *self = Self::open(&self.config, self.control.clone(), &self.name).await?;
        Ok(())
    }

    /// For whom it waits, by the server's word.
    async fn waits_for(&self) -> Result<Vec<i32>, Lost> {
        let pid = self.pid;
        let question = format!(
            "SELECT pg_catalog.unnest(pg_catalog.pg_blocking_pids({pid}) || \
             pg_catalog.pg_safe_snapshot_blocking_pids({pid}))"
        );
        let asked = tokio::time::timeout(ANSWER_MAX, self.control.simple_query(&question)).await;
        let asked = asked.map_err(|_| Lost::during("ask the server who waits", "no answer"))?;
        let messages = asked.map_err(|error| said("ask the server who waits", &error))?;
        let pid = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
            _ => None,
        };
        Ok(messages.iter().filter_map(pid).collect())
    }
}

impl Session for PgSession {
    async fn send(&mut self, sql: &str, stdin: Option<&str>, at_most: Duration) -> Result<Answer, Lost> {
        drop(self.notices.take());
        let (mut waited, mut patience, mut left): (Option<Vec<i32>>, _, _) = (None, ASK_AFTER, at_most);
        let answer = {
            let mut reply = std::pin::pin!(send(&self.client, sql, stdin));
            loop {
                match tokio::time::timeout(patience, &mut reply).await {
                    Ok(answer) => break answer,
                    Err(_) if left <= patience => {
                        return Err(Lost::new(format!("no answer within {} s (`step-seconds`)", at_most.as_secs())));
                    }
                    Err(_) => left -= patience,
                }
                patience = (patience * 2).min(ASK_MOST);
                for pid in self.waits_for().await? {
                    let known = waited.get_or_insert_default();
                    if !known.contains(&pid) {
                        known.push(pid);
                    }
                }
            }
        };
        let (mut what, returned) = match answer {
            Err(error) if error.is_closed() => (killed(), Returned::default()),
            answer => came(answer).map_err(|error| said("get an answer", &error))?,
        };
        if matches!(&what, What::Failed { code, .. } if code == KILLED) {
            self.open_anew().await?;
            return Ok(Answer { what, returned, notices: Vec::new(), waited });
        }
        match &mut what {
            What::Done(done) => {
                done.rolled_back = std::mem::take(&mut self.aborted) && message(sql).does == Does::Commit;
            }
            _ => {
                match activity(&self.control, &[self.pid], &[true]).await?.remove(0) {
                    Some(activity) => self.aborted = activity.aborted,
                    // Somebody has ended it since it answered.
                    None => self.open_anew().await?,
                }
            }
        }
        Ok(Answer { what, returned, notices: self.notices.take(), waited })
    }

    async fn close(&mut self) -> Result<Option<Flight>, Lost> {
        // Whether its connection is closed already, we may learn later than the server knows it.
        let Some(activity) = activity(&self.control, &[self.pid], &[true]).await?.remove(0) else {
            self.open_anew().await?;
            return Ok(None);
        };
        if activity.in_transaction {
            match self.client.batch_execute("ROLLBACK").await {
                Err(error) if is_gone(&error) => self.open_anew().await?,
                rolled_back => rolled_back.map_err(|error| said("roll back", &error))?,
            }
        }
        Ok(Some(activity.flight))
    }

    async fn renew(&mut self) -> Result<(), Lost> {
        match self.client.batch_execute("DISCARD ALL").await {
            Err(error) if is_gone(&error) => return self.open_anew().await,
            discarded => discarded.map_err(|error| said("renew a session", &error))?,
        }
        look_soon(&self.client).await;
        Ok(())
    }

    async fn reopen(&mut self) -> Result<(), Lost> {
        let control = Self::control(&self.config).await?;
        *self = Self::open(&self.config, control, &self.name).await?;
        Ok(())
    }

    fn number(&self) -> Option<i32> {
        Some(self.pid)
    }
}

/// Has a session look for deadlocks soon. Only superusers may; on a given server its own setting holds.
async fn look_soon(client: &Client) {
    let _ = client.batch_execute(&victim::setting(true)).await;
}
