//! Files without numbers, `name.up.sql` with `name.down.sql`, in the order of their names.

use std::collections::BTreeMap;

use super::super::layout::Layout;
use super::super::part::Part;
use super::super::reading::{Halves, Reading};
use super::super::tree::{Entry, Tree};
use super::super::version::leading_digits;
use super::plain::transaction;

pub(in super::super) static LAYOUT: Layout = Layout {
    name: "named",
    tool: "a runner of files by name",
    outside: "a file of its own that begins with -- no-transaction",
    own_transaction: "Each file runs in one transaction, unless it begins with -- no-transaction.",
    foreign_keys: false,
    differs: None,
    recognise,
    read,
};

fn stem(name: &str) -> Option<(&str, bool)> {
    let up = name.strip_suffix(".up.sql").map(|stem| (stem, true));
    up.or_else(|| name.strip_suffix(".down.sql").map(|stem| (stem, false)))
}

fn recognise(tree: &Tree) -> Option<String> {
    let mut files = tree.sql().filter(|entry| entry.folder().is_empty()).peekable();
    let first = files.peek().map(|entry| entry.path.clone())?;
    let all = files.all(|entry: &Entry| stem(entry.name()).is_some() && leading_digits(entry.name()).is_none());
    all.then(|| format!("its files, such as {first}, have ways and no numbers"))
}

fn read(reading: &mut Reading<'_>) {
    let tree = reading.tree;
    let mut halves: BTreeMap<&str, Halves> = BTreeMap::new();
    for entry in tree.sql().filter(|entry| entry.folder().is_empty()) {
        let Some((stem, is_up)) = stem(entry.name()) else { continue };
        let Some(text) = reading.take(entry) else { continue };
        let part = Part::whole(tree.show(&entry.path), text, transaction(text, reading.dialect));
        reading.put(&mut halves, stem, (stem, stem), is_up, part);
    }
    reading.finish(halves);
}
