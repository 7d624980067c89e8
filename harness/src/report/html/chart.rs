//! Charts of points and lines over two axes.

use maud::{Markup, html};

use super::paint::Paint;
use super::scale::{Axis, Scale, number, round};
use super::table::{Table, cell};

/// The size of a chart, and of the place for its axes, in units of its own.
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 42.0;
/// How far the words of marks are from each other.
const WORDS: f64 = 13.0;

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A line through its points.
    Line,
    /// The points alone: what was measured.
    Dots,
    /// What lies within its points, there and back.
    Band,
}

/// Some points that belong together.
#[derive(Clone, Debug)]
pub struct Series {
    /// What the legend says.
    pub name: String,
    /// How it is drawn.
    pub look: Look,
    /// What tells it from the others.
    pub paint: Paint,
    /// Where; points that are no numbers are left out.
    pub points: Vec<(f64, f64)>,
    /// Error bars, each from one place to another one. An end that is infinite is at the chart's edge.
    pub bars: Vec<[(f64, f64); 2]>,
}

impl Series {
    /// A series without error bars.
    pub fn new(name: &str, look: Look, paint: Paint, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.to_owned(), look, paint, points, bars: Vec::new() }
    }

    /// All numbers that the axes must hold.
    fn places(&self) -> impl Iterator<Item = (f64, f64)> {
        self.points.iter().chain(self.bars.iter().flatten()).copied()
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

impl Mark {
    /// A line from left to right.
    pub fn level(label: String, at: f64) -> Self {
        Self { label, from: at, to: at, vertical: false }
    }

    /// A line from the bottom up.
    pub fn upright(label: String, at: f64) -> Self {
        Self { vertical: true, ..Self::level(label, at) }
    }
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

impl Chart {
    /// The chart as a figure, with its legend.
    pub fn render(&self) -> Markup {
        let (x, y) = self.scales();
        html! {
            figure {
                h2 { (self.title) }
                svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(self.title) {
                    (y.upright(LEFT, WIDTH - RIGHT))
                    (x.across(TOP, HEIGHT - BOTTOM, false))
                    @for mark in &self.marks { (stretch(mark, &x, &y)) }
                    @for series in &self.series { (drawn(series, &x, &y)) }
                    (self.words(&x, &y))
                    text x=((LEFT + WIDTH - RIGHT) / 2.0) y=(HEIGHT - 6.0) text-anchor="middle" { (self.x.label) }
                    text transform=(format!("translate(12 {}) rotate(-90)", (TOP + HEIGHT - BOTTOM) / 2.0))
                        text-anchor="middle" { (self.y.label) }
                }
                ul class="legend" { @for series in &self.series { li { (sample(series)) " " (series.name) } } }
                figcaption { (self.caption) " " (self.table().link(&self.title)) }
            }
        }
    }

    /// Its points, the ends of its error bars and its lines.
    fn table(&self) -> Table {
        let mut table = Table::new(["series", "what", self.x.label.as_str(), self.y.label.as_str()]);
        let mut row = |series: &str, what: &str, (across, up): (f64, f64)| {
            table.row([series.to_owned(), what.to_owned(), cell(across), cell(up)]);
        };
        for series in &self.series {
            series.points.iter().for_each(|place| row(&series.name, "point", *place));
            for [from, to] in &series.bars {
                row(&series.name, "interval from", *from);
                row(&series.name, "interval to", *to);
            }
        }
        for mark in &self.marks {
            let place = |at: f64| if mark.vertical { (at, f64::NAN) } else { (f64::NAN, at) };
            row(&mark.label, "line from", place(mark.from));
            row(&mark.label, "line to", place(mark.to));
        }
        table
    }

    /// Both axes, with room for all that is drawn.
    fn scales(&self) -> (Scale, Scale) {
        let ends = |vertical| {
            let marks = self.marks.iter().filter(move |mark| mark.vertical == vertical);
            marks.flat_map(|mark| [mark.from, mark.to])
        };
        let places = || self.series.iter().flat_map(Series::places);
        let x = places().map(|place| place.0).chain(ends(true));
        let y = places().map(|place| place.1).chain(ends(false));
        (Scale::new(&self.x, x, LEFT, WIDTH - RIGHT), Scale::new(&self.y, y, HEIGHT - BOTTOM, TOP))
    }

    /// The words of all marks. Those of upright ones are at different heights, those of level ones at different ends
    /// where they would lie on each other.
    fn words(&self, x: &Scale, y: &Scale) -> Markup {
        let of = |vertical| self.marks.iter().filter(move |mark| mark.vertical == vertical);
        let levels: Vec<(&Mark, f64)> = of(false).filter_map(|mark| Some((mark, ends(mark, x, y)?.0))).collect();
        let is_crowded = |index: usize, at: f64| levels[..index].iter().any(|(_, other)| (other - at).abs() < WORDS);
        html! {
            @for (index, mark) in of(true).enumerate() { (upright_words(mark, index, x, y)) }
            @for (index, (mark, at)) in levels.iter().enumerate() {
                (level_words(mark, *at, is_crowded(index, *at), x))
            }
        }
    }
}

/// Where a mark begins and ends, in the chart's units, if both places are in the chart.
fn ends(mark: &Mark, x: &Scale, y: &Scale) -> Option<(f64, f64)> {
    let scale = if mark.vertical { x } else { y };
    let (from, to) = (scale.place(mark.from)?, scale.place(mark.to)?);
    Some((round(from.min(to)), round(from.max(to))))
}

fn stretch(mark: &Mark, x: &Scale, y: &Scale) -> Markup {
    let Some((near, far)) = ends(mark, x, y) else { return html! {} };
    let size = round(far - near);
    let is_line = size <= 1.0;
    html! {
        @if is_line && mark.vertical {
            line class="mark" x1=(near) x2=(near) y1=(y.to) y2=(y.from) {}
        } @else if is_line {
            line class="mark" x1=(x.from) x2=(x.to) y1=(near) y2=(near) {}
        } @else if mark.vertical {
            rect class="stretch" x=(near) y=(y.to) width=(size) height=(y.from - y.to) {}
        } @else {
            rect class="stretch" x=(x.from) y=(near) width=(x.to - x.from) height=(size) {}
        }
    }
}

fn upright_words(mark: &Mark, index: usize, x: &Scale, y: &Scale) -> Markup {
    let Some((near, far)) = ends(mark, x, y) else { return html! {} };
    let is_right = near > (x.from + x.to) / 2.0;
    let (at, anchor) = if is_right { (near - 4.0, "end") } else { (far + 4.0, "start") };
    html! {
        text class="words" x=(round(at)) y=(y.to + 10.0 + index as f64 * WORDS) text-anchor=(anchor) { (mark.label) }
    }
}

fn level_words(mark: &Mark, near: f64, at_the_end: bool, x: &Scale) -> Markup {
    let (at, anchor) = if at_the_end { (x.to, "end") } else { (x.from + 4.0, "start") };
    html! {
        text class="words" x=(at) y=(round(near - 4.0)) text-anchor=(anchor) { (mark.label) }
    }
}

fn drawn(series: &Series, x: &Scale, y: &Scale) -> Markup {
    let height = |up: f64| {
        // A band goes on to the chart's edge.
        let is_beyond = series.look == Look::Band && up.is_infinite();
        if is_beyond { Some(y.nearest(up)) } else { y.place(up) }
    };
    let place = |(across, up): &(f64, f64)| Some((round(x.place(*across)?), round(height(*up)?)));
    let places: Vec<(f64, f64)> = series.points.iter().filter_map(place).collect();
    let shown = series.points.iter().filter(|point| place(point).is_some());
    let path: Vec<String> = places.iter().map(|(across, up)| format!("{across},{up}")).collect();
    let (path, paint) = (path.join(" "), series.paint);
    html! {
        @for bar in &series.bars { (error_bar(bar, paint, x, y)) }
        @match series.look {
            Look::Dots => {
                @for ((across, up), value) in places.iter().zip(shown) {
                    g { title { (series.name) ": " (number(value.1)) " at " (number(value.0)) } (paint.dot(*across, *up)) }
                }
            }
            Look::Band => {
                polygon class="band" points=(path) fill=(paint.colour()) stroke=(paint.colour())
                    stroke-dasharray=(paint.dash()) {}
            }
            Look::Line => {
                polyline points=(path) fill="none" stroke=(paint.colour()) stroke-width="2"
                    stroke-dasharray=(paint.dash()) {}
            }
        }
    }
}

/// An error bar with an end at each side that is in the chart.
fn error_bar(bar: &[(f64, f64); 2], paint: Paint, x: &Scale, y: &Scale) -> Markup {
    let [from, to] = bar.map(|(across, up)| (round(x.nearest(across)), round(y.nearest(up))));
    let is_upright = from.0 == to.0;
    // An end lies across its bar.
    let (wide, high) = if is_upright { (3.0, 0.0) } else { (0.0, 3.0) };
    let is_inside = |(across, up): &(f64, f64)| x.place(*across).is_some() && y.place(*up).is_some();
    let caps = bar.iter().zip([from, to]).filter(|(place, _)| is_inside(place)).map(|(_, at)| at);
    html! {
        line x1=(from.0) x2=(to.0) y1=(from.1) y2=(to.1) stroke=(paint.colour()) {}
        @for (across, up) in caps {
            line x1=(across - wide) x2=(across + wide) y1=(up - high) y2=(up + high) stroke=(paint.colour()) {}
        }
    }
}

/// What the legend shows of a series: series look alike exactly if these are the same.
pub(super) fn sample(series: &Series) -> Markup {
    let paint = series.paint;
    html! {
        svg viewBox="0 0 28 12" aria-hidden="true" {
            @match series.look {
                Look::Dots => { (paint.dot(14.0, 6.0)) }
                Look::Band => {
                    rect class="band" x="1" y="1" width="26" height="10" fill=(paint.colour()) stroke=(paint.colour())
                        stroke-dasharray=(paint.dash()) {}
                }
                Look::Line => {
                    line x1="0" x2="28" y1="6" y2="6" stroke=(paint.colour()) stroke-width="2"
                        stroke-dasharray=(paint.dash()) {}
                }
            }
        }
    }
}
