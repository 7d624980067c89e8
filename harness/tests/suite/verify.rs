use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;
use std::path::Path;

use driftlock::check::{Answer, judge};
use driftlock::history::{History, file};
use driftlock::scenario::Scenario;
use serde_json::{Value, json};

use crate::{CALL_MAX, SMALL, call, end_of, holding, json_in, keys, names_in, program, rows};

fn history_in(path: &Path) -> History {
    file::read(BufReader::new(std::fs::File::open(path).unwrap())).unwrap()
}

#[tokio::test]
async fn a_run_on_both_backends_leaves_everything_that_is_said_about_it_in_its_directory() {
    let at = holding(&[("small.toml", SMALL)]);
    let text = call(at.path(), &["verify", "small.toml", "--output", "run"]).await.ends_with(0);
    assert!(text.out.ends_with("pass: 3 of 3 as expected\n"), "{}", text.out);
    assert!(text.err.ends_with("written to run\n"), "{}", text.err);

    let run = at.path().join("run");
    let histories = ["postgres-row-no-key", "postgres-constraint", "sqlite-immediate"]
        .map(|case| format!("history-small-{case}.jsonl"));
    let mut names = BTreeSet::from(["report.json".to_owned(), "junit.xml".to_owned()]);
    names.extend(histories.iter().cloned());
    assert_eq!(names_in(&run), names);

    let report = json_in(run.join("report.json"));
    the_report_is_whole(&report);
    the_checks_say_the_same_again(&report, &histories.map(|name| history_in(&run.join(name))));

    let junit = std::fs::read_to_string(run.join("junit.xml")).unwrap();
    let head = junit.lines().nth(1).unwrap();
    for counted in [r#"tests="3""#, r#"failures="0""#, r#"errors="0""#] {
        assert!(head.contains(counted), "{junit}");
    }

    assert_eq!(call(at.path(), &["report", "run"]).await.ends_with(0).out, text.out);
    assert_eq!(call(at.path(), &["report", "run", "--format", "json"]).await.ends_with(0).json(), report);
}

fn the_report_is_whole(report: &Value) {
    let of_a_report =
        "schema_version command verdict seed profile backends planned results not_applicable not_verified";
    assert_eq!(keys(report), of_a_report.split(' ').collect());
    assert_eq!((&report["schema_version"], &report["command"]), (&json!(1), &json!("verify")));
    assert_eq!(
        (&report["verdict"], &report["seed"], &report["profile"]),
        (&json!("pass"), &json!(null), &json!("fast"))
    );
    assert_eq!(report["planned"], 3);
    let backends = report["backends"].as_array().unwrap();
    let named: Vec<&Value> = backends.iter().map(|backend| &backend["name"]).collect();
    assert_eq!(named, ["postgres", "sqlite"]);
    for backend in backends {
        assert_eq!(keys(backend), ["name", "provisioned", "version"].into());
        assert!(backend["version"].as_str().unwrap().starts_with(|c: char| c.is_ascii_digit()), "{backend}");
    }
    let of_a_row = "name backend strategy verdict expected met evidence checks duration_ms replay tasks waiters \
                    counterexamples";
    for row in rows(report) {
        assert_eq!(keys(row), of_a_row.split_whitespace().collect());
        assert_eq!((&row["verdict"], &row["met"], &row["tasks"]), (&json!("pass"), &json!(true), &json!(6)));
        assert_eq!((&row["expected"], &row["counterexamples"]), (&json!({ "verdict": "pass" }), &json!([])));
        assert!(row["waiters"].as_u64() >= Some(2), "{row}");
        for check in row["checks"].as_array().unwrap() {
            assert_eq!(keys(check), ["name", "verdict", "why"].into());
            assert!(row["evidence"].as_str().unwrap().contains(check["why"].as_str().unwrap()), "{row}");
        }
        let place = [&row["backend"], &row["strategy"]].map(|word| word.as_str().unwrap());
        let replay = format!(
            "driftlock verify 'small.toml' --filter small --backend {} --strategy {} --seed 1",
            place[0], place[1]
        );
        assert_eq!(row["replay"], replay);
    }
    let not_applicable = report["not_applicable"].as_array().unwrap();
    assert_eq!(not_applicable.len(), 1, "{not_applicable:?}");
    assert_eq!(keys(&not_applicable[0]), ["backend", "name", "reason"].into());
    assert_eq!(not_applicable[0]["name"], "small/exclusion (constraint)");
    assert_eq!(report["not_verified"], json!([]));
}

/// A verdict follows from the recorded history alone.
fn the_checks_say_the_same_again(report: &Value, histories: &[History]) {
    let scenario = Scenario::parse(Path::new("small.toml"), SMALL.as_bytes()).unwrap();
    for (row, history) in rows(report).iter().zip(histories) {
        let again: Vec<Value> = judge(history, &scenario.checks, None)
            .into_iter()
            .filter_map(|(name, answer)| match answer {
                Answer::NotApplicable { .. } => None,
                Answer::Judged(verdict) => {
                    Some(json!({ "name": name, "verdict": verdict.word(), "why": verdict.sentence() }))
                }
            })
            .collect();
        assert_eq!(row["checks"], json!(again));
    }
}

/// Each task in a run of its own: the customer is alerted as often as there are tasks.
const ALERTED_TWICE: &str = r#"
name = "alerted-twice"
summary = "Each task opens a run of its own."
backends = ["sqlite"]
checks = ["no-duplicates", "accounted"]
[tasks]
count = 4
workers = 2
run = "fresh"
"#;

#[tokio::test]
async fn a_violation_that_nobody_expected_is_shown_and_its_replay_shows_it_again() {
    // A name that a shell would read as something else.
    let at = holding(&[("it's broken.toml", ALERTED_TWICE)]);
    let called = call(at.path(), &["verify", "it's broken.toml", "--output", "run"]).await.ends_with(1);
    let report = json_in(at.path().join("run/report.json"));
    assert_eq!((&report["verdict"], rows(&report).len()), (&json!("violation"), 1));
    let row = &rows(&report)[0];
    assert_eq!((&row["verdict"], &row["met"]), (&json!("violation"), &json!(false)));
    let shown = &row["counterexamples"][0];
    assert_eq!(keys(shown), ["check", "sentence", "steps"].into());
    assert!(shown["steps"].as_array().unwrap().len() >= 2, "{shown}");
    let saved = json_in(at.path().join("run/counterexample-alerted-twice-sqlite-immediate.json"));
    assert_eq!(saved, row["counterexamples"]);
    let junit = std::fs::read_to_string(at.path().join("run/junit.xml")).unwrap();
    assert!(junit.contains(r#"failures="1""#) && junit.contains("no-duplicates: "), "{junit}");

    let replay = row["replay"].as_str().unwrap();
    let sentence = format!("no-duplicates: {}", shown["sentence"].as_str().unwrap());
    for said in ["VIOLATION OF NO-DUPLICATES", "write 5 events of run fresh-0", &sentence, replay] {
        assert!(called.out.contains(said), "{said}: {}", called.out);
    }

    let mut shell = tokio::process::Command::new("sh");
    let directory = Path::new(env!("CARGO_BIN_EXE_driftlock")).parent().unwrap();
    let path = std::env::join_paths([directory, Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    shell.args(["-c", replay]).env("PATH", path).current_dir(at.path());
    let again = end_of(shell, CALL_MAX).await.ends_with(1);
    assert!(again.out.contains("VIOLATION OF NO-DUPLICATES"), "{}", again.out);
}

#[tokio::test]
async fn an_expected_violation_counts_and_one_that_does_not_appear_is_a_failure() {
    let expecting = |check| {
        format!("{ALERTED_TWICE}[[expect]]\nbackend = \"sqlite\"\nverdict = \"violation\"\ncheck = \"{check}\"\n")
    };
    let at = holding(&[("right.toml", &expecting("no-duplicates"))]);
    let called = call(at.path(), &["verify", "right.toml"]).await.ends_with(0);
    assert!(called.out.contains("violation of no-duplicates, as expected"), "{}", called.out);

    let another = expecting("no-duplicates").replace("\"fresh\"", "\"by-window\"");
    let at = holding(&[("absent.toml", &another)]);
    let called = call(at.path(), &["verify", "absent.toml", "--output", "run"]).await.ends_with(1);
    assert!(called.out.contains("no violation of no-duplicates"), "{}", called.out);
    assert!(called.out.contains("replay: driftlock verify 'absent.toml' "), "{}", called.out);
    let report = json_in(at.path().join("run/report.json"));
    let row = &rows(&report)[0];
    assert_eq!((&row["verdict"], &row["met"]), (&json!("pass"), &json!(false)));

    // Another violation than the one that was expected does not pass for it.
    let at = holding(&[("wrong.toml", &expecting("accounted"))]);
    let called = call(at.path(), &["verify", "wrong.toml"]).await.ends_with(1);
    assert!(called.out.contains("no-duplicates: customer 1 is alerted twice"), "{}", called.out);
}

#[tokio::test]
async fn one_seed_makes_one_plan_and_another_seed_another() {
    let spread = SMALL.replace("[tasks]", "[data]\ncustomers = 20\n[tasks]\nkeys = \"uniform\"");
    let spread = spread.replace("\"no-duplicates\", ", "");
    let at = holding(&[("small.toml", &spread)]);
    let mut plans = Vec::new();
    for seed in ["7", "7", "8"] {
        let arguments = ["verify", "small.toml", "--backend", "sqlite", "--seed", seed, "--output", "run"];
        let called = call(at.path(), &[&arguments[..], &["--format", "json"]].concat()).await.ends_with(0);
        let report = called.json();
        assert_eq!(report["seed"].to_string(), seed);
        assert_eq!(report, json_in(at.path().join("run/report.json")));
        let history = history_in(&at.path().join("run/history-small-sqlite-immediate.jsonl"));
        let tasks: BTreeMap<_, _> = history.tasks.iter().map(|task| (task.id, task.identity)).collect();
        plans.push((tasks, history.meta.base));
    }
    assert_eq!(plans[0], plans[1]);
    assert_ne!(plans[0].0, plans[2].0, "the customers of the tasks come from the seed");
    assert_ne!(plans[0].1, plans[2].1, "the claims come from the seed");
}

#[tokio::test]
async fn a_random_seed_is_printed_and_can_be_given_again() {
    let at = holding(&[("small.toml", SMALL)]);
    let arguments = ["verify", "small.toml", "--backend", "sqlite", "--format", "json", "--seed"];
    let called = call(at.path(), &[&arguments[..], &["random"]].concat()).await.ends_with(0);
    let drawn = called.json()["seed"].to_string();
    assert!(called.err.contains(&format!("seed {drawn}\n")), "{}", called.err);
    let again = call(at.path(), &[&arguments[..], &[&drawn]].concat()).await.ends_with(0).json();
    assert_eq!(again["seed"].to_string(), drawn);
    // Unless told otherwise, each run has a directory of its own.
    assert_eq!(names_in(at.path().join("target/driftlock")).len(), 2);
}

#[tokio::test]
async fn a_list_names_the_cases_and_runs_none() {
    let at = holding(&[]);
    let listed =
        call(at.path(), &["verify", "--list", "--filter", "same-", "--filter", "deadlocks"]).await.ends_with(0);
    let expected = ["same-run postgres row-no-key", "same-run sqlite immediate", "same-window postgres row-no-key"];
    assert_eq!(listed.out.lines().take(3).collect::<Vec<_>>(), expected);
    let rest = ["same-window sqlite immediate", "deadlocks postgres row-no-key", "deadlocks postgres advisory"];
    assert_eq!(listed.out.lines().skip(3).collect::<Vec<_>>(), rest);
    let advisory = call(at.path(), &["verify", "--list", "--strategy", "advisory"]).await.ends_with(0);
    assert!(advisory.out.lines().all(|line| line.ends_with(" postgres advisory")), "{}", advisory.out);
    assert!(names_in(at.path()).is_empty());
}

#[tokio::test]
async fn what_the_time_limit_leaves_out_is_not_verified() {
    let slow = |name| {
        let slow = SMALL.replace("name = \"small\"", &format!("name = \"{name}\""));
        slow.replace("[tasks]", "[tasks]\narrival = { every-ms = 250 }")
    };
    let at = holding(&[("a.toml", &slow("first")), ("b.toml", &slow("second"))]);
    let arguments = ["verify", ".", "--backend", "sqlite", "--time-limit", "1", "--output", "run"];
    let called = call(at.path(), &arguments).await.ends_with(3);
    let said = "not verified: 2 of 2 cases have not come to an end within the time limit\n";
    assert!(called.out.contains(said), "{}", called.out);
    assert!(called.out.ends_with("inconclusive: 0 of 2 as expected\n"), "{}", called.out);
    let junit = std::fs::read_to_string(at.path().join("run/junit.xml")).unwrap();
    assert!(junit.contains(r#"errors="1""#), "{junit}");
}

#[tokio::test]
async fn whoever_closes_the_pipe_early_does_not_change_the_answer() {
    let at = holding(&[("small.toml", SMALL), ("broken.toml", ALERTED_TWICE)]);
    for (file, expected) in [("small.toml", 0), ("broken.toml", 1)] {
        let mut command = program(at.path(), &["verify", file, "--backend", "sqlite"]);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdin(std::process::Stdio::null()).stdout(writer).stderr(std::process::Stdio::piped());
        let child = command.kill_on_drop(true).spawn().unwrap();
        let ended = tokio::time::timeout(std::time::Duration::from_secs(120), child.wait_with_output()).await;
        let output = ended.expect("it ends in time").unwrap();
        assert_eq!(output.status.code(), Some(expected), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn a_directory_that_is_used_again_keeps_nothing_of_the_run_before() {
    let at = holding(&[("small.toml", SMALL), ("broken.toml", ALERTED_TWICE), ("notes.txt", "mine")]);
    call(at.path(), &["verify", "broken.toml", "--output", "."]).await.ends_with(1);
    call(at.path(), &["verify", "small.toml", "--backend", "sqlite", "--output", "."]).await.ends_with(0);
    let expected = "broken.toml history-small-sqlite-immediate.jsonl junit.xml notes.txt report.json small.toml";
    assert_eq!(names_in(at.path()), expected.split(' ').map(str::to_owned).collect());
}
