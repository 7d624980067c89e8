//! How many executions `explore` makes in a second: of the search alone, over a world that does
//! nothing, and of a script on the real databases. The elements are executions.

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use drift_engine::lock::Backend;
use driftlock::explore::footprint::Footprint;
use driftlock::explore::postgres::PgWorld;
use driftlock::explore::postgres::site::Site;
use driftlock::explore::rules::queries;
use driftlock::explore::search::{Execution, Go, Strategy, Visitor, search};
use driftlock::explore::sqlite::SqliteWorld;
use driftlock::explore::world::{Choice, Done, Ended, Event, Lost, Taken, What, World};
use driftlock::provision::{Journal, PostgresChoice, Profile, RunName, Server, SqliteFiles, StartOptions};
use driftlock::scenario::script::Script;
use driftlock::scenario::shipped::SCRIPTS;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// The script that is explored.
const SCRIPT: &str = "scenarios/explore/lock-protocol.toml";
/// The steps of each of two actors of the world that does nothing: 252 orders.
const STEPS: usize = 5;

/// Two actors whose steps do nothing, and are taken to touch everything.
struct Idle {
    next: [usize; 2],
}

impl World for Idle {
    async fn reset(&mut self) -> Result<(), Lost> {
        self.next = [0; 2];
        Ok(())
    }

    fn enabled(&self) -> Vec<usize> {
        (0..2).filter(|actor| self.next[*actor] < STEPS).collect()
    }

    async fn take(&mut self, choice: Choice, _last: Option<&Taken>) -> Result<Taken, Lost> {
        let (actor, step) = (choice.actor, self.next[choice.actor]);
        self.next[actor] += 1;
        let events = vec![Event::new(actor, step, What::Done(Done::default()))];
        Ok(Taken::new(choice, step, events, Footprint::everything(), false))
    }

    async fn finish(&mut self, _queries: &[String]) -> Result<Ended, Lost> {
        Ok(Ended { stuck: Vec::new(), answers: Vec::new() })
    }
}

/// Looks at nothing.
struct Blind;

impl<W: World> Visitor<W> for Blind {
    async fn visit(&mut self, _world: &mut W, _execution: Execution) -> Result<Go, Lost> {
        Ok(Go::On)
    }

    fn is_over(&self, _executions: u64) -> Option<String> {
        None
    }
}

/// Benches searches of a world; all of them make the same number of executions.
fn searched<W: World>(c: &mut Criterion, runtime: &Runtime, name: &str, world: &mut W, script: Option<&Script>) {
    let asked = script.map(queries).unwrap_or_default();
    let strategy = if script.is_some() { Strategy::Exhaustive } else { Strategy::BruteForce };
    let once = |world: &mut W| runtime.block_on(search(world, strategy, 1, &asked, &mut Blind)).expect("it is there");
    let executions = once(world).executions;
    let mut group = c.benchmark_group("executions");
    group.sample_size(10).throughput(Throughput::Elements(executions));
    group.bench_function(name, |b| b.iter(|| once(world)));
    group.finish();
}

fn explore(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    searched(c, &runtime, "nothing", &mut Idle { next: [0; 2] }, None);
    let shipped = SCRIPTS.iter().find(|shipped| shipped.path == SCRIPT).expect("it is shipped");
    let script = Arc::new(shipped.script());
    let case = |backend| script.cases.iter().find(|case| case.backend == backend).expect("it has one").clone();

    let files = runtime.block_on(SqliteFiles::create(Journal::Wal)).expect("a directory");
    let [database, keep] =
        ["explore", "keep"].map(|name| runtime.block_on(files.create_database(name, None)).expect("a file"));
    let (options, keep) = (files.connect_options(&database), keep.path().display().to_string());
    let world = SqliteWorld::new(options, &keep, script.clone(), case(Backend::Sqlite));
    let mut world = runtime.block_on(world).expect("a world");
    searched(c, &runtime, "sqlite", &mut world, Some(&script));

    let options = StartOptions { choice: PostgresChoice::Local, pg_bin: None, profile: Profile::Fast, tcp: false };
    let name = RunName::new(&format!("criterion-explore-{}", std::process::id())).expect("a name");
    let server = runtime.block_on(Server::start(&options, &name, &CancellationToken::new())).expect("a server");
    let site = runtime.block_on(Site::make(&server, "explore")).expect("a database");
    let world = PgWorld::new(site, script.clone(), case(Backend::Postgres));
    let mut world = runtime.block_on(world).expect("a world");
    searched(c, &runtime, "postgres", &mut world, Some(&script));
    drop(world);
    runtime.block_on(server.stop()).expect("it is stopped");
}

criterion_group!(benches, explore);
criterion_main!(benches);
