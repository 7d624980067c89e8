//! The tables and columns of a schema, and a value for each.

use std::collections::BTreeMap;

use drift_engine::postgres::classify;
use drift_engine::session::{DbError, Kind};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row as _};

use super::ROWS;

/// A table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// As it is written in SQL.
    pub(super) name: String,
    /// Without schema and quotes, in lower case.
    pub(super) plain: String,
    /// The names of its indexes and of its columns' enum types, in the same way.
    pub(super) also: Vec<String>,
    /// Its columns, as they stand.
    pub(super) columns: Vec<Column>,
    /// The column of its primary key, if that is one.
    pub(super) key: Option<String>,
    /// The first column of each index, each once.
    pub(super) indexed: Vec<String>,
}

/// A column that another table's refers to.
#[derive(Clone, Debug)]
pub(super) struct Refers {
    /// The other table, as it is written in SQL.
    pub(super) table: String,
    column: String,
}

/// A column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// As it is written in SQL.
    pub(super) name: String,
    kind: String,
    /// The type as it is declared.
    declared: String,
    pub(super) not_null: bool,
    /// Whether it has a default, an identity or an expression: nobody gives it a value.
    pub(super) comes_by_itself: bool,
    is_generated: bool,
    /// Whether any index has it.
    in_index: bool,
    characters: Option<i32>,
    label: Option<String>,
    pub(super) refers: Option<Refers>,
}

impl Column {
    /// Whether a value of it may be changed at will: it is in no index, and nothing else gives it one.
    pub(super) fn is_free(&self) -> bool {
        !self.is_generated && !self.in_index && self.refers.is_none()
    }

    /// A value of its type, made of a number.
    pub(super) fn value(&self, n: &str) -> Option<String> {
        if let Some(label) = &self.label {
            return Some(format!("'{}'::{}", label.replace('\'', "''"), self.declared));
        }
        Some(match self.kind.as_str() {
            "int2" => format!("({n} % 30000)::int2"),
            "int4" | "int8" | "float4" | "float8" => n.to_owned(),
            "numeric" => format!("{n} % 100"),
            "text" | "citext" => format!("'x' || {n}"),
            "varchar" | "bpchar" => format!("right('x' || {n}, {})", self.characters.unwrap_or(40).clamp(1, 40)),
            "bool" => "true".to_owned(),
            "timestamp" | "timestamptz" => "now()".to_owned(),
            "date" => "current_date".to_owned(),
            "time" | "timetz" => "localtime".to_owned(),
            "interval" => "interval '1 day'".to_owned(),
            "uuid" => "gen_random_uuid()".to_owned(),
            "json" | "jsonb" => format!("'null'::{}", self.kind),
            "bytea" => "''::bytea".to_owned(),
            "inet" | "cidr" => format!("'127.0.0.1'::{}", self.kind),
            kind if kind.starts_with('_') => format!("ARRAY[]::{}", self.declared),
            _ => return None,
        })
    }

    /// The key of a row that is there, where the column refers to another table.
    pub(super) fn reference(&self, n: &str) -> Option<String> {
        let Refers { table, column } = self.refers.as_ref()?;
        // A scalar query would be carried out once: all rows would refer to the same one.
        Some(match self.kind.as_str() {
            "int4" | "int8" => format!("1 + ({n}) % {ROWS}"),
            _ => format!("(SELECT {column} FROM {table} ORDER BY {column} LIMIT 1)"),
        })
    }
}

struct Row {
    table_name: String,
    plain: String,
    column_name: String,
    kind: String,
    declared: String,
    not_null: bool,
    has_default: bool,
    is_generated: bool,
    characters: Option<i32>,
    label: Option<String>,
    parent: Option<String>,
    parent_column: Option<String>,
    is_key: bool,
    is_indexed: bool,
    in_index: bool,
}

impl FromRow<'_, PgRow> for Row {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            table_name: row.try_get("table_name")?,
            plain: row.try_get("plain")?,
            column_name: row.try_get("column_name")?,
            kind: row.try_get("kind")?,
            declared: row.try_get("declared")?,
            not_null: row.try_get("not_null")?,
            has_default: row.try_get("has_default")?,
            is_generated: row.try_get("is_generated")?,
            characters: row.try_get("characters")?,
            label: row.try_get("label")?,
            parent: row.try_get("parent")?,
            parent_column: row.try_get("parent_column")?,
            is_key: row.try_get("is_key")?,
            is_indexed: row.try_get("is_indexed")?,
            in_index: row.try_get("in_index")?,
        })
    }
}

/// The tables of the connection's database, without those of migration tools.
pub(super) async fn tables(connection: &mut PgConnection) -> Result<Vec<Table>, DbError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT c.oid::regclass::text AS table_name, lower(c.relname::text) AS plain, quote_ident(a.attname) AS column_name, \
             t.typname::text AS kind, format_type(a.atttypid, a.atttypmod) AS declared, a.attnotnull AS not_null, \
             a.atthasdef OR a.attidentity <> '' AS has_default, \
             a.attgenerated <> '' OR a.attidentity = 'a' AS is_generated, \
             CASE WHEN a.atttypmod > 4 THEN a.atttypmod - 4 END AS characters, \
             (SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder LIMIT 1) AS label, \
             k.confrelid::regclass::text AS parent, quote_ident(p.attname) AS parent_column, \
             EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indnkeyatts = 1 \
                 AND i.indkey[0] = a.attnum) AS is_key, \
             EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid AND i.indkey[0] = a.attnum) AS is_indexed, \
             EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND a.attnum = ANY (i.indkey)) AS in_index \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid \
         JOIN pg_type t ON t.oid = a.atttypid \
         LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'f' AND k.conkey = ARRAY[a.attnum] \
         LEFT JOIN pg_attribute p ON p.attrelid = k.confrelid AND p.attnum = k.confkey[1] \
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped \
             AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%' \
         ORDER BY c.oid, a.attnum",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(|error| classify(error, Kind::Read))?;
    let also: Vec<(String, String)> = sqlx::query_as(
        "SELECT i.indrelid::regclass::text, lower(c.relname::text) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         UNION SELECT a.attrelid::regclass::text, lower(e.typname::text) FROM pg_attribute a \
             JOIN pg_type t ON t.oid = a.atttypid JOIN pg_type e ON e.oid IN (t.oid, t.typelem) \
             WHERE e.typtype = 'e' AND a.attnum > 0 AND NOT a.attisdropped",
    )
    .fetch_all(connection)
    .await
    .map_err(|error| classify(error, Kind::Read))?;
    let mut order = Vec::new();
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    for row in rows {
        let table = tables.entry(row.table_name.clone()).or_insert_with(|| {
            order.push(row.table_name.clone());
            let (columns, indexed) = (Vec::new(), Vec::new());
            let also =
                also.iter().filter(|(table, _)| *table == row.table_name).map(|(_, name)| name.clone()).collect();
            Table { name: row.table_name.clone(), plain: row.plain.clone(), also, columns, key: None, indexed }
        });
        // Of several foreign keys on one column the first is kept.
        if table.columns.iter().any(|column| column.name == row.column_name) {
            continue;
        }
        if row.is_key {
            table.key = Some(row.column_name.clone());
        }
        if row.is_indexed {
            table.indexed.push(row.column_name.clone());
        }
        let refers = row.parent.zip(row.parent_column).map(|(table, column)| Refers { table, column });
        table.columns.push(Column {
            name: row.column_name,
            kind: row.kind,
            declared: row.declared,
            not_null: row.not_null,
            comes_by_itself: row.has_default || row.is_generated,
            is_generated: row.is_generated,
            in_index: row.in_index,
            characters: row.characters,
            label: row.label,
            refers,
        });
    }
    Ok(order.iter().filter_map(|name| tables.remove(name)).collect())
}
