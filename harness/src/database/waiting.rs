//! Who waits for a lock of PostgreSQL's, and for whom: every question that is put about it, by whatever driver.
//!
//! A session waits when the server says that it waits for a lock (`pg_stat_activity`), for those whom `pg_blocking_pids`
//! names. That function needs the lock manager to itself: it is called for sessions that may wait, and for no others.
//! Where it names nobody, the wait ended between the two columns, and was none.

use sqlx::PgConnection;

/// For whom a session waits: the condition under which it may, and its number, as expressions of a larger question.
macro_rules! blockers_if {
    ($may:literal, $pid:literal) => {
        concat!("CASE WHEN ", $may, " THEN pg_catalog.pg_blocking_pids(", $pid, ") ELSE '{}' END")
    };
}
pub(crate) use blockers_if;

/// Every session of the database that waits: its number, for whom, and for what sort of lock (`wait_event`).
pub const WAITERS: &str = "\
    SELECT pid, pg_catalog.pg_blocking_pids(pid), wait_event FROM pg_catalog.pg_stat_activity \
    WHERE wait_event_type = 'Lock' AND datname = pg_catalog.current_database()";

/// Every session of the database of which the server says that it waits for a lock.
const MAY_WAIT: &str = "\
    SELECT pid FROM pg_catalog.pg_stat_activity \
    WHERE wait_event_type = 'Lock' AND datname = pg_catalog.current_database()";

/// One that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// Its session.
    pub pid: i32,
    /// The sessions that it waits for; never nobody.
    pub behind: Vec<i32>,
    /// For what sort of lock: `relation`, `transactionid`, `tuple`, `advisory`, …
    pub sort: String,
}

/// Every session of the connection's database that waits.
///
/// # Errors
/// The database cannot be asked.
pub async fn waiters(connection: &mut PgConnection) -> Result<Vec<Waiter>, sqlx::Error> {
    let rows: Vec<(i32, Vec<i32>, String)> = sqlx::query_as(WAITERS).fetch_all(connection).await?;
    let waits = rows.into_iter().filter(|(_, behind, _)| !behind.is_empty());
    Ok(waits.map(|(pid, behind, sort)| Waiter { pid, behind, sort }).collect())
}

/// The locks that those want who may wait: for whom each of them waits is in the same answer.
const WANTED: &str = "\
    SELECT pid, pg_catalog.pg_blocking_pids(pid), locktype, relation::pg_catalog.int8, mode FROM pg_catalog.pg_locks \
    WHERE pid = ANY($1) AND NOT granted";

/// Every session of the connection's database that waits, with the relation and the mode that it wants; its sort is as
/// `pg_locks` names it. Both are asked for at once: asked one after the other, a session that goes from one wait to the
/// next would be shown to wait for the one lock behind whoever has the other.
///
/// # Errors
/// The database cannot be asked.
pub async fn wanted(connection: &mut PgConnection) -> Result<Vec<(Waiter, Option<i64>, String)>, sqlx::Error> {
    type Row = (i32, Vec<i32>, String, Option<i64>, String);
    let may_wait: Vec<i32> = sqlx::query_scalar(MAY_WAIT).fetch_all(&mut *connection).await?;
    if may_wait.is_empty() {
        // To read pg_locks stops the lock manager for an instant.
        return Ok(Vec::new());
    }
    let rows: Vec<Row> = sqlx::query_as(WANTED).bind(may_wait).fetch_all(connection).await?;
    let waits = rows.into_iter().filter(|(_, behind, ..)| !behind.is_empty());
    Ok(waits.map(|(pid, behind, sort, relation, mode)| (Waiter { pid, behind, sort }, relation, mode)).collect())
}

/// Whether a session waits.
///
/// # Errors
/// The database cannot be asked.
pub async fn waits(connection: &mut PgConnection, pid: i32) -> Result<bool, sqlx::Error> {
    Ok(waiters(connection).await?.iter().any(|waiter| waiter.pid == pid))
}

/// The text that asks for whom a session waits, for a lock or for a snapshot, a row for each.
pub fn blockers_of(pid: i32) -> String {
    format!(
        "SELECT pg_catalog.unnest(pg_catalog.pg_blocking_pids({pid}) || pg_catalog.pg_safe_snapshot_blocking_pids({pid}))"
    )
}
