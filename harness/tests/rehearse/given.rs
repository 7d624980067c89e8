//! A server that somebody else gives, by a URL: what its role can reach decides what is run there, and its password is
//! shown nowhere.

use driftlock::provision::{Profile, RunName, Server, StartOptions};
use driftlock::rehearse::case::{Beside, Case};
use driftlock::rehearse::migrations::Version;
use driftlock::rehearse::progress::Progress;
use driftlock::rehearse::rehearsal::{Options, Targets, Workload, rehearse};
use driftlock::rehearse::runner::{self, Runner};
use driftlock::rehearse::shipped::SHIPPED;
use driftlock::rehearse::subject::Subject;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::ground::{Ground, send};
use crate::holding;

/// The server of a ground, as given to a role of its own, whose password a URL does not show as it is.
async fn given(ground: &Ground, attributes: &str) -> Server {
    let role = format!("CREATE ROLE tester LOGIN CREATEDB {attributes} PASSWORD 'p@ss'");
    send(&mut ground.session().await, &role).await.unwrap();
    let mut url = Url::parse(ground.server.access(&ground.database).unwrap().expose()).unwrap();
    url.set_username("tester").unwrap();
    url.set_password(Some("p@ss")).unwrap();
    url.set_path("postgres");
    let choice = url.as_str().parse().unwrap();
    let options = StartOptions { choice, pg_bin: None, profile: Profile::Fast, tcp: false };
    Server::start(&options, &RunName::new("given").unwrap(), &CancellationToken::new()).await.unwrap()
}

pub fn options() -> Options {
    Options { traffic: Workload::None, seed: 1, ..Options::default() }
}

pub fn only(subject: &Subject) -> Case {
    Case::all(subject, &Beside::default(), None, &[]).remove(0)
}

#[tokio::test]
async fn foreign_files_are_not_run_as_a_role_that_reaches_other_databases_and_ours_are() {
    let ground = Ground::start("given_role").await;
    let server = given(&ground, "CREATEROLE").await;
    let at = holding(&[("0001_a.up.sql", "CREATE TABLE a (id int)"), ("0001_a.down.sql", "DROP TABLE a")]);
    let foreign = only(&Subject::read(&at.path().join("m"), None, None).unwrap());
    let mut shipped = SHIPPED.iter().find(|one| one.path.ends_with("down-order")).unwrap().subject();
    shipped.settings.events = Some(1_000);
    let shipped = only(&shipped);
    let mut targets = Targets::new(Some(&server), None, 1);
    let refused = rehearse(&mut targets, &foreign, &options(), &Progress::default()).await.unwrap_err().to_string();
    assert!(refused.contains("not run as tester"), "{refused}");
    assert!(rehearse(&mut targets, &shipped, &options(), &Progress::default()).await.is_ok());
    drop(targets);
    server.stop().await.unwrap();
    ground.stop().await;
}

#[tokio::test]
async fn what_a_runner_says_is_shown_without_the_password_in_any_form() {
    let ground = Ground::start("given_runner").await;
    let server = given(&ground, "").await;
    let database = server.create_database("runner", None).await.unwrap();
    let up = runner::script("up", "false");
    let runner = Runner {
        up: &up,
        down: None,
        url: server.access(&database).unwrap(),
        from: Version::none(),
        to: Version::none(),
        may_trigger: false,
    };
    let failed = async |command: &str| runner.run(command, "up", &runner.to).await.unwrap_err().message;
    let said = failed("echo decoded p@ss, and $DATABASE_URL; exit 1").await;
    assert!(said.ends_with(&format!("decoded ***, and {}", runner.url.expose().replace("p%40ss", "***"))), "{said}");
    // Nor is the rest of one shown that the bound cuts off.
    for surplus in 3_990..4_010 {
        let said = failed(&format!("printf 'p@ss%{surplus}s' | tr ' ' x; exit 1")).await;
        assert!(!said.contains("sx"), "{surplus}: {said}");
    }
    server.stop().await.unwrap();
    ground.stop().await;
}
