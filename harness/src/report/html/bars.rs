//! Charts of bars: one row for each of some things, in parts that add up.

use maud::{Markup, html};

use super::paint::Paint;
use super::scale::{Axis, Scale, round};
use super::table::{Table, cell};

const WIDTH: f64 = 400.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 58.0;
const ROW: f64 = 20.0;
const BOTTOM: f64 = 40.0;
/// How many rows are drawn.
const ROWS_MAX: usize = 32;

/// How many letters a row's name has room for.
const LETTERS_MAX: usize = 14;

/// A row's name and the lengths of its parts.
pub type Row = (String, Vec<f64>);

/// Which rows are left out where there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// Those at the end.
    Last,
    /// Those in the middle: both ends matter.
    Middle,
}

/// A chart of bars.
#[derive(Clone, Debug)]
pub struct Bars {
    /// What it shows.
    pub title: String,
    /// What to read from it, as a sentence.
    pub caption: String,
    /// What its axis shows, with its unit.
    pub axis: String,
    /// The unit that is written after each row's length.
    pub unit: String,
    /// What its parts are called.
    pub parts: Vec<String>,
    /// Its rows, from the top down.
    pub rows: Vec<Row>,
    /// Which rows are left out where there are too many.
    pub left_out: LeftOut,
    /// Single values behind a row's length, by row; those of rows that are not named are none.
    pub dots: Vec<Vec<f64>>,
}

impl Bars {
    /// The chart as a figure, with its legend.
    pub fn render(&self) -> Markup {
        let (first, last) = self.shown();
        let left_out = self.rows.len() - first.len() - last.len();
        let has_gap = left_out > 0 && !last.is_empty();
        let bottom = (first.len() + last.len() + usize::from(has_gap)) as f64 * ROW + 6.0;
        let scale = Scale::new(
            &Axis::even(""),
            first.iter().chain(last).map(total).chain(self.dots.iter().flatten().copied()),
            LEFT,
            WIDTH - RIGHT,
        );
        let after = first.len() + usize::from(has_gap);
        html! {
            figure {
                h2 { (self.title) }
                svg viewBox=(format!("0 0 {WIDTH} {}", bottom + BOTTOM)) role="img" aria-label=(self.title) {
                    (scale.across(0.0, bottom, true))
                    @for (index, row) in first.iter().enumerate() { (self.row(row, index, &scale)) }
                    @if has_gap {
                        text class="faint" x=(LEFT + 4.0) y=(first.len() as f64 * ROW + 16.0) {
                            "… " (left_out) " more in between …"
                        }
                    }
                    @for (index, row) in last.iter().enumerate() { (self.row(row, after + index, &scale)) }
                    text x=((LEFT + WIDTH - RIGHT) / 2.0) y=(bottom + 33.0) text-anchor="middle" { (self.axis) }
                }
                (self.legend())
                figcaption {
                    (self.caption)
                    @if left_out > 0 { " " (left_out) " more are not shown." }
                    " " (self.table().link(&self.title))
                }
            }
        }
    }

    /// All its rows, those that are not drawn too.
    fn table(&self) -> Table {
        let unit = |part: &String| if self.unit.is_empty() { part.clone() } else { format!("{part}, {}", self.unit) };
        let mut table = Table::new(std::iter::once("name".to_owned()).chain(self.parts.iter().map(unit)));
        for (name, lengths) in &self.rows {
            table.row(std::iter::once(name.clone()).chain(lengths.iter().map(|length| cell(*length))));
        }
        table
    }

    /// The rows that are drawn: those before what is left out, and those after it.
    fn shown(&self) -> (&[Row], &[Row]) {
        match self.left_out {
            _ if self.rows.len() <= ROWS_MAX => (&self.rows, &[]),
            LeftOut::Last => (&self.rows[..ROWS_MAX], &[]),
            LeftOut::Middle => (&self.rows[..ROWS_MAX / 2], &self.rows[self.rows.len() - ROWS_MAX / 2..]),
        }
    }

    fn row(&self, row: &Row, index: usize, scale: &Scale) -> Markup {
        let top = index as f64 * ROW + 4.0;
        html! {
            text x=(LEFT - 6.0) y=(top + 13.0) text-anchor="end" { (shortened(&row.0)) }
            @for (part, (from, length)) in stacked(&row.1).enumerate() {
                @let (near, far) = (round(scale.nearest(from)), round(scale.nearest(from + length)));
                rect class="part" x=(near) y=(top) width=(round(far - near)) height=(ROW - 4.0)
                    fill=(Paint::nth(part).colour()) {
                    title { (row.0) ", " (self.parts.get(part).map_or("", String::as_str)) ": " (shown_length(length)) " " (self.unit) }
                }
            }
            @for dot in self.dots.get(index).into_iter().flatten() {
                circle class="run" cx=(round(scale.nearest(*dot))) cy=(top + (ROW - 4.0) / 2.0) r="2.5" {
                    title { (row.0) ", a run: " (shown_length(*dot)) " " (self.unit) }
                }
            }
            @let dots = self.dots.get(index).into_iter().flatten().copied().fold(0.0, f64::max);
            text class="words" x=(round(scale.nearest(total(row).max(dots)) + 5.0)) y=(top + 13.0) {
                (shown_length(total(row))) @if !self.unit.starts_with('/') { " " } (self.unit)
            }
        }
    }

    fn legend(&self) -> Markup {
        html! {
            ul class="legend" {
                @for (index, part) in self.parts.iter().enumerate() {
                    li {
                        svg viewBox="0 0 28 12" aria-hidden="true" {
                            rect x="4" y="1" width="20" height="10" fill=(Paint::nth(index).colour()) {}
                        }
                        " " (part)
                    }
                }
            }
        }
    }
}

/// A whole row's length.
fn total(row: &Row) -> f64 {
    row.1.iter().sum()
}

/// A name that is no longer than there is room for.
fn shortened(name: &str) -> String {
    if name.chars().count() <= LETTERS_MAX {
        return name.to_owned();
    }
    name.chars().take(LETTERS_MAX - 1).chain(['…']).collect()
}

/// A length with the digits that matter; what is counted has none after the point.
fn shown_length(length: f64) -> String {
    let digits = match length {
        length if length.fract() == 0.0 || length >= 100.0 => 0,
        length if length >= 10.0 => 1,
        _ => 2,
    };
    format!("{length:.digits$}")
}

/// Where each part begins, and how long it is.
fn stacked(parts: &[f64]) -> impl Iterator<Item = (f64, f64)> + '_ {
    parts.iter().scan(0.0, |from, length| {
        let began = *from;
        *from += length;
        Some((began, *length))
    })
}
