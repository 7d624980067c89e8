//! The rows that executions begin with: kept once, and put back before each.

use tokio_postgres::Client;
use tokio_postgres::error::{DbError, ErrorPosition, SqlState};

use super::said;
use crate::explore::world::Lost;
use crate::scenario::script::{NamedQuery, Script};

/// Runs the script's set-up: as one message, for it may be one transaction by that. Where something in it cannot be done
/// in a transaction, as CREATE INDEX CONCURRENTLY, its statements are sent one by one.
pub(super) async fn set_up(control: &Client, script: &Script) -> Result<(), Lost> {
    let error = match send(control, &script.setup, script).await? {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    // What is wrong with the text itself is the server's to say.
    let statements = crate::sql::split(&script.setup).unwrap_or_default();
    let cannot = error.code() == Some(&SqlState::ACTIVE_SQL_TRANSACTION);
    // The message has left nothing behind, but for what it has committed itself.
    if !cannot {
        send(control, "BEGIN", script).await?.map_err(|error| said("set up", &error))?;
    }
    for statement in &statements {
        if let Err(error) = send(control, &statement.text, script).await? {
            let within = match error.as_db_error().and_then(DbError::position) {
                Some(ErrorPosition::Original(at)) => at.saturating_sub(1) as usize,
                _ => 0,
            };
            let before: String = statement.text.chars().take(within).collect();
            let (line, column) = crate::sql::place(&before, before.len());
            let column = if line == 1 { statement.column + column - 1 } else { column };
            let at = script.in_set_up(statement.line + line - 1, column);
            return Err(Lost { at, ..said("set up", &error).of_script() });
        }
    }
    match cannot {
        true => Ok(()),
        false => Err(said("set up", &error).of_script()),
    }
}

async fn send(control: &Client, sql: &str, script: &Script) -> Result<Result<(), tokio_postgres::Error>, Lost> {
    let sent = tokio::time::timeout(script.step_max(), control.batch_execute(sql)).await;
    sent.map_err(|_| Lost::by_script(format!("failed to set up: no answer within {} s", script.step_max().as_secs())))
}

/// The tables and materialized views of the script, the oldest first, with the columns that can be filled.
const TABLES: &str = "\
    SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), c.relkind = 'm', \
           (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum) \
            FROM pg_catalog.pg_attribute a \
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''), \
           (SELECT pg_catalog.string_agg(pg_catalog.format('%I::pg_catalog.text', a.attname), ', ' ORDER BY a.attnum) \
            FROM pg_catalog.pg_attribute a \
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' \
      AND n.nspname NOT IN ('information_schema', 'driftlock_start') ORDER BY c.oid";

const SEQUENCES: &str =
    "SELECT pg_catalog.format('%I.%I', schemaname, sequencename) FROM pg_catalog.pg_sequences ORDER BY 1";

/// What puts the rows of the beginning back.
///
/// It deletes from every table, the youngest first, and fills them, the oldest first. The role does without
/// triggers and foreign keys if it may; whether all came back is for [`super::digest`] to say.
///
/// # Errors
/// The rows cannot be copied.
pub(in crate::explore) async fn keep_rows(control: &Client) -> Result<String, Lost> {
    let keeping = |error| said("copy the rows of the set-up", &error);
    let tables = control.query(TABLES, &[]).await.map_err(keeping)?;
    let sequences = control.query(SEQUENCES, &[]).await.map_err(keeping)?;
    control.batch_execute("CREATE SCHEMA driftlock_start").await.map_err(keeping)?;
    let (mut deletes, mut fills) = (Vec::new(), String::new());
    for (number, table) in tables.iter().enumerate() {
        let (name, is_view, columns): (&str, bool, Option<&str>) = (table.get(0), table.get(1), table.get(2));
        let Some(columns) = columns.filter(|_| !is_view) else { continue };
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
    without_triggers(control).await;
    deletes.reverse();
    Ok(deletes.concat() + &fills)
}

/// Has a session do without triggers and foreign keys. Not every role may, and then they fire.
pub(super) async fn without_triggers(control: &Client) {
    let _ = control.batch_execute("SET session_replication_role = replica").await;
}

/// What each table holds beyond the rows that were kept, and lacks of them: a query each. It is asked after
/// [`keep_rows`], and before a table is made or dropped.
///
/// # Errors
/// The server does not say.
pub(in crate::explore) async fn differences(control: &Client) -> Result<Vec<NamedQuery>, Lost> {
    let asking = |error| said("ask which tables there are", &error);
    let mut queries = Vec::new();
    for (number, table) in control.query(TABLES, &[]).await.map_err(asking)?.iter().enumerate() {
        let (name, is_view, columns): (&str, bool, Option<&str>) = (table.get(0), table.get(1), table.get(3));
        let Some(columns) = columns.filter(|_| !is_view) else { continue };
        let (now, then) =
            (format!("SELECT {columns} FROM ONLY {name}"), format!("SELECT {columns} FROM driftlock_start.t{number}"));
        let sql = format!(
            "SELECT '+', * FROM ({now} EXCEPT ALL {then}) AS added \
             UNION ALL SELECT '-', * FROM ({then} EXCEPT ALL {now}) AS removed"
        );
        queries.push(NamedQuery { name: name.to_owned(), sql });
    }
    Ok(queries)
}

/// Has the sequences go on elsewhere, so that what is generated from them differs from what was generated before.
///
/// # Errors
/// A sequence cannot be set.
pub(in crate::explore) async fn shift_sequences(control: &Client) -> Result<(), Lost> {
    let shift = "SELECT pg_catalog.setval(pg_catalog.format('%I.%I', schemaname, sequencename)::pg_catalog.regclass, \
                 LEAST(COALESCE(last_value, start_value) + 1000, max_value)) FROM pg_catalog.pg_sequences";
    control.batch_execute(shift).await.map_err(|error| said("shift the sequences", &error))
}

/// These texts, one after the other, as an expression: a function takes at most a hundred arguments.
pub(super) fn all_of(parts: &[String]) -> String {
    const MOST: usize = 50;
    match parts.len() {
        0 => "''".to_owned(),
        1..=MOST => format!("pg_catalog.concat_ws(' ', {})", parts.join(", ")),
        _ => all_of(&parts.chunks(MOST).map(all_of).collect::<Vec<_>>()),
    }
}

/// What the tables, materialized views and sequences hold, as an expression.
pub(super) async fn contents(control: &Client) -> Result<String, Lost> {
    let asking = |error| said("ask what the set-up has made", &error);
    let mut parts = vec!["''".to_owned()];
    for table in control.query(TABLES, &[]).await.map_err(asking)? {
        parts.push(super::digest::rows_of(&format!("ONLY {}", table.get::<_, &str>(0)), "true"));
    }
    for sequence in control.query(SEQUENCES, &[]).await.map_err(asking)? {
        parts.push(format!("(SELECT pg_catalog.concat(last_value, is_called) FROM {})", sequence.get::<_, &str>(0)));
    }
    Ok(all_of(&parts))
}
