//! What mends programs that nobody touches: tried on the wire and in the schema, to the end; and none that holds is refuted
//! by brute force.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::apps::worker;
use crate::command::driftlock;

/// A directory with an application of programs, a worker each; `more` is what else its file says.
fn app(schema: &str, programs: &[Value], exits: &str, more: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let worker = worker().display().to_string();
    let mut file = format!("name = \"broken\"\nsummary = \"x\"\nsetup = \"'{worker}' --setup schema.sql\"\n");
    for (name, program) in ["ann", "bob"].into_iter().zip(programs) {
        fs::write(directory.path().join(format!("{name}.json")), program.to_string()).unwrap();
        file += &format!("[[actor]]\nname = \"{name}\"\nworker = \"'{worker}' {name}.json\"\n{exits}\n");
    }
    fs::write(directory.path().join("schema.sql"), schema).unwrap();
    fs::write(directory.path().join("app.toml"), file + more).unwrap();
    directory
}

/// The exit code, what was said, and the rows of the report: the application as it is first.
fn repaired(directory: &Path) -> (Option<i32>, String, Vec<Value>) {
    let arguments = ["repair", "app.toml", "--all", "--postgres", "local", "--budget", "2000", "--output", "out"];
    let (code, said) = driftlock(directory, &arguments);
    let report: Value = match fs::read(directory.join("out/report.json")) {
        Ok(report) => serde_json::from_slice(&report).unwrap(),
        Err(_) => Value::Null,
    };
    (code, said, report["results"].as_array().cloned().unwrap_or_default())
}

/// The repair that is called so, or whose name begins so, and what came of it.
fn of<'a>(rows: &'a [Value], name: &str) -> (&'a str, &'a Value) {
    let is_called = |row: &&Value| row["change"] == name;
    let row = rows.iter().find(is_called);
    let row = row.or_else(|| rows.iter().find(|row| row["change"].as_str().unwrap().starts_with(name)));
    let row = row.unwrap_or_else(|| panic!("no {name} in {rows:#?}"));
    (row["fate"].as_str().unwrap(), row)
}

/// How many orders brute force visits of each.
const ORDERS: &str = "40";

/// The first orders of an application that is mended by hand, as it should read: nothing is violated in them.
fn brute_force(at: &Path, programs: &[Value], schema: &str) {
    for (name, program) in ["ann", "bob"].into_iter().zip(programs) {
        fs::write(at.join(format!("{name}.json")), program.to_string()).unwrap();
    }
    fs::write(at.join("schema.sql"), schema).unwrap();
    let arguments = ["explore", "app.toml", "--strategy", "brute-force", "--budget", ORDERS, "--postgres", "local"];
    let (code, said) = driftlock(at, &[&arguments[..], &["--output", "brute"]].concat());
    // There may be more orders than that.
    assert!(matches!(code, Some(0 | 3)) && said.contains(" executions"), "{said}");
}

fn text(sql: &str) -> Value {
    json!({"sql": sql})
}

const SEATS: &str = "CREATE TABLE seats (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO seats VALUES (1); \
                     CREATE TABLE log (who text)";
const ADDED: &str =
    "[[invariant]]\nname = \"added\"\nsql = \"SELECT n FROM seats WHERE n <> (SELECT count(*) FROM log)\"";

/// Adds to a number from what it read, with these before and with that read.
fn adding(begin: Value, read: Value) -> Value {
    json!([
        begin,
        read,
        text("UPDATE seats SET n = {n}::int + 1 WHERE id = 1"),
        text("INSERT INTO log VALUES ('x')"),
        text("COMMIT"),
    ])
}

#[test]
fn what_is_read_and_written_is_mended_by_a_lock_on_it_however_it_is_sent() {
    let read = |sql: &str, how: &str| json!({"sql": sql, "keep": "n", how: true});
    let sql = "SELECT n FROM seats WHERE id = 1";
    let programs = [
        adding(json!({"sql": "BEGIN", "prepared": true}), read(sql, "prepared")),
        adding(json!({"sql": "BEGIN", "extended": true}), read(sql, "extended")),
    ];
    let at = app(SEATS, &programs, "", ADDED);
    let (code, said, rows) = repaired(at.path());
    assert_eq!(code, Some(0), "{said}");
    assert_eq!((&rows[0]["fate"], &rows[0]["checks"][0]["name"]), (&json!("as it is"), &json!("added")), "{said}");
    // What ann prepares are units of their own.
    let locked = format!("{sql} FOR UPDATE");
    let (fate, row) = of(&rows, "FOR UPDATE on what is read");
    assert_eq!(fate, "holds", "{said}");
    assert_eq!(row["statements"], json!([["ann.5", &locked], ["bob.2", &locked]]), "{said}");
    assert!(row["waited"].as_u64() > Some(0) && row["executions"].as_u64() > Some(0), "{row}");
    assert_eq!(of(&rows, "FOR NO KEY UPDATE").0, "holds", "{said}");
    let (fate, row) = of(&rows, "pg_advisory_xact_lock on log, seats, first of all");
    assert_eq!(fate, "holds", "{said}");
    let begun = "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('log, seats', 0))";
    assert_eq!(row["statements"], json!([["ann.2", begun], ["bob.1", begun]]), "{said}");
    assert!(row["waited"].as_u64() > Some(0), "it was taken: {row}");
    // Nobody begins anew, and that is said.
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let (fate, row) = of(&rows, level);
        assert_eq!((fate, &row["checks"][0]["name"]), ("violated", &json!("exits")), "{said}");
        assert!(row["evidence"].as_str().unwrap().contains("does not begin anew after 40001"), "{said}");
    }
    let sent = of(&rows, "SERIALIZABLE").1["steps"].to_string();
    assert!(sent.contains("BEGIN ISOLATION LEVEL SERIALIZABLE"), "{sent}");
    // As they should read, brute force finds nothing in them.
    let lock = |begin: &str, sql: &str| adding(text(begin), read(sql, "prepared"));
    for mended in [lock("BEGIN", &locked), lock("BEGIN", &format!("{sql} FOR NO KEY UPDATE")), lock(begun, sql)] {
        brute_force(at.path(), &[mended.clone(), mended], SEATS);
    }
}

#[test]
fn a_program_that_begins_anew_by_itself_is_mended_by_a_level() {
    let read = json!({"sql": "SELECT n FROM seats WHERE id = 1", "keep": "n"});
    let program = |begin: &str| adding(text(begin), read.clone());
    let retries = "env = { WORKER_RETRIES = \"3\" }";
    let at = app(SEATS, &[program("BEGIN"), program("BEGIN")], retries, ADDED);
    let (code, said, rows) = repaired(at.path());
    assert_eq!(code, Some(0), "{said}");
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let (fate, row) = of(&rows, level);
        assert_eq!(fate, "holds", "{said}");
        assert!(row["refused"].as_u64() > Some(0), "{row}");
        assert!(row["evidence"].as_str().unwrap().contains("begins anew by itself"), "{row}");
        let mended = program(&format!("BEGIN ISOLATION LEVEL {level}"));
        brute_force(at.path(), &[mended.clone(), mended], SEATS);
    }
}

const TAGS: &str = "CREATE TABLE tags (id int GENERATED ALWAYS AS IDENTITY, name text NOT NULL)";
const ONCE: &str = "[[invariant]]\nname = \"once\"\nsql = \"SELECT name FROM tags GROUP BY name HAVING count(*) > 1\"";

/// Inserts a tag where none was counted.
fn tagging(begin: &str, insert: &str) -> Value {
    json!([
        text(begin),
        {"sql": "SELECT id FROM tags WHERE name = 'a'", "extended": true},
        {"sql": "SELECT count(*) FROM tags WHERE name = 'a'", "keep": "n"},
        {"sql": insert, "if_even": "n", "prepared": true},
        text("COMMIT"),
    ])
}

#[test]
fn a_row_that_is_not_there_cannot_be_locked_and_what_helps_then_is_found() {
    let insert = "INSERT INTO tags (name) VALUES ('a')";
    let program = tagging("BEGIN", insert);
    let at = app(TAGS, &[program.clone(), program], "exits = [0]", ONCE);
    let (code, said, rows) = repaired(at.path());
    assert_eq!(code, Some(0), "{said}");
    let (fate, row) = of(&rows, "FOR UPDATE on what is read");
    assert_eq!((fate, &row["checks"][0]["name"]), ("violated", &json!("once")), "{said}");
    assert!(row["evidence"].as_str().unwrap().contains("there was no row that it could have locked"), "{said}");
    assert!(!row["steps"].as_array().unwrap().is_empty(), "{said}");
    // Whoever comes second is refused, and the program does not expect that; with ON CONFLICT it is not.
    let (fate, row) = of(&rows, "unique index on tags (name)");
    assert_eq!((fate, &row["checks"][0]["name"]), ("violated", &json!("exits")), "{said}");
    let (fate, row) = of(&rows, "unique index on tags (name), ON CONFLICT DO NOTHING");
    assert_eq!(fate, "holds", "{said}");
    let index = "CREATE UNIQUE INDEX tags_name_once ON tags (name)";
    assert_eq!(row["statements"][0], json!(["set-up", index]), "{said}");
    let quiet = format!("{insert} ON CONFLICT DO NOTHING");
    assert!(row["statements"].as_array().unwrap().iter().any(|one| one[1] == json!(quiet)), "{row}");
    assert_eq!(of(&rows, "pg_advisory_xact_lock on tags, first of all").0, "holds", "{said}");
    let mended = tagging("BEGIN", &quiet);
    brute_force(at.path(), &[mended.clone(), mended], &format!("{TAGS}; {index}"));
    let mended = tagging("BEGIN; SELECT pg_advisory_xact_lock(7)", insert);
    brute_force(at.path(), &[mended.clone(), mended], TAGS);
}

#[test]
fn a_write_skew_is_left_by_repeatable_read_and_mended_by_serializable() {
    let schema = "CREATE TABLE doctors (id int PRIMARY KEY, on_call boolean); \
                  INSERT INTO doctors VALUES (1, true), (2, true)";
    let one = "[[invariant]]\nname = \"one-on-call\"\nsql = \"SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM doctors WHERE on_call)\"";
    let leaving = |begin: &str, id: u32| {
        json!([
            text(begin),
            {"sql": "SELECT count(*) FROM doctors WHERE on_call", "keep": "n"},
            {"sql": format!("UPDATE doctors SET on_call = false WHERE id = {id}"), "if_even": "n"},
            text("COMMIT"),
        ])
    };
    let retries = "env = { WORKER_RETRIES = \"3\" }";
    let at = app(schema, &[leaving("BEGIN", 1), leaving("BEGIN", 2)], retries, one);
    let (code, said, rows) = repaired(at.path());
    assert_eq!(code, Some(0), "{said}");
    let (fate, row) = of(&rows, "REPEATABLE READ");
    assert_eq!((fate, &row["checks"][0]["name"]), ("violated", &json!("one-on-call")), "{said}");
    assert!(row["evidence"].as_str().unwrap().contains("write skew"), "{said}");
    assert_eq!(of(&rows, "SERIALIZABLE").0, "holds", "{said}");
    assert_eq!(of(&rows, "pg_advisory_xact_lock on doctors").0, "holds", "{said}");
    for begin in ["BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN; SELECT pg_advisory_xact_lock(7)"] {
        brute_force(at.path(), &[leaving(begin, 1), leaving(begin, 2)], schema);
    }
}

#[test]
fn who_begins_no_transaction_is_told_that_it_lets_go_at_once() {
    let program = json!([
        {"sql": "SELECT n FROM seats WHERE id = 1", "keep": "n"},
        text("UPDATE seats SET n = {n}::int + 1 WHERE id = 1"),
        text("INSERT INTO log VALUES ('x')"),
    ]);
    let at = app(SEATS, &[program.clone(), program], "", ADDED);
    let (code, said, rows) = repaired(at.path());
    assert_eq!(code, Some(1), "{said}");
    let (fate, row) = of(&rows, "FOR UPDATE on what is read");
    assert_eq!(fate, "violated", "{said}");
    assert!(row["evidence"].as_str().unwrap().contains("ann begins no transaction"), "{said}");
    assert!(!said.contains("pg_advisory_xact_lock"), "{said}");
}
