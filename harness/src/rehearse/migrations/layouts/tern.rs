//! tern: `001_name.sql` with both ways, set apart by `---- create above / drop below ----`; numbers without a gap.
//!
//! Each way runs within a transaction; with `---- tern: disable-tx ----` in it, statement by statement without one.

use std::collections::BTreeMap;

use super::super::layout::Layout;
use super::super::part::{Part, line, only};
use super::super::reading::{Halves, Reading};
use super::super::script::Transaction;
use super::super::tree::{Entry, Tree};
use super::super::version::{Digits, bare, digits, leading_digits};

pub(in super::super) static LAYOUT: Layout = Layout {
    name: "tern",
    tool: "tern",
    outside: "a file of its own that says ---- tern: disable-tx ----",
    own_transaction: "tern opens a transaction around each way, unless it says ---- tern: disable-tx ----.",
    foreign_keys: false,
    differs: None,
    recognise,
    read,
};

const DIVIDER: &str = "---- create above / drop below ----";
const OUTSIDE: &str = "---- tern: disable-tx ----";

fn recognise(tree: &Tree) -> Option<String> {
    let says = |entry: &Entry, mark: &str| entry.said().lines().any(|line| line.trim_end() == mark);
    let found = |mark: &str| tree.any(|entry| says(entry, mark)).map(|entry| format!("{} has {mark}", entry.path));
    found(DIVIDER).or_else(|| found(OUTSIDE)).or_else(|| tree.file("tern.conf").map(|_| "it has tern.conf".to_owned()))
}

fn read(reading: &mut Reading<'_>) {
    let tree = reading.tree;
    let mut halves: BTreeMap<Digits, Halves> = BTreeMap::new();
    for entry in tree.sql().filter(|entry| entry.folder().is_empty()) {
        let Some((number, rest)) = leading_digits(entry.name()) else { continue };
        let Some(description) = rest.strip_prefix('_').map(|rest| rest.trim_end_matches(".sql")) else { continue };
        let Some(text) = reading.take(entry) else { continue };
        if let Some(at) = text.lines().position(|line| line.contains("{{")) {
            let message = "a value that tern fills in, which is not done here";
            let help = "Rehearse it with --runner, where tern itself fills it in.";
            reading.wrong(&entry.path, Some((line(at), 1)), message, help);
            continue;
        }
        let divider = text.lines().position(|line| line.trim_end() == DIVIDER);
        let part = |text: String| {
            let outside = text.lines().any(|line| line.trim_end() == OUTSIDE);
            let transaction = if outside { Transaction::Each } else { Transaction::One };
            Part { file: tree.show(&entry.path), text, transaction, messages: Vec::new() }
        };
        let at = divider.unwrap_or(usize::MAX);
        let of = (&bare(number)[..], description);
        reading.put(&mut halves, digits(number), of, true, part(only(text, |n| n < at)));
        if divider.is_some() {
            reading.put(&mut halves, digits(number), of, false, part(only(text, |n| n > at)));
        }
    }
    let gap = halves.keys().zip(1_usize..).find(|(key, wanted)| key.1 != wanted.to_string());
    if let Some((key, wanted)) = gap {
        let name = halves[key].up.as_ref().map_or(String::new(), |up| up.file.clone());
        let path = name.strip_prefix(&tree.show("")).unwrap_or(&name).to_owned();
        let message = format!("tern wants number {wanted} here: its numbers begin at 1 and have no gap");
        reading.wrong(&path, None, message, "Number the files 001, 002, 003 and so on.");
    }
    reading.finish(halves);
    reading.leave("tern.conf", "tern's settings, none of which matters to a rehearsal");
}
