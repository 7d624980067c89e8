//! What the catalog says of a schema, and of what a migration has left behind in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use drift_engine::postgres::classify;
use drift_engine::session::{DbError, Kind};
use sqlx::PgConnection;

use crate::rehearse::catalog::{Left, Schema};

/// The tables of migration tools, which are no part of the schema.
const TOOLS: &str = "('_sqlx_migrations', 'flyway_schema_history', 'schema_migrations', '__diesel_schema_migrations')";
/// Reads the schema of the connection's database.
///
/// # Errors
/// The database cannot be asked.
pub async fn read(connection: &mut PgConnection) -> Result<Schema, DbError> {
    let ours = "n.nspname NOT IN ('pg_catalog', 'information_schema', 'driftlock_rehearsal') AND n.nspname NOT LIKE 'pg\\_toast%' \
                AND n.nspname NOT LIKE 'pg\\_temp%'";
    let table = format!("{ours} AND c.relname NOT IN {TOOLS}");
    let query = format!(
        "SELECT format('schema %I', n.nspname) FROM pg_namespace n WHERE {ours} \
         UNION ALL SELECT format('relation %s (%s)', c.oid::regclass, c.relkind) FROM pg_class c \
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'm', 'v', 'S', 'f') AND {table} \
         UNION ALL SELECT format('column %s.%I %s%s%s%s%s', c.oid::regclass, a.attname, \
                 format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN ' not null' END, \
                 ' default ' || pg_get_expr(d.adbin, d.adrelid), ' identity ' || nullif(a.attidentity::text, ''), \
                 ' generated ' || nullif(a.attgenerated::text, '')) \
             FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
             WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'm', 'v', 'f') AND {table} \
         UNION ALL SELECT format('constraint %I on %s %s%s', k.conname, k.conrelid::regclass, \
                 pg_get_constraintdef(k.oid), CASE WHEN NOT k.convalidated THEN ' (not validated)' END) \
             FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE {table} \
         UNION ALL SELECT format('index %s%s%s', pg_get_indexdef(i.indexrelid), \
                 CASE WHEN NOT i.indisvalid THEN ' (invalid)' END, CASE WHEN NOT i.indisready THEN ' (not ready)' END) \
             FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE {table} \
         UNION ALL SELECT format('view %s %s', c.oid::regclass, pg_get_viewdef(c.oid)) FROM pg_class c \
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm') AND {table} \
         UNION ALL SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid \
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal AND {table} \
         UNION ALL SELECT pg_get_functiondef(p.oid) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
             WHERE p.prokind IN ('f', 'p') AND {ours} \
             AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e') \
         UNION ALL SELECT format('type %s %s', t.oid::regtype, \
                 (SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid)) \
             FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typtype IN ('e', 'd') AND {ours} \
         UNION ALL SELECT format('extension %I', e.extname) FROM pg_extension e \
         UNION ALL SELECT format('policy %I on %s %s', o.polname, o.polrelid::regclass, \
                 pg_get_expr(o.polqual, o.polrelid)) FROM pg_policy o"
    );
    let asked = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(query)).fetch_all(&mut *connection);
    let lines = asked.await.map_err(|error| classify(error, Kind::Read))?;
    let query = format!(
        "SELECT c.oid::regclass::text, array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a \
             JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND {table} GROUP BY c.oid"
    );
    let asked = sqlx::query_as::<_, (String, Vec<String>)>(sqlx::AssertSqlSafe(query)).fetch_all(connection);
    let columns = asked.await.map_err(|error| classify(error, Kind::Read))?.into_iter().collect();
    Ok(Schema::new(lines, columns))
}

/// The bytes of each table and index.
///
/// # Errors
/// The database cannot be asked.
pub async fn sizes(connection: &mut PgConnection) -> Result<Vec<(String, i64)>, DbError> {
    let asked = sqlx::query_as(
        "SELECT c.oid::regclass::text, pg_relation_size(c.oid) FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'm', 'i') \
             AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'driftlock_rehearsal') \
             AND n.nspname NOT LIKE 'pg\\_toast%'",
    );
    asked.fetch_all(connection).await.map_err(|error| classify(error, Kind::Read))
}

/// About how many rows each table has, as ANALYZE has counted them; a partitioned one has those of its partitions.
///
/// # Errors
/// The database cannot be asked.
pub async fn rows(connection: &mut PgConnection) -> Result<BTreeMap<String, i64>, DbError> {
    let asked: Result<Vec<(String, i64)>, sqlx::Error> = sqlx::query_as(
        "SELECT c.oid::regclass::text, CASE c.relkind WHEN 'p' THEN \
                 (SELECT coalesce(sum(l.reltuples), 0)::int8 FROM pg_partition_tree(c.oid) p \
                     JOIN pg_class l ON l.oid = p.relid WHERE p.isleaf AND l.reltuples > 0) \
                 ELSE c.reltuples::int8 END \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE (c.relkind = 'p' OR c.relkind IN ('r', 'm') AND c.reltuples >= 0) \
             AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_toast%'",
    )
    .fetch_all(connection)
    .await;
    Ok(asked.map_err(|error| classify(error, Kind::Read))?.into_iter().collect())
}

/// The partitions, each with the table that is partitioned, the topmost one.
///
/// # Errors
/// The database cannot be asked.
pub async fn partitions(connection: &mut PgConnection) -> Result<BTreeMap<String, String>, DbError> {
    let asked: Result<Vec<(String, String)>, sqlx::Error> = sqlx::query_as(
        "SELECT oid::regclass::text, pg_partition_root(oid)::regclass::text FROM pg_class \
         WHERE relispartition AND relkind IN ('r', 'p')",
    )
    .fetch_all(connection)
    .await;
    Ok(asked.map_err(|error| classify(error, Kind::Read))?.into_iter().collect())
}
/// How long a session that is about to end may take to be gone.
const GOING_MAX: Duration = Duration::from_millis(300);

/// Looks for what was left; `migrator` is the migrating session.
///
/// # Errors
/// The database cannot be asked.
pub async fn left(connection: &mut PgConnection, migrator: i64) -> Result<BTreeSet<Left>, DbError> {
    let failed = |error| classify(error, Kind::Read);
    let mut found = BTreeSet::new();
    let indexes: Vec<(String, String, bool)> = sqlx::query_as(
        "SELECT indexrelid::regclass::text, indrelid::regclass::text, indisready FROM pg_index \
         WHERE NOT (indisvalid AND indisready)",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    found.extend(indexes.into_iter().map(|(index, table, ready)| Left::InvalidIndex { index, table, ready }));
    let constraints: Vec<(String, String)> = sqlx::query_as(
        "SELECT conname::text, conrelid::regclass::text FROM pg_constraint WHERE NOT convalidated AND conrelid <> 0",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    found.extend(constraints.into_iter().map(|(constraint, table)| Left::UnvalidatedConstraint { constraint, table }));
    let locks: Vec<String> = sqlx::query_scalar(
        "SELECT format('%s/%s/%s', classid, objid, objsubid) FROM pg_locks \
         WHERE locktype = 'advisory' AND granted AND pid = $1 \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .bind(i32::try_from(migrator).unwrap_or_default())
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    found.extend(locks.into_iter().map(|key| Left::AdvisoryLock { key }));
    let prepared: Vec<String> =
        sqlx::query_scalar("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
            .fetch_all(&mut *connection)
            .await
            .map_err(failed)?;
    found.extend(prepared.into_iter().map(|name| Left::PreparedTransaction { name }));
    let mut idle = idle_transactions(connection).await?;
    if !idle.is_empty() {
        // The process may be gone already, and the server not have noticed.
        tokio::time::sleep(GOING_MAX).await;
        let still = idle_transactions(connection).await?;
        idle.retain(|session| still.contains(session));
    }
    found.extend(idle);
    Ok(found)
}

/// The sessions that are idle in a transaction, and not ours.
async fn idle_transactions(connection: &mut PgConnection) -> Result<Vec<Left>, DbError> {
    let rows: Vec<(i32, String)> = sqlx::query_as(
        "SELECT pid, application_name FROM pg_stat_activity WHERE datname = current_database() \
             AND backend_type = 'client backend' AND state LIKE 'idle in transaction%' AND application_name <> 'driftlock'",
    )
    .fetch_all(connection)
    .await
    .map_err(|error| classify(error, Kind::Read))?;
    Ok(rows.into_iter().map(|(pid, application)| Left::IdleTransaction { pid, application }).collect())
}
