//! Steps that run at the same time: what they show, and what is said where nothing was shown.

use std::fs;
use std::sync::Arc;

use drift_engine::lock::Backend;
use driftlock::explore::case::Options;
use driftlock::explore::overlap::overlap;
use driftlock::explore::postgres::PgWorld;
use driftlock::explore::postgres::site::Site;
use driftlock::explore::rules::ScriptRules;
use driftlock::explore::search::Strategy;
use driftlock::provision::{PostgresChoice, Profile, RunName, Server, StartOptions};
use driftlock::scenario::script::Overlap;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::command::driftlock;
use super::generated::script as script_of;
use super::reduction::environment;

/// Two statements that look before they insert; what the case expects is to be put in.
fn script(expected: &str, steps: &str) -> String {
    format!(
        r#"
name = "pair"
summary = "Two insert what is not there."
setup = "CREATE TABLE t (v integer NOT NULL, once integer UNIQUE); CREATE TABLE l (id integer); INSERT INTO l VALUES (1)"
[[actor]]
name = "a"
steps = [{steps}]
[[actor]]
name = "b"
steps = [{steps}]
[[invariant]]
name = "once"
sql = "SELECT v FROM t GROUP BY v HAVING count(*) > 1"
[[case]]
backend = "postgres"
{expected}
"#
    )
}

const LOOKS: &str = r#""INSERT INTO t (v) SELECT 1 WHERE NOT EXISTS (SELECT FROM t WHERE v = 1)""#;

/// Explores a script: the code, and what was said.
fn explore(text: &str, more: &[&str]) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("pair.toml"), text).unwrap();
    let arguments = ["explore", "pair.toml", "--postgres", "local", "--output", "out"];
    driftlock(directory.path(), &[&arguments, more].concat())
}

#[test]
fn what_no_order_of_whole_statements_shows_is_found_where_they_run_at_the_same_time() {
    let (code, said) = explore(&script("", LOOKS), &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("exhausted at statement granularity: 2 executions"), "{said}");
    let (code, said) = explore(&script("", LOOKS), &["--overlap", "a.1,b.1", "--overlap-tries", "5000"]);
    assert_eq!(code, Some(1), "{said}");
    let (code, json) =
        explore(&script("", LOOKS), &["--overlap", "a.1,b.1", "--overlap-tries", "5000", "--format", "json"]);
    assert_eq!(code, Some(1), "{json}");
    let json: serde_json::Value = serde_json::from_str(&json[..json.rfind('}').unwrap() + 1]).unwrap();
    let shown = &json["results"][0]["overlaps"][0]["violations"][0];
    assert_eq!((&shown["check"], &shown["together"]), (&"once".into(), &0.into()), "{json}");
    assert_eq!(shown["steps"].as_array().unwrap().len(), 2, "{json}");
    for part in ["∥ 1", "∥ 2", "∥: at the same time, by the server's clock: ", "VIOLATION OF ONCE"] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}

#[test]
fn a_pass_is_bounded_and_what_only_chance_finds_is_not_missed_for_certain() {
    // It lasts, so that both meet on a busy machine too.
    let safe =
        r#""SELECT count(*) FROM generate_series(1, 20000); INSERT INTO t VALUES (1, 1) ON CONFLICT DO NOTHING""#;
    let overlap = ["--overlap", "a.1,b.1", "--overlap-tries", "50"];
    let (code, said) = explore(&script("", safe), &overlap);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("bounded: a.1 and b.1 were sent together in "), "{said}");
    let (code, said) = explore(&script("violates = \"once\"", safe), &overlap);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("once was not violated, which proves nothing"), "{said}");
    // Without chance it is certain.
    let (code, said) = explore(&script("violates = \"once\"", safe), &[]);
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn what_excludes_each_other_never_ran_at_the_same_time() {
    let steps = format!("\"BEGIN\", \"SELECT id FROM l FOR UPDATE\", {LOOKS}, \"COMMIT\"");
    let (code, said) = explore(&script("", &steps), &["--overlap", "a.3,b.3", "--overlap-tries", "10"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("what was to run at the same time never did"), "{said}");
    assert!(said.contains("sent together in 0 of 10 executions"), "{said}");
}

#[test]
fn one_that_waits_for_the_other_goes_on_when_it_has_ended() {
    let steps = "\"BEGIN\", \"UPDATE l SET id = id + 1 + 0 * (SELECT count(*) FROM generate_series(1, 20000))\", \"INSERT INTO t SELECT id, NULL FROM l\", \"COMMIT\"";
    let (code, said) = explore(&script("", steps), &["--overlap", "a.2,b.2", "--overlap-tries", "30", "--all"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("a.2 and b.2 were sent together in "), "{said}");
}

#[test]
fn mistakes_in_a_pair_are_named() {
    let on_sqlite = script("", LOOKS).replace("\"postgres\"", "\"sqlite\"");
    let (code, said) = explore(&on_sqlite, &["--overlap", "a.1,b.1"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--overlap is for PostgreSQL"), "{said}");
    for (pair, expected) in [
        ("a.1", "and not 1"),
        ("a.1,c.1", "there is no step `c.1`; the steps are a.1, b.1"),
        ("a.1,a.1", "two steps of a cannot overlap"),
    ] {
        let (code, said) = explore(&script("", LOOKS), &["--overlap", pair]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_pair_of_any_script_comes_to_an_end() {
    let scripts = environment("DRIFTLOCK_EXPLORE_SCRIPTS").unwrap_or(12);
    let choice = PostgresChoice::Local;
    let options = StartOptions { choice, pg_bin: None, profile: Profile::Fast, tcp: false };
    let server = Server::start(&options, &RunName::new("pairs").unwrap(), &CancellationToken::new()).await.unwrap();
    let (mut tries, mut together, mut in_flight, mut waits) = (0, 0, 0, 0);
    for seed in 1..=scripts {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let script = Arc::new(script_of(Backend::Postgres, &mut rng));
        let case = script.cases[0].clone();
        let steps = [0, 1].map(|actor| (actor, rng.random_range(0..script.actors[actor].steps.len())));
        let site = Site::make(&server, &format!("pairs_{seed}")).await.unwrap();
        let mut world = PgWorld::new(site, script.clone(), case.clone()).await.unwrap();
        let options =
            Options { strategy: Strategy::Exhaustive, seed, limit: None, all: true, executions: Arc::default() };
        let of = overlap(
            &mut world,
            ScriptRules::new(&script, &case),
            &script,
            case.violates.as_deref(),
            &[Overlap { steps, tries: 8 }],
            &options,
        )
        .await;
        let of = of.unwrap_or_else(|lost| panic!("seed {seed}: {lost}\n{script:#?}"));
        assert!((8..=80).contains(&of[0].tries), "{:?}", of[0]);
        tries += of[0].tries;
        (together, in_flight) = (together + of[0].together, in_flight + of[0].in_flight);
        for found in &of[0].found {
            let pair = &found.found.execution.taken[found.at..found.at + 2];
            assert!(pair.iter().all(|taken| steps.contains(&(taken.actor, taken.step))), "seed {seed}: {pair:?}");
            waits += u32::from(pair.iter().any(|taken| taken.waits()));
        }
        world.close().await.unwrap();
    }
    server.stop().await.unwrap();
    eprintln!("{together} of {tries} were sent together, {in_flight} in flight, {waits} violations with a wait");
    assert!(together > scripts && in_flight > 0 && in_flight <= together, "{together}, {in_flight}");
}
