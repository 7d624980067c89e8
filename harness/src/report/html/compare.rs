//! The page of a run of `compare`: before and after, and how sure the difference is.

use maud::{Markup, html};

use super::bars::Bars;
use super::chart::round;
use super::colour;
use crate::capacity::compare::{Compared, Finding, Metric};
use crate::report::compare::{CompareReport, write};

const WIDTH: f64 = 400.0;
const LEFT: f64 = 104.0;
const RIGHT: f64 = 30.0;
const ROW: f64 = 34.0;
const BOTTOM: f64 = 40.0;

pub(super) fn page(report: &CompareReport) -> String {
    let mut text = Vec::new();
    // Writing to memory cannot fail.
    let _ = write(report, &mut text);
    let verdict = match report.verdict {
        Finding::Fine => format!("pass: nothing is worse by {} %", report.threshold * 100.0),
        Finding::Regression => "regression".to_owned(),
        Finding::Inconclusive => "inconclusive".to_owned(),
    };
    let mut charts = vec![intervals(report)];
    charts.extend(report.metrics.iter().map(|metric| before_and_after(metric).render()));
    super::page(&format!("{}, against {}", report.sides[1], report.sides[0]), &verdict, &charts, &text)
}

fn before_and_after(metric: &Compared) -> Bars {
    let (unit, scale) = if metric.metric == Metric::Rate { ("/s", 1.0) } else { ("ms", 1e-6) };
    let row = |name: &str, value: f64| (name.to_owned(), vec![value * scale]);
    Bars {
        title: format!("{}, before and after", metric.metric.as_str()),
        caption: format!("Worse by {:+.1} %.", metric.change * 100.0),
        unit: unit.to_owned(),
        parts: Vec::new(),
        rows: vec![row("base", metric.base), row("new", metric.new)],
    }
}

/// Each metric's change with its interval, and the threshold.
fn intervals(report: &CompareReport) -> Markup {
    let bounds = report.metrics.iter().flat_map(|metric| [metric.low, metric.high, metric.change]);
    let reach = bounds.map(f64::abs).fold(report.threshold * 1.5, f64::max).min(10.0);
    let middle = (LEFT + WIDTH - RIGHT) / 2.0;
    let place = |change: f64| round(middle + change.clamp(-reach, reach) / reach * (WIDTH - RIGHT - LEFT) / 2.0);
    let height = report.metrics.len() as f64 * ROW;
    let title = "How much worse the new version is";
    html! {
        figure {
            h2 { (title) }
            svg viewBox=(format!("0 0 {WIDTH} {}", height + BOTTOM)) role="img" aria-label=(title) {
                line class="axis" x1=(place(0.0)) x2=(place(0.0)) y1="0" y2=(height) {}
                line x1=(place(report.threshold)) x2=(place(report.threshold)) y1="0" y2=(height)
                    stroke="var(--c1)" stroke-dasharray="2 3" {}
                @for (index, metric) in report.metrics.iter().enumerate() {
                    @let at = index as f64 * ROW + ROW / 2.0;
                    text x=(LEFT - 8.0) y=(at + 4.0) text-anchor="end" { (metric.metric.as_str()) }
                    line x1=(place(metric.low)) x2=(place(metric.high)) y1=(at) y2=(at) stroke=(colour(0)) stroke-width="2" {}
                    circle cx=(place(metric.change)) cy=(at) r="4" fill=(colour(0)) {}
                }
                @for part in [-1.0, -0.5, 0.0, 0.5, 1.0] {
                    text class="faint" x=(place(part * reach)) y=(height + 16.0) text-anchor="middle" {
                        (format!("{:+.0} %", part * reach * 100.0))
                    }
                }
                text x=(middle) y=(height + 34.0) text-anchor="middle" { "worse by, per cent" }
            }
            ul class="legend" {
                li { "● change, with its 90 % interval" }
                li { "┊ threshold " (report.threshold * 100.0) " %" }
            }
            figcaption { "Left of the middle the new version is better." }
        }
    }
}
