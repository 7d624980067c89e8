//! Things that fail at a place: what is planted is found by the failure that shows it, what is sound passes all of them,
//! and the reduced search reaches with a failure what brute force reaches.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use drift_engine::lock::Backend;
use driftlock::explore::fault::{Fault, can_come};
use driftlock::explore::footprint::Rule;
use driftlock::explore::search::Strategy;
use driftlock::scenario::script::FaultKind;
use rand::rngs::ChaCha8Rng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::command::driftlock;
use super::generated::script;
use super::reduction::environment;
use super::world::Hosts;

/// How many scripts are generated for each backend: more with `DRIFTLOCK_EXPLORE_SCRIPTS`.
const SCRIPTS: u64 = 20;

fn explore(directory: &Path, file: &Path, more: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let arguments = ["explore", file.to_str().unwrap(), "--postgres", "local", "--output", "out"];
    let (code, said) = driftlock(directory, &[&arguments, more].concat());
    let report = fs::read_to_string(directory.join("out/report.json")).unwrap_or_else(|_| panic!("{said}"));
    let report: Value = serde_json::from_str(&report).unwrap();
    (code, report["results"].as_array().unwrap().clone(), said)
}

/// Each file has a case that is broken and one that is mended.
#[test]
fn every_shipped_fault_is_found_and_what_is_mended_is_exhausted() {
    let directory = tempfile::tempdir().unwrap();
    let faults = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/faults");
    let (code, rows, said) = explore(directory.path(), &faults, &[]);
    assert_eq!(code, Some(0), "{said}");
    let files = fs::read_dir(&faults).unwrap().count();
    assert_eq!(rows.len(), 2 * files, "{said}");
    for row in &rows {
        let is_sound = row["verdict"] == "pass";
        assert_eq!(row["coverage"], if is_sound { "exhausted" } else { "stopped" }, "{row}");
        assert_eq!(row["faults"]["searches"] == row["faults"]["wanted"], is_sound, "{row}");
        assert_eq!(row["faults"]["violations"].as_array().unwrap().is_empty(), is_sound, "{row}");
        assert!(row["faults"]["never_came"].as_array().unwrap().is_empty() || row["backend"] == "sqlite", "{row}");
    }
    assert_eq!(rows.iter().filter(|row| row["verdict"] == "pass").count(), files, "{said}");
    assert!(said.contains("the answer of COMMIT was lost, its work had been done, and alice did it again"), "{said}");
    let mut schedule = fs::read_dir(directory.path().join("out")).unwrap().map(|entry| entry.unwrap().path());
    let schedule = schedule.find(|path| path.to_string_lossy().contains("blind-retry-blind-serial")).unwrap();
    let (code, said) = driftlock(directory.path(), &["replay", schedule.to_str().unwrap(), "--postgres", "local"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the same course, and the same violation"), "{said}");
    assert!(said.contains("done and committed; connection lost before the answer was read"), "{said}");
}

/// Two counters: `a` begins anew after whatever fails, blindly.
const BLIND: &str = r#"
name = "blind"
summary = "x"
setup = "CREATE TABLE t (id serial PRIMARY KEY, who text NOT NULL); CREATE TABLE u (v int); INSERT INTO u VALUES (0)"
[[actor]]
name = "a"
retry = 1
retry-on = ["08006", "57P01", "40001", "40P01", "55P03", "57014", "53300"]
steps = ["BEGIN", "INSERT INTO t (who) VALUES ('a')", "COMMIT"]
[[actor]]
name = "b"
steps = ["UPDATE u SET v = v + 1"]
[[invariant]]
name = "nothing"
sql = "SELECT 1 WHERE false"
[[case]]
backend = "postgres"
"#;

#[test]
fn a_blind_repetition_of_commit_is_found_by_its_lost_answer_alone_though_nothing_asks_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("blind.toml");
    fs::write(&file, BLIND).unwrap();
    let (code, rows, said) = explore(directory.path(), &file, &["--faults", "all", "--all"]);
    assert_eq!(code, Some(1), "{said}");
    let faults = &rows[0]["faults"];
    let found = |kind: &str| faults["by_kind"][kind].as_u64().unwrap();
    for kind in FaultKind::ALL.into_iter().filter(|kind| kind.is_on(Backend::Postgres)) {
        assert_eq!(found(kind.as_str()), u64::from(kind == FaultKind::LostAfter), "{kind}: {faults}");
    }
    assert_eq!(faults["violations"][0]["check"], "repeated", "{faults}");
    assert_eq!(faults["violations"][0]["place"], "a.3", "{faults}");
    assert!(said.contains("the answer of COMMIT was lost, its work had been done, and a did it again"), "{said}");
    assert_eq!(faults["coverage"], "exhausted", "{faults}");
}

/// `b` changes two rows together. Told that its session has ended, it begins anew, or goes on from the middle.
const RESTART: &str = r#"
name = "restart"
summary = "x"
setup = "CREATE TABLE t (who text PRIMARY KEY, v int NOT NULL); INSERT INTO t VALUES ('a', 0), ('x', 0), ('y', 0)"
[[actor]]
name = "a"
steps = ["BEGIN", "UPDATE t SET v = v + 1 WHERE who = 'a'", "COMMIT"]
[[actor]]
name = "b"
retry = 1
steps = [
  "BEGIN",
  "UPDATE t SET v = v + 1 WHERE who = 'x'",
  { sql = "UPDATE t SET v = v + 1 WHERE who = 'y'", on-error = { 57P01 = ANSWER } },
  "COMMIT",
]
[[serial]]
name = "rows"
sql = "SELECT who, v FROM t"
[[case]]
backend = "postgres"
"#;

#[test]
fn a_restart_of_the_server_meets_everybody_and_who_goes_on_from_the_middle_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("restart.toml");
    let middle = "[\"UPDATE t SET v = v + 1 WHERE who = 'y'\"]";
    for (answer, ends) in [("\"retry\"", Some(0)), (middle, Some(1))] {
        fs::write(&file, RESTART.replace("ANSWER", answer)).unwrap();
        let (code, rows, said) = explore(directory.path(), &file, &["--faults", "restarted", "--all"]);
        assert_eq!(code, ends, "{said}");
        let faults = &rows[0]["faults"];
        assert_eq!((&faults["wanted"], &faults["searches"]), (&7.into(), &7.into()), "{faults}");
        assert_eq!(faults["coverage"], "exhausted", "{faults}");
        assert!(faults["never_came"].as_array().unwrap().is_empty(), "{faults}");
        let violations = faults["violations"].as_array().unwrap();
        let of_a = violations.iter().filter(|of| of["place"].as_str().unwrap().starts_with("a.")).count();
        assert_eq!(of_a > 0, ends == Some(1), "{faults}");
        let is_told = said.contains("the server was restarted before it got it");
        assert_eq!(is_told, ends == Some(1), "{said}");
    }
    let mut schedule = fs::read_dir(directory.path().join("out")).unwrap().map(|entry| entry.unwrap().path());
    let schedule = schedule.find(|path| path.to_string_lossy().contains("schedule-")).unwrap();
    let (code, said) = driftlock(directory.path(), &["replay", schedule.to_str().unwrap(), "--postgres", "local"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the same course, and the same violation"), "{said}");
}

/// `a` changes two rows: each by itself, or both in a transaction.
const KILLED: &str = r#"
name = "killed"
summary = "x"
setup = "CREATE TABLE t (who text PRIMARY KEY, v int NOT NULL); INSERT INTO t VALUES ('x', 0), ('y', 0)"
[[actor]]
name = "a"
steps = [STEPS]
[[actor]]
name = "b"
steps = ["UPDATE t SET v = v + 10 WHERE who = 'x'"]
[[serial]]
name = "rows"
sql = "SELECT who, v FROM t"
[[case]]
backend = "sqlite"
"#;

#[test]
fn a_client_that_is_killed_between_two_statements_leaves_half_of_its_work_on_sqlite_too() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("killed.toml");
    let both = r#""UPDATE t SET v = v + 1 WHERE who = 'x'", "UPDATE t SET v = v + 1 WHERE who = 'y'""#;
    let together = format!(r#""BEGIN IMMEDIATE", {both}, "COMMIT""#);
    for (steps, places) in [(both, vec!["a.2"]), (&together, Vec::new())] {
        fs::write(&file, KILLED.replace("STEPS", steps)).unwrap();
        let (code, rows, said) = explore(directory.path(), &file, &["--faults", "killed", "--all"]);
        assert_eq!(code, Some(i32::from(!places.is_empty())), "{said}");
        let faults = &rows[0]["faults"];
        let violated = faults["violations"].as_array().unwrap().iter().map(|of| of["place"].as_str().unwrap());
        assert_eq!(violated.collect::<Vec<_>>(), places, "{faults}");
        assert_eq!((&faults["coverage"], &faults["searches"]), (&"exhausted".into(), &faults["wanted"]), "{faults}");
    }
}

#[test]
fn a_budget_bounds_the_whole_case_and_mistakes_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("blind.toml");
    fs::write(&file, BLIND).unwrap();
    let (code, rows, said) = explore(directory.path(), &file, &["--faults", "40001", "--budget", "2"]);
    assert_eq!((code, &rows[0]["verdict"]), (Some(3), &"inconclusive".into()), "{said}");
    assert_eq!(rows[0]["executions"], 2, "{said}");
    let path = file.to_str().unwrap();
    for (faults, says) in [("lost", "lost-before, lost-after"), ("busy", "on postgres there are lost-before")] {
        let (code, said) = driftlock(directory.path(), &["explore", path, "--faults", faults]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(says), "{said}");
    }
}

/// Compares both searches on generated scripts in which something fails, drawn from a seed.
async fn compare(backend: Backend) {
    let scripts = environment("DRIFTLOCK_EXPLORE_SCRIPTS").unwrap_or(SCRIPTS);
    let seed = environment("DRIFTLOCK_EXPLORE_SEED").unwrap_or(1);
    let mut hosts = Hosts::start().await;
    let (mut wrong, mut struck, mut kinds) = (Vec::new(), 0, BTreeSet::new());
    for number in seed..seed + scripts {
        let mut rng = ChaCha8Rng::seed_from_u64(number);
        let mut script = script(backend, &mut rng);
        let few = script.actors.iter().map(|actor| actor.steps.len()).sum::<usize>() <= 6;
        for actor in script.actors.iter_mut().filter(|_| few) {
            actor.retries = u32::from(rng.random_bool(0.7));
            actor.retries_on = ["08006", "57P01", "40001", "57014", "5"].map(str::to_owned).into();
        }
        let case = script.cases[0].clone();
        let steps =
            script.actors.iter().enumerate().flat_map(|(at, actor)| (0..actor.steps.len()).map(move |s| (at, s)));
        let steps: Vec<(usize, usize)> = steps.collect();
        let all = steps
            .iter()
            .flat_map(|(actor, step)| FaultKind::every().map(|kind| Fault { actor: *actor, step: *step, kind }));
        // A restart takes a second and strikes everybody: it has tests of its own.
        let all = all.filter(|f| f.kind != FaultKind::Restarted && f.kind.is_on(backend));
        let all: Vec<Fault> = all.filter(|f| can_come(&script, &case, *f)).collect();
        let fault = *all.choose(&mut rng).unwrap();
        let searches = [Strategy::BruteForce, Strategy::Exhaustive].map(|strategy| (strategy, Rule::ALL.to_vec()));
        let script = Arc::new(script);
        let found = hosts.search_failing(&script, Some(fault), &searches).await;
        let [all, few] = &found[..] else { panic!("two searches") };
        assert!(all.faults.iter().chain(&few.faults).all(|faults| *faults <= 1), "seed {number}: it came twice");
        if all.searched.otherwise > 0 || few.searched.otherwise > 0 {
            continue;
        }
        struck += u64::from(all.faults.contains(&1));
        kinds.insert(fault.kind);
        if all.outcomes != few.outcomes {
            let difference: Vec<_> = all.outcomes.symmetric_difference(&few.outcomes).collect();
            wrong.push(format!("seed {number}, {fault:?}: {difference:#?}"));
        }
    }
    hosts.stop().await;
    assert!(wrong.is_empty(), "{} scripts:\n{}", wrong.len(), wrong.join("\n"));
    assert!(struck * 3 > scripts, "in too few scripts anything failed: {struck}");
    assert!(kinds.len() > 1, "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_the_reduction_loses_no_outcome_of_a_failure() {
    compare(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_the_reduction_loses_no_outcome_of_a_failure() {
    compare(Backend::Sqlite).await;
}
