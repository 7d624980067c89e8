use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::{SMALL, holding, json_in, names_in, program, rows};

/// Waits for a condition, for at most a minute.
async fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let poll = async {
        loop {
            match condition() {
                Some(value) => return value,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), poll).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// The files of that name below a directory; what goes meanwhile is passed over.
fn find(directory: &Path, name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => find(&path, name),
            false if path.file_name().is_some_and(|file| file == name) => vec![path],
            false => Vec::new(),
        })
        .collect()
}

fn is_gone(pid: Pid) -> bool {
    kill(pid, None) == Err(Errno::ESRCH)
}

#[tokio::test]
async fn an_interrupt_ends_a_run_and_leaves_nothing_but_what_it_had_found() {
    let never = SMALL.replace("name = \"small\"", "name = \"unending\"");
    let never = never.replace("[tasks]", "[tasks]\narrival = { every-ms = 60000 }");
    for (backend, signal) in [("postgres", Signal::SIGINT), ("sqlite", Signal::SIGINT), ("postgres", Signal::SIGTERM)] {
        let at = holding(&[("a.toml", SMALL), ("b.toml", &never)]);
        let temporary = tempfile::Builder::new().prefix("dl").tempdir_in("/tmp").unwrap();
        // The server may run as another user.
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let arguments = ["verify", ".", "--backend", backend, "--postgres", "local", "--output", "run"];
        let mut command = program(at.path(), &arguments);
        command.env("TMPDIR", temporary.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap());

        // The first scenario's last case is judged: the other one, which would take minutes, has begun.
        let judged = if backend == "postgres" { 2 } else { 1 };
        let report = at.path().join("run/report.json");
        eventually("the first scenario ends", || {
            let text = fs::read_to_string(&report).ok()?;
            let report: serde_json::Value = serde_json::from_str(&text).ok()?;
            (rows(&report).len() == judged || child.try_wait().unwrap().is_some()).then_some(())
        })
        .await;
        assert!(!names_in(temporary.path()).is_empty(), "it works where it is told to");
        let server = find(temporary.path(), "postmaster.pid").first().map(|file| {
            let text = fs::read_to_string(file).unwrap();
            Pid::from_raw(text.lines().next().unwrap().parse().unwrap())
        });
        assert_eq!(server.is_some(), backend == "postgres");

        kill(pid, signal).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await;
        let output = ended.expect("it ends in time").unwrap();
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(130), "{err}");
        for told in ["small", "not verified: the run ended after", "inconclusive"] {
            assert!(out.contains(told), "what was found is told: {told} in {out}");
        }
        assert!(err.contains("interrupted"), "{err}");
        assert!(server.is_none_or(is_gone), "the server lives on");
        assert!(names_in(temporary.path()).is_empty(), "{:?}", names_in(temporary.path()));

        let report = json_in(&report);
        assert_eq!(rows(&report).len(), judged, "what was found is kept");
        assert!(rows(&report).iter().all(|row| row["name"] == "small" && row["met"] == true), "{report}");
        assert_eq!(report["verdict"], json!("inconclusive"), "a run that was interrupted has not passed");
    }
}
