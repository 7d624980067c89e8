//! yoyo: `name.sql` with `name.rollback.sql`, after what its `-- depends:` names.
//!
//! Each file runs statement by statement within a transaction; `-- transactional: false` leaves the transaction out.

use std::collections::{BTreeMap, BTreeSet};

use super::super::layout::Layout;
use super::super::part::{Part, after_word, line, marked};
use super::super::reading::Reading;
use super::super::script::Transaction;
use super::super::tree::{Entry, Tree};

pub(in super::super) static LAYOUT: Layout = Layout {
    name: "yoyo",
    tool: "yoyo",
    outside: "a file of its own that says -- transactional: false at its top",
    own_transaction: "yoyo opens a transaction around each file, unless it says -- transactional: false.",
    foreign_keys: false,
    differs: None,
    recognise,
    read,
};

const ROLLBACK: &str = ".rollback.sql";

fn depends(line: &str) -> Option<&str> {
    after_word(line.strip_prefix("--")?, "depends:").map(str::trim)
}

fn transactional(line: &str) -> Option<&str> {
    after_word(line.strip_prefix("--")?, "transactional:").map(str::trim)
}

fn recognise(tree: &Tree) -> Option<String> {
    if let Some(found) = tree.any(|entry: &Entry| entry.path.ends_with(ROLLBACK)) {
        return Some(format!("it has {}", found.path));
    }
    let found = tree.any(|entry| marked(entry.said(), depends).next().is_some());
    found.map(|entry| format!("{} has -- depends:", entry.path))
}

fn transaction(text: &str) -> Transaction {
    match marked(text, transactional).any(|(_, said)| said.eq_ignore_ascii_case("false")) {
        true => Transaction::Each,
        false => Transaction::One,
    }
}

fn read(reading: &mut Reading<'_>) {
    let tree = reading.tree;
    let mut waiting: BTreeMap<&str, (&Entry, Vec<&str>)> = BTreeMap::new();
    let is_up = |entry: &&Entry| entry.folder().is_empty() && !entry.path.ends_with(ROLLBACK);
    for entry in tree.sql().filter(is_up) {
        let names = marked(entry.said(), depends).flat_map(|(_, names)| names.split_whitespace());
        waiting.insert(entry.path.trim_end_matches(".sql"), (entry, names.collect()));
    }
    let known: BTreeSet<&str> = waiting.keys().copied().collect();
    for (entry, names) in waiting.values() {
        for (number, said) in marked(entry.said(), depends) {
            for missing in said.split_whitespace().filter(|name| names.contains(name) && !known.contains(name)) {
                let message = format!("it depends on {missing}, which is not here");
                reading.wrong(
                    &entry.path,
                    Some((line(number), 1)),
                    message,
                    "Name a file of the directory, without .sql.",
                );
            }
        }
    }
    // By name, each as soon as all that it depends on is there.
    let mut done: BTreeSet<&str> = BTreeSet::new();
    while let Some(name) = waiting
        .iter()
        .find(|(_, (_, names))| names.iter().all(|one| done.contains(one) || !known.contains(one)))
        .map(|(name, _)| *name)
    {
        let Some((entry, _)) = waiting.remove(name) else { break };
        done.insert(name);
        let Some(text) = reading.take(entry) else { continue };
        let up = Part::whole(tree.show(&entry.path), text, transaction(text));
        let back = tree.file(&format!("{name}{ROLLBACK}"));
        let down = back.and_then(|back| {
            let text = reading.take(back)?;
            Some(Part::whole(tree.show(&back.path), text, transaction(text)))
        });
        let description = name.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '_' | '.' | '-'));
        reading.add(name, description.replace(['_', '-', '.'], " "), up, down);
    }
    for (entry, _) in waiting.values() {
        reading.wrong(&entry.path, None, "its dependencies go round in a circle", "Let one of them depend on less.");
    }
    for entry in tree.sql().filter(|entry| entry.path.ends_with(ROLLBACK)) {
        let name = entry.path.trim_end_matches(ROLLBACK);
        if !known.contains(name) {
            let message = format!("undoes {name}, which no file applies");
            reading.wrong(&entry.path, None, message, "Add the file that applies it, or remove this one.");
        }
    }
    for entry in tree.files.iter().filter(|entry| entry.path.ends_with(".py")) {
        reading.leave(&entry.path, "a migration in Python, which only --runner can rehearse");
    }
}
