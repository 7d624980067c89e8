//! What is said to be harmless, run and found so.

use std::time::Duration;

use drift_engine::lock::{Backend, LockStrategy};
use driftlock::check::CheckName;
use driftlock::fixture::{Databases, Host};
use driftlock::mutant::{self, Mutant, SchemaChange, Stance};
use driftlock::outcome::{ResultRow, VerdictKind};
use driftlock::provision::{Journal, PostgresChoice, Profile, RunName, Server, SqliteFiles, StartOptions};
use driftlock::scenario::Scenario;
use driftlock::scenario::shipped::{SHIPPED, Shipped};
use driftlock::verify::execute::execute;
use driftlock::verify::judge::judge;
use driftlock::verify::plan::Case;
use tokio_util::sync::CancellationToken;

fn scenario(name: &str) -> Scenario {
    SHIPPED.iter().map(Shipped::scenario).find(|scenario| scenario.name == name).unwrap()
}

/// Runs a mutant where its stance says, for at most two minutes, and has it judged.
async fn run(mutant: &Mutant, backend: Backend, host: Host) -> ResultRow {
    let Stance::Runs { scenario: name, strategy, .. } = mutant.on(backend) else { panic!("{} runs", mutant.name) };
    let scenario = scenario(name);
    let case = Case { scenario: &scenario, backend, strategy, seed: 1, mutant: Some(mutant) };
    let work = async {
        let mut databases = Databases::new(host).await.unwrap();
        let template = databases.template(&scenario, case.seed).await.unwrap();
        let copy = databases.copy(&template, &scenario).await.unwrap();
        let executed = execute(&case, copy.database.clone(), template.base.clone()).await.unwrap();
        databases.stop().await.unwrap();
        judge(&case, &executed, Duration::ZERO).row
    };
    tokio::time::timeout(Duration::from_secs(120), work).await.expect("it ends in time")
}

/// Every check passes, though what they would have to notice has been done.
fn assert_harmless(row: &ResultRow, unanswered: &[CheckName]) {
    let done = row.mutant.as_ref().unwrap();
    assert!(done.executed >= u64::from(row.tasks), "{}: {done:?}", row.name);
    assert!(done.killed_by.is_empty(), "{}: {done:?} {}", row.name, row.evidence);
    for check in row.checks.iter().filter(|check| !unanswered.contains(&check.name)) {
        assert_eq!(check.verdict, VerdictKind::Pass, "{} {}: {}", row.name, check.name, check.why);
    }
    assert!(row.checks.len() >= unanswered.len() + 3, "{:?}", row.checks);
}

async fn on_sqlite(name: &str, schema: Option<SchemaChange>, strategy: LockStrategy) -> ResultRow {
    let mutant = mutant::ALL.iter().find(|mutant| mutant.name == name).unwrap();
    let Stance::NotApplicable { reason } = mutant.sqlite else { panic!("{name} runs on SQLite") };
    assert!(reason.starts_with("harmless: "), "{reason}");
    let sqlite = Stance::Runs { scenario: "failed-run", strategy, schema, by: CheckName::Accounted };
    let files = SqliteFiles::create(Journal::Wal).await.unwrap();
    run(&Mutant { sqlite, ..*mutant }, Backend::Sqlite, Host::Sqlite(files)).await
}

/// With the lock, and without: then a task begins as a reader, and may find itself stale when it writes.
const LOCKED_AND_NOT: [LockStrategy; 2] = [LockStrategy::Immediate, LockStrategy::Constraint];

#[tokio::test]
async fn on_sqlite_a_caught_violation_is_harmless() {
    for strategy in LOCKED_AND_NOT {
        assert_harmless(&on_sqlite("caught-violation", None, strategy).await, &[]);
    }
}

#[tokio::test]
async fn on_sqlite_a_missing_constraint_is_harmless() {
    for strategy in LOCKED_AND_NOT {
        let row = on_sqlite("no-constraint", Some(SchemaChange::DropConstraint), strategy).await;
        // The protocol as it ships needs the constraint, so that nothing can be recomputed afterwards.
        assert_harmless(&row, &[CheckName::Settled]);
    }
}

#[tokio::test]
async fn on_postgres_a_violation_that_is_caught_in_a_savepoint_is_not_reported() {
    let options = StartOptions { choice: PostgresChoice::Auto, pg_bin: None, profile: Profile::Fast, tcp: false };
    let name = RunName::new("sound").unwrap();
    let server = Server::start(&options, &name, &CancellationToken::new()).await.unwrap();
    let row = run(&mutant::SOUND, Backend::Postgres, Host::Postgres(Box::new(server))).await;
    assert_harmless(&row, &[]);
    assert!(row.evidence.contains(" found the same events there"), "nothing was caught: {}", row.evidence);
}
