//! A script's actor on a session of its own: what it returns to whoever uses it as traffic.

use std::sync::Arc;
use std::time::Duration;

use drift_engine::lock::Backend;
use driftlock::actor::script::postgres::PgSession;
use driftlock::actor::script::sqlite::SqliteSession;
use driftlock::actor::script::{Session, run};
use driftlock::clock::Clock;
use driftlock::explore::captured::Types;
use driftlock::explore::postgres::PgWorld;
use driftlock::explore::postgres::site::Site;
use driftlock::explore::sqlite::SqliteWorld;
use driftlock::explore::world::{Done, What};
use driftlock::isolation::config;
use driftlock::provision::{Journal, PostgresChoice, Profile, RunName, Server, SqliteFiles, StartOptions};
use driftlock::scenario::script::{Script, Value};
use driftlock::verify::rounds::{Options, run as rounds};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use tokio_util::sync::CancellationToken;

use super::generated::script as script_of;
use super::reduction::environment;

const SCRIPT: &str = r#"
name = "traffic"
summary = "It wants a row that somebody else holds."
setup = "CREATE TABLE t (v integer)"
[[actor]]
name = "wants"
steps = [
  "DO $$BEGIN RAISE NOTICE 'here'; END$$",
  { sql = "UPDATE t SET v = v + 1 RETURNING v", capture = "v" },
  "SELECT {v} || '!'", "BEGIN", "SELECT 1/0", "SELECT 2",
]
[[invariant]]
name = "none"
sql = "SELECT FROM t WHERE false"
[[case]]
backend = "postgres"
"#;

/// How long a message may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a message came to that returned these rows of one column.
fn done(rows: &[&str], affected: u64) -> What {
    let rows = rows.iter().map(|value| vec![(*value).to_owned()]).collect();
    What::Done(Done { rows, affected: Some(affected), rolled_back: false })
}

/// Asks until there is a row: its first value.
async fn until(session: &mut PgSession, question: &str) -> String {
    let asked = async {
        loop {
            if let Some(Value { text: Some(first), .. }) =
                session.send(question, None, PATIENCE).await.unwrap().returned.first.first().cloned()
            {
                return first;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.expect("it comes to that")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_says_what_waited_for_whom_what_failed_and_when() {
    let script = Script::parse("traffic.toml".as_ref(), SCRIPT.as_bytes()).unwrap();
    let options = StartOptions { choice: PostgresChoice::Local, pg_bin: None, profile: Profile::Fast, tcp: false };
    let server = Server::start(&options, &RunName::new("free").unwrap(), &CancellationToken::new()).await.unwrap();
    let database = server.create_database("free", None).await.unwrap();
    let config = config(&server, &database).unwrap();
    let control = PgSession::control(&config).await.unwrap();
    control.batch_execute("CREATE TABLE t (v integer); INSERT INTO t VALUES (1)").await.unwrap();
    let mut holds = PgSession::open(&config, control.clone(), "holds").await.unwrap();
    let mut wants = PgSession::open(&config, control.clone(), "wants").await.unwrap();
    let mut watches = PgSession::open(&config, control.clone(), "watches").await.unwrap();
    let (clock, case, wants_pid) = (Clock::start(), &script.cases[0], wants.number().unwrap());
    holds.send("BEGIN; UPDATE t SET v = v + 1", None, PATIENCE).await.unwrap();
    // The lock is held until the server has been asked who waits for it, and while somebody does.
    let holding = async {
        let waits = "SELECT clock_timestamp() FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        let since = until(&mut watches, waits).await;
        let asked = format!(
            "SELECT 'asked' FROM pg_stat_activity WHERE query LIKE '%pg_blocking_pids({wants_pid})%' \
             AND pid <> pg_backend_pid() AND state = 'idle' AND query_start > '{since}'"
        );
        until(&mut watches, &asked).await;
        holds.send("COMMIT", None, PATIENCE).await.unwrap();
    };
    let pauses = [Duration::ZERO, Duration::from_millis(1)];
    let types = Types::default();
    let ((), wanting) = tokio::join!(holding, run(&mut wants, (&script, case, &types), 0, &pauses, &clock));
    let wanting = wanting.unwrap();
    assert!(wanting.ran.iter().all(|ran| ran.begun <= ran.ended) && wanting.flight.is_some());
    // It gave up at its failure, and was closed.
    let whats: Vec<&What> = wanting.ran.iter().map(|ran| &ran.answer.what).collect();
    assert_eq!(whats[..4], [&done(&[], 0), &done(&["3"], 1), &done(&["3!"], 1), &done(&[], 0)]);
    assert!(matches!(whats[4..], [What::Failed { code, .. }] if code == "22012"), "{whats:?}");
    assert_eq!(wanting.ran[0].answer.notices, ["NOTICE: here"]);
    assert_eq!(wanting.ran[1].answer.waited, Some(vec![holds.number().unwrap()]));
    assert!(wanting.ran[1].ended - wanting.ran[1].begun > Duration::from_millis(1));
    assert_eq!(wanting.ran[2].answer.waited, None);
    let again = wants.send("SELECT 5", None, PATIENCE).await.unwrap();
    assert_eq!(again.what, done(&["5"], 1));
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_actors_of_any_script_run_freely_to_their_end_on_both_databases() {
    let scripts = environment("DRIFTLOCK_EXPLORE_SCRIPTS").unwrap_or(8);
    let options = StartOptions { choice: PostgresChoice::Local, pg_bin: None, profile: Profile::Fast, tcp: false };
    let server = Server::start(&options, &RunName::new("rounds").unwrap(), &CancellationToken::new()).await.unwrap();
    let files = SqliteFiles::create(Journal::Wal).await.unwrap();
    let (mut ran, mut overlapped, mut waited, mut refused) = (0, 0, 0, 0);
    for seed in 1..=scripts {
        for backend in Backend::ALL {
            let script = Arc::new(script_of(backend, &mut ChaCha8Rng::seed_from_u64(seed)));
            let (case, options) = (script.cases[0].clone(), Options { rounds: 20, seed });
            let of = match backend {
                Backend::Postgres => {
                    let site = Site::make(&server, &format!("rounds_{seed}")).await.unwrap();
                    let config = site.config().clone();
                    let mut world = PgWorld::new(site, script.clone(), case.clone()).await.unwrap();
                    let control = PgSession::control(&config).await.unwrap();
                    let mut sessions = Vec::new();
                    for actor in &script.actors {
                        sessions.push(PgSession::open(&config, control.clone(), &actor.name).await.unwrap());
                    }
                    rounds(&mut world, &mut sessions, &script, &case, options).await
                }
                Backend::Sqlite => {
                    let file = files.create_database(&format!("rounds_{seed}"), None).await.unwrap();
                    let keep = files.create_database(&format!("start_{seed}"), None).await.unwrap();
                    let (file, keep) = (files.connect_options(&file), keep.path().display().to_string());
                    let mut world = SqliteWorld::new(file.clone(), &keep, script.clone(), case.clone()).await.unwrap();
                    let mut sessions = Vec::new();
                    for _ in &script.actors {
                        sessions.push(SqliteSession::open(&file).await.unwrap());
                    }
                    rounds(&mut world, &mut sessions, &script, &case, options).await
                }
            };
            let of = of.unwrap_or_else(|lost| panic!("seed {seed} on {backend}: {lost}\n{script:#?}"));
            assert!(of.overlapped <= of.rounds && of.waited <= of.overlapped, "{of:?}");
            (ran, overlapped) = (ran + of.rounds, overlapped + of.overlapped);
            (waited, refused) = (waited + of.waited, refused + of.refused);
        }
    }
    server.stop().await.unwrap();
    eprintln!("{ran} rounds, {overlapped} overlapped, {waited} with a wait, {refused} with a refusal");
    assert!(overlapped > 0 && waited > 0 && refused > 0, "{ran}, {overlapped}, {waited}, {refused}");
}
