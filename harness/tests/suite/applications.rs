//! `verify` on applications: a user's programs run freely, and their contention is arranged.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use crate::{SMALL, call, holding, json_in, names_in, rows};

/// Two that add to a number from what they read; how they read is to be put in.
const ADDS: &str = r#"[
    {"sql": "BEGIN"},
    {"sql": "SELECT n FROM seats WHERE id = 1 LOCK", "keep": "n"},
    {"sql": "UPDATE seats SET n = {n}::int + 1 WHERE id = 1"},
    {"sql": "COMMIT"}
]"#;
const SCHEMA: &str =
    "CREATE TABLE seats (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO seats VALUES (1), (2)";
const ADDED: &str = "[[invariant]]\nname = \"added\"\nsql = \"SELECT id, n FROM seats WHERE id = 1 AND n <> 2\"\n";
/// Two transactions, of which the second has the fault; and the same after a while, so that only who is held there meets it.
const TWICE: &str = r#"
    {"sql": "BEGIN"}, {"sql": "UPDATE seats SET n = n WHERE id = 2"}, {"sql": "COMMIT"},
    {"sql": "SELECT pg_sleep(SECONDS)"},
    {"sql": "BEGIN"}, {"sql": "SELECT n FROM seats WHERE id = 1", "keep": "n"},
    {"sql": "UPDATE seats SET n = {n}::int + 1 WHERE id = 1"}, {"sql": "COMMIT"}
"#;
const PROGRAMS: [(&str, &str); 4] = [
    ("reads.json", r#"[{"sql": "BEGIN"}, {"sql": "SELECT n FROM seats"}, {"sql": "COMMIT"}]"#),
    ("open.json", r#"[{"sql": "BEGIN"}, {"sql": "UPDATE seats SET n = 1"}]"#),
    (
        "single.json",
        r#"[{"sql": "SELECT n FROM seats WHERE id = 1", "keep": "n"}, {"sql": "UPDATE seats SET n = {n}::int + 1 WHERE id = 1"}]"#,
    ),
    ("polls.json", r#"[{"sql": "SELECT pg_sleep(0.2)"}, {"sql": "UPDATE seats SET n = 1"}]"#),
];

/// The example that interprets programs: it is built beside the tests.
fn worker() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_driftlock"));
    let worker = path.parent().unwrap().join("examples/worker");
    assert!(worker.exists(), "{} is missing: cargo build -p driftlock --example worker", worker.display());
    worker
}

/// A directory with the programs and `app.toml`: its actors do `job`, after what is in `more`.
fn app(job: &str, more: &str) -> TempDir {
    let (lost, locked) = (ADDS.replace(" LOCK", ""), ADDS.replace("LOCK", "FOR UPDATE"));
    let file = format!(
        "name = \"adding\"\nsummary = \"Two add to one number.\"\nsetup = \"WORKER --setup schema.sql\"\n\
         silent-seconds = 4\n{more}\n[[actor]]\nname = \"adder\"\ncount = 2\n{job}\n"
    );
    let file = file.replace("WORKER", &worker().display().to_string());
    let mut files =
        vec![("lost.json", &*lost), ("locked.json", &*locked), ("schema.sql", SCHEMA), ("app.toml", &*file)];
    files.extend(PROGRAMS);
    holding(&files)
}

async fn verified(at: &Path, rounds: &str) -> crate::Called {
    call(at, &["verify", "--postgres", "local", "--rounds", rounds, "--output", "run", "app.toml"]).await
}

#[tokio::test]
async fn a_lost_update_is_found_shown_as_it_was_sent_and_can_be_run_again() {
    let at = app("run = \"echo I am {actor}; WORKER --once lost.json\"", ADDED);
    let said = verified(at.path(), "50").await.ends_with(1);
    for part in [
        "VIOLATION OF ADDED",
        "added: at the end added returns (1, 1)",
        "SELECT n FROM seats WHERE id = 1 → (0)",
        "waited for",
        "driftlock held it for",
        "adder-1 printed: I am adder-1",
        "replay: driftlock replay 'run/schedule-adding-added.json'",
    ] {
        let words = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(part), "{part}\n{}", said.out);
    }
    let report = json_in(at.path().join("run/report.json"));
    let row = &rows(&report)[0];
    assert_eq!((&row["verdict"], &row["met"]), (&"violation".into(), &false.into()), "{row}");
    let shown = &row["counterexamples"][0];
    assert_eq!(shown["steps"].as_array().unwrap().len(), 8, "{shown}");
    assert_eq!(shown["printed"][0][1], "I am adder-1", "{shown}");
    let names = names_in(at.path().join("run"));
    for name in ["counterexample-adding.json", "junit.xml", "printed-adding-added-adder-1.log"] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    assert_eq!(call(at.path(), &["report", "run"]).await.ends_with(1).out, said.out);
    let again = ["replay", "--postgres", "local", "run/schedule-adding-added.json"];
    let said = call(at.path(), &again).await.ends_with(1);
    assert!(said.out.contains("the same course, and the same violation"), "{}", said.out);
    // What is told to have waited is what did: a read without a lock never does.
    for seed in ["1", "2", "3", "4", "5", "6"] {
        let at = app("worker = \"WORKER lost.json\"", ADDED);
        let seeded = ["verify", "--postgres", "local", "--seed", seed, "--output", "run", "app.toml"];
        call(at.path(), &seeded).await.ends_with(1);
        let report = json_in(at.path().join("run/report.json"));
        for step in rows(&report)[0]["counterexamples"][0]["steps"].as_array().unwrap() {
            let waited = step["outcome"].as_str().unwrap().starts_with("wait");
            assert!(!waited || step["operation"].as_str().unwrap().starts_with("UPDATE"), "{step}");
        }
    }
    // It is what was expected, where it was.
    let at = app("worker = \"WORKER lost.json\"", &format!("violates = \"added\"\n{ADDED}"));
    verified(at.path(), "50").await.ends_with(0);
}

#[tokio::test]
async fn with_its_lock_each_kind_of_actor_holds_and_each_round_had_its_contention() {
    let server = format!("[server]\ncommand = \"WORKER --serve {{port}} locked.json\"\n{ADDED}");
    for (job, more) in [
        ("run = \"WORKER --once locked.json\"", ADDED),
        ("worker = \"WORKER locked.json\"", ADDED),
        ("http = { method = \"POST\", path = \"/add\" }", &server),
        // Without an invariant, outcomes are compared with those of serial orders.
        ("worker = \"WORKER locked.json\"", ""),
    ] {
        let at = app(job, more);
        let said = verified(at.path(), "30").await.ends_with(0);
        assert!(said.out.contains("(arranged in 30, by luck in 0), in 30 a step waited"), "{}", said.out);
        let report = json_in(at.path().join("run/report.json"));
        let row = &rows(&report)[0];
        for key in ["rounds", "overlapped", "arranged", "waited"] {
            assert_eq!(row[key], 30, "{key}: {row}");
        }
        assert_eq!(row["refused"], 0, "{row}");
    }
    let at = app("worker = \"WORKER lost.json\"", "");
    let said = verified(at.path(), "30").await.ends_with(1);
    assert!(said.out.contains("VIOLATION OF SERIAL"), "{}", said.out);
}

#[tokio::test]
async fn who_commits_each_statement_by_itself_meets_others_by_luck() {
    let at = app("worker = \"WORKER single.json\"", ADDED);
    let said = verified(at.path(), "200").await.ends_with(1);
    assert!(said.out.contains("VIOLATION OF ADDED"), "{}", said.out);
    let report = json_in(at.path().join("run/report.json"));
    assert_eq!(rows(&report)[0]["arranged"], 0);
}

#[tokio::test]
async fn each_commit_of_a_program_has_its_turn_to_be_held() {
    let other = "worker = \"WORKER soon.json\"\n[[actor]]\nname = \"late\"\nworker = \"WORKER late.json\"";
    let at = app(other, ADDED);
    for (file, seconds) in [("soon.json", "0"), ("late.json", "0.4")] {
        std::fs::write(at.path().join(file), format!("[{}]", TWICE.replace("SECONDS", seconds))).unwrap();
    }
    let file = std::fs::read_to_string(at.path().join("app.toml")).unwrap().replacen("count = 2\n", "", 1);
    std::fs::write(at.path().join("app.toml"), file).unwrap();
    let said = verified(at.path(), "8").await.ends_with(1);
    assert!(said.out.contains("VIOLATION OF ADDED") && said.out.contains("driftlock held it for"), "{}", said.out);
}

#[tokio::test]
async fn who_never_meets_changes_nothing_or_has_nothing_to_be_held_against_has_no_answer() {
    // A lock in the file system: one program waits for the other's end.
    let at = app("run = \"flock lock WORKER --once lost.json\"", ADDED);
    let said = verified(at.path(), "2").await.ends_with(3);
    assert!(said.out.contains("no two actors were ever under way at the same time (2 rounds; "), "{}", said.out);

    let at = app("worker = \"WORKER reads.json\"", "");
    let said = verified(at.path(), "5").await.ends_with(3);
    assert!(said.out.contains("no actor was seen to change a row or to hold a lock"), "{}", said.out);

    let at = app(
        "worker = \"WORKER locked.json\"\n[[actor]]\nname = \"more\"\ncount = 2\nworker = \"WORKER locked.json\"",
        "",
    );
    let said = verified(at.path(), "5").await.ends_with(3);
    assert!(said.out.contains("of more than 3 actors outcomes are not compared with serial orders"), "{}", said.out);
}

#[tokio::test]
async fn whoever_waits_for_a_transaction_that_was_left_open_is_stuck() {
    let at = app("worker = \"WORKER open.json\"", ADDED);
    let begin = Instant::now();
    let said = verified(at.path(), "5").await.ends_with(1);
    assert!(said.out.contains("VIOLATION OF STUCK") || said.out.contains("stuck: adder-"), "{}", said.out);
    assert!(said.out.contains("waits for adder-"), "{}", said.out);
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn what_is_wrong_with_a_program_by_itself_is_said_within_a_bound() {
    for (job, expected) in [
        ("run = \"no-such-program\"", "ended with exit code 127, where 0 is expected"),
        ("run = \"echo oops >&2; exit 7\"", "ended with exit code 7, where 0 is expected: oops"),
        ("run = \"true\"", "never connected to driftlock's URL: it was given DATABASE_URL and PG*"),
        ("run = \"echo here; sleep 60\"", "does not end, although nothing runs concurrently with it; it printed: here"),
    ] {
        let (at, begin) = (app(job, ADDED), Instant::now());
        let said = verified(at.path(), "5").await.ends_with(2);
        let words = said.err.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        assert!(words.contains(expected), "{job}: {}", said.err);
        assert!(begin.elapsed() < Duration::from_secs(60), "{job} took {:?}", begin.elapsed());
        assert!(!at.path().join("run").exists(), "{job}: nothing came of it");
    }
}

#[tokio::test]
async fn a_part_of_the_rounds_is_no_pass_and_what_makes_no_sense_is_said_before_anything_is_started() {
    let at = app("worker = \"WORKER polls.json\"", ADDED.replace("n <> 2", "n = 7").as_str());
    let limited = ["verify", "--postgres", "local", "app.toml", "--time-limit", "4"];
    let said = call(at.path(), &limited).await.ends_with(3);
    let words = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("1 of 1 cases have not come to an end within the time limit"), "{}", said.out);
    assert!(words.contains("rounds without a finding"), "{}", said.out);
    std::fs::write(at.path().join("small.toml"), SMALL).unwrap();
    assert_eq!(call(at.path(), &["verify", "app.toml", "--list"]).await.ends_with(0).out, "adding postgres\n");
    let none = call(at.path(), &["verify", "app.toml", "--filter", "nothing"]).await.ends_with(2);
    assert!(none.err.contains("no case is left"), "{}", none.err);
    let strategy = call(at.path(), &["verify", "app.toml", "--strategy", "row"]).await.ends_with(2);
    assert!(strategy.err.contains("and so has an application"), "{}", strategy.err);
    let mixed = call(at.path(), &["verify", "small.toml", "app.toml"]).await.ends_with(2);
    assert!(mixed.err.contains("app.toml is an application, and small.toml is none"), "{}", mixed.err);
    std::fs::write(at.path().join("wrong.toml"), "name = \"x\"\n[[actor]]\nname = \"a\"\nrun = \"\"\n").unwrap();
    let wrong = call(at.path(), &["verify", "wrong.toml"]).await.ends_with(2);
    assert!(wrong.err.contains("summary") && wrong.err.contains("must be a shell command"), "{}", wrong.err);
}
