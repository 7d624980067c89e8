//! The page of `verify` on scripts: rounds in which actors ran freely.

use maud::{Markup, html};

use super::frame::{again, environment, facts, framed, head, verdict};
use super::picture::Picture;
use super::player::Player;
use crate::report::rounds::{RoundRow, RoundsReport, wording};

/// The page.
pub fn page(report: &RoundsReport) -> String {
    let what = match &report.results[..] {
        [only] => only.name.clone(),
        all => format!("{} cases", all.len()),
    };
    let body = html! {
        (head(report, &what))
        section aria-label="Cases" {
            @for (number, row) in report.results.iter().enumerate() { (case(row, number, report.results.len())) }
        }
        (environment(report, &[]))
    };
    framed(&format!("driftlock verify: {what}"), &body)
}

fn case(row: &RoundRow, number: usize, of: usize) -> Markup {
    html! {
        details class="case" id=(format!("case-{}", number + 1)) open[!row.met || of < 3] {
            summary { h2 { (row.name) " on " (row.backend.as_str()) } (verdict(row, &wording(row))) }
            div {
                p class="lead" { (row.evidence) }
                (again(&row.replay))
                (facts(&[
                    ("rounds", row.rounds.to_string()),
                    ("actors under way at once", format!("in {} rounds", row.overlapped)),
                    ("a step waited", format!("in {} rounds", row.waited)),
                    ("a step was refused", format!("in {} rounds", row.refused)),
                    ("took", format!("{:.1} s", row.duration_ms as f64 / 1e3)),
                ]))
                @for (nth, shown) in row.counterexamples.iter().enumerate() {
                    (Player {
                        id: format!("case-{}-v{}", number + 1, nth + 1),
                        check: shown.check.clone(),
                        sentence: format!("{}, in round {}", shown.sentence, shown.round),
                        replay: row.replay.clone(),
                        unit: "ms",
                        picture: Picture::of_operations(&shown.steps),
                        other: None,
                        outputs: Vec::new(),
                    }.render())
                }
            }
        }
    }
}
