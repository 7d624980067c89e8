//! Two customers want the last seat. The actors are functions that use sqlx; the lock is the only difference.
//!
//! ```sh
//! cargo run --example race_sqlx
//! ```

use driftlock::race::{Race, RaceError, Raced};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};

const SETUP: &str = "
    CREATE TABLE seats (id int PRIMARY KEY, is_free bool NOT NULL);
    CREATE TABLE bookings (seat int NOT NULL);
    INSERT INTO seats VALUES (1, true)";

/// Books the seat if it is free; answers whether it was.
async fn book(url: String, lock: &'static str) -> Result<bool, sqlx::Error> {
    let mut connection = PgConnection::connect(&url).await?;
    let mut transaction = connection.begin().await?;
    let query = sqlx::AssertSqlSafe(format!("SELECT is_free FROM seats WHERE id = $1{lock}"));
    let is_free: bool = sqlx::query_scalar(query).bind(1).fetch_one(&mut *transaction).await?;
    if is_free {
        transaction.execute("UPDATE seats SET is_free = false WHERE id = 1").await?;
        transaction.execute("INSERT INTO bookings VALUES (1)").await?;
    }
    transaction.commit().await?;
    connection.close().await?;
    Ok(is_free)
}

/// Explores two customers, with this after their SELECT.
pub async fn booked(lock: &'static str) -> Result<Raced, RaceError> {
    let sold_once = "SELECT seat FROM bookings GROUP BY seat HAVING count(*) > 1";
    let customer = move |url: String| book(url, lock);
    Race::new("booking").setup(SETUP).actors("customer", 2, customer).invariant("sold-once", sold_once).explore().await
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "a program prints")]
async fn main() -> Result<(), RaceError> {
    println!("without a lock: {}", booked("").await?);
    println!("with FOR UPDATE: {}", booked(" FOR UPDATE").await?);
    Ok(())
}
