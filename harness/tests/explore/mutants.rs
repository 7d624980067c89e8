//! What a script protects itself with, taken away: every fate is seen, and none is mistaken for another.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use driftlock::explore::case::Options;
use driftlock::explore::search::Strategy;
use driftlock::scenario::script::Script;
use driftlock::variation::mutate::{Fate, Mutant, Mutated, mutate};

use crate::command::driftlock;
use crate::world::Hosts;

fn script(setup: &str, steps: &str, check: &str, case: &str) -> Arc<Script> {
    let text = format!(
        "name = \"x\"\nsummary = \"x\"\nsetup = \"{setup}\"\n[[actor]]\nname = \"a\"\n{steps}\n[[actor]]\nname = \"b\"\n\
         {steps}\n{check}\n[[case]]\n{case}\n"
    );
    let script = Script::parse(Path::new("x.toml"), text.as_bytes()).unwrap_or_else(|problems| panic!("{problems:?}"));
    Arc::new(script.of_case(&script.cases[0].clone()))
}

async fn mutants(hosts: &mut Hosts, script: &Arc<Script>) -> Vec<Mutant> {
    let strategy = Strategy::Exhaustive;
    let options = Options { strategy, seed: 1, limit: None, all: false, executions: Arc::default() };
    match mutate(hosts, script, &script.cases[0], &options).await.unwrap().unwrap() {
        Mutated::Mutants { mutants, .. } => mutants,
        Mutated::Unfit { evidence, .. } => panic!("{evidence}"),
    }
}

fn fates(mutants: &[Mutant]) -> Vec<(String, &'static str)> {
    let word = |fate: &Fate| match fate {
        Fate::Killed(_) => "killed",
        Fate::Covered { .. } => "covered",
        Fate::Harmless => "harmless",
        Fate::Survived { .. } => "survived",
        Fate::Undecided(_) => "undecided",
    };
    mutants.iter().map(|mutant| (mutant.variation.name.clone(), word(&mutant.fate))).collect()
}

const COUNTER: &str = "CREATE TABLE t (id integer, v integer); INSERT INTO t VALUES (1, 0)";
const SERIAL: &str = "[[serial]]\nname = \"v\"\nsql = \"SELECT v FROM t\"";
const BLIND: &str = "[[invariant]]\nname = \"blind\"\nsql = \"SELECT 1 WHERE false\"";

#[tokio::test]
async fn a_lock_that_is_needed_is_killed_and_one_that_nobody_looks_at_survives() {
    let mut hosts = Hosts::start().await;
    let steps = "steps = [\"BEGIN\", { sql = \"SELECT v FROM t WHERE id = 1 FOR UPDATE\", capture = \"v\" }, \
                 \"UPDATE t SET v = {v} + 1 WHERE id = 1\", \"COMMIT\"]";
    let postgres = "backend = \"postgres\"";
    let killed = mutants(&mut hosts, &script(COUNTER, steps, SERIAL, postgres)).await;
    assert_eq!(fates(&killed), [("without FOR UPDATE on t (a.2, b.2)".to_owned(), "killed")]);
    assert!(killed[0].executed > 0);
    assert_eq!(killed[0].variation.statements[0].1, "SELECT v FROM t WHERE id = 1");
    // The same job, and a check that cannot see it: what happens is told.
    let survived = mutants(&mut hosts, &script(COUNTER, steps, BLIND, postgres)).await;
    let Fate::Survived { why, found } = &survived[0].fate else { panic!("{:?}", fates(&survived)) };
    assert!(why.contains("no check notices that the final state is") && found.is_some(), "{why}");
    // A lock around what is one statement anyway.
    let steps = "steps = [\"BEGIN\", \"SELECT v FROM t WHERE id = 1 FOR UPDATE\", \
                 \"UPDATE t SET v = v + 1 WHERE id = 1\", \"COMMIT\"]";
    let harmless = mutants(&mut hosts, &script(COUNTER, steps, SERIAL, postgres)).await;
    assert_eq!(fates(&harmless), [("without FOR UPDATE on t (a.2, b.2)".to_owned(), "harmless")], "{harmless:#?}");
    hosts.stop().await;
}

#[tokio::test]
async fn defences_that_cover_for_each_other_are_taken_away_together() {
    let mut hosts = Hosts::start().await;
    let setup = "CREATE TABLE runs (day integer CONSTRAINT one_a_day UNIQUE)";
    let steps = "steps = [\"BEGIN\", \"SELECT pg_advisory_xact_lock(7)\", \
                 { sql = \"SELECT count(*) FROM runs WHERE day = 1\", capture = \"n\" }, \
                 { sql = \"INSERT INTO runs (day) VALUES (1) ON CONFLICT (day) DO NOTHING\", if = \"{n} = 0\" }, \"COMMIT\"]";
    let check = "[[invariant]]\nname = \"once\"\nsql = \"SELECT day FROM runs GROUP BY day HAVING count(*) > 1\"";
    let found = mutants(&mut hosts, &script(setup, steps, check, "backend = \"postgres\"")).await;
    let fates = fates(&found);
    let of = |text: &str| fates.iter().find(|(name, _)| name.contains(text)).map(|(_, fate)| *fate);
    assert_eq!(of("advisory lock 7"), Some("covered"), "{fates:?}");
    assert_eq!(of("UNIQUE (day)"), Some("covered"), "{fates:?}");
    // Without the lock it would be refused, and without the clause it is not: behind the lock nobody needs it.
    assert_eq!(of("without ON CONFLICT"), Some("harmless"), "{fates:?}");
    hosts.stop().await;
}

#[tokio::test]
async fn levels_retries_and_sqlites_begin_are_defences_too() {
    let mut hosts = Hosts::start().await;
    let steps = "retry = 3\nsteps = [\"{begin}\", { sql = \"SELECT v FROM t WHERE id = 1\", capture = \"v\" }, \
                 \"UPDATE t SET v = {v} + 1 WHERE id = 1\", \"COMMIT\"]";
    let none = "refusals = \"none\"";
    let level = "backend = \"postgres\"\nbegin = \"BEGIN ISOLATION LEVEL REPEATABLE READ\"";
    let setup = format!("{COUNTER}\"\n{none}\n#\"");
    let found = mutants(&mut hosts, &script(&setup, steps, SERIAL, level)).await;
    let expected = ["without retry (a, b)", "without BEGIN ISOLATION LEVEL REPEATABLE READ (case)"];
    assert_eq!(fates(&found), expected.map(|name| (name.to_owned(), "killed")));
    let immediate = "backend = \"sqlite\"\nbegin = \"BEGIN IMMEDIATE\"";
    let steps = steps.strip_prefix("retry = 3\n").unwrap();
    let found = mutants(&mut hosts, &script(&setup, steps, SERIAL, immediate)).await;
    assert_eq!(fates(&found), [("without BEGIN IMMEDIATE (case)".to_owned(), "killed")]);
    hosts.stop().await;
}

/// What does its work in serial orders too is not harmless, nor is what lets whoever is refused try again.
#[tokio::test]
async fn what_would_be_missed_without_anything_concurrent_is_not_harmless() {
    let mut hosts = Hosts::start().await;
    let setup = "CREATE TABLE t (mail text CONSTRAINT one_mail UNIQUE)";
    let steps = "steps = [{ sql = \"INSERT INTO t (mail) VALUES ('a')\", errors = [\"23505\"] }]";
    let found = mutants(&mut hosts, &script(setup, steps, BLIND, "backend = \"postgres\"")).await;
    let Fate::Survived { why, .. } = &found[0].fate else { panic!("{:?}", fates(&found)) };
    assert!(why.contains("with nothing concurrent it comes to"), "{why}");
    let steps = "retry = 3\nsteps = [\"{begin}\", { sql = \"SELECT v FROM t WHERE id = 1\", capture = \"v\" }, \
                 \"UPDATE t SET v = {v} + 1 WHERE id = 1\", \"COMMIT\"]";
    let level = "backend = \"postgres\"\nbegin = \"BEGIN ISOLATION LEVEL SERIALIZABLE\"";
    let found = mutants(&mut hosts, &script(COUNTER, steps, BLIND, level)).await;
    let Fate::Survived { why, .. } = &found[0].fate else { panic!("{:?}", fates(&found)) };
    assert!(found[0].variation.name.contains("retry") && why.contains("gives up"), "{why}");
    hosts.stop().await;
}

/// A statement that cannot be run without what was taken away is no check that notices.
#[tokio::test]
async fn what_cannot_be_run_is_undecided_and_not_killed() {
    let mut hosts = Hosts::start().await;
    let setup = "CREATE TABLE t (mail text); CREATE UNIQUE INDEX one_mail ON t (lower(mail))";
    let steps = "steps = [\"INSERT INTO t (mail) VALUES ('a') ON CONFLICT (lower(mail)) DO UPDATE SET mail = 'b'\"]";
    let check = "[[invariant]]\nname = \"once\"\nsql = \"SELECT lower(mail) FROM t GROUP BY 1 HAVING count(*) > 1\"";
    let found = mutants(&mut hosts, &script(setup, steps, check, "backend = \"postgres\"")).await;
    let of = found.iter().find(|mutant| mutant.variation.name.contains("INDEX")).unwrap();
    let Fate::Undecided(why) = &of.fate else { panic!("{:?}", fates(&found)) };
    assert!(why.contains("42P10"), "{why}");
    hosts.stop().await;
}

#[test]
fn the_command_prints_a_matrix_and_a_survivor_fails_it() {
    let directory = tempfile::tempdir().unwrap();
    let steps = "steps = [\"BEGIN\", { sql = \"SELECT v FROM t WHERE id = 1 FOR UPDATE\", capture = \"v\" }, \
                 \"UPDATE t SET v = {v} + 1 WHERE id = 1\", \"COMMIT\"]";
    let file = |check: &str| {
        format!(
            "name = \"x\"\nsummary = \"x\"\nsetup = \"{COUNTER}\"\n[[actor]]\nname = \"a\"\n{steps}\n[[actor]]\n\
             name = \"b\"\n{steps}\n{check}\n[[case]]\nbackend = \"postgres\"\n"
        )
    };
    for (check, code, word) in [(SERIAL, 0, "killed"), (BLIND, 1, "SURVIVED")] {
        fs::write(directory.path().join("x.toml"), file(check)).unwrap();
        let (ended, said) =
            driftlock(directory.path(), &["mutate", "x.toml", "--postgres", "local", "--output", "out"]);
        assert_eq!(ended, Some(code), "{said}");
        assert!(said.contains("FOR UPDATE on t (a.2, b.2)") && said.contains(word), "{said}");
    }
    let report = fs::read_to_string(directory.path().join("out/report.json")).unwrap();
    assert!(report.contains("\"command\": \"mutate\""), "{report}");
    let (ended, said) = driftlock(directory.path(), &["report", "out"]);
    assert_eq!(ended, Some(1), "{said}");
    // A script that does not pass as it is has nothing to teach.
    let broken = file(SERIAL).replace(" FOR UPDATE", "");
    fs::write(directory.path().join("x.toml"), broken).unwrap();
    let (ended, said) = driftlock(directory.path(), &["mutate", "x.toml", "--postgres", "local"]);
    assert_eq!(ended, Some(1), "{said}");
}
