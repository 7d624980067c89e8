//! What can be said of a unit's texts by themselves.

use driftlock_wire::Unit;

use crate::sql::{Statement, split};

/// A text with each literal and each run of hexadecimal digits that has a decimal one replaced.
pub fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\'' {
            while let Some(inside) = chars.next() {
                if inside == '\'' && chars.next_if_eq(&'\'').is_none() {
                    break;
                }
            }
            plain.push('?');
        } else if c.is_ascii_hexdigit() {
            let mut run = String::from(c);
            while let Some(more) = chars.next_if(char::is_ascii_hexdigit) {
                run.push(more);
            }
            plain.push_str(if run.contains(|c: char| c.is_ascii_digit()) { "?" } else { &run });
        } else if c.is_whitespace() {
            if !plain.ends_with(' ') {
                plain.push(' ');
            }
        } else {
            plain.push(c);
        }
    }
    plain
}

/// Whether a unit is to keep what its transaction did, and nothing in it is to take that back.
pub fn keeps(unit: &Unit) -> bool {
    let statements: Vec<_> = unit.statements().flat_map(|text| split(text).unwrap_or_default()).collect();
    let begins = |statement: &Statement, words: [&str; 2]| {
        statement.words.first().is_some_and(|word| words.contains(&word.as_str()))
    };
    statements.iter().any(|statement| begins(statement, ["COMMIT", "END"]) && !statement.has("PREPARED"))
        && !statements.iter().any(takes_back)
}

/// Whether a statement takes back all that its transaction did.
pub fn takes_back(statement: &Statement) -> bool {
    (statement.begins(&["ROLLBACK"]) || statement.begins(&["ABORT"])) && !statement.has("TO")
}

/// How many rows a command's tag tells of, where it tells of any.
pub fn rows_of_tag(tag: &str) -> Option<u64> {
    tag.rsplit(' ').next().and_then(|number| number.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_generated_makes_no_other_shape() {
        assert_eq!(plain("SAVEPOINT \"s140735_x1\""), plain("SAVEPOINT \"s99_x2\""));
        assert_eq!(plain("INSERT INTO t VALUES ('it''s', 12)"), "INSERT INTO t VALUES (?, ?)");
        assert_eq!(plain("DELETE  FROM\n t"), "DELETE FROM t");
        assert_ne!(plain("SELECT a FROM t"), plain("SELECT b FROM t"));
    }
}
