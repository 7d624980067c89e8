//! What `sqlite_schema` says of a schema, as lines that can be compared.
//!
//! The text of a CREATE is not compared as it was typed: a table that was built anew and renamed, the usual way to
//! change one on SQLite, is the same table.

use std::collections::{BTreeMap, BTreeSet};

use drift_engine::session::{DbError, Kind};
use drift_engine::sqlite::classify;
use sqlx::SqliteConnection;

use crate::rehearse::catalog::{Left, Schema};

/// The tables of migration tools, and SQLite's own, which are no part of the schema.
const OTHERS: &str = "(s.name LIKE 'sqlite\\_%' ESCAPE '\\' OR s.tbl_name IN \
                      ('_sqlx_migrations', 'flyway_schema_history', 'schema_migrations', '__diesel_schema_migrations'))";

/// Reads the schema of the connection's file.
///
/// # Errors
/// The file cannot be read.
pub async fn read(connection: &mut SqliteConnection) -> Result<Schema, DbError> {
    let tables = format!("sqlite_schema AS s WHERE s.type = 'table' AND NOT {OTHERS}");
    let query = format!(
        "SELECT 'table ' || s.name || iif(l.strict, ' strict', '') || iif(l.wr, ' without rowid', '') || \
                 iif(s.sql LIKE '%AUTOINCREMENT%', ' autoincrement', '') \
             FROM sqlite_schema AS s JOIN pragma_table_list(s.name) AS l ON l.schema = 'main' \
             WHERE s.type = 'table' AND NOT {OTHERS} \
         UNION ALL SELECT 'column ' || s.name || '.' || c.name || ' ' || c.type || iif(c.\"notnull\", ' not null', '') || \
                 coalesce(' default ' || c.dflt_value, '') || iif(c.pk, ' primary key ' || c.pk, '') || \
                 iif(c.hidden, ' hidden ' || c.hidden, '') \
             FROM sqlite_schema AS s JOIN pragma_table_xinfo(s.name) AS c WHERE s.type = 'table' AND NOT {OTHERS} \
         UNION ALL SELECT 'foreign key of ' || s.name || ' (' || group_concat(f.\"from\", ', ') || ') to ' || f.\"table\" || \
                 coalesce(' (' || group_concat(f.\"to\", ', ') || ')', '') || ' on update ' || f.on_update || \
                 ' on delete ' || f.on_delete \
             FROM sqlite_schema AS s JOIN pragma_foreign_key_list(s.name) AS f \
             WHERE s.type = 'table' AND NOT {OTHERS} GROUP BY s.name, f.id \
         UNION ALL SELECT 'unique of ' || s.name || ' (' || (SELECT group_concat(name, ', ') FROM pragma_index_info(i.name)) || ')' \
             FROM sqlite_schema AS s JOIN pragma_index_list(s.name) AS i \
             WHERE s.type = 'table' AND i.origin = 'u' AND NOT {OTHERS}"
    );
    let failed = |error| classify(error, Kind::Read);
    let mut lines: Vec<String> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_all(&mut *connection).await.map_err(failed)?;
    let others = format!(
        "SELECT s.type || ' ' || s.name || ' on ' || s.tbl_name, s.sql FROM sqlite_schema AS s \
         WHERE s.type <> 'table' AND s.sql IS NOT NULL AND NOT {OTHERS}"
    );
    let others: Vec<(String, String)> =
        sqlx::query_as(sqlx::AssertSqlSafe(others)).fetch_all(&mut *connection).await.map_err(failed)?;
    lines.extend(others.iter().map(|(name, sql)| format!("{name}: {}", plain(sql))));
    let texts: Vec<(String, String)> =
        sqlx::query_as(sqlx::AssertSqlSafe(format!("SELECT s.name, s.sql FROM {tables}")))
            .fetch_all(&mut *connection)
            .await
            .map_err(failed)?;
    for (table, sql) in &texts {
        lines.extend(checks(&plain(sql)).into_iter().map(|check| format!("check of {table}: {check}")));
    }
    let order = format!(
        "SELECT s.name, c.name FROM sqlite_schema AS s JOIN pragma_table_xinfo(s.name) AS c \
         WHERE s.type = 'table' AND NOT {OTHERS} ORDER BY s.name, c.cid"
    );
    let order: Vec<(String, String)> =
        sqlx::query_as(sqlx::AssertSqlSafe(order)).fetch_all(connection).await.map_err(failed)?;
    let mut columns: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (table, column) in order {
        columns.entry(table).or_default().push(column);
    }
    Ok(Schema::new(lines, columns))
}

/// A definition without comments, without quotes around names, and with its blanks at their fewest.
fn plain(sql: &str) -> String {
    let mut text = String::new();
    let (mut characters, mut quoted, mut blank) = (sql.chars().peekable(), false, false);
    while let Some(c) = characters.next() {
        if quoted {
            quoted = c != '\'';
            text.push(c);
            continue;
        }
        match c {
            '-' if characters.peek() == Some(&'-') => {
                let _ = characters.by_ref().find(|c| *c == '\n');
                blank = true;
            }
            '"' | '`' | '[' | ']' => {}
            c if c.is_whitespace() => blank = true,
            c => {
                let is_tight = matches!(c, '(' | ')' | ',') || text.is_empty() || text.ends_with('(');
                text.extend((std::mem::take(&mut blank) && !is_tight).then_some(' '));
                quoted = c == '\'';
                text.push(c);
            }
        }
    }
    text
}

/// The CHECK constraints in a table's definition, each with its parentheses.
fn checks(definition: &str) -> Vec<String> {
    let upper = definition.to_ascii_uppercase();
    let mut found = Vec::new();
    for (at, _) in upper.match_indices("CHECK(") {
        let mut depth = 0;
        let end = definition[at..].find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            c == ')' && depth == 0
        });
        found.extend(end.map(|end| definition[at..=at + end].to_owned()));
    }
    found
}

/// Rows that refer to what is not there: SQLite does not look while foreign keys are off.
///
/// # Errors
/// The file cannot be read.
pub async fn dangling(connection: &mut SqliteConnection) -> Result<BTreeSet<Left>, DbError> {
    let asked = sqlx::query_as("SELECT \"table\", parent, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2");
    let found: Vec<(String, String, i64)> =
        asked.fetch_all(connection).await.map_err(|error| classify(error, Kind::Read))?;
    Ok(found.into_iter().map(|(table, parent, rows)| Left::Dangling { table, parent, rows }).collect())
}

/// The bytes of each table and index.
///
/// # Errors
/// The file cannot be read.
pub async fn sizes(connection: &mut SqliteConnection) -> Result<Vec<(String, i64)>, DbError> {
    let asked = sqlx::query_as("SELECT name, sum(pgsize) FROM dbstat WHERE name <> 'sqlite_schema' GROUP BY name");
    asked.fetch_all(connection).await.map_err(|error| classify(error, Kind::Read))
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{AssertSqlSafe, ConnectOptions};

    use super::*;

    async fn schema(sql: &str) -> Schema {
        let mut connection = SqliteConnectOptions::new().in_memory(true).connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        read(&mut connection).await.unwrap()
    }

    #[tokio::test]
    async fn a_table_that_was_built_anew_is_the_same_and_every_other_difference_is_seen() {
        let base = "CREATE TABLE p (id INTEGER PRIMARY KEY);
            CREATE TABLE t (a INTEGER NOT NULL REFERENCES p, b TEXT DEFAULT 'x' CHECK (b <> 'a  b'), UNIQUE (a, b)) STRICT;
            CREATE INDEX by_b ON t (b) WHERE b > 'c';
            CREATE TRIGGER tr AFTER INSERT ON t BEGIN DELETE FROM p; END;";
        let then = schema(base).await;
        let anew = base
            .replace("TABLE t (", "TABLE \"new\" ( -- anew\n ")
            .replace("CREATE INDEX", "ALTER TABLE new RENAME TO t;CREATE INDEX");
        assert_eq!(then.difference(&schema(&anew).await), Vec::<String>::new());
        for (old, new, said) in [
            ("INTEGER NOT NULL", "INTEGER", "column t.a"),
            (" REFERENCES p", "", "foreign key of t"),
            ("DEFAULT 'x'", "DEFAULT 'y'", "column t.b"),
            ("'a  b'", "'a b'", "check of t"),
            (", UNIQUE (a, b)", "", "unique of t (a, b)"),
            (" STRICT", "", "table t"),
            ("'c'", "'d'", "index by_b"),
            ("DELETE FROM p;", "DELETE FROM t;", "trigger tr"),
            ("id INTEGER PRIMARY KEY", "id INTEGER", "column p.id"),
        ] {
            assert!(base.contains(old), "{old}");
            let difference = then.difference(&schema(&base.replace(old, new)).await);
            assert!(difference.iter().any(|line| line.contains(said)), "{old}: {difference:?}");
        }
    }

    #[tokio::test]
    async fn the_bytes_of_a_table_are_known() {
        let mut connection = SqliteConnectOptions::new().in_memory(true).connect().await.unwrap();
        sqlx::raw_sql("CREATE TABLE t (a); CREATE INDEX i ON t (a)").execute(&mut connection).await.unwrap();
        let sizes = sizes(&mut connection).await.unwrap();
        assert_eq!(sizes, [("i".to_owned(), 4096), ("t".to_owned(), 4096)]);
    }
}
