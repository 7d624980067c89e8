//! What the program carries: its own migrations pass, and each broken twin is found out, for the right reason.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{found, rehearse};

#[test]
fn our_own_migrations_pass_and_every_broken_twin_is_found_out() {
    let at = tempfile::tempdir().unwrap();
    let called =
        rehearse(at.path(), &["--backend", "postgres", "--postgres", "local", "--format", "json", "--output", "run"])
            .ends_with(0);
    let report = called.json();
    assert_eq!((&report["verdict"], &report["profile"]), (&"pass".into(), &"durable".into()));
    let rows = report["results"].as_array().unwrap();
    let by_name: BTreeMap<&str, &Value> = rows.iter().map(|row| (row["name"].as_str().unwrap(), row)).collect();
    assert_eq!(by_name.len(), 11);
    for row in rows {
        assert_eq!(row["met"], true, "{row:#}");
        // Verified traffic was there, and what it left is right, whatever the migration did.
        let checks = row["checks"].as_array().unwrap();
        let passed = checks.iter().filter(|check| check["verdict"] == "pass").count();
        assert!(passed >= 5, "{row:#}");
    }
    ours(by_name["postgres"]);
    for (name, kind) in [
        ("plain-unique", "access-exclusive 0003_unique_signal.up.sql:1 -"),
        ("plain-unique", "blocks-readers 0003_unique_signal.up.sql:1 -"),
        ("plain-index", "blocks-writers 0003_unique_signal.up.sql:2 -"),
        ("if-not-exists", "silent-invalid 0003_unique_signal.up.sql:2 -"),
        ("lock-timeout", "invalid-index 0004_unique_signal.up.sql:2 55P03"),
        // The next deploy meets what the first one left.
        ("lock-timeout", "refused 0004_unique_signal.up.sql:2 42P07"),
        ("blocking-lock", "replicas 0003_unique_signal.up.sql:2 40P01"),
        ("down-order", "down-refused 0003_unique_signal.down.sql:2 42704"),
        ("down-in-transaction", "down-refused 0004_no_index_by_payer.down.sql:1 25001"),
        ("set-and-build", "one-message 0003_unique_signal.up.sql:3 25001"),
        ("null-groups", "false-alarm 0004_no_duplicate_references.up.sql:2 P0001"),
        ("early-code", "application-error 0003_unique_signal.up.sql:2 42P10"),
    ] {
        let found = found(by_name[name]);
        assert!(found.iter().any(|one| one == kind), "{name}: {found:?}");
    }
    // A writer waits for a plain build, and a reader does not.
    assert!(!found(by_name["plain-index"]).iter().any(|one| one.starts_with("blocks-readers")));
    for file in ["report.json", "junit.xml", "report.md", "report.sarif", "history-postgres-alone.jsonl"] {
        assert!(at.path().join("run").join(file).is_file(), "{file}");
    }
}

/// What was measured of our own: the locks that the files say they take, and the whole course.
fn ours(row: &Value) {
    assert_eq!((&row["verdict"], &row["from"], &row["to"]), (&"pass".into(), &1.into(), &4.into()));
    let files = row["files"].as_array().unwrap();
    let passes: Vec<&str> = files.iter().map(|file| file["pass"].as_str().unwrap()).collect();
    assert_eq!(passes, ["up", "up", "up", "down", "down", "down", "up again", "up again", "up again"]);
    assert!(files.iter().all(|file| file["overlapped"].as_u64() > Some(0)), "{row:#}");
    let strongest = |version: u64| -> (String, f64) {
        let file = files.iter().find(|file| file["version"] == version && file["pass"] == "up").unwrap();
        let locks = file["statements"].as_array().unwrap().iter().flat_map(|one| one["locks"].as_array().unwrap());
        let on_events = locks.filter(|lock| lock["on"] == "drift_events");
        let named =
            on_events.map(|lock| (lock["mode"].as_str().unwrap().to_owned(), lock["held_ms"].as_f64().unwrap()));
        let order =
            ["ACCESS SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"];
        named.max_by_key(|(mode, _)| order.iter().position(|one| one == mode)).unwrap()
    };
    // Code that says ON CONFLICT needs the index; code that does not works on every version.
    let table = row["applications"].as_array().unwrap();
    let on = |line: usize| -> Vec<&str> {
        let on = table[line]["on"].as_array().unwrap();
        on.iter().map(|one| one["code"].as_str().or(one["outcome"].as_str()).unwrap()).collect()
    };
    assert_eq!(on(0), ["works"; 4]);
    assert_eq!(on(1), ["42P10", "42P10", "works", "works"]);
    assert_eq!(strongest(2).0, "SHARE ROW EXCLUSIVE");
    assert_eq!(strongest(3).0, "SHARE UPDATE EXCLUSIVE");
    // Read within the transaction: no sample would have caught it.
    let (mode, held_ms) = strongest(4);
    assert!(mode == "ACCESS EXCLUSIVE" && held_ms > 0.0, "{mode} {held_ms}");
    assert!(row["evidence"].as_str().unwrap().ends_with("down and up again the schema was the same"), "{row:#}");
}

#[test]
fn it_is_said_which_companion_makes_which_of_our_own_files_wait() {
    let at = tempfile::tempdir().unwrap();
    let arguments = ["--postgres", "local", "--format", "json", "--filter", "postgres", "--events", "5000"];
    let companions = ["--companion", "idle-reader", "--companion", "replicas"];
    let report = rehearse(at.path(), &[&arguments[..], &companions].concat()).ends_with(0).json();
    let rows = report["results"].as_array().unwrap();
    let of = |beside: &str| rows.iter().find(|row| row["strategy"] == beside).unwrap();
    assert_eq!((&of("alone")["verdict"], &of("replicas")["verdict"]), (&"pass".into(), &"pass".into()));
    let waits = of("idle-reader");
    assert!(found(waits).contains(&"queue 0004_unique_signal_constraint.up.sql:4 -".to_owned()), "{waits:#}");
    let sentence = waits["findings"][0]["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("it waited for the companion idle-reader, and behind it "), "{sentence}");
}
