//! `driftlock run`: what `driftlock.toml` says, with one summary and one exit code.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::{call, json_in, names_in, program, rows};

/// Two actors that each add one, with the step between in which the other's is lost, or not.
pub fn counter(name: &str, write: &str) -> String {
    let actor = |actor: &str| {
        format!(
            "[[actor]]\nname = \"{actor}\"\nsteps = [{{ sql = \"SELECT n FROM c\", capture = \"n\" }}, \"{write}\"]\n"
        )
    };
    format!(
        "name = \"{name}\"\nsummary = \"Two that each add one.\"\n\
         setup = \"CREATE TABLE c (n integer); INSERT INTO c VALUES (0);\"\n{}{}\
         [[serial]]\nname = \"n\"\nsql = \"SELECT n FROM c\"\n\
         [[case]]\nname = \"plain\"\nbackend = \"sqlite\"\nbegin = \"BEGIN\"\n",
        actor("one"),
        actor("two")
    )
}

/// What loses an update.
pub const LOSES: &str = "UPDATE c SET n = {n} + 1";
/// What does not.
pub const ADDS: &str = "UPDATE c SET n = n + 1";

const PROJECT: &str = r#"
[[run]]
name = "sound"
command = "explore"
files = ["races/sound*.toml"]
[[run]]
name = "broken"
command = "explore"
files = ["races/broken.toml"]
[[run]]
name = "freely"
command = "verify"
files = ["races/sound.toml"]
rounds = 3
[profile.ci]
only = ["sound"]
[profile.small]
only = ["sound"]
explore = { budget = 1 }
"#;

/// A repository with a sound script and a broken one.
pub fn repository(project: &str) -> TempDir {
    let at = tempfile::tempdir().unwrap();
    fs::create_dir_all(at.path().join("races")).unwrap();
    fs::create_dir_all(at.path().join(".git")).unwrap();
    fs::write(at.path().join("driftlock.toml"), project).unwrap();
    fs::write(at.path().join("races/sound.toml"), counter("sound", ADDS)).unwrap();
    fs::write(at.path().join("races/broken.toml"), counter("broken", LOSES)).unwrap();
    at
}

fn text(file: impl AsRef<Path>) -> String {
    fs::read_to_string(file).unwrap()
}

#[tokio::test]
async fn all_runs_have_one_summary_one_exit_code_and_one_directory() {
    let at = repository(PROJECT);
    let path = at.path();
    let before = "left by another step\n";
    fs::write(path.join("summary.md"), before).unwrap();
    let arguments = ["run", "--output", "out", "--summary", "summary.md"];
    let called = call(path, &arguments).await.ends_with(1);
    for expected in ["== sound: driftlock explore races/sound.toml", "violation of serial", "2 of 3 as expected"] {
        assert!(called.out.contains(expected), "{expected}\n{}", called.out);
    }
    let whole = json_in(path.join("out/report.json"));
    assert_eq!(whole["verdict"], "violation");
    let met: Vec<(&str, bool)> =
        rows(&whole).iter().map(|row| (row["run"].as_str().unwrap(), row["met"].as_bool().unwrap())).collect();
    assert_eq!(met, [("sound", true), ("broken", false), ("freely", true)]);
    let exits: Vec<u64> = whole["runs"].as_array().unwrap().iter().map(|run| run["exit"].as_u64().unwrap()).collect();
    assert_eq!(exits, [0, 1, 0]);
    let junit = text(path.join("out/junit.xml"));
    for suite in ["<testsuite name=\"sound\"", "<testsuite name=\"broken\"", "<testsuite name=\"freely\""] {
        assert!(junit.contains(suite), "{junit}");
    }
    let names = names_in(path.join("out/broken"));
    for file in ["report.json", "junit.xml", "output.txt", "schedule-broken-plain-serial.json"] {
        assert!(names.contains(file), "{names:?}");
    }
    // The counterexample itself travels with the summary.
    let summary = text(path.join("summary.md"));
    assert!(summary.starts_with(before) && summary.contains("## driftlock: violation"), "{summary}");
    assert!(summary.contains("| broken | explore | 1 | 0 | 0 | violation |"), "{summary}");
    assert!(summary.contains("SELECT n FROM c → (0)") && !summary.contains('\u{1b}'), "{summary}");
    assert_eq!(summary[before.len()..], text(path.join("out/report.md")));
    // What cannot be written is known before anything is run.
    let called = call(path, &["run", "--output", "none", "--summary", "races"]).await.ends_with(4);
    assert!(
        called.err.contains("failed to write the summary to races") && !path.join("none").exists(),
        "{}",
        called.err
    );
    // The summary alone.
    let quiet = call(path, &["run", "-q", "--output", "quiet"]).await.ends_with(1).out;
    assert!(!quiet.contains("== ") && !quiet.contains("coverage") && quiet.contains("2 of 3 as expected"), "{quiet}");
    // And all of it can be printed again.
    assert!(call(path, &["report", "out"]).await.ends_with(1).out.contains("2 of 3 as expected"));
    // What another selection leaves there is not this one's.
    call(path, &["run", "sound", "--output", "out"]).await.ends_with(0);
    let names = names_in(path.join("out"));
    assert!(names.contains("sound") && !names.contains("broken"), "{names:?}");
}

#[tokio::test]
async fn a_profile_selects_and_bounds_and_the_file_is_found_from_below() {
    let at = repository(PROJECT);
    let below = at.path().join("races");
    let called = call(&below, &["run", "--profile", "ci", "--format", "json"]).await.ends_with(0);
    let whole: Value = serde_json::from_str(&called.out).unwrap();
    assert_eq!((rows(&whole).len(), &whole["project_profile"]), (1, &Value::from("ci")));
    // One execution is not all of them: no answer, and no pass.
    let called = call(at.path(), &["run", "--profile", "small"]).await.ends_with(3);
    assert!(called.out.contains("stopped after 1 execution"), "{}", called.out);
    let listed = call(&below, &["run", "--list"]).await.ends_with(0).out;
    for expected in ["freely: driftlock verify --rounds=3 ../races/sound.toml\n", "  broken/plain sqlite\n"] {
        assert!(listed.contains(expected), "{listed}");
    }
}

#[tokio::test]
async fn nothing_is_begun_where_anything_cannot_be_read() {
    let wrong =
        "\n[[run]]\nname = \"more\"\ncommand = \"explore\"\nfiles = [\"none/*.toml\", \"gone.toml\"]\nbugdet = 1\n";
    let at = repository(&format!("{PROJECT}{wrong}"));
    let called = call(at.path(), &["run"]).await.ends_with(2);
    for expected in ["driftlock.toml:24:10", "driftlock.toml:24:25", "driftlock.toml:25:1", "did you mean `budget`?"] {
        assert!(called.err.contains(expected), "{expected}\n{}", called.err);
    }
    let unread = repository(PROJECT);
    fs::write(unread.path().join("races/broken.toml"), counter("broken", LOSES).replace("sql =", "sqk =")).unwrap();
    let called = call(unread.path(), &["run"]).await.ends_with(2);
    assert!(called.err.contains("run broken: ") && called.err.contains("races/broken.toml:6"), "{}", called.err);
    for (path, arguments, expected) in [
        (
            unread.path(),
            ["run", "sounds"],
            "there is no run sounds in profile default; there are sound, broken, freely",
        ),
        (unread.path(), ["run", "--profile=cl"], "there is no profile cl; there are ci, default, small"),
        (&unread.path().join("races"), ["run", "--config=x.toml"], "cannot read x.toml"),
    ] {
        let called = call(path, &arguments).await.ends_with(2);
        assert!(called.err.contains(expected), "{}", called.err);
    }
    fs::remove_file(at.path().join("driftlock.toml")).unwrap();
    let called = call(at.path(), &["run"]).await.ends_with(2);
    assert!(
        called.err.contains("there is no driftlock.toml here") && called.err.contains("init --ci"),
        "{}",
        called.err
    );
    for at in [at.path(), unread.path()] {
        assert!(!names_in(at).contains("target"), "nothing was run");
    }
}

#[tokio::test]
async fn an_interrupt_ends_all_runs_and_keeps_what_there_is() {
    let endless = PROJECT.replace("rounds = 3", "rounds = 1000000");
    let at = repository(&endless.replace("name = \"broken\"", "name = \"broken\"\nall = true"));
    let mut command = program(at.path(), &["run", "sound", "freely", "--output", "out"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let report = at.path().join("out/report.json");
    let ended_first = async {
        while !report.exists() && child.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended_first).await.expect("the first run ends");
    kill(Pid::from_raw(child.id().unwrap().try_into().unwrap()), Signal::SIGINT).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await;
    let output = ended.expect("it ends in time").unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(out.contains("interrupted"), "{out}");
    let whole = json_in(report);
    assert_eq!((rows(&whole).len(), &whole["verdict"]), (1, &Value::from("inconclusive")));
}

/// A project whose one run finds a violation, with more at its end.
fn broken(more: &str) -> TempDir {
    repository(&format!("[[run]]\nname = \"races\"\ncommand = \"explore\"\nfiles = [\"races/broken.toml\"]\n{more}"))
}

#[tokio::test]
async fn a_violation_is_accepted_until_its_last_day_and_no_longer() {
    let entry = |check: &str, until: &str| {
        format!("[[accepted]]\nname = \"broken/plain\"\ncheck = \"{check}\"\nreason = \"Issue 7.\"\nuntil = {until}\n")
    };
    let at = broken(&entry("serial", "2099-12-31"));
    let called = call(at.path(), &["run", "--output", "out"]).await.ends_with(0);
    for expected in ["accepted until 2099-12-31: Issue 7.", "serial: ", "pass: 0 of 1 as expected"] {
        assert!(called.out.contains(expected), "{expected}\n{}", called.out);
    }
    let whole = json_in(at.path().join("out/report.json"));
    assert_eq!((&whole["verdict"], &rows(&whole)[0]["accepted"]["reason"]), (&"pass".into(), &"Issue 7.".into()));
    let junit = text(at.path().join("out/junit.xml"));
    assert!(junit.contains("<skipped") && junit.contains("failures=\"0\""), "{junit}");

    let over = broken(&entry("serial", "2020-01-31"));
    let called = call(over.path(), &["run"]).await.ends_with(1);
    assert!(called.out.contains("was accepted until 2020-01-31, which is over (Issue 7.)"), "{}", called.out);
    let other = broken(&entry("errors", "2099-12-31"));
    call(other.path(), &["run"]).await.ends_with(1);
    // What is accepted does not hide what is not, whichever order is visited first: each violation ends in an order of
    // its own.
    for (check, hidden) in [("last-one", "last-two"), ("last-two", "last-one")] {
        let both = broken(&entry(check, "2099-12-31"));
        let last = |who: &str| {
            format!("[[invariant]]\nname = \"last-{who}\"\nsql = \"SELECT 1 FROM c WHERE n < 2 AND who = '{who}'\"\n")
        };
        let script = counter("broken", "UPDATE c SET n = {n} + 1, who = 'one'");
        let at = script.rfind("'one'").unwrap();
        let script = format!("{}'two'{}", &script[..at], &script[at + 5..]);
        let script = script
            .replace("(n integer); INSERT INTO c VALUES (0)", "(n integer, who text); INSERT INTO c VALUES (0, '')");
        let script =
            script.replace("[[serial]]\nname = \"n\"\nsql = \"SELECT n FROM c\"\n", &(last("one") + &last("two")));
        fs::write(both.path().join("races/broken.toml"), script).unwrap();
        let called = call(both.path(), &["run", "-q"]).await.ends_with(1);
        assert!(called.out.contains(&format!("{hidden}: ")), "{}", called.out);
    }

    // What is mended is told as such, and fails nothing.
    fs::write(at.path().join("races/broken.toml"), counter("broken", ADDS)).unwrap();
    let called = call(at.path(), &["run"]).await.ends_with(0);
    let gone = "note: serial of broken/plain is accepted, and no longer violated: remove it";
    assert!(called.out.contains(gone) && called.out.contains("pass: 1 of 1"), "{}", called.out);
}

#[tokio::test]
async fn a_schedule_that_is_kept_is_replayed_first_on_the_script_as_it_is_now() {
    let at = broken("");
    let path = at.path();
    let called = call(path, &["run", "--output", "out"]).await.ends_with(1);
    let keep = called.out.lines().find_map(|line| line.trim().strip_prefix("keep it, to be replayed first: "));
    let keep = keep.unwrap_or_else(|| panic!("{}", called.out));
    let kept = std::process::Command::new("sh").args(["-c", keep]).current_dir(path).status().unwrap();
    assert!(kept.success(), "{keep}");
    let called = call(path, &["run"]).await.ends_with(1);
    let (first, then) = (called.out.find("== regressions: "), called.out.find("== races: "));
    assert!(first.is_some() && first < then, "{}", called.out);
    assert!(called.out.contains("serial is violated again"), "{}", called.out);
    // The same from below, and by name.
    call(&path.join("races"), &["run", "regressions"]).await.ends_with(1);

    // Mended in a way that every step still comes to what it came to, and in one that has actors wait: the order is kept
    // as far as it goes.
    fs::write(path.join("races/broken.toml"), counter("broken", ADDS)).unwrap();
    let called = call(path, &["run", "regressions"]).await.ends_with(0);
    assert!(called.out.contains("the same course, and serial is not violated"), "{}", called.out);
    // Also from below, where the path of the schedule leads nowhere, it is the script as it is now.
    call(&path.join("races"), &["run", "regressions"]).await.ends_with(0);
    let locked = counter("broken", LOSES).replace("steps = [", "steps = [\"BEGIN IMMEDIATE\", ");
    fs::write(path.join("races/broken.toml"), locked.replace("+ 1\"]", "+ 1\", \"COMMIT\"]")).unwrap();
    let called = call(path, &["run", "regressions", "--output", "out"]).await.ends_with(0);
    assert!(called.out.contains("nothing is violated; races/broken.toml has changed since"), "{}", called.out);
    assert_eq!(json_in(path.join("out/report.json"))["verdict"], "pass");

    // An actor of another name: the schedule is about nothing that there is.
    fs::write(path.join("races/broken.toml"), counter("broken", ADDS).replace("\"two\"", "\"three\"")).unwrap();
    let called = call(path, &["run"]).await.ends_with(2);
    assert!(called.out.contains("the script has no actor two"), "{}", called.out);
    assert!(called.out.contains("== races: "), "the others are run all the same: {}", called.out);
    fs::write(path.join("driftlock/regressions/a.json"), "{}").unwrap();
    let called = call(path, &["run"]).await.ends_with(2);
    assert!(called.err.contains("a.json is no schedule of driftlock"), "{}", called.err);
}

#[tokio::test]
async fn a_schedule_is_replayed_where_its_script_is_not() {
    let at = broken("");
    call(at.path(), &["run", "--output", "out"]).await.ends_with(1);
    let elsewhere = tempfile::tempdir().unwrap();
    let schedule = "schedule-broken-plain-serial.json";
    fs::copy(at.path().join("out/races").join(schedule), elsewhere.path().join(schedule)).unwrap();
    let called = call(elsewhere.path(), &["replay", schedule]).await.ends_with(1);
    assert!(called.out.contains("the same course, and the same violation"), "{}", called.out);
    assert!(called.err.contains("note: races/broken.toml is not there"), "{}", called.err);
    // Commands that came with a schedule are not run.
    let mut program = json_in(elsewhere.path().join(schedule));
    let app = "name = 'a'\nsummary = 'b'\n[[actor]]\nname = 'x'\nrun = 'touch ran'\n";
    program["text"] = app.into();
    fs::write(elsewhere.path().join("app.json"), program.to_string()).unwrap();
    let called = call(elsewhere.path(), &["replay", "app.json"]).await.ends_with(2);
    assert!(called.err.contains("a schedule of an application has not its programs"), "{}", called.err);
    assert!(!elsewhere.path().join("ran").exists());
    // One of the format before carries nothing, and says so.
    let mut old = json_in(elsewhere.path().join(schedule));
    old["driftlock_schedule"] = 1.into();
    old.as_object_mut().unwrap().remove("text");
    fs::write(elsewhere.path().join("old.json"), old.to_string()).unwrap();
    let called = call(elsewhere.path(), &["replay", "old.json"]).await.ends_with(2);
    assert!(called.err.contains("the schedule does not carry it"), "{}", called.err);
    fs::copy(elsewhere.path().join("old.json"), at.path().join("old.json")).unwrap();
    call(at.path(), &["replay", "old.json"]).await.ends_with(1);
}

#[tokio::test]
async fn what_a_ci_needs_is_written_and_nothing_is_overwritten() {
    for (ci, files) in [
        ("github", &[".github/workflows/driftlock.yml"][..]),
        ("gitlab", &["driftlock.gitlab-ci.yml", "driftlock-ci.sh"]),
        ("sh", &["driftlock-ci.sh"]),
    ] {
        let at = tempfile::tempdir().unwrap();
        let said = call(at.path(), &["init", "--ci", ci]).await.ends_with(0).out;
        for file in files.iter().chain(&["driftlock.toml", "driftlock/lock-protocol.toml"]) {
            assert!(said.contains(&format!("written to {file}\n")) && at.path().join(file).is_file(), "{file}: {said}");
        }
        let listed = call(at.path(), &["run", "--profile", "ci", "--list"]).await.ends_with(0).out;
        assert!(listed.contains("scripts: driftlock explore --budget=2m"), "{listed}");
        fs::write(at.path().join("driftlock.toml"), "# mine\n").unwrap();
        fs::rename(at.path().join("driftlock/lock-protocol.toml"), at.path().join("driftlock/other.toml")).unwrap();
        let said = call(at.path(), &["init", "--ci", ci]).await.ends_with(0).out;
        assert!(said.contains("driftlock.toml exists already, and is left as it is"), "{said}");
        assert_eq!(text(at.path().join("driftlock.toml")), "# mine\n");
        assert!(!at.path().join("driftlock/lock-protocol.toml").exists(), "there was a script already");
    }
    let at = tempfile::tempdir().unwrap();
    call(at.path(), &["init", "--ci", "jenkins"]).await.ends_with(2);
    call(at.path(), &["init", "--ci", "sh", "--app"]).await.ends_with(2);
}

#[tokio::test]
async fn colours_are_where_they_are_asked_for_and_a_shell_is_told_every_command() {
    let at = repository(PROJECT);
    let escape = '\u{1b}';
    for (color, expected) in [("auto", false), ("never", false), ("always", true)] {
        let called = call(at.path(), &["run", "sound", "--color", color]).await.ends_with(0);
        assert_eq!(called.out.contains(escape), expected, "{color}: {}", called.out);
        let called = call(at.path(), &["--color", color, "run", "--config", "races/sound.toml"]).await.ends_with(2);
        assert_eq!(called.err.contains(escape), expected, "{color}: {}", called.err);
        assert!(called.err.contains("this is a script or an application"), "{}", called.err);
    }
    let bash = call(at.path(), &["completions", "bash"]).await.ends_with(0).out;
    assert!(bash.contains("--changed") && bash.contains("rehearse"), "{bash}");
    call(at.path(), &["completions", "--man", "man"]).await.ends_with(0);
    let page = text(at.path().join("man/driftlock-run.1"));
    assert!(page.contains("driftlock") && page.contains("summary"), "{page}");
    call(at.path(), &["completions"]).await.ends_with(2);
    fs::write(at.path().join("file"), "").unwrap();
    call(at.path(), &["completions", "--man", "file/x"]).await.ends_with(4);
}
