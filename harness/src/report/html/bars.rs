//! Charts of bars: one row for each of some things, in parts that add up.

use maud::{Markup, html};

use super::chart::round;
use super::colour;

const WIDTH: f64 = 400.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 58.0;
const ROW: f64 = 20.0;
/// How many rows are drawn.
const ROWS_MAX: usize = 32;

/// A chart of bars.
#[derive(Clone, Debug)]
pub struct Bars {
    /// What it shows.
    pub title: String,
    /// What to read from it, as a sentence.
    pub caption: String,
    /// The unit of its numbers.
    pub unit: String,
    /// What its parts are called.
    pub parts: Vec<String>,
    /// Each row's name and the lengths of its parts.
    pub rows: Vec<(String, Vec<f64>)>,
}

impl Bars {
    /// The chart as a figure, with its legend.
    pub fn render(&self) -> Markup {
        let total = |row: &(String, Vec<f64>)| row.1.iter().sum::<f64>();
        let longest = self.rows.iter().map(total).fold(f64::MIN_POSITIVE, f64::max);
        let scale = (WIDTH - LEFT - RIGHT) / longest;
        let shown = &self.rows[..self.rows.len().min(ROWS_MAX)];
        let left_out = self.rows.len() - shown.len();
        html! {
            figure {
                h2 { (self.title) }
                svg viewBox=(format!("0 0 {WIDTH} {}", shown.len() as f64 * ROW + 8.0)) role="img" aria-label=(self.title) {
                    @for (index, row) in shown.iter().enumerate() {
                        @let top = index as f64 * ROW + 4.0;
                        text x=(LEFT - 6.0) y=(top + 13.0) text-anchor="end" { (row.0) }
                        @for (part, (from, length)) in stacked(&row.1).enumerate() {
                            rect x=(round(LEFT + from * scale)) y=(top) width=(round(length * scale)) height=(ROW - 4.0)
                                fill=(colour(part)) {}
                        }
                        text class="faint" x=(round(LEFT + total(row) * scale + 5.0)) y=(top + 13.0) {
                            (shown_length(total(row))) " " (self.unit)
                        }
                    }
                }
                ul class="legend" {
                    @for (index, part) in self.parts.iter().enumerate() {
                        li {
                            svg viewBox="0 0 28 12" aria-hidden="true" {
                                rect x="4" y="1" width="20" height="10" fill=(colour(index)) {}
                            }
                            " " (part)
                        }
                    }
                }
                figcaption {
                    (self.caption)
                    @if left_out > 0 { " " (left_out) " more are not shown." }
                }
            }
        }
    }
}

/// A length with the digits that matter; what is counted has none after the point.
fn shown_length(length: f64) -> String {
    let digits = if length.fract() == 0.0 || length >= 100.0 { 0 } else { 1 };
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
