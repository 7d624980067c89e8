//! Another tool migrates: psql, as a stand-in for any framework's.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::called::program;
use crate::comes::comes;
use crate::{found, holding, rehearse};

#[test]
fn sqlx_alone_passes_and_three_at_once_meet_in_its_lock() {
    let at = tempfile::tempdir().unwrap();
    let arguments = ["--postgres", "local", "--format", "json", "--filter", "postgres", "--events", "20000"];
    let more = ["--fidelity", "runner", "--companion", "replicas"];
    let report = rehearse(at.path(), &[&arguments[..], &more].concat()).ends_with(1).json();
    let rows = report["results"].as_array().unwrap();
    let of = |beside: &str| rows.iter().find(|row| row["strategy"] == beside).unwrap();
    assert_eq!(of("alone")["verdict"], "pass", "{:#}", of("alone"));
    let files = of("alone")["files"].as_array().unwrap();
    let attach = files.iter().find(|file| file["version"] == 4 && file["pass"] == "up").unwrap();
    let locks = attach["statements"][0]["locks"].as_array().unwrap();
    assert!(locks.iter().any(|lock| lock["mode"] == "ACCESS EXCLUSIVE" && lock["on"] == "drift_events"), "{attach:#}");
    // They wait in pg_advisory_lock with a snapshot, which the concurrent build of the first one waits for.
    let found = found(of("replicas"));
    assert!(found.iter().any(|one| one.starts_with("replicas ") && one.ends_with(" 40P01")), "{found:?}");
}

const PSQL: &str = "psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 \"$DATABASE_URL\" --command";
const KEY: &str = "(customer_id, run_id, payer, cpt_group, drift_type)";
/// The tables of the traffic, and an archive whose index takes a moment to build.
const SETTINGS: &str = "base-version = 2\nevents = 20000\n";

#[test]
fn a_shell_runner_is_rehearsed_up_down_and_up_again_and_its_locks_are_seen() {
    let at = holding(&[("rehearse.toml", SETTINGS)]);
    let build = format!("CREATE UNIQUE INDEX CONCURRENTLY u ON drift_events {KEY}");
    let attach = "ALTER TABLE drift_events ADD CONSTRAINT u UNIQUE USING INDEX u";
    let up = format!("test \"$DRIFTLOCK_DIRECTION\" = up && {PSQL} '{build}' && {PSQL} '{attach}'");
    let down = format!(
        "test \"$DRIFTLOCK_DIRECTION $DRIFTLOCK_TO\" = 'down 0' && {PSQL} 'ALTER TABLE drift_events DROP CONSTRAINT u'"
    );
    let arguments = ["m", "--postgres", "local", "--format", "json", "--output", "run"];
    let called =
        rehearse(at.path(), &[&arguments[..], &["--runner", &up, "--runner-down", &down]].concat()).ends_with(0);
    let report = called.json();
    let files = report["results"][0]["files"].as_array().unwrap();
    let passes: Vec<&str> = files.iter().map(|file| file["pass"].as_str().unwrap()).collect();
    assert_eq!(passes, ["up", "down", "up again"]);
    for file in files {
        assert!(file["overlapped"].as_u64() > Some(0), "{file:#}");
        let locks = file["statements"][0]["locks"].as_array().unwrap();
        let exclusive = |lock: &&serde_json::Value| lock["mode"] == "ACCESS EXCLUSIVE" && lock["on"] == "drift_events";
        assert!(locks.iter().find(exclusive).is_some(), "held for an instant, and noted all the same: {file:#}");
    }
    let evidence = report["results"][0]["evidence"].as_str().unwrap();
    assert!(evidence.ends_with("down and up again the schema was the same"), "{evidence}");
}

#[test]
fn a_runner_that_fails_is_a_finding_and_its_password_is_nowhere() {
    let at = holding(&[("rehearse.toml", SETTINGS)]);
    let runner =
        "echo \"cannot reach $DATABASE_URL\" >&2; echo \"${DATABASE_URL#*postgres:}\" | cut -d@ -f1 > password; exit 7";
    let arguments = ["m", "--postgres", "local", "--format", "json", "--output", "run", "--runner", runner];
    let called = rehearse(at.path(), &arguments).ends_with(1);
    assert_eq!(found(&called.json()["results"][0]), ["refused m:1 -"]);
    assert!(called.out.contains("exit status: 7: cannot reach postgres://postgres:***@127.0.0.1"), "{}", called.out);
    let password = fs::read_to_string(at.path().join("password")).unwrap();
    let password = password.trim().rsplit(':').next().unwrap();
    assert!(password.len() > 10, "{password}");
    assert!(!called.out.contains(password) && !called.err.contains(password));
    for entry in fs::read_dir(at.path().join("run")).unwrap() {
        let path = entry.unwrap().path();
        assert!(!fs::read_to_string(&path).unwrap().contains(password), "{}", path.display());
    }
}

#[test]
fn a_session_that_the_runner_leaves_in_a_transaction_is_told_and_one_that_ends_is_not() {
    let leaves = "setsid sh -c '(echo \"BEGIN; SELECT 1;\"; sleep 9) | PGAPPNAME=forgotten psql --no-psqlrc \"$DATABASE_URL\"' \
                  > /dev/null 2>&1 & sleep 1";
    let ends = "(echo \"BEGIN; SELECT 1;\"; sleep 1) | psql --no-psqlrc \"$DATABASE_URL\"";
    for (runner, exit, expected) in [(leaves, 1, &["left-behind m:1 -"][..]), (ends, 0, &[])] {
        let at = holding(&[("rehearse.toml", "base-version = 2\nevents = 1000\n")]);
        let arguments = ["m", "--postgres", "local", "--format", "json", "--runner", runner];
        let called = rehearse(at.path(), &arguments).ends_with(exit);
        let row = &called.json()["results"][0];
        assert_eq!(found(row), expected, "{row:#}");
        assert_eq!(called.out.contains("a session (forgotten) is idle in a transaction"), exit == 1);
    }
}

#[tokio::test]
async fn nothing_of_a_runner_outlives_a_rehearsal_that_is_killed() {
    let at = holding(&[("rehearse.toml", "base-version = 2\nevents = 1000\n")]);
    let runner = "sleep 1000 & echo $$ $! > draft; mv draft pids; wait; sleep 1000";
    let mut rehearsal = program(at.path(), &["rehearse", "m", "--postgres", "local", "--runner", runner]);
    let mut rehearsal = rehearsal.kill_on_drop(true).spawn().unwrap();
    let pids = at.path().join("pids");
    assert!(comes(Duration::from_secs(60), || pids.exists()).await, "the runner never ran");
    let pids: Vec<i32> = fs::read_to_string(pids).unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    // One that has ended and was not waited for yet has no command line any more.
    let is_alive = |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
    assert!(pids.len() == 2 && (pids.iter().all(is_alive) || !Path::new("/proc/self").exists()), "{pids:?}");
    rehearsal.kill().await.unwrap();
    let gone = comes(Duration::from_secs(5), || !pids.iter().any(is_alive)).await;
    let left: Vec<i32> = pids.into_iter().filter(is_alive).collect();
    for pid in &left {
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    assert!(gone, "{left:?}");
}
