//! The commands themselves: what they print where, and how they end.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs the program in a directory: its exit code, and all that it said.
pub fn driftlock(directory: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_driftlock")).args(arguments).current_dir(directory).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code(), said)
}

#[test]
fn every_script_of_our_own_comes_out_as_documented() {
    let directory = tempfile::tempdir().unwrap();
    let (code, said) =
        driftlock(directory.path(), &["explore", "--built-in", "--postgres", "local", "--output", "out"]);
    assert_eq!(code, Some(0), "{said}");
    let report = fs::read_to_string(directory.path().join("out/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["verdict"], "pass");
    let results = report["results"].as_array().unwrap();
    assert!(results.len() > 30, "{said}");
    // What passes was exhausted, or says what bounds it.
    for row in results.iter().filter(|row| row["verdict"] == "pass") {
        let evidence = row["evidence"].as_str().unwrap();
        assert!(
            evidence.starts_with("exhausted at statement granularity")
                || evidence.starts_with("bounded: of a deadlock")
                || evidence.starts_with("bounded: first.insert and second.insert were sent together in "),
            "{evidence}"
        );
    }
}

#[test]
fn a_budget_of_executions_bounds_what_overlaps_too() {
    let directory = tempfile::tempdir().unwrap();
    let filter = ["--built-in", "--filter", "insert-on-conflict", "--backend", "postgres", "--budget", "20"];
    let (_, said) =
        driftlock(directory.path(), &[&["explore", "--postgres", "local", "--output", "out"][..], &filter].concat());
    let report = fs::read_to_string(directory.path().join("out/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["results"][0]["overlaps"][0]["tries"], 20, "{said}");
}

#[test]
fn a_violation_is_shown_written_and_replayed_and_another_course_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let arguments =
        ["explore", "--built-in", "--postgres", "local", "--filter", "lost-update/read-committed", "--output", "out"];
    let (code, said) = driftlock(path, &arguments);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("serial: the final state is counter = [("), "{said}");
    // The report can be read again.
    let (code, again) = driftlock(path, &["report", "out"]);
    assert_eq!(code, Some(0), "{again}");
    let table = said.find(" case ").unwrap();
    assert!(said[table..].starts_with(&again[again.find(" case ").unwrap()..]), "{again}\n{said}");
    let schedule = path.join("out/schedule-lost-update-read-committed-serial.json");
    let replay = |file: &Path| driftlock(path, &["replay", "--postgres", "local", file.to_str().unwrap()]);
    let (code, said) = replay(&schedule);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the same course, and the same violation"), "{said}");
    let text = fs::read_to_string(&schedule).unwrap();
    fs::write(&schedule, text.replacen("(10)", "(11)", 1)).unwrap();
    let (code, said) = replay(&schedule);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("another course was taken: step 2 of first came to: (10); it had come to: (11)"), "{said}");
    fs::write(&schedule, text.replace("\"driftlock_schedule\": 2", "\"driftlock_schedule\": 3")).unwrap();
    let (code, said) = replay(&schedule);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("version 3"), "{said}");
}

#[test]
fn a_broken_protocol_of_the_engine_is_found_and_its_order_runs_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let arguments = ["explore", "--built-in", "--filter", "mutant/commit-between-sqlite", "--output", "out"];
    let (code, said) = driftlock(path, &arguments);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the mutant altered"), "{said}");
    assert!(said.contains("steps more only end what was begun"), "{said}");
    let schedules: Vec<_> = fs::read_dir(path.join("out")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let schedule = schedules.iter().find(|path| path.to_str().unwrap().contains("schedule-mutant")).unwrap();
    let (code, again) = driftlock(path, &["replay", schedule.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{again}");
    assert!(again.contains("the same course, and the same violation"), "{again}");
    // As it ships, the protocol takes another course.
    let text = fs::read_to_string(schedule).unwrap();
    let sound = text.replace("mutant/commit-between-sqlite/", "engine/2-tasks-and-a-claim-immediate/");
    fs::write(schedule, sound).unwrap();
    let (code, said) = driftlock(path, &["replay", schedule.to_str().unwrap()]);
    assert_eq!(code, Some(3), "{said}");
    fs::write(schedule, text.replace("task 1", "task 7")).unwrap();
    let (code, said) = driftlock(path, &["replay", schedule.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("actor task 7"), "{said}");
}

#[test]
fn what_init_writes_can_be_explored_and_is_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    assert_eq!(driftlock(path, &["init"]).0, Some(0));
    assert_eq!(driftlock(path, &["init", "--schema"]).0, Some(0));
    assert!(fs::read_to_string(path.join("driftlock.schema.json")).unwrap().starts_with('{'));
    let (code, said) = driftlock(path, &["explore", "driftlock-script.toml", "--backend", "sqlite"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("exhausted at statement granularity"), "{said}");
    let (code, said) = driftlock(path, &["init"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("exists already"), "{said}");
}

#[test]
fn an_unexpected_violation_a_stopped_search_and_mistakes_have_their_codes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    assert_eq!(driftlock(path, &["init", "sound.toml"]).0, Some(0));
    let sound = fs::read_to_string(path.join("sound.toml")).unwrap();
    // Without its lock the protocol loses an update, where transactions are not immediate.
    let broken = sound
        .replace("BEGIN IMMEDIATE", "BEGIN")
        .replace("SET total = total WHERE", "SET total = total WHERE id > 5 AND");
    fs::write(path.join("broken.toml"), broken.replace("backend = \"sqlite\"", "backend = \"postgres\"")).unwrap();
    let (code, said) = driftlock(path, &["explore", "broken.toml", "--postgres", "local", "--filter", "/postgres"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("VIOLATION OF"), "{said}");
    assert!(said.contains("replay: driftlock replay"), "{said}");
    let (code, said) = driftlock(path, &["explore", "sound.toml", "--backend", "sqlite", "--budget", "2"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("stopped after 2 executions"), "{said}");
    fs::write(path.join("wrong.toml"), sound.replace("[[serial]]", "[[seriel]]").replace("{total}", "{totl}")).unwrap();
    let (code, said) = driftlock(path, &["explore", "wrong.toml"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("unknown key `seriel`") && said.contains("did you mean `serial`?"), "{said}");
    fs::write(path.join("wrong.toml"), sound.replace("{total}", "{totl}")).unwrap();
    let (code, said) = driftlock(path, &["explore", "wrong.toml"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("uses {totl}, which no earlier step captures"), "{said}");
    fs::write(path.join("wrong.toml"), sound.replace("CREATE TABLE alerts", "CREAT TABLE alerts")).unwrap();
    let (code, said) = driftlock(path, &["explore", "wrong.toml", "--backend", "sqlite"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("failed to set up"), "{said}");
    let (code, said) = driftlock(path, &["explore", "missing.toml"]);
    assert_eq!(code, Some(2), "{said}");
}

#[test]
fn a_specification_is_explored_without_its_permutations_and_a_lock_for_ever_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let spec = "setup { CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); }\nteardown { DROP TABLE t; }\n\
                session a setup { BEGIN; } step a1 { SELECT * FROM t FOR UPDATE; } step a2 { COMMIT; }\n\
                session b setup { BEGIN; } step b1 { SELECT * FROM t FOR UPDATE; } step b2 { COMMIT; }\n\
                permutation a1 a2 b1 b2\n";
    fs::write(path.join("sound.spec"), spec).unwrap();
    let (code, said) = driftlock(path, &["explore", "sound.spec", "--postgres", "local", "--all"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("stand for 20 orders"), "{said}");
    fs::write(path.join("stuck.spec"), spec.replace("step b2 { COMMIT; }", "step b2 { SELECT 1; }")).unwrap();
    let (code, said) = driftlock(path, &["explore", "stuck.spec", "--postgres", "local"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("stuck: a would wait for ever"), "{said}");
}

#[test]
fn a_reader_that_leaves_changes_no_answer() {
    let directory = tempfile::tempdir().unwrap();
    let ends = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_driftlock"));
        command.args(arguments).current_dir(directory.path()).stderr(writer.try_clone().unwrap()).stdout(writer);
        command.status().unwrap().code()
    };
    let explore = ["explore", "--built-in", "--backend", "sqlite", "--all", "--output", "out", "--filter"];
    assert_eq!(ends(&[&explore[..], &["lost-update"]].concat()), Some(0));
    let junit = fs::read_to_string(directory.path().join("out/junit.xml")).unwrap();
    assert!(junit.contains("lost-update/sqlite-deferred [sqlite exhaustive]"), "{junit}");
    assert!(!junit.contains("<failure") && !junit.contains("<error"), "{junit}");
}

#[test]
fn what_the_server_says_beside_its_answers_is_shown_and_failures_are_failures_for_junit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let script = r#"
name = "noisy"
summary = "A trigger says what it does."
setup = """
CREATE TABLE t (v integer);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN RAISE NOTICE $$there were %$$, (SELECT count(*) FROM t); RETURN new; END';
CREATE TRIGGER tells BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION tell();
"""
[[actor]]
name = "first"
steps = ["INSERT INTO t VALUES (1)"]
[[actor]]
name = "second"
steps = ["INSERT INTO t VALUES (1)"]
[[invariant]]
name = "once"
sql = "SELECT v FROM t GROUP BY v HAVING count(*) > 1"
[[case]]
backend = "postgres"
"#;
    fs::write(path.join("noisy.toml"), script).unwrap();
    let (code, said) = driftlock(path, &["explore", "noisy.toml", "--postgres", "local", "--output", "out"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("NOTICE: there were 0") && said.contains("NOTICE: there were 1"), "{said}");
    let junit = fs::read_to_string(path.join("out/junit.xml")).unwrap();
    assert!(junit.contains("<failure message=\"once: at the end once returns [(1)]"), "{junit}");
    // What an earlier run left is gone.
    let sound = script.replace("[[case]]", "[[case]]\nviolates = \"once\"");
    fs::write(
        path.join("noisy.toml"),
        sound.replace("name = \"once\"", "name = \"ones\"").replace("\"once\"", "\"ones\""),
    )
    .unwrap();
    let (code, said) = driftlock(path, &["explore", "noisy.toml", "--postgres", "local", "--output", "out"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!path.join("out/schedule-noisy-postgres-once.json").exists());
    assert!(path.join("out/schedule-noisy-postgres-ones.json").exists());
}

#[test]
fn whoever_keeps_a_lock_of_the_session_keeps_others_waiting_and_not_the_search() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let actor = |name: &str| {
        let steps = r#""SELECT pg_advisory_lock(7)", "UPDATE t SET v = v + 1""#;
        format!("[[actor]]\nname = \"{name}\"\nsteps = [{steps}]\n")
    };
    let script = format!(
        "name = \"leaks\"\nsummary = \"A lock that nobody gives back.\"\n\
         setup = \"CREATE TABLE t (v integer); INSERT INTO t VALUES (1)\"\n{}{}{}\
         [[serial]]\nname = \"v\"\nsql = \"SELECT v FROM t\"\n[[case]]\nbackend = \"postgres\"\n",
        actor("a"),
        actor("b"),
        actor("c")
    );
    fs::write(path.join("leaks.toml"), script).unwrap();
    let (code, said) = driftlock(path, &["explore", "leaks.toml", "--postgres", "local", "--all"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("stuck: ") && said.contains("would wait for ever: whoever has the lock has ended"), "{said}");
}
