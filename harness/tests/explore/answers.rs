//! What is captured, and what decides by it: types, numbers of rows, what remains of a refused actor's answers.

use std::fs;

use crate::command::driftlock;

/// Explores a script with this head and these actors on a backend: the exit code, and what was said.
fn explored(backend: &str, head: &str, actors: &str, further: &[&str]) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "name = \"answers\"\nsummary = \"What is captured.\"\n{head}\n{actors}\n[[case]]\nbackend = \"{backend}\"\n"
    );
    fs::write(directory.path().join("answers.toml"), text).unwrap();
    let arguments = ["explore", "answers.toml", "--postgres", "local", "--output", "out"];
    let (code, said) = driftlock(directory.path(), &[&arguments[..], further].concat());
    let report = fs::read_to_string(directory.path().join("out/report.json")).unwrap_or_default();
    (code, said + &report)
}

fn actor(name: &str, more: &str, steps: &str) -> String {
    format!("[[actor]]\nname = \"{name}\"\n{more}\nsteps = [{steps}]\n")
}

/// The outcomes of a report.
fn outcomes(said: &str) -> Vec<serde_json::Value> {
    let report: serde_json::Value = serde_json::from_str(&said[said.find("\n{").unwrap()..]).unwrap();
    let rows = report["results"][0]["outcomes"].as_array().unwrap();
    let mut all: Vec<serde_json::Value> =
        rows.iter().map(|one| serde_json::json!([one["steps"], one["stuck"], one["end"]])).collect();
    all.sort_by_key(ToString::to_string);
    all
}

/// A session may be ended before its BEGIN, and between any two of its steps, whoever stands first in the file.
#[test]
fn nothing_can_be_exchanged_with_what_ends_a_session() {
    let victim = actor(
        "a",
        "",
        "{ sql = \"BEGIN\", on-error = { 57P01 = \"end\" } }, \
         { sql = \"UPDATE t SET v = v + 1\", on-error = { 57P01 = \"end\" } }, { sql = \"COMMIT\", on-error = { 57P01 = \"end\" } }",
    );
    let killer = actor(
        "b",
        "",
        "\"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'driftlock/a'\"",
    );
    let head = "setup = \"CREATE TABLE t (v int); INSERT INTO t VALUES (0)\"\nallows-no-effect = true";
    let serial = "[[serial]]\nname = \"v\"\nsql = \"SELECT v FROM t\"\n";
    for actors in [format!("{victim}{killer}{serial}"), format!("{killer}{victim}{serial}")] {
        let by = |strategy: &str| explored("postgres", head, &actors, &["--all", "--strategy", strategy]).1;
        let [all, few] = ["brute-force", "exhaustive"].map(by);
        assert!(outcomes(&all).len() >= 4, "{all}");
        assert_eq!(outcomes(&all), outcomes(&few));
    }
}

/// What was answered and committed remains answered, though its actor is refused afterwards.
#[test]
fn what_was_captured_before_a_commit_remains_and_the_rest_is_null() {
    let head = "setup = \"CREATE TABLE t (v int); INSERT INTO t VALUES (1)\"\nallows-no-effect = true\n\
                refusals = [\"22012\"]";
    let one = actor(
        "one",
        "",
        "\"BEGIN\", { sql = \"SELECT v FROM t\", capture = \"kept\" }, \"COMMIT\", \
         \"BEGIN\", { sql = \"SELECT v FROM t\", capture = \"lost\" }, \"SELECT 1 / 0\", \"COMMIT\"",
    );
    let two = actor("two", "", "\"SELECT 1\"");
    let asked = |sql: &str| format!("{one}{two}[[invariant]]\nname = \"answers\"\nsql = \"{sql}\"\n");
    let (code, said) = explored("postgres", head, &asked("SELECT 1 WHERE {one.kept} = 1"), &[]);
    assert_eq!(code, Some(1), "{said}");
    let (code, said) = explored("postgres", head, &asked("SELECT 1 WHERE {one.lost} IS NOT NULL"), &["--all"]);
    assert_ne!(code, Some(1), "{said}");
}

#[test]
fn values_keep_types_that_come_from_other_values_and_no_row_is_no_member() {
    let head = "setup = \"CREATE TABLE t (id int8, v numeric); INSERT INTO t VALUES (5000000000, 10.50)\"\n\
                refusals = \"none\"";
    let reads = actor(
        "one",
        "",
        "{ sql = \"SELECT v, id FROM t\", capture = [\"v\", \"id\"] }, { sql = \"SELECT {v} * 2, {id} + 1\", capture = [\"twice\", \"next\"] }, \
         { sql = \"SELECT id FROM t WHERE v > 100\", rows = \"none\" }, \
         \"UPDATE t SET v = {twice} WHERE id = {next} - 1 AND id NOT IN ({none})\"",
    );
    let other = actor("two", "", "\"UPDATE t SET v = v + 0\"");
    let invariant = "[[invariant]]\nname = \"doubled\"\nsql = \"SELECT v FROM t WHERE v <> 21\"\n";
    let (code, said) = explored("postgres", head, &format!("{reads}{other}{invariant}"), &[]);
    assert_eq!(code, Some(0), "{said}");
}

/// On SQLite a statement that changes nothing has changed nothing, whatever the one before it has.
#[test]
fn on_sqlite_a_select_has_not_changed_what_the_statement_before_it_did() {
    let head = "setup = \"CREATE TABLE t (v int); INSERT INTO t VALUES (1)\"";
    let steps = "\"BEGIN IMMEDIATE\", \"UPDATE t SET v = v + 1\", \
                 { sql = \"SELECT v FROM t WHERE v < 0\", affected = \"n\" }, \
                 { sql = \"UPDATE t SET v = v + 100\", if = \"{n} <> 0\" }, \"COMMIT\"";
    let actors = format!("{}{}", actor("one", "", steps), actor("two", "", steps));
    let invariant = "[[invariant]]\nname = \"small\"\nsql = \"SELECT v FROM t WHERE v > 50\"\n";
    let (code, said) = explored("sqlite", head, &format!("{actors}{invariant}"), &[]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn every_error_is_not_a_statement_that_cannot_be_run() {
    let head = "setup = \"CREATE TABLE t (v int); INSERT INTO t VALUES (1)\"\nallows-no-effect = true";
    let wrong = actor("one", "", "{ sql = \"UPDAET t SET v = 1\", on-error = { \"*\" = \"go-on\" } }");
    let other = actor("two", "", "\"UPDATE t SET v = v + 1\"");
    let invariant = "[[invariant]]\nname = \"none\"\nsql = \"SELECT 1 WHERE false\"\n";
    let (code, said) = explored("postgres", head, &format!("{wrong}{other}{invariant}"), &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("answers.toml:8:10") && said.contains("42601"), "{said}");
}

/// The last actor comes after those that take part, also where one is refused and does not.
#[test]
fn the_last_actor_does_not_wait_for_one_that_was_refused() {
    let head = "setup = \"CREATE TABLE t (v int); CREATE TABLE log (v int); INSERT INTO t VALUES (1)\"";
    let adds = "\"BEGIN ISOLATION LEVEL REPEATABLE READ\", \"UPDATE t SET v = v + 1\", \"COMMIT\"";
    let actors = format!(
        "{}{}{}",
        actor("one", "", adds),
        actor("two", "", adds),
        actor("log", "last = true", "\"INSERT INTO log SELECT v FROM t\"")
    );
    let serial = "[[serial]]\nname = \"log\"\nsql = \"SELECT v FROM log\"\n";
    let (code, said) = explored("postgres", head, &format!("{actors}{serial}"), &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("40001"), "{said}");
}
