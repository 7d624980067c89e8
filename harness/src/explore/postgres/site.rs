//! The database of a case, and how it is made anew.

use std::fmt;

use tokio_postgres::{Client, Config};

use super::{connect, said};
use crate::explore::world::Lost;
use crate::isolation::{TargetError, config};
use crate::provision::{Database, Maker, Server};

/// The database of a case.
pub struct Site {
    maker: Maker,
    config: Config,
    suffix: String,
    database: Option<Database>,
    /// What executions begin with, as a database of its own in which there is never a session.
    start: Option<Database>,
    /// How often it was made anew.
    made: u64,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may hold a password.
        f.debug_struct("Site").field("suffix", &self.suffix).field("made", &self.made).finish_non_exhaustive()
    }
}

impl Site {
    /// Makes an empty database; its name ends in `suffix`.
    ///
    /// # Errors
    /// The server gives none, or has no address for sessions.
    pub async fn make(server: &Server, suffix: &str) -> Result<Self, TargetError> {
        let maker = server.maker();
        let database = maker.create(suffix, None).await?;
        let config = config(server, &database)?;
        Ok(Self { maker, config, suffix: suffix.to_owned(), database: Some(database), start: None, made: 0 })
    }

    /// How to connect to it: the same however often it is made anew.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How often it was made anew.
    pub(in crate::explore) fn made(&self) -> u64 {
        self.made
    }

    /// Makes it anew: as a copy of what was kept, or empty where nothing was. Sessions in it are ended.
    pub(in crate::explore) async fn renew(&mut self) -> Result<(), Lost> {
        let making = |error| Lost::during("make the database anew", error);
        if let Some(database) = self.database.take() {
            self.maker.remove(database).await.map_err(making)?;
        }
        let made = self.maker.create(&self.suffix, self.start.as_ref()).await.map_err(making)?;
        (self.database, self.made) = (Some(made), self.made + 1);
        Ok(())
    }

    /// Restarts the server, with every session's end; the database stays as it is.
    pub(in crate::explore) async fn restart(&self) -> Result<(), Lost> {
        self.maker.restart().await.map_err(|error| Lost::during("restart the server", error))
    }

    /// Keeps what is in it now as what it is made of from now on. Nobody may be in it.
    pub(in crate::explore) async fn keep(&mut self) -> Result<(), Lost> {
        let made = self.maker.create(&format!("{}_0", self.suffix), self.database.as_ref()).await;
        self.start = Some(made.map_err(|error| Lost::during("copy the database", error))?);
        Ok(())
    }

    /// Drops what was made.
    ///
    /// # Errors
    /// The server refuses; its end tries again.
    pub async fn close(self) -> Result<(), Lost> {
        for database in [self.database, self.start].into_iter().flatten() {
            self.maker.remove(database).await.map_err(|error| Lost::during("drop the database", error))?;
        }
        Ok(())
    }

    /// Drops the roles that scripts have made: they are the server's, and outlive every database. Only on a
    /// server of our own is there a role that may make any.
    pub(super) async fn drop_roles(&self) -> Result<(), Lost> {
        let (control, _) = connect(&self.config, "control").await?;
        let dropping = |error| said("drop the roles that a script has made", &error);
        if !is_superuser(&control).await? {
            return Ok(());
        }
        let roles = "SELECT pg_catalog.quote_ident(rolname) FROM pg_catalog.pg_roles WHERE oid >= 16384";
        for role in control.query(roles, &[]).await.map_err(dropping)? {
            let role: &str = role.get(0);
            let drop = format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}");
            control.batch_execute(&drop).await.map_err(dropping)?;
        }
        Ok(())
    }
}

/// Whether the session's role is a superuser.
pub(in crate::explore) async fn is_superuser(control: &Client) -> Result<bool, Lost> {
    let asked = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user";
    let row = control.query_one(asked, &[]).await.map_err(|error| said("ask what the role may do", &error))?;
    Ok(row.get(0))
}
