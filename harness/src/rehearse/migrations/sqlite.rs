//! Whether a directory's SQL is SQLite's, where nobody has said so.

use super::tree::Tree;
use crate::sql::{self, Dialect, Statement};

/// What shows that it is, if anything does: words that PostgreSQL does not know.
pub(super) fn recognise(tree: &Tree) -> Option<String> {
    // A name that says which database it is for speaks for itself only.
    tree.sql().filter(|entry| !entry.name().to_lowercase().contains(".sqlite")).find_map(|entry| {
        let statements = sql::split_as(entry.said(), Dialect::Sqlite).unwrap_or_default();
        let word = statements.iter().find_map(word)?;
        Some(format!("{} says {word}", entry.path))
    })
}

fn word(statement: &Statement) -> Option<&'static str> {
    let pair = |first: &str, second: &str| statement.words.windows(2).any(|pair| pair[0] == first && pair[1] == second);
    let creates = statement.begins(&["CREATE"]);
    let virtual_table = statement.begins(&["CREATE", "VIRTUAL", "TABLE"]);
    match () {
        () if statement.begins(&["PRAGMA"]) => Some("PRAGMA"),
        () if creates && statement.has("AUTOINCREMENT") => Some("AUTOINCREMENT"),
        () if creates && pair("WITHOUT", "ROWID") => Some("WITHOUT ROWID"),
        () if virtual_table => Some("CREATE VIRTUAL TABLE"),
        () => None,
    }
}
