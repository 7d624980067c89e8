//! Steps that run at the same time: what they show, and what is said where nothing was shown.

use std::fs;

use super::command::driftlock;

/// Two statements that look before they insert; what the case expects is to be put in.
fn script(expected: &str, steps: &str) -> String {
    format!(
        r#"
name = "pair"
summary = "Two insert what is not there."
setup = "CREATE TABLE t (v integer NOT NULL, once integer UNIQUE); CREATE TABLE l (id integer); INSERT INTO l VALUES (1)"
[[actor]]
name = "a"
steps = [{steps}]
[[actor]]
name = "b"
steps = [{steps}]
[[invariant]]
name = "once"
sql = "SELECT v FROM t GROUP BY v HAVING count(*) > 1"
[[case]]
backend = "postgres"
{expected}
"#
    )
}

const LOOKS: &str = r#""INSERT INTO t (v) SELECT 1 WHERE NOT EXISTS (SELECT FROM t WHERE v = 1)""#;

/// Explores a script: the code, and what was said.
fn explore(text: &str, more: &[&str]) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("pair.toml"), text).unwrap();
    let arguments = ["explore", "pair.toml", "--postgres", "local", "--output", "out"];
    driftlock(directory.path(), &[&arguments, more].concat())
}

#[test]
fn what_no_order_of_whole_statements_shows_is_found_where_they_run_at_the_same_time() {
    let (code, said) = explore(&script("", LOOKS), &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("exhausted at statement granularity: 2 executions"), "{said}");
    let (code, said) = explore(&script("", LOOKS), &["--overlap", "a.1,b.1", "--overlap-tries", "5000"]);
    assert_eq!(code, Some(1), "{said}");
    for part in ["∥ 1", "∥ 2", "∥: at the same time, by the server's clock: ", "VIOLATION OF ONCE"] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}

#[test]
fn a_pass_is_bounded_and_what_only_chance_finds_is_not_missed_for_certain() {
    let safe = r#""INSERT INTO t VALUES (1, 1) ON CONFLICT DO NOTHING""#;
    let overlap = ["--overlap", "a.1,b.1", "--overlap-tries", "200"];
    let (code, said) = explore(&script("", safe), &overlap);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("bounded: a.1 and b.1 were sent together in 200 of 200 executions, and the server"),
        "{said}"
    );
    let (code, said) = explore(&script("violates = \"once\"", safe), &overlap);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("once was not violated, which proves nothing"), "{said}");
    // Without chance it is certain.
    let (code, said) = explore(&script("violates = \"once\"", safe), &[]);
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn what_excludes_each_other_never_ran_at_the_same_time() {
    let steps = format!("\"BEGIN\", \"SELECT id FROM l FOR UPDATE\", {LOOKS}, \"COMMIT\"");
    let (code, said) = explore(&script("", &steps), &["--overlap", "a.3,b.3", "--overlap-tries", "10"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("what was to run at the same time never did"), "{said}");
    assert!(said.contains("sent together in 0 of 10 executions"), "{said}");
}

#[test]
fn one_that_waits_for_the_other_goes_on_when_it_has_ended() {
    let steps = "\"BEGIN\", \"UPDATE l SET id = id + 1\", \"INSERT INTO t SELECT id, NULL FROM l\", \"COMMIT\"";
    let (code, said) = explore(&script("", steps), &["--overlap", "a.2,b.2", "--overlap-tries", "500", "--all"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("a.2 and b.2 were sent together in 500 of 500 executions, and the server worked on both"),
        "{said}"
    );
}

#[test]
fn mistakes_in_a_pair_are_named() {
    let on_sqlite = script("", LOOKS).replace("\"postgres\"", "\"sqlite\"");
    let (code, said) = explore(&on_sqlite, &["--overlap", "a.1,b.1"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--overlap is for PostgreSQL"), "{said}");
    for (pair, expected) in [
        ("a.1", "and not 1"),
        ("a.1,c.1", "there is no step `c.1`; the steps are a.1, b.1"),
        ("a.1,a.1", "two steps of a cannot overlap"),
    ] {
        let (code, said) = explore(&script("", LOOKS), &["--overlap", pair]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}
