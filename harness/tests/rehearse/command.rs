//! The command itself: what it refuses, what it says where nothing can be shown, and what it does not let pass.

use std::path::Path;

use crate::{driftlock, found, holding, rehearse};

/// The tables of the traffic, and so few events that nothing takes long.
const SMALL: &str = "base-version = 4\nevents = 1000\n";

#[test]
fn mistakes_are_said_at_once_with_their_places() {
    let at = holding(&[("1_a.sql", "SELECT 1;\n\\dt"), ("2_b.down.sql", "SELECT 1"), ("c.sql", "")]);
    let called = rehearse(at.path(), &["m"]).ends_with(2);
    for said in [
        "m/1_a.sql:2:1: \\dt is a command of psql",
        "m/2_b.down.sql: undoes version 2",
        "m/c.sql: its name has no number",
    ] {
        assert!(called.err.contains(said), "{}", called.err);
    }
    for (settings, said) in [
        ("form = 1", "unknown field `form`"),
        ("from = 7", "has no version 7; its versions are 1"),
        ("from = 1", "nothing between version 1 and version 1"),
        ("[[expect]]\nfinding = 'refused'\nfile = 'b.sql'", "b.sql, which is not there"),
    ] {
        let at = holding(&[("1_a.sql", "SELECT 1"), ("rehearse.toml", settings)]);
        let called = rehearse(at.path(), &["m"]).ends_with(2);
        assert!(called.err.contains(said), "{}", called.err);
    }
    assert!(rehearse(at.path(), &["nowhere"]).ends_with(2).err.contains("failed to read the directory"));
    assert!(rehearse(at.path(), &["--filter", "nothing"]).ends_with(2).err.contains("nothing is left to rehearse"));
}

#[test]
fn the_list_says_what_is_expected_and_starts_no_server() {
    let called = rehearse(Path::new("."), &["--list", "--adversarial", "--filter", "postgres"]).ends_with(0);
    assert_eq!(called.out.lines().count(), 9, "{}", called.out);
    assert!(called.out.starts_with("postgres alone: 1 to 4, within the budget\n"), "{}", called.out);
}

#[test]
fn without_traffic_there_is_no_answer_and_what_is_refused_is_a_finding_all_the_same() {
    let at = holding(&[("1_a.up.sql", "CREATE TABLE t (a int)"), ("1_a.down.sql", "DROP TABLE t")]);
    let called = rehearse(at.path(), &["m", "--postgres", "local", "--format", "json"]).ends_with(3);
    let report = called.json();
    assert_eq!(report["verdict"], "inconclusive");
    let why = report["results"][0]["inconclusive"][0].as_str().unwrap();
    assert!(why.starts_with("there was no traffic"), "{why}");
    let at = holding(&[("1_a.sql", "CREATE TABLE t (a int);\nSELECT 1 / 0;")]);
    let called = rehearse(at.path(), &["m", "--postgres", "local", "--format", "json"]).ends_with(1);
    assert_eq!(found(&called.json()["results"][0]), ["refused 1_a.sql:2 22012"]);
    // A file that ends its own session is at fault, and not the surroundings.
    let at = holding(&[("1_a.sql", "CREATE TABLE t (a int);\nSELECT pg_terminate_backend(pg_backend_pid());")]);
    let called = rehearse(at.path(), &["m", "--postgres", "local", "--format", "json"]).ends_with(1);
    assert_eq!(found(&called.json()["results"][0]), ["refused 1_a.sql:2 57P01"]);
}

#[test]
fn what_does_not_come_about_as_expected_is_a_violation() {
    let add = "SELECT set_config('lock_timeout', '5s', true);\nALTER TABLE drift_events ADD COLUMN note text;";
    let expect = format!("{SMALL}[[expect]]\nfinding = 'access-exclusive'\nfile = '1_a.up.sql'\n");
    let at = holding(&[
        ("1_a.up.sql", add),
        ("1_a.down.sql", "ALTER TABLE drift_events DROP COLUMN note"),
        ("rehearse.toml", &expect),
    ]);
    let called = rehearse(at.path(), &["m", "--postgres", "local", "--output", "run"]).ends_with(1);
    assert!(called.out.contains("no access-exclusive"), "{}", called.out);
    // The same without the expectation is a pass.
    std::fs::write(at.path().join("m/rehearse.toml"), SMALL).unwrap();
    let more = ["--wal", "--target-version", "99"];
    let called =
        rehearse(at.path(), &[&["m", "--postgres", "local", "--output", "run"][..], &more].concat()).ends_with(0);
    assert!(called.out.contains("pass: 1 of 1 as expected"), "{}", called.out);
    assert!(called.out.contains("m/1_a.up.sql: 0.0 MB of WAL"), "{}", called.out);
    assert!(called.out.contains("not 99: what a statement locks"), "{}", called.out);
    assert_eq!(driftlock(at.path(), &["report", "run"]).ends_with(0).out, called.out);
    let json = driftlock(at.path(), &["report", "run", "--format", "json"]).ends_with(0).out;
    assert_eq!(json.trim_end(), std::fs::read_to_string(at.path().join("run/report.json")).unwrap().trim_end());
    assert!(called.out.contains("application on-conflict"), "{}", called.out);
}

#[test]
fn a_check_that_is_right_is_no_false_alarm_and_a_down_that_forgets_is_noticed() {
    let check = "DO $$ BEGIN IF EXISTS (SELECT FROM drift_events GROUP BY run_id HAVING count(*) > 1) \
                 THEN RAISE EXCEPTION 'duplicates'; END IF; END $$;";
    let at = holding(&[
        ("1_a.up.sql", "ALTER TABLE drift_events ADD COLUMN note text; CREATE TABLE kept (a int);"),
        ("1_a.down.sql", "ALTER TABLE drift_events DROP COLUMN note"),
        ("rehearse.toml", SMALL),
    ]);
    let called = rehearse(at.path(), &["m", "--postgres", "local", "--format", "json"]).ends_with(1);
    let found_down = found(&called.json()["results"][0]);
    assert!(found_down.contains(&"down-differs 1_a.down.sql:1 -".to_owned()), "{found_down:?}");

    let unique = "CREATE UNIQUE INDEX too_much ON drift_events (run_id)";
    let at = holding(&[
        ("1_a.up.sql", check),
        ("1_a.down.sql", ""),
        ("2_b.up.sql", unique),
        ("2_b.down.sql", "DROP INDEX too_much"),
        ("rehearse.toml", SMALL),
    ]);
    let called = rehearse(at.path(), &["m", "--postgres", "local", "--format", "json"]).ends_with(1);
    let found = found(&called.json()["results"][0]);
    assert_eq!(found, ["refused 1_a.up.sql:1 P0001", "refused 2_b.up.sql:1 23505"]);
}

#[test]
fn what_is_left_is_told_unless_a_later_file_sees_to_it() {
    let add = "ALTER TABLE drift_events ADD CONSTRAINT sound CHECK (severity >= 0) NOT VALID";
    let lock = "-- no-transaction\nSELECT pg_advisory_lock(7)";
    let at = holding(&[("1_add.sql", add), ("2_lock.sql", lock), ("rehearse.toml", SMALL)]);
    let called = rehearse(at.path(), &["m", "--postgres", "local", "--format", "json"]).ends_with(1);
    assert_eq!(found(&called.json()["results"][0]), ["left-behind 1_add.sql:1 -", "left-behind 2_lock.sql:2 -"]);
    let validate = "ALTER TABLE drift_events VALIDATE CONSTRAINT sound";
    let unlock = "-- no-transaction\nSELECT pg_advisory_unlock(7)";
    let files = [("1_add.sql", add), ("2_lock.sql", lock), ("3_validate.sql", validate), ("4_unlock.sql", unlock)];
    let at = holding(&[&files[..], &[("rehearse.toml", SMALL)]].concat());
    rehearse(at.path(), &["m", "--postgres", "local"]).ends_with(0);
}

#[test]
fn a_column_that_comes_back_at_the_end_is_no_difference_and_is_told() {
    let at = holding(&[
        ("2_drop.up.sql", "ALTER TABLE orders DROP amount"),
        ("2_drop.down.sql", "ALTER TABLE orders ADD amount int"),
        ("1_make.sql", "CREATE TABLE orders (amount int, note text)"),
    ]);
    let called = rehearse(at.path(), &["m", "--postgres", "local", "--format", "json"]).ends_with(3);
    let row = &called.json()["results"][0];
    assert_eq!(row["findings"].as_array().unwrap().len(), 0, "{row:#}");
    let note = row["notes"][0].as_str().unwrap();
    assert!(note.starts_with("after going down the columns of orders stand in another order (note, amount"), "{note}");
}

#[test]
fn lost_throughput_and_time_are_within_the_budget_or_findings() {
    let up = "LOCK TABLE drift_events IN ACCESS EXCLUSIVE MODE;\nSELECT pg_sleep(1.3);";
    let long = "[budget]\nread-block-ms = 60000\nwrite-block-ms = 60000\naccess-exclusive-ms = 60000\n";
    let settings = format!("{SMALL}{long}throughput-dip = 0.1\ntotal-s = 1\n");
    let at = holding(&[("1_slow.sql", up), ("rehearse.toml", &settings)]);
    let called = rehearse(at.path(), &["m", "--postgres", "local", "--format", "json"]).ends_with(1);
    assert_eq!(found(&called.json()["results"][0]), ["throughput 1_slow.sql:1 -", "total-time 1_slow.sql:1 -"]);
    std::fs::write(at.path().join("m/rehearse.toml"), format!("{SMALL}{long}throughput-dip = 1.0\n")).unwrap();
    rehearse(at.path(), &["m", "--postgres", "local"]).ends_with(0);
}
