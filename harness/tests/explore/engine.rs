//! The engine's protocol, every order of its operations.

use std::sync::Arc;

use std::collections::BTreeSet;

use drift_engine::lock::{Backend, LockStrategy};
use driftlock::check::CheckName;
use driftlock::explore::case::Options;
use driftlock::explore::course::Names;
use driftlock::explore::engine::rules::explore_engine;
use driftlock::explore::engine::{EngineWorld, case};
use driftlock::explore::judge::Limit;
use driftlock::explore::reached::Reached;
use driftlock::explore::search::{Coverage, Strategy};
use driftlock::fixture::{Databases, Host};
use driftlock::mutant;
use driftlock::provision::{Journal, PostgresChoice, Profile, RunName, Server, SqliteFiles, StartOptions};
use driftlock::report::explored;
use driftlock::setting::Setting;
use tokio_util::sync::CancellationToken;

async fn databases(backend: Backend) -> Databases {
    let host = match backend {
        Backend::Sqlite => Host::Sqlite(SqliteFiles::create(Journal::Wal).await.unwrap()),
        Backend::Postgres => {
            let choice = PostgresChoice::Local;
            let options = StartOptions { choice, pg_bin: None, profile: Profile::Fast, tcp: false };
            let name = RunName::new("explore").unwrap();
            let server = Server::start(&options, &name, &CancellationToken::new()).await.unwrap();
            Host::Postgres(Box::new(server))
        }
    };
    Databases::new(host).await.unwrap()
}

fn options(limit: Limit) -> Options {
    Options { strategy: Strategy::Exhaustive, seed: 1, limit: Some(limit), all: false, executions: Arc::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tasks_are_exhausted_and_sound_on_both_databases() {
    for backend in Backend::ALL {
        let mut databases = databases(backend).await;
        let strategy = backend.default_strategy();
        let mut world = EngineWorld::new(&mut databases, Setting::same_run(strategy, 2)).await.unwrap();
        let options = options(Limit::Executions(10_000));
        let (explored, rules, _) = explore_engine(&mut world, "two", None, &options).await.unwrap();
        drop(world);
        assert!(explored.found.is_empty(), "{:?}", explored.found);
        assert_eq!(explored.searched.coverage, Coverage::Exhausted);
        assert!(explored.waited > 0 && explored.searched.executions > 1);
        assert!(rules.tallies[&CheckName::NoDuplicates].passed > 0, "{:?}", rules.tallies);
        databases.stop().await.unwrap();
    }
}

/// The reduced search reaches what brute force does, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn the_reduced_search_reaches_every_end_of_brute_force() {
    let mut databases = databases(Backend::Postgres).await;
    let mut ends = Vec::new();
    for strategy in [Strategy::Exhaustive, Strategy::BruteForce] {
        let rewrite = mutant::ALL.iter().find(|mutant| mutant.name == "for-share").map(|mutant| mutant.rewrite);
        let setting = Setting { rewrite, ..Setting::same_run(LockStrategy::Row, 2) };
        let mut world = EngineWorld::new(&mut databases, setting).await.unwrap();
        let options = Options { strategy, all: true, ..options(Limit::Executions(100_000)) };
        let (explored, ..) = explore_engine(&mut world, "ends", None, &options).await.unwrap();
        assert_eq!(explored.searched.coverage, Coverage::Exhausted);
        let found: BTreeSet<String> = explored.found.iter().map(|found| found.check.clone()).collect();
        let outcome = |reached: &Reached| {
            let row = reached.row(&Names::default());
            serde_json::to_string(&(row.steps, row.stuck, row.end)).unwrap()
        };
        let outcomes: BTreeSet<String> = explored.outcomes.iter().map(outcome).collect();
        ends.push((outcomes, found, explored.searched.executions));
    }
    let [reduced, all] = &ends[..] else { panic!() };
    assert_eq!((&reduced.0, &reduced.1), (&all.0, &all.1));
    assert!(reduced.2 < all.2 && !reduced.1.is_empty(), "{} of {}", reduced.2, all.2);
    databases.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mutant_is_found_by_the_check_that_must_notice_it() {
    let mut survivors = Vec::new();
    for backend in Backend::ALL {
        let mut databases = databases(backend).await;
        for case in case::all().into_iter().filter(|case| case.backend == backend) {
            let Some(violates) = case.violates else { continue };
            let mut found = None;
            for setting in &case.settings {
                let mut world = EngineWorld::new(&mut databases, setting.clone()).await.unwrap();
                let options = options(Limit::Executions(2_000));
                let (explored, _, confirmed) =
                    explore_engine(&mut world, &case.name, case.violates, &options).await.unwrap();
                if explored.found.iter().any(|found| found.check == violates.to_string()) {
                    assert!(world.altered > 0);
                    found = Some(confirmed);
                    break;
                }
            }
            let Some(confirmed) = found else {
                survivors.push(case.name);
                continue;
            };
            let first = &confirmed[0];
            assert_eq!(first.found.check, violates.to_string());
            let mut text = Vec::new();
            explored::counterexample(&first.script, &first.found, first.until, &mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            assert!(first.until <= 12, "{}: {} operations\n{text}", case.name, first.until);
            assert!(first.script.actors.len() <= 3);
        }
        databases.stop().await.unwrap();
    }
    assert!(survivors.is_empty(), "{survivors:?}");
}

#[test]
fn the_default_strategies_are_those_that_are_explored() {
    assert_eq!(Backend::ALL.map(Backend::default_strategy), [LockStrategy::RowNoKey, LockStrategy::Immediate]);
}
