//! The data in which a migration is rehearsed: claims for the traffic, and an archive of events that gives the tables
//! a size. The archive belongs to a customer of its own, which the traffic never touches.

use std::sync::Arc;

use drift_engine::claim::{Claim, CustomerId};
use drift_engine::drift::{Cell, aggregate};
use drift_engine::postgres::classify;
use drift_engine::session::{DbError, Kind};
use sqlx::{AssertSqlSafe, PgConnection};

use super::traffic::{CUSTOMERS, windows};
use crate::load::LoadError;
use crate::load::postgres::load;
use crate::load::reader::Rows;
use crate::load::row::Row;
use crate::scenario::data;

/// Whose the archive is.
pub const ARCHIVE: i64 = 1_000_001;
/// How many claims each customer has.
const CLAIMS_PER_CUSTOMER: u32 = 600;
/// How many events a run of the archive has.
pub(super) const EVENTS_PER_RUN: u32 = 100;
/// Where nothing forbids it, every so manieth event of the archive is there twice.
pub(super) const DUPLICATE_EVERY: u32 = 1_000;

pub(super) fn claims_of(seed: u64, customer: u32) -> impl Iterator<Item = Claim> + Send {
    data::claims(seed, windows(), CustomerId(i64::from(customer)), CLAIMS_PER_CUSTOMER)
}

/// The claims of each customer, counted without the database's help.
pub fn counted(seed: u64) -> Vec<(CustomerId, Vec<Cell>)> {
    let count = |customer| {
        let claims: Vec<Claim> = claims_of(seed, customer).collect();
        (CustomerId(i64::from(customer)), aggregate(&claims, &windows()))
    };
    (1..=CUSTOMERS).map(count).collect()
}

/// Whether the engine's tables are there.
///
/// # Errors
/// The database cannot be asked.
pub async fn has_tables(connection: &mut PgConnection) -> Result<bool, DbError> {
    let asked = sqlx::query_scalar(
        "SELECT count(*) = 4 FROM unnest(ARRAY['customers', 'claims', 'drift_runs', 'drift_events']) AS name \
         WHERE to_regclass(name) IS NOT NULL",
    );
    asked.fetch_one(connection).await.map_err(|error| classify(error, Kind::Read))
}

/// Fills the engine's tables: the claims of `seed`, and an archive of `events` events.
///
/// # Errors
/// The database refuses.
pub async fn fill(connection: &mut PgConnection, seed: u64, events: u32) -> Result<(), LoadError> {
    let rows = (1..=CUSTOMERS).flat_map(move |customer| {
        let name: Arc<str> = format!("customer-{customer}").into();
        claims_of(seed, customer).map(move |claim| Row { customer: name.clone(), claim })
    });
    let mut rows = Rows::made(rows).map_err(|error| LoadError::Database(sqlx::Error::Io(error)))?;
    load(connection, &mut rows, |_| {}).await?;
    let unique: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = 'drift_events'::regclass AND indisunique \
         AND NOT indisprimary)",
    )
    .fetch_one(&mut *connection)
    .await?;
    let columns = "customer_id, run_id, payer, cpt_group, drift_type, baseline_value, current_value, delta, \
                   severity, confidence, baseline_start, baseline_end, current_start, current_end";
    let archived = |which: &str| {
        format!(
            "INSERT INTO drift_events ({columns}) \
             SELECT {ARCHIVE}, 'archive-' || (n - 1) / {EVENTS_PER_RUN}, 'payer-' || (n - 1) % {EVENTS_PER_RUN}, \
                 'imaging', 'DENIAL_RATE', 0.1, 0.3, 0.2, 0.4, 1, \
                 DATE '2025-01-01', DATE '2025-04-01', DATE '2025-04-01', DATE '2025-04-15' \
             FROM generate_series(1, {events}) AS n WHERE {which}; "
        )
    };
    let again = if unique { String::new() } else { archived(&format!("n % {DUPLICATE_EVERY} = 0")) };
    let runs = events.div_ceil(EVENTS_PER_RUN);
    let statements = format!(
        "BEGIN; \
         INSERT INTO customers (id, name) VALUES ({ARCHIVE}, 'archive'); \
         INSERT INTO drift_runs (id, customer_id, as_of, baseline_days, current_days, min_volume, fresh, status) \
             SELECT 'archive-' || n, {ARCHIVE}, DATE '2025-04-15', 90, 14, 30, true, 'succeeded' \
             FROM generate_series(0, {runs} - 1) AS n; \
         {}{again}COMMIT;",
        archived("true")
    );
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *connection).await?;
    // Nobody has counted the new rows yet, nor has anybody marked them as seen by all.
    sqlx::raw_sql("VACUUM ANALYZE").execute(&mut *connection).await?;
    Ok(())
}
