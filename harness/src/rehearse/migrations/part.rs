//! A part of a file: the lines of it that one direction consists of.

use super::script::Transaction;

/// What a script is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The file, as it is shown.
    pub(super) file: String,
    /// Its text, with empty lines in place of what is not of this part.
    pub(super) text: String,
    /// What the tool does about a transaction.
    pub(super) transaction: Transaction,
    /// The lines, from and to, whose statements the tool sends in one message.
    pub(super) messages: Vec<(u32, u32)>,
}

impl Part {
    /// A whole file.
    pub(super) fn whole(file: String, text: &str, transaction: Transaction) -> Self {
        Self { file, text: text.to_owned(), transaction, messages: Vec::new() }
    }

    /// Whether it has nothing but comments and blank lines.
    pub(super) fn is_empty(&self) -> bool {
        crate::sql::split_as(&self.text, crate::sql::Dialect::Postgres).is_ok_and(|statements| statements.is_empty())
    }
}

/// The text with only the lines of which `is_of` holds, the others empty: so every line keeps its number.
pub(super) fn only(text: &str, mut is_of: impl FnMut(usize) -> bool) -> String {
    let mut kept = String::with_capacity(text.len());
    for (number, line) in text.split_inclusive('\n').enumerate() {
        match is_of(number) {
            true => kept.push_str(line),
            false => kept.push('\n'),
        }
    }
    kept
}

/// The lines of a text that begin with a mark, with what follows it: number from 0, and the rest of the line.
pub(super) fn marked(text: &str, mark: fn(&str) -> Option<&str>) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(move |(number, line)| Some((number, mark(line)?)))
}

/// The number of a line as people count.
pub(super) fn line(number: usize) -> u32 {
    u32::try_from(number + 1).unwrap_or(u32::MAX)
}

/// What follows a word at the beginning of a text, whatever its letters' case, if it is a word of its own.
pub(super) fn after_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let rest = text.trim_start();
    let head = rest.get(..word.len())?;
    let tail = &rest[word.len()..];
    (head.eq_ignore_ascii_case(word) && tail.chars().next().is_none_or(char::is_whitespace)).then_some(tail)
}
