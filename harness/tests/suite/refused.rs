use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;

use crate::{CALL_MAX, Called, SMALL, call, end_of, holding, json_in, names_in, program, rows};

#[tokio::test]
async fn everything_that_is_wrong_with_a_scenario_is_said_with_its_place() {
    let broken = r#"name = "Broken Name"
summary = "x"
checks = ["exclusion", "exclusions"]
[tasks]
count = 2
workers = 9
colour = "red"
"#;
    let at = holding(&[("broken.toml", broken), ("cut.toml", "name = \"cut\nsummary = 1"), ("small.toml", SMALL)]);
    let called = call(at.path(), &["verify", "broken.toml", "cut.toml", "none.toml", "small.toml"]).await.ends_with(2);
    assert_eq!(called.out, "");
    let places =
        ["broken.toml:1:8", "broken.toml:3:24", "broken.toml:6:11", "broken.toml:7:1", "cut.toml:1:", "none.toml"];
    for place in places {
        assert!(called.err.contains(place), "{place}: {}", called.err);
    }
    assert!(called.err.contains("did you mean \"exclusion\"?"), "{}", called.err);
    assert!(!called.err.contains("small.toml"), "{}", called.err);
    assert!(!names_in(at.path()).contains("target"), "nothing was run");
}

#[tokio::test]
async fn a_command_line_that_makes_no_sense_ends_with_2_and_says_why() {
    let at = holding(&[("small.toml", SMALL), ("again.toml", SMALL)]);
    let cases: [(&[&str], &str); 9] = [
        (&["verify", "--filter", "no-such"], "no scenario is left"),
        (&["mutate", "--filter", "no-such"], "no mutant is left"),
        (&["verify", "small.toml", "--strategy", "serializable"], "no scenario is left"),
        (&["verify", "--seed", "18446744073709551616"], "a seed is a whole number below 2^64, or random"),
        (&["verify", "--strategy", "rows"], "the strategies are row-no-key, "),
        (&["verify", "--backend", "mysql"], "the backends are postgres and sqlite"),
        (&["verify", "--time-limit", "0"], "--time-limit"),
        (&["verify", "small.toml", "again.toml"], "are both called small"),
        (&["report", "no-such"], "failed to read no-such/report.json"),
    ];
    for (arguments, said) in cases {
        let called = call(at.path(), arguments).await.ends_with(2);
        assert!(called.err.contains(said) && called.out.is_empty(), "{said}: {}{}", called.err, called.out);
    }
    assert!(!names_in(at.path()).contains("target"), "nothing was run");
}

#[tokio::test]
async fn a_report_of_another_version_is_not_guessed_at() {
    let at = holding(&[("small.toml", SMALL)]);
    call(at.path(), &["verify", "small.toml", "--backend", "sqlite", "--output", "run"]).await.ends_with(0);
    let file = at.path().join("run/report.json");
    let mut report = json_in(&file);
    report["schema_version"] = json!(2);
    std::fs::write(&file, report.to_string()).unwrap();
    let called = call(at.path(), &["report", "run"]).await.ends_with(2);
    assert!(called.err.contains("format version 2"), "{}", called.err);
}

/// Where no PostgreSQL can be had in any way.
fn without_postgres(mut command: Command) -> Command {
    command.args(["--pg-bin", "/nonexistent"]);
    command.env_remove("DRIFTLOCK_POSTGRES_URL").env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    command
}

fn the_three_ways_are_named(text: &str) {
    for way in ["given URL: DRIFTLOCK_POSTGRES_URL is not set", "local: ", "container: "] {
        assert!(text.contains(way), "{way}: {text}");
    }
}

#[tokio::test]
async fn a_backend_that_cannot_be_had_is_not_verified() {
    let at = holding(&[("small.toml", SMALL)]);
    let called =
        end_of(without_postgres(program(at.path(), &["verify", "small.toml", "--output", "run"])), CALL_MAX).await;
    let called = called.ends_with(3);
    assert!(called.out.contains("not verified: postgres: "), "{}", called.out);
    the_three_ways_are_named(&called.out);
    let report = json_in(at.path().join("run/report.json"));
    assert_eq!((&report["verdict"], report["backends"].as_array().unwrap().len()), (&json!("inconclusive"), 1));
    assert!(rows(&report).iter().all(|row| row["backend"] == "sqlite" && row["met"] == true), "{report}");
    assert_eq!(report["not_verified"].as_array().unwrap().len(), 1);

    // The same of mutants: what was not run was not killed.
    let called = end_of(without_postgres(program(at.path(), &["mutate", "--filter", "keep-stale"])), CALL_MAX).await;
    assert!(called.ends_with(3).out.contains("not verified: postgres: "));
}

#[tokio::test]
async fn when_no_wanted_backend_can_be_had_it_is_the_environments_fault() {
    let at = holding(&[("small.toml", SMALL)]);
    let arguments = ["verify", "small.toml", "--backend", "postgres", "--output", "run"];
    let called = end_of(without_postgres(program(at.path(), &arguments)), CALL_MAX).await.ends_with(4);
    the_three_ways_are_named(&called.err);
    assert_eq!(called.out, "");
    assert!(!at.path().join("run/report.json").exists(), "no report of nothing");
}

#[tokio::test]
async fn an_output_that_cannot_be_written_is_said() {
    let at = holding(&[("small.toml", SMALL), ("file", "")]);
    let small = ["verify", "small.toml", "--backend", "sqlite"];
    let called = call(at.path(), &[&small[..], &["--output", "file/run"]].concat()).await.ends_with(4);
    assert!(called.err.contains("failed to write file/run"), "{}", called.err);

    let mut command = program(at.path(), &[&small[..], &["--output", "run"]].concat());
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let Ok(full) = full else { return };
    command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    let output = tokio::time::timeout(std::time::Duration::from_secs(120), child.wait_with_output()).await;
    let output = output.expect("it ends in time").unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    let called = Called { code: output.status.code(), out: String::new(), err }.ends_with(4);
    assert!(called.err.contains("failed to write the output"), "{}", called.err);
    assert_eq!(json_in(at.path().join("run/report.json"))["verdict"], "pass", "what was found is not lost");
}
