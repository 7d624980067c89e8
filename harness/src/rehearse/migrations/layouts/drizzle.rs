//! drizzle: `0000_name.sql`, in the order of `meta/_journal.json`; statements are set apart by a comment.
//!
//! Its migrator applies every pending file in a single transaction. Nothing undoes it.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::super::layout::Layout;
use super::super::part::Part;
use super::super::reading::Reading;
use super::super::script::Transaction;
use super::super::tree::{Entry, Tree};

pub(in super::super) static LAYOUT: Layout = Layout {
    name: "drizzle",
    tool: "drizzle",
    outside: "a step by hand before the deploy, with IF NOT EXISTS in the file: drizzle runs all files in one transaction",
    own_transaction: "drizzle runs all pending files in one transaction.",
    foreign_keys: true,
    differs: Some(
        "drizzle applies all pending files in one transaction: there each lock is held until the last has ended",
    ),
    recognise,
    read,
};

/// Where the order is.
const JOURNAL: &str = "meta/_journal.json";
/// What stands between two statements.
const BREAKPOINT: &str = "--> statement-breakpoint";

/// The journal, as far as it matters.
#[derive(Deserialize)]
struct Journal {
    entries: Vec<Applied>,
}

/// A file of the journal's.
#[derive(Deserialize)]
struct Applied {
    idx: u32,
    tag: String,
}

fn recognise(tree: &Tree) -> Option<String> {
    if tree.file(JOURNAL).is_some() {
        return Some(format!("it has {JOURNAL}"));
    }
    tree.any(|entry| entry.said().contains(BREAKPOINT)).map(|entry| format!("{} has {BREAKPOINT}", entry.path))
}

fn read(reading: &mut Reading<'_>) {
    let tree = reading.tree;
    let mut taken: Vec<&Entry> = Vec::new();
    match tree.file(JOURNAL) {
        Some(journal) => {
            let Some(text) = reading.take(journal) else { return };
            let mut entries = match serde_json::from_str::<Journal>(text) {
                Ok(journal) => journal.entries,
                Err(error) => {
                    let at = (error.line().try_into().unwrap_or(1), error.column().try_into().unwrap_or(1));
                    let message = "this is no journal of drizzle's";
                    return reading.wrong(JOURNAL, Some(at), message, "Let drizzle-kit write it.");
                }
            };
            entries.sort_by_key(|entry| entry.idx);
            let mut tags = BTreeSet::new();
            for Applied { tag, .. } in entries {
                let path = format!("{tag}.sql");
                match tree.file(&path) {
                    Some(_) if !tags.insert(tag.clone()) => {
                        reading.wrong(JOURNAL, None, format!("it names {tag} twice"), "Name each file once.");
                    }
                    Some(entry) => taken.push(entry),
                    None => {
                        let message = format!("it names {tag}, and there is no {path}");
                        reading.wrong(JOURNAL, None, message, "Add the file, or let drizzle-kit drop its entry.");
                    }
                }
            }
        }
        None => {
            let message = "there is no journal: drizzle's migrator applies nothing without one";
            reading.wrong(JOURNAL, None, message, "Let drizzle-kit generate write it.");
        }
    }
    for entry in taken {
        let Some(text) = reading.take(entry) else { continue };
        let tag = entry.path.trim_end_matches(".sql");
        let description = tag.trim_start_matches(|c: char| c.is_ascii_digit()).replace('_', " ");
        let part = Part::whole(tree.show(&entry.path), text, Transaction::One);
        // Two branches may have made the same number, so the whole tag is the version.
        reading.add(tag, description.trim().to_owned(), part, None);
    }
    for entry in &tree.files {
        match entry.folder() {
            "" if entry.is_sql() => {
                reading.leave(&entry.path, format!("{JOURNAL} does not name it, so drizzle passes it over"))
            }
            "meta" => reading.leave(&entry.path, "drizzle-kit's picture of the schema"),
            _ => {}
        }
    }
}
