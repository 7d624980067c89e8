//! refinery: `V1__name.sql`, whole numbers; `U1__name.sql` is a migration too, applied also where later ones were.
//!
//! Each file is one message within a transaction of its own, unless its first line is `-- +refinery NO TRANSACTION`.

use std::collections::BTreeMap;

use super::super::layout::Layout;
use super::super::part::Part;
use super::super::reading::{Halves, Reading};
use super::super::script::Transaction;
use super::super::tree::{Entry, Tree};
use super::super::version::{Digits, bare, digits};

pub(in super::super) static LAYOUT: Layout = Layout {
    name: "refinery",
    tool: "refinery",
    outside: "a file of its own whose first line is -- +refinery NO TRANSACTION, as its only statement",
    own_transaction: "refinery opens a transaction around each file, unless it begins with -- +refinery NO TRANSACTION.",
    foreign_keys: true,
    differs: None,
    recognise,
    read,
};

fn name(name: &str) -> Option<(&str, &str)> {
    let (head, description) = name.strip_suffix(".sql")?.split_once("__")?;
    let number = head.strip_prefix(['V', 'U'])?;
    let sound = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    sound.then_some((number, description))
}

fn recognise(tree: &Tree) -> Option<String> {
    let mut files = tree.sql().filter(|entry| entry.folder().is_empty()).peekable();
    let first = files.peek().map(|entry| entry.path.clone())?;
    let all = files.all(|entry: &Entry| name(entry.name()).is_some());
    (all && tree.project == Some("Cargo.toml"))
        .then(|| format!("{first} is named as refinery wants it, and the project has a Cargo.toml"))
}

fn is_outside(text: &str) -> bool {
    text.lines().next().is_some_and(|line| {
        line.trim().strip_prefix("--").is_some_and(|rest| rest.trim() == "+refinery NO TRANSACTION")
    })
}

fn read(reading: &mut Reading<'_>) {
    let tree = reading.tree;
    let mut halves: BTreeMap<Digits, Halves> = BTreeMap::new();
    for entry in tree.sql().filter(|entry| entry.folder().is_empty()) {
        let Some((number, description)) = name(entry.name()) else { continue };
        let Some(text) = reading.take(entry) else { continue };
        let transaction = if is_outside(text) { Transaction::Message } else { Transaction::One };
        let part = Part::whole(tree.show(&entry.path), text, transaction);
        reading.put(&mut halves, digits(number), (&bare(number), description), true, part);
    }
    reading.finish(halves);
    for entry in tree.files.iter().filter(|entry| entry.path.ends_with(".rs")) {
        reading.leave(&entry.path, "a migration in Rust, which only --runner can rehearse");
    }
}
