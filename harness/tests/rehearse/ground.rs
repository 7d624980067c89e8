//! A throw-away PostgreSQL of a test's own, for what the program itself need not be called for.

use std::path::PathBuf;
use std::process::Command;

use driftlock::provision::{Database, PostgresChoice, Profile, RunName, Server, StartOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use tokio_util::sync::CancellationToken;

/// A server and one database on it.
pub struct Ground {
    pub server: Server,
    pub database: Database,
}

impl Ground {
    pub async fn start(name: &str) -> Self {
        let options = StartOptions { choice: PostgresChoice::Local, pg_bin: None, profile: Profile::Fast, tcp: true };
        let server = Server::start(&options, &RunName::new(name).unwrap(), &CancellationToken::new()).await.unwrap();
        let database = server.create_database("ground", None).await.unwrap();
        Self { server, database }
    }

    pub async fn session(&self) -> PgConnection {
        self.server.connect_options(&self.database).connect().await.unwrap()
    }

    /// What pg_dump writes of the database.
    pub fn dump(&self, options: &[&str]) -> String {
        let url = self.server.access(&self.database).unwrap();
        let dump = Command::new(pg_dump()).arg(url.expose()).arg("--no-owner").args(options).output().unwrap();
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        String::from_utf8(dump.stdout).unwrap()
    }

    pub async fn stop(self) {
        self.server.stop().await.unwrap();
    }
}

/// The newest that Debian has, or the one of the path.
fn pg_dump() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin/pg_dump")).filter(|path| path.is_file());
    found.max().unwrap_or("pg_dump".into())
}

/// Sends statements, and answers how they were refused: the SQLSTATE.
pub async fn send(session: &mut PgConnection, sql: &str) -> Result<(), String> {
    let sent = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(session).await;
    sent.map(drop).map_err(|error| error.as_database_error().unwrap().code().unwrap().into_owned())
}
