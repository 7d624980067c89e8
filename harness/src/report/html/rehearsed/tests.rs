//! What the page of a rehearsal holds.

use serde_json::json;

use super::page;
use crate::report::html::explored::tests::assert_sound;
use crate::report::rehearsed::RehearseReport;

fn report() -> RehearseReport {
    let rate = |per_second: f64| json!({ "stretch_ms": 1000.0, "per_second": per_second, "noise": 0.1, "p50_ms": 1.5, "p99_ms": 9.0, "max_ms": 12.0 });
    let statement = json!({
        "line": 3, "column": 1, "statement": "ALTER TABLE <b>t</b>", "duration_ms": 40.0,
        "locks": [{ "on": "claims", "mode": "ACCESS EXCLUSIVE", "held_ms": 38.0 }], "waited_ms": 2.0,
        "reads": { "count": 13, "longest_ms": 36.0 }, "writes": { "count": 0, "longest_ms": 0.0 },
    });
    let file = json!({
        "pass": "up", "version": "7", "file": "7.up.sql", "attempt": 1, "duration_ms": 41.0, "overlapped": 20,
        "queue_peak": 4, "recovery_ms": 5.0, "statements": [statement],
    });
    let finding = json!({
        "kind": "blocks-readers", "file": "7.up.sql", "line": 3, "column": 1, "statement": "ALTER TABLE <b>t</b>",
        "pass": "up, up again", "sentence": "13 reads & more were blocked", "advice": "do <it> later",
    });
    let row = json!({
        "name": "broken", "backend": "postgres", "strategy": "alone", "verdict": "violation",
        "expected": { "verdict": "pass" }, "met": false, "evidence": "found", "checks": [], "duration_ms": 1000,
        "replay": "driftlock rehearse broken", "from": "6", "to": "7", "traffic": "4 workers", "findings": [finding],
        "inconclusive": [], "notes": ["a <note>"], "files": [file],
        "rates": { "unobserved": rate(100.0), "before": rate(90.0), "during": rate(50.0), "after": null },
        "errors": { "40P01": 2 }, "sizes": {}, "wal_bytes": {}, "budget": "at most 100 ms",
    });
    serde_json::from_value(json!({
        "schema_version": 1, "command": "rehearse", "verdict": "violation", "seed": 1, "profile": "durable",
        "backends": [], "planned": 1, "results": [row], "not_applicable": [], "not_verified": [],
    }))
    .unwrap()
}

#[test]
fn a_finding_stands_with_its_source_and_its_statement_leads_to_it() {
    let page = page(&report());
    assert_sound(&page);
    for shown in [
        "blocks-readers",
        "7.up.sql:3:1, up, up again",
        "ALTER TABLE &lt;b&gt;t&lt;/b&gt;",
        "13 reads &amp; more were blocked",
        "do &lt;it&gt; later",
        "href=\"#case-1-f1\"",
        "ACCESS EXCLUSIVE on claims, held 38 ms",
        "stretch-exclusive",
        "13 reads blocked, the longest 36 ms",
        "waited for a lock, 2.0 ms",
        "40P01 2 times",
        "while applying",
        "at most 100 ms",
        "a &lt;note&gt;",
    ] {
        assert!(page.contains(shown), "{shown} in {page}");
    }
    assert!(!page.contains("writes blocked"), "none was");
}
