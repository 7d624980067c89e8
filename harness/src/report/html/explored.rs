//! The page of a run of `explore`.

use maud::{Markup, html};

use super::frame::{again, environment, facts, framed, head, verdict};
use super::player::Player;
use crate::explore::reached::OutcomeRow;
use crate::report::explored::{ExploreReport, ExploreRow, wording};

/// The most outcomes of a case that are listed.
const OUTCOMES_MAX: usize = 40;
/// Up to how many cases all are open at first.
const OPEN_MAX: usize = 2;

/// The page.
pub fn page(report: &ExploreReport) -> String {
    let what = match &report.results[..] {
        [only] => only.name.clone(),
        all => format!("{} cases", all.len()),
    };
    let strategy = report.results.first().map(|row| row.strategy.clone()).unwrap_or_default();
    let body = html! {
        (head(report, &what))
        @if report.results.len() > 1 { section { (table(report)) } }
        section aria-label="Cases" {
            @for (number, row) in report.results.iter().enumerate() {
                (case(row, number, !row.met || report.results.len() <= OPEN_MAX))
            }
        }
        (environment(report, &[("orders", strategy)]))
    };
    framed(&format!("driftlock explore: {what}"), &body)
}

/// What a case's place on the page is called.
fn anchor(number: usize) -> String {
    format!("case-{}", number + 1)
}

fn table(report: &ExploreReport) -> Markup {
    let orders = |row: &ExploreRow| row.orders.to_string();
    html! {
        h2 { "Cases" }
        div class="table" tabindex="0" role="group" aria-label="Cases" {
            table class="cards" {
                thead {
                    tr {
                        th scope="col" { "case" } th scope="col" { "database" }
                        th scope="col" class="number" { "executions" } th scope="col" class="number" { "pruned" }
                        th scope="col" class="number" { "orders" } th scope="col" { "coverage" }
                        th scope="col" { "verdict" }
                    }
                }
                tbody {
                    @for (number, row) in report.results.iter().enumerate() {
                        tr {
                            th scope="row" { a href=(format!("#{}", anchor(number))) { (row.name) } }
                            td data-label="database" { (row.backend.as_str()) }
                            td data-label="executions" class="number" { (row.executions) }
                            td data-label="pruned" class="number" { (row.abandoned) }
                            td data-label="orders" class="number" { (orders(row)) }
                            td data-label="coverage" { (row.coverage) }
                            td data-label="verdict" { (verdict(row, &wording(row))) }
                        }
                    }
                }
            }
        }
    }
}

fn case(row: &ExploreRow, number: usize, is_open: bool) -> Markup {
    let id = anchor(number);
    html! {
        details class="case" id=(id) open[is_open] {
            summary { h2 { (row.name) " on " (row.backend.as_str()) } (verdict(row, &wording(row))) }
            div {
                @if !row.summary.is_empty() { p class="lead" { (row.summary) } }
                // A counterexample says it itself.
                @if !row.counterexamples.iter().any(|of| row.evidence.contains(&of.sentence)) {
                    p class="lead" { (row.evidence) }
                }
                @if row.counterexamples.is_empty() { (again(&row.replay)) }
                @for (nth, of) in row.counterexamples.iter().enumerate() {
                    (Player::of(format!("{id}-v{}", nth + 1), of).render())
                }
                @if !row.checks.is_empty() && row.counterexamples.is_empty() {
                    ul class="plain" { @for check in &row.checks { li { strong { (check.name) } ": " (check.why) } } }
                    p class="faint" { "The version that recorded this run kept no steps; run it again to see them." }
                }
                (search(row))
                (outcomes(&row.outcomes))
            }
        }
    }
}

/// What the search did.
fn search(row: &ExploreRow) -> Markup {
    let expected = match &row.expected.check {
        Some(check) => format!("violation of {check}"),
        None => "pass".to_owned(),
    };
    let refused = row.refused.iter().map(|(step, code, times)| format!("{step} with {code} in {times} executions"));
    let overlaps = row.overlaps.iter().map(|pair| {
        let [one, other] = &pair.steps;
        format!(
            "{one} with {other}: {} tries, {} sent together, {} in flight at once",
            pair.tries, pair.together, pair.in_flight
        )
    });
    html! {
        h3 { "The search" }
        (facts(&[
            ("expected", expected),
            ("coverage", row.coverage.clone()),
            ("executions", format!("{}, and {} left half-way (pruned)", row.executions, row.abandoned)),
            ("orders", format!("{} of the steps, by {}", row.orders, row.strategy)),
            ("speed", format!("{:.0} executions a second, {:.1} s in all", row.executions_per_second, row.duration_ms as f64 / 1e3)),
            ("refused", refused.collect::<Vec<_>>().join("; ")),
            ("not compared", row.not_compared.join(", ")),
            ("at the same time", overlaps.collect::<Vec<_>>().join("; ")),
        ]))
    }
}

fn outcomes(all: &[OutcomeRow]) -> Markup {
    html! {
        @if !all.is_empty() {
            details {
                summary { (all.len()) " outcome" @if all.len() > 1 { "s" } }
                div class="table" tabindex="0" role="group" aria-label="Outcomes" {
                    table class="cards" {
                        thead {
                            tr {
                                th scope="col" class="number" { "executions" } th scope="col" { "came to" }
                                th scope="col" { "in this order, for example" }
                            }
                        }
                        tbody {
                            @for outcome in all.iter().take(OUTCOMES_MAX) {
                                tr {
                                    td data-label="executions" class="number" { (outcome.executions) }
                                    td data-label="came to" { (outcome.to_string()) }
                                    td data-label="order" class="faint small" { (outcome.order.join(" ")) }
                                }
                            }
                        }
                    }
                }
                @if all.len() > OUTCOMES_MAX { p class="faint" { (all.len() - OUTCOMES_MAX) " more are in report.json." } }
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
