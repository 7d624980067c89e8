//! A run as one HTML page that needs nothing else: no network, no script, no font. Charts are SVG in
//! the page; colours follow the reader's light or dark.

pub mod bars;
mod bench;
mod chart;
mod compare;
mod paint;
mod plan;
mod scale;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::bench::BenchReport;
use super::compare::CompareReport;
use super::plan::PlanReport;

/// The page's style, its colours of series aside. A chart is 400 units wide, so that its words can be read on a
/// phone as well.
const STYLE: &str = "
:root { color-scheme: light dark; --back: #fff; --ink: #1c1c1e; --faint: #66666c; --line: #d9d9de; }
@media (prefers-color-scheme: dark) { :root { --back: #17171a; --ink: #ececf0; --faint: #a3a3ac; --line: #3a3a41; } }
body { background: var(--back); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; margin: 0 auto;
  max-width: 72rem; padding: 1rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; } h2 { font-size: 1.05rem; margin: 0 0 .3rem; }
.charts + h2 { margin-top: 2rem; }
.verdict { font-weight: 600; } .charts { display: grid; gap: 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
figure { margin: 0; min-width: 0; } figcaption { color: var(--faint); font-size: .9rem; }
svg { display: block; height: auto; width: 100%; } svg text { fill: var(--ink); font: 11px system-ui, sans-serif; }
svg .axis { stroke: var(--faint); } svg .grid { stroke: var(--line); } svg .faint { fill: var(--faint); }
svg .mark { stroke: var(--faint); stroke-dasharray: 1 3; stroke-width: 1.5; }
svg .stretch { fill: var(--faint); opacity: .2; }
svg .band { fill-opacity: .13; stroke-opacity: .5; } svg .part { stroke: var(--back); }
svg .words { paint-order: stroke; stroke: var(--back); stroke-linejoin: round; stroke-opacity: .75; stroke-width: 3px; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; list-style: none;
  margin: .2rem 0; padding: 0; font-size: .9rem; }
.legend svg { display: inline-block; height: .8rem; vertical-align: -.1rem; width: 1.8rem; }
pre { font: .8rem/1.35 ui-monospace, monospace; overflow-x: auto; }
";

/// A whole page. `text` is what is printed on a terminal: every number that the charts show.
fn page(title: &str, verdict: &str, charts: &[Markup], text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) (paint::style()) }
            }
            body {
                h1 { (title) }
                p class="verdict" { (verdict) }
                div class="charts" { @for chart in charts { (chart) } }
                h2 { "The numbers" }
                pre { (text) }
            }
        }
    };
    page.into_string()
}

/// The page of a run of `bench`.
pub fn of_bench(report: &BenchReport) -> String {
    bench::page(report)
}

/// The page of a run of `plan`.
pub fn of_plan(report: &PlanReport) -> String {
    plan::page(report)
}

/// The page of a run of `compare`.
pub fn of_compare(report: &CompareReport) -> String {
    compare::page(report)
}

#[cfg(test)]
mod tests;
