//! `--changed BASE`: what a branch has changed is rehearsed, on what was there before.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::{driftlock, holding, rehearse};

fn git(at: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    let name = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"];
    command.arg("-C").arg(at).args(name).args(arguments).env("GIT_CONFIG_GLOBAL", "/dev/null");
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn write(at: &Path, name: &str, text: &str) {
    fs::write(at.join("m").join(name), text).unwrap();
}

/// A checkout whose branch `main` has two migrations, and whose HEAD is a new branch.
fn checkout() -> TempDir {
    let first = "CREATE TABLE t (id integer PRIMARY KEY);";
    let at = holding(&[("0001_t.sql", first), ("0002_v.sql", "ALTER TABLE t ADD COLUMN v integer;")]);
    git(at.path(), &["init", "-q", "-b", "main"]);
    commit(at.path(), "two");
    git(at.path(), &["checkout", "-q", "-b", "feature"]);
    at
}

fn commit(at: &Path, what: &str) {
    git(at, &["add", "-A"]);
    git(at, &["commit", "-q", "-m", what]);
}

#[test]
fn what_a_branch_adds_is_pending_and_what_was_there_is_the_beginning() {
    let at = checkout();
    let listed = |arguments: &[&str]| {
        let all = [&["m", "--backend", "sqlite", "--journal", "wal", "--list"], arguments].concat();
        rehearse(at.path(), &all).ends_with(0).out
    };
    let nothing = "m: nothing to rehearse: no migration in m has changed since main";
    assert!(listed(&["--changed", "main"]).contains(nothing));
    write(at.path(), "0003_w.sql", "ALTER TABLE t ADD COLUMN w integer;");
    commit(at.path(), "three");
    assert!(listed(&["--changed", "main"]).contains("m alone, wal: 2 to 3, "));
    // What is not committed counts, and what main has got meanwhile does not.
    write(at.path(), "0004_x.sql", "ALTER TABLE t ADD COLUMN x integer;");
    assert!(listed(&["--changed", "main"]).contains("m alone, wal: 2 to 4, "));
    git(at.path(), &["stash", "-q", "-u"]);
    git(at.path(), &["checkout", "-q", "main"]);
    write(at.path(), "0001_t.sql", "CREATE TABLE t (id integer PRIMARY KEY, y integer);");
    commit(at.path(), "other");
    git(at.path(), &["checkout", "-q", "feature"]);
    assert!(listed(&["--changed", "main"]).contains("m alone, wal: 2 to 3, "));
    assert!(listed(&["--changed", "HEAD"]).contains("since HEAD"));
}

#[test]
fn an_older_file_that_has_changed_is_rehearsed_alone_and_the_order_is_told() {
    let at = checkout();
    write(at.path(), "0001_t.sql", "CREATE TABLE t (id integer PRIMARY KEY, z integer);");
    let arguments = ["m", "--backend", "sqlite", "--journal", "wal", "--traffic", "none", "--changed", "main"];
    let called = rehearse(at.path(), &[&arguments[..], &["--format", "json"]].concat());
    let report = called.json();
    let row = &report["results"][0];
    assert_eq!((&row["from"], &row["to"]), (&0.into(), &1.into()), "{row}");
    let notes = row["notes"].to_string();
    assert!(notes.contains("m/0001_t.sql comes before what has not changed (m/0002_v.sql)"), "{notes}");
    let replay = row["replay"].as_str().unwrap();
    assert!(replay.contains("--from '0' --to '1'") && !replay.contains("--changed"), "{replay}");
}

#[test]
fn nothing_to_rehearse_is_a_pass_that_says_so() {
    let at = checkout();
    let called = rehearse(at.path(), &["m", "--changed", "main", "--output", "out", "--format", "json"]).ends_with(0);
    let report = called.json();
    assert_eq!((&report["verdict"], &report["planned"]), (&"pass".into(), &0.into()));
    let why = report["not_applicable"][0]["reason"].as_str().unwrap();
    assert!(why.starts_with("nothing to rehearse"), "{why}");
    assert!(driftlock(at.path(), &["report", "out"]).ends_with(0).out.contains("m: nothing to rehearse"));
    // The same in a project, whose run is no failure for having nothing to do.
    let project = "[[run]]\nname = \"migrations\"\ncommand = \"rehearse\"\nfiles = [\"m\"]\n";
    fs::write(at.path().join("driftlock.toml"), project).unwrap();
    let called = driftlock(at.path(), &["run", "--changed", "main"]).ends_with(0);
    assert!(called.out.contains("nothing to do") && called.out.contains("pass: 0 of 0"), "{}", called.out);
    let project = project.replace("rehearse", "verify").replace("files = [\"m\"]", "built-in = true");
    fs::write(at.path().join("driftlock.toml"), project).unwrap();
    let called = driftlock(at.path(), &["run", "--changed", "main", "--list"]).ends_with(0);
    assert!(called.err.contains("note: --changed is about rehearsals"), "{}", called.err);
}

#[test]
fn whatever_keeps_git_from_answering_is_told_with_what_to_do() {
    let at = checkout();
    let refused = |at: &Path, arguments: &[&str], expected: &[&str]| {
        let called = rehearse(at, arguments).ends_with(2);
        for expected in expected {
            assert!(called.err.contains(expected), "{expected}: {}", called.err);
        }
    };
    refused(at.path(), &["m", "--changed", "nowhere"], &["git knows no commit nowhere", "fetch-depth: 0"]);
    refused(at.path(), &["m", "--changed=--upload-pack=x"], &["git knows no commit --upload-pack=x"]);
    refused(at.path(), &["--changed", "main"], &["none is given"]);
    let outside = holding(&[("0001_t.sql", "CREATE TABLE t (id integer);")]);
    refused(outside.path(), &["m", "--changed", "main"], &["m is in no checkout of git", "--from N"]);

    // A clone of one commit, and another one of another branch: what they come from is not there.
    write(at.path(), "0003_w.sql", "ALTER TABLE t ADD COLUMN w integer;");
    commit(at.path(), "three");
    git(at.path(), &["checkout", "-q", "main"]);
    write(at.path(), "0004_x.sql", "ALTER TABLE t ADD COLUMN x integer;");
    commit(at.path(), "four");
    let clone = tempfile::tempdir().unwrap();
    let from = format!("file://{}", at.path().display());
    git(clone.path(), &["clone", "-q", "--depth", "1", "--branch", "feature", &from, "c"]);
    let clone = clone.path().join("c");
    git(&clone, &["fetch", "-q", "--depth", "1", "origin", "main:refs/remotes/origin/main"]);
    refused(&clone, &["m", "--changed", "origin/main"], &["in this shallow clone", "git fetch --unshallow"]);
    git(&clone, &["fetch", "-q", "--unshallow", "origin", "main", "feature"]);
    let listed = rehearse(&clone, &["m", "--changed", "origin/main", "--list"]).ends_with(0);
    assert!(listed.out.contains("2 to 3"), "{}", listed.out);
}
