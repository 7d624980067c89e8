use driftlock_provision::{Database, PostgresChoice, ProvisionError, RunName, Server, StartOptions, Way};
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection};
use tokio_util::sync::CancellationToken;

use crate::child::{Child, contents, kill, temporary};
use crate::{answer, options, run, start};

const PASSWORD: &str = "hunter2-öß/@";
const PASSWORD_IN_URL: &str = "hunter2-%C3%B6%C3%9F%2F%40";

/// A server of somebody else's, with a role for us on it.
struct Theirs {
    server: Server,
    admin: PgConnection,
    port: u16,
}

impl Theirs {
    async fn start() -> Self {
        let server = start(&StartOptions { tcp: true, ..options(PostgresChoice::Local) }).await;
        let mut admin = server.admin_options().unwrap().connect().await.unwrap();
        run(&mut admin, &format!("CREATE ROLE tester LOGIN CREATEDB PASSWORD '{PASSWORD}'")).await;
        run(&mut admin, "CREATE ROLE guest LOGIN PASSWORD 'guest-password'").await;
        let database: Database = server.create_database("any", None).await.unwrap();
        let port = url::Url::parse(server.access(&database).unwrap().expose()).unwrap().port().unwrap();
        Self { server, admin, port }
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://tester:{PASSWORD_IN_URL}@127.0.0.1:{}/{database}", self.port)
    }

    fn options(&self, database: &str) -> StartOptions {
        options(self.url(database).parse().unwrap())
    }

    /// The databases that are not the server's own.
    async fn databases(&mut self) -> Vec<String> {
        let list = "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname NOT IN ('postgres') \
                    AND datname NOT LIKE 'driftlock\\_test\\_%\\_any' ORDER BY datname";
        sqlx::query_scalar(list).fetch_all(&mut self.admin).await.unwrap()
    }

    async fn error(&self, url: &str) -> ProvisionError {
        let options = options(url.parse().unwrap());
        let run = RunName::new("test").unwrap();
        Server::start(&options, &run, &CancellationToken::new()).await.unwrap_err()
    }

    async fn end(self) {
        self.admin.close().await.unwrap();
        self.server.stop().await.unwrap();
    }
}

fn names(said: &str) -> Vec<String> {
    let said: serde_json::Value = serde_json::from_str(said).unwrap();
    let mut names: Vec<String> = serde_json::from_value(said["databases"].clone()).unwrap();
    names.sort();
    names
}

/// The databases that were swept; directories of this machine do not matter here.
fn swept(server: &Server) -> Vec<&String> {
    server.swept().removed.iter().filter(|what| what.starts_with("database ")).collect()
}

#[tokio::test]
async fn on_a_given_server_only_our_own_databases_come_and_go() {
    let mut theirs = Theirs::start().await;
    // What only looks like ours: by its name, or by all of its name.
    for name in ["driftlock_production", "driftlock_run_0123456789ab_x", "driftlock_run_0123456789ac_x"] {
        run(&mut theirs.admin, &format!("CREATE DATABASE {name} OWNER tester")).await;
    }
    run(&mut theirs.admin, "COMMENT ON DATABASE driftlock_run_0123456789ac_x IS 'made by driftlock?'").await;
    let before = theirs.databases().await;

    let server = start(&theirs.options("postgres")).await;
    assert_eq!(server.way(), Way::Given);
    assert!(swept(&server).is_empty(), "{:?}", server.swept());
    assert!(!server.role().superuser && server.confines_foreign_code());
    assert!(server.admin_options().is_none());
    let template = server.create_database("template", None).await.unwrap();
    let copy = server.create_database("copy", Some(&template)).await.unwrap();
    let gone = server.create_database("gone", Some(&template)).await.unwrap();
    server.drop_database(gone).await.unwrap();
    let mut there = theirs.databases().await;
    there.retain(|name| !before.contains(name));
    let mut ours = [template.name(), copy.name()];
    ours.sort_unstable();
    assert_eq!(there, ours);
    // A second creation of a name fails, and costs the first its life neither now nor later.
    assert!(server.create_database("copy", None).await.is_err());
    let mut inside = PgConnection::connect(server.access(&copy).unwrap().expose()).await.unwrap();
    assert_eq!(answer(&mut inside, "SELECT current_database()").await, copy.name());

    // With a session still inside.
    server.stop().await.unwrap();
    assert_eq!(theirs.databases().await, before);
    theirs.end().await;
}

#[tokio::test]
async fn a_superuser_on_a_given_server_does_not_confine_foreign_code() {
    let mut theirs = Theirs::start().await;
    run(&mut theirs.admin, "ALTER ROLE tester CREATEROLE").await;
    let server = start(&theirs.options("postgres")).await;
    assert!(!server.confines_foreign_code());
    server.stop().await.unwrap();
    theirs.end().await;
}

#[tokio::test]
async fn databases_of_a_killed_run_are_swept_and_those_of_a_living_one_are_not() {
    let mut theirs = Theirs::start().await;
    run(&mut theirs.admin, "CREATE DATABASE entrance OWNER tester").await;
    let (temporary, url) = (temporary(), theirs.url("postgres"));
    let mut doomed = Child::start("hold", temporary.path(), &url, &[]);
    let mut living = Child::start("hold", temporary.path(), &url, &[]);
    let doomed_databases = names(&doomed.answer().await);
    let living_databases = names(&living.answer().await);

    // From another database of the same server, where advisory locks are others.
    let server = start(&theirs.options("entrance")).await;
    assert!(swept(&server).is_empty(), "{:?}", server.swept());
    server.stop().await.unwrap();

    kill(doomed).await;
    // As if it had been killed between the creation and the comment.
    run(&mut theirs.admin, &format!("COMMENT ON DATABASE {} IS NULL", doomed_databases[0])).await;
    wait_for_sessions(&mut theirs.admin, 1).await;
    let server = start(&theirs.options("entrance")).await;
    let expected: Vec<String> = doomed_databases.iter().map(|name| format!("database {name}")).collect();
    assert_eq!(swept(&server), expected.iter().collect::<Vec<_>>());
    let mut left = theirs.databases().await;
    left.retain(|name| name != "entrance");
    assert_eq!(left, living_databases);
    server.stop().await.unwrap();

    kill(living).await;
    wait_for_sessions(&mut theirs.admin, 0).await;
    start(&theirs.options("postgres")).await.stop().await.unwrap();
    assert_eq!(theirs.databases().await, ["entrance"]);
    assert_eq!(contents(temporary.path()), Vec::<String>::new());
    theirs.end().await;
}

/// A server notices a little later than we do that a client is gone.
async fn wait_for_sessions(admin: &mut PgConnection, owners: i64) {
    let poll = async {
        let count = "SELECT count(DISTINCT objid) FROM pg_locks WHERE locktype = 'advisory'";
        while sqlx::query_scalar::<_, i64>(count).fetch_one(&mut *admin).await.unwrap() != owners {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), poll).await.unwrap();
}

#[tokio::test]
async fn a_panic_drops_the_databases_and_so_does_dropping_the_server() {
    let mut theirs = Theirs::start().await;
    let temporary = temporary();
    let mut child = Child::start("panic", temporary.path(), &theirs.url("postgres"), &[]);
    assert!(!child.end().await.success());
    assert_eq!(names(&child.answer().await).len(), 2);
    assert!(child.log().contains("on purpose") && !child.log().contains("hunter2"), "{}", child.log());
    assert_eq!(theirs.databases().await, Vec::<String>::new());

    let server = start(&theirs.options("postgres")).await;
    server.create_database("mine", None).await.unwrap();
    assert_eq!(theirs.databases().await.len(), 1);
    drop(server);
    assert_eq!(theirs.databases().await, Vec::<String>::new());
    theirs.end().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_given_server_is_said_without_the_password() {
    let theirs = Theirs::start().await;
    let (temporary, port, good) = (temporary(), theirs.port, theirs.url("postgres"));
    let bad = [
        (good.replace("hunter2", "hunter3"), "password authentication failed".to_owned()),
        (theirs.url("nowhere"), "\"nowhere\" does not exist".to_owned()),
        (good.replace(&port.to_string(), "1"), "cannot reach PostgreSQL at 127.0.0.1:1:".to_owned()),
        (
            format!("postgres://guest:guest-password@127.0.0.1:{port}/postgres"),
            format!("the role \"guest\" at 127.0.0.1:{port} may not create databases"),
        ),
    ];
    for (url, expected) in bad {
        let error = theirs.error(&url).await;
        let mut child = Child::start("error", temporary.path(), &url, &[]);
        let said = child.answer().await;
        assert!(said.contains(&expected), "{said}");
        assert!(child.end().await.success());
        no_secret(&format!("{error} {error:?} {error:#?} {said} {}", child.log()));
    }
    // What goes well is logged in more detail.
    let mut child = Child::start("use", temporary.path(), &good, &[]);
    assert!(child.end().await.success(), "{}", child.log());
    assert!(child.log().contains("CREATE DATABASE"), "nothing was logged: {}", child.log());
    no_secret(&child.log());
    let server = start(&theirs.options("postgres")).await;
    let database = server.create_database("mine", None).await.unwrap();
    no_secret(&format!("{server:?} {server:#?} {:?}", server.access(&database)));
    server.stop().await.unwrap();
    theirs.end().await;
}

fn no_secret(text: &str) {
    for secret in ["hunter2", "hunter3", "guest-password"] {
        assert!(!text.contains(secret), "{text}");
    }
}
