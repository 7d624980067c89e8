//! `driftlock doctor`: what it finds on this machine.

use clap::Parser;
use driftlock::cli::{Context, doctor};
use driftlock::exit::Exit;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: doctor::Args,
}

async fn doctor(arguments: &[&str]) -> (Exit, String) {
    let line = Line::parse_from([&["driftlock"], arguments].concat());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut context = Context { out: &mut out, err: &mut err, cancel: CancellationToken::new() };
    let exit = doctor::run(line.args, &mut context).await.map_err(|failure| failure.report).unwrap();
    (exit, String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn the_doctor_names_every_way_and_tries_the_one_asked_for() {
    let (exit, json) = doctor(&["--format", "json", "--postgres", "local"]).await;
    assert_eq!(exit, Exit::Met);
    let found: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&found["schema_version"], &found["command"]), (&1.into(), &"doctor".into()));
    let ways: Vec<&str> =
        found["postgres"]["ways"].as_array().unwrap().iter().map(|w| w["way"].as_str().unwrap()).collect();
    for way in ["given URL", "local", "container"] {
        assert!(ways.contains(&way), "{json}");
    }
    assert_eq!(found["postgres"]["used"], "local");
    assert_eq!(found["postgres"]["usable"], true);
    assert!(found["sqlite"]["version"].as_str().unwrap().starts_with("3."), "{json}");

    let (exit, text) = doctor(&["--postgres", "local"]).await;
    assert_eq!(exit, Exit::Met);
    assert!(text.contains("--postgres local uses local: PostgreSQL "), "{text}");
}

#[tokio::test]
async fn without_a_postgres_the_doctor_says_what_is_needed_and_exits_with_4() {
    let empty = tempfile::tempdir().unwrap();
    let directory = empty.path().to_str().unwrap();
    let (exit, text) = doctor(&["--postgres", "local", "--pg-bin", directory]).await;
    assert_eq!(exit, Exit::Environment);
    assert!(text.contains("nothing that works") && text.contains("help: install them"), "{text}");

    let (exit, json) = doctor(&["--format", "json", "--postgres", "postgres://u:hunter2@127.0.0.1:1/d"]).await;
    assert_eq!(exit, Exit::Environment);
    assert!(json.contains("127.0.0.1:1") && !json.contains("hunter2"), "{json}");
}
