//! The kill matrix: mutants, and the checks that failed on them.

use std::collections::BTreeSet;

use maud::{Markup, html};

/// A mutant.
pub struct MatrixRow {
    /// Where on the page it is shown.
    pub anchor: String,
    /// What it is called.
    pub name: String,
    /// What stands in the columns after its name.
    pub cells: Vec<Markup>,
    /// And in those before the checks.
    pub counts: Vec<u64>,
    /// The checks that failed on it.
    pub killed_by: Vec<String>,
}

/// The matrix; `heads` are the names of the columns before the checks, that of the mutants first.
pub fn kill_matrix<const N: usize>(heads: [&str; N], rows: &[MatrixRow]) -> Markup {
    let checks: BTreeSet<&String> = rows.iter().flat_map(|row| &row.killed_by).collect();
    html! {
        p class="faint" { "A dot: this check failed on this mutant. Every mutant must be killed by a check." }
        div class="table" tabindex="0" role="group" aria-label="Kill matrix" {
            table class="matrix" {
                thead {
                    tr {
                        @for head in heads { th scope="col" { (head) } }
                        @for check in &checks { th scope="col" class="upright" { span { (check) } } }
                    }
                }
                tbody {
                    @for row in rows {
                        tr {
                            th scope="row" { a href=(format!("#{}", row.anchor)) { (row.name) } }
                            @for cell in &row.cells { td { (cell) } }
                            @for count in &row.counts { td class="number" { (count) } }
                            @for check in &checks {
                                td class="dot" {
                                    @if row.killed_by.contains(check) { "●" span class="visually-hidden" { "killed" } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
