//! Where the tool's way with transactions decides whether CONCURRENTLY works: each layout right, and with one fault.

use std::fs;

use serde_json::Value;

use crate::{found, rehearse};

/// The tables of the traffic, and so few events that nothing takes long.
const SETTINGS: &str = "base-version = 4\nevents = 1000\n";
const BUILD: &str = "CREATE INDEX CONCURRENTLY note_by_payer ON drift_events (payer);";
const DROP: &str = "DROP INDEX CONCURRENTLY note_by_payer;";

/// Rehearses a directory with these files, as one of a layout; answers the exit code, the row, and what was printed.
fn held(layout: &str, files: &[(&str, &str)], exit: i32) -> Value {
    let at = tempfile::tempdir().unwrap();
    let root = at.path().join("m");
    for (name, text) in files.iter().chain(&[("rehearse.toml", SETTINGS)]) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let arguments = ["m", "--layout", layout, "--postgres", "local", "--format", "json", "--output", "run"];
    let called = rehearse(at.path(), &arguments).ends_with(exit);
    let row = called.json()["results"][0].clone();
    assert_eq!(row["layout"]["name"], layout);
    row
}

/// A directory that passes.
fn passes(layout: &str, files: &[(&str, &str)]) -> Value {
    let row = held(layout, files, 0);
    assert_eq!(row["verdict"], "pass", "{row:#}");
    row
}

/// A directory that is refused; answers the first finding and its advice.
fn refused(layout: &str, files: &[(&str, &str)]) -> (String, String) {
    let row = held(layout, files, 1);
    let advice = row["findings"][0]["advice"].as_str().unwrap().to_owned();
    (found(&row).remove(0), advice)
}

#[test]
fn golang_migrate_builds_alone_in_a_file_and_not_with_another_statement() {
    passes("golang-migrate", &[("1_a.up.sql", BUILD), ("1_a.down.sql", DROP)]);
    let two = format!("{BUILD}\nSELECT 1;");
    let (kind, advice) = refused("golang-migrate", &[("1_a.up.sql", &two), ("1_a.down.sql", DROP)]);
    assert_eq!(kind, "one-message 1_a.up.sql:1 25001");
    assert!(advice.starts_with("One statement a file"), "{advice}");
    // Its own transaction is its own business, and does not outlive it.
    let own = "BEGIN;\nSELECT set_config('lock_timeout', '5s', true);\nALTER TABLE drift_events ADD COLUMN note text;\nCOMMIT;";
    passes("golang-migrate", &[("1_a.up.sql", own), ("1_a.down.sql", "ALTER TABLE drift_events DROP COLUMN note;")]);
}

#[test]
fn goose_builds_outside_of_a_transaction_only_and_is_advised_in_its_own_words() {
    let file = |head: &str| format!("{head}-- +goose Up\nSELECT 1;\n{BUILD}\n-- +goose Down\n{DROP}\n");
    passes("goose", &[("1_a.sql", &file("-- +goose NO TRANSACTION\n"))]);
    let (kind, advice) = refused("goose", &[("1_a.sql", &file(""))]);
    assert_eq!(kind, "refused 1_a.sql:3 25001");
    assert!(advice.contains("-- +goose NO TRANSACTION"), "{advice}");
}

#[test]
fn flyway_leaves_the_transaction_out_by_itself_or_where_its_conf_says_so() {
    let row = passes("flyway", &[("V1.1__a.sql", BUILD), ("U1.1__a.sql", DROP)]);
    assert_eq!((row["to"].as_str(), row["from"].as_i64()), (Some("1.1"), Some(0)));
    let mixed = format!("SELECT 1;\n{BUILD}");
    let conf = ("V1__a.sql.conf", "executeInTransaction=false\n");
    passes("flyway", &[("V1__a.sql", &mixed), ("U1__a.sql", DROP), conf]);
    let forced = ("V1__a.sql.conf", "executeInTransaction=true\n");
    let (kind, advice) = refused("flyway", &[("V1__a.sql", &mixed), ("U1__a.sql", DROP), forced]);
    assert_eq!(kind, "refused V1__a.sql:2 25001");
    assert!(advice.contains("executeInTransaction=false"), "{advice}");
}

#[test]
fn dbmate_builds_with_transaction_false_alone_in_its_block() {
    let file = |option: &str, more: &str| {
        format!("-- migrate:up{option}\n{more}{BUILD}\n-- migrate:down transaction:false\n{DROP}\n")
    };
    passes("dbmate", &[("1_a.sql", &file(" transaction:false", ""))]);
    let (kind, advice) = refused("dbmate", &[("1_a.sql", &file("", ""))]);
    assert_eq!(kind, "refused 1_a.sql:2 25001");
    assert!(advice.contains("transaction:false"), "{advice}");
    let (kind, _) = refused("dbmate", &[("1_a.sql", &file(" transaction:false", "SELECT 1;\n"))]);
    assert_eq!(kind, "one-message 1_a.sql:3 25001");
}

#[test]
fn diesel_builds_where_its_metadata_says_so() {
    let (up, down) = (("2024-01-01-120000_a/up.sql", BUILD), ("2024-01-01-120000_a/down.sql", DROP));
    let metadata = ("2024-01-01-120000_a/metadata.toml", "run_in_transaction = false\n");
    let row = passes("diesel", &[up, down, metadata]);
    assert_eq!(row["layout"]["not_taken"], serde_json::json!([]));
    let (kind, advice) = refused("diesel", &[up, down]);
    assert_eq!(kind, "refused up.sql:1 25001");
    assert!(advice.contains("run_in_transaction = false"), "{advice}");
}

#[test]
fn what_the_layout_is_and_what_is_not_taken_is_printed_and_the_data_of_copy_is_loaded() {
    let at = tempfile::tempdir().unwrap();
    fs::create_dir(at.path().join("m")).unwrap();
    for (name, text) in [
        (
            "V1__a.sql",
            "CREATE TABLE t (a int PRIMARY KEY);\nCOPY t FROM STDIN;\n7\n\\.\nINSERT INTO t SELECT a + 1 FROM t;\n",
        ),
        ("U1__a.sql", "DO $$ BEGIN ASSERT (SELECT array_agg(a) FROM t) = ARRAY[7, 8]; END $$;\nDROP TABLE t;\n"),
        ("beforeMigrate.sql", "SELECT 1;\n"),
        ("rehearse.toml", SETTINGS),
    ] {
        fs::write(at.path().join("m").join(name), text).unwrap();
    }
    let called = rehearse(at.path(), &["m", "--postgres", "local", "--output", "run"]).ends_with(0);
    for said in [
        "layout flyway: U1__a.sql is named as Flyway wants it\n",
        "not taken: m/beforeMigrate.sql: a callback of Flyway's, which is no migration\n",
        "V1__a.sql:2   COPY t FROM STDIN",
    ] {
        assert!(called.out.contains(said), "{}", called.out);
    }
    let markdown = fs::read_to_string(at.path().join("run/report.md")).unwrap();
    assert!(markdown.contains("- not taken: `m/beforeMigrate.sql`"), "{markdown}");
    let listed = rehearse(at.path(), &["m", "--list"]).ends_with(0);
    assert!(listed.out.contains("layout flyway") && listed.out.contains("not taken: m/before"), "{}", listed.out);
    let called = rehearse(at.path(), &["m", "--layout", "liquibase"]).ends_with(2);
    assert!(called.err.contains("the layouts are prisma, "), "{}", called.err);
    let called = rehearse(at.path(), &["m", "--fidelity", "runner"]).ends_with(2);
    assert!(called.err.contains("holds Flyway's"), "{}", called.err);
}

#[test]
fn a_directory_of_sqlites_is_recognised_and_a_companion_that_does_not_fit_is_no_pass() {
    let at = tempfile::tempdir().unwrap();
    fs::create_dir(at.path().join("m")).unwrap();
    let text = "-- +goose Up\n/* /* */ CREATE TABLE [it's] (a INTEGER PRIMARY KEY AUTOINCREMENT);\n-- +goose Down\nDROP TABLE [it's];\n";
    fs::write(at.path().join("m/1_a.sql"), text).unwrap();
    let arguments = ["m", "--journal", "wal", "--traffic", "none", "--output", "run"];
    let called = rehearse(at.path(), &arguments).ends_with(3);
    assert!(called.out.contains("for SQLite: 1_a.sql says AUTOINCREMENT"), "{}", called.out);
    assert!(
        called.out.contains("down and up again the schema was the same") || called.out.contains("there was no traffic")
    );
    let other = tempfile::tempdir().unwrap();
    fs::create_dir(other.path().join("m")).unwrap();
    fs::write(other.path().join("m/1_a.sql"), "CREATE TABLE t (a int)").unwrap();
    let arguments = ["m", "--companion", "duplicates", "--postgres", "local", "--format", "json", "--output", "run"];
    let report = rehearse(other.path(), &arguments).ends_with(3).json();
    assert_eq!(report["results"].as_array().unwrap().len(), 1);
    let unfit = &report["not_applicable"][0];
    assert_eq!(unfit["name"], "m duplicates");
    let why = unfit["reason"].as_str().unwrap();
    assert!(why.starts_with("not applicable: the companion duplicates works on driftlock's tables"), "{why}");
}
