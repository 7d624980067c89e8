//! A script's actor on a session of its own: what it returns to whoever uses it as traffic.

use std::time::Duration;

use driftlock::actor::script::postgres::PgSession;
use driftlock::actor::script::{Session, run};
use driftlock::clock::Clock;
use driftlock::explore::world::What;
use driftlock::isolation::config;
use driftlock::provision::{PostgresChoice, Profile, RunName, Server, StartOptions};
use driftlock::scenario::script::Script;
use tokio_util::sync::CancellationToken;

const SCRIPT: &str = r#"
name = "traffic"
summary = "One holds a row for a moment, the other wants it."
setup = "CREATE TABLE t (v integer)"
[[actor]]
name = "holds"
steps = ["{begin}", "UPDATE t SET v = v + 1", "COMMIT"]
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
    let (clock, case) = (Clock::start(), &script.cases[0]);
    // The lock is held a tenth of a second, the other comes in the meantime.
    let late = [Duration::from_millis(50)];
    let held = [Duration::ZERO, Duration::ZERO, Duration::from_millis(150)];
    let (holding, wanting) = tokio::join!(
        run(&mut holds, case, &script.actors[0], &held, &clock),
        run(&mut wants, case, &script.actors[1], &late, &clock)
    );
    let (holding, wanting) = (holding.unwrap(), wanting.unwrap());
    assert!(wanting.overlaps(&holding) && holding.overlaps(&wanting));
    assert_eq!(holding.ran.len(), 3);
    assert!(holding.ran.iter().all(|ran| ran.answer.waited.is_none() && ran.begun <= ran.ended));
    // It gave up at its failure, and was closed.
    let whats: Vec<&What> = wanting.ran.iter().map(|ran| &ran.answer.what).collect();
    assert_eq!(
        whats[..4],
        [
            &What::Done(Vec::new()),
            &What::Done(vec!["3".to_owned()]),
            &What::Done(vec!["3!".to_owned()]),
            &What::Done(Vec::new())
        ]
    );
    assert!(matches!(whats[4..], [What::Failed { code, .. }] if code == "22012"), "{whats:?}");
    assert_eq!(wanting.ran[0].answer.notices, ["NOTICE: here"]);
    assert_eq!(wanting.ran[1].answer.waited, Some(vec![holds.number().unwrap()]));
    assert!(wanting.ran[1].ended - wanting.ran[1].begun > Duration::from_millis(50));
    let again = wants.send("SELECT 5").await.unwrap();
    assert_eq!(again.what, What::Done(vec!["5".to_owned()]));
    server.stop().await.unwrap();
}
