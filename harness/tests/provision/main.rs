//! Provisioning against real servers, files and processes.
#![expect(clippy::unwrap_used, reason = "a helper that cannot do its work fails the test")]

mod child;
mod cluster;
mod container;
mod doctor;
mod given;
mod leftovers;
mod sqlite;

use std::fmt::Debug;
use std::time::Duration;

use driftlock::provision::{Database, PostgresChoice, Profile, RunName, Server, StartOptions};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};
use tokio_util::sync::CancellationToken;

fn options(choice: PostgresChoice) -> StartOptions {
    StartOptions { choice, pg_bin: None, profile: Profile::Fast, tcp: false }
}

async fn start(options: &StartOptions) -> Server {
    let run = RunName::new("test").unwrap();
    Server::start(options, &run, &CancellationToken::new()).await.unwrap()
}

async fn connect(server: &Server, database: &Database) -> PgConnection {
    server.connect_options(database).connect().await.unwrap()
}

async fn run(connection: &mut PgConnection, statement: &str) {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))).await.unwrap();
}

/// What a one-row, one-column query answers, as text.
async fn answer(connection: &mut PgConnection, query: &str) -> String {
    let query = format!("SELECT ({query})::text");
    sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(connection).await.unwrap()
}

/// Waits for a condition, for at most a minute.
async fn eventually<T: Debug>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let poll = async {
        loop {
            match condition() {
                Some(value) => return value,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), poll).await.unwrap_or_else(|_| panic!("never: {what}"))
}

fn process_is_alive(pid: i32) -> bool {
    // A process that was killed and not yet waited for is a zombie: it no longer does anything.
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) if std::path::Path::new("/proc/self").exists() => false,
        Err(_) => nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok(),
    }
}
