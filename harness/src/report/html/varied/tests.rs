//! What the pages of `mutate` on files and of `repair` hold.

use serde_json::{Value, json};

use super::page;
use crate::report::html::explored::tests::{assert_sound, counterexample};
use crate::report::varied::VariedReport;

fn row(change: &str, fate: &str, verdict: &str, met: bool, shown: bool) -> Value {
    json!({
        "name": "seats/<em> x", "case": "seats/<em>", "backend": "postgres", "strategy": "exhaustive", "fate": fate,
        "change": change, "statements": [["ann.2", "SELECT '<script>' FROM seats"]], "verdict": verdict,
        "expected": { "verdict": "violation", "check": null }, "met": met, "evidence": "it's <i>seen</i>", "checks": [],
        "killed_by": if fate == "killed" { json!(["<img>", "seats kept"]) } else { json!([]) }, "executed": 7,
        "executions": 6, "waited": 5, "refused": 4, "steps": [], "duration_ms": 1, "replay": "driftlock mutate x",
        "counterexamples": if shown { json!([counterexample()]) } else { json!([]) },
    })
}

fn report(command: &str, results: &[Value]) -> VariedReport {
    serde_json::from_value(json!({
        "schema_version": 1, "command": command, "verdict": "pass", "seed": null, "profile": "fast",
        "backends": [{ "name": "postgres", "version": "15.4", "provisioned": "local" }], "planned": results.len(),
        "results": results, "not_applicable": [], "not_verified": [],
    }))
    .unwrap()
}

#[test]
fn each_mutant_of_a_file_has_its_row_in_the_matrix_and_its_own_counterexample() {
    let page = page(&report(
        "mutate",
        &[
            row("", "as it is", "pass", true, false),
            row("without FOR UPDATE", "killed", "violation", true, true),
            row("without a unique index", "survived", "pass", false, true),
            row("without a check", "harmless", "pass", true, false),
        ],
    ));
    assert_sound(&page);
    assert_eq!(page.matches("●").count(), 2, "one for each check that failed");
    assert_eq!(page.matches("class=\"player\"").count(), 2);
    for shown in [
        "<a href=\"#case-1-1\">FOR UPDATE</a>",
        "<span>&lt;img&gt;</span>",
        "<span>seats kept</span>",
        "<span class=\"chip pass\">killed</span>",
        "<span class=\"chip violation\">survived</span>",
        "<details class=\"case\" id=\"case-1-1\"><summary>",
        "<details class=\"case\" id=\"case-1-2\" open><summary>",
        "SELECT '&lt;script&gt;' FROM seats",
        "it's &lt;i&gt;seen&lt;/i&gt;",
        "7 times",
        "bob waits for ann",
        "15.4 (local)",
    ] {
        assert!(page.contains(shown), "{shown} in {page}");
    }
}

#[test]
fn repairs_are_a_table_and_what_holds_is_open_with_its_statements() {
    let page = page(&report(
        "repair",
        &[
            row("", "as it is", "violation", true, true),
            row("a row lock", "holds", "pass", true, false),
            row("an advisory lock", "holds", "pass", true, false),
            row("a retry", "not serial", "violation", true, true),
        ],
    ));
    assert_sound(&page);
    assert!(!page.contains("Kill matrix"));
    assert_eq!(page.matches("class=\"player\"").count(), 2);
    for shown in [
        "<details class=\"case\" id=\"case-1-as-it-is\"><summary>",
        "<details class=\"case\" id=\"case-1-1\" open><summary>",
        "<details class=\"case\" id=\"case-1-2\"><summary>",
        "<span class=\"chip pass\">holds</span>",
        "<span class=\"chip violation\">not serial</span>",
        "<td data-label=\"refusals\" class=\"number\">4</td>",
    ] {
        assert!(page.contains(shown), "{shown} in {page}");
    }
}

#[test]
fn a_case_with_nothing_changed_shows_what_it_is() {
    let page = page(&report("mutate", &[row("", "as it is", "violation", false, true)]));
    assert_sound(&page);
    assert!(page.contains("id=\"case-1-as-it-is\" open") && !page.contains("Kill matrix"), "{page}");
}
