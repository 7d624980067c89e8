//! golang-migrate: `VERSION_name.up.sql` and `VERSION_name.down.sql`.
//!
//! It sends each file as one message, and opens no transaction around it: of several statements the server makes one,
//! unless the file says BEGIN and COMMIT itself. For SQLite it opens one.

use std::collections::BTreeMap;

use super::super::layout::Layout;
use super::super::part::Part;
use super::super::reading::{Halves, Reading};
use super::super::script::{Transaction, controls_transaction};
use super::super::tree::{Entry, Tree};
use super::super::version::{Digits, bare, digits};
use super::pairs::pair;
use crate::sql::{self, Dialect};

pub(in super::super) static LAYOUT: Layout = Layout {
    name: "golang-migrate",
    tool: "golang-migrate",
    outside: "a file of its own, as its only statement: golang-migrate opens no transaction, and several statements in \
              one file are one",
    own_transaction: "For SQLite golang-migrate opens a transaction around each file, unless its URL says x-no-tx-wrap.",
    foreign_keys: false,
    differs: None,
    recognise,
    read,
};

fn recognise(tree: &Tree) -> Option<String> {
    let first = tree.any(|entry: &Entry| entry.folder().is_empty() && pair(entry.name()).is_some())?;
    if tree.project == Some("go.mod") {
        return Some(format!("{} is named as golang-migrate wants it, and the project has a go.mod", first.path));
    }
    // sqlx refuses these, and so they are none of its.
    let own = |entry: &Entry| {
        let statements = sql::split_as(entry.said(), Dialect::Postgres).unwrap_or_default();
        pair(entry.name()).is_some()
            && !entry.said().starts_with(super::sqlx::NO_TRANSACTION)
            && statements.first().is_some_and(controls_transaction)
            && statements.last().is_some_and(|last| last.begins(&["COMMIT"]) || last.begins(&["END"]))
    };
    let is_rust = tree.project == Some("Cargo.toml");
    let found = tree.any(own).filter(|_| !is_rust)?;
    Some(format!("{} is named as golang-migrate wants it, and has its own BEGIN and COMMIT", found.path))
}

fn read(reading: &mut Reading<'_>) {
    let tree = reading.tree;
    let mut halves: BTreeMap<Digits, Halves> = BTreeMap::new();
    let transaction = match reading.dialect {
        Dialect::Sqlite => Transaction::One,
        Dialect::Postgres | Dialect::Either => Transaction::Message,
    };
    for entry in tree.sql().filter(|entry| entry.folder().is_empty()) {
        let Some(found) = pair(entry.name()) else { continue };
        let Some(text) = reading.take(entry) else { continue };
        let part = Part::whole(tree.show(&entry.path), text, transaction);
        reading.put(&mut halves, digits(found.number), (&bare(found.number), found.name), found.is_up, part);
    }
    reading.finish(halves);
}
