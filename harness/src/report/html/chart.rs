//! Charts of points and lines over two axes.

use maud::{Markup, html};

use super::colour;

/// The size of a chart, and of the place for its axes, in units of its own.
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 42.0;

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A line through its points.
    Line,
    /// A broken line: what a model says.
    Dashed,
    /// The points alone: what was measured.
    Dots,
    /// What lies within its points, there and back: how sure the series before it is, in whose colour it is drawn.
    Band,
}

/// Some points that belong together.
#[derive(Clone, Debug)]
pub struct Series {
    /// What the legend says.
    pub name: String,
    /// How it is drawn.
    pub look: Look,
    /// Where; points that are no numbers are left out.
    pub points: Vec<(f64, f64)>,
}

/// How numbers lie along an axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows, with its unit.
    pub label: String,
    /// Whether tenfold is always the same distance.
    pub is_log: bool,
    /// Its ticks with what is written there; empty: round numbers.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis with round numbers.
    pub fn even(label: &str) -> Self {
        Self { label: label.to_owned(), is_log: false, ticks: Vec::new() }
    }

    /// An axis with powers of ten.
    pub fn log(label: &str) -> Self {
        Self { is_log: true, ..Self::even(label) }
    }
}

/// A straight line across the chart, or a stretch of it.
#[derive(Clone, Debug)]
pub struct Mark {
    /// What is written beside it.
    pub label: String,
    /// Where: on the horizontal axis if `vertical`, else on the other one.
    pub from: f64,
    /// The other end of the stretch; a line ends where it begins.
    pub to: f64,
    /// Whether it stands upright.
    pub vertical: bool,
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// What to read from it, as a sentence.
    pub caption: String,
    /// From left to right.
    pub x: Axis,
    /// From the bottom up.
    pub y: Axis,
    /// What is drawn.
    pub series: Vec<Series>,
    /// Lines and stretches behind it.
    pub marks: Vec<Mark>,
}

/// The place of numbers along an axis.
struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
    from: f64,
    to: f64,
    ticks: Vec<(f64, String)>,
}

impl Scale {
    fn new(axis: &Axis, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let usable = values.filter(|value| value.is_finite() && (!axis.is_log || *value > 0.0));
        let (mut low, mut high) =
            usable.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        let mut ticks = axis.ticks.clone();
        if axis.is_log {
            if ticks.is_empty() {
                (low, high) = (10_f64.powf(low.log10().floor()), 10_f64.powf(high.log10().ceil()));
                high = if high <= low { low * 10.0 } else { high };
                let powers = low.log10().round() as i32..=high.log10().round() as i32;
                ticks = powers.map(|power| (10_f64.powi(power), number(10_f64.powi(power)))).collect();
            }
        } else {
            low = low.min(0.0);
            let step = round_step((high - low).max(f64::MIN_POSITIVE) / 5.0);
            let count = ((high - low) / step).ceil().clamp(1.0, 20.0);
            high = low + step * count;
            if ticks.is_empty() {
                ticks = (0..=count as u32).map(|n| low + step * f64::from(n)).map(|at| (at, number(at))).collect();
            }
        }
        Self { low, high, is_log: axis.is_log, from, to, ticks }
    }

    fn place(&self, value: f64) -> Option<f64> {
        let part = if self.is_log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        (part.is_finite() && (-1e-9..=1.0 + 1e-9).contains(&part)).then_some(self.from + part * (self.to - self.from))
    }
}

/// 1, 2 or 5 times a power of ten, at least as large.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= least * 0.999).unwrap_or(power)
}

/// A number with as many digits as an axis has room for.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e4 => format!("{:.0}k", value / 1e3),
        size if size >= 10.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.1}").trim_end_matches(".0").to_owned(),
        _ => {
            let text = format!("{value:.4}");
            text.trim_end_matches('0').to_owned()
        }
    }
}

impl Chart {
    /// The series, each with the number of its colour.
    fn coloured(&self) -> impl Iterator<Item = (usize, &Series)> {
        let mut next = 0;
        self.series.iter().map(move |series| {
            next += usize::from(series.look != Look::Band);
            (next.saturating_sub(1), series)
        })
    }

    /// The chart as a figure, with its legend.
    pub fn render(&self) -> Markup {
        let marks = |vertical| self.marks.iter().filter(move |mark| mark.vertical == vertical);
        let ends = |vertical| marks(vertical).flat_map(|mark| [mark.from, mark.to]);
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Scale::new(&self.x, points().map(|point| point.0).chain(ends(true)), LEFT, WIDTH - RIGHT);
        let y = Scale::new(&self.y, points().map(|point| point.1).chain(ends(false)), HEIGHT - BOTTOM, TOP);
        html! {
            figure {
                h2 { (self.title) }
                svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(self.title) {
                    (grid(&x, &y))
                    @for (index, mark) in self.marks.iter().enumerate() { (drawn_mark(mark, index, &x, &y)) }
                    @for (index, series) in self.coloured() { (drawn(series, index, &x, &y)) }
                    text x=((LEFT + WIDTH - RIGHT) / 2.0) y=(HEIGHT - 6.0) text-anchor="middle" { (self.x.label) }
                    text transform=(format!("translate(12 {}) rotate(-90)", (TOP + HEIGHT - BOTTOM) / 2.0))
                        text-anchor="middle" { (self.y.label) }
                }
                ul class="legend" {
                    @for (index, series) in self.coloured() {
                        li { (sample(series.look, index)) " " (series.name) }
                    }
                }
                figcaption { (self.caption) }
            }
        }
    }
}

fn grid(x: &Scale, y: &Scale) -> Markup {
    let (left, right, top, bottom) = (x.from, x.to, y.to, y.from);
    html! {
        @for (value, text) in &y.ticks {
            @if let Some(at) = y.place(*value) {
                line class="grid" x1=(left) x2=(right) y1=(round(at)) y2=(round(at)) {}
                text class="faint" x=(left - 5.0) y=(round(at + 4.0)) text-anchor="end" { (text) }
            }
        }
        @for (value, text) in &x.ticks {
            @if let Some(at) = x.place(*value) {
                line class="axis" x1=(round(at)) x2=(round(at)) y1=(bottom) y2=(bottom + 4.0) {}
                // Beyond the last place there is no room for half a number.
                @let anchor = if at > right - 1.0 { "end" } else { "middle" };
                text class="faint" x=(round(at)) y=(bottom + 16.0) text-anchor=(anchor) { (text) }
            }
        }
        line class="axis" x1=(left) x2=(right) y1=(bottom) y2=(bottom) {}
        line class="axis" x1=(left) x2=(left) y1=(top) y2=(bottom) {}
    }
}

fn drawn_mark(mark: &Mark, index: usize, x: &Scale, y: &Scale) -> Markup {
    let scale = if mark.vertical { x } else { y };
    let (Some(from), Some(to)) = (scale.place(mark.from), scale.place(mark.to)) else { return html! {} };
    let (near, far) = (from.min(to), from.max(to));
    html! {
        @if mark.vertical {
            @if far - near > 1.0 {
                rect x=(round(near)) y=(y.to) width=(round(far - near)) height=(y.from - y.to)
                    fill="var(--c5)" opacity=".18" {}
            } @else {
                line x1=(round(near)) x2=(round(near)) y1=(y.to) y2=(y.from) stroke="var(--c5)" stroke-dasharray="2 3" {}
            }
            @let is_right = near > (x.from + x.to) / 2.0;
            text x=(round(if is_right { near - 4.0 } else { far + 4.0 })) y=(y.to + 10.0)
                text-anchor=(if is_right { "end" } else { "start" }) { (mark.label) }
        } @else {
            @if far - near > 1.0 {
                rect x=(x.from) y=(round(near)) width=(x.to - x.from) height=(round(far - near))
                    fill="var(--c5)" opacity=".18" {}
            } @else {
                line x1=(x.from) x2=(x.to) y1=(round(near)) y2=(round(near)) stroke="var(--c5)" stroke-dasharray="2 3" {}
            }
            // Two lines that lie close together have their words at different ends.
            @let is_left = index.is_multiple_of(2);
            text x=(if is_left { x.from + 4.0 } else { x.to }) y=(round(near - 4.0))
                text-anchor=(if is_left { "start" } else { "end" }) { (mark.label) }
        }
    }
}

fn drawn(series: &Series, index: usize, x: &Scale, y: &Scale) -> Markup {
    let places: Vec<(f64, f64)> = series
        .points
        .iter()
        .filter_map(|(across, up)| Some((round(x.place(*across)?), round(y.place(*up)?))))
        .collect();
    let path: String = places.iter().map(|(across, up)| format!("{across},{up} ")).collect();
    let dash = if series.look == Look::Dashed { "6 4" } else { "none" };
    html! {
        @if series.look == Look::Dots {
            @for (across, up) in &places { (dot(*across, *up, index)) }
        } @else if series.look == Look::Band {
            polygon points=(path.trim_end()) fill=(colour(index)) opacity=".15" {}
        } @else {
            polyline points=(path.trim_end()) fill="none" stroke=(colour(index)) stroke-width="2"
                stroke-dasharray=(dash) {}
        }
    }
}

/// Dots of different series differ in shape as well, for who cannot tell the colours.
fn dot(across: f64, up: f64, index: usize) -> Markup {
    html! {
        @if index.is_multiple_of(2) {
            circle cx=(across) cy=(up) r="3.5" fill=(colour(index)) {}
        } @else {
            rect x=(across - 3.0) y=(up - 3.0) width="6" height="6" fill=(colour(index)) {}
        }
    }
}

fn sample(look: Look, index: usize) -> Markup {
    let dash = if look == Look::Dashed { "6 4" } else { "none" };
    html! {
        svg viewBox="0 0 28 12" aria-hidden="true" {
            @if look == Look::Dots { (dot(14.0, 6.0, index)) } @else if look == Look::Band {
                rect width="28" height="12" fill=(colour(index)) opacity=".15" {}
            } @else {
                line x1="0" x2="28" y1="6" y2="6" stroke=(colour(index)) stroke-width="2" stroke-dasharray=(dash) {}
            }
        }
    }
}

/// A place with as many digits as can be seen.
pub(super) fn round(at: f64) -> f64 {
    (at * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers_and_hold_every_point() {
        let even = Scale::new(&Axis::even("a"), [3.0, 47.0].into_iter(), 0.0, 100.0);
        let written: Vec<&str> = even.ticks.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(written, ["0", "10", "20", "30", "40", "50"]);
        assert_eq!((even.place(0.0), even.place(50.0), even.place(51.0)), (Some(0.0), Some(100.0), None));
        let log = Scale::new(&Axis::log("a"), [0.04, 230.0, 0.0, f64::NAN].into_iter(), 0.0, 100.0);
        let written: Vec<&str> = log.ticks.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(written, ["0.01", "0.1", "1", "10", "100", "1000"]);
        assert_eq!(log.place(0.0), None);
        for axis in [Axis::even("a"), Axis::log("a")] {
            for values in [vec![], vec![5.0], vec![0.0], vec![f64::INFINITY]] {
                let scale = Scale::new(&axis, values.iter().copied(), 0.0, 1.0);
                assert!(scale.high > scale.low && scale.ticks.len() > 1, "{values:?}");
            }
        }
    }
}
