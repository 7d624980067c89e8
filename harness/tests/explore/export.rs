//! What is exported is a specification: PostgreSQL's own isolationtester shows the same violation.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use driftlock::isolation::config;
use driftlock::provision::{PostgresChoice, Profile, RunName, Server, StartOptions};
use tokio_postgres::config::Host;
use tokio_util::sync::CancellationToken;

use super::command::driftlock;

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
async fn printed_by(program: &Path, specification: &Path) -> String {
    let options = StartOptions { choice: PostgresChoice::Local, pg_bin: None, profile: Profile::Fast, tcp: false };
    let server = Server::start(&options, &RunName::new("export").unwrap(), &CancellationToken::new()).await.unwrap();
    let database = server.create_database("export", None).await.unwrap();
    let config = config(&server, &database).unwrap();
    let [Host::Unix(socket)] = config.get_hosts() else { panic!("a socket: {:?}", config.get_hosts()) };
    let connect = format!(
        "host='{}' port={} user={} dbname={}",
        socket.display(),
        config.get_ports()[0],
        config.get_user().unwrap(),
        config.get_dbname().unwrap()
    );
    let mut command = Command::new(program);
    command.arg(connect).env("PGISOLATIONTIMEOUT", "20").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&fs::read(specification).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    server.stop().await.unwrap();
    assert!(output.status.success(), "{output:?}");
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
    assert_eq!(printed_by(&isolationtester(), &specification).await, ours, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_violation_without_captures_is_shown_by_isolationtester_too() {
    let file = "schedule-no-lock-read-committed-alerted-once.spec";
    let rows = "customer\n--------\n       1\n(1 row)";
    compare(&["--filter", "no-lock/read-committed"], file, &["step the end alerted-once: ", rows]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn captured_values_are_exported_as_literals() {
    let file = "schedule-lost-update-read-committed-serial.spec";
    let expected = ["value = '10' + ", "step the end counter: "];
    compare(&["--filter", "lost-update/read-committed"], file, &expected).await;
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
