//! Kinds of scripts of which a search once missed an outcome, or said something that was not so. Each was seen to
//! fail before it was mended.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::command::driftlock;

/// A script with two actors of these steps (TOML), on a backend.
fn script(name: &str, backend: &str, setup: &str, [a, b]: [&str; 2], asks: &str) -> String {
    format!(
        "name = \"{name}\"\nsummary = \"A kind.\"\nsetup = \"\"\"{setup}\"\"\"\n\
         [[actor]]\nname = \"a\"\nsteps = [{a}]\n[[actor]]\nname = \"b\"\nsteps = [{b}]\n{asks}\n\
         [[case]]\nbackend = \"{backend}\"\n"
    )
}

const NOTHING: &str = "[[invariant]]\nname = \"nothing\"\nsql = \"SELECT 1 WHERE false\"";
const V: &str = "[[serial]]\nname = \"v\"\nsql = \"SELECT v FROM t ORDER BY v\"";

/// Explores these scripts at once: the code, each row by its script's name, and all that was said.
fn explore(scripts: &[String], more: &[&str]) -> (Option<i32>, impl Fn(&str) -> Value + use<>, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::create_dir(path.join("kinds")).unwrap();
    for (number, script) in scripts.iter().enumerate() {
        fs::write(path.join(format!("kinds/{number:02}.toml")), script).unwrap();
    }
    let arguments = ["explore", "kinds", "--postgres", "local", "--output", "out"];
    let (code, said) = driftlock(path, &[&arguments, more].concat());
    let report = fs::read_to_string(path.join("out/report.json")).unwrap_or_else(|_| panic!("no report: {said}"));
    let report: Value = serde_json::from_str(&report).unwrap();
    let row = move |name: &str| {
        let is_it = |row: &&Value| row["name"].as_str().unwrap().split('/').next() == Some(name);
        report["results"].as_array().unwrap().iter().find(is_it).unwrap_or_else(|| panic!("no row {name}")).clone()
    };
    (code, row, said)
}

fn violated(row: &Value) -> Vec<&str> {
    row["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect()
}

const READS: &str = r#"{ sql = "SELECT v FROM t", capture = "v" }"#;

const DRAWS: &str = r#""SELECT nextval('s')", "SELECT nextval('s')", "SELECT nextval('s')""#;

#[test]
fn what_once_was_missed_is_found() {
    let table = "CREATE TABLE t (v int, comment text); INSERT INTO t VALUES (10, '')";
    let adds = |what: &str| format!(r#""BEGIN", {READS}, "{what}", "COMMIT""#);
    let add = adds("UPDATE t SET v = {v} + 1, comment = 'a'");
    let function = |body: &str| format!("{table}; CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $${body}$$;");
    let makes = function("BEGIN EXECUTE 'CREATE TABLE made (x int)'; RETURN 1; END");
    let calls = r#""BEGIN", "SELECT f()", "COMMIT""#;
    let once = function("BEGIN IF pg_try_advisory_xact_lock(7) THEN UPDATE t SET v = v + 1; END IF; RETURN 1; END");
    let sequence = "CREATE SEQUENCE s; CREATE TABLE t (v int)";
    let sees = r#""INSERT INTO t SELECT last_value FROM s""#;
    let scripts = [
        script("a-column-named-comment", "postgres", table, [&add, &add], V),
        script("ddl-in-a-function", "postgres", &makes, [calls, calls], NOTHING)
            .replace("summary", "refusals = \"none\"\nsummary"),
        script("a-lock-in-a-function", "postgres", &once, [calls, calls], V),
        script("a-sequence-is-read", "postgres", sequence, [sees, DRAWS], V),
        script("a-sequence-is-read-first", "postgres", sequence, [DRAWS, sees], V),
        script(
            "a-schema-and-a-type",
            "postgres",
            "CREATE SCHEMA x; CREATE TYPE x.mood AS ENUM ('ok'); CREATE ROLE kinds_reader; CREATE TABLE t (v int);",
            [r#""CREATE TABLE IF NOT EXISTS made (x int)""#, r#""CREATE TABLE IF NOT EXISTS made (x int)""#],
            NOTHING,
        ),
        script(
            "settings-stay-in-the-session",
            "postgres",
            "CREATE TABLE t (v int)",
            [
                r#""INSERT INTO t SELECT 1 WHERE coalesce(current_setting('app.x', true), '') = ''", "SELECT set_config('app.x', '1', false)""#,
                r#""INSERT INTO t VALUES (2)""#,
            ],
            "[[serial]]\nname = \"v\"\nsql = \"SELECT count(*) FROM t\"",
        ),
        script(
            "one-statement-workers",
            "postgres",
            "CREATE TABLE t (v int); CREATE TABLE u (v int);",
            [
                r#""INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)""#,
                r#""INSERT INTO u VALUES (1)", "INSERT INTO u VALUES (2)""#,
            ],
            NOTHING,
        ),
        script(
            "append-only",
            "sqlite",
            "CREATE TABLE t (v int, twice int GENERATED ALWAYS AS (v * 2)); CREATE TABLE log (v int); INSERT INTO t (v) VALUES (1); \
             CREATE TRIGGER no BEFORE DELETE ON t BEGIN SELECT RAISE(ABORT, 'append only'); END; \
             CREATE TRIGGER logs AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.v); END;",
            [r#""INSERT INTO t (v) VALUES (2)""#, r#""INSERT INTO t (v) VALUES (3)""#],
            "[[invariant]]\nname = \"logged\"\nsql = \"SELECT 1 WHERE (SELECT count(*) FROM log) <> 2\"",
        ),
    ];
    let (code, row, said) = explore(&scripts, &["--all"]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(violated(&row("a-column-named-comment")), ["serial"], "{said}");
    assert_eq!(violated(&row("ddl-in-a-function")), ["errors"], "{said}");
    assert_eq!(violated(&row("a-lock-in-a-function")), ["serial"], "{said}");
    for name in ["a-sequence-is-read", "a-sequence-is-read-first"] {
        // Before, between and after: what is never committed is seen all the same.
        assert_eq!(violated(&row(name)), ["serial"], "{said}");
        assert_eq!(row(name)["outcomes"].as_array().unwrap().len(), 3, "{said}");
    }
    for name in ["append-only", "a-schema-and-a-type", "settings-stay-in-the-session"] {
        assert_eq!(row(name)["coverage"], "exhausted", "{said}");
        assert!(violated(&row(name)).is_empty(), "{said}");
    }
    let alone = row("one-statement-workers");
    assert_eq!((&alone["executions"], &alone["orders"]), (&1.into(), &6.0.into()), "{said}");
}

#[test]
fn a_wait_may_time_out_and_a_wait_for_ever_is_told() {
    let table = "CREATE TABLE t (v int); INSERT INTO t VALUES (0)";
    let waits =
        |timeout: &str| format!(r#""BEGIN", "SET LOCAL {timeout} = '20s'", "UPDATE t SET v = v + 1", "COMMIT""#);
    let holds = r#""BEGIN", "UPDATE t SET v = v + 1", "COMMIT""#;
    let body = "BEGIN UPDATE t SET v = v + 1; END";
    let function =
        format!("{table}; CREATE FUNCTION takes() RETURNS void LANGUAGE plpgsql SET lock_timeout = '9s' AS $${body}$$");
    let block = r#""DO $$BEGIN PERFORM set_config('lock_timeout', '9s', true); UPDATE t SET v = v + 1; END$$""#;
    let never = script("never", "postgres", table, [&waits("lock_timeout"), holds], V);
    let scripts = [
        script("lock", "postgres", table, [&waits("lock_timeout"), holds], V),
        script("statement", "postgres", table, [&waits("statement_timeout"), holds], V),
        never.replace("summary", "timeouts = \"never\"\nsummary"),
        script(
            "a-block-that-waits",
            "postgres",
            table,
            [r#""SELECT pg_advisory_lock(1)""#, r#""DO $$BEGIN PERFORM pg_advisory_lock(1); END$$""#],
            NOTHING,
        ),
        script("a-function-has-its-own", "postgres", &function, [holds, r#""SELECT takes()""#], V),
        script("a-block-has-its-own", "postgres", table, [holds, block], V),
    ];
    let (code, row, said) = explore(&scripts, &["--all"]);
    assert_eq!(code, Some(1), "{said}");
    let refused =
        |name: &str| row(name)["refused"].as_array().unwrap().iter().map(|r| r[1].clone()).collect::<Vec<_>>();
    assert_eq!(refused("lock"), ["55P03"], "{said}");
    assert_eq!(refused("statement"), ["57014"], "{said}");
    assert!(refused("never").is_empty() && row("never")["coverage"] == "bounded", "{said}");
    assert_eq!(violated(&row("a-block-that-waits")), ["stuck"], "{said}");
    // It is set and given back within the step.
    for name in ["a-function-has-its-own", "a-block-has-its-own"] {
        assert_eq!(row(name)["coverage"], "bounded", "{said}");
        assert!(
            row(name)["evidence"].as_str().unwrap().contains("a timeout that a step sets while it is run"),
            "{said}"
        );
    }
}

#[test]
fn a_pass_that_says_nothing_is_none() {
    let seats = "CREATE TABLE t (v int); INSERT INTO t VALUES (9)";
    let books = r#""BEGIN", { sql = "SELECT v FROM t", capture = "v" }, { sql = "SELECT 10", capture = "all" },
                   "UPDATE t SET v = v + 1 WHERE {v} < {all}", "COMMIT""#;
    let full = "[[invariant]]\nname = \"full\"\nsql = \"SELECT v FROM t WHERE v > 10\"";
    let forgets = r#""BEGIN", "INSERT INTO t VALUES (1)""#;
    let misses = r#""BEGIN", { sql = "SELECT v FROM t WHERE v = 77", capture = "v" }, "UPDATE t SET v = 1 WHERE v = {v}", "COMMIT""#;
    let adds = r#""UPDATE t SET v = v + 1""#;
    let caught = r#""BEGIN", "INSERT INTO u VALUES (1)", "COMMIT""#;
    let unique = "CREATE TABLE u (v int PRIMARY KEY); CREATE TABLE t (v int); INSERT INTO t VALUES (1)";
    let goes_on = |text: String| text.replace("[[actor]]", "[[actor]]\ngoes-on = true");
    let scripts = [
        script("values-keep-their-type", "postgres", seats, [books, books], full),
        script("values-keep-their-type-there", "sqlite", seats, [books, books], full),
        script("never-committed", "postgres", seats, [forgets, forgets], NOTHING),
        script("changes-nothing", "postgres", seats, [misses, misses], NOTHING),
        script("changes-nothing-there", "sqlite", seats, [misses, misses], NOTHING),
        script("meant-so", "postgres", seats, [misses, misses], NOTHING)
            .replace("summary", "allows-no-effect = true\nsummary"),
        script("refused", "postgres", seats, [r#""SELECT 1/0 FROM t""#, adds], NOTHING)
            .replace("\"SELECT 1/0 FROM t\"", "{ sql = \"SELECT 1/0 FROM t\", errors = [\"22012\"] }"),
        goes_on(script("rolled-back", "postgres", unique, [caught, caught], V)),
        script(
            "random-values",
            "postgres",
            seats,
            [r#""UPDATE t SET v = v + 1 RETURNING gen_random_uuid(), v""#, adds],
            V,
        ),
        script(
            "a-clock-decides",
            "postgres",
            seats,
            [
                r#""INSERT INTO t SELECT generate_series(1, (extract(epoch FROM clock_timestamp()) * 1000)::int8 % 997)""#,
                adds,
            ],
            NOTHING,
        ),
    ];
    let (code, row, said) = explore(&scripts, &["--all"]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(violated(&row("values-keep-their-type")), ["full"], "{said}");
    assert_eq!(violated(&row("rolled-back")), ["committed"], "{said}");
    assert!(said.contains("COMMIT → rolled back"), "{said}");
    for (name, why) in [
        ("never-committed", "a begins a transaction and never ends it"),
        ("changes-nothing", "no step of a changed a row in any order"),
        ("changes-nothing-there", "no step of a changed a row in any order"),
        ("a-clock-decides", "diverged: "),
    ] {
        assert_eq!(row(name)["verdict"], "inconclusive", "{name}: {said}");
        assert!(row(name)["evidence"].as_str().unwrap().starts_with(why), "{name}: {said}");
    }
    assert_eq!(row("meant-so")["verdict"], "pass", "{said}");
    assert_eq!(row("random-values")["verdict"], "pass", "{said}");
    assert_eq!(row("random-values")["not_compared"], serde_json::json!(["column 1 of step a.1"]), "{said}");
}

/// What the server does not say by itself, or says only the first time.
#[test]
fn what_is_not_printed_twice_or_is_left_by_an_error_is_not_lost() {
    let two = "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0), (2, 0)";
    let skips = "UPDATE t SET v = v + 100 WHERE id IN (SELECT id FROM t WHERE id = 1 FOR UPDATE SKIP LOCKED)";
    let refused = "SELECT v FROM t WHERE id = 2 FOR UPDATE NOWAIT";
    let fails =
        |end: &str| format!(r#""BEGIN", "UPDATE t SET v = v + 1 WHERE id = 1", "SAVEPOINT s", "{refused}", {end}"#);
    let adds = format!(r#""BEGIN", "UPDATE t SET v = v + 10 WHERE id = 2", "COMMIT", "{skips}""#);
    let goes_on = |text: String| text.replacen("[[actor]]", "[[actor]]\ngoes-on = true", 1);
    let deferred = "CREATE TABLE cap (m int); INSERT INTO cap VALUES (5); CREATE TABLE t (v int); \
         CREATE FUNCTION check_cap() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN \
         IF NEW.v > (SELECT m FROM cap) THEN RAISE EXCEPTION 'too big'; END IF; RETURN NULL; END$$; "
        .to_owned()
        + &["one", "two"]
            .map(|name| {
                format!(
                    "CREATE CONSTRAINT TRIGGER {name} AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED \
                 FOR EACH ROW EXECUTE FUNCTION check_cap();"
                )
            })
            .concat();
    let checks = r#""BEGIN", "INSERT INTO t VALUES (2)", "SET CONSTRAINTS one IMMEDIATE", "SET CONSTRAINTS two IMMEDIATE", "COMMIT""#;
    let at_once = r#""BEGIN", "INSERT INTO t VALUES (2)", "SET CONSTRAINTS one IMMEDIATE; SELECT 1", "SAVEPOINT s; SET CONSTRAINTS two IMMEDIATE", "COMMIT""#;
    let lowers = r#""UPDATE cap SET m = 1""#;
    let sequences = "CREATE SEQUENCE s; CREATE SEQUENCE u; CREATE TABLE t (v int)";
    let asks = r#""INSERT INTO t VALUES (2)", "SELECT is_called, last_value > 40 FROM s""#;
    let sets = |to: u8| format!(r#""SELECT setval(format('%s', 's')::regclass, {to})""#);
    let again =
        format!(r#""BEGIN", "SELECT nextval('s')", {}, "INSERT INTO t VALUES (1)", {}, "COMMIT""#, sets(1), sets(50));
    let beside = r#""INSERT INTO t SELECT nextval('u') + setval(format('%s', 's')::regclass, 50)""#;
    let called = format!(
        "{sequences}; INSERT INTO t VALUES (0); \
         CREATE PROCEDURE p(x bigint DEFAULT nextval('s')) LANGUAGE plpgsql AS $$BEGIN UPDATE t SET v = x; END$$"
    );
    let calls = r#""BEGIN", "CALL p(nextval('s'))", "CALL p()", "COMMIT""#;
    let listens = r#""BEGIN ISOLATION LEVEL REPEATABLE READ", "LISTEN x", "LOCK TABLE t IN EXCLUSIVE MODE", "UPDATE t SET v = v + 1", "COMMIT""#;
    let all = "[[serial]]\nname = \"v\"\nsql = \"SELECT * FROM t\"";
    let chained = r#""BEGIN", "UPDATE t SET v = v + 1", "INSERT INTO t VALUES (3, 0)", "COMMIT AND CHAIN", "COMMIT""#;
    let scripts = [
        goes_on(script("before-a-savepoint", "postgres", two, [&fails(r#""ROLLBACK""#), &adds], NOTHING)),
        goes_on(script("refused-twice", "postgres", two, [&fails(r#""SELECT 1", "ROLLBACK""#), &adds], NOTHING)),
        script("deferred-twice", "postgres", &deferred, [checks, lowers], NOTHING),
        script("deferred-among-others", "postgres", &deferred, [at_once, lowers], NOTHING),
        script("a-sequence-again", "postgres", sequences, [&again, asks], NOTHING),
        script("a-sequence-beside-another", "postgres", sequences, [beside, asks], NOTHING),
        script(
            "a-sequence-of-an-argument",
            "postgres",
            &called,
            [calls, r#""SELECT last_value, is_called FROM s""#],
            NOTHING,
        ),
        script("listens-first", "postgres", two, [listens, r#""BEGIN", "UPDATE t SET v = v + 1", "COMMIT""#], all)
            .replace("summary", "refusals = \"none\"\nsummary"),
        goes_on(script("chained", "postgres", two, [chained, r#""INSERT INTO t VALUES (3, 5)""#], NOTHING)),
    ];
    let (_, reduced, said) = explore(&scripts, &["--all"]);
    let (_, whole, _) = explore(&scripts, &["--all", "--strategy", "brute-force"]);
    for (name, outcomes) in [
        ("before-a-savepoint", 5),
        ("refused-twice", 5),
        ("deferred-twice", 3),
        ("deferred-among-others", 3),
        ("a-sequence-again", 3),
        ("a-sequence-beside-another", 2),
        ("a-sequence-of-an-argument", 3),
        ("listens-first", 1),
        ("chained", 3),
    ] {
        let counts = [&reduced, &whole].map(|row| row(name)["outcomes"].as_array().unwrap().len());
        assert_eq!(counts, [outcomes; 2], "{name}: {said}");
        assert_eq!(reduced(name)["coverage"], "exhausted", "{name}: {said}");
    }
    assert!(violated(&reduced("listens-first")).is_empty(), "{said}");
    assert_eq!(violated(&reduced("chained")), ["committed"], "{said}");
}

#[test]
fn what_nobody_waits_out_or_compares_or_ends_is_told() {
    let table = "CREATE TABLE t (v int); INSERT INTO t VALUES (0)";
    let function = |more: &str, body: &str| {
        format!("{table}; CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql {more} AS $$BEGIN {body}; END$$")
    };
    let add = "UPDATE t SET v = v + 1";
    let holds = format!(r#""BEGIN", "{add}", "COMMIT""#);
    let set = "PERFORM set_config('lock_timeout', '20s', true)";
    let named = format!("PERFORM set_config((SELECT 'lock' || '_' || 'timeout' FROM t), '20s', true); {add}");
    let open = format!(r#""BEGIN; {add}""#);
    let clock = "CREATE TABLE t (v int, at timestamptz); INSERT INTO t VALUES (0, clock_timestamp())";
    let loses = r#""BEGIN", { sql = "SELECT v FROM t", capture = "v" }, "UPDATE t SET v = {v} + 1, at = clock_timestamp()", "COMMIT""#;
    let row = "[[serial]]\nname = \"row\"\nsql = \"SELECT t FROM t\"";
    let patient = r#""PRAGMA busy_timeout = 60000", "BEGIN IMMEDIATE", "UPDATE t SET v = v + 1", "COMMIT""#;
    let calls = r#""SELECT f()""#;
    let scripts = [
        script("by-a-clause", "postgres", &function("SET lock_timeout = '20s'", add), [&holds, calls], V),
        script("by-a-body", "postgres", &function("", &format!("{set}; {add}")), [&holds, calls], V),
        script("by-a-name", "postgres", &function("", &named), [&holds, calls], V),
        script("by-the-step", "postgres", table, [&holds, &format!(r#""DO $$BEGIN {set}; {add}; END$$""#)], V),
        script("by-none", "postgres", &function("", add), [&holds, calls], V),
        script("never-ended", "postgres", table, [&open, r#""SELECT v FROM t""#], V),
        script("never-ended-there", "sqlite", table, [&open, r#""SELECT v FROM t""#], V),
        script("nothing-compared", "postgres", clock, [loses, loses], row),
        script("patient", "sqlite", table, [patient, patient], V),
    ];
    let (code, row, said) = explore(&scripts, &["--all"]);
    assert_eq!(code, Some(3), "{said}");
    for name in ["by-a-clause", "by-a-body", "by-a-name", "by-the-step"] {
        assert_eq!(row(name)["coverage"], "bounded", "{name}: {said}");
    }
    for name in ["by-none", "patient"] {
        assert_eq!(
            (&row(name)["coverage"], &row(name)["verdict"]),
            (&"exhausted".into(), &"pass".into()),
            "{name}: {said}"
        );
    }
    for (name, why) in [
        ("never-ended", "a begins a transaction and never ends it"),
        ("never-ended-there", "a begins a transaction and never ends it"),
        ("nothing-compared", "no column of what `serial` asks for is compared"),
    ] {
        assert_eq!(row(name)["verdict"], "inconclusive", "{name}: {said}");
        assert!(row(name)["evidence"].as_str().unwrap().starts_with(why), "{name}: {said}");
    }
}

#[test]
fn a_counterexample_needs_all_its_actors() {
    let two = "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0), (2, 0)";
    let update = |id: u8| format!("\"UPDATE t SET v = v + 1 WHERE id = {id}\"");
    let takes = |one: u8, other: u8| format!(r#""BEGIN", {}, {}, "COMMIT""#, update(one), update(other));
    let answered = "[[invariant]]\nname = \"answered\"\nsql = \"SELECT 1 WHERE (SELECT sum(v) FROM t) <> 4\"";
    let scripts = [script("deadlock", "postgres", two, [&takes(1, 2), &takes(2, 1)], answered)];
    let (code, row, said) = explore(&scripts, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(violated(&row("deadlock")), ["answered"], "{said}");
    assert!(said.contains("failed: 40P01") && said.contains("UPDATE 1"), "{said}");
}

#[test]
fn mistakes_are_the_scripts_and_have_their_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let run = |text: &str, more: &[&str]| {
        fs::write(path.join("wrong.toml"), text).unwrap();
        driftlock(path, &[&["explore", "wrong.toml", "--postgres", "local"], more].concat())
    };
    let inserts = r#""INSERT INTO t VALUES (1)""#;
    let of = |a: &str| script("wrong", "postgres", "CREATE TABLE t (v int)", [a, inserts], NOTHING);
    for (step, code) in
        [("\"SELEC 1\"", "42601"), ("\"SELECT * FROM nowhere\"", "42P01"), ("\"SELECT nothing FROM t\"", "42703")]
    {
        let (exit, said) = run(&of(step), &[]);
        assert_eq!(exit, Some(2), "{said}");
        assert!(said.contains("wrong.toml:6:10") && said.contains(code), "{said}");
    }
    let serializable = "[[case]]\nbegin = \"BEGIN ISOLATION LEVEL SERIALIZABLE\"";
    let (exit, said) = run(&of("\"BEGIN\", \"COMMIT\"").replace("[[case]]", serializable), &[]);
    assert_eq!(exit, Some(2), "{said}");
    assert!(said.contains("no step has {begin} in it"), "{said}");
    let (exit, said) = driftlock(path, &["explore"]);
    assert_eq!(exit, Some(2), "{said}");
    assert!(said.contains("no file is given") && said.contains("--built-in"), "{said}");
    fs::create_dir(Path::join(path, "empty")).unwrap();
    let (exit, said) = driftlock(path, &["explore", "empty"]);
    assert_eq!(exit, Some(2), "{said}");
    // One bad file does not hide the others.
    fs::write(path.join("other.toml"), "name = 7").unwrap();
    fs::write(path.join("wrong.toml"), "nothing = 1\n[[actor]]").unwrap();
    let (exit, said) = driftlock(path, &["explore", "wrong.toml", "other.toml"]);
    assert_eq!(exit, Some(2), "{said}");
    assert!(said.contains("wrong.toml") && said.contains("other.toml"), "{said}");
}

#[test]
fn only_a_reduced_search_stands_for_other_orders() {
    let adds = r#""BEGIN", "UPDATE t SET v = v + 1", "COMMIT""#;
    let scripts = ["one", "two"]
        .map(|name| script(name, "postgres", "CREATE TABLE t (v int); INSERT INTO t VALUES (0)", [adds, adds], V));
    let (code, row, said) = explore(&scripts, &["--strategy", "random=5"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("bounded") && !row("one")["evidence"].as_str().unwrap().contains("stand for"), "{said}");
    let (code, _, said) = explore(&scripts, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("exhausted"), "{said}");
}

/// A counter from which two actors take a number; what the cases set and how the actors go on is to be put in.
fn counter(actor: &str, more: &str, cases: &str) -> String {
    let steps = r#""{begin}", { sql = "SELECT v FROM t WHERE id = 1{lock}", capture = "v" },
                   { sql = "SELECT pg_advisory_xact_lock(1)", only = ["advisory"] },
                   "UPDATE t SET v = {v} + 1 WHERE id = 1", "COMMIT""#;
    format!(
        "name = \"counter\"\nsummary = \"Two count.\"\n{more}\n\
         setup = \"CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0)\"\n\
         [[actor]]\nname = \"a\"\n{actor}\nsteps = [{steps}]\n[[actor]]\nname = \"b\"\n{actor}\nsteps = [{steps}]\n\
         [[serial]]\nname = \"v\"\nsql = \"SELECT v FROM t\"\n{cases}"
    )
}

#[test]
fn a_file_holds_the_broken_and_the_mended_variant() {
    let case = |name: &str, more: &str| format!("[[case]]\nname = \"{name}\"\nbackend = \"postgres\"\n{more}\n");
    let cases = [
        case("unlocked", "set = { lock = \"\" }\nviolates = \"serial\""),
        case("locked", "set = { lock = \" FOR UPDATE\" }"),
        case("advisory", "set = { lock = \"\" }\nviolates = \"serial\""),
    ]
    .concat();
    let (code, row, said) = explore(&[counter("", "", &cases)], &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("pass: 3 of 3 as expected"), "{said}");
    drop(row);
    let missing = case("unlocked", "");
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("wrong.toml"), counter("", "", &missing)).unwrap();
    let (exit, said) = driftlock(directory.path(), &["explore", "wrong.toml"]);
    assert_eq!(exit, Some(2), "{said}");
    assert!(said.contains("uses {lock}") && said.contains("there is none"), "{said}");
}

#[test]
fn who_begins_anew_is_refused_no_more_and_nobody_may_be_refused_if_the_file_says_so() {
    let serializable = "[[case]]\nname = \"advisory\"\nbackend = \"postgres\"\nbegin = \"BEGIN ISOLATION LEVEL SERIALIZABLE\"\n\
                        set = { lock = \"\" }\n";
    let ends = |least: u32| {
        format!("[[invariant]]\nname = \"all\"\nsql = \"SELECT v FROM t WHERE v < {least}\"\n{serializable}")
    };
    // One of both is refused, and then not everybody has counted.
    let (code, row, said) = explore(&[counter("", "", &ends(2))], &[]);
    assert_eq!((code, violated(&row("counter"))), (Some(1), vec!["all"]), "{said}");
    let (code, row, said) = explore(&[counter("retry = 2", "", &ends(2))], &[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!((&row("counter")["coverage"], &row("counter")["refused"][0][1]), (&"exhausted".into(), &"40001".into()));
    let (code, row, said) = explore(&[counter("", "refusals = \"none\"", &ends(0))], &[]);
    assert_eq!((code, violated(&row("counter"))), (Some(1), vec!["errors"]), "{said}");
    let (code, _, said) = explore(&[counter("", "refusals = [\"40001\"]", &ends(0))], &[]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn the_last_actor_sees_what_all_others_have_left() {
    let adds = r#""UPDATE t SET v = v + 1""#;
    let asks = r#""INSERT INTO seen SELECT v FROM t""#;
    let last = "[[actor]]\nname = \"last\"\nlast = true\nsteps = [";
    let text = script(
        "last",
        "postgres",
        "CREATE TABLE t (v int); INSERT INTO t VALUES (0); CREATE TABLE seen (v int)",
        [adds, adds],
        &format!("{last}{asks}]\n[[invariant]]\nname = \"both\"\nsql = \"SELECT v FROM seen WHERE v <> 2\""),
    );
    let (code, row, said) = explore(std::slice::from_ref(&text), &["--strategy", "brute-force"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(row("last")["executions"], 2, "{said}");
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("last.toml"), text).unwrap();
    let verify = ["verify", "last.toml", "--postgres", "local", "--rounds", "20"];
    let (code, said) = driftlock(directory.path(), &verify);
    assert!(matches!(code, Some(0 | 3)), "{said}");
    assert!(!said.contains("VIOLATION"), "{said}");
}

#[test]
fn a_wait_is_one_whatever_it_is_for() {
    let table = "CREATE TABLE t (v int); INSERT INTO t VALUES (0)";
    let updates = r#""BEGIN ISOLATION LEVEL SERIALIZABLE", "UPDATE t SET v = v + 1", "COMMIT""#;
    let reads = r#""BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE", "SELECT v FROM t", "COMMIT""#;
    // Neither `lock_timeout` nor the look for deadlocks knows of a wait for a snapshot.
    let locks = r#""BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE", "SET LOCAL lock_timeout = '5s'",
                   "SELECT v FROM t", "COMMIT""#;
    let holds = r#""BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE", "LOCK TABLE u IN ROW EXCLUSIVE MODE",
                   "SELECT v FROM t", "COMMIT""#;
    let wants = r#""BEGIN ISOLATION LEVEL SERIALIZABLE", "UPDATE t SET v = v + 1", "LOCK TABLE u", "COMMIT""#;
    let prepares = r#""BEGIN", "UPDATE t SET v = v + 1", "PREPARE TRANSACTION 'kinds'", "COMMIT PREPARED 'kinds'""#;
    let scripts = [
        script("for-a-snapshot", "postgres", table, [reads, updates], V),
        script("for-no-lock", "postgres", table, [locks, updates], V),
        script("for-ever", "postgres", &format!("{table}; CREATE TABLE u (v int)"), [holds, wants], NOTHING),
        script("for-no-session", "postgres", table, [prepares, r#""UPDATE t SET v = v + 1""#], V),
    ];
    let (code, row, said) = explore(&scripts, &["--all"]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(violated(&row("for-ever")), ["stuck"], "{said}");
    for name in ["for-a-snapshot", "for-no-lock", "for-no-session"] {
        assert_eq!(row(name)["coverage"], "exhausted", "{said}");
        assert!(!row(name)["evidence"].as_str().unwrap().contains("in 0 of them a step waited"), "{said}");
    }
}

#[test]
fn nothing_is_left_of_the_execution_before() {
    let table = "CREATE TABLE t (v int); INSERT INTO t VALUES (0)";
    let adds = r#""UPDATE t SET v = v + 1""#;
    let leaves = |what: &str| format!(r#""{what}", {adds}"#);
    let wrapper = format!("{table}; CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;");
    let level = format!(
        "{table}; DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = ''repeatable read''', \
                                            current_database()); END$$"
    );
    let reads = format!(r#""BEGIN", {READS}, "UPDATE t SET v = {{v}} + 1", "COMMIT""#);
    let custom = r#""UPDATE t SET v = v + 1 WHERE current_setting('app.x', true) IS NULL",
                    "SELECT set_config('app.x', '1', false)""#;
    let mut scripts = vec![
        script("a-setting-of-ones-own", "postgres", table, [custom, adds], V),
        script("a-setting-of-the-database", "postgres", &level, [&reads, &leaves("CREATE TABLE made (v int)")], V),
    ];
    // Each of these fails where it was done before.
    let all = [
        ("a-configuration", table, "CREATE TEXT SEARCH CONFIGURATION mine (COPY = simple)"),
        ("a-mapping", &wrapper, "CREATE USER MAPPING FOR CURRENT_USER SERVER s"),
        ("a-method", table, "CREATE ACCESS METHOD mine TYPE INDEX HANDLER bthandler"),
        ("a-role", table, "CREATE ROLE kinds_made"),
    ];
    let refuses = |(name, setup, what): (&str, &str, &str)| {
        let text = script(name, "postgres", setup, [&leaves(what), adds], V);
        text.replace("summary", "refusals = \"none\"\nsummary")
    };
    scripts.extend(all.map(refuses));
    let (code, row, said) = explore(&scripts, &["--all"]);
    assert_eq!(code, Some(0), "{said}");
    let names = ["a-setting-of-ones-own", "a-setting-of-the-database"].into_iter().chain(all.map(|one| one.0));
    for name in names {
        assert_eq!((&row(name)["verdict"], &row(name)["coverage"]), (&"pass".into(), &"exhausted".into()), "{said}");
    }
}
