//! How libpq shows result tables and messages of the server.
//!
//! Everything is measured in bytes, as libpq's aligned format does.

use tokio_postgres::error::{DbError, ErrorPosition};

/// Rows, as text; `None` is NULL, which looks like an empty string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows, as long as `columns` each.
    pub rows: Vec<Vec<Option<String>>>,
}

impl Table {
    /// The table with its header and the number of its rows; nothing if it has no columns.
    pub fn aligned(&self) -> String {
        if self.columns.is_empty() {
            return String::new();
        }
        let columns: Vec<Column> = self.columns.iter().enumerate().map(|(at, name)| self.column(at, name)).collect();
        let header = self.columns.iter().map(String::as_str);
        let mut text = line(&columns, header);
        let rules: Vec<String> = columns.iter().map(|column| "-".repeat(column.width)).collect();
        text.push_str(&rules.join("+"));
        text.push('\n');
        for row in &self.rows {
            text.push_str(&line(&columns, row.iter().map(|value| value.as_deref().unwrap_or_default())));
        }
        let plural = if self.rows.len() == 1 { "" } else { "s" };
        text.push_str(&format!("({} row{plural})\n\n", self.rows.len()));
        text
    }

    fn column(&self, at: usize, name: &str) -> Column {
        let values = || self.rows.iter().filter_map(|row| row[at].as_deref()).filter(|value| !value.is_empty());
        Column {
            width: values().map(str::len).chain([name.len()]).max().unwrap_or_default(),
            numeric: values().all(looks_numeric),
        }
    }
}

struct Column {
    width: usize,
    numeric: bool,
}

fn line<'a>(columns: &[Column], values: impl Iterator<Item = &'a str>) -> String {
    let cell = |(column, value): (&Column, &str)| {
        let blanks = " ".repeat(column.width.saturating_sub(value.len()));
        if column.numeric { format!("{blanks}{value}") } else { format!("{value}{blanks}") }
    };
    let cells: Vec<String> = columns.iter().zip(values).map(cell).collect();
    cells.join("|") + "\n"
}

/// Whether a value is put to the right: digits with what numbers, dates and ranges are made of, not
/// beginning with an exponent, and ending with a digit.
fn looks_numeric(value: &str) -> bool {
    let bytes = value.as_bytes();
    bytes.iter().all(|byte| byte.is_ascii_digit() || b".Ee -".contains(byte))
        && !matches!(bytes.first(), Some(b'E' | b'e'))
        && bytes.last().is_some_and(u8::is_ascii_digit)
}

/// A message of the server with its detail and hint. A notice's context is left out, an error's is
/// not.
pub(super) fn message(error: &DbError, query: &str, with_context: bool) -> String {
    let mut text = format!("{}:  {}\n", error.severity(), error.message());
    match error.position() {
        Some(ErrorPosition::Original(at)) => text.push_str(&cursor(query, *at)),
        Some(ErrorPosition::Internal { position, query }) => text.push_str(&cursor(query, *position)),
        None => {}
    }
    let mut add = |label: &str, value: Option<&str>| {
        if let Some(value) = value {
            text.push_str(&format!("{label}:  {value}\n"));
        }
    };
    add("DETAIL", error.detail());
    add("HINT", error.hint());
    if let Some(ErrorPosition::Internal { query, .. }) = error.position() {
        add("QUERY", Some(query));
    }
    add("CONTEXT", error.where_().filter(|_| with_context));
    text
}

/// How much of a line is shown, and how much of it must follow the place in question.
const SHOWN: usize = 60;
const AFTER: usize = 10;

/// The line of a query that holds a character (counted from 1), and a mark below that character.
fn cursor(query: &str, position: u32) -> String {
    let Some(at) = usize::try_from(position).unwrap_or_default().checked_sub(1) else {
        return String::new();
    };
    let text: Vec<char> = query.replace("\r\n", " \n").replace('\r', "\n").replace('\t', " ").chars().collect();
    let at = at.min(text.len());
    let number = text[..at].iter().filter(|c| **c == '\n').count() + 1;
    let mut begin = text[..at].iter().rposition(|c| *c == '\n').map_or(0, |end| end + 1);
    let mut end = text[at..].iter().position(|c| *c == '\n').map_or(text.len(), |length| at + length);
    let (mut before, mut after) = ("", "");
    if end - begin > SHOWN {
        if begin + SHOWN < at + AFTER {
            if at + AFTER < end {
                (end, after) = (at + AFTER, "...");
            }
            if end - begin > SHOWN {
                (begin, before) = (end - SHOWN, "...");
            }
        } else {
            (end, after) = (begin + SHOWN, "...");
        }
    }
    let label = format!("LINE {number}: {before}");
    let blanks = " ".repeat(label.len() + at - begin);
    let shown: String = text[begin..end].iter().collect();
    format!("{label}{shown}{after}\n{blanks}^\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[&str], rows: &[&[Option<&str>]]) -> String {
        let rows = rows.iter().map(|row| row.iter().map(|value| value.map(str::to_owned)).collect()).collect();
        Table { columns: columns.iter().map(|name| (*name).to_owned()).collect(), rows }.aligned()
    }

    #[test]
    fn numbers_stand_right_and_text_stands_left_with_its_blanks_kept() {
        let text = table(&["id", "name"], &[&[Some("7"), Some("ab")], &[Some("10"), None]]);
        assert_eq!(text, "id|name\n--+----\n 7|ab  \n10|    \n(2 rows)\n\n");
    }

    #[test]
    fn a_column_of_nothing_stands_right_and_widths_are_bytes() {
        assert_eq!(table(&["void"], &[&[None]]), "void\n----\n    \n(1 row)\n\n");
        assert_eq!(table(&["x"], &[&[Some("äb")]]), "x  \n---\näb\n(1 row)\n\n");
    }

    #[test]
    fn a_table_without_columns_is_not_shown() {
        assert_eq!(table(&[], &[&[]]), "");
    }

    #[test]
    fn an_exponent_at_the_start_or_a_sign_at_the_end_is_not_a_number() {
        assert!(looks_numeric("-1.5e3") && looks_numeric("2024-01-01"));
        assert!(!looks_numeric("e3") && !looks_numeric("5-") && !looks_numeric("a1"));
    }

    #[test]
    fn the_mark_stands_below_the_character_in_question() {
        assert_eq!(cursor("SELECT\n\tx;", 9), "LINE 2:  x;\n         ^\n");
        let long = format!("SELECT {}", "a".repeat(80));
        assert_eq!(cursor(&long, 8), format!("LINE 1: SELECT {}...\n               ^\n", "a".repeat(53)));
    }
}
