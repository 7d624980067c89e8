//! Captured values as literals. A value keeps the type that its column has; where it is put decides nothing.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use super::world::Progress;
use crate::scenario::script::{Script, ScriptCase};

/// The types of captured columns on PostgreSQL, by actor and step.
///
/// They are asked for once, after the set-up, by preparing each step that captures. Of a step that cannot be
/// prepared then (it reads what another step makes) nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Types(BTreeMap<(usize, usize), String>);

impl Types {
    /// Asks the server. The connection is in no transaction.
    pub async fn ask(control: &Client, script: &Script, case: &ScriptCase) -> Self {
        let mut types = BTreeMap::new();
        for (actor, of) in script.actors.iter().enumerate() {
            for (number, step) in of.steps.iter().enumerate().filter(|(_, step)| step.capture.is_some()) {
                // Whatever was captured before has no value yet.
                let sql = Progress::default().sql(case, step);
                if let Ok(prepared) = control.prepare(&sql).await
                    && let Some(column) = prepared.columns().first()
                {
                    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
                    let of = column.type_();
                    types.insert((actor, number), format!("{}.{}", quoted(of.schema()), quoted(of.name())));
                }
            }
        }
        Self(types)
    }

    /// A value that a step has captured, as a literal.
    pub fn literal(&self, actor: usize, step: usize, value: Option<&str>) -> String {
        match self.0.get(&(actor, step)) {
            Some(of) => format!("{}::{of}", value.map_or_else(|| "NULL".to_owned(), quoted)),
            None => by_looks(value),
        }
    }
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
        let types = Types([((0, 1), "\"pg_catalog\".\"int4\"".to_owned())].into());
        assert_eq!(types.literal(0, 1, Some("9")), "'9'::\"pg_catalog\".\"int4\"");
        assert_eq!(types.literal(0, 1, None), "NULL::\"pg_catalog\".\"int4\"");
        assert_eq!(types.literal(0, 0, Some("9")), "9");
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
