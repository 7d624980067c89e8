//! The state that executions begin with: made once, and put back before each.

use tokio_postgres::Client;

use super::{STEP_MAX, said};
use crate::explore::world::Lost;
use crate::scenario::script::Script;

/// Runs the script's set-up.
pub(super) async fn set_up(control: &Client, script: &Script) -> Result<(), Lost> {
    let set_up = tokio::time::timeout(STEP_MAX, control.batch_execute(&script.setup)).await;
    let set_up = set_up.map_err(|_| Lost::during("set up", "no answer"))?;
    set_up.map_err(|error| Lost::by_script(said("set up", &error).why))
}

/// What puts the rows of the beginning back.
pub(in crate::explore) struct Kept {
    /// Deletes from every table, the youngest first, and fills them, the oldest first.
    pub sql: String,
    /// Whether no trigger and no foreign key is in its way, for the role may do without them.
    pub unchecked: bool,
}

/// Copies every table's rows.
pub(in crate::explore) async fn keep_rows(control: &Client) -> Result<Kept, Lost> {
    let keeping = |error| said("copy the rows of the set-up", &error);
    let tables = control
        .query(
            "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), \
                    (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum) \
                     FROM pg_catalog.pg_attribute a \
                     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' \
               AND n.nspname NOT IN ('information_schema', 'driftlock_start') ORDER BY c.oid",
            &[],
        )
        .await
        .map_err(keeping)?;
    let sequences = control
        .query("SELECT pg_catalog.format('%I.%I', schemaname, sequencename) FROM pg_catalog.pg_sequences", &[])
        .await
        .map_err(keeping)?;
    control.batch_execute("CREATE SCHEMA driftlock_start").await.map_err(keeping)?;
    let (mut deletes, mut fills) = (Vec::new(), String::new());
    for (number, table) in tables.iter().enumerate() {
        let (name, columns): (&str, Option<&str>) = (table.get(0), table.get(1));
        let Some(columns) = columns else { continue };
        let copy = format!("CREATE TABLE driftlock_start.t{number} AS SELECT {columns} FROM ONLY {name}");
        control.batch_execute(&copy).await.map_err(keeping)?;
        deletes.push(format!("DELETE FROM ONLY {name}; "));
        fills.push_str(&format!(
            "INSERT INTO {name} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM driftlock_start.t{number}; "
        ));
    }
    for sequence in &sequences {
        let name: &str = sequence.get(0);
        let row =
            control.query_one(&format!("SELECT last_value, is_called FROM {name}"), &[]).await.map_err(keeping)?;
        let (value, called): (i64, bool) = (row.get(0), row.get(1));
        fills.push_str(&format!("SELECT pg_catalog.setval('{}', {value}, {called}); ", name.replace('\'', "''")));
    }
    let allowed = control.batch_execute("SET session_replication_role = replica").await;
    deletes.reverse();
    Ok(Kept { sql: deletes.concat() + &fills, unchecked: allowed.is_ok() })
}
