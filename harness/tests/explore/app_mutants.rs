//! What programs protect themselves with, seen on the wire and taken away there.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::apps::worker;
use crate::command::driftlock;

const SCHEMA: &str = "CREATE TABLE seats (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO seats VALUES (1); \
                      CREATE TABLE log (who text)";
const ADDED: &str =
    "[[invariant]]\nname = \"added\"\nsql = \"SELECT n FROM seats WHERE n <> (SELECT count(*) FROM log)\"";
const BLIND: &str = "[[invariant]]\nname = \"blind\"\nsql = \"SELECT 1 WHERE false\"";

/// Adds to a number from what it read, `before` that.
fn adding(before: &[Value]) -> Value {
    let mut program = before.to_vec();
    program.extend([
        json!({"sql": "UPDATE seats SET n = {n}::int + 1 WHERE id = 1"}),
        json!({"sql": "INSERT INTO log VALUES ('x')"}),
        json!({"sql": "COMMIT"}),
    ]);
    Value::Array(program)
}

/// Reads with a lock, as a simple query or as a prepared statement.
fn locked(extended: bool) -> [Value; 2] {
    let read = json!({"sql": "SELECT n FROM seats WHERE id = 1 FOR UPDATE", "keep": "n", "extended": extended});
    [json!({"sql": "BEGIN"}), read]
}

/// A directory with an application of two programs; `more` is what else its file says.
fn app(schema: &str, programs: [&Value; 2], more: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let worker = worker().display().to_string();
    let mut file = format!("name = \"adding\"\nsummary = \"x\"\nsetup = \"'{worker}' --setup schema.sql\"\n");
    for (name, program) in ["ann", "bob"].into_iter().zip(programs) {
        fs::write(directory.path().join(format!("{name}.json")), program.to_string()).unwrap();
        file += &format!("[[actor]]\nname = \"{name}\"\nworker = \"'{worker}' {name}.json\"\nexits = [0, 1]\n");
    }
    fs::write(directory.path().join("schema.sql"), schema).unwrap();
    fs::write(directory.path().join("app.toml"), file + more).unwrap();
    directory
}

/// The exit code, what was said, and the mutants by what was taken away.
fn mutated(directory: &Path) -> (Option<i32>, String, Vec<Value>) {
    let arguments = ["mutate", "app.toml", "--postgres", "local", "--budget", "60s", "--output", "out"];
    let (code, said) = driftlock(directory, &arguments);
    let report: Value = match fs::read(directory.join("out/report.json")) {
        Ok(report) => serde_json::from_slice(&report).unwrap(),
        Err(_) => Value::Null,
    };
    let rows = report["results"].as_array().cloned().unwrap_or_default();
    (code, said, rows.into_iter().filter(|row| row["change"] != "").collect())
}

fn fates(rows: &[Value]) -> Vec<(&str, &str)> {
    rows.iter().map(|row| (row["change"].as_str().unwrap(), row["fate"].as_str().unwrap())).collect()
}

#[test]
fn a_lock_is_taken_away_however_it_is_sent_and_its_check_notices() {
    let (simple, extended) = (adding(&locked(false)), adding(&locked(true)));
    let at = app(SCHEMA, [&simple, &extended], ADDED);
    let (code, said, rows) = mutated(at.path());
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fates(&rows), [("without FOR UPDATE on seats (ann.2, bob.2)", "killed")], "{said}");
    let row = &rows[0];
    assert_eq!(row["killed_by"], json!(["added"]), "{row}");
    assert!(row["executed"].as_u64().unwrap() >= 2, "{row}");
    assert_eq!(row["statements"], json!([["ann.2, bob.2", "SELECT n FROM seats WHERE id = 1"]]), "{row}");
    // The order that shows it is one of what was sent instead.
    let sent: Vec<&str> = row["steps"].as_array().unwrap().iter().map(|step| step["sql"].as_str().unwrap()).collect();
    assert!(sent.contains(&"SELECT n FROM seats WHERE id = 1"), "{sent:?}");
    assert!(!sent.iter().any(|sql| sql.contains("FOR UPDATE")), "{sent:?}");
    // A check that cannot see it lets it live, and that fails the run.
    let at = app(SCHEMA, [&simple, &extended], BLIND);
    let (code, said, rows) = mutated(at.path());
    assert_eq!((code, fates(&rows)[0].1), (Some(1), "survived"), "{said}");
    assert!(said.contains("SURVIVED") && said.contains("no check notices that the outcome is"), "{said}");
    assert!(!rows[0]["steps"].as_array().unwrap().is_empty(), "{said}");
}

#[test]
fn a_lock_around_what_is_one_statement_anyway_is_harmless() {
    let once = json!([
        {"sql": "BEGIN"},
        {"sql": "SELECT id FROM seats WHERE id = 1 FOR UPDATE"},
        {"sql": "UPDATE seats SET n = n + 1 WHERE id = 1"},
        {"sql": "COMMIT"},
    ]);
    let sum = "[[invariant]]\nname = \"sum\"\nsql = \"SELECT n FROM seats WHERE n <> 2\"";
    let at = app("CREATE TABLE seats (id int, n int); INSERT INTO seats VALUES (1, 0)", [&once, &once], sum);
    let (code, said, rows) = mutated(at.path());
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fates(&rows), [("without FOR UPDATE on seats (ann.2, bob.2)", "harmless")], "{said}");
}

#[test]
fn levels_table_locks_and_advisory_locks_are_taken_away_too() {
    let begin = |sql: &str| json!({"sql": sql});
    let read = json!({"sql": "SELECT n FROM seats WHERE id = 1", "keep": "n"});
    let advisory = json!({"sql": "SELECT pg_catalog.pg_advisory_xact_lock(7)", "extended": true});
    let isolates = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation TO \
                    ''repeatable read''', current_database()); END $$";
    for (schema, before, name) in [
        (
            "",
            vec![begin("BEGIN ISOLATION LEVEL SERIALIZABLE"), read.clone()],
            "without ISOLATION LEVEL SERIALIZABLE (ann.1, bob.1)",
        ),
        (
            "",
            vec![begin("BEGIN"), begin("LOCK TABLE seats IN SHARE ROW EXCLUSIVE MODE"), read.clone()],
            "without LOCK TABLE seats IN SHARE ROW EXCLUSIVE MODE (ann.2, bob.2)",
        ),
        ("", vec![begin("BEGIN"), advisory, read.clone()], "without advisory lock 7 (ann.2, bob.2)"),
        (
            isolates,
            vec![begin("BEGIN"), read.clone()],
            "without default_transaction_isolation repeatable read (database)",
        ),
    ] {
        let program = adding(&before);
        let at = app(&format!("{SCHEMA};{schema}"), [&program, &program], ADDED);
        let (code, said, rows) = mutated(at.path());
        assert_eq!((code, fates(&rows)), (Some(0), vec![(name, "killed")]), "{said}");
        assert_eq!(rows[0]["killed_by"], json!(["added"]), "{said}");
    }
}

#[test]
fn a_unique_constraint_goes_with_the_on_conflict_that_needs_it() {
    let book =
        json!([{"sql": "INSERT INTO bookings (seat) VALUES (1) ON CONFLICT (seat) DO NOTHING", "extended": true}]);
    let schema =
        "CREATE TABLE bookings (seat int CONSTRAINT one_a_seat UNIQUE); CREATE TABLE other (id int PRIMARY KEY)";
    let once = "[[invariant]]\nname = \"once\"\nsql = \"SELECT seat FROM bookings GROUP BY seat HAVING count(*) > 1\"";
    let at = app(schema, [&book, &book], once);
    let (code, said, rows) = mutated(at.path());
    let of =
        |part: &str| rows.iter().find(|row| row["change"].as_str().unwrap().contains(part)).unwrap_or(&Value::Null);
    // What nobody writes to protects nothing here.
    assert_eq!(rows.len(), 2, "{said}");
    assert_eq!(
        (&of("UNIQUE (seat)")["fate"], &of("UNIQUE (seat)")["killed_by"]),
        (&json!("killed"), &json!(["once"])),
        "{said}"
    );
    // Whoever comes second is refused then, which this scenario takes for an end like any other.
    let conflict = of("ON CONFLICT");
    assert_eq!(conflict["fate"], json!("survived"), "{said}");
    assert!(conflict["evidence"].as_str().unwrap().contains("comes to"), "{said}");
    assert_eq!(code, Some(1), "{said}");
}

/// One that fails with nothing concurrent too is noticed by `exits`; one that the server does not take is no mutant.
#[test]
fn what_fails_by_itself_without_its_defence_is_killed_unless_it_makes_no_sense() {
    let visit = json!([{"sql": "INSERT INTO visits VALUES (1, 1) ON CONFLICT (page) DO UPDATE SET n = visits.n + 1"}]);
    let schema = "CREATE TABLE visits (page int PRIMARY KEY, n int); INSERT INTO visits VALUES (1, 0)";
    let counted = "[[invariant]]\nname = \"counted\"\nsql = \"SELECT n FROM visits WHERE n <> 2\"";
    let at = app(schema, [&visit, &visit], BLIND);
    let file = at.path().join("app.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("exits = [0, 1]", "")).unwrap();
    let (code, said, rows) = mutated(at.path());
    let of =
        |part: &str| rows.iter().find(|row| row["change"].as_str().unwrap().contains(part)).unwrap_or(&Value::Null);
    let conflict = of("without ON CONFLICT (page)");
    assert_eq!((&conflict["fate"], &conflict["killed_by"]), (&json!("killed"), &json!(["exits"])), "{said}");
    assert!(conflict["evidence"].as_str().unwrap().contains("23505"), "{said}");
    assert_eq!(of("PRIMARY KEY")["fate"], json!("survived"), "{said}");
    assert_eq!(code, Some(1), "{said}");
    // Columns of an index that are no columns are not told, so that the clause does not go with it.
    let visit = json!([{"sql": "INSERT INTO visits VALUES (1, 1) ON CONFLICT (lower(page::text)) DO UPDATE SET n = visits.n + 1"}]);
    let schema = "CREATE TABLE visits (page int, n int); CREATE UNIQUE INDEX one ON visits (lower(page::text))";
    let at = app(schema, [&visit, &visit], counted);
    let (code, said, rows) = mutated(at.path());
    let index = rows.iter().find(|row| row["change"].as_str().unwrap().contains("UNIQUE INDEX")).unwrap();
    assert_eq!(index["fate"], json!("undecided"), "{said}");
    assert!(index["evidence"].as_str().unwrap().contains("is refused with 42P10"), "{said}");
    assert_eq!(code, Some(3), "{said}");
}

#[test]
fn what_has_nothing_to_teach_or_cannot_be_read_is_told() {
    let program = adding(&[json!({"sql": "BEGIN"}), json!({"sql": "SELECT n FROM seats WHERE id = 1", "keep": "n"})]);
    let at = app(SCHEMA, [&program, &program], ADDED);
    let (code, said, rows) = mutated(at.path());
    assert_eq!((code, rows.len()), (Some(1), 0), "{said}");
    assert!(said.contains("violation: added"), "{said}");
    // Expected to be violated, it is left out.
    let file = fs::read_to_string(at.path().join("app.toml")).unwrap();
    fs::write(at.path().join("app.toml"), format!("violates = \"added\"\n{file}")).unwrap();
    let (_, said, rows) = mutated(at.path());
    assert!(rows.is_empty() && said.contains("there is nothing to take away"), "{said}");
    // PostgreSQL reads it, and the parser does not.
    let odd = json!({"sql": "SELECT n FROM seats WHERE id = 1 FOR UPDATE FOR SHARE NOWAIT OF", "ignores_errors": true});
    let whole = adding(&[&[odd], &locked(false)[..]].concat());
    let at = app(SCHEMA, [&whole, &whole], ADDED);
    let (_, said, _) = mutated(at.path());
    assert!(said.contains("not rewritten: SELECT n FROM seats WHERE id = 1 FOR UPDATE FOR SHARE NOWAIT OF"), "{said}");
    assert!(said.contains("it cannot be read"), "{said}");
}

#[test]
fn retries_are_taken_away_and_whoever_counts_on_both_notices() {
    let begin = json!({"sql": "BEGIN ISOLATION LEVEL REPEATABLE READ"});
    let adding = adding(&[begin, json!({"sql": "SELECT n FROM seats WHERE id = 1", "keep": "n"})]);
    let both = "[[invariant]]\nname = \"both\"\nsql = \"SELECT n FROM seats WHERE n <> 2\"";
    let retry = "without retry after 40001 (ann, bob)";
    for (checks, ends, expected) in [(both, Some(0), "killed"), (BLIND, Some(1), "survived")] {
        let at = app(
            "CREATE TABLE seats (id int, n int); INSERT INTO seats VALUES (1, 0); CREATE TABLE log (who text)",
            [&adding, &adding],
            checks,
        );
        let file = at.path().join("app.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("exits = [0, 1]", "exits = [0, 1]\nenv = { WORKER_RETRIES = \"3\" }")).unwrap();
        let (code, said, rows) = mutated(at.path());
        assert_eq!(code, ends, "{said}");
        let row = rows.iter().find(|row| row["change"] == retry).unwrap_or_else(|| panic!("{said}"));
        assert_eq!(row["fate"], expected, "{said}");
        // Three more attempts, each in vain.
        assert!(row["executed"].as_u64().unwrap() >= 3, "{row}");
        let again = "-- sent again after 40001 or 40P01: refused with that once more, each time";
        assert_eq!(row["statements"], json!([["ann, bob", again]]), "{row}");
        if expected == "killed" {
            assert_eq!(row["killed_by"], json!(["both"]), "{row}");
        }
    }
}
