//! Flyway: `V1.1__name.sql` or `V1_1__name.sql`, also in subfolders; `U` undoes, `R` is repeatable and comes after all.
//!
//! It opens a transaction around each file, unless all of its statements are such as cannot have one, or the file's
//! `.conf` says `executeInTransaction=false`.

use std::collections::BTreeMap;

use super::super::layout::Layout;
use super::super::part::Part;
use super::super::reading::{Halves, Reading};
use super::super::script::Transaction;
use super::super::tree::{Entry, Tree};
use super::super::version::{Digits, digits};
use crate::sql::{self, Statement};

pub(in super::super) static LAYOUT: Layout = Layout {
    name: "flyway",
    tool: "Flyway",
    outside: "a file of its own without other statements (or with executeInTransaction=false in its .sql.conf)",
    own_transaction: "Flyway opens a transaction around each file, unless its .sql.conf says executeInTransaction=false.",
    foreign_keys: false,
    differs: None,
    recognise,
    read,
};

/// What comes after every version, in the order of the names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Version(Vec<Digits>),
    Repeatable(String),
}

/// A name, taken apart.
enum Kind<'a> {
    Up(&'a str, &'a str),
    Undo(&'a str, &'a str),
    Repeatable(&'a str),
    Baseline,
}

/// `V1_1__name.sql`: its prefix, its version, its description.
fn kind(name: &str) -> Option<Kind<'_>> {
    let stem = name.strip_suffix(".sql")?;
    let (head, description) = stem.split_once("__")?;
    if head == "R" {
        return Some(Kind::Repeatable(description));
    }
    let is_version = |text: &str| {
        text.split(['.', '_']).all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let version = head.get(1..).filter(|version| is_version(version))?;
    match head.as_bytes().first() {
        Some(b'V') => Some(Kind::Up(version, description)),
        Some(b'U') => Some(Kind::Undo(version, description)),
        Some(b'B') => Some(Kind::Baseline),
        _ => None,
    }
}

fn parts(version: &str) -> impl Iterator<Item = Digits> {
    version.split(['.', '_']).map(digits)
}

/// A version as it is compared: 1 and 1.0 are the same.
fn key(version: &str) -> Key {
    let mut parts: Vec<Digits> = parts(version).collect();
    while parts.last().is_some_and(|(length, _)| *length == 0) && parts.len() > 1 {
        parts.pop();
    }
    Key::Version(parts)
}

/// A version as it is shown: with dots, and without zeros before its numbers.
fn shown(version: &str) -> String {
    let one = |(length, bare): Digits| if length == 0 { "0".to_owned() } else { bare };
    parts(version).map(one).collect::<Vec<_>>().join(".")
}

fn recognise(tree: &Tree) -> Option<String> {
    let found = tree.any(|entry: &Entry| kind(entry.name()).is_some());
    found.map(|entry| format!("{} is named as Flyway wants it", entry.path))
}

fn read(reading: &mut Reading<'_>) {
    let tree = reading.tree;
    let mut halves: BTreeMap<Key, Halves> = BTreeMap::new();
    for entry in tree.sql() {
        let (of, is_up) = match kind(entry.name()) {
            Some(Kind::Up(version, description)) => ((key(version), shown(version), description), true),
            Some(Kind::Undo(version, description)) => ((key(version), shown(version), description), false),
            Some(Kind::Repeatable(description)) => {
                ((Key::Repeatable(description.to_owned()), format!("R__{description}"), description), true)
            }
            Some(Kind::Baseline) => {
                reading.leave(&entry.path, "a baseline, which Flyway runs on new databases only");
                continue;
            }
            None if is_callback(entry.name()) => {
                reading.leave(&entry.path, "a callback of Flyway's, which is no migration");
                continue;
            }
            None => continue,
        };
        let Some(text) = reading.take(entry) else { continue };
        if let Some(part) = part(reading, entry, text) {
            let (key, name, description) = of;
            reading.put(&mut halves, key, (&name, description), is_up, part);
        }
    }
    reading.finish(halves);
    for entry in tree.files.iter().filter(|entry| entry.path.ends_with(".sql.conf")) {
        reading.heed(&entry.path);
    }
}

fn is_callback(name: &str) -> bool {
    ["before", "after", "createSchema"].iter().any(|event| name.starts_with(event))
}

/// What a file's `.conf` says of a setting.
fn setting(tree: &Tree, entry: &Entry, name: &str) -> Option<bool> {
    let conf = tree.file(&format!("{}.conf", entry.path))?;
    let pairs = conf.said().lines().filter_map(|line| line.split_once('='));
    let said: Vec<&str> = pairs.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim()).collect();
    let value = said.last()?;
    Some(value.eq_ignore_ascii_case("true"))
}

fn part(reading: &mut Reading<'_>, entry: &Entry, text: &str) -> Option<Part> {
    let tree = reading.tree;
    if setting(tree, entry, "placeholderReplacement") != Some(false)
        && let Some(at) = placeholder(text)
    {
        let message = "a placeholder of Flyway's, which is not filled in here";
        let help = "Rehearse it with --runner, or say placeholderReplacement=false in the file's .sql.conf.";
        reading.wrong(&entry.path, Some(sql::place(text, at)), message, help);
        return None;
    }
    let statements = sql::split_as(text, reading.dialect).unwrap_or_default();
    let alone = statements.iter().position(cannot_have_a_transaction);
    let transaction = match (setting(tree, entry, "executeInTransaction"), alone) {
        (Some(false), _) => Transaction::Each,
        (None, Some(_)) if statements.iter().all(cannot_have_a_transaction) => Transaction::Each,
        (None, Some(at)) => {
            let at = &statements[at];
            let message = "a statement that cannot run in a transaction, among others: Flyway refuses the file (mixed)";
            let help = "Give it a file of its own, or say executeInTransaction=false in the file's .sql.conf.";
            reading.wrong(&entry.path, Some((at.line, at.column)), message, help);
            return None;
        }
        (Some(true), _) | (None, None) => Transaction::One,
    };
    Some(Part::whole(tree.show(&entry.path), text, transaction))
}

/// Where `${name}` is.
fn placeholder(text: &str) -> Option<usize> {
    text.match_indices("${").map(|(at, _)| at).find(|at| {
        let name = text[at + 2..].split('}').next().unwrap_or_default();
        let sound = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | ':' | '-');
        !name.is_empty() && name.chars().all(sound) && text[at + 2 + name.len()..].starts_with('}')
    })
}

/// Whether Flyway takes a statement for one that PostgreSQL runs outside of a transaction only.
fn cannot_have_a_transaction(statement: &Statement) -> bool {
    let begins = |words: &[&str]| statement.begins(words);
    let indexes = [&["CREATE"][..], &["DROP"], &["CREATE", "UNIQUE"]];
    let concurrent = indexes.iter().any(|head| begins(&[head, &["INDEX", "CONCURRENTLY"][..]].concat()));
    let whole = ["CREATE", "DROP"]
        .iter()
        .any(|verb| ["DATABASE", "TABLESPACE", "SUBSCRIPTION"].iter().any(|what| begins(&[verb, what])));
    let reindex =
        begins(&["REINDEX"]) && ["SCHEMA", "DATABASE", "SYSTEM", "CONCURRENTLY"].iter().any(|what| statement.has(what));
    concurrent || whole || reindex || begins(&["ALTER", "SYSTEM"]) || begins(&["VACUUM"]) || begins(&["DISCARD", "ALL"])
    // The server itself allows it since version 12, and Flyway knows that.
}
