use driftlock_provision::{PostgresChoice, Profile, StartOptions, Way, docker_state};
use sqlx::Connection;
use std::process::Command;

use crate::child::{Child, contents, kill, sweep_by_another, temporary};
use crate::{answer, connect, options, run, start};

/// Whether containers can be had; says so where they cannot, and fails where they must be.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
async fn docker() -> bool {
    let missing = match docker_state().await {
        Ok(state) if state.image_present => return true,
        Ok(state) => format!("the image {} is not there", state.image),
        Err(error) => error.to_string(),
    };
    assert!(std::env::var_os("DRIFTLOCK_REQUIRE_DOCKER").is_none(), "docker is required: {missing}");
    eprintln!("skipped: {missing}");
    false
}

/// The containers that carry our label, by the program that a person would use.
fn containers() -> Vec<String> {
    let list = Command::new("docker").args(["ps", "-aq", "--filter", "label=driftlock.owner"]).output().unwrap();
    assert!(list.status.success());
    String::from_utf8(list.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// One test, because all of them would look at the same list of containers.
#[tokio::test]
async fn a_container_serves_is_copied_in_and_leaves_nothing_after_a_stop_a_panic_and_a_kill() {
    if !docker().await {
        return;
    }
    let before = containers();
    let server = start(&StartOptions { profile: Profile::Fast, ..options(PostgresChoice::Docker) }).await;
    assert_eq!(server.way(), Way::Container);
    assert_eq!(server.settings().profile(), Profile::Fast);
    let template = server.create_database("template", None).await.unwrap();
    let mut inside = connect(&server, &template).await;
    run(&mut inside, "CREATE TABLE t AS SELECT 1 AS x").await;
    inside.close().await.unwrap();
    let copy = server.create_database("copy", Some(&template)).await.unwrap();
    let mut inside = sqlx::PgConnection::connect(server.access(&copy).unwrap().expose()).await.unwrap();
    assert_eq!(answer(&mut inside, "SELECT count(*) FROM t").await, "1");
    assert_eq!(answer(&mut inside, "SELECT current_setting('max_prepared_transactions')").await, "10");
    assert_eq!(containers().len(), before.len() + 1);
    server.stop().await.unwrap();
    assert_eq!(containers(), before);

    let temporary = temporary();
    let mut panicking = Child::start("panic", temporary.path(), "docker", &[]);
    assert!(!panicking.end().await.success());
    assert!(panicking.log().contains("on purpose"), "{}", panicking.log());
    assert_eq!(containers(), before);
    assert_eq!(contents(temporary.path()), Vec::<String>::new());

    let mut doomed = Child::start("hold", temporary.path(), "docker", &[]);
    doomed.answer().await;
    assert!(sweep_by_another(temporary.path()).await.is_empty());
    kill(doomed).await;
    assert_eq!(containers().len(), before.len() + 1);
    assert_eq!(sweep_by_another(temporary.path()).await.len(), 1);
    assert_eq!(containers(), before);
    assert_eq!(contents(temporary.path()), Vec::<String>::new());
}
