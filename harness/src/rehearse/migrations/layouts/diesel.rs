//! diesel: `VERSION_name/{up,down}.sql`, the version with dashes or without.
//!
//! Each file is one message within a transaction; `run_in_transaction = false` in the folder's `metadata.toml` leaves the
//! transaction out.

use super::super::layout::Layout;
use super::super::reading::Reading;
use super::super::script::Transaction;
use super::super::tree::Tree;
use super::folders;

pub(in super::super) static LAYOUT: Layout = Layout {
    name: "diesel",
    tool: "diesel",
    outside: "a migration of its own whose metadata.toml says run_in_transaction = false, as its only statement",
    own_transaction: "diesel opens a transaction around each file, unless its metadata.toml says run_in_transaction = \
                      false.",
    foreign_keys: false,
    differs: None,
    recognise,
    read,
};

/// The file of a folder's settings.
const METADATA: &str = "metadata.toml";

fn recognise(tree: &Tree) -> Option<String> {
    folders::of(tree).first().map(|(folder, ..)| format!("it has {folder}/up.sql"))
}

fn read(reading: &mut Reading<'_>) {
    folders::read(reading, transaction);
    let tree = reading.tree;
    for entry in tree.files.iter().filter(|entry| entry.name() == METADATA) {
        reading.heed(&entry.path);
    }
}

fn transaction(tree: &Tree, folder: &str) -> Result<Transaction, (String, String, &'static str)> {
    let path = format!("{folder}/{METADATA}");
    let Some(entry) = tree.file(&path) else { return Ok(Transaction::One) };
    let help = "It may say run_in_transaction = false.";
    let table: toml::Table =
        entry.said().parse().map_err(|error: toml::de::Error| (path.clone(), error.message().to_owned(), help))?;
    match table.get("run_in_transaction") {
        Some(toml::Value::Boolean(false)) => Ok(Transaction::Message),
        None | Some(toml::Value::Boolean(true)) => Ok(Transaction::One),
        Some(_) => Err((path, "run_in_transaction is neither true nor false".to_owned(), help)),
    }
}
