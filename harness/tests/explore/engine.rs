//! The engine's protocol, every order of its operations.

use std::time::Duration;

use drift_engine::lock::{Backend, LockStrategy};
use driftlock::explore::engine::EngineWorld;
use driftlock::explore::engine::judge::explore;
use driftlock::explore::search::{Coverage, Strategy};
use driftlock::mutant;
use driftlock::provision::{Journal, PostgresChoice, Profile, RunName, Server, SqliteFiles, StartOptions};
use driftlock::report::counterexample;
use driftlock::setting::Setting;
use driftlock::setting::provoking::{Plan, plan};
use driftlock::verify::databases::{Databases, Host};
use tokio::time::Instant;
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

#[tokio::test(flavor = "multi_thread")]
async fn two_tasks_are_exhausted_and_sound_on_both_databases() {
    for backend in Backend::ALL {
        let mut databases = databases(backend).await;
        let strategy = backend.default_strategy();
        let mut world = EngineWorld::new(&mut databases, Setting::same_run(strategy, 2)).await.unwrap();
        let explored = explore(&mut world, Strategy::Exhaustive, None, None).await.unwrap();
        drop(world);
        eprintln!("{backend}: {:?}, waited in {}, outcomes {}", explored.searched, explored.waited, explored.outcomes);
        assert!(explored.violations.is_empty(), "{:?}", explored.violations);
        assert_eq!(explored.searched.coverage, Coverage::Exhausted);
        assert!(explored.waited > 0 && explored.searched.executions > 1);
        databases.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mutant_is_found_by_the_check_that_must_notice_it() {
    let mut survivors = Vec::new();
    for backend in Backend::ALL {
        let mut databases = databases(backend).await;
        for mutant in mutant::ALL {
            let Some(Plan::Explore { settings, by }) = plan(mutant, backend) else { continue };
            let mut found = None;
            let mut executions = 0;
            for setting in settings {
                let mut world = EngineWorld::new(&mut databases, setting).await.unwrap();
                let until = Some(Instant::now() + Duration::from_secs(60));
                let explored = explore(&mut world, Strategy::Exhaustive, Some(by), until).await.unwrap();
                executions += explored.searched.executions;
                if !explored.violations.is_empty() {
                    assert!(explored.altered > 0);
                    found = Some(explored.violations);
                    break;
                }
            }
            match found {
                None => survivors.push(format!("{} on {backend} after {executions}", mutant.name)),
                Some(violations) => {
                    let mut text = Vec::new();
                    counterexample::render(&violations[0], 150, &mut text).unwrap();
                    eprintln!("{} on {backend}: execution {executions}\n{}", mutant.name, String::from_utf8(text).unwrap());
                    assert!(violations[0].steps.len() <= 12);
                }
            }
        }
        databases.stop().await.unwrap();
    }
    assert!(survivors.is_empty(), "{survivors:?}");
}

#[test]
fn the_default_strategies_are_those_that_are_explored() {
    assert_eq!(Backend::ALL.map(Backend::default_strategy), [LockStrategy::RowNoKey, LockStrategy::Immediate]);
}
