//! The reduction reaches exactly what brute force reaches.

use std::sync::Arc;

use drift_engine::lock::Backend;
use driftlock::explore::footprint::Rule;
use driftlock::explore::search::Strategy;
use driftlock::scenario::script::{Script, ScriptActor};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

use super::generated::{rich, script, step};
use super::world::Hosts;

/// How many scripts are generated for each backend: more with `DRIFTLOCK_EXPLORE_SCRIPTS`.
const SCRIPTS: u64 = 12;

pub fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Compares both searches on generated scripts, beginning with a seed; what they came to.
async fn compare(backend: Backend, scripts: u64, seed: u64, make: fn(Backend, &mut ChaCha8Rng) -> Script) {
    let mut hosts = Hosts::start().await;
    let (mut brute, mut reduced, mut several, mut left_out) = (0, 0, 0, 0);
    let mut wrong = Vec::new();
    for number in 0..scripts {
        let mut rng = ChaCha8Rng::seed_from_u64(seed + number);
        let script = Arc::new(make(backend, &mut rng));
        let found = hosts.search(&script, &[Strategy::BruteForce, Strategy::Exhaustive]).await;
        let [all, few] = &found[..] else { panic!("two searches") };
        // Where the database itself may choose, neither search has seen all.
        if all.searched.otherwise > 0 || few.searched.otherwise > 0 {
            eprintln!("seed {}: the database chose otherwise", seed + number);
            left_out += 1;
            continue;
        }
        let difference: Vec<_> = all.outcomes.symmetric_difference(&few.outcomes).collect();
        if !difference.is_empty() {
            let actors: Vec<_> =
                script.actors.iter().map(|a| a.steps.iter().map(|step| &step.sql).collect::<Vec<_>>()).collect();
            wrong.push(format!("seed {}: {difference:#?}\n{actors:#?}", seed + number));
        }
        brute += all.searched.executions;
        reduced += few.searched.executions;
        several += u64::from(all.outcomes.len() > 1);
    }
    eprintln!(
        "{backend}: {scripts} scripts from seed {seed}, {brute} orders, {reduced} executions, {several} with several \
         outcomes, {left_out} left out"
    );
    hosts.stop().await;
    assert!(wrong.is_empty(), "{} scripts:\n{}", wrong.len(), wrong.join("\n"));
    assert!(reduced < brute, "nothing was reduced");
    assert!(several * 6 > scripts, "too many scripts have one outcome only");
    assert!(left_out * 10 <= scripts, "too many scripts were left out");
}

fn wanted(backend: Backend) -> (Backend, u64, u64) {
    let scripts = environment("DRIFTLOCK_EXPLORE_SCRIPTS").unwrap_or(SCRIPTS);
    (backend, scripts, environment("DRIFTLOCK_EXPLORE_SEED").unwrap_or(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_the_reduction_loses_no_outcome() {
    let (backend, scripts, seed) = wanted(Backend::Postgres);
    compare(backend, scripts, seed, script).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_the_reduction_loses_no_outcome() {
    let (backend, scripts, seed) = wanted(Backend::Sqlite);
    compare(backend, scripts, seed, script).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_everything_that_postgresql_can_do_the_reduction_loses_no_outcome() {
    let (backend, scripts, seed) = wanted(Backend::Postgres);
    compare(backend, scripts, seed, rich).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_everything_that_sqlite_can_do_the_reduction_loses_no_outcome() {
    let (backend, scripts, seed) = wanted(Backend::Sqlite);
    compare(backend, scripts, seed, rich).await;
}

/// Each rule for what may not be exchanged is left out once, and an outcome is missed: so whoever compares outcomes
/// notices it. Of SERIALIZABLE no two steps are known that the other rules let pass; its rule is a margin.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_is_missing_is_noticed() {
    const BEGIN: &str = "BEGIN";
    const COMMIT: &str = "COMMIT";
    let makes = "DO $$BEGIN EXECUTE 'CREATE TABLE made (x int)'; END$$";
    let tries = "SELECT pg_try_advisory_xact_lock(7)";
    let excludes = "LOCK TABLE a IN ACCESS EXCLUSIVE MODE";
    let shares = "LOCK TABLE a IN ACCESS SHARE MODE NOWAIT";
    let locks = "SELECT v FROM a WHERE id = 1 FOR UPDATE SKIP LOCKED";
    let update = "UPDATE a SET v = v + 1 WHERE id = 1";
    let count = "SELECT count(*) FROM b";
    let snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ";
    let insert = "INSERT INTO b VALUES (2, 1)";
    let kinds: [(Rule, &[&str], &[&str]); 8] = [
        (Rule::Everything, &[makes], &["SELECT count(*) FROM pg_class WHERE relname = 'made'"]),
        (Rule::Advisory, &[BEGIN, tries, COMMIT], &[tries]),
        (Rule::Snapshot, &[snapshot, "SELECT count(*) FROM a", count, COMMIT], &[insert]),
        (Rule::ReadWrite, &[insert], &[count]),
        (Rule::LockLock, &[BEGIN, locks, COMMIT], &[locks]),
        (Rule::LockWrite, &[BEGIN, update, COMMIT], &[locks]),
        (Rule::WriteWrite, &[update], &["UPDATE a SET v = v * 2"]),
        (Rule::Exclusive, &[BEGIN, shares, COMMIT], &[BEGIN, excludes, COMMIT]),
    ];
    let mut hosts = Hosts::start().await;
    for (rule, first, second) in kinds {
        let actor = |name: &str, steps: &[&str]| ScriptActor {
            name: name.to_owned(),
            steps: (1..).zip(steps).map(|(n, sql)| step(n, (*sql).to_owned())).collect(),
            ..ScriptActor::default()
        };
        let mut script = script(Backend::Postgres, &mut ChaCha8Rng::seed_from_u64(1));
        script.actors = vec![actor("first", first), actor("second", second)];
        let others: Vec<Rule> = Rule::ALL.into_iter().filter(|one| *one != rule).collect();
        let (brute, all) = ((Strategy::BruteForce, Rule::ALL.to_vec()), (Strategy::Exhaustive, Rule::ALL.to_vec()));
        let searches = [brute, all, (Strategy::Exhaustive, others)];
        let found = hosts.search_by(&Arc::new(script), &searches).await;
        assert_eq!(found[0].outcomes, found[1].outcomes, "{rule:?}");
        assert!(found[2].outcomes.len() < found[1].outcomes.len(), "nothing notices that {rule:?} is missing");
    }
    hosts.stop().await;
}

/// A transaction that goes on after ROLLBACK TO still touches what it touches.
#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_rollback_to_a_savepoint_is_not_overlooked() {
    let mut script = script(Backend::Postgres, &mut ChaCha8Rng::seed_from_u64(1));
    let actor = |name: &str, steps: &[&str]| ScriptActor {
        name: name.to_owned(),
        steps: (1..).zip(steps).map(|(n, sql)| step(n, (*sql).to_owned())).collect(),
        goes_on: true,
        ..ScriptActor::default()
    };
    let add = "UPDATE a SET v = v + 1 WHERE id = 1";
    let lock = "SELECT v FROM a WHERE id = 1 FOR UPDATE NOWAIT";
    script.actors = vec![
        actor("savepoint", &["BEGIN; SAVEPOINT s", "SELECT 1 / 0", "ROLLBACK TO s", add, "COMMIT"]),
        actor("other", &["BEGIN", lock, "COMMIT"]),
    ];
    let mut hosts = Hosts::start().await;
    let found = hosts.search(&Arc::new(script), &[Strategy::BruteForce, Strategy::Exhaustive]).await;
    assert_eq!(found[0].outcomes, found[1].outcomes);
    // The lock comes before the change, while it is there, or after its COMMIT.
    assert_eq!(found[0].outcomes.len(), 3);
    hosts.stop().await;
}
