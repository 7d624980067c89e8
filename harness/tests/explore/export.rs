//! What is exported is a specification: PostgreSQL's own isolationtester shows the same violation.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use drift_engine::lock::Backend;
use driftlock::explore::postgres::PgWorld;
use driftlock::explore::postgres::site::Site;
use driftlock::explore::rules::queries;
use driftlock::explore::search::{Execution, Go, Strategy, Visitor, search};
use driftlock::explore::specification::export;
use driftlock::explore::world::Lost;
use driftlock::isolation::config;
use driftlock::provision::{PostgresChoice, Profile, RunName, Server, StartOptions};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use tokio_postgres::Config;
use tokio_postgres::config::Host;
use tokio_util::sync::CancellationToken;

use super::command::driftlock;
use super::generated::script;

/// The second closes the circle and gives up, and so never says that it is done. Neither value is known
/// before it runs.
const DEADLOCK: &str = r#"
name = "circle"
summary = "Two take two rows crosswise: each gets both in the end."
setup = """
CREATE TABLE t (id integer PRIMARY KEY, v text);
CREATE TABLE log (what text);
INSERT INTO t VALUES (1, 'it''s'), (2, 'b');
"""

[[actor]]
name = "first"
steps = [
  "BEGIN",
  { sql = "SELECT v FROM t WHERE id = 1 FOR UPDATE", name = "one", capture = "v" },
  { sql = "UPDATE t SET v = v || {v} WHERE id = 2", name = "two" },
  "COMMIT",
]

[[actor]]
name = "second"
steps = [
  "INSERT INTO log VALUES ('begun')",
  "BEGIN",
  { sql = "SELECT v FROM t WHERE id = 2 FOR UPDATE", name = "two", capture = "v" },
  { sql = "UPDATE t SET v = v || {v} WHERE id = 1 RETURNING v", name = "one", capture = "w" },
  "INSERT INTO log VALUES ({w})",
  "COMMIT",
]

[[invariant]]
name = "done"
sql = "SELECT id, v FROM t WHERE id = 2 AND (SELECT count(*) FROM log) = 1"

[[case]]
backend = "postgres"
violates = "done"
"#;

/// A row with 10 is there at any time, but after the second's wait it is another one than was waited for.
const WAIT: &str = r#"
name = "wait"
summary = "One adds to each row while the other deletes those with 10: there is always one."
setup = """
CREATE TABLE t (id integer PRIMARY KEY, v integer NOT NULL);
CREATE TABLE log (n integer);
INSERT INTO t VALUES (1, 9), (2, 10);
"""

[[actor]]
name = "first"
steps = ["BEGIN", "UPDATE t SET v = v + 1", "COMMIT", "BEGIN", "SELECT v FROM t"]

[[actor]]
name = "second"
steps = ["DELETE FROM t WHERE v = 10", "INSERT INTO log SELECT count(*) FROM t"]

[[invariant]]
name = "deleted"
sql = "SELECT n FROM log WHERE n = 2"

[[case]]
backend = "postgres"
violates = "deleted"
"#;

/// Debian's postgresql-client-15 has it; elsewhere it comes with the server's development files.
///
/// # Panics
/// There is none: what it shows cannot be shown without it.
fn isolationtester() -> PathBuf {
    let below = "lib/pgxs/src/test/isolation/isolationtester";
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version.ok()?.path().join(below)))
        .collect();
    let answered = Command::new("pg_config").arg("--pkglibdir").output();
    if let Ok(output) = answered.as_ref().map(|output| String::from_utf8_lossy(&output.stdout)) {
        found.push(Path::new(output.trim()).join("pgxs/src/test/isolation/isolationtester"));
    }
    let found_at = found.iter().find(|path| path.is_file());
    found_at.cloned().unwrap_or_else(|| {
        panic!(
            "there is no isolationtester: install Debian's postgresql-client-15 (or the development files of your \
             server, and its pg_config into PATH); looked at {found:?}"
        )
    })
}

/// What the real one prints for a specification, on a server of its own.
async fn printed_by(specification: &Path) -> String {
    let options = StartOptions { choice: PostgresChoice::Local, pg_bin: None, profile: Profile::Fast, tcp: false };
    let server = Server::start(&options, &RunName::new("export").unwrap(), &CancellationToken::new()).await.unwrap();
    let database = server.create_database("export", None).await.unwrap();
    let printed = printed_in(&config(&server, &database).unwrap(), &fs::read_to_string(specification).unwrap());
    server.stop().await.unwrap();
    printed
}

/// What the real one prints for a specification, in a database.
fn printed_in(config: &Config, specification: &str) -> String {
    let [Host::Unix(socket)] = config.get_hosts() else { panic!("a socket: {:?}", config.get_hosts()) };
    let connect = format!(
        "host='{}' port={} user={} dbname={}",
        socket.display(),
        config.get_ports()[0],
        config.get_user().unwrap(),
        config.get_dbname().unwrap()
    );
    let mut command = Command::new(isolationtester());
    command.arg(connect).env("PGISOLATIONTIMEOUT", "20").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(specification.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}\n{specification}");
    String::from_utf8(output.stdout).unwrap()
}

/// Explores, exports, and compares what both print, which must show `expected`.
async fn compare(arguments: &[&str], file: &str, expected: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in [("circle.toml", DEADLOCK), ("wait.toml", WAIT)] {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let all = [&["explore", "--postgres", "local", "--export-spec", "--output", "out"], arguments].concat();
    let (code, said) = driftlock(directory.path(), &all);
    assert_eq!(code, Some(0), "{said}");
    let specification = directory.path().join("out").join(file);
    let text = fs::read_to_string(&specification).unwrap_or_else(|error| panic!("{file}: {error}\n{said}"));
    let ours = ["explore", "--as-isolationtester", "--postgres", "local", specification.to_str().unwrap()];
    let (code, ours) = driftlock(directory.path(), &ours);
    assert_eq!(code, Some(0), "{ours}\n{text}");
    for line in expected {
        assert!(ours.contains(line), "{line:?} is not in\n{ours}\n{text}");
    }
    assert_eq!(printed_by(&specification).await, ours, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_violation_without_captures_is_shown_by_isolationtester_too() {
    let file = "schedule-no-lock-read-committed-alerted-once.spec";
    let rows = "customer\n--------\n       1\n(1 row)";
    compare(&["--built-in", "--filter", "no-lock/read-committed"], file, &["step the end alerted-once: ", rows]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn captured_values_are_exported_as_literals() {
    let file = "schedule-lost-update-read-committed-serial.spec";
    let expected = ["value = '10'::int4 + ", "step the end counter: "];
    compare(&["--built-in", "--filter", "lost-update/read-committed"], file, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_has_the_same_victim_under_isolationtester() {
    let expected = ["|| 'it''s'", "ERROR:  deadlock detected", "step second gives up: ROLLBACK;", "bit's\n(1 row)"];
    compare(&["circle.toml"], "schedule-circle-postgres-done.spec", &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_and_a_transaction_left_open_are_exported() {
    let expected = ["<waiting ...>", "<... completed>", "step the end deleted: ", "n\n-\n2\n(1 row)"];
    compare(&["wait.toml"], "schedule-wait-postgres-deleted.spec", &expected).await;
}

#[test]
fn what_cannot_be_a_specification_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let on_sqlite = WAIT.replace("\"postgres\"", "\"sqlite\"").replace("n = 2", "n < 5");
    fs::write(directory.path().join("wait.toml"), on_sqlite).unwrap();
    let explore = ["explore", "wait.toml", "--export-spec", "--output", "out"];
    let (code, said) = driftlock(directory.path(), &explore);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("cannot be exported: specifications are for PostgreSQL"), "{said}");
}

/// Keeps the executions.
struct Keep(Vec<Execution>);

impl Visitor<PgWorld> for Keep {
    async fn visit(&mut self, _: &mut PgWorld, execution: Execution) -> Result<Go, Lost> {
        self.0.push(execution);
        Ok(Go::On)
    }

    fn is_over(&self, _: u64) -> Option<String> {
        None
    }
}

/// The rows of a step's answer as they are kept, from what isolationtester prints of it.
fn answer(printed: &str, step: &str) -> Vec<String> {
    let (_, after) = printed.split_once(&format!("\nstep {step}: ")).unwrap_or_else(|| panic!("{step}: {printed}"));
    let rows =
        after.lines().skip_while(|line| !line.starts_with("--")).skip(1).take_while(|line| !line.starts_with('('));
    let cell = |cell: &str| if cell.trim().is_empty() { "NULL".to_owned() } else { cell.trim().to_owned() };
    let mut rows: Vec<String> = rows.map(|row| row.split('|').map(cell).collect::<Vec<_>>().join(", ")).collect();
    rows.sort_unstable();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_order_is_exported_ends_in_the_same_state_under_isolationtester() {
    let scripts = super::reduction::environment("DRIFTLOCK_EXPLORE_SCRIPTS").unwrap_or(10);
    let options = StartOptions { choice: PostgresChoice::Local, pg_bin: None, profile: Profile::Fast, tcp: false };
    let server = Server::start(&options, &RunName::new("exports").unwrap(), &CancellationToken::new()).await.unwrap();
    let (mut compared, mut waited) = (0, 0);
    for seed in 1..=scripts {
        let script = Arc::new(script(Backend::Postgres, &mut ChaCha8Rng::seed_from_u64(seed)));
        let case = script.cases[0].clone();
        let site = Site::make(&server, &format!("exports_{seed}")).await.unwrap();
        let config = site.config().clone();
        let mut world = PgWorld::new(site, script.clone(), case.clone()).await.unwrap();
        let mut keep = Keep(Vec::new());
        search(&mut world, Strategy::Random(3), seed, &queries(&script), &mut keep).await.unwrap();
        for execution in &keep.0 {
            let Ok(text) = export(&script, &case, execution) else { continue };
            let text = text.replacen("setup\n{\n", "setup\n{\nDROP TABLE IF EXISTS b, a; ", 1);
            let printed = printed_in(&config, &text);
            for (query, expected) in script.serial.iter().zip(&execution.ended.answers) {
                let there = answer(&printed, &format!("the end {}", query.name));
                let expected = expected.as_ref().map(|rows| rows.iter().map(|row| row.join(", ")).collect::<Vec<_>>());
                assert_eq!(Ok(&there), expected.as_ref(), "seed {seed}\n{text}\n{printed}");
            }
            compared += 1;
            waited += u32::from(execution.taken.iter().any(|taken| taken.waits()));
        }
        world.close().await.unwrap();
    }
    server.stop().await.unwrap();
    eprintln!("{compared} orders compared, in {waited} a step waited");
    assert!(compared > scripts && waited > 0, "{compared} orders compared, in {waited} a step waited");
}
