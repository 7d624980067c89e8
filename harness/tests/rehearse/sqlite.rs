//! The same on SQLite files, in WAL and in rollback-journal mode. No server is started.

use serde_json::Value;

use crate::{driftlock, found, holding, rehearse};

/// The tables of the traffic, so few events that nothing takes long, and room for a machine on which it does.
const SMALL: &str = "backend = 'sqlite'\nbase-version = 4\nevents = 1000\n\
                     budget = { read-block-ms = 20000, write-block-ms = 20000, errors = ['5'] }\n";

/// How often the traffic's reads, and its writes, were blocked by a row's first file on its first way up.
fn blocked(row: &Value) -> (u64, u64) {
    let file = &row["files"][0];
    let of = |class: &str| {
        let counts = file["statements"].as_array().unwrap().iter().map(|one| one[class]["count"].as_u64().unwrap());
        counts.sum()
    };
    (of("reads"), of("writes"))
}

/// The operations of a history: what each was, and when it was invoked and returned, in nanoseconds.
fn operations(history: &str) -> Vec<(String, (u64, u64))> {
    let one = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let operation = line.get("op")?;
        let what = operation["op"].as_object()?.keys().next()?.clone();
        Some((what, (operation["invoked"].as_u64()?, operation["returned"].as_u64()?)))
    };
    history.lines().filter_map(one).collect()
}

#[test]
fn our_own_migrations_pass_and_every_broken_twin_is_found_out_with_either_journal() {
    let at = tempfile::tempdir().unwrap();
    let called = rehearse(at.path(), &["--backend", "sqlite", "--format", "json", "--output", "run"]).ends_with(0);
    let report = called.json();
    assert_eq!((&report["verdict"], report["backends"].as_array().unwrap().len()), (&"pass".into(), 1));
    let rows = report["results"].as_array().unwrap();
    assert_eq!(rows.len(), 13);
    let of = |name: &str, beside: &str| {
        let row = rows.iter().find(|row| row["name"] == name && row["strategy"] == beside);
        row.unwrap_or_else(|| panic!("no {name} {beside}"))
    };
    for row in rows {
        assert_eq!((&row["met"], &row["backend"]), (&true.into(), &"sqlite".into()), "{row:#}");
        // Verified traffic was there, and what it left is right, whatever the migration did.
        let checks = row["checks"].as_array().unwrap();
        let passed = checks.iter().filter(|check| check["verdict"] == "pass").count();
        assert!(passed >= 5 || row["name"] == "sqlite-early-code", "{row:#}");
        assert!(row["files"].as_array().unwrap().iter().all(|file| file["overlapped"].as_u64() > Some(0)), "{row:#}");
    }
    for beside in ["alone, wal", "alone, rollback"] {
        let ours = of("sqlite", beside);
        assert_eq!((&ours["verdict"], &ours["from"], &ours["to"]), (&"pass".into(), &1.into(), &4.into()));
        let passes: Vec<&str> =
            ours["files"].as_array().unwrap().iter().map(|file| file["pass"].as_str().unwrap()).collect();
        assert_eq!(passes, ["up", "up", "up", "down", "down", "down", "up again", "up again", "up again"]);
        assert!(ours["evidence"].as_str().unwrap().ends_with("down and up again the schema was the same"), "{ours:#}");
        // Refused cleanly: nothing is there that was not before, and the next run is refused for the same reason.
        assert_eq!(found(of("sqlite-duplicates", beside)), ["refused 0002_unique_signal.up.sql:2 2067"]);
        let half = found(of("sqlite-half-a-file", beside));
        assert!(half.contains(&"left-behind 0002_note_and_index.up.sql:3 -".to_owned()), "{half:?}");
        assert!(half.contains(&"refused 0002_note_and_index.up.sql:2 1".to_owned()), "{half:?}");
        let forgets = found(of("sqlite-down-forgets", beside));
        assert_eq!(forgets, ["refused 0003_note.up.sql:2 1", "down-differs 0003_note.down.sql:1 -"]);
        let early = of("sqlite-early-code", beside);
        assert_eq!(found(early), ["application-error 0003_unique_signal.up.sql:1 1"]);
        assert!(early["errors"]["1"].as_u64() > Some(1), "{early:#}");
        let index = of("sqlite-unique-index", beside);
        assert!(found(index).contains(&"blocks-writers 0003_unique_signal.up.sql:1 -".to_owned()), "{index:#}");
    }
    // In WAL mode readers go on; the same build keeps them out with a rollback journal.
    let (wal, rollback) = (of("sqlite-unique-index", "alone, wal"), of("sqlite-unique-index", "alone, rollback"));
    assert!(!found(wal).iter().any(|one| one.starts_with("blocks-readers")), "{wal:#}");
    assert!(matches!(blocked(wal), (0, 1..)), "{wal:#}");
    assert!(found(rollback).contains(&"blocks-readers 0003_unique_signal.up.sql:1 -".to_owned()), "{rollback:#}");
    assert!(matches!(blocked(rollback), (1.., 1..)), "{rollback:#}");
    // What the index has is in the log first: many times what a journal needs to undo it.
    let peak = |row: &Value| row["wal_bytes"].as_object().unwrap().values().next().and_then(Value::as_i64).unwrap();
    assert!(peak(wal) > 20 * peak(rollback), "{} {}", peak(wal), peak(rollback));
    let long = of("sqlite-long-reader", "idle-reader, rollback");
    let sentence = long["findings"][0]["sentence"].as_str().unwrap();
    let said = "the database refused it beside the companion idle-reader: SQLITE_BUSY (5) database is locked";
    assert_eq!(sentence, said);
    // While the claim of another table that waited longest waited, events were read.
    let history = at.path().join("run/history-sqlite-unique-index-alone-wal.jsonl");
    let operations = operations(&std::fs::read_to_string(history).unwrap());
    let claims = operations.iter().filter(|(what, _)| what == "insert_claim").map(|(_, times)| *times);
    let (from, until) = claims.max_by_key(|(from, until)| until - from).unwrap();
    assert!(until - from > 50_000_000, "{from} {until}");
    let within = |(what, times): &&(String, (u64, u64))| what == "read_events" && times.0 > from && times.1 < until;
    let read = operations.iter().filter(within).count();
    assert!(read >= 2, "{read}");
    for file in ["report.json", "junit.xml", "report.md", "report.sarif", "history-sqlite-alone-wal.jsonl"] {
        assert!(at.path().join("run").join(file).is_file(), "{file}");
    }
}

#[test]
fn a_long_reader_holds_up_a_commit_with_a_rollback_journal_and_nothing_in_wal_mode() {
    let at = tempfile::tempdir().unwrap();
    let arguments = ["--filter", "sqlite", "--events", "2000", "--companion", "idle-reader", "--format", "json"];
    // On a slow machine writers come last again and again, until their busy timeout; that is not what this is about.
    let slow = ["--write-block", "60000", "--allow-error", "5"];
    let report = rehearse(at.path(), &[&arguments[..], &slow].concat()).ends_with(0).json();
    let rows = report["results"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    let of = |beside: &str| rows.iter().find(|row| row["strategy"] == beside).unwrap();
    assert_eq!(of("idle-reader, wal")["verdict"], "pass");
    let waits = of("idle-reader, rollback");
    assert!(found(waits).contains(&"queue 0003_unique_signal_index.up.sql:2 -".to_owned()), "{waits:#}");
    let sentences = waits["findings"].as_array().unwrap().iter().map(|finding| finding["sentence"].as_str().unwrap());
    for sentence in sentences {
        assert!(sentence.starts_with("it waited for the companion idle-reader, and behind it "), "{sentence}");
    }
}

#[test]
fn an_idle_writer_holds_the_migration_up_and_what_is_refused_is_said_with_sqlites_code() {
    let index = "CREATE INDEX by_payer ON drift_events (payer)";
    let settings = format!("{SMALL}busy-timeout-ms = 300\ncompanion = 'idle-writer'\njournal = 'wal'\n");
    let at = holding(&[("1_a.up.sql", index), ("1_a.down.sql", "DROP INDEX by_payer"), ("rehearse.toml", &settings)]);
    let report = rehearse(at.path(), &["m", "--format", "json"]).ends_with(1).json();
    let row = &report["results"][0];
    // The next try, when the writer is gone, goes through.
    assert_eq!(found(row), ["refused 1_a.up.sql:1 5", "down-refused 1_a.down.sql:1 5"], "{row:#}");
    let tries: Vec<&Value> = row["files"].as_array().unwrap().iter().map(|file| &file["attempt"]).collect();
    assert_eq!(tries, [1, 2, 1]);
    let advice = row["findings"][0]["advice"].as_str().unwrap();
    assert!(advice.contains("longer busy timeout"), "{advice}");
    // With patience the file gets its turn. What the traffic waited for the writer is not the file's doing: he stays for
    // 2.5 s, and who waits is counted from the moment at which the file had the lock.
    let settings = "backend = 'sqlite'\nbase-version = 4\nevents = 1000\ncompanion = 'idle-writer'\njournal = 'wal'\n";
    std::fs::write(at.path().join("m/rehearse.toml"), settings).unwrap();
    let report = rehearse(at.path(), &["m", "--write-block", "2000", "--format", "json"]).ends_with(0).json();
    let first = &report["results"][0]["files"][0];
    assert!(first["statements"][0]["waited_ms"].as_f64() > Some(1_000.0), "{first:#}");
}

#[test]
fn there_is_no_add_constraint_and_a_trigger_is_one_statement() {
    let add = "ALTER TABLE drift_events ADD CONSTRAINT few UNIQUE (customer_id)";
    let at = holding(&[("1_a.sql", add), ("rehearse.toml", SMALL)]);
    let called = rehearse(at.path(), &["m", "--journal", "wal", "--format", "json"]).ends_with(1);
    assert_eq!(found(&called.json()["results"][0]), ["refused 1_a.sql:1 1"]);
    let trigger = "CREATE TRIGGER kept AFTER INSERT ON claims BEGIN SELECT 1; SELECT CASE WHEN 1 THEN 2 END; END;\n\
                   CREATE TABLE made_anew (id INTEGER PRIMARY KEY);";
    let at = holding(&[
        ("1_a.up.sql", trigger),
        ("1_a.down.sql", "DROP TABLE made_anew; DROP TRIGGER kept;"),
        ("rehearse.toml", SMALL),
    ]);
    let called = rehearse(at.path(), &["m", "--journal", "rollback", "--output", "run"]).ends_with(0);
    assert!(called.out.contains("in the log or the journal at its peak"), "{}", called.out);
    assert!(!called.out.contains("ACCESS EXCLUSIVE"), "{}", called.out);
    assert_eq!(driftlock(at.path(), &["report", "run"]).ends_with(0).out, called.out);
}

#[test]
fn without_traffic_there_is_no_answer_and_what_makes_no_sense_is_refused_with_a_reason() {
    let up = ("1_a.up.sql", "CREATE TABLE t (a int)");
    let at = holding(&[up, ("1_a.down.sql", "DROP TABLE t")]);
    let called = rehearse(at.path(), &["m", "--backend", "sqlite", "--format", "json"]).ends_with(3);
    let report = called.json();
    assert_eq!((&report["verdict"], report["results"].as_array().unwrap().len()), (&"inconclusive".into(), 2));
    for (arguments, said) in [
        (&["--companion", "second-build"][..], "SQLite builds one index at a time"),
        (&["--fidelity", "runner"], "--fidelity runner is for PostgreSQL"),
        (&["--runner", "true"], "--runner is for PostgreSQL"),
        (&["--journal", "truncate"], "the journals are wal and rollback"),
    ] {
        let called = rehearse(at.path(), &[&["m", "--backend", "sqlite"][..], arguments].concat()).ends_with(2);
        assert!(called.err.replace("\n  │ ", " ").contains(said), "{}", called.err);
    }
    std::fs::write(at.path().join("m/rehearse.toml"), "busy-timeout-ms = 0").unwrap();
    let called = rehearse(at.path(), &["m", "--backend", "sqlite"]).ends_with(2);
    assert!(called.err.contains("busy-timeout-ms is a number from 1 to 60000"), "{}", called.err);
}

#[test]
fn cut_off_anywhere_our_own_files_recover_and_a_file_without_a_transaction_does_not() {
    let at = tempfile::tempdir().unwrap();
    let arguments = ["--filter", "sqlite", "--traffic", "none", "--failures", "--format", "json"];
    // Without traffic the rehearsals alone are no answer; what was cut off is one.
    let report = rehearse(at.path(), &arguments).ends_with(3).json();
    let rows = report["results"].as_array().unwrap();
    for journal in ["wal", "rollback"] {
        let row = rows.iter().find(|row| row["strategy"] == format!("failures, {journal}")).unwrap();
        assert_eq!((&row["verdict"], &row["met"]), (&"pass".into(), &true.into()), "{row:#}");
        // Five statements, each interrupted and left behind by its process; three files, each refused the lock.
        let evidence = row["evidence"].as_str().unwrap();
        let times: u32 = evidence.split(' ').nth(2).unwrap().parse().unwrap();
        assert!((11..=13).contains(&times), "{evidence}");
    }
    let half = "-- no-transaction\nALTER TABLE drift_events ADD COLUMN note TEXT;\nCREATE INDEX by_note ON drift_events (note);";
    let at = holding(&[("1_a.sql", half), ("rehearse.toml", SMALL)]);
    let report = rehearse(at.path(), &["m", "--failures", "--format", "json"]).ends_with(1).json();
    for row in report["results"].as_array().unwrap() {
        let is_cut = row["strategy"].as_str().unwrap().starts_with("failures");
        let found = found(row);
        match is_cut {
            true => assert_eq!(found, ["not-recovered 1_a.sql:2 1", "not-recovered 1_a.sql:3 1"], "{row:#}"),
            false => assert!(found.is_empty(), "{row:#}"),
        }
    }
}

const SCRIPT: &str = r#"
name = "orders"
summary = "Orders are taken, and counted in a second table."
setup = """
WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < 200000)
INSERT INTO orders SELECT n FROM series;
CREATE TABLE taken (amount INTEGER);
"""

[[actor]]
name = "shop"
steps = ["{begin}", "INSERT INTO orders VALUES (1)", "INSERT INTO taken VALUES (1)", "COMMIT"]

[[actor]]
name = "other"
steps = ["{begin}", "INSERT INTO orders VALUES (2)", "INSERT INTO taken VALUES (2)", "COMMIT"]

[[actor]]
name = "page"
steps = [{ sql = "SELECT max(amount) FROM taken", name = "look", capture = "most" }, "SELECT {most}"]

[[invariant]]
name = "every-order-is-kept"
sql = "SELECT 1 WHERE (SELECT count(*) FROM orders) <> (SELECT count(*) FROM taken) + 200000"

[[case]]
name = "sqlite"
backend = "sqlite"
begin = "BEGIN IMMEDIATE"
"#;

#[test]
fn a_users_own_schema_is_rehearsed_under_the_traffic_of_a_script() {
    let files = |up, down| {
        let at = holding(&[
            ("1_orders.up.sql", "CREATE TABLE orders (amount INTEGER)"),
            ("1_orders.down.sql", "DROP TABLE orders"),
            ("2_next.up.sql", up),
            ("2_next.down.sql", down),
            ("rehearse.toml", "backend = 'sqlite'\n"),
        ]);
        std::fs::write(at.path().join("orders.toml"), SCRIPT).unwrap();
        at
    };
    let arguments = ["m", "--traffic", "orders.toml", "--format", "json"];
    let at = files("CREATE INDEX by_amount ON orders (amount)", "DROP INDEX by_amount");
    let report = rehearse(at.path(), &[&arguments[..], &["--write-block", "20"]].concat()).ends_with(1).json();
    for row in report["results"].as_array().unwrap() {
        assert!(found(row).contains(&"blocks-writers 2_next.up.sql:1 -".to_owned()), "{row:#}");
        let is_shops = |finding: &Value| {
            let sentence = finding["sentence"].as_str().unwrap();
            sentence.contains("(shop, step ") || sentence.contains("(other, step ")
        };
        assert!(row["findings"].as_array().unwrap().iter().any(is_shops), "{row:#}");
        assert!(matches!(blocked(row), (_, 1..)), "{row:#}");
        if row["strategy"] == "alone, wal" {
            assert_eq!(blocked(row).0, 0, "{row:#}");
        }
    }
    // Within a wider budget it passes, and its invariant was asked.
    let report = rehearse(at.path(), &[&arguments[..], &["--write-block", "20000", "--read-block", "20000"]].concat())
        .ends_with(0)
        .json();
    let evidence = report["results"][0]["evidence"].as_str().unwrap();
    assert!(evidence.contains("rounds of the script its 1 invariants held"), "{evidence}");
    // A migration that loses rows is found out by it.
    let at = files("DELETE FROM orders WHERE amount = 7", "SELECT 1");
    let report = rehearse(at.path(), &[&arguments[..], &["--journal", "wal"]].concat()).ends_with(1).json();
    let found = found(&report["results"][0]);
    assert!(found.iter().any(|one| one.starts_with("wrong-result 2_next.up.sql")), "{found:?}");
}

#[test]
fn a_table_is_rebuilt_with_foreign_keys_off_and_what_dangles_then_is_told() {
    let rebuild = |columns: &str| {
        format!(
            "CREATE TABLE anew ({columns}) STRICT;\nINSERT INTO anew (id, name) SELECT id, name FROM customers;\n\
             DROP TABLE customers;\nALTER TABLE anew RENAME TO customers;\n"
        )
    };
    let (old, new) = (
        "id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE",
        "note TEXT, id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE",
    );
    let off = |work: &str| {
        format!(
            "-- no-transaction\nPRAGMA foreign_keys = OFF;\nBEGIN IMMEDIATE;\n{work}COMMIT;\nPRAGMA foreign_keys = ON;\n"
        )
    };
    let hold = |up: &str, down: &str, more: &[&str]| {
        let at = holding(&[("1_a.up.sql", up), ("1_a.down.sql", down), ("rehearse.toml", SMALL)]);
        let arguments = ["m", "--journal", "wal", "--format", "json"];
        (rehearse(at.path(), &[&arguments[..], more].concat()), at)
    };
    let (called, _) = hold(&off(&rebuild(new)), &off(&rebuild(old)), &["--failures"]);
    let report = called.ends_with(0).json();
    assert_eq!(report["results"].as_array().unwrap().len(), 2, "{report:#}");
    // In one transaction the pragma would mean nothing, and DROP TABLE is refused with the rows that refer to it.
    let (called, _) = hold(&format!("PRAGMA foreign_keys = OFF;\n{}", rebuild(new)), &rebuild(old), &[]);
    let report = called.ends_with(1).json();
    let row = &report["results"][0];
    assert_eq!(found(row).len(), 1, "{row:#}");
    assert!(found(row)[0].starts_with("refused 1_a.up.sql:") && found(row)[0].ends_with(" 787"), "{row:#}");
    assert!(row["findings"][0]["advice"].as_str().unwrap().contains("means nothing within a transaction"), "{row:#}");
    let (called, _) = hold(&off("DELETE FROM drift_runs WHERE id = 'archive-0';\n"), "SELECT 1", &[]);
    let report = called.ends_with(1).json();
    let row = &report["results"][0];
    assert_eq!(found(row), ["left-behind 1_a.up.sql:6 -"], "{row:#}");
    let sentence = row["findings"][0]["sentence"].as_str().unwrap();
    assert_eq!(sentence, "100 rows of drift_events refer to rows of drift_runs that are not there");
}
