//! What becomes of a text, whoever sends it: of a step of a script, or of what a program asks.

use super::defences::same_table;
use crate::explore::statement::{self, message};
use crate::sql::split;
use crate::syntax::{Does, Tree};

/// A rule by which texts are written anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TextRule {
    /// The rows that are read of these tables are locked.
    LockReads {
        /// With which clause.
        clause: String,
        /// Only where few rows of several are asked for.
        of_queues: bool,
        /// The tables.
        tables: Vec<String>,
    },
    /// An INSERT into this table does nothing where there is a row.
    DoNothing {
        /// The table.
        table: String,
        /// Also where the rows that it inserts are asked for: there may be none of them then.
        returning: bool,
    },
    /// Transactions begin with this isolation level.
    Isolation(String),
}

impl TextRule {
    /// What a text becomes, if it does not stay.
    pub(super) fn anew(&self, text: &str) -> Option<String> {
        match self {
            Self::LockReads { clause, of_queues, tables } => {
                let tree = Tree::of(text)?;
                locked(&tree, clause, *of_queues, tables)
            }
            Self::DoNothing { table, returning } => quiet(&Tree::of(text)?, text, table, *returning),
            Self::Isolation(level) => isolated(text, level),
        }
    }
}

fn locked(tree: &Tree, clause: &str, of_queues: bool, tables: &[String]) -> Option<String> {
    let read = tree.read().filter(|read| read.can_lock && (!of_queues || read.has_limit))?;
    let is_meant = |table: &String| tables.iter().any(|meant| same_table(meant, table));
    if !read.tables.iter().any(is_meant) || !tree.locking_clauses().is_empty() {
        return None;
    }
    // Of a join, only the rows that somebody else changes.
    let meant = read.tables.iter().zip(&read.aliases).filter(|(table, _)| is_meant(table));
    let meant: Vec<&str> = meant.map(|(_, alias)| alias.as_str()).collect();
    let of = if read.tables.len() > 1 { format!(" OF {}", meant.join(", ")) } else { String::new() };
    let clause = match clause.split_once(" SKIP") {
        Some((strength, skip)) => format!(" {strength}{of} SKIP{skip}"),
        None => format!(" {clause}{of}"),
    };
    Some(tree.with([(read.end..read.end, clause)]))
}

fn quiet(tree: &Tree, text: &str, table: &str, returning: bool) -> Option<String> {
    let change = tree.change().filter(|change| change.does == Does::Insert && same_table(table, &change.table))?;
    let at = change.before_returning;
    let returns = || !text[at..].trim().trim_end_matches(';').trim().is_empty();
    if !tree.on_conflicts().is_empty() || !returning && returns() {
        return None;
    }
    Some(tree.with([(at..at, " ON CONFLICT DO NOTHING".to_owned())]))
}

/// How strict a level is.
fn strictness(level: &str) -> u8 {
    match level.to_ascii_uppercase().split_whitespace().last() {
        Some("SERIALIZABLE") => 2,
        Some("READ") => 1,
        _ => 0,
    }
}

fn isolated(text: &str, level: &str) -> Option<String> {
    let of = message(text);
    if of.statements != 1 || of.does != statement::Does::Begin {
        return None;
    }
    let tree = Tree::of(text)?;
    let asked = format!("ISOLATION LEVEL {level}");
    // Whoever asks for one already is given a stricter one only.
    if let [at] = &tree.isolation_levels()[..] {
        let is_stricter = strictness(&text[at.clone()]) < strictness(level);
        return is_stricter.then(|| tree.with([(at.clone(), asked)]));
    }
    let upper = text.to_ascii_uppercase();
    let words = split(text).ok()?.pop()?.words;
    // READ COMMITTED, or READ UNCOMMITTED, which is the same.
    let lax = upper.rfind("ISOLATION").and_then(|at| Some(at..at + upper[at..].find("COMMITTED")? + "COMMITTED".len()));
    let place = match (words.iter().any(|word| word == "ISOLATION"), lax) {
        (true, lax) => (lax?, asked),
        (false, _) => (end_of_begin(&upper, &words).map(|end| end..end)?, format!(" {asked}")),
    };
    let anew = tree.with([place]);
    // What a comment has led astray is no such text.
    Tree::of(&anew).is_some_and(|tree| tree.isolation_levels().len() == 1).then_some(anew)
}

/// Where BEGIN, BEGIN WORK, BEGIN TRANSACTION or START TRANSACTION ends in a text in upper case.
fn end_of_begin(upper: &str, words: &[String]) -> Option<usize> {
    let first = words.first()?;
    let last = words.get(1).filter(|word| matches!(word.as_str(), "WORK" | "TRANSACTION")).unwrap_or(first);
    let at = upper.find(first.as_str())?;
    Some(at + upper[at..].find(last.as_str())? + last.len())
}

#[cfg(test)]
mod tests {
    use super::TextRule;

    fn at(level: &str, text: &str) -> Option<String> {
        TextRule::Isolation(level.to_owned()).anew(text)
    }

    #[test]
    fn a_transaction_is_begun_with_a_stricter_level_whatever_else_is_said() {
        for (text, anew) in [
            ("BEGIN", "BEGIN ISOLATION LEVEL SERIALIZABLE"),
            ("begin work;", "begin work ISOLATION LEVEL SERIALIZABLE;"),
            ("START TRANSACTION READ WRITE", "START TRANSACTION ISOLATION LEVEL SERIALIZABLE READ WRITE"),
            ("/* x */ BEGIN TRANSACTION -- y", "/* x */ BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE -- y"),
            ("BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL SERIALIZABLE"),
            ("BEGIN ISOLATION LEVEL READ COMMITTED;", "BEGIN ISOLATION LEVEL SERIALIZABLE;"),
        ] {
            assert_eq!(at("SERIALIZABLE", text).as_deref(), Some(anew), "{text}");
        }
        for text in [
            "BEGIN ISOLATION LEVEL SERIALIZABLE",
            "BEGIN; SELECT 1",
            "COMMIT",
            "SELECT 'BEGIN'",
            "",
            "/* BEGIN */ BEGIN",
        ] {
            assert_eq!(at("SERIALIZABLE", text), None, "{text}");
        }
        assert_eq!(at("REPEATABLE READ", "BEGIN ISOLATION LEVEL SERIALIZABLE"), None);
    }

    #[test]
    fn a_program_that_asks_for_what_it_inserts_is_not_kept_from_it() {
        let rule = |returning| TextRule::DoNothing { table: "t".to_owned(), returning };
        let plain = Some("INSERT INTO t VALUES ($1) ON CONFLICT DO NOTHING".to_owned());
        assert_eq!(rule(false).anew("INSERT INTO t VALUES ($1)"), plain);
        assert_eq!(rule(false).anew("INSERT INTO t VALUES ($1) RETURNING id"), None);
        let asks = Some("INSERT INTO t VALUES ($1) ON CONFLICT DO NOTHING RETURNING id".to_owned());
        assert_eq!(rule(true).anew("INSERT INTO t VALUES ($1) RETURNING id"), asks);
        assert_eq!(rule(true).anew("INSERT INTO u VALUES ($1)"), None);
    }
}
