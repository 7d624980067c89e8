//! dbmate: `VERSION_name.sql` with both ways, set apart by `-- migrate:up` and `-- migrate:down`.
//!
//! Each way is sent as one text within a transaction; `transaction:false` behind the mark leaves the transaction out.

use std::collections::BTreeMap;

use super::super::layout::Layout;
use super::super::part::{Part, line, marked, only};
use super::super::reading::{Halves, Reading};
use super::super::script::Transaction;
use super::super::tree::{Entry, Tree};
use super::super::version::{Digits, bare, digits, leading_digits};

pub(in super::super) static LAYOUT: Layout = Layout {
    name: "dbmate",
    tool: "dbmate",
    outside: "a file of its own that says -- migrate:up transaction:false, as its only statement",
    own_transaction: "dbmate opens a transaction around each way, unless its mark says transaction:false.",
    foreign_keys: false,
    differs: None,
    recognise,
    read,
};

const MARKS: &str = "dbmate wants -- migrate:up before the statements that apply it, and -- migrate:down after them.";

fn mark<'a>(line: &'a str, way: &str) -> Option<&'a str> {
    let rest = line.strip_prefix("--")?.trim_start().strip_prefix("migrate:")?.strip_prefix(way)?;
    rest.chars().next().is_none_or(char::is_whitespace).then_some(rest)
}

fn up(line: &str) -> Option<&str> {
    mark(line, "up")
}

fn down(line: &str) -> Option<&str> {
    mark(line, "down")
}

fn recognise(tree: &Tree) -> Option<String> {
    let found = tree.any(|entry: &Entry| marked(entry.said(), up).next().is_some());
    found.map(|entry| format!("{} has -- migrate:up", entry.path))
}

fn transaction(options: &str) -> Transaction {
    match options.split_whitespace().any(|option| option == "transaction:false") {
        true => Transaction::Message,
        false => Transaction::One,
    }
}

fn read(reading: &mut Reading<'_>) {
    let tree = reading.tree;
    let mut halves: BTreeMap<Digits, Halves> = BTreeMap::new();
    for entry in tree.sql().filter(|entry| entry.folder().is_empty()) {
        let Some((number, rest)) = leading_digits(entry.name()) else { continue };
        let Some(text) = reading.take(entry) else { continue };
        let (first, second) = (marked(text, up).next(), marked(text, down).next());
        let (Some((up, options)), Some((down, down_options))) = (first, second) else {
            let missing = if first.is_none() { "-- migrate:up" } else { "-- migrate:down" };
            reading.wrong(&entry.path, None, format!("it has no {missing}, which dbmate demands"), MARKS);
            continue;
        };
        let before = text.lines().take(up).position(|line| !line.trim().is_empty() && !line.trim().starts_with("--"));
        if down < up {
            reading.wrong(&entry.path, Some((line(down), 1)), "-- migrate:down stands before -- migrate:up", MARKS);
            continue;
        } else if let Some(before) = before {
            let message = "a statement before -- migrate:up, which dbmate refuses";
            reading.wrong(&entry.path, Some((line(before), 1)), message, MARKS);
            continue;
        }
        let part = |text: String, options| Part {
            file: tree.show(&entry.path),
            text,
            transaction: transaction(options),
            messages: Vec::new(),
        };
        let description = rest.trim_end_matches(".sql").trim_start_matches('_');
        let of = (&bare(number)[..], description);
        reading.put(&mut halves, digits(number), of, true, part(only(text, |n| n > up && n < down), options));
        reading.put(&mut halves, digits(number), of, false, part(only(text, |n| n > down), down_options));
    }
    reading.finish(halves);
}
