//! The database of a case, and how it is made anew.

use std::fmt;

use tokio_postgres::{Client, Config};

use super::{connect, said};
use crate::explore::world::Lost;
use crate::isolation::{TargetError, config};
use crate::provision::{Database, Maker, Server};

/// What belongs to the database and lies outside of it: CREATE DATABASE … TEMPLATE copies what is in a database, and nothing
/// else. As statements, to be run in this order: whose it is, its settings (a role's in it too), who may use it, how it is
/// described.
///
/// A setting that is a list is kept as a list, which no single literal says.
const OUTSIDE: &str = "\
    WITH d AS (SELECT *, pg_catalog.quote_ident(datname) AS name FROM pg_catalog.pg_database \
               WHERE datname = pg_catalog.current_database()), \
    s AS (SELECT pg_catalog.concat('ROLE ' || pg_catalog.quote_ident(r.rolname) || ' IN ', 'DATABASE ', d.name) AS whose, \
                 pg_catalog.split_part(c.one, '=', 1) AS setting, \
                 pg_catalog.substr(c.one, pg_catalog.strpos(c.one, '=') + 1) AS value, c.number \
          FROM d JOIN pg_catalog.pg_db_role_setting g ON g.setdatabase = d.oid \
          LEFT JOIN pg_catalog.pg_roles r ON r.oid = g.setrole, \
          pg_catalog.unnest(g.setconfig) WITH ORDINALITY AS c(one, number)) \
    SELECT statement FROM ( \
        SELECT 1, 0, pg_catalog.format('ALTER DATABASE %s OWNER TO %I', name, pg_catalog.pg_get_userbyid(datdba)) FROM d \
        WHERE pg_catalog.pg_get_userbyid(datdba) <> current_user \
        UNION ALL SELECT 2, 0, pg_catalog.format('ALTER DATABASE %s CONNECTION LIMIT %s', name, datconnlimit) FROM d \
        WHERE datconnlimit <> -1 \
        UNION ALL SELECT 3, number, CASE \
            WHEN setting IN ('search_path', 'temp_tablespaces', 'local_preload_libraries', 'session_preload_libraries') \
            THEN pg_catalog.format('SELECT pg_catalog.set_config(%L, %L, true); ALTER %s SET %I FROM CURRENT', \
                                   setting, value, whose, setting) \
            ELSE pg_catalog.format('ALTER %s SET %I TO %L', whose, setting, value) END FROM s \
        UNION ALL SELECT 4, 0, pg_catalog.format('REVOKE ALL ON DATABASE %s FROM PUBLIC, %I', name, \
                                                 pg_catalog.pg_get_userbyid(datdba)) FROM d WHERE datacl IS NOT NULL \
        UNION ALL SELECT 5, 0, pg_catalog.format('GRANT %s ON DATABASE %s TO %s%s', a.privilege_type, name, \
            COALESCE(pg_catalog.quote_ident(r.rolname), 'PUBLIC'), \
            CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END) \
        FROM d, pg_catalog.aclexplode(datacl) AS a LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee \
        UNION ALL SELECT 6, 0, pg_catalog.format('COMMENT ON DATABASE %s IS %L', name, c.description) \
        FROM d, pg_catalog.shobj_description(d.oid, 'pg_database') AS c(description) WHERE c.description IS NOT NULL \
    ) AS all_of(kind, number, statement) ORDER BY kind, number";

/// The database of a case.
pub struct Site {
    maker: Maker,
    config: Config,
    suffix: String,
    database: Option<Database>,
    /// What executions begin with, as a database of its own in which there is never a session.
    start: Option<Database>,
    /// What that lacks, as statements: see [`OUTSIDE`].
    outside: String,
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
        Ok(Self {
            maker,
            config,
            suffix: suffix.to_owned(),
            database: Some(database),
            start: None,
            outside: String::new(),
            made: 0,
        })
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
        if !self.outside.is_empty() {
            let (client, _) = connect(&self.config, "control").await?;
            let done = client.batch_execute(&self.outside).await;
            done.map_err(|error| said("give the database the settings of the set-up", &error))?;
        }
        Ok(())
    }

    /// Restarts the server, with every session's end; the database stays as it is.
    pub(in crate::explore) async fn restart(&self) -> Result<(), Lost> {
        self.maker.restart().await.map_err(|error| Lost::during("restart the server", error))
    }

    /// Makes it anew, empty, whatever was kept.
    pub(in crate::explore) async fn empty(&mut self) -> Result<(), Lost> {
        self.outside.clear();
        if let Some(start) = self.start.take() {
            let removed = self.maker.remove(start).await;
            removed.map_err(|error| Lost::during("drop the copy of the database", error))?;
        }
        self.renew().await
    }

    /// Keeps what is in it now as what it is made of from now on. Nobody may be in it.
    pub(in crate::explore) async fn keep(&mut self) -> Result<(), Lost> {
        let made = self.maker.create(&format!("{}_0", self.suffix), self.database.as_ref()).await;
        self.start = Some(made.map_err(|error| Lost::during("copy the database", error))?);
        let (client, _) = connect(&self.config, "control").await?;
        let rows = client.query(OUTSIDE, &[]).await;
        let rows = rows.map_err(|error| said("ask what belongs to the database", &error))?;
        self.outside = rows.iter().map(|row| row.get::<_, &str>(0)).collect::<Vec<_>>().join("; ");
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
