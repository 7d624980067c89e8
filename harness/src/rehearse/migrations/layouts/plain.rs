//! SQL files that begin with a number or a date, of no tool that is known: `001.sql`, `001-x.sql`, `2024-01-01_x.sql`,
//! `1_x_up.sql` with `1_x_down.sql`, folders `up` and `down`.
//!
//! Each file runs within a transaction, unless it begins with `-- no-transaction` or has its own BEGIN and COMMIT.

use std::collections::BTreeMap;

use super::super::layout::Layout;
use super::super::part::Part;
use super::super::reading::{Halves, Reading};
use super::super::script::{Transaction, controls_transaction};
use super::super::tree::{Entry, Tree};
use super::super::version::{Digits, bare, digits, leading_digits};
use crate::sql::{self, Dialect};

pub(in super::super) static LAYOUT: Layout = Layout {
    name: "plain",
    tool: "a runner of numbered files",
    outside: "a file of its own that begins with -- no-transaction",
    own_transaction: "Each file runs in one transaction, unless it begins with -- no-transaction.",
    foreign_keys: false,
    differs: None,
    recognise,
    read,
};

/// A path, taken apart: the numbers at its beginning, how they are written, what follows, and whether it goes up.
struct Name<'a> {
    key: Vec<Digits>,
    number: String,
    rest: &'a str,
    is_up: bool,
}

fn name(entry: &Entry) -> Option<Name<'_>> {
    let of_folder = match entry.folder() {
        "" => None,
        "up" => Some(true),
        "down" => Some(false),
        _ => return None,
    };
    let stem = entry.name().strip_suffix(".sql")?;
    let ways = [("_up", true), ("_down", false), ("-up", true), ("-down", false), (".up", true), (".down", false)];
    let of_name = ways.iter().find_map(|(end, is_up)| Some((stem.strip_suffix(end)?, *is_up)));
    let (stem, is_up) = match (of_folder, of_name) {
        (Some(is_up), _) => (stem, is_up),
        (None, Some(found)) => found,
        (None, None) => (stem, true),
    };
    let (first, mut rest) = leading_digits(stem)?;
    let (mut key, mut number) = (vec![digits(first)], first.to_owned());
    // Further numbers belong to a date or to a dotted version.
    while let Some((more, after)) = rest.strip_prefix(['-', '.']).and_then(leading_digits) {
        number.push_str(&rest[..=more.len()]);
        key.push(digits(more));
        rest = after;
    }
    let number = if key.len() == 1 { bare(&number) } else { number };
    Some(Name { key, number, rest: rest.trim_start_matches(['_', '-', '.']), is_up })
}

fn recognise(tree: &Tree) -> Option<String> {
    let found = tree.any(|entry| name(entry).is_some_and(|found| found.is_up))?;
    Some(format!("{} begins with a number, and no tool's own mark was found", found.path))
}

/// What is done about a transaction where no tool says it.
pub(super) fn transaction(text: &str, dialect: Dialect) -> Transaction {
    if text.starts_with(super::sqlx::NO_TRANSACTION) {
        return Transaction::Message;
    }
    let statements = sql::split_as(text, dialect).unwrap_or_default();
    match statements.iter().any(controls_transaction) {
        true => Transaction::Each,
        false => Transaction::One,
    }
}

fn read(reading: &mut Reading<'_>) {
    let tree = reading.tree;
    let mut halves: BTreeMap<Vec<Digits>, Halves> = BTreeMap::new();
    for entry in tree.sql() {
        let Some(Name { key, number, rest, is_up }) = name(entry) else { continue };
        let Some(text) = reading.take(entry) else { continue };
        let part = Part::whole(tree.show(&entry.path), text, transaction(text, reading.dialect));
        reading.put(&mut halves, key, (&number, rest), is_up, part);
    }
    reading.finish(halves);
}
