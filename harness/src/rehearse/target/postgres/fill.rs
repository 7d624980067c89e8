//! Fills the engine's tables on PostgreSQL, or puts the traffic's claims beside what a dump has in them.

use drift_engine::claim::{Claim, CustomerId};
use drift_engine::drift::aggregate;
use drift_engine::postgres::classify;
use drift_engine::session::{DbError, Kind};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::load::LoadError;
use crate::load::postgres::load;
use crate::rehearse::application::Application;
use crate::rehearse::fill::{ARCHIVE, DUPLICATE_EVERY, EVENTS_PER_RUN, claims_of, rows};
use crate::rehearse::target::Counted;
use crate::rehearse::traffic::{AS_OF, CUSTOMERS, windows};

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

/// Puts the traffic's claims beside what a dump has in the engine's tables, and counts what its customers have then,
/// without the database's help. Nothing, where there are no such tables, or runs of just these tasks already.
///
/// # Errors
/// The database refuses.
pub async fn adopt(connection: &mut PgConnection, seed: u64) -> Result<Option<Counted>, LoadError> {
    let has_tables =
        has_tables(connection).await.map_err(|error| LoadError::Database(sqlx::Error::Protocol(error.to_string())))?;
    let ours = format!("BETWEEN 1 AND {CUSTOMERS}");
    let taken = format!("SELECT EXISTS (SELECT FROM drift_runs WHERE customer_id {ours} AND as_of = '{AS_OF}')");
    if !has_tables || sqlx::query_scalar::<_, bool>(AssertSqlSafe(taken)).fetch_one(&mut *connection).await? {
        return Ok(None);
    }
    let customers = format!(
        "INSERT INTO customers (id, name) SELECT n, 'driftlock traffic ' || n FROM generate_series(1, {CUSTOMERS}) AS n \
         ON CONFLICT (id) DO NOTHING"
    );
    sqlx::raw_sql(AssertSqlSafe(customers)).execute(&mut *connection).await?;
    for customer in 1..=CUSTOMERS {
        let claims: Vec<Claim> = claims_of(seed, customer).collect();
        let text = |of: fn(&Claim) -> String| -> Vec<String> { claims.iter().map(of).collect() };
        sqlx::query(
            "INSERT INTO claims (customer_id, payer, cpt_group, outcome, submitted_on, decided_on) \
             SELECT $1, payer, cpt_group, outcome, submitted_on::date, nullif(decided_on, '')::date \
             FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) \
                 AS claim (payer, cpt_group, outcome, submitted_on, decided_on)",
        )
        .bind(i64::from(customer))
        .bind(text(|claim| claim.payer.to_string()))
        .bind(text(|claim| claim.cpt_group.to_string()))
        .bind(text(|claim| claim.outcome.to_string()))
        .bind(text(|claim| claim.submitted_on.to_string()))
        .bind(text(|claim| claim.decided_on.map(|day| day.to_string()).unwrap_or_default()))
        .execute(&mut *connection)
        .await?;
    }
    sqlx::raw_sql("VACUUM ANALYZE").execute(&mut *connection).await?;
    let windows = windows();
    let mut counted = Vec::new();
    for customer in 1..=CUSTOMERS {
        let rows: Vec<(String, String, String, String, Option<String>)> = sqlx::query_as(
            // A year holds every window.
            "SELECT payer, cpt_group, outcome, submitted_on::text, decided_on::text FROM claims \
             WHERE customer_id = $1 AND submitted_on >= $2::date - 366",
        )
        .bind(i64::from(customer))
        .bind(AS_OF.to_string())
        .fetch_all(&mut *connection)
        .await?;
        let day = |text: &str| text.parse().map_err(|error: jiff::Error| sqlx::Error::Decode(error.into()));
        let mut claims = Vec::with_capacity(rows.len());
        for (payer, cpt_group, outcome, submitted_on, decided_on) in rows {
            claims.push(Claim {
                payer: payer.into(),
                cpt_group: cpt_group.into(),
                outcome: outcome.into(),
                submitted_on: day(&submitted_on)?,
                decided_on: decided_on.as_deref().map(day).transpose()?,
            });
        }
        counted.push((CustomerId(i64::from(customer)), aggregate(&claims, &windows)));
    }
    Ok(Some(counted))
}

/// Fills the engine's tables: the claims of `seed`, and an archive of `events` events.
///
/// # Errors
/// The database refuses.
pub async fn fill(connection: &mut PgConnection, seed: u64, events: u32) -> Result<(), LoadError> {
    let mut rows = rows(seed)?;
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

/// The newest code that fits the schema: ON CONFLICT needs a valid unique index on exactly these columns.
///
/// # Errors
/// The database cannot be asked.
pub async fn fitting(connection: &mut PgConnection) -> Result<Application, DbError> {
    let unique: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = 'drift_events'::regclass AND i.indisunique \
             AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND ARRAY( \
                 SELECT a.attname::text FROM unnest(i.indkey::int2[]) AS k (number) \
                 JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY a.attname::text COLLATE \"C\" \
             ) = ARRAY['cpt_group', 'customer_id', 'drift_type', 'payer', 'run_id'])",
    )
    .fetch_one(connection)
    .await
    .map_err(|error| classify(error, Kind::Read))?;
    Ok(if unique { Application::OnConflict } else { Application::Plain })
}
