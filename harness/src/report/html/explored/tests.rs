//! What a page of `explore` holds: every step of a counterexample, nothing that is taken for markup, nothing from outside.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::page;
use crate::report::explored::ExploreReport;

/// A step of `actor` with these events and open transactions.
fn step(actor: &str, name: &str, sql: &str, events: &Value, open: &Value) -> Value {
    json!({ "actor": actor, "step": name, "sql": sql, "events": events, "transactions": open })
}

fn event(actor: &str, name: &str, kind: &str, said: &str) -> Value {
    json!({ "actor": actor, "step": name, "kind": kind, "said": said })
}

/// Two actors: one waits for the other, fails, and has its COMMIT answered with ROLLBACK.
pub fn counterexample() -> Value {
    let open = |actor: &str, touch: &str, aborted: bool| json!({ "actor": actor, "aborted": aborted, "touched": { "public.seats": touch } });
    let waits =
        json!({ "actor": "bob", "step": "book", "kind": "waits", "said": "waits for ann", "waits_for": ["ann"] });
    let course = json!({
        "actors": ["ann", "bob"],
        "steps": [
            step("ann", "look", "SELECT '<script>alert(1)</script>' FROM \"seats\"",
                &json!([event("ann", "look", "done", "(<b>7</b>)")]), &json!([open("ann", "write", false)])),
            step("bob", "book", "UPDATE seats SET free = 0", &json!([waits]),
                &json!([open("ann", "write", false), open("bob", "read", false)])),
            step("ann", "3", "COMMIT", &json!([event("ann", "3", "done", "ok"),
                event("bob", "book", "failed", "could not serialize (40001)")]), &json!([open("bob", "read", true)])),
            step("bob", "keep", "COMMIT", &json!([event("bob", "keep", "rolled_back", "rolled back")]), &json!([])),
        ],
        "end": [{ "query": "seats & free", "rows": [["0"]] }],
    });
    let serial = json!({
        "actors": ["ann", "bob"],
        "steps": [
            step("ann", "look", "SELECT 1", &json!([event("ann", "look", "done", "(8)")]), &json!([])),
            step("ann", "3", "COMMIT", &json!([event("ann", "3", "done", "ok")]), &json!([])),
            step("bob", "book", "UPDATE seats SET free = 0",
                &json!([event("bob", "book", "done", "UPDATE 1")]), &json!([])),
            step("bob", "keep", "COMMIT", &json!([event("bob", "keep", "done", "ok")]), &json!([])),
        ],
        "end": [{ "query": "seats & free", "rows": [["1"]] }],
    });
    json!({
        "check": "<img>", "sentence": "it's \"gone\" & lost", "replay": "driftlock replay 'a\"b'", "shown": 4,
        "course": course, "serial": serial,
    })
}

fn report() -> ExploreReport {
    let row = json!({
        "name": "seats/<em>", "backend": "postgres", "strategy": "exhaustive", "verdict": "violation",
        "expected": { "verdict": "pass", "check": null }, "met": false, "evidence": "it happened",
        "checks": [{ "name": "<img>", "verdict": "violation", "why": "it" }], "coverage": "stopped",
        "refused": [["bob.book", "40001", 3]], "executions": 2, "abandoned": 0, "orders": 6.0,
        "executions_per_second": 10.0, "outcomes": [["{(0, 0): \"ok\"}", 2]], "duration_ms": 7, "overlaps": [],
        "replay": "driftlock replay x", "counterexamples": [counterexample()], "summary": "Two sell one seat.",
    });
    serde_json::from_value(json!({
        "schema_version": 1, "command": "explore", "verdict": "violation", "seed": 1, "profile": "fast",
        "backends": [{ "name": "postgres", "version": "15.4", "provisioned": "local" }], "planned": 1,
        "results": [row], "not_applicable": [], "not_verified": ["sqlite: <i>gone</i>"],
    }))
    .unwrap()
}

/// The values of an attribute, in order.
fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    let opening = format!(" {attribute}=\"");
    page.split(opening.as_str()).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

/// Fails if a page takes something from outside, or takes what was recorded for markup, or has a link that leads nowhere.
pub fn assert_sound(page: &str) {
    for outside in ["http://", "https://", " src=", "url(", "@import", "<link", "<iframe", "<img", "<em>", "<b>", "<i>"]
    {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_eq!(page.matches("<script").count(), 1, "the page's own script alone");
    let ids = values(page, "id");
    let different: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(different.len(), ids.len(), "two places have one name");
    for link in values(page, "href") {
        assert!(link.strip_prefix('#').is_some_and(|id| different.contains(id)), "{link} leads nowhere");
    }
    for id in values(page, "aria-labelledby") {
        assert!(different.contains(id), "{id} names nothing");
    }
}

#[test]
fn every_step_of_a_counterexample_is_on_the_page_and_nothing_of_it_is_markup() {
    let page = page(&report());
    assert_sound(&page);
    for shown in [
        "SELECT '&lt;script&gt;alert(1)&lt;/script&gt;' FROM",
        "(&lt;b&gt;7&lt;/b&gt;)",
        "UPDATE seats SET free = 0",
        "bob waits for ann",
        "could not serialize (40001)",
        "COMMIT was answered with ROLLBACK",
        "seats &amp; free",
        "it's &quot;gone&quot; &amp; lost",
        "≠ other order: (8)",
        "≠ other order: UPDATE 1",
        "band hold",
        "band aborted",
        "arrow left",
        "wrote <code>seats</code>",
        "Not verified: ",
        "15.4 (local)",
    ] {
        assert!(page.contains(shown), "{shown} in {page}");
    }
    // Each step of both orders, and the end of both, has its words; each event its box.
    assert_eq!(page.matches("<article class=\"moment\"").count(), 4 + 1 + 4 + 1);
    assert_eq!(page.matches("<a class=\"unit").count(), 5 + 4);
}

#[test]
fn what_an_older_version_recorded_without_steps_is_a_page_that_says_so() {
    let mut report = report();
    report.results[0].counterexamples.clear();
    let page = page(&report);
    assert_sound(&page);
    for shown in ["kept no steps", "{(0, 0): &quot;ok&quot;}", "driftlock replay x"] {
        assert!(page.contains(shown), "{shown}");
    }
}
