//! Repairs: every shipped broken script has one that holds, none that holds is refuted by brute force, and what people
//! try first is told why it does not help.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use driftlock::explore::case::Options;
use driftlock::explore::judge::Limit;
use driftlock::explore::search::Strategy;
use driftlock::scenario::script::Script;
use driftlock::variation::Explorer;
use driftlock::variation::repair::{Repaired, Tried, Verdict, repair};
use driftlock::variation::repairs::{Kind, explain};

use crate::command::driftlock;
use crate::world::Hosts;

/// The table of what mends what, in the documents.
const PAGE: &str = "docs/results/repairs.md";
/// How many orders brute force visits of each repair that holds. `DRIFTLOCK_REPAIR_ORDERS` is another number.
const ORDERS: u64 = 12;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn options(strategy: Strategy, executions: u64) -> Options {
    Options { strategy, seed: 1, limit: Some(Limit::Executions(executions)), all: false, executions: Arc::default() }
}

async fn repaired(hosts: &mut Hosts, script: &Arc<Script>) -> Repaired {
    let case = script.cases[0].clone();
    let script = Arc::new(script.of_case(&case));
    repair(hosts, &script, &case, &options(Strategy::Exhaustive, 2_000)).await.unwrap().unwrap()
}

fn holds(tried: &Tried) -> bool {
    matches!(tried.verdict, Verdict::Holds)
}

/// What a repair that does not hold comes to, in a few words.
fn why(tried: &Tried) -> String {
    match &tried.verdict {
        Verdict::Holds => String::new(),
        Verdict::Violated(found) => {
            explain(&tried.proposal, found).unwrap_or_else(|| format!("violates `{}`", found.check))
        }
        Verdict::NotProven(why) => why.clone(),
        Verdict::SaysNothing(why) => why.split(';').next().unwrap_or_default().to_owned(),
        Verdict::ChangesTheJob(_) => "the job comes to something else".to_owned(),
        Verdict::NotSerial(_) => "nothing is violated, but an order comes to what no serial order comes to".to_owned(),
        Verdict::Inapplicable(why) => why.clone(),
    }
}

#[tokio::test]
async fn every_broken_script_has_a_repair_that_holds_and_brute_force_refutes_none() {
    let orders = std::env::var("DRIFTLOCK_REPAIR_ORDERS").ok().and_then(|text| text.parse().ok()).unwrap_or(ORDERS);
    let mut files: Vec<PathBuf> =
        fs::read_dir(root().join("scenarios/repairs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "{files:?}");
    let mut hosts = Hosts::start().await;
    let mut table = "| script | holds | does not, and why |\n| --- | --- | --- |\n".to_owned();
    let mut refuted = 0;
    for file in &files {
        let script = Arc::new(Script::load(file).unwrap());
        let name = &script.name;
        let Repaired::Violated { found, tried, .. } = repaired(&mut hosts, &script).await else { panic!("{name}") };
        assert_eq!(Some(&found.check), script.cases[0].violates.as_ref(), "{name}");
        assert!(tried.iter().any(holds), "nothing mends {name}: {tried:#?}");
        for one in tried.iter().filter(|one| holds(one)) {
            let variation = &one.proposal.variation;
            let options = options(Strategy::BruteForce, orders);
            let seen = hosts.explore(&variation.script, &variation.case, &options).await.unwrap().unwrap();
            assert!(seen.explored.found.is_empty(), "{name} with {}: {:#?}", variation.name, seen.explored.found);
            refuted += 1;
        }
        let mut lines: Vec<&Tried> = tried.iter().collect();
        lines.sort_by_key(|one| one.proposal.kind);
        let cell = |of: &mut dyn Iterator<Item = String>| of.collect::<Vec<_>>().join("<br>");
        let names = |holding: bool| lines.iter().filter(move |one| holds(one) == holding);
        let mended = cell(&mut names(true).map(|one| one.proposal.variation.name.clone()));
        let not = cell(&mut names(false).map(|one| format!("{}: {}", one.proposal.variation.name, why(one))));
        writeln!(table, "| [`{name}`](../../scenarios/repairs/{name}.toml) | {mended} | {not} |").unwrap();
    }
    hosts.stop().await;
    eprintln!("{refuted} repairs held against brute force, {orders} orders each at most");
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    let (open, close) = ("<!-- repairs -->\n", "<!-- /repairs -->");
    let start = page.find(open).unwrap() + open.len();
    let end = page.find(close).unwrap();
    if page[start..end] != *table {
        assert!(std::env::var_os("UPDATE_DOCS").is_some(), "{PAGE} is stale: UPDATE_DOCS=1 writes it anew\n{table}");
        fs::write(root().join(PAGE), format!("{}{table}{}", &page[..start], &page[end..])).unwrap();
    }
}

/// The three that people try first: each is told why it does not help.
#[tokio::test]
async fn what_does_not_help_is_told_why() {
    let mut hosts = Hosts::start().await;
    for (name, kind, expected) in [
        ("booking", Kind::CountedRows, "rows that are not there yet"),
        ("unique-over-nulls", Kind::Unique, "NULLs all differ"),
        ("on-call", Kind::RepeatableRead, "write skew"),
    ] {
        let script = Arc::new(Script::load(&root().join(format!("scenarios/repairs/{name}.toml"))).unwrap());
        let Repaired::Violated { tried, .. } = repaired(&mut hosts, &script).await else { panic!("{name}") };
        let one = tried.iter().find(|one| one.proposal.kind == kind).unwrap();
        let Verdict::Violated(found) = &one.verdict else { panic!("{name}: {:?}", one.verdict) };
        let why = explain(&one.proposal, found).unwrap();
        assert!(why.contains(expected), "{name}: {why}");
    }
    hosts.stop().await;
}

/// A repair must not buy its peace with another job: by itself, the job comes to what it came to.
#[tokio::test]
async fn what_is_violated_serially_is_said_and_nothing_is_mended_by_a_lock() {
    let text = r#"
name = "always-twice"
summary = "x"
setup = "CREATE TABLE runs (day integer NOT NULL)"
[[actor]]
name = "one"
steps = ["BEGIN", "INSERT INTO runs (day) VALUES (1)", "COMMIT"]
[[actor]]
name = "two"
steps = ["BEGIN", "INSERT INTO runs (day) VALUES (1)", "COMMIT"]
[[invariant]]
name = "once"
sql = "SELECT day FROM runs GROUP BY day HAVING count(*) > 1"
[[case]]
backend = "postgres"
"#;
    let script = Arc::new(Script::parse(Path::new("x.toml"), text.as_bytes()).unwrap());
    let mut hosts = Hosts::start().await;
    let Repaired::Violated { also_serially, tried, .. } = repaired(&mut hosts, &script).await else { panic!() };
    hosts.stop().await;
    assert!(also_serially);
    for one in &tried {
        let by_constraint = one.proposal.kind == Kind::Unique;
        assert_eq!(holds(one), by_constraint, "{}: {:?}", one.proposal.variation.name, one.verdict);
    }
    assert!(tried.iter().any(holds));
}

#[test]
fn the_command_says_what_mends_and_ends_as_documented() {
    let directory = tempfile::tempdir().unwrap();
    let counters = root().join("scenarios/repairs/counters.toml");
    let counters = counters.to_str().unwrap();
    let (code, said) = driftlock(directory.path(), &["repair", counters, "--postgres", "local", "--output", "out"]);
    assert_eq!(code, Some(0), "{said}");
    for expected in
        ["one statement, from the column itself", "UPDATE pages SET views = views + 1 WHERE id = 1", "exhausted"]
    {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let report = fs::read_to_string(directory.path().join("out/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["command"], "repair");
    assert_eq!(report["results"][0]["fate"], "as it is");
    assert!(report["results"].as_array().unwrap().len() > 5);
    assert!(directory.path().join("out/junit.xml").exists());
    // The same run, printed again.
    let (code, again) = driftlock(directory.path(), &["report", "out"]);
    assert_eq!(code, Some(0), "{again}");
    assert!(again.contains("one statement, from the column itself"), "{again}");
    // Nothing to mend is no failure, and nothing that mends is one.
    let counter = "name = \"x\"\nsummary = \"x\"\nsetup = \"CREATE TABLE t (v integer); INSERT INTO t VALUES (0)\"\n\
                   [[actor]]\nname = \"a\"\nsteps = [\"UPDATE t SET v = v + 1\"]\n\
                   [[actor]]\nname = \"b\"\nsteps = [\"UPDATE t SET v = v + 1\"]\n[[case]]\nbackend = \"sqlite\"\n";
    let invariant = |sql: &str| format!("{counter}[[invariant]]\nname = \"i\"\nsql = \"{sql}\"\n");
    for (sql, expected) in [("SELECT v FROM t WHERE v > 2", 0), ("SELECT v FROM t WHERE v = 2", 1)] {
        fs::write(directory.path().join("x.toml"), invariant(sql)).unwrap();
        let (code, said) = driftlock(directory.path(), &["repair", "x.toml"]);
        assert_eq!(code, Some(expected), "{said}");
    }
    let (code, said) = driftlock(directory.path(), &["repair", "missing.toml"]);
    assert_eq!(code, Some(2), "{said}");
}
