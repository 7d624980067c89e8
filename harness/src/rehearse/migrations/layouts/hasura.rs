//! Hasura: `VERSION_name/{up,down}.sql`, the version in milliseconds since 1970.
//!
//! Its server runs each file as one text within a transaction.

use super::super::layout::Layout;
use super::super::script::Transaction;
use super::super::tree::Tree;
use super::folders;

pub(in super::super) static LAYOUT: Layout = Layout {
    name: "hasura",
    tool: "Hasura",
    outside: "a step by hand before the deploy, with IF NOT EXISTS in the migration: Hasura runs each file in a \
              transaction",
    own_transaction: "Hasura opens a transaction around each file.",
    foreign_keys: false,
    differs: None,
    recognise,
    read: |reading| folders::read(reading, |_, _| Ok(Transaction::One)),
};

/// How many digits milliseconds have, from 2001 to 2286.
const DIGITS: usize = 13;

fn recognise(tree: &Tree) -> Option<String> {
    let folders = folders::of(tree);
    let all = !folders.is_empty()
        && folders.iter().all(|(folder, version, _)| version.len() == DIGITS && folder.starts_with(version.as_str()));
    all.then(|| format!("its folders, such as {}, begin with milliseconds", folders[0].0))
}
