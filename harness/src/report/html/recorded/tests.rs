//! What the page of `record` holds.

use serde_json::json;

use super::page;
use crate::app::record::account::Recorded;
use crate::report::html::explored::tests::assert_sound;

fn recorded() -> Recorded {
    let statement = |from: f64, to: f64, text: &str| json!({ "from_ms": from, "to_ms": to, "text": text });
    let session = |transactions: serde_json::Value, statements: serde_json::Value, waits: serde_json::Value| json!({ "from_ms": 0.0, "to_ms": null, "transactions": transactions, "statements": statements, "waits": waits });
    let mut refused = statement(30.0, 60.0, "UPDATE seats");
    refused["error"] = json!("could not <serialize> (40001)");
    serde_json::from_value(json!({
        "schema_version": 1, "command": "record", "program": "py<test>", "profile": "fast",
        "backends": [{ "name": "postgres", "version": "15.4", "provisioned": "local" }], "seconds": 0.1, "sessions": 2,
        "sessions_at_once": 2,
        "transactions": { "committed": 1, "rolled_back": 0, "commits_rolled_back": 1, "left_open": 0, "of_one_statement": 0,
            "retries": 0, "isolation": { "SERIALIZABLE": 2 }, "longest_ms": 70 },
        "statements": [{ "text": "SELECT <b>", "times": 2, "errors": 0, "rows": 3, "server_ms": 1.25, "open_after_ms": 2.0,
            "waited_ms": 0.0 }],
        "errors": [], "waits": [], "locks": [{ "relation": "public.seats", "mode": "RowExclusiveLock", "transactions": 1 }],
        "over_time": { "sessions_left_out": 4, "left_out": 7, "kept": 6, "sessions": [
            session(json!([{ "from_ms": 0.0, "to_ms": 50.0, "ending": "committed", "isolation": "SERIALIZABLE" }]),
                json!([statement(0.0, 10.0, "SELECT <b>")]), json!([])),
            session(json!([{ "from_ms": 20.0, "to_ms": 90.0, "ending": "commit_rolled_back", "isolation": "SERIALIZABLE" }]),
                json!([refused]), json!([{ "from_ms": 31.0, "to_ms": 50.0, "waits_for": [0] }])),
        ] },
    }))
    .unwrap()
}

#[test]
fn sessions_are_lanes_with_transactions_statements_and_an_arrow_to_whom_somebody_waited_for() {
    let page = page(&recorded());
    assert_sound(&page);
    for shown in [
        // Of 0 to 100 ms, in the second lane.
        "class=\"bar asks\" style=\"left:31.000%;width:19.000%;top:1.5rem\"",
        "class=\"towards up\" style=\"left:31.000%;top:0.75rem;height:1.5rem\"",
        "class=\"bar undone\" style=\"left:20.000%;width:70.000%;top:1.5rem\"",
        "class=\"bar task\" style=\"left:0.000%;width:50.000%;top:0rem\"",
        "class=\"bar failed\"",
        "href=\"#s2-1\"",
        "waited 19 ms for session 1",
        "could not &lt;serialize&gt; (40001)",
        "SELECT &lt;b&gt;",
        "COMMIT was answered with ROLLBACK 1 times",
        "driftlock record: py&lt;test&gt;",
        "15.4 (local)",
        "RowExclusiveLock",
        " 7 statements, transactions and waits after these",
        " 4 sessions more",
    ] {
        assert!(page.contains(shown), "{shown} in {page}");
    }
}

#[test]
fn a_recording_of_an_older_version_is_a_page_that_says_so() {
    let page = page(&Recorded { over_time: None, ..recorded() });
    assert_sound(&page);
    assert!(page.contains("kept no sessions") && page.contains("SELECT &lt;b&gt;"));
}
