//! The pages of `verify` and of `mutate`: cases with the answers of their checks, timelines, the kill matrix.

use maud::{Markup, html};

use super::frame::{again, chip, environment, facts, framed, head, verdict};
use super::held::timeline;
use super::matrix::{MatrixRow, kill_matrix};
use super::picture::Picture;
use super::player::Player;
use crate::history::History;
use crate::outcome::{ResultRow, Shown, SuiteReport};
use crate::report::terminal::wording;

/// Up to how many cases all are open at first.
const OPEN_MAX: usize = 3;

/// The page; `history` is what was recorded of a case, if it can be read.
pub fn page(report: &SuiteReport, history: &dyn Fn(&ResultRow) -> Option<History>) -> String {
    let what = match &report.results[..] {
        [only] => only.name.clone(),
        all if report.command == "mutate" => {
            format!("{} mutants", all.iter().filter(|row| row.mutant.is_some()).count())
        }
        all => format!("{} cases", all.len()),
    };
    let has_mutants = report.results.iter().any(|row| row.mutant.is_some());
    let body = html! {
        (head(report, &what))
        @if has_mutants { section { (matrix(report)) } }
        @if !has_mutants && report.results.len() > 1 { section { (table(report)) } }
        section aria-label="Cases" {
            @for (number, row) in report.results.iter().enumerate() {
                @let timeline = if row.mutant.is_none() { history(row).map(|history| timeline(&history)) } else { None };
                (case(row, number, !row.met || report.results.len() <= OPEN_MAX, timeline))
            }
        }
        (environment(report, &[]))
    };
    framed(&format!("driftlock {}: {what}", report.command), &body)
}

fn anchor(number: usize) -> String {
    format!("case-{}", number + 1)
}

fn table(report: &SuiteReport) -> Markup {
    html! {
        h2 { "Cases" }
        div class="table" tabindex="0" role="group" aria-label="Cases" {
            table class="cards" {
                thead {
                    tr {
                        th scope="col" { "scenario" } th scope="col" { "database" } th scope="col" { "lock" }
                        th scope="col" class="number" { "tasks" } th scope="col" class="number" { "waiters" }
                        th scope="col" { "verdict" }
                    }
                }
                tbody {
                    @for (number, row) in report.results.iter().enumerate() {
                        tr {
                            th scope="row" { a href=(format!("#{}", anchor(number))) { (row.name) } }
                            td data-label="database" { (row.backend.as_str()) }
                            td data-label="lock" { (row.strategy.to_string()) }
                            td data-label="tasks" class="number" { (row.tasks) }
                            td data-label="waiters" class="number" { (row.waiters) }
                            td data-label="verdict" { (verdict(row, &wording(row))) }
                        }
                    }
                }
            }
        }
    }
}

/// Which check has killed which mutant.
fn matrix(report: &SuiteReport) -> Markup {
    let mutants = report.results.iter().enumerate().filter_map(|(number, row)| {
        let killed_by = row.mutant.as_ref()?.killed_by.iter().map(ToString::to_string).collect();
        let (name, place, verdict) = (row.name.clone(), row.backend.to_string(), verdict(row, &wording(row)));
        Some(MatrixRow {
            anchor: anchor(number),
            name,
            cells: vec![html! { (place) }, verdict],
            counts: Vec::new(),
            killed_by,
        })
    });
    html! {
        h2 { "Kill matrix" }
        (kill_matrix(["mutant", "database", "verdict"], &mutants.collect::<Vec<_>>()))
    }
}

fn case(row: &ResultRow, number: usize, is_open: bool, timeline: Option<Markup>) -> Markup {
    let id = anchor(number);
    let altered = row.mutant.as_ref().map(|mutant| format!("{} times", mutant.executed)).unwrap_or_default();
    html! {
        details class="case" id=(id) open[is_open] {
            summary { h2 { (row.name) " on " (row.backend.as_str()) ", " (row.strategy.to_string()) } (verdict(row, &wording(row))) }
            div {
                // The checks say it themselves.
                @if row.checks.is_empty() { p class="lead" { (row.evidence) } }
                (again(&row.replay))
                (facts(&[
                    ("tasks", row.tasks.to_string()),
                    ("waited", format!("{} actors, as the server reported", row.waiters)),
                    ("altered operation ran", altered),
                    ("took", format!("{:.1} s", row.duration_ms as f64 / 1e3)),
                ]))
                (checks(row))
                @if let Some(timeline) = timeline { (timeline) }
                @for (nth, shown) in row.counterexamples.iter().enumerate() {
                    (player(format!("{id}-v{}", nth + 1), shown, &row.replay).render())
                }
            }
        }
    }
}

fn player(id: String, shown: &Shown, replay: &str) -> Player {
    Player {
        id,
        check: shown.check.to_string(),
        sentence: shown.sentence.clone(),
        replay: replay.to_owned(),
        unit: "ms",
        picture: Picture::of_operations(&shown.steps),
        other: None,
        outputs: Vec::new(),
    }
}

fn checks(row: &ResultRow) -> Markup {
    html! {
        @if !row.checks.is_empty() {
            div class="table" {
                table class="cards" {
                    caption { "Checks" }
                    thead { tr { th scope="col" { "check" } th scope="col" { "verdict" } th scope="col" { "evidence" } } }
                    tbody {
                        @for check in &row.checks {
                            tr {
                                th scope="row" { (check.name.to_string()) }
                                td data-label="verdict" { (chip(check.verdict, check.verdict.as_str())) }
                                td data-label="evidence" { (check.why) }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
