//! Two workers take a job of a queue. The actors are functions that use tokio-postgres; they run freely here, many times.
//!
//! ```sh
//! cargo run --example race_tokio_postgres
//! ```

use driftlock::race::{Race, RaceError, Raced};
use tokio_postgres::{Error, NoTls};

const SETUP: &str = "
    CREATE TABLE jobs (id int PRIMARY KEY, is_done bool NOT NULL DEFAULT false);
    CREATE TABLE runs (job int NOT NULL);
    INSERT INTO jobs VALUES (1), (2)";

/// Takes the first job that is not done, and does it.
async fn work(url: String, lock: &'static str) -> Result<(), Error> {
    let (mut client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    let transaction = client.transaction().await?;
    let next = format!("SELECT id FROM jobs WHERE NOT is_done ORDER BY id LIMIT 1{lock}");
    if let Some(job) = transaction.query_opt(next.as_str(), &[]).await? {
        let job: i32 = job.get(0);
        transaction.execute("INSERT INTO runs VALUES ($1)", &[&job]).await?;
        transaction.execute("UPDATE jobs SET is_done = true WHERE id = $1", &[&job]).await?;
    }
    transaction.commit().await
}

/// Runs two workers freely, with this after their SELECT.
pub async fn worked(lock: &'static str) -> Result<Raced, RaceError> {
    let run_once = "SELECT job FROM runs GROUP BY job HAVING count(*) > 1";
    let worker = move |url: String| work(url, lock);
    Race::new("queue").setup(SETUP).actors("worker", 2, worker).invariant("run-once", run_once).verify(20).await
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "a program prints")]
async fn main() -> Result<(), RaceError> {
    println!("without a lock: {}", worked("").await?);
    println!("with SKIP LOCKED: {}", worked(" FOR UPDATE SKIP LOCKED").await?);
    Ok(())
}
