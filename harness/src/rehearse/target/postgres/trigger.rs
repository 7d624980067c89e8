//! An event trigger notes, at the end of every command that changes the schema, the locks that its session has: so that
//! one that a tool holds for an instant is not missed. What is rolled back is not noted.

use drift_engine::postgres::classify;
use drift_engine::session::{DbError, Kind};
use sqlx::PgConnection;

use crate::rehearse::modes::Mode;

/// Makes the event trigger.
///
/// # Errors
/// The role may not.
pub async fn watch(connection: &mut PgConnection) -> Result<(), DbError> {
    let statements = "CREATE SCHEMA driftlock_rehearsal; \
        CREATE UNLOGGED TABLE driftlock_rehearsal.seen (relation bigint NOT NULL, mode text NOT NULL); \
        GRANT USAGE ON SCHEMA driftlock_rehearsal TO PUBLIC; GRANT INSERT ON driftlock_rehearsal.seen TO PUBLIC; \
        CREATE FUNCTION driftlock_rehearsal.look() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN \
            INSERT INTO driftlock_rehearsal.seen SELECT relation, mode FROM pg_catalog.pg_locks \
            WHERE pid = pg_catalog.pg_backend_pid() AND granted AND locktype = 'relation'; \
        END $$; \
        CREATE EVENT TRIGGER driftlock_rehearsal ON ddl_command_end EXECUTE FUNCTION driftlock_rehearsal.look();";
    sqlx::raw_sql(statements).execute(connection).await.map_err(|error| classify(error, Kind::Write)).map(drop)
}

/// Takes what the event trigger has noted since the last time.
///
/// # Errors
/// The database cannot be asked.
pub async fn noted(connection: &mut PgConnection) -> Result<Vec<(i64, Mode)>, DbError> {
    let rows: Vec<(i64, String)> = sqlx::query_as(
        "WITH taken AS (DELETE FROM driftlock_rehearsal.seen RETURNING relation, mode) \
         SELECT DISTINCT relation, mode FROM taken",
    )
    .fetch_all(connection)
    .await
    .map_err(|error| classify(error, Kind::Read))?;
    Ok(rows.into_iter().filter_map(|(table, mode)| Some((table, Mode::of_catalog(&mode)?))).collect())
}
