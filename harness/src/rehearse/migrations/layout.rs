//! The layouts: who names, cuts and applies files in which way. Each is a file in `layouts` and a row of the table.

use super::layouts::{
    dbmate, diesel, drizzle, flyway, golang_migrate, goose, hasura, named, node_pg_migrate, plain, pop, prisma,
    refinery, sqlx, tern, yoyo,
};
use super::reading::Reading;
use super::tree::Tree;

/// A layout of a directory, with its tool's semantics.
pub struct Layout {
    /// What `--layout` calls it.
    pub name: &'static str,
    /// The tool, as people call it.
    pub tool: &'static str,
    /// Where a statement stands that is to run outside of a transaction: what follows "in".
    pub outside: &'static str,
    /// What to do about BEGIN and COMMIT in a file around which the tool opens a transaction.
    pub own_transaction: &'static str,
    /// Whether its tool's sessions look after foreign keys on SQLite, which by itself does not.
    pub foreign_keys: bool,
    /// What its tool does otherwise than a rehearsal, where several files are applied.
    pub differs: Option<&'static str>,
    /// Why a directory is one of these, if it is.
    pub(super) recognise: fn(&Tree) -> Option<String>,
    /// Reads one.
    pub(super) read: fn(&mut Reading<'_>),
}

/// Every layout, in the order in which they are looked for: what is certain first.
pub static LAYOUTS: [&Layout; 16] = [
    &prisma::LAYOUT,
    &hasura::LAYOUT,
    &diesel::LAYOUT,
    &drizzle::LAYOUT,
    &goose::LAYOUT,
    &dbmate::LAYOUT,
    &tern::LAYOUT,
    &node_pg_migrate::LAYOUT,
    &refinery::LAYOUT,
    &flyway::LAYOUT,
    &yoyo::LAYOUT,
    &pop::LAYOUT,
    &golang_migrate::LAYOUT,
    &sqlx::LAYOUT,
    &named::LAYOUT,
    &plain::LAYOUT,
];

/// A shell command of the user's: nothing is known about its files.
pub static RUNNER: Layout = Layout {
    name: "runner",
    tool: "the runner",
    outside: "a step of its own that your tool runs outside of a transaction",
    own_transaction: "",
    foreign_keys: false,
    differs: None,
    recognise: |_| None,
    read: |_| {},
};

impl Layout {
    /// The layout of this name.
    ///
    /// # Errors
    /// There is none; the message names all.
    pub fn named(name: &str) -> Result<&'static Self, String> {
        let known = LAYOUTS.into_iter().find(|layout| layout.name == name);
        known.ok_or_else(|| {
            let names: Vec<&str> = LAYOUTS.iter().map(|layout| layout.name).collect();
            format!("the layouts are {}", names.join(", "))
        })
    }

    /// The layout of a directory, and why it is taken for that.
    pub(super) fn of(tree: &Tree) -> Option<(&'static Self, String)> {
        LAYOUTS.into_iter().find_map(|layout| Some((layout, (layout.recognise)(tree)?)))
    }
}

impl std::fmt::Debug for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Layout {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Layout {}
