//! Provisioning against real servers, files and processes.
#![expect(clippy::unwrap_used, reason = "a helper that cannot do its work fails the test")]

use driftlock::provision::{Journal, PostgresChoice, Profile, RunName, Server, SqliteFiles, StartOptions};
use sqlx::{ConnectOptions, Connection, Executor};
use tokio_util::sync::CancellationToken;

fn local(profile: Profile) -> StartOptions {
    StartOptions { choice: PostgresChoice::Local, pg_bin: None, profile, tcp: false }
}

async fn start(options: &StartOptions) -> Server {
    let run = RunName::new("test").unwrap();
    Server::start(options, &run, &CancellationToken::new()).await.unwrap()
}

#[tokio::test]
async fn a_cluster_starts_is_cloned_from_and_leaves_nothing() {
    let server = start(&local(Profile::Fast)).await;
    let template = server.create_database("template", None).await.unwrap();
    let mut c = server.connect_options(&template).connect().await.unwrap();
    c.execute("CREATE TABLE t AS SELECT g FROM generate_series(1, 1000) g").await.unwrap();
    c.close().await.unwrap();
    for i in 0..5 {
        let clone = server.create_database(&format!("c{i}"), Some(&template)).await.unwrap();
        let mut c = server.connect_options(&clone).connect().await.unwrap();
        let n: i64 = sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(&mut c).await.unwrap();
        assert_eq!(n, 1000);
        server.drop_database(clone).await.unwrap();
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn sqlite_databases_are_copied() {
    let files = SqliteFiles::create(Journal::Wal).await.unwrap();
    let template = files.create_database("template", None).await.unwrap();
    let mut c = files.connect_options(&template).connect().await.unwrap();
    c.execute("CREATE TABLE t(x); INSERT INTO t VALUES (1)").await.unwrap();
    c.close().await.unwrap();
    let clone = files.create_database("c", Some(&template)).await.unwrap();
    let mut c = files.connect_options(&clone).connect().await.unwrap();
    let n: i64 = sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(&mut c).await.unwrap();
    assert_eq!(n, 1);
}
