//! Fills the engine's tables in a SQLite file: the same claims and the same archive as on PostgreSQL.

use drift_engine::session::{DbError, Kind};
use drift_engine::sqlite::classify;
use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::load::LoadError;
use crate::load::sqlite::load;
use crate::rehearse::application::Application;
use crate::rehearse::fill::{ARCHIVE, DUPLICATE_EVERY, EVENTS_PER_RUN, rows};

/// Whether the engine's tables are there.
///
/// # Errors
/// The file cannot be read.
pub async fn has_tables(connection: &mut SqliteConnection) -> Result<bool, DbError> {
    let asked = sqlx::query_scalar(
        "SELECT count(*) = 4 FROM sqlite_schema WHERE type = 'table' \
             AND name IN ('customers', 'claims', 'drift_runs', 'drift_events')",
    );
    asked.fetch_one(connection).await.map_err(|error| classify(error, Kind::Read))
}

/// The newest code that fits the schema: ON CONFLICT needs a unique index on exactly these columns.
///
/// # Errors
/// The file cannot be read.
pub async fn fitting(connection: &mut SqliteConnection) -> Result<Application, DbError> {
    let unique: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM pragma_index_list('drift_events') AS i WHERE i.\"unique\" AND NOT i.partial \
             AND (SELECT group_concat(name, ',') FROM (SELECT name FROM pragma_index_info(i.name) ORDER BY name)) \
             = 'cpt_group,customer_id,drift_type,payer,run_id')",
    )
    .fetch_one(connection)
    .await
    .map_err(|error| classify(error, Kind::Read))?;
    Ok(if unique { Application::OnConflict } else { Application::Plain })
}

/// Fills the engine's tables: the claims of `seed`, and an archive of `events` events.
///
/// # Errors
/// SQLite refuses.
pub async fn fill(connection: &mut SqliteConnection, seed: u64, events: u32) -> Result<(), LoadError> {
    let mut rows = rows(seed)?;
    load(connection, &mut rows, |_| {}).await?;
    let unique: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM pragma_index_list('drift_events') WHERE \"unique\" AND origin <> 'pk')",
    )
    .fetch_one(&mut *connection)
    .await?;
    let columns = "customer_id, run_id, payer, cpt_group, drift_type, baseline_value, current_value, delta, \
                   severity, confidence, baseline_start, baseline_end, current_start, current_end";
    let series = |last: u32| {
        format!("WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {last}) ")
    };
    let archived = |which: &str| {
        format!(
            "{}INSERT INTO drift_events ({columns}) \
             SELECT {ARCHIVE}, 'archive-' || ((n - 1) / {EVENTS_PER_RUN}), 'payer-' || ((n - 1) % {EVENTS_PER_RUN}), \
                 'imaging', 'DENIAL_RATE', 0.1, 0.3, 0.2, 0.4, 1, '2025-01-01', '2025-04-01', '2025-04-01', '2025-04-15' \
             FROM series WHERE {which}; ",
            series(events)
        )
    };
    let again = if unique { String::new() } else { archived(&format!("n % {DUPLICATE_EVERY} = 0")) };
    let statements = format!(
        "BEGIN IMMEDIATE; INSERT INTO customers (id, name) VALUES ({ARCHIVE}, 'archive'); \
         {}INSERT INTO drift_runs (id, customer_id, as_of, baseline_days, current_days, min_volume, fresh, status) \
             SELECT 'archive-' || (n - 1), {ARCHIVE}, '2025-04-15', 90, 14, 30, 1, 'succeeded' FROM series; \
         {}{again}COMMIT;",
        series(events.div_ceil(EVENTS_PER_RUN)),
        archived("true")
    );
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *connection).await?;
    Ok(())
}
