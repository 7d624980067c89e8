//! The page of a run of `rehearse`.

use maud::{Markup, html};

use super::frame::{again, environment, facts, framed, head, verdict};
use super::gantt::{gantt, shown};
use crate::rehearse::finding::Finding;
use crate::report::rehearsed::row::{RatesRow, RehearseRow};
use crate::report::rehearsed::{RehearseReport, wording};

/// Up to how many rehearsals all are open at first.
const OPEN_MAX: usize = 2;

/// The page.
pub fn page(report: &RehearseReport) -> String {
    let what = match &report.results[..] {
        [only] => only.name.clone(),
        all => format!("{} rehearsals", all.len()),
    };
    let body = html! {
        (head(report, &what))
        section aria-label="Rehearsals" {
            @for (number, row) in report.results.iter().enumerate() {
                (case(row, number, !row.met || report.results.len() <= OPEN_MAX))
            }
        }
        (environment(report, &[]))
    };
    framed(&format!("driftlock rehearse: {what}"), &body)
}

fn case(row: &RehearseRow, number: usize, is_open: bool) -> Markup {
    let id = format!("case-{}", number + 1);
    let finding = |nth: usize| format!("{id}-f{}", nth + 1);
    html! {
        details class="case" id=(id) open[is_open] {
            summary { h2 { (row.name) " on " (row.backend) ", " (row.strategy) } (verdict(row, &wording(row))) }
            div {
                @if row.findings.is_empty() { p class="lead" { (row.evidence) } }
                @for why in &row.inconclusive { p { strong { "Inconclusive: " } (why) } }
                (again(&row.replay))
                @for (nth, of) in row.findings.iter().enumerate() { (found(of, &finding(nth))) }
                @if let Some(rates) = &row.rates { (traffic(rates)) }
                @if !row.files.is_empty() {
                    h3 { "The files over time" }
                    (key())
                    @for file in &row.files {
                        (gantt(file, &|line| {
                            let at = row.findings.iter().position(|of| {
                                of.file == file.file && of.line == line && of.pass.split(", ").any(|pass| pass == file.pass)
                            });
                            at.map(finding)
                        }))
                    }
                }
                h3 { "What was rehearsed" }
                (facts(&[
                    ("versions", format!("{} to {}", row.from, row.to)),
                    ("traffic", row.traffic.clone()),
                    ("budget", row.budget.clone()),
                    ("took", format!("{:.1} s, set-up included", row.duration_ms as f64 / 1e3)),
                    ("errors of the traffic", errors(row)),
                    ("observer", row.observer.as_ref().map(ToString::to_string).unwrap_or_default()),
                ]))
                @for note in &row.notes { p class="faint" { "Note: " (note) } }
            }
        }
    }
}

fn errors(row: &RehearseRow) -> String {
    row.errors.iter().map(|(code, times)| format!("{code} {times} times")).collect::<Vec<_>>().join(", ")
}

/// A finding with the source that it is about.
fn found(of: &Finding, id: &str) -> Markup {
    let code = of.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
    html! {
        article class="moment-like" id=(id) {
            h3 { span class="bad" { (of.kind.as_str()) (code) } }
            p class="faint small" { (of.file) ":" (of.line) ":" (of.column) ", " (of.pass) }
            @if !of.statement.is_empty() {
                pre class="sql" { span class="faint" { (of.line) "  " } (of.statement) }
            }
            p { (of.sentence) }
            p { strong { "Instead: " } (of.advice) }
        }
    }
}

fn traffic(rates: &RatesRow) -> Markup {
    let most = rates.named().map(|(_, rate)| rate.per_second).fold(0.001, f64::max);
    html! {
        h3 { "The traffic" }
        div class="table" {
            table class="cards" {
                thead {
                    tr {
                        th scope="col" { "when" } th scope="col" { "operations a second" }
                        th scope="col" class="number" { "p50" } th scope="col" class="number" { "p99" }
                        th scope="col" class="number" { "longest" }
                    }
                }
                tbody {
                    @for (name, rate) in rates.named() {
                        tr {
                            th scope="row" { (name) }
                            td data-label="operations a second" {
                                span class="rate" {
                                    span class="rate-bar" aria-hidden="true"
                                        style=(format!("width:{:.1}%", rate.per_second / most * 60.0)) {}
                                    " " (format!("{:.0}", rate.per_second))
                                }
                            }
                            td data-label="p50" class="number" { (shown(rate.p50_ms)) }
                            td data-label="p99" class="number" { (shown(rate.p99_ms)) }
                            td data-label="longest" class="number" { (shown(rate.max_ms)) }
                        }
                    }
                }
            }
        }
    }
}

fn key() -> Markup {
    html! {
        ul class="key" {
            @for (class, said) in [("ran", "statement"), ("waited", "waited for a lock"), ("lock", "lock"),
                ("exclusive", "ACCESS EXCLUSIVE"), ("blocked", "longest blocked operation")] {
                li { span class=(format!("swatch stretch-{class}")) {} (said) }
            }
        }
    }
}

#[cfg(test)]
mod tests;
