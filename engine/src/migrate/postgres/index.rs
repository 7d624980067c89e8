//! Indexes that are built concurrently, and what is left of them when that is cut short.

use std::time::Duration;

use sqlx::PgConnection;

use super::super::{Index, Limits, MigrateError, Repair, Report};
use super::{BACKEND, execute};

/// What the catalog says of an index.
struct Found {
    oid: i64,
    valid: bool,
    /// Whether it is what the files build.
    expected: bool,
}

/// Answers whether the index is there, valid and as expected; if not, it is gone afterwards.
///
/// A build by another backend is waited for, within the limits. An INVALID index is dropped only when it was
/// there, then nobody was building on the table, and then the very same index was still INVALID: nobody can
/// have been building that one.
pub(super) async fn settle(
    conn: &mut PgConnection,
    index: &Index,
    limits: &Limits,
    report: &mut Report,
) -> Result<bool, MigrateError> {
    let polls = limits.polls_max(Duration::ZERO);
    let mut last_pid = None;
    for poll in 1..=polls {
        let before = find(conn, index).await?;
        if let Some(found) = before.as_ref().filter(|found| found.valid) {
            let not_ours = MigrateError::NotOurs { index: index.name, columns: index.columns };
            return if found.expected { Ok(true) } else { Err(not_ours) };
        }
        if let Some(pid) = builder(conn, index, before.as_ref()).await? {
            last_pid = Some(pid);
            if poll < polls {
                tokio::time::sleep(limits.poll_every).await;
            }
            continue;
        }
        match (before, find(conn, index).await?) {
            (None, None) => return Ok(false),
            (Some(before), Some(after)) if before.oid == after.oid && !after.valid => {
                drop_concurrently(conn, index, limits).await?;
                report.repairs.push(Repair::DroppedInvalid { index: index.name });
                return Ok(false);
            }
            // It changed between the two looks: look again.
            _ => {}
        }
    }
    Err(MigrateError::BeingBuilt {
        index: index.name,
        table: index.table,
        pid: last_pid,
        polls,
        poll_every: limits.poll_every,
    })
}

async fn find(conn: &mut PgConnection, index: &Index) -> Result<Option<Found>, MigrateError> {
    let row: Option<(i64, bool, bool)> = sqlx::query_as(
        "SELECT i.indexrelid::int8, i.indisvalid,
             i.indisunique AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
                 AND ARRAY(
                     SELECT a.attname::text
                     FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
                     JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                     ORDER BY k.place
                 ) = $3::text[]
         FROM pg_index i
         JOIN pg_class c ON c.oid = i.indexrelid
         WHERE i.indrelid = to_regclass($1) AND c.relname = $2",
    )
    .bind(index.table)
    .bind(index.name)
    .bind(index.columns)
    .fetch_optional(conn)
    .await
    .map_err(MigrateError::database(BACKEND, "look for an index"))?;
    Ok(row.map(|(oid, valid, expected)| Found { oid, valid, expected }))
}

/// Another backend that may be building an index: on the table, when there is none under our name yet; the
/// one that was found INVALID, otherwise.
async fn builder(conn: &mut PgConnection, index: &Index, found: Option<&Found>) -> Result<Option<i32>, MigrateError> {
    let failed = |error| MigrateError::database(BACKEND, "look for index builds")(error);
    // The table of another role's build is hidden from an ordinary role; it may be this one.
    let announced = sqlx::query_scalar(
        "SELECT pid FROM pg_stat_progress_create_index
         WHERE datname = current_database() AND pid <> pg_backend_pid()
             AND (relid = to_regclass($1) OR ($2 AND relid IS NULL))
         LIMIT 1",
    );
    let announced: Option<i32> =
        announced.bind(index.table).bind(found.is_some()).fetch_optional(&mut *conn).await.map_err(failed)?;
    let (None, Some(found)) = (announced, found) else {
        return Ok(announced);
    };
    // A build is announced from before its index can be seen, but no longer while it commits that the index
    // is valid. Then its transaction has replaced the catalog's row, so that has to be looked at second.
    sqlx::query_scalar(
        "SELECT l.pid FROM pg_index i
         JOIN pg_locks l ON l.locktype = 'transactionid' AND l.transactionid = i.xmax AND l.granted
         WHERE i.indexrelid::int8 = $1 AND l.pid <> pg_backend_pid()",
    )
    .bind(found.oid)
    .fetch_optional(conn)
    .await
    .map_err(failed)
}

pub(super) async fn create_concurrently(
    conn: &mut PgConnection,
    index: &Index,
    limits: &Limits,
) -> Result<(), MigrateError> {
    let Index { name, table, columns } = index;
    let sql = format!("CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} ({})", columns.join(", "));
    patiently(conn, sql, "build the spare index", limits).await
}

pub(super) async fn drop_concurrently(
    conn: &mut PgConnection,
    index: &Index,
    limits: &Limits,
) -> Result<(), MigrateError> {
    let sql = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", index.name);
    patiently(conn, sql, "drop an index that an interrupted migration left", limits).await
}

async fn patiently(
    conn: &mut PgConnection,
    sql: String,
    doing: &'static str,
    limits: &Limits,
) -> Result<(), MigrateError> {
    let bound = bound_waits(conn, limits).await?;
    let result = execute(conn, sql, doing).await;
    unbound_waits(conn, bound).await;
    result
}

/// Gives the session a `lock_timeout` if it has none, and answers whether it did.
///
/// It cannot stand in the file: SET and CREATE INDEX CONCURRENTLY in one message are one transaction (25001).
pub(super) async fn bound_waits(conn: &mut PgConnection, limits: &Limits) -> Result<bool, MigrateError> {
    let wait_ms = limits.build_wait_max.as_millis().clamp(1, i32::MAX as u128);
    sqlx::query("SELECT set_config('lock_timeout', $1, false) WHERE current_setting('lock_timeout') = '0'")
        .bind(wait_ms.to_string())
        .fetch_optional(conn)
        .await
        .map(|row| row.is_some())
        .map_err(MigrateError::database(BACKEND, "bound the wait of a concurrent build"))
}

/// Takes back what [`bound_waits`] did. If that fails the connection is lost, and its settings with it.
pub(super) async fn unbound_waits(conn: &mut PgConnection, bound: bool) {
    if bound {
        let _ = execute(conn, "SET lock_timeout = 0".to_owned(), "unbound the waits").await;
    }
}
