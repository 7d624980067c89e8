//! Applications: the reduction loses no outcome of programs whose statements nobody knows beforehand.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use drift_engine::lock::Backend;
use driftlock::explore::application::rules::AppRules;
use driftlock::explore::application::{AppWorld, Looking};
use driftlock::explore::case::compare_serial_runs;
use driftlock::explore::fault::Fault;
use driftlock::explore::judge::Rules;
use driftlock::explore::postgres::site::Site;
use driftlock::explore::search::{Execution, Go, Searched, Strategy, Visitor, search};
use driftlock::explore::volatile::Volatile;
use driftlock::explore::world::{Lost, World};
use driftlock::provision::{PostgresChoice, Profile, RunName, Server, StartOptions};
use driftlock::scenario::application::{AppActor, Application, Job, SetUp};
use driftlock::scenario::script::{FaultKind, Script, ScriptActor, holes};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::generated::rich;
use super::reduction::environment;

/// How many programs are generated: more with `DRIFTLOCK_EXPLORE_APPS`.
const PROGRAMS: u64 = 12;

/// Seeds of programs of which a search once missed an outcome, or saw another course: what a job left in its session, what
/// a session keeps of a sequence, LOCK TABLE that makes a lock stronger.
const ONCE_MISSED: [u64; 3] = [24, 55, 1065];

pub async fn server() -> Server {
    let options = StartOptions { choice: PostgresChoice::Local, pg_bin: None, profile: Profile::Fast, tcp: false };
    Server::start(&options, &RunName::new("explore").unwrap(), &CancellationToken::new()).await.unwrap()
}

/// The example that interprets programs: it is built beside the tests.
pub fn worker() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_driftlock"));
    let worker = path.parent().unwrap().join("examples/worker");
    assert!(worker.exists(), "{} is missing: cargo build -p driftlock --example worker", worker.display());
    worker
}

/// An actor's steps as a program: what they keep decides on some of those that follow.
fn program(actor: &ScriptActor, rng: &mut ChaCha8Rng) -> String {
    let mut kept = false;
    let statement = |step: &driftlock::scenario::script::ScriptStep| {
        let sql = step.sql.replace("{begin}", "BEGIN").replace("{x}", "{v}");
        let single = !sql.trim_end_matches(';').contains(';') && holes(&sql).is_empty();
        let is_plain = single && !sql.starts_with("BEGIN") && !sql.starts_with("START") && !sql.starts_with("COMMIT");
        let if_even = (kept && is_plain && rng.random_bool(0.25)).then_some("v");
        let keep = rng.random_bool(0.4).then_some("v");
        kept |= keep.is_some();
        serde_json::json!({
            "sql": sql,
            "keep": keep,
            "if_even": if_even,
            "ignores_errors": actor.goes_on,
            "extended": single && rng.random_bool(0.5),
        })
    };
    serde_json::Value::Array(actor.steps.iter().map(statement).collect()).to_string()
}

/// A script's actors as programs in a directory.
fn application(script: &Script, directory: &Path, rng: &mut ChaCha8Rng) -> Application {
    let worker = worker();
    std::fs::write(directory.join("setup.sql"), &script.setup).unwrap();
    let actor = |(number, actor): (usize, &ScriptActor)| {
        let file = format!("{number}.json");
        std::fs::write(directory.join(&file), program(actor, rng)).unwrap();
        let command = format!("exec '{}' {file}", worker.display());
        AppActor { name: actor.name.clone(), job: Job::Worker { command, exits: vec![0, 1] }, env: Default::default() }
    };
    Application {
        name: "generated".to_owned(),
        summary: "generated".to_owned(),
        directory: directory.to_owned(),
        setup: Some(SetUp::Command(format!("'{}' --setup setup.sql", worker.display()))),
        setup_max: Duration::from_secs(60),
        reset: None,
        silent_max: Duration::from_secs(30),
        server: None,
        actors: script.actors.iter().enumerate().map(actor).collect(),
        invariants: script.serial.clone(),
        serial: false,
        violates: None,
        faults: Vec::new(),
    }
}

struct Collect {
    outcomes: BTreeSet<String>,
    /// How many executions had a failure.
    struck: u64,
    volatile: Volatile,
}

impl Visitor<AppWorld> for Collect {
    async fn visit(&mut self, _: &mut AppWorld, execution: Execution) -> Result<Go, Lost> {
        self.outcomes.insert(execution.outcome(&self.volatile));
        self.struck += u64::from(execution.fault().is_some());
        Ok(Go::On)
    }

    fn volatile(&self) -> Volatile {
        self.volatile.clone()
    }

    fn is_over(&self, _: u64) -> Option<String> {
        None
    }
}

/// What a search of an application comes to.
pub async fn found(
    server: &Server,
    made: u64,
    app: &Arc<Application>,
    strategy: Strategy,
) -> (Searched, BTreeSet<String>) {
    let (searched, outcomes, _) = found_with(server, made, app, strategy, None).await;
    (searched, outcomes)
}

/// The same where something fails in each execution, and in how many it did.
async fn found_with(
    server: &Server,
    made: u64,
    app: &Arc<Application>,
    strategy: Strategy,
    fault: Option<Fault>,
) -> (Searched, BTreeSet<String>, u64) {
    let site = Site::make(server, &format!("apps_{made}")).await.unwrap();
    let mut world =
        AppWorld::new(site, app.clone(), Looking::Footprints).await.unwrap_or_else(|error| panic!("{error}"));
    let mut rules = AppRules::new(app, &world);
    // Whoever stays is warm from then on.
    compare_serial_runs(&mut world, &mut rules, None).await.unwrap();
    let mut collect = Collect { outcomes: BTreeSet::new(), struck: 0, volatile: Volatile::default() };
    let queries = Rules::<AppWorld>::queries(&rules);
    world.inject(fault);
    let searched = search(&mut world, strategy, 1, &queries, &mut collect).await;
    let searched = searched.unwrap_or_else(|lost| panic!("{lost}"));
    world.close().await.unwrap();
    (searched, collect.outcomes, collect.struck)
}

/// A script is small enough that all orders are visited of it with a failure, after which it may begin anew.
fn is_small(script: &Script) -> bool {
    script.actors.iter().map(|actor| actor.steps.len()).sum::<usize>() <= 7
}

#[tokio::test(flavor = "multi_thread")]
async fn of_generated_programs_in_which_something_fails_the_reduction_loses_no_outcome() {
    let server = server().await;
    let programs = environment("DRIFTLOCK_EXPLORE_APPS").unwrap_or(PROGRAMS / 2);
    let seed = environment("DRIFTLOCK_EXPLORE_SEED").unwrap_or(1);
    let kinds = [FaultKind::LostBefore, FaultKind::LostAfter, FaultKind::Serialization, FaultKind::Terminated];
    let (mut brute, mut reduced, mut came, mut left_out) = (0, 0, 0, 0);
    let mut wrong = Vec::new();
    // With footprints that leave out what a lost session lets go of, an outcome of seed 305 is missed.
    let drawn = std::iter::once(305).chain(seed..).map(|seed| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let script = rich(Backend::Postgres, &mut rng);
        (seed, rng, script)
    });
    for (number, (seed, mut rng, script)) in
        (0..).zip(drawn.filter(|(.., script)| is_small(script))).take(programs as usize)
    {
        let directory = tempfile::tempdir().unwrap();
        let mut app = application(&script, directory.path(), &mut rng);
        let actor = rng.random_range(0..script.actors.len());
        let step = rng.random_range(0..script.actors[actor].steps.len());
        let fault = Fault { actor, step, kind: kinds[rng.random_range(0..kinds.len())] };
        if rng.random_bool(0.5) {
            app.actors[actor].env.insert("WORKER_RETRIES".to_owned(), "1".to_owned());
        }
        let app = Arc::new(app);
        let (all, every, struck) = found_with(&server, 2 * number, &app, Strategy::BruteForce, Some(fault)).await;
        let (few, reached, _) = found_with(&server, 2 * number + 1, &app, Strategy::Exhaustive, Some(fault)).await;
        if all.otherwise > 0 || few.otherwise > 0 {
            eprintln!("seed {seed}: the database chose otherwise: {:?} {:?}", all.coverage, few.coverage);
            left_out += 1;
            continue;
        }
        let difference: Vec<_> = every.symmetric_difference(&reached).collect();
        if !difference.is_empty() {
            let programs = (0..script.actors.len())
                .map(|actor| std::fs::read_to_string(directory.path().join(format!("{actor}.json"))).unwrap());
            wrong.push(format!("seed {seed}, {fault:?}: {difference:#?}\n{}", programs.collect::<Vec<_>>().join("\n")));
        }
        brute += all.executions;
        reduced += few.executions;
        came += u64::from(struck > 0);
    }
    eprintln!(
        "{programs} programs from seed {seed}, {brute} orders, {reduced} executions, {came} failures, {left_out} left out"
    );
    server.stop().await.unwrap();
    assert!(wrong.is_empty(), "{} programs:\n{}", wrong.len(), wrong.join("\n"));
    assert!(reduced < brute, "nothing was reduced");
    assert!(came * 2 > programs, "in too few programs anything failed: {came}");
    assert!(left_out * 4 <= programs, "too many programs were left out");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_generated_programs_the_reduction_loses_no_outcome() {
    let server = server().await;
    let (programs, seed) =
        (environment("DRIFTLOCK_EXPLORE_APPS").unwrap_or(PROGRAMS), environment("DRIFTLOCK_EXPLORE_SEED").unwrap_or(1));
    let (mut brute, mut reduced, mut several, mut left_out) = (0, 0, 0, 0);
    let mut wrong = Vec::new();
    for (number, seed) in (0..).zip((seed..seed + programs).chain(ONCE_MISSED)) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let script = rich(Backend::Postgres, &mut rng);
        let directory = tempfile::tempdir().unwrap();
        let app = Arc::new(application(&script, directory.path(), &mut rng));
        let (all, every) = found(&server, 2 * number, &app, Strategy::BruteForce).await;
        let (few, reached) = found(&server, 2 * number + 1, &app, Strategy::Exhaustive).await;
        if all.otherwise > 0 || few.otherwise > 0 {
            eprintln!("seed {}: the database chose otherwise: {:?} {:?}", seed, all.coverage, few.coverage);
            left_out += 1;
            continue;
        }
        let difference: Vec<_> = every.symmetric_difference(&reached).collect();
        if !difference.is_empty() {
            let programs: Vec<_> = (0..script.actors.len())
                .map(|actor| std::fs::read_to_string(directory.path().join(format!("{actor}.json"))).unwrap())
                .collect();
            wrong.push(format!("seed {}: {difference:#?}\n{}", seed, programs.join("\n")));
        }
        brute += all.executions;
        reduced += few.executions;
        several += u64::from(every.len() > 1);
    }
    eprintln!(
        "{programs} programs from seed {seed}, {brute} orders, {reduced} executions, {several} with several outcomes, \
         {left_out} left out"
    );
    server.stop().await.unwrap();
    assert!(wrong.is_empty(), "{} programs:\n{}", wrong.len(), wrong.join("\n"));
    assert!(reduced < brute, "nothing was reduced");
    assert!(several * 6 > programs, "too many programs have one outcome only");
    assert!(left_out * 10 <= programs, "too many programs were left out");
}
