//! Provisioning against real servers, files and processes.
#![expect(clippy::unwrap_used, reason = "a helper that cannot do its work fails the test")]

mod child;
mod cluster;
mod container;
mod given;
mod leftovers;
mod sqlite;

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

use driftlock_provision::{Database, PostgresChoice, Profile, RunName, Server, StartOptions};
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

/// Waits for a condition, for at most five minutes: a hang is told from a busy machine.
async fn eventually<T: Debug>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let poll = async {
        loop {
            match condition() {
                Some(value) => return value,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(300), poll).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// Waits for a condition, for at most five seconds: as long as anything may outlive its owner.
async fn soon<T: Debug>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    let bounded = tokio::time::timeout(Duration::from_secs(5), eventually(what, condition)).await;
    bounded.unwrap_or_else(|_| panic!("not within five seconds: {what}"))
}

/// The living processes at work in a directory, or below it.
fn at_work_in(directory: &Path) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_inside =
        |pid: &i32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|at| at.starts_with(directory));
    pids.filter(is_inside).collect()
}

/// The memory that a server shares among its processes, outside of its directory: the number of its System V segment,
/// and its files in /dev/shm.
#[derive(Debug)]
struct SharedMemory {
    number: String,
    files: Vec<PathBuf>,
}

impl SharedMemory {
    /// Of the server in a directory.
    fn of(directory: &Path) -> Self {
        let noted = std::fs::read_to_string(directory.join("data/postmaster.pid")).unwrap();
        let number = noted.lines().nth(6).unwrap().split_whitespace().nth(1).unwrap().to_owned();
        let maps = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let maps: String = at_work_in(directory).iter().map(maps).collect();
        let paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).map(PathBuf::from);
        let shared = Self { number, files: paths.filter(|path| path.starts_with("/dev/shm")).collect() };
        assert!(!shared.files.is_empty() && shared.is_there(), "{shared:?}");
        shared
    }

    /// Whether any of it is there.
    fn is_there(&self) -> bool {
        let segments = std::fs::read_to_string("/proc/sysvipc/shm").unwrap();
        let is_listed = segments.lines().any(|line| line.split_whitespace().nth(1) == Some(&self.number));
        is_listed || self.files.iter().any(|file| file.exists())
    }
}

fn process_is_alive(pid: i32) -> bool {
    // A process that was killed and not yet waited for is a zombie: it no longer does anything.
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) if std::path::Path::new("/proc/self").exists() => false,
        Err(_) => nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok(),
    }
}
