use std::path::Path;
use std::process::Command;

use driftlock_provision::{PostgresChoice, Profile, ProvisionError, StartOptions, Way};
use nix::unistd::User;
use sqlx::{Connection, Executor};

use crate::child::{Child, contents, temporary};
use crate::{SharedMemory, answer, connect, eventually, options, process_is_alive, run, start};

#[tokio::test]
async fn a_cluster_starts_is_copied_from_and_leaves_nothing() {
    let server = start(&options(PostgresChoice::Local)).await;
    assert_eq!(server.way(), Way::Local);
    assert!(server.role().superuser);
    assert!(server.confines_foreign_code());
    let template = server.create_database("template", None).await.unwrap();
    let mut inside = connect(&server, &template).await;
    run(&mut inside, "CREATE TABLE t AS SELECT g FROM generate_series(1, 1000) g").await;
    inside.close().await.unwrap();

    let copy = server.create_database("copy", Some(&template)).await.unwrap();
    assert!(copy.name().starts_with("driftlock_test_") && copy.name().ends_with("_copy"), "{}", copy.name());
    let mut inside = connect(&server, &copy).await;
    assert_eq!(answer(&mut inside, "SELECT count(*) FROM t").await, "1000");
    assert_eq!(answer(&mut inside, "SELECT current_setting('server_encoding')").await, "UTF8");
    // A session inside does not keep a database from being dropped.
    server.drop_database(copy).await.unwrap();
    assert!(inside.ping().await.is_err());

    let socket = server.connect_options(&template).get_socket().unwrap().clone();
    let directory = socket.parent().unwrap().to_owned();
    let pid = server.pid().unwrap().try_into().unwrap();
    assert!(process_is_alive(pid) && directory.exists());
    server.stop().await.unwrap();
    assert!(!process_is_alive(pid) && !directory.exists());
}

#[tokio::test]
async fn the_settings_are_those_of_the_profile() {
    let queries = ["max_prepared_transactions", "max_connections", "listen_addresses", "deadlock_timeout", "TimeZone"];
    for (profile, flushes, deadlock_timeout) in [(Profile::Fast, "off", "100ms"), (Profile::Durable, "on", "1s")] {
        let server = start(&StartOptions { profile, ..options(PostgresChoice::Local) }).await;
        let settings = server.settings();
        assert_eq!([&settings.fsync, &settings.synchronous_commit, &settings.full_page_writes], [flushes; 3]);
        assert_eq!(settings.profile(), profile);
        let database = server.create_database("settings", None).await.unwrap();
        let mut inside = connect(&server, &database).await;
        let mut shown = Vec::new();
        for name in queries {
            shown.push(answer(&mut inside, &format!("SELECT current_setting('{name}')")).await);
        }
        assert_eq!(shown, ["10", "200", "", deadlock_timeout, "UTC"]);
        // On in both, as everywhere else, since plans depend on it; in the fast one it never has a turn, nor anything to do.
        let of_vacuum = "SELECT string_agg(setting, ' ' ORDER BY name) FROM pg_settings WHERE name IN ('autovacuum', \
            'autovacuum_naptime', 'autovacuum_vacuum_threshold', 'autovacuum_vacuum_insert_threshold', \
            'autovacuum_analyze_threshold')";
        let usual = "on 50 60 1000 50";
        let never = "on 2147483647 2147483 -1 2147483647";
        let expected = if profile == Profile::Fast { never } else { usual };
        assert_eq!(answer(&mut inside, of_vacuum).await, expected);
        let locale = "SELECT datcollate || ' ' || datctype FROM pg_database WHERE datname = current_database()";
        assert_eq!(answer(&mut inside, locale).await, "C C");
        server.stop().await.unwrap();
    }
}

#[tokio::test]
async fn other_processes_are_let_in_over_tcp_only_when_asked_for_and_only_with_the_password() {
    let closed = start(&options(PostgresChoice::Local)).await;
    let database = closed.create_database("mine", None).await.unwrap();
    assert_eq!(closed.access(&database), None);
    closed.stop().await.unwrap();

    let server = start(&StartOptions { tcp: true, ..options(PostgresChoice::Local) }).await;
    let database = server.create_database("shared", None).await.unwrap();
    let access = server.access(&database).unwrap();
    let mut inside = sqlx::PgConnection::connect(access.expose()).await.unwrap();
    assert_eq!(answer(&mut inside, "SELECT current_database()").await, database.name());
    inside.close().await.unwrap();
    let password = url::Url::parse(access.expose()).unwrap().password().unwrap().to_owned();
    assert!(!format!("{access:?} {server:?}").contains(&password));
    let error = sqlx::PgConnection::connect(&access.expose().replace(&password, "guess")).await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "28P01");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_template_in_use_is_reported_with_its_user() {
    let server = start(&options(PostgresChoice::Local)).await;
    let template = server.create_database("template", None).await.unwrap();
    let inside = connect(&server, &template).await;
    let error = server.create_database("copy", Some(&template)).await.unwrap_err();
    assert!(matches!(&error, ProvisionError::TemplateInUse { by, .. } if by.contains("driftlock")), "{error}");
    inside.close().await.unwrap();
    server.create_database("copy", Some(&template)).await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn many_callers_at_once_each_get_their_copy() {
    let server = start(&options(PostgresChoice::Local)).await;
    let template = server.create_database("template", None).await.unwrap();
    let copies = (0..8).map(|n| {
        let (server, template) = (&server, &template);
        async move { server.create_database(&format!("copy_{n}"), Some(template)).await.unwrap() }
    });
    let copies = futures_util::future::join_all(copies).await;
    for copy in &copies {
        connect(&server, copy).await.close().await.unwrap();
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_server_runs_without_privileges_whoever_starts_it() {
    let server = start(&options(PostgresChoice::Local)).await;
    let pid = server.pid().unwrap();
    if let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) {
        let uid = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
        assert!(!uid.split_whitespace().any(|id| id == "0"), "{uid}");
    }
    server.stop().await.unwrap();
    // As root, also that a harness that is not root can do it.
    if nix::unistd::geteuid().is_root() {
        let nobody = User::from_name("nobody").unwrap().unwrap();
        let temporary = temporary();
        nix::unistd::chown(temporary.path(), Some(nobody.uid), Some(nobody.gid)).unwrap();
        let mut child = Child::start_as(Some(&nobody), "use", temporary.path(), "local", &[]);
        assert!(child.end().await.success(), "{}", child.log());
        assert_eq!(contents(temporary.path()), Vec::<String>::new());
    }
}

/// Server programs that start nothing; `initdb` does as it is told.
fn stand_ins(initdb: &str) -> tempfile::TempDir {
    let programs = tempfile::tempdir().unwrap();
    let open = || std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(programs.path(), open()).unwrap();
    for (name, script) in [("postgres", "echo 'postgres (PostgreSQL) 16.1'"), ("initdb", initdb)] {
        let path = programs.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, open()).unwrap();
    }
    programs
}

/// A disk of its own in memory, of which only root can make one.
struct Disk(tempfile::TempDir);

impl Disk {
    /// With so many megabytes; none means 4 kB.
    fn with(megabytes: u32) -> Option<Self> {
        let at = temporary();
        let size = if megabytes == 0 { "size=4k".to_owned() } else { format!("size={megabytes}m") };
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("mode=755,{size}"), "driftlock-test"]).arg(at.path());
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self(at))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

/// Nothing but local binaries.
const NO_URL: (&str, &str) = ("DRIFTLOCK_POSTGRES_URL", "");

#[tokio::test]
async fn binaries_that_fail_are_quoted() {
    let broken = stand_ins("echo 'initdb: error: something is missing' >&2; exit 3");
    let temporary = temporary();
    let bin = broken.path().to_str().unwrap();
    let mut child = Child::start("error", temporary.path(), "local", &[("DRIFTLOCK_TEST_PG_BIN", bin)]);
    let said = child.answer().await;
    assert!(said.contains("initdb failed: exit status: 3") && said.contains("something is missing"), "{said}");
    child.end().await;
    assert_eq!(contents(temporary.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_full_disk_is_called_one_with_its_place_and_what_to_do() {
    let full = "No space left on device";
    // What initdb says, as a stand-in for a disk that takes root to make.
    let binaries = stand_ins(&format!("echo 'initdb: error: could not write to file \"x\": {full}' >&2; exit 1"));
    let temporary = temporary();
    let bin = binaries.path().to_str().unwrap();
    let mut child = Child::start("error", temporary.path(), "auto", &[("DRIFTLOCK_TEST_PG_BIN", bin), NO_URL]);
    let said = child.answer().await;
    let at = format!("the disk is full at {}/driftlock-", temporary.path().display());
    assert!(said.starts_with(&at) && said.contains("cannot run initdb: initdb: error: could not"), "{said}");
    assert!(said.contains("help: make room there; TMPDIR names the directory"), "{said}");
    child.end().await;
    assert_eq!(contents(temporary.path()), Vec::<String>::new());

    // A disk with no room for a cluster, one with room for a few copies, and one with none for a file.
    for (task, megabytes, expected) in [("error", 8, "cannot run initdb"), ("fill", 80, "database"), ("files", 0, "")] {
        let Some(disk) = Disk::with(megabytes) else { continue };
        let mut child = Child::start(task, disk.path(), "auto", &[NO_URL]);
        let said = child.answer().await;
        let at = format!("the disk is full at {}", disk.path().display());
        assert!(said.starts_with(&at) && said.contains(expected) && said.contains("help: make room"), "{task}: {said}");
        child.end().await;
        assert_eq!(contents(disk.path()), Vec::<String>::new());
    }
}

#[tokio::test]
async fn when_nothing_is_there_all_three_ways_are_explained() {
    let (temporary, empty) = (temporary(), tempfile::tempdir().unwrap());
    let mut child = Child::start(
        "error",
        temporary.path(),
        "auto",
        &[
            ("DRIFTLOCK_TEST_PG_BIN", empty.path().to_str().unwrap()),
            ("DOCKER_HOST", "unix:///nonexistent/docker.sock"),
            ("DRIFTLOCK_POSTGRES_URL", ""),
        ],
    );
    let said = child.answer().await;
    assert!(said.starts_with("no PostgreSQL can be had"), "{said}");
    for way in ["given URL: DRIFTLOCK_POSTGRES_URL is not set", "local: cannot find", "container: cannot"] {
        assert!(said.contains(way), "{way}: {said}");
    }
}

#[tokio::test]
async fn session_options_of_the_environment_are_refused() {
    let temporary = temporary();
    let mut child = Child::start("error", temporary.path(), "local", &[("PGOPTIONS", "-c lock_timeout=1")]);
    assert!(child.answer().await.contains("PGOPTIONS is set"));
}

#[tokio::test]
async fn a_server_that_dies_on_its_own_leaves_nothing_either() {
    let server = start(&options(PostgresChoice::Local)).await;
    let database = server.create_database("mine", None).await.unwrap();
    let socket = server.connect_options(&database).get_socket().unwrap().clone();
    let pid: i32 = server.pid().unwrap().try_into().unwrap();
    let shared = SharedMemory::of(socket.parent().unwrap());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    eventually("the server is gone", || (!process_is_alive(pid)).then_some(())).await;
    // The session that is open notices only when it next looks.
    let mut made = 0;
    while server.create_database(&format!("other{made}"), None).await.is_ok() {
        made += 1;
        assert!(made < 200, "a server without its postmaster goes on making databases");
    }
    server.stop().await.unwrap();
    assert!(!socket.parent().unwrap().exists());
    assert!(!shared.is_there(), "{shared:?}");
}

#[tokio::test]
async fn a_restart_ends_every_session_keeps_what_was_committed_and_stays_in_its_place() {
    let options = StartOptions { tcp: true, ..options(PostgresChoice::Local) };
    let server = start(&options).await;
    let maker = server.maker();
    let database = maker.create("restarted", None).await.unwrap();
    let mut session = connect(&server, &database).await;
    run(&mut session, "CREATE TABLE t (v int); INSERT INTO t VALUES (1)").await;
    run(&mut session, "BEGIN; INSERT INTO t VALUES (2)").await;
    let (pid, access) = (server.pid(), server.access(&database));
    for _ in 0..2 {
        maker.restart().await.unwrap();
        let ended = session.execute("SELECT 1").await;
        assert!(ended.is_err(), "its session goes on");
        assert_eq!(server.access(&database), access);
        session = connect(&server, &database).await;
        assert_eq!(answer(&mut session, "SELECT count(*) FROM t").await, "1");
    }
    assert_ne!(server.pid(), pid);
    // What makes databases has found its way back.
    maker.create("afterwards", None).await.unwrap();
    let directory = server.connect_options(&database).get_socket().unwrap().parent().unwrap().to_owned();
    server.stop().await.unwrap();
    assert!(!directory.exists(), "{directory:?}");
}
