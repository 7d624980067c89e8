//! One recompute of 100,000 claims of one customer, 50 pairs of payer and group: how long it takes, and
//! how much of that is the database and how much is ours. The databases are throw-away ones that flush.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use drift_engine::claim::{Claim, CustomerId};
use drift_engine::lock::Backend;
use driftlock::capacity::alarm::Alarm;
use driftlock::capacity::drive::drive;
use driftlock::capacity::floor::measure;
use driftlock::capacity::job::EngineJob;
use driftlock::capacity::phase::Phase;
use driftlock::capacity::recording::Recording;
use driftlock::clock::Clock;
use driftlock::fixture::Databases;
use driftlock::load::row::Row;
use driftlock::scenario::Scenario;
use driftlock::scenario::data;
use driftlock_benches::{host, load};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const CLAIMS: u32 = 100_000;
const PAYERS: usize = 10;
const GROUPS: usize = 5;
/// How long a load is on each time, and how long both sides of it are measured in turns.
const LOADED: Duration = Duration::from_secs(2);

const SCENARIO: &str = r#"
name = "recompute-large"
summary = "One customer with many claims."
checks = ["no-duplicates"]
[tasks]
count = 1
workers = 1
"#;

/// The claims, dealt out to the pairs.
fn claims(scenario: &Scenario) -> Vec<Row> {
    let windows = scenario.data.windows().expect("in the calendar");
    let dealt = |(index, claim): (usize, Claim)| {
        let payer = format!("payer-{}", index % PAYERS).into();
        let cpt_group = format!("group-{}", index / PAYERS % GROUPS).into();
        Row { customer: "customer-1".into(), claim: Claim { payer, cpt_group, ..claim } }
    };
    data::claims(1, windows, CustomerId(1), CLAIMS).enumerate().map(dealt).collect()
}

/// What of a task that is alone is spent in operations, and what between them.
fn say(backend: Backend, recording: &Recording) {
    let millis = |phase| recording.mean(phase).unwrap_or(0.0) / 1e6;
    let operations: f64 =
        [Phase::Begin, Phase::LockWait, Phase::Read, Phase::Write, Phase::Commit].into_iter().map(millis).sum();
    let whole = millis(Phase::Response);
    let said = writeln!(
        std::io::stdout(),
        "{backend}: a task {whole:.2} ms: operations {operations:.2} ms ({:.1} %), of which the read {:.2} ms; between \
         them {:.2} ms ({:.1} %)",
        operations / whole * 100.0,
        millis(Phase::Read),
        whole - operations,
        (whole - operations) / whole * 100.0
    );
    said.expect("somebody reads it");
}

fn recompute(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let scenario = Scenario::parse(Path::new("recompute-large.toml"), SCENARIO.as_bytes()).expect("it is sound");
    let scenario = Arc::new(scenario);
    let mut group = c.benchmark_group("100,000 claims");
    group.sample_size(10);
    for backend in Backend::ALL {
        let mut databases =
            runtime.block_on(async { Databases::new(host(backend, "criterion-large").await).await.expect("a schema") });
        let copy = runtime.block_on(databases.with_claims(&scenario.session, claims(&scenario)));
        let copy = copy.expect("the claims are loaded");
        let clock = Clock::start();
        let alarm = Arc::new(Alarm::start(clock.clone()).expect("a thread"));
        let job = Arc::new(EngineJob {
            database: copy.database.clone(),
            scenario: scenario.clone(),
            strategy: backend.default_strategy(),
            round_trip_added: Duration::ZERO,
            clock: clock.clone(),
            alarm: alarm.clone(),
            seed: 1,
        });
        let (load, never) = (load(1, LOADED), CancellationToken::new());
        let driven = || runtime.block_on(drive(job.clone(), &load, &clock, &alarm, &never)).expect("it is there");
        driven();
        say(backend, &driven().recording);
        if let Some(config) = databases.config(&copy).expect("an address") {
            let floor = runtime.block_on(measure(&job, &config, LOADED)).expect("it is there").expect("it is done");
            let part = |nanos: f64| nanos.max(0.0) / floor.engine * 100.0;
            let said = writeln!(
                std::io::stdout(),
                "{backend}: in the lock {:.2} ms: the database {:.2} ms ({:.1} %), ours {:.1} % (driver and decoding \
                 {:.1} %, computing {:.1} %)",
                floor.engine / 1e6,
                floor.database / 1e6,
                part(floor.database),
                part(floor.engine - floor.database),
                part(floor.operations - floor.database),
                part(floor.engine - floor.operations)
            );
            said.expect("somebody reads it");
        }
        group.bench_function(backend.to_string(), |b| {
            b.iter_custom(|iterations| {
                let driven = driven();
                let seconds = driven.generator.wall_seconds / driven.recording.tasks().max(1) as f64;
                Duration::from_secs_f64(seconds * iterations as f64)
            });
        });
        runtime.block_on(databases.discard(copy)).expect("it is dropped");
        runtime.block_on(databases.stop()).expect("it is stopped");
    }
    group.finish();
}

criterion_group!(benches, recompute);
criterion_main!(benches);
