//! `record`: what a program is seen to do.

use super::apps::worker;
use super::command::driftlock;

#[test]
fn transactions_errors_lost_commits_waits_and_locks_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    std::fs::write(path.join("schema.sql"), "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0);")
        .unwrap();
    // One holds the row while the other waits for it; a third loses what it commits.
    let holds = r#"[{"sql": "BEGIN ISOLATION LEVEL REPEATABLE READ"}, {"sql": "UPDATE t SET v = 1 WHERE id = 1"},
        {"sql": "SELECT pg_sleep(0.5)"}, {"sql": "COMMIT"}]"#;
    let waits = r#"[{"sql": "UPDATE t SET v = v + 1 WHERE id = 1", "extended": true}]"#;
    let loses =
        r#"[{"sql": "BEGIN"}, {"sql": "INSERT INTO t VALUES (1, 1)", "ignores_errors": true}, {"sql": "COMMIT"}]"#;
    let leaves = r#"[{"sql": "BEGIN"}, {"sql": "SELECT 1"}]"#;
    for (file, text) in [("holds", holds), ("waits", waits), ("loses", loses), ("leaves", leaves)] {
        std::fs::write(path.join(file), text).unwrap();
    }
    let worker = worker().display().to_string();
    let all = format!(
        "'{worker}' --once holds & sleep 0.25; '{worker}' --once waits; wait; '{worker}' --once loses; '{worker}' --once leaves"
    );
    let setup = format!("'{worker}' --setup schema.sql");
    let arguments = ["record", "--postgres", "local", "--output", "out", "--setup", &setup, "--", "sh", "-c", &all];
    let (code, said) = driftlock(path, &arguments);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("COMMIT ANSWERED WITH ROLLBACK: 1 times") && said.contains("LEFT OPEN: 1"), "{said}");
    let report = std::fs::read_to_string(path.join("out/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let transactions = &report["transactions"];
    assert_eq!((&transactions["committed"], &transactions["of_one_statement"]), (&1.into(), &1.into()), "{report}");
    assert_eq!(transactions["isolation"]["REPEATABLE READ"], 1, "{report}");
    assert_eq!((&report["errors"][0]["code"], &report["sessions"]), (&"23505".into(), &4.into()), "{report}");
    let wait = &report["waits"][0];
    assert!(wait["statement"].as_str().unwrap().starts_with("UPDATE t SET v = v + ?"), "{report}");
    assert!(wait["waits_for"].as_str().unwrap().contains("pg_sleep"), "{report}");
    let locks = report["locks"].as_array().unwrap();
    assert!(locks.iter().any(|lock| lock["relation"] == "public.t" && lock["mode"] == "RowExclusiveLock"), "{report}");
    // The same, printed again.
    let (code, again) = driftlock(path, &["report", "out"]);
    assert_eq!(code, Some(0), "{again}");
    assert!(again.contains("COMMIT ANSWERED WITH ROLLBACK: 1 times"), "{again}");
}

#[test]
fn a_command_that_fails_does_not_connect_or_cannot_be_run_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let record =
        |command: &[&str]| driftlock(directory.path(), &[&["record", "--postgres", "local", "--"], command].concat());
    let (code, said) = record(&["true"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("never connected to driftlock's URL"), "{said}");
    let (code, said) = record(&["no-such-command"]);
    assert_eq!(code, Some(2), "{said}");
    let script = format!("'{}' --once nothing", worker().display());
    let (code, said) = record(&["sh", "-c", &script]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the command ended with exit code 1"), "{said}");
}
