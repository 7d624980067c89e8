//! What a chart shows as a file for spreadsheets, within the page: a link that needs no script.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};

/// A table of what a chart shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its first line and the others.
    lines: Vec<Vec<String>>,
}

impl Table {
    /// One with these columns.
    pub fn new(columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { lines: vec![columns.into_iter().map(Into::into).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, values: impl IntoIterator<Item = String>) {
        self.lines.push(values.into_iter().collect());
    }

    /// As CSV (RFC 4180).
    fn csv(&self) -> Vec<u8> {
        let mut writer =
            csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).flexible(true).from_writer(Vec::new());
        for line in &self.lines {
            // Writing to memory cannot fail.
            let _ = writer.write_record(line);
        }
        writer.into_inner().unwrap_or_default()
    }

    /// A link that hands it over as a file that is called like what it shows.
    pub fn link(&self, title: &str) -> Markup {
        let is_plain = |c: char| c.is_ascii_alphanumeric();
        let name: String = title.to_lowercase().chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
        let name = name.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
        let data = format!("data:text/csv;charset=utf-8;base64,{}", STANDARD.encode(self.csv()));
        html! {
            a class="download small" download=(format!("{name}.csv")) href=(data) {
                "CSV" span class="visually-hidden" { " of " (title) }
            }
        }
    }
}

/// A number as a cell: one that is none is empty.
pub fn cell(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_keep_what_is_in_them_and_the_file_is_called_like_the_chart() {
        let mut table = Table::new(["name", "time, ms"]);
        table.row(["a \"b\", c".to_owned(), cell(1.5)]);
        table.row(["d".to_owned(), cell(f64::INFINITY)]);
        let csv = String::from_utf8(table.csv()).unwrap();
        assert_eq!(csv, "name,\"time, ms\"\r\n\"a \"\"b\"\", c\",1.5\r\nd,\r\n");
        let link = table.link("Percentiles by <phase>").into_string();
        assert!(
            link.contains("download=\"percentiles-by-phase.csv\" href=\"data:text/csv;charset=utf-8;base64,bmFt"),
            "{link}"
        );
    }
}
