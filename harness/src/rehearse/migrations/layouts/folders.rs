//! Directories of the form `VERSION_name/{up,down}.sql`.

use std::collections::BTreeMap;

use super::super::part::Part;
use super::super::reading::{Halves, Reading};
use super::super::script::Transaction;
use super::super::tree::Tree;
use super::super::version::{Digits, bare, digits};

/// The folders directly within the directory that have an `up.sql`, with version and name.
pub(super) fn of(tree: &Tree) -> Vec<(&str, String, &str)> {
    let folders = tree.sql().filter(|entry| entry.name() == "up.sql").map(|entry| entry.folder());
    folders.filter_map(|folder| Some((folder, version(folder)?.0, version(folder)?.1))).collect()
}

/// The digits of a folder's version, without dashes, and its name.
fn version(folder: &str) -> Option<(String, &str)> {
    let (head, name) = folder.split_once('_').unwrap_or((folder, ""));
    let is_version = head.starts_with(|c: char| c.is_ascii_digit())
        && head.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
        && !folder.contains('/');
    is_version.then(|| (head.replace('-', ""), name))
}

/// Reads them. `transaction` says what the tool does about that of a folder, or what is wrong with its settings.
pub(super) fn read(
    reading: &mut Reading<'_>,
    transaction: impl Fn(&Tree, &str) -> Result<Transaction, (String, String, &'static str)>,
) {
    let tree = reading.tree;
    let mut halves: BTreeMap<Digits, Halves> = BTreeMap::new();
    for entry in tree.sql().filter(|entry| matches!(entry.name(), "up.sql" | "down.sql")) {
        let Some((number, name)) = version(entry.folder()) else { continue };
        let mode = transaction(tree, entry.folder()).unwrap_or_else(|(path, message, help)| {
            reading.wrong(&path, None, message, help);
            Transaction::One
        });
        let Some(text) = reading.take(entry) else { continue };
        let part = Part::whole(tree.show(&entry.path), text, mode);
        let is_up = entry.name() == "up.sql";
        reading.put(&mut halves, digits(&number), (&bare(&number), name), is_up, part);
    }
    reading.finish(halves);
}
