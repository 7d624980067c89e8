//! Who waits, and for whom, is one question, and its answer is the server's.

use std::time::Duration;

use driftlock::database::waiting::{Waiter, blockers_of, waiters, waits, wanted};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::ground::{Ground, send};

/// How long a session may take to get to where it waits.
const REACH_MAX: Duration = Duration::from_secs(20);

async fn pid(session: &mut PgConnection) -> i32 {
    sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(session).await.unwrap()
}

#[tokio::test]
async fn a_session_waits_for_whoever_stands_in_its_way_and_for_nobody_once_that_is_gone() {
    let ground = Ground::start("waiting").await;
    let (mut holder, mut asking) = (ground.session().await, ground.session().await);
    let (mut first, mut second) = (ground.session().await, ground.session().await);
    let [held_by, one, two] = [pid(&mut holder).await, pid(&mut first).await, pid(&mut second).await];
    send(&mut holder, "CREATE TABLE t (a int)").await.unwrap();
    send(&mut holder, "BEGIN; LOCK TABLE t IN SHARE MODE; SELECT pg_advisory_lock(7)").await.unwrap();
    // Whoever has everything that it wants does not wait, in a transaction or not.
    assert_eq!(waiters(&mut asking).await.unwrap(), []);
    let writes = tokio::spawn(async move { send(&mut first, "INSERT INTO t VALUES (1)").await });
    let locks = tokio::spawn(async move { send(&mut second, "SELECT pg_advisory_lock(7)").await });
    let reached = tokio::time::timeout(REACH_MAX, async {
        while !(waits(&mut asking, one).await.unwrap() && waits(&mut asking, two).await.unwrap()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    reached.await.unwrap();
    let mut found = waiters(&mut asking).await.unwrap();
    found.sort_by_key(|waiter| waiter.pid != one);
    let waiter = |pid, sort: &str| Waiter { pid, behind: vec![held_by], sort: sort.to_owned() };
    assert_eq!(found, [waiter(one, "relation"), waiter(two, "advisory")]);
    let mut found = wanted(&mut asking).await.unwrap();
    found.sort_by_key(|(waiter, ..)| waiter.pid != one);
    let table: i64 = sqlx::query_scalar("SELECT 't'::regclass::int8").fetch_one(&mut asking).await.unwrap();
    let wants = |pid, sort, table, mode: &str| (waiter(pid, sort), table, mode.to_owned());
    let lock = wants(one, "relation", Some(table), "RowExclusiveLock");
    assert_eq!(found, [lock, wants(two, "advisory", None, "ExclusiveLock")]);
    assert!(!waits(&mut asking, held_by).await.unwrap());
    let blockers: Vec<i32> = sqlx::query_scalar(AssertSqlSafe(blockers_of(one))).fetch_all(&mut asking).await.unwrap();
    assert_eq!(blockers, [held_by]);
    send(&mut holder, "COMMIT; SELECT pg_advisory_unlock(7)").await.unwrap();
    writes.await.unwrap().unwrap();
    locks.await.unwrap().unwrap();
    assert_eq!(waiters(&mut asking).await.unwrap(), []);
    ground.stop().await;
}
