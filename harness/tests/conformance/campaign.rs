//! Many programs, drawn from a seed, on several databases at once.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use drift_engine::lock::Backend;
use drift_engine::migrate::{self, Limits};
use driftlock::model::rule::{Rule, Rules};
use driftlock::provision::{Journal, PostgresChoice, Profile, RunName, Server, SqliteFiles, StartOptions};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use sqlx::{ConnectOptions, Connection};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::lockstep::{Lane, Tally};
use crate::program::{Program, programs};
use crate::real::Address;

/// How many databases are worked on at once.
pub const LANES: u64 = 2;

/// How many smaller programs are tried once one is found that shows a disagreement.
const SHRINK_STEPS_MAX: u32 = 1_000;

/// Where the databases are: dropping it removes them.
type Host = Box<dyn std::any::Any>;

/// The databases of one backend, one for each lane.
pub struct Databases {
    backend: Backend,
    addresses: Vec<Address>,
    _host: Host,
    _runtime: Runtime,
}

/// What came of a campaign.
pub struct Campaign {
    pub tally: Tally,
    pub took: Duration,
    /// The first disagreement that was found, shrunk, and the program that shows it.
    pub disagreement: Option<(String, Option<Program>)>,
    /// The rules that could be broken without any program showing it.
    pub unnoticed: Vec<Rule>,
}

type End = (Lane, Option<(String, Option<Program>)>);

impl Databases {
    pub fn new(backend: Backend) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let (addresses, host) = match backend {
            Backend::Postgres => runtime.block_on(postgres()),
            Backend::Sqlite => runtime.block_on(sqlite()),
        };
        Self { backend, addresses, _host: host, _runtime: runtime }
    }

    /// Runs `programs_max` programs drawn from `seed`, or fewer if the two disagree; looks out for
    /// programs that show what breaking each of `broken` does.
    pub fn run(&self, rules: Rules, broken: &[Rule], seed: u64, programs_max: u64) -> Campaign {
        #[expect(clippy::disallowed_methods, reason = "how fast it goes is reported, and decides nothing")]
        let start = Instant::now();
        let share = |lane: u64| programs_max / LANES + u64::from(lane < programs_max % LANES);
        let is_over = AtomicBool::new(false);
        let ends: Vec<End> = std::thread::scope(|scope| {
            let lanes: Vec<_> = (0..LANES)
                .zip(&self.addresses)
                .map(|(number, address)| {
                    let mut lane = Lane::new(address.clone(), rules);
                    lane.unnoticed = broken.to_vec();
                    let (backend, is_over) = (self.backend, &is_over);
                    scope.spawn(move || run_lane(backend, lane, [seed, number], share(number), is_over))
                })
                .collect();
            lanes.into_iter().map(|lane| lane.join().expect("a lane does not panic")).collect()
        });
        let mut tally = Tally::default();
        ends.iter().for_each(|(lane, _)| tally += lane.tally);
        let is_unnoticed = |rule: &Rule| ends.iter().all(|(lane, _)| lane.unnoticed.contains(rule));
        let unnoticed = broken.iter().copied().filter(is_unnoticed).collect();
        let disagreement = ends.into_iter().find_map(|(_, disagreement)| disagreement);
        Campaign { tally, took: start.elapsed(), disagreement, unnoticed }
    }

    /// Runs one program with every rule in place; takes out of `unnoticed` the rules that it notices broken.
    ///
    /// # Errors
    /// How the two disagree, for people.
    pub fn try_one(&self, program: &Program, unnoticed: &mut Vec<Rule>) -> Result<(), String> {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut lane = Lane::new(self.addresses[0].clone(), Rules::default());
        lane.unnoticed = std::mem::take(unnoticed);
        runtime.block_on(async {
            let result = lane.run(program).await;
            lane.close().await;
            *unnoticed = lane.unnoticed;
            result
        })
    }
}

fn run_lane(backend: Backend, lane: Lane, [seed, number]: [u64; 2], programs_max: u64, is_over: &AtomicBool) -> End {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    let config = Config {
        cases: u32::try_from(programs_max).unwrap_or(u32::MAX),
        failure_persistence: None,
        max_shrink_iters: SHRINK_STEPS_MAX,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let (lane, has_failed) = (RefCell::new(lane), Cell::new(false));
    let ended = TestRunner::new_with_rng(config, rng).run(&programs(backend), |program| {
        if is_over.load(Ordering::Relaxed) && !has_failed.get() {
            return Ok(());
        }
        runtime.block_on(lane.borrow_mut().run(&program)).map_err(|disagreement| {
            has_failed.set(true);
            is_over.store(true, Ordering::Relaxed);
            TestCaseError::fail(disagreement)
        })
    });
    let mut lane = lane.into_inner();
    runtime.block_on(lane.close());
    let disagreement = match ended {
        Ok(()) => None,
        Err(TestError::Fail(reason, program)) => Some((format!("{reason}\nprogram:  {program:?}\n"), Some(program))),
        Err(TestError::Abort(reason)) => Some((format!("the programs could not be run: {reason}"), None)),
    };
    (lane, disagreement)
}

async fn postgres() -> (Vec<Address>, Host) {
    let (choice, profile) = (PostgresChoice::Auto, Profile::Fast);
    let options = StartOptions { choice, pg_bin: None, profile, tcp: false };
    let run = RunName::new("conformance").expect("a name");
    let server = Server::start(&options, &run, &CancellationToken::new()).await.expect("a PostgreSQL to compare with");
    let schema = server.create_database("schema", None).await.expect("a database");
    let mut connection = server.connect_options(&schema).connect().await.expect("a connection");
    migrate::postgres::apply(&mut connection, None, &Limits::default()).await.expect("the schema");
    connection.close().await.expect("a template is left alone");
    let mut addresses = Vec::new();
    for lane in 0..LANES {
        let database = server.create_database(&format!("lane{lane}"), Some(&schema)).await.expect("a copy");
        addresses.push(Address::Postgres(server.connect_options(&database)));
    }
    (addresses, Box::new(server))
}

async fn sqlite() -> (Vec<Address>, Host) {
    let files = SqliteFiles::create(Journal::Wal).await.expect("a directory");
    let mut addresses = Vec::new();
    for lane in 0..LANES {
        let database = files.create_database(&format!("lane{lane}"), None).await.expect("a file");
        let options = files.connect_options(&database).pragma("synchronous", "off");
        let mut connection = options.connect().await.expect("a connection");
        migrate::sqlite::apply(&mut connection, None, &Limits::default()).await.expect("the schema");
        connection.close().await.expect("the file is closed");
        addresses.push(Address::Sqlite(options));
    }
    (addresses, Box::new(files))
}
