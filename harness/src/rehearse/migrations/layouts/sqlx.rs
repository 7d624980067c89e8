//! sqlx: `VERSION_name.sql`, or `VERSION_name.up.sql` with `VERSION_name.down.sql`.
//!
//! Each file runs within a transaction, unless its first bytes are `-- no-transaction`; then it is one message.

use std::collections::BTreeMap;

use super::super::layout::Layout;
use super::super::part::{Part, line};
use super::super::reading::{Halves, Reading};
use super::super::script::Transaction;
use super::super::tree::{Entry, Tree};
use super::super::version::{bare, leading_digits};
use super::pairs::pair;

pub(in super::super) static LAYOUT: Layout = Layout {
    name: "sqlx",
    tool: "sqlx",
    outside: "a file of its own that begins with -- no-transaction",
    own_transaction: "sqlx runs each file in one transaction, or outside of one if its first bytes are -- no-transaction; \
                      --layout plain takes a file's own.",
    foreign_keys: true,
    differs: None,
    recognise,
    read,
};

/// What the first bytes of a file say that does without a transaction.
pub(super) const NO_TRANSACTION: &str = "-- no-transaction";
const NAMES: &str = "Name it as in 0001_name.sql, or 0001_name.up.sql with 0001_name.down.sql.";

/// The digits, the name, and the way: `None` where nothing undoes it.
fn name(name: &str) -> Option<(&str, &str, Option<bool>)> {
    if let Some(found) = pair(name) {
        return Some((found.number, found.name, Some(found.is_up)));
    }
    let (number, rest) = leading_digits(name.strip_suffix(".sql")?)?;
    Some((number, rest.strip_prefix('_')?, None))
}

fn recognise(tree: &Tree) -> Option<String> {
    let found = tree.any(|entry| fits(entry).is_some())?;
    let way = fits(found)?;
    let path = &found.path;
    Some(match way {
        None => format!("{path} is named as sqlx wants it"),
        Some(_) if tree.project == Some("Cargo.toml") => {
            format!("{path} is named as sqlx wants it, and the project has a Cargo.toml")
        }
        Some(_) => format!(
            "{path} is named as sqlx wants it, and golang-migrate too: --layout golang-migrate if it is that one's"
        ),
    })
}

/// The way of a file that is named as sqlx wants it.
fn fits(entry: &Entry) -> Option<Option<bool>> {
    let (number, name, way) = name(entry.name()).filter(|_| entry.folder().is_empty())?;
    // 1_x_up.sql is somebody else's way to say it.
    (number.parse::<i64>().is_ok() && (way.is_some() || !is_bare_way(name))).then_some(way)
}

/// Whether a name ends in `_up` or `_down`.
fn is_bare_way(name: &str) -> bool {
    name.ends_with("_up") || name.ends_with("_down")
}

fn read(reading: &mut Reading<'_>) {
    let tree = reading.tree;
    let mut halves: BTreeMap<i64, Halves> = BTreeMap::new();
    let mut simple: BTreeMap<i64, bool> = BTreeMap::new();
    let mut downs: Vec<(i64, &str)> = Vec::new();
    for entry in tree.sql().filter(|entry| entry.folder().is_empty()) {
        let Some((number, name, way)) = name(entry.name()) else {
            reading.wrong(&entry.path, None, "its name has no number", NAMES);
            continue;
        };
        let Some(version) = number.parse::<i64>().ok().filter(|version| *version > 0) else {
            let help = "Versions are whole numbers above zero, below 2^63.";
            reading.wrong(&entry.path, None, format!("{number} is no version"), help);
            continue;
        };
        let Some(text) = reading.take(entry) else { continue };
        let transaction = if text.starts_with(NO_TRANSACTION) { Transaction::Message } else { Transaction::One };
        let late = text.lines().position(|line| line.trim_start_matches('\u{feff}').trim() == NO_TRANSACTION);
        if let Some(late) = late.filter(|_| transaction == Transaction::One) {
            let message = format!("{NO_TRANSACTION} is not the first thing in the file, and so means nothing");
            let help = "Make these the file's very first bytes: sqlx looks nowhere else.";
            reading.wrong(&entry.path, Some((line(late), 1)), message, help);
        }
        if way == Some(false) {
            downs.push((version, &entry.path));
        } else {
            simple.entry(version).or_insert(way.is_none());
        }
        let part = Part::whole(tree.show(&entry.path), text, transaction);
        reading.put(&mut halves, version, (&bare(number), name), way != Some(false), part);
    }
    for (version, path) in downs.into_iter().filter(|(version, _)| simple.get(version) == Some(&true)) {
        let message = format!("version {version} can be undone, but its other file does not end in .up.sql");
        reading.wrong(path, None, message, "Name the file that applies it NUMBER_name.up.sql.");
    }
    reading.finish(halves);
}
