//! The page of a run of `replay`.

use maud::html;

use super::frame::{chip, facts, framed, profile};
use super::player::Player;
use crate::report::replayed::ReplayReport;

/// The page.
pub fn page(report: &ReplayReport) -> String {
    let body = html! {
        h1 { "driftlock replay: " (report.case) }
        p { (chip(report.verdict, report.verdict.as_str())) " " (report.conclusion) }
        (Player::of("v1".to_owned(), &report.counterexample).render())
        section {
            h2 { "Configuration and environment" }
            (facts(&[
                ("schedule", report.schedule.clone()),
                ("script", report.script.clone()),
                ("profile", profile(&report.profile)),
            ]))
            @for used in &report.backends {
                (facts(&[(used.name.as_str(), format!("{} ({})", used.version, used.provisioned))]))
            }
        }
    };
    framed(&format!("driftlock replay: {}", report.case), &body)
}
