//! Prisma: `VERSION_name/migration.sql`, in the order of the folders' names.
//!
//! Its engine sends a file as one message and opens no transaction around it. Nothing undoes it.

use super::super::layout::Layout;
use super::super::part::Part;
use super::super::reading::Reading;
use super::super::script::Transaction;
use super::super::tree::{Entry, Tree};
use super::super::version::leading_digits;

pub(in super::super) static LAYOUT: Layout = Layout {
    name: "prisma",
    tool: "Prisma",
    outside: "a migration of its own, as its only statement: Prisma opens no transaction, and several statements in one \
              migration.sql are one",
    own_transaction: "",
    foreign_keys: true,
    differs: None,
    recognise,
    read,
};

fn is_migration(entry: &&Entry) -> bool {
    entry.name() == "migration.sql" && !entry.folder().is_empty() && !entry.folder().contains('/')
}

fn recognise(tree: &Tree) -> Option<String> {
    tree.sql().find(is_migration).map(|entry| format!("it has {}", entry.path))
}

fn read(reading: &mut Reading<'_>) {
    let tree = reading.tree;
    // By name, as Prisma does: the files are ordered by path, and so by their folders but for what sorts before a slash.
    let mut entries: Vec<&Entry> = tree.sql().filter(is_migration).collect();
    entries.sort_by(|a, b| a.folder().cmp(b.folder()));
    for entry in entries {
        let Some(text) = reading.take(entry) else { continue };
        let (name, description) = match leading_digits(entry.folder()) {
            Some((number, rest)) => (number, rest.trim_start_matches('_')),
            None => (entry.folder(), entry.folder()),
        };
        // Two of one second have the same number: then the whole name tells them apart.
        let is_shared = reading.list.iter().any(|other| other.version.as_str() == name);
        let name = if is_shared { entry.folder() } else { name };
        let part = Part::whole(tree.show(&entry.path), text, Transaction::Message);
        reading.add(name, description.replace('_', " "), part, None);
    }
    for entry in &tree.files {
        match entry.name() {
            "migration_lock.toml" => reading.leave(&entry.path, "Prisma's note of the database's kind"),
            "down.sql" => reading.leave(&entry.path, "Prisma runs no way down: db execute does, by hand"),
            _ => {}
        }
    }
}
