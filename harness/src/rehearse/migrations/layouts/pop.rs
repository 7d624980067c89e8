//! pop and popx: `VERSION_name.up.sql`, with a database's kind (`.postgres`) and `.autocommit` before the way.
//!
//! Each file is one message within a transaction; `.autocommit` leaves the transaction out. Fizz is refused by name.

use std::collections::{BTreeMap, BTreeSet};

use super::super::layout::Layout;
use super::super::part::Part;
use super::super::reading::{Halves, Reading};
use super::super::script::Transaction;
use super::super::tree::{Entry, Tree};
use super::super::version::{Digits, bare, digits, leading_digits};
use super::pairs::pair;
use crate::sql::Dialect;

pub(in super::super) static LAYOUT: Layout = Layout {
    name: "pop",
    tool: "pop",
    outside: "a file of its own named …autocommit.up.sql (popx), as its only statement",
    own_transaction: "pop opens a transaction around each file, unless popx finds .autocommit in its name.",
    foreign_keys: false,
    differs: None,
    recognise,
    read,
};

/// How pop calls the databases, and whose SQL that is.
const KINDS: [(&str, Option<Dialect>); 6] = [
    ("postgres", Some(Dialect::Postgres)),
    ("postgresql", Some(Dialect::Postgres)),
    ("sqlite3", Some(Dialect::Sqlite)),
    ("sqlite", Some(Dialect::Sqlite)),
    ("mysql", None),
    ("cockroach", None),
];
/// More digits than a number of 64 bits has.
const DIGITS_MANY: usize = 20;

/// A name between version and way, taken apart: what it says, for which database, and whether it commits by itself.
fn marks(name: &str) -> (&str, Option<(&'static str, Option<Dialect>)>, bool) {
    let (name, commits) = name.strip_suffix(".autocommit").map_or((name, false), |name| (name, true));
    let kind = KINDS
        .into_iter()
        .find_map(|(kind, dialect)| Some((name.strip_suffix(kind)?.strip_suffix('.')?, (kind, dialect))));
    match kind {
        Some((name, kind)) => (name, Some(kind), commits),
        None => (name, None, commits),
    }
}

fn is_fizz(entry: &Entry) -> bool {
    entry.path.ends_with(".fizz")
}

fn recognise(tree: &Tree) -> Option<String> {
    if let Some(fizz) = tree.files.iter().find(|entry| is_fizz(entry)) {
        return Some(format!("{} is fizz", fizz.path));
    }
    let is_pops = |entry: &Entry| {
        pair(entry.name()).is_some_and(|found| {
            let (_, kind, commits) = marks(found.name);
            kind.is_some() || commits || found.number.len() >= DIGITS_MANY
        })
    };
    tree.any(is_pops).map(|entry| format!("{} is named as pop wants it", entry.path))
}

fn read(reading: &mut Reading<'_>) {
    let tree = reading.tree;
    let mut halves: BTreeMap<Digits, Halves> = BTreeMap::new();
    let wanted = |entry: &Entry| {
        pair(entry.name()).is_some_and(|found| marks(found.name).1.is_some_and(|kind| kind.1 == Some(reading.dialect)))
    };
    // A file for this database takes the place of the one for all.
    let special: BTreeSet<(&str, bool)> = tree
        .sql()
        .filter(|entry| wanted(entry))
        .filter_map(|entry| pair(entry.name()).map(|found| (found.number, found.is_up)))
        .collect();
    for entry in tree.sql().filter(|entry| entry.folder().is_empty()) {
        let Some(found) = pair(entry.name()) else { continue };
        let (name, kind, commits) = marks(found.name);
        match kind {
            Some((kind, dialect)) if dialect != Some(reading.dialect) => {
                reading.leave(&entry.path, format!("for {kind}"));
                continue;
            }
            None if special.contains(&(found.number, found.is_up)) => {
                reading.leave(&entry.path, "another file of this version is for this database");
                continue;
            }
            _ => {}
        }
        let Some(text) = reading.take(entry) else { continue };
        let transaction = if commits { Transaction::Message } else { Transaction::One };
        let part = Part::whole(tree.show(&entry.path), text, transaction);
        reading.put(&mut halves, digits(found.number), (&bare(found.number), name), found.is_up, part);
    }
    for entry in tree.files.iter().filter(|entry| is_fizz(entry)) {
        let number = leading_digits(entry.name()).map_or("", |(number, _)| number);
        let message = format!("version {} is in fizz, which only pop translates", bare(number));
        reading.wrong(&entry.path, None, message, "Translate it into SQL with pop, or rehearse it with --runner.");
    }
    reading.finish(halves);
}
