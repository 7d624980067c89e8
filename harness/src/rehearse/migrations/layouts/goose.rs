//! goose: `VERSION_name.sql` with both ways, set apart by `-- +goose Up` and `-- +goose Down`.
//!
//! It sends one statement after the other, within a transaction unless the file says `-- +goose NO TRANSACTION`. A
//! statement ends for it where a line ends in a semicolon; `StatementBegin` and `StatementEnd` keep lines together.

use std::collections::BTreeMap;

use super::super::layout::Layout;
use super::super::part::{Part, after_word, line, marked, only};
use super::super::reading::{Halves, Reading};
use super::super::script::Transaction;
use super::super::tree::{Entry, Tree};
use super::super::version::{Digits, bare, digits, leading_digits};
use crate::sql;

pub(in super::super) static LAYOUT: Layout = Layout {
    name: "goose",
    tool: "goose",
    outside: "a file of its own that says -- +goose NO TRANSACTION at its top",
    own_transaction: "goose opens a transaction around each file, unless it says -- +goose NO TRANSACTION.",
    foreign_keys: false,
    differs: None,
    recognise,
    read,
};

const NO_UP: &str = "Put -- +goose Up on a line of its own before the statements that apply it.";
const CUT: &str = "Put -- +goose StatementBegin before the statement, and -- +goose StatementEnd after it.";

/// What a line says to goose, if it does.
fn annotation(line: &str) -> Option<&str> {
    let rest = line.trim().strip_prefix("--")?.trim_start();
    after_word(rest, "+goose").map(str::trim)
}

fn recognise(tree: &Tree) -> Option<String> {
    let is_up = |entry: &Entry| marked(entry.said(), annotation).any(|(_, said)| after_word(said, "Up").is_some());
    tree.any(is_up).map(|entry| format!("{} has -- +goose Up", entry.path))
}

/// What a file's annotations say.
#[derive(Default)]
struct Said {
    up: Option<usize>,
    down: Option<usize>,
    begun: Option<usize>,
    blocks: Vec<(u32, u32)>,
    outside: bool,
}

fn read(reading: &mut Reading<'_>) {
    let tree = reading.tree;
    let mut halves: BTreeMap<Digits, Halves> = BTreeMap::new();
    for entry in tree.sql().filter(|entry| entry.folder().is_empty()) {
        let Some((number, rest)) = leading_digits(entry.name()) else { continue };
        let Some(description) = rest.strip_prefix('_').map(|rest| rest.trim_end_matches(".sql")) else { continue };
        let Some(text) = reading.take(entry) else { continue };
        let Some(said) = heed(reading, entry, text) else { continue };
        let Some(up) = said.up else {
            reading.wrong(&entry.path, None, "it has no -- +goose Up", NO_UP);
            continue;
        };
        let down = said.down.unwrap_or(usize::MAX);
        if down < up {
            reading.wrong(&entry.path, Some((line(down), 1)), "-- +goose Down stands before -- +goose Up", NO_UP);
            continue;
        }
        let transaction = if said.outside { Transaction::Each } else { Transaction::One };
        let part =
            |text: String| Part { file: tree.show(&entry.path), text, transaction, messages: said.blocks.clone() };
        let (applies, undoes) = (only(text, |n| n > up && n < down), only(text, |n| n > down));
        for side in [&applies, &undoes] {
            cuts(reading, entry, side, &said.blocks);
        }
        let of = (&bare(number)[..], description);
        reading.put(&mut halves, digits(number), of, true, part(applies));
        if said.down.is_some() {
            reading.put(&mut halves, digits(number), of, false, part(undoes));
        }
    }
    reading.finish(halves);
    for entry in tree.files.iter().filter(|entry| entry.path.ends_with(".go")) {
        reading.leave(&entry.path, "a migration in Go, which only --runner can rehearse");
    }
}

/// Reads the annotations of a file; `None` if one of them makes it unreadable.
fn heed(reading: &mut Reading<'_>, entry: &Entry, text: &str) -> Option<Said> {
    let mut said = Said::default();
    for (number, word) in marked(text, annotation) {
        let at = Some((line(number), 1));
        let mut wrong = |message: String, help| reading.wrong(&entry.path, at, message, help);
        match word.to_ascii_lowercase().split_whitespace().collect::<Vec<_>>()[..] {
            ["up"] if said.up.is_none() => said.up = Some(number),
            ["down"] if said.down.is_none() => said.down = Some(number),
            ["no", "transaction"] => said.outside = true,
            ["statementbegin"] if said.begun.is_none() => said.begun = Some(number),
            ["statementend"] => match said.begun.take() {
                Some(begun) => said.blocks.push((line(begun + 1), line(number.saturating_sub(1)))),
                None => wrong("-- +goose StatementEnd without a StatementBegin".to_owned(), CUT),
            },
            ["envsub", "off"] => {}
            ["envsub", "on"] => {
                let help = "Rehearse it with --runner, where goose itself fills them in.";
                wrong(
                    "-- +goose ENVSUB ON fills in variables of the environment, which is not done here".to_owned(),
                    help,
                );
                return None;
            }
            _ => {
                let message =
                    format!("goose does not take -- +goose {} here", word.chars().take(40).collect::<String>());
                wrong(message, "goose knows Up, Down, StatementBegin, StatementEnd, NO TRANSACTION, ENVSUB.");
                return None;
            }
        }
    }
    if let Some(begun) = said.begun {
        let at = Some((line(begun), 1));
        reading.wrong(&entry.path, at, "-- +goose StatementBegin without a StatementEnd", CUT);
        return None;
    }
    Some(said)
}

/// Finds statements that goose would cut in two, where a line within them ends in a semicolon outside of a block, and one
/// that it would not end at all.
fn cuts(reading: &mut Reading<'_>, entry: &Entry, text: &str, blocks: &[(u32, u32)]) {
    let code = |line: &str| line.split("--").next().unwrap_or_default().trim_end().to_owned();
    let last = text.lines().enumerate().filter(|(_, line)| !code(line).trim().is_empty()).last();
    if let Some((number, said)) = last
        && !code(said).ends_with(';')
        && !blocks.iter().any(|(from, to)| (*from..=*to).contains(&line(number)))
    {
        let message =
            "the last statement has no semicolon at the end of its line, without which goose refuses the file";
        reading.wrong(&entry.path, Some((line(number), 1)), message, "End it with a semicolon.");
    }
    for statement in sql::split_as(text, reading.dialect).unwrap_or_default() {
        if blocks.iter().any(|(from, to)| (*from..=*to).contains(&statement.line)) {
            continue;
        }
        let mut lines = statement.text.lines().enumerate().peekable();
        while let Some((number, within)) = lines.next() {
            if lines.peek().is_some() && code(within).ends_with(';') {
                let at = statement.line + u32::try_from(number).unwrap_or_default();
                let message = "goose ends the statement here, and the database will refuse both halves";
                reading.wrong(&entry.path, Some((at, 1)), message, CUT);
                break;
            }
        }
    }
}
