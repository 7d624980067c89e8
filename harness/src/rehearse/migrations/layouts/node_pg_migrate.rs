//! node-pg-migrate's SQL files: `VERSION_name.sql` with both ways, set apart by `-- Up Migration` and
//! `-- Down Migration`.
//!
//! It applies every pending file in a single transaction, and SQL files have no way out of it.

use std::collections::BTreeMap;

use super::super::layout::Layout;
use super::super::part::{Part, after_word, line, marked, only};
use super::super::reading::{Halves, Reading};
use super::super::script::Transaction;
use super::super::tree::{Entry, Tree};
use super::super::version::{Digits, bare, digits, leading_digits};

pub(in super::super) static LAYOUT: Layout = Layout {
    name: "node-pg-migrate",
    tool: "node-pg-migrate",
    outside: "a migration in JavaScript that calls pgm.noTransaction(): an SQL file always runs in a transaction",
    own_transaction: "node-pg-migrate runs all pending files in one transaction.",
    foreign_keys: false,
    differs: Some(
        "node-pg-migrate applies all pending files in one transaction, unless --no-single-transaction: there each lock is \
         held until the last has ended",
    ),
    recognise,
    read,
};

fn mark<'a>(line: &'a str, way: &str) -> Option<&'a str> {
    let rest = line.trim_start().strip_prefix("--")?;
    let rest = rest.trim_start_matches(|c: char| c == '-' || c.is_whitespace());
    let rest = after_word(rest, way)?.trim_start();
    rest.get(..9).filter(|word| word.eq_ignore_ascii_case("migration")).map(|_| &rest[9..])
}

fn up(line: &str) -> Option<&str> {
    mark(line, "up")
}

fn down(line: &str) -> Option<&str> {
    mark(line, "down")
}

fn recognise(tree: &Tree) -> Option<String> {
    let has = |entry: &Entry| {
        let is_half = entry.path.ends_with(".up.sql") || entry.path.ends_with(".down.sql");
        !is_half && (marked(entry.said(), up).next().is_some() || marked(entry.said(), down).next().is_some())
    };
    tree.any(has).map(|entry| format!("{} has -- Up Migration or -- Down Migration", entry.path))
}

fn read(reading: &mut Reading<'_>) {
    let tree = reading.tree;
    let mut halves: BTreeMap<Digits, Halves> = BTreeMap::new();
    for entry in tree.sql().filter(|entry| entry.folder().is_empty()) {
        let Some((number, rest)) = leading_digits(entry.name()) else { continue };
        let description = rest.trim_start_matches(['_', '-']).trim_end_matches(".sql");
        let Some(text) = reading.take(entry) else { continue };
        let (first, second) = (marked(text, up).next(), marked(text, down).next());
        let (first, second) = (first.map(|(at, _)| at), second.map(|(at, _)| at));
        match (first, second) {
            (None, Some(down)) => {
                let message = "-- Down Migration without -- Up Migration: node-pg-migrate applies the whole file, and so \
                               undoes it at once";
                reading.wrong(&entry.path, Some((line(down), 1)), message, "Put -- Up Migration on the first line.");
                continue;
            }
            (Some(up), Some(down)) if down < up => {
                let message = "-- Down Migration stands before -- Up Migration";
                reading.wrong(&entry.path, Some((line(down), 1)), message, "Put -- Up Migration on the first line.");
                continue;
            }
            _ => {}
        }
        let end = second.unwrap_or(usize::MAX);
        let before = only(text, |n| first.is_some_and(|up| n < up));
        if let Ok([lost, ..]) = crate::sql::split_as(&before, reading.dialect).as_deref() {
            let message = "a statement before -- Up Migration, which node-pg-migrate never sends";
            let at = Some((lost.line, lost.column));
            reading.wrong(&entry.path, at, message, "Put -- Up Migration on the first line.");
            continue;
        }
        let part = |text: String| Part {
            file: tree.show(&entry.path),
            text,
            transaction: Transaction::One,
            messages: Vec::new(),
        };
        let of = (&bare(number)[..], description);
        let applies = only(text, |n| first.is_none_or(|up| n > up) && n < end);
        reading.put(&mut halves, digits(number), of, true, part(applies));
        if second.is_some() {
            reading.put(&mut halves, digits(number), of, false, part(only(text, |n| n > end)));
        }
    }
    reading.finish(halves);
    for entry in &tree.files {
        if [".js", ".ts", ".cjs", ".mjs"].iter().any(|ending| entry.path.ends_with(ending)) {
            reading.leave(&entry.path, "a migration in JavaScript, which only --runner can rehearse");
        }
    }
}
