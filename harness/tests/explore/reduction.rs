//! The reduction reaches exactly what brute force reaches.

use std::sync::Arc;

use drift_engine::lock::Backend;
use driftlock::explore::search::Strategy;
use driftlock::scenario::script::ScriptActor;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

use super::generated::{script, step};
use super::world::Hosts;

/// How many scripts are generated for each backend: more with `DRIFTLOCK_EXPLORE_SCRIPTS`.
const SCRIPTS: u64 = 12;

pub fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

async fn compare(backend: Backend) {
    let scripts = environment("DRIFTLOCK_EXPLORE_SCRIPTS").unwrap_or(SCRIPTS);
    let seed = environment("DRIFTLOCK_EXPLORE_SEED").unwrap_or(1);
    let mut hosts = Hosts::start().await;
    let (mut brute, mut reduced, mut several) = (0, 0, 0);
    for number in 0..scripts {
        let mut rng = ChaCha8Rng::seed_from_u64(seed + number);
        let script = Arc::new(script(backend, &mut rng));
        let found = hosts.search(&script, &[Strategy::BruteForce, Strategy::Exhaustive]).await;
        let [all, few] = &found[..] else { panic!("two searches") };
        // Where the database itself may choose, neither search has seen all.
        if all.searched.otherwise > 0 || few.searched.otherwise > 0 {
            eprintln!("seed {}: the database chose otherwise", seed + number);
            continue;
        }
        let difference: Vec<_> = all.outcomes.symmetric_difference(&few.outcomes).collect();
        assert!(difference.is_empty(), "seed {}: {difference:#?}\n{script:#?}", seed + number);
        brute += all.searched.executions;
        reduced += few.searched.executions;
        several += u64::from(all.outcomes.len() > 1);
    }
    eprintln!("{backend}: {scripts} scripts, {brute} orders, {reduced} executions, {several} with several outcomes");
    assert!(reduced < brute, "nothing was reduced");
    assert!(several * 3 > scripts, "too many scripts have one outcome only");
    hosts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_the_reduction_loses_no_outcome() {
    compare(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_the_reduction_loses_no_outcome() {
    compare(Backend::Sqlite).await;
}

/// A transaction that goes on after ROLLBACK TO still touches what it touches.
#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_rollback_to_a_savepoint_is_not_overlooked() {
    let mut script = script(Backend::Postgres, &mut ChaCha8Rng::seed_from_u64(1));
    let actor = |name: &str, steps: &[&str]| ScriptActor {
        name: name.to_owned(),
        steps: (1..).zip(steps).map(|(n, sql)| step(n, (*sql).to_owned())).collect(),
        goes_on: true,
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
