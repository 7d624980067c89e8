//! How long one recompute takes from its beginning to its end: by strategy and backend, alone and with
//! eight tasks that contend for one customer. The databases are throw-away ones that flush.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use drift_engine::lock::{Backend, LockStrategy};
use driftlock::capacity::alarm::Alarm;
use driftlock::capacity::drive::drive;
use driftlock::capacity::job::EngineJob;
use driftlock::clock::Clock;
use driftlock::fixture::Databases;
use driftlock::scenario::Scenario;
use driftlock_benches::{host, load};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// How many tasks contend.
const CONTENDERS: u32 = 8;
/// How long a load is on each time.
const LOADED: Duration = Duration::from_millis(300);

const SCENARIO: &str = r#"
name = "recompute"
summary = "One customer with the usual claims."
checks = ["no-duplicates"]
[tasks]
count = 8
workers = 8
"#;

fn recompute(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let scenario = Arc::new(Scenario::parse(Path::new("recompute.toml"), SCENARIO.as_bytes()).expect("it is sound"));
    let mut group = c.benchmark_group("one recompute");
    group.sample_size(10);
    for backend in Backend::ALL {
        let mut databases =
            runtime.block_on(async { Databases::new(host(backend, "criterion").await).await.expect("a schema") });
        let template = runtime.block_on(databases.template(&scenario, 1)).expect("the claims are loaded");
        for strategy in LockStrategy::ALL.into_iter().filter(|strategy| strategy.backend() == backend) {
            for workers in [1, CONTENDERS] {
                let copy = runtime.block_on(databases.copy(&template, &scenario)).expect("a copy");
                let clock = Clock::start();
                let alarm = Arc::new(Alarm::start(clock.clone()).expect("a thread"));
                let job = Arc::new(EngineJob {
                    database: copy.database.clone(),
                    scenario: scenario.clone(),
                    strategy,
                    round_trip_added: Duration::ZERO,
                    clock: clock.clone(),
                    alarm: alarm.clone(),
                    seed: 1,
                });
                // Criterion asks for a number of tasks: as many as that are done, and what they took is scaled.
                group.bench_function(format!("{strategy}/{workers}"), |b| {
                    b.iter_custom(|iterations| {
                        let (load, never) = (load(workers, LOADED), CancellationToken::new());
                        let driven = runtime
                            .block_on(drive(job.clone(), &load, &clock, &alarm, &never))
                            .expect("the database is there");
                        let tasks = driven.recording.tasks().max(1);
                        let seconds = driven.generator.wall_seconds / tasks as f64;
                        Duration::from_secs_f64(seconds * iterations as f64)
                    });
                });
                runtime.block_on(databases.discard(copy)).expect("it is dropped");
            }
        }
        runtime.block_on(databases.stop()).expect("it is stopped");
    }
    group.finish();
}

criterion_group!(benches, recompute);
criterion_main!(benches);
