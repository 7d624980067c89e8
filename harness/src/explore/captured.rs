//! Captured values as literals. A value keeps the type that its column has; where it is put decides nothing.

use std::collections::BTreeMap;

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::scenario::script::{Script, ScriptCase, Value, fill};
use crate::sql::quoted_name;

/// Types that are named without their schema, by their object identifiers, which never change: see `pg_type.dat`.
const BUILTIN: [(u32, &str); 16] = [
    (16, "bool"),
    (17, "bytea"),
    (20, "int8"),
    (21, "int2"),
    (23, "int4"),
    (25, "text"),
    (114, "json"),
    (700, "float4"),
    (701, "float8"),
    (1043, "varchar"),
    (1082, "date"),
    (1114, "timestamp"),
    (1184, "timestamptz"),
    (1700, "numeric"),
    (2950, "uuid"),
    (3802, "jsonb"),
];

/// The types of captured columns on PostgreSQL, by actor and step.
///
/// They are asked for once, after the set-up, by preparing each step that captures. Of a step that cannot be
/// prepared then (it reads what another step makes) nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Types(BTreeMap<(usize, usize), Vec<String>>);

impl Types {
    /// Asks the server. The connection is in no transaction.
    pub async fn ask(control: &Client, script: &Script, case: &ScriptCase) -> Self {
        let mut types: BTreeMap<(usize, usize), Vec<String>> = BTreeMap::new();
        for (actor, of) in script.actors.iter().enumerate() {
            // Whatever was captured before has no value yet, but a type: a NULL of none would be taken for a text.
            let mut known: BTreeMap<&str, String> = BTreeMap::new();
            for (number, step) in of.steps.iter().enumerate().filter(|(_, step)| step.captured().next().is_some()) {
                let sql = fill(&step.sql, |name| match name {
                    "begin" => case.begin.clone(),
                    _ => known.get(name).cloned().unwrap_or_else(|| "NULL".to_owned()),
                });
                if let Ok(prepared) = control.prepare(&sql).await {
                    let types_of = prepared.columns().iter().map(tokio_postgres::Column::type_);
                    let types_of = types_of.map(|of| builtin(of.oid()).map_or_else(|| with_schema(of), str::to_owned));
                    let types_of: Vec<String> = types_of.collect();
                    let typed = step.capture.iter().zip(&types_of).chain(step.rows.iter().zip(&types_of));
                    known.extend(typed.map(|(name, of)| (name.as_str(), cast(None, of))));
                    types.insert((actor, number), types_of);
                }
                known.extend(step.affected.iter().map(|name| (name.as_str(), "0".to_owned())));
            }
        }
        Self(types)
    }

    /// A value of a column that a step has captured, as a literal.
    pub fn literal(&self, actor: usize, step: usize, column: usize, value: &Value) -> String {
        let text = value.text.as_deref();
        match (&value.literal, self.0.get(&(actor, step)).and_then(|columns| columns.get(column))) {
            (Some(literal), _) => literal.clone(),
            (None, Some(of)) => cast(text, of),
            (None, None) => by_looks(text),
        }
    }
}

fn builtin(oid: u32) -> Option<&'static str> {
    BUILTIN.iter().find(|(known, _)| *known == oid).map(|(_, name)| *name)
}

fn cast(text: Option<&str>, of: &str) -> String {
    format!("{}::{of}", text.map_or_else(|| "NULL".to_owned(), quoted))
}

/// A value of one of the server's own types, by its object identifier, as a literal.
pub(crate) fn of_builtin(oid: u32, text: Option<&str>) -> Option<String> {
    builtin(oid).map(|of| cast(text, of))
}

/// A value of which only the text is known: what looks like a number is one.
pub fn by_looks(value: Option<&str>) -> String {
    let is_number = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let all = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        all(whole) && all(part) && (whole == "0" || !whole.starts_with('0'))
    };
    match value {
        None => "NULL".to_owned(),
        // In parentheses, so that `- {n}` is no comment.
        Some(text) if is_number(text) && text.starts_with('-') => format!("({text})"),
        Some(text) if is_number(text) => text.to_owned(),
        Some(text) => quoted(text),
    }
}

/// A type's name, so that it is found whatever `search_path` says.
pub(super) fn with_schema(of: &Type) -> String {
    format!("{}.{}", quoted_name(of.schema()), quoted_name(of.name()))
}

/// A text as a literal, whatever `standard_conforming_strings` says.
fn quoted(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') { format!(" E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_type_where_it_is_known() {
        let types = Types([((0, 1), vec!["\"pg_catalog\".\"int4\"".to_owned()])].into());
        let value = |text: Option<&str>| Value { text: text.map(str::to_owned), literal: None };
        assert_eq!(types.literal(0, 1, 0, &value(Some("9"))), "'9'::\"pg_catalog\".\"int4\"");
        assert_eq!(types.literal(0, 1, 0, &value(None)), "NULL::\"pg_catalog\".\"int4\"");
        assert_eq!(types.literal(0, 1, 1, &value(Some("9"))), "9");
        assert_eq!(types.literal(0, 0, 0, &value(Some("9"))), "9");
        let known = Value { text: Some("9".to_owned()), literal: Some("9.0".to_owned()) };
        assert_eq!(types.literal(0, 1, 0, &known), "9.0");
    }

    #[test]
    fn what_looks_like_a_number_is_one_and_nothing_breaks_out_of_its_quotes() {
        for (value, expected) in [
            (Some("10"), "10"),
            (Some("-1.5"), "(-1.5)"),
            (Some("007"), "'007'"),
            (Some("1e5"), "'1e5'"),
            (Some("it's"), "'it''s'"),
            (Some("a\\'b"), " E'a\\\\''b'"),
            (Some(""), "''"),
            (Some("."), "'.'"),
            (None, "NULL"),
        ] {
            assert_eq!(by_looks(value), expected);
        }
    }
}
