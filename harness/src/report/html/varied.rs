//! The pages of `mutate` on scripts and applications and of `repair`: what was changed, what came of it, and each one's own
//! counterexample.

use maud::{Markup, html};

use super::frame::{again, chip, environment, facts, framed, head, verdict};
use super::matrix::{MatrixRow, kill_matrix};
use super::player::Player;
use crate::report::varied::{VariedReport, VariedRow, cases};

/// The page.
pub fn page(report: &VariedReport) -> String {
    let of = Of { is_repair: report.command == "repair" };
    let cases = cases(report);
    let what = match &cases[..] {
        [(only, _)] => only.case.clone(),
        all => format!("{} cases", all.len()),
    };
    let orders = report.results.first().map(|row| row.strategy.clone()).unwrap_or_default();
    let body = html! {
        (head(report, &what))
        @for (number, (row, changed)) in cases.iter().enumerate() { (of.case(row, changed, &format!("case-{}", number + 1))) }
        (environment(report, &[("orders", orders)]))
    };
    framed(&format!("driftlock {}: {what}", report.command), &body)
}

/// Of which command a page is.
struct Of {
    is_repair: bool,
}

impl Of {
    /// What came of something, as a coloured word.
    fn fate(&self, row: &VariedRow) -> Markup {
        // Nothing is expected of a repair, so that what came of it is what counts.
        if self.is_repair { chip(row.verdict, &row.fate) } else { verdict(row, &row.fate) }
    }

    fn case(&self, row: &VariedRow, changed: &[&VariedRow], id: &str) -> Markup {
        let anchor = |number: usize| format!("{id}-{}", number + 1);
        html! {
            section id=(id) {
                h2 { (row.case) " on " (row.backend.as_str()) " " (chip(row.verdict, row.verdict.as_str())) }
                p class="lead" { (row.evidence) }
                @if row.counterexamples.is_empty() { (again(&row.replay)) }
                @if !changed.is_empty() {
                    @if self.is_repair { (repairs(changed, &anchor)) } @else { (self.mutants(changed, &anchor)) }
                }
                @if let Some(shown) = row.counterexamples.first() {
                    details class="case" id=(format!("{id}-as-it-is")) open[changed.is_empty()] {
                        summary { h3 { "As it is" } (chip(row.verdict, row.verdict.as_str())) }
                        div { (Player::of(format!("{id}-v"), shown).render()) }
                    }
                }
                @for (number, one) in changed.iter().enumerate() {
                    (self.changed(one, &anchor(number), self.is_open(one, changed)))
                }
            }
        }
    }

    /// What there is to do something about is open at first.
    fn is_open(&self, row: &VariedRow, among: &[&VariedRow]) -> bool {
        if !self.is_repair {
            return !row.met;
        }
        let first = among.iter().find(|one| one.fate == "holds");
        first.is_some_and(|first| std::ptr::eq(*first, row))
    }

    fn mutants(&self, changed: &[&VariedRow], anchor: &dyn Fn(usize) -> String) -> Markup {
        let row = |(number, row): (usize, &&VariedRow)| MatrixRow {
            anchor: anchor(number),
            name: row.change.strip_prefix("without ").unwrap_or(&row.change).to_owned(),
            cells: vec![self.fate(row)],
            counts: vec![row.executed, row.executions],
            killed_by: row.killed_by.clone(),
        };
        let rows: Vec<MatrixRow> = changed.iter().enumerate().map(row).collect();
        html! {
            h3 { "Kill matrix" }
            (kill_matrix(["without", "verdict", "was run", "executions"], &rows))
        }
    }

    fn changed(&self, row: &VariedRow, id: &str, is_open: bool) -> Markup {
        let counts = |count: u64| if self.is_repair { count.to_string() } else { String::new() };
        html! {
            details class="case" id=(id) open[is_open] {
                summary { h3 { (row.change) } (self.fate(row)) }
                div {
                    // A counterexample says it itself, but for what else is known of it.
                    @if !row.counterexamples.iter().any(|of| row.evidence == format!("{}: {}", of.check, of.sentence)) {
                        p class="lead" { (row.evidence) }
                    }
                    @if !row.statements.is_empty() {
                        h4 { "As it reads now" }
                        @for (place, sql) in &row.statements {
                            p class="faint small" { (place) }
                            pre class="sql" { (sql) }
                        }
                    }
                    @for shown in row.counterexamples.iter().take(1) { (Player::of(format!("{id}-v"), shown).render()) }
                    (facts(&[
                        ("executions", row.executions.to_string()),
                        ("what was changed ran", if self.is_repair { String::new() } else { format!("{} times", row.executed) }),
                        ("executions with a wait", counts(row.waited)),
                        ("refusals", counts(row.refused)),
                    ]))
                }
            }
        }
    }
}

/// What was tried, and what it costs.
fn repairs(changed: &[&VariedRow], anchor: &dyn Fn(usize) -> String) -> Markup {
    html! {
        h3 { "Repairs" }
        p class="faint" {
            "A repair holds if all orders were visited, nothing is violated, and the job comes to the same as before where \
             nothing is concurrent. The cheapest comes first."
        }
        div class="table" tabindex="0" role="group" aria-label="Repairs" {
            table class="cards" {
                thead {
                    tr {
                        th scope="col" { "repair" } th scope="col" { "verdict" }
                        th scope="col" class="number" { "waits" } th scope="col" class="number" { "refusals" }
                        th scope="col" class="number" { "executions" } th scope="col" { "why" }
                    }
                }
                tbody {
                    @for (number, row) in changed.iter().enumerate() {
                        tr {
                            th scope="row" { a href=(format!("#{}", anchor(number))) { (row.change) } }
                            td data-label="verdict" { (chip(row.verdict, &row.fate)) }
                            td data-label="waits" class="number" { (row.waited) }
                            td data-label="refusals" class="number" { (row.refused) }
                            td data-label="executions" class="number" { (row.executions) }
                            td data-label="why" { (row.evidence) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
