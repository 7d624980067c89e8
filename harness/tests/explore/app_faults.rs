//! Things that fail for an application: what is planted in a program is found by the failure that shows it and by no other
//! one, what is sound passes all of them, and the reduced search reaches with a failure what brute force reaches.

use std::fs;
use std::path::Path;

use driftlock::scenario::script::FaultKind;
use serde_json::Value;

use super::apps::worker;
use super::command::driftlock;

const SCHEMA: &str = "CREATE TABLE counts (id int PRIMARY KEY, n int NOT NULL); INSERT INTO counts VALUES (1, 0); \
     CREATE TABLE done (k text PRIMARY KEY); CREATE TABLE log (n int);";
const COUNT: &str = r#"[
    {"sql": "BEGIN"},
    {"sql": "UPDATE counts SET n = n + 1 WHERE id = 1"},
    {"sql": "COMMIT"}
]"#;
/// The same, once for a key.
const KEYED: &str = r#"[
    {"sql": "BEGIN"},
    {"sql": "INSERT INTO done VALUES ('a') ON CONFLICT DO NOTHING RETURNING 2", "keep": "fresh"},
    {"sql": "UPDATE counts SET n = n + 1 WHERE id = 1", "if_even": "fresh", "extended": true},
    {"sql": "COMMIT", "extended": true}
]"#;
/// The same, under a lock of another session of its own.
const LOCKED: &str = r#"[
    {"sql": "SELECT pg_advisory_lock(7)", "other": true},
    {"sql": "UPDATE counts SET n = n + 1 WHERE id = 1"},
    {"sql": "SELECT pg_advisory_unlock(7)", "other": true}
]"#;
const KEY: &str = r#"[{"sql": "INSERT INTO done VALUES ('a')"}]"#;
const LOG: &str = r#"[{"sql": "INSERT INTO log VALUES (1)"}]"#;
const ADD: &str = r#"[{"sql": "UPDATE counts SET n = n + 1 WHERE id = 1"}]"#;

/// Writes a file with these actors, and the programs.
fn file(directory: &Path, text: &str) {
    let programs = [("count", COUNT), ("keyed", KEYED), ("locked", LOCKED), ("key", KEY), ("log", LOG), ("add", ADD)];
    for (name, program) in programs {
        fs::write(directory.join(format!("{name}.json")), program).unwrap();
    }
    fs::write(directory.join("schema.sql"), SCHEMA).unwrap();
    let head = "name = \"app\"\nsummary = \"x\"\nsetup = \"WORKER --setup schema.sql\"\nsilent-seconds = 3\n";
    let text = format!("{head}{text}").replace("WORKER --", &format!("{} --", worker().display()));
    fs::write(directory.join("app.toml"), text.replace("WORKER ", &format!("{} ", worker().display()))).unwrap();
}

fn explore(directory: &Path, more: &[&str]) -> (Option<i32>, Value, String) {
    let arguments = ["explore", "app.toml", "--postgres", "local", "--output", "out"];
    let (code, said) = driftlock(directory, &[&arguments, more].concat());
    let report = fs::read_to_string(directory.join("out/report.json")).unwrap_or_else(|_| panic!("{said}"));
    let report: Value = serde_json::from_str(&report).unwrap();
    (code, report["results"][0].clone(), said)
}

fn actor(name: &str, job: &str, env: &str) -> String {
    format!("[[actor]]\nname = \"{name}\"\n{job}\nenv = {{ {env} }}\n")
}

#[test]
fn a_commit_that_is_repeated_blindly_is_found_by_its_lost_answer_alone_and_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let actors = actor("a", "worker = \"WORKER count.json\"", "WORKER_RETRIES = \"1\"")
        + &actor("b", "worker = \"WORKER log.json\"", "");
    // Nothing in the file asks for it.
    file(directory.path(), &format!("{actors}[[invariant]]\nname = \"nothing\"\nsql = \"SELECT 1 WHERE false\"\n"));
    let (code, row, said) = explore(directory.path(), &["--faults", "all", "--all"]);
    assert_eq!(code, Some(1), "{said}");
    let faults = &row["faults"];
    assert_eq!(faults["kinds"].as_array().unwrap().len(), 9, "{faults}");
    for (kind, places) in faults["by_kind"].as_object().unwrap() {
        assert_eq!(places.as_u64().unwrap(), u64::from(kind == FaultKind::LostAfter.as_str()), "{kind}: {faults}");
    }
    assert_eq!(faults["violations"][0]["check"], "repeated", "{faults}");
    assert_eq!(faults["violations"][0]["place"], "a.3 (COMMIT)", "{faults}");
    assert_eq!(faults["coverage"], "exhausted", "{faults}");
    assert_eq!(faults["searches"], faults["wanted"], "{faults}");
    assert!(faults["never_came"].as_array().unwrap().is_empty(), "{faults}");
    assert!(said.contains("the answer of COMMIT was lost, its work had been done, and a did it again"), "{said}");
    for _ in 0..3 {
        let (code, said) =
            driftlock(directory.path(), &["replay", "--postgres", "local", "out/schedule-app-repeated.json"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("the same course, and the same violation"), "{said}");
        assert!(said.contains("done and committed; connection lost before the answer was read"), "{said}");
    }
    let schedule = fs::read_to_string(directory.path().join("out/schedule-app-repeated.json")).unwrap();
    fs::write(directory.path().join("wrong.json"), schedule.replace("\"lost-after\"", "\"late\"")).unwrap();
    let (code, said) = driftlock(directory.path(), &["replay", "--postgres", "local", "wrong.json"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("there is no fault `late`"), "{said}");
}

#[test]
fn who_gives_up_and_says_that_it_is_done_is_found_and_who_says_that_it_failed_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let other = actor("b", "worker = \"WORKER add.json\"", "");
    for (gives_up, ends) in [("WORKER_GIVES_UP = \"1\"", Some(1)), ("", Some(0))] {
        file(directory.path(), &(actor("a", "worker = \"WORKER add.json\"", gives_up) + &other));
        let (code, row, said) = explore(directory.path(), &["--faults", "40001,lost-after"]);
        assert_eq!(code, ends, "{said}");
        assert_eq!(row["coverage"], if ends == Some(0) { "exhausted" } else { "stopped" }, "{row}");
        let found =
            "a says that it is done, and nothing of its work remains: it has given up after 40001 at its step 1";
        assert_eq!(said.contains(found), ends == Some(1), "{said}");
    }
}

#[test]
fn a_lock_that_a_lost_connection_leaves_in_another_session_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let job = "worker = \"WORKER locked.json\"";
    file(directory.path(), &(actor("a", job, "") + &actor("b", job, "")));
    let (code, row, said) = explore(directory.path(), &["--faults", "lost-before"]);
    assert_eq!(code, Some(1), "{said}");
    let violation = &row["faults"]["violations"][0];
    assert_eq!(violation["check"], "stuck", "{row}");
    assert!(violation["place"].as_str().unwrap().starts_with("a.2 (UPDATE counts"), "{row}");
    assert!(said.contains("b would wait for ever") && said.contains("connection lost before the"), "{said}");
}

#[test]
fn a_transaction_that_is_repeated_under_a_key_passes_whatever_fails() {
    let directory = tempfile::tempdir().unwrap();
    let actors = actor("a", "worker = \"WORKER keyed.json\"", "WORKER_RETRIES = \"1\"")
        + &actor("b", "worker = \"WORKER add.json\"", "");
    file(directory.path(), &actors);
    let (code, row, said) = explore(directory.path(), &["--faults", "all"]);
    assert_eq!(code, Some(0), "{said}");
    let evidence = row["evidence"].as_str().unwrap();
    let expected = "faults: all 4 places of a, all 1 of b × 9 kinds where it can come (lost-before, lost-after, 40001, \
                    40P01, 55P03, 57014, 53300, terminated, killed): 36 searches, exhausted; ";
    assert!(evidence.contains(expected), "{evidence}");
    assert!(!evidence.contains("could not come"), "{evidence}");
    // Where the key is missing, the same is found.
    let text = KEYED.replace(" ON CONFLICT DO NOTHING", "").replace("INSERT INTO done VALUES ('a')", "SELECT 2");
    fs::write(directory.path().join("keyed.json"), text.replace("SELECT 2 RETURNING 2", "SELECT 2")).unwrap();
    let (code, _, said) = explore(directory.path(), &["--faults", "lost-after"]);
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn who_neither_ends_nor_gets_on_after_a_failure_is_stuck() {
    let directory = tempfile::tempdir().unwrap();
    let other = actor("b", "run = \"WORKER --once log.json\"", "");
    let sleeps = actor("a", "run = \"WORKER --once key.json || sleep 60\"", "");
    // What was done once cannot be done again, and it is tried for ever.
    let circles = actor("a", "worker = \"WORKER key.json\"", "WORKER_RETRIES = \"4000000000\"");
    for a in [sleeps, circles] {
        file(directory.path(), &(a + &other));
        let (code, _, said) = explore(directory.path(), &["--faults", "lost-after"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("stuck: a neither ends nor gets on"), "{said}");
    }
}

#[test]
fn requests_and_runs_of_one_command_are_struck_once_and_are_followed_as_they_connect_again() {
    let directory = tempfile::tempdir().unwrap();
    let http = "count = 2\nhttp = { method = \"POST\", path = \"/\", expect = [200, 409] }";
    let server = "[server]\ncommand = \"WORKER --serve {port} add.json\"\n";
    file(directory.path(), &(actor("a", http, "") + server));
    let (code, row, said) = explore(directory.path(), &["--faults", "all"]);
    assert_eq!(code, Some(0), "{said}");
    let kinds: Vec<&str> =
        row["faults"]["kinds"].as_array().unwrap().iter().map(|kind| kind.as_str().unwrap()).collect();
    assert_eq!(kinds, ["lost-before", "lost-after", "40001", "40P01", "55P03", "57014", "53300", "terminated"]);
    assert!(row["evidence"].as_str().unwrap().contains("faults: all 1 place of a-1 (a-2 is as a-1)"), "{row}");
    let (code, said) = driftlock(directory.path(), &["explore", "app.toml", "--faults", "killed"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("its actors are requests"), "{said}");
    file(directory.path(), &actor("a", "count = 2\nrun = \"WORKER --once add.json\"", ""));
    let (code, row, said) = explore(directory.path(), &["--faults", "killed,terminated", "--budget", "4"]);
    assert_eq!(code, Some(3), "{said}");
    assert_eq!(row["faults"]["wanted"], 2, "{row}");
    assert!(row["evidence"].as_str().unwrap().contains("1 of 2 searches, stopped after 4 executions"), "{row}");
}

#[test]
fn a_session_that_is_refused_is_found_where_nobody_is_told_and_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let other = actor("b", "worker = \"WORKER add.json\"", "");
    let runs = [("WORKER --once add.json || true", Some(1)), ("WORKER --once add.json", Some(0))];
    for (command, ends) in runs {
        file(directory.path(), &(actor("a", &format!("run = \"{command}\""), "") + &other));
        let (code, row, said) = explore(directory.path(), &["--faults", "53300"]);
        assert_eq!(code, ends, "{said}");
        assert_eq!(row["faults"]["wanted"], 2, "each connects once: {row}");
        assert!(row["faults"]["never_came"].as_array().unwrap().is_empty(), "{row}");
        let found =
            "a says that it is done, and nothing of its work remains: it has given up after 53300 at its step 1";
        assert_eq!(said.contains(found), ends == Some(1), "{said}");
        if ends == Some(1) {
            let schedule = "out/schedule-app-serial.json";
            let (code, said) = driftlock(directory.path(), &["replay", "--postgres", "local", schedule]);
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains("the same course, and the same violation"), "{said}");
        }
    }
}

#[test]
fn a_restart_of_the_server_meets_every_program_and_who_tells_nobody_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let a = actor("a", "worker = \"WORKER keyed.json\"", "WORKER_RETRIES = \"1\"");
    let b = |command: &str| actor("b", &format!("run = \"{command}\""), "");
    // What the file says is let fail, unless the command line says otherwise.
    file(directory.path(), &format!("{a}{}", b("WORKER --once count.json")));
    let text = fs::read_to_string(directory.path().join("app.toml")).unwrap();
    fs::write(directory.path().join("app.toml"), format!("faults = \"restarted\"\n{text}")).unwrap();
    let (code, row, said) = explore(directory.path(), &[]);
    assert_eq!(code, Some(0), "{said}");
    let expected =
        "faults: all 4 places of a, all 3 of b × 1 kind where it can come (restarted): 7 searches, exhausted; ";
    assert!(row["evidence"].as_str().unwrap().contains(expected), "{row}");
    assert!(row["faults"]["never_came"].as_array().unwrap().is_empty(), "{row}");
    let (code, row, said) = explore(directory.path(), &["--faults", "none"]);
    assert_eq!((code, &row["faults"]), (Some(0), &Value::Null), "{said}");
    file(directory.path(), &(a + &b("WORKER --once count.json || true")));
    let (code, row, said) = explore(directory.path(), &["--faults", "restarted", "--all"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("b says that it is done, and nothing of its work remains: it has given up after"), "{said}");
    let violations = row["faults"]["violations"].as_array().unwrap();
    let at = |actor: &str| violations.iter().any(|of| of["place"].as_str().unwrap().starts_with(actor));
    assert!(at("a.") && at("b."), "it meets whom it is about alone: {row}");
    let schedule = "out/schedule-app-serial.json";
    let (code, said) = driftlock(directory.path(), &["replay", "--postgres", "local", schedule]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the same course, and the same violation"), "{said}");
}
