//! The page of a run of `compare`: before and after, and how sure the difference is.

use maud::{Markup, html};

use super::bars::{Bars, LeftOut};
use super::frame::measured;
use super::paint::Paint;
use super::scale::{Axis, Scale, round};
use super::table::{Table, cell};
use crate::capacity::compare::failures::Failures;
use crate::capacity::compare::{Compared, Finding, LONE_MARGIN, Metric};
use crate::report::compare::{CompareReport, in_words, write};

const WIDTH: f64 = 400.0;
const LEFT: f64 = 104.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 18.0;
const ROW: f64 = 46.0;
const BOTTOM: f64 = 40.0;
/// The change, in per cent, beyond which an interval is cut off.
const FAR: f64 = 1000.0;

pub(super) fn page(report: &CompareReport) -> String {
    let mut text = Vec::new();
    // Writing to memory cannot fail.
    let _ = write(report, &mut text);
    let verdict = match report.verdict {
        Finding::Fine => format!("pass: nothing is worse by {} %", report.threshold * 100.0),
        Finding::Regression => "regression".to_owned(),
        Finding::Inconclusive => "inconclusive".to_owned(),
    };
    let mut charts = vec![forest(report)];
    charts.extend(report.metrics.iter().map(|metric| before_and_after(metric, &report.sides).render()));
    let some = report.failures.as_ref().filter(|failures| failures.base + failures.new > 0.0);
    charts.extend(some.map(|failures| failed(failures, &report.sides).render()));
    let facts = html! {
        @for (side, (setting, surroundings, replay)) in ["Before", "After"].iter().zip(report.measured.iter().flatten()) {
            h2 { (side) }
            (measured(setting, surroundings, replay))
        }
    };
    super::page(&format!("{}, against {}", report.sides[1], report.sides[0]), &verdict, &charts, &text, &facts)
}

/// What was not done, before and after.
fn failed(failures: &Failures, sides: &[String; 2]) -> Bars {
    Bars {
        title: "arrivals that failed or that nobody came to, before and after".to_owned(),
        caption: format!("After, against before: {}.", in_words(failures.change, "points")),
        axis: "part of the arrivals, per cent".to_owned(),
        unit: "%".to_owned(),
        parts: vec![format!("before: {}", sides[0]), format!("after: {}", sides[1])],
        rows: vec![
            ("before".to_owned(), vec![failures.base * 100.0, 0.0]),
            ("after".to_owned(), vec![0.0, failures.new * 100.0]),
        ],
        left_out: LeftOut::Last,
        dots: Vec::new(),
    }
}

pub(super) fn before_and_after(metric: &Compared, sides: &[String; 2]) -> Bars {
    let (axis, unit, scale) =
        if metric.metric == Metric::Rate { ("tasks a second", "/s", 1.0) } else { ("time, ms", "ms", 1e-6) };
    Bars {
        title: format!("{}, before and after", metric.metric.as_str()),
        caption: format!(
            "After, against before: {}.{}",
            in_words(metric.change, "%"),
            if metric.runs[0].len() + metric.runs[1].len() > 2 { " A dot is a run." } else { "" }
        ),
        axis: axis.to_owned(),
        unit: unit.to_owned(),
        parts: vec![format!("before: {}", sides[0]), format!("after: {}", sides[1])],
        // Each side is a part of its own, so that it has a colour of its own.
        rows: vec![
            ("before".to_owned(), vec![metric.base * scale, 0.0]),
            ("after".to_owned(), vec![0.0, metric.new * scale]),
        ],
        left_out: LeftOut::Last,
        dots: metric.runs.iter().map(|runs| runs.iter().map(|run| run * scale).collect()).collect(),
    }
}

/// What a finding is drawn in, and what the legend says of it.
fn shown(finding: Finding) -> (Paint, &'static str) {
    match finding {
        Finding::Fine => (Paint::nth(0), "fine"),
        Finding::Regression => (Paint::nth(1), "regression"),
        Finding::Inconclusive => (Paint::nth(3), "no answer"),
    }
}

/// Each metric's change with its interval, and the threshold.
pub(super) fn forest(report: &CompareReport) -> Markup {
    let threshold = report.threshold * 100.0;
    let ends = report.metrics.iter().flat_map(|metric| [metric.low, metric.high, metric.change]);
    let ends = ends.map(|end| (end * 100.0).clamp(-FAR, FAR));
    // With one run a side chance is only assumed: more than the threshold is needed to call it a regression.
    let lone = (report.rounds == [1, 1]).then_some((report.threshold + LONE_MARGIN) * 100.0);
    let ends = ends.chain([threshold, -threshold]).chain(lone);
    let scale = Scale::new(&Axis::even(""), ends, LEFT, WIDTH - RIGHT);
    let bottom = TOP + report.metrics.len() as f64 * ROW;
    let (zero, limit) = (round(scale.nearest(0.0)), round(scale.nearest(threshold)));
    let title = "How much worse the new version is";
    html! {
        figure {
            h2 { (title) }
            svg viewBox=(format!("0 0 {WIDTH} {}", bottom + BOTTOM)) role="img" aria-label=(title) {
                (scale.across(TOP, bottom, true))
                line class="axis" x1=(zero) x2=(zero) y1=(TOP) y2=(bottom) {}
                @match lone {
                    None => { (limit_line(limit, bottom)) text x=(limit) y="11" text-anchor="middle" { "threshold " (percent(threshold)) " %" } }
                    Some(lone) => {
                        @let far = round(scale.nearest(lone));
                        line class="mark" x1=(limit) x2=(limit) y1=(TOP) y2=(bottom) {}
                        text x=(limit - 3.0) y="11" text-anchor="end" { "threshold " (percent(threshold)) " %" }
                        (limit_line(far, bottom))
                        text x=(far.min(WIDTH - RIGHT - 88.0) + 3.0) y="11" { "regression " (percent(lone)) " %" }
                    }
                }
                @for (index, metric) in report.metrics.iter().enumerate() {
                    (interval(metric, TOP + (index as f64 + 0.4) * ROW, &scale))
                }
                text x=((LEFT + WIDTH - RIGHT) / 2.0) y=(bottom + 34.0) text-anchor="middle" { "worse by, per cent" }
            }
            (legend())
            figcaption {
                "The change, and its 90 % interval. Left of 0 the new version is better."
                @if let Some(lone) = lone {
                    " With one run a side only what is worse by more than " (percent(lone)) " % is called a regression."
                }
                " " (table(report).link(title))
            }
        }
    }
}

/// The line beyond which a change is a regression.
fn limit_line(at: f64, bottom: f64) -> Markup {
    html! {
        line x1=(at) x2=(at) y1=(TOP) y2=(bottom) stroke=(Paint::nth(1).colour()) stroke-width="1.5" stroke-dasharray="2 3" {}
    }
}

/// Per cent with the digits that were asked for.
fn percent(share: f64) -> f64 {
    (share * 1e4).round() / 1e4
}

/// What the forest plot shows.
fn table(report: &CompareReport) -> Table {
    let mut table = Table::new(["metric", "before", "after", "change", "from", "to", "p", "finding"]);
    for metric in &report.metrics {
        let numbers = [metric.base, metric.new, metric.change, metric.low, metric.high, metric.p].map(cell);
        let (name, finding) = (metric.metric.as_str().to_owned(), shown(metric.finding).1.to_owned());
        table.row(std::iter::once(name).chain(numbers).chain([finding]));
    }
    table
}

/// One metric's row of the forest plot.
fn interval(metric: &Compared, at: f64, scale: &Scale) -> Markup {
    let place = |change: f64| round(scale.nearest(change * 100.0));
    let (low, change, high) = (place(metric.low), place(metric.change), place(metric.high));
    let (paint, _) = shown(metric.finding);
    let percent = |change: f64| match change * 100.0 {
        far if far.abs() > FAR => "far".to_owned(),
        near => format!("{near:+.1}"),
    };
    html! {
        text x=(LEFT - 8.0) y=(at + 4.0) text-anchor="end" { (metric.metric.as_str()) }
        line x1=(low) x2=(high) y1=(at) y2=(at) stroke=(paint.colour()) stroke-width="2" {}
        @for end in [low, high] {
            line x1=(end) x2=(end) y1=(at - 4.0) y2=(at + 4.0) stroke=(paint.colour()) stroke-width="2" {}
        }
        (paint.dot(change, at))
        // Words in the middle have room on both sides.
        text class="words" x=((LEFT + WIDTH - RIGHT) / 2.0) y=(at + 18.0) text-anchor="middle" {
            (percent(metric.change)) " % (" (percent(metric.low)) " … " (percent(metric.high)) ")"
        }
    }
}

fn legend() -> Markup {
    html! {
        ul class="legend" {
            @for finding in [Finding::Fine, Finding::Regression, Finding::Inconclusive] {
                @let (paint, name) = shown(finding);
                li {
                    svg viewBox="0 0 28 12" aria-hidden="true" {
                        line x1="2" x2="26" y1="6" y2="6" stroke=(paint.colour()) stroke-width="2" {}
                        (paint.dot(14.0, 6.0))
                    }
                    " " (name)
                }
            }
        }
    }
}
