//! Rust functions as actors: what a test of somebody's own sees.

use driftlock::outcome::VerdictKind;
use driftlock::race::{Race, RaceError, Raced};
use tokio_postgres::{Client, Error, NoTls};

#[path = "../../examples/race_sqlx.rs"]
#[expect(dead_code, reason = "its main function is the example's")]
mod race_sqlx;
#[path = "../../examples/race_tokio_postgres.rs"]
#[expect(dead_code, reason = "its main function is the example's")]
mod race_tokio_postgres;

const COUNTER: &str = "CREATE TABLE counter (value int); INSERT INTO counter VALUES (0)";

async fn connect(url: &str) -> Result<Client, Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Reads the counter, and writes one more.
async fn count(url: String) -> Result<(), Error> {
    let client = connect(&url).await?;
    let value: i32 = client.query_one("SELECT value FROM counter", &[]).await?.get(0);
    client.execute("UPDATE counter SET value = $1", &[&(value + 1)]).await.map(drop)
}

#[tokio::test]
async fn a_lost_update_is_found_and_the_test_that_fails_shows_its_order() {
    let race = || Race::new("counter").setup(COUNTER).actors("counter", 2, count);
    let query = "SELECT value FROM counter WHERE value <> 2";
    let raced = race().invariant("counted-twice", query).explore().await.unwrap();
    assert_eq!((raced.verdict, raced.violates("counted-twice")), (VerdictKind::Violation, true), "{raced}");
    let table = raced.to_string();
    // The driver has rows sent in binary form.
    for shown in ["counter-1", "counter-2", "SELECT value FROM counter → (0)", "UPDATE counter SET value = 1"] {
        assert!(table.contains(shown), "{table}");
    }
    let failed = std::panic::catch_unwind(|| raced.assert_holds()).unwrap_err();
    assert_eq!(failed.downcast_ref::<String>(), Some(&table));
    // Without an invariant the end is held against those of the actors one after another.
    assert!(race().explore().await.unwrap().violates("serial"));
}

#[tokio::test]
async fn an_example_with_sqlx_is_found_out_and_mended() {
    let without = race_sqlx::booked("").await.unwrap();
    assert!(without.violates("sold-once") && without.to_string().contains("WHERE id = 1 → (t)"), "{without}");
    let with = race_sqlx::booked(" FOR UPDATE").await.unwrap();
    with.assert_holds();
    assert!(with.evidence.starts_with("exhausted"), "{with}");
}

#[tokio::test]
async fn an_example_that_runs_freely_is_found_out_and_mended() {
    let without = race_tokio_postgres::worked("").await.unwrap();
    assert!(without.violates("run-once"), "{without}");
    let with = race_tokio_postgres::worked(" FOR UPDATE SKIP LOCKED").await.unwrap();
    with.assert_holds();
    assert!(with.evidence.contains("20 rounds"), "{with}");
}

/// One who fails, beside one who does not.
async fn beside_one_who_counts<T: std::fmt::Debug, E: std::fmt::Display>(
    function: impl AsyncFn(String) -> Result<T, E> + Send + Sync + 'static,
) -> Result<Raced, RaceError> {
    let nothing = "SELECT 1 WHERE false";
    let race = Race::new("failing").setup(COUNTER).actor("counter", count).actor("other", function);
    race.invariant("nothing", nothing).explore().await
}

#[tokio::test]
async fn an_actor_that_fails_only_beside_another_violates_and_one_that_always_does_is_a_mistake() {
    // Fails if the other was first: by itself it succeeds.
    let raced = beside_one_who_counts(async |url: String| -> Result<(), String> {
        let client = connect(&url).await.map_err(|error| error.to_string())?;
        let value: i32 = client.query_one("SELECT value FROM counter", &[]).await.map_err(|e| e.to_string())?.get(0);
        if value == 0 { Ok(()) } else { panic!("it was {value}") }
    });
    let raced = raced.await.unwrap();
    assert!(raced.violates("exits") && raced.to_string().contains("it panicked: it was 1"), "{raced}");
    let wrong = beside_one_who_counts(async |_| Err::<(), _>("no such file")).await.unwrap_err();
    assert!(wrong.to_string().contains("other failed: no such file"), "{wrong}");
}

/// In which order somebody uses connections that are open at once is not varied. One after another is no such choice, and
/// that the earlier one was closed may be heard late.
#[tokio::test]
async fn connections_one_after_another_are_no_bound_and_connections_at_once_are() {
    let one_after_another = async |url: String| -> Result<(), Error> {
        for _ in 0..2 {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
            let connection = tokio::spawn(connection);
            client.execute("UPDATE counter SET value = value + 1", &[]).await?;
            // Its task closes it, and ends then.
            drop(client);
            let _ = connection.await;
        }
        Ok(())
    };
    let raced = beside_one_who_counts(one_after_another).await.unwrap();
    assert!(raced.evidence.starts_with("exhausted"), "{raced}");
    let at_once = async |url: String| -> Result<(), Error> {
        let (first, second) = (connect(&url).await?, connect(&url).await?);
        first.execute("UPDATE counter SET value = value + 1", &[]).await?;
        second.execute("UPDATE counter SET value = value + 1", &[]).await.map(drop)
    };
    let raced = beside_one_who_counts(at_once).await.unwrap();
    assert!(raced.evidence.contains("several connections"), "{raced}");
}

#[tokio::test]
async fn what_makes_no_sense_is_said_before_anything_runs() {
    let nobody = Race::new("nobody").explore().await.unwrap_err();
    assert!(nobody.to_string().contains("0 actors"), "{nobody}");
    let twice = Race::new("twice").actor("a", count).actor("a", count).explore().await.unwrap_err();
    assert!(twice.to_string().contains("called a"), "{twice}");
    let setup = Race::new("setup").setup("CREATE TABLE counter (value it)").actor("a", count).explore().await;
    let setup = setup.unwrap_err().to_string();
    assert!(setup.contains("type \"it\" does not exist (42704)"), "{setup}");
}
