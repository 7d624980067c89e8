//! What the pages of `verify` and `mutate` hold.

use serde_json::json;

use super::page;
use crate::outcome::SuiteReport;
use crate::report::html::explored::tests::assert_sound;

fn report(with_mutant: bool) -> SuiteReport {
    let step = |actor: &str, invoked: u64, returned: u64, operation: &str, outcome: &str| json!({ "actor": actor, "invoked": invoked, "returned": returned, "operation": operation, "outcome": outcome });
    let mut row = json!({
        "name": "no-<b>lock", "backend": "postgres", "strategy": "row-no-key", "verdict": "violation",
        "expected": { "verdict": "violation" }, "met": true, "evidence": "seen",
        "checks": [{ "name": "exclusion", "verdict": "violation", "why": "two at <once>" }], "duration_ms": 12,
        "replay": "driftlock mutate --filter no-lock", "tasks": 3, "waiters": 2,
        "counterexamples": [{ "check": "exclusion", "sentence": "they overlap", "steps": [
            step("worker 0, task 1", 1_000_000, 9_000_000, "lock <i>customer</i> 1", "granted"),
            step("worker 1, task 2", 2_000_000, 3_000_000, "lock customer 2", "failed: deadlock (40P01)"),
            step("worker 0, task 1", 10_000_000, 11_000_000, "COMMIT", "rolled back"),
        ] }],
    });
    if with_mutant {
        row["killed_by"] = json!(["exclusion", "freshness"]);
        row["executed"] = json!(7);
        row["loom"] = json!(null);
    }
    serde_json::from_value(json!({
        "schema_version": 1, "command": if with_mutant { "mutate" } else { "verify" }, "verdict": "pass", "seed": null,
        "profile": "fast", "backends": [], "planned": 1, "results": [row], "not_applicable": [], "not_verified": [],
    }))
    .unwrap()
}

#[test]
fn a_mutant_is_shown_with_the_checks_that_killed_it_and_every_operation_that_shows_it() {
    let page = page(&report(true), &|_| None);
    assert_sound(&page);
    for shown in [
        "Kill matrix",
        "<span>exclusion</span>",
        "<span>freshness</span>",
        "7 times",
        "lock &lt;i&gt;customer&lt;/i&gt; 1",
        "answered later",
        "two at &lt;once&gt;",
        "failed: deadlock (40P01)",
        "they overlap",
    ] {
        assert!(page.contains(shown), "{shown} in {page}");
    }
    assert_eq!(page.matches("●").count(), 2);
    // What was answered after another one had begun has a box for its question and one for its answer.
    assert_eq!(page.matches("<a class=\"unit").count(), 4);
    assert!(page.contains("unit failed") && page.contains("unit rolled"));
}

#[test]
fn a_case_of_verify_has_no_kill_matrix() {
    let page = page(&report(false), &|_| None);
    assert_sound(&page);
    assert!(!page.contains("Kill matrix") && page.contains("they overlap"));
}
