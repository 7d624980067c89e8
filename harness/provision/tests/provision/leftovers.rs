use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use driftlock_provision::{PostgresChoice, ProvisionError, StartOptions};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde_json::Value;

use crate::child::{Child, contents, kill, sweep_by_another, temporary};
use crate::{SharedMemory, at_work_in, eventually, options, process_is_alive, soon, start};

fn held(said: &str) -> (i32, PathBuf) {
    let said: Value = serde_json::from_str(said).unwrap();
    let pid = said["pid"].as_i64().unwrap().try_into().unwrap();
    (pid, PathBuf::from(said["directory"].as_str().unwrap()))
}

/// Kills whoever would clean up once the owner of a directory is gone.
async fn kill_watcher(directory: &Path) {
    let is_watcher = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0).skip_while(|word| *word != b"driftlock-watcher");
        words.nth(1) == Some(directory.as_os_str().as_encoded_bytes())
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids: Vec<i32> = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_watcher).collect();
    assert_eq!(pids.len(), 1, "one watcher for {}", directory.display());
    signal::kill(Pid::from_raw(pids[0]), Signal::SIGKILL).unwrap();
    eventually("the watcher is gone", || (!process_is_alive(pids[0])).then_some(())).await;
}

/// Stops every process at work in a directory, as a debugger or a frozen machine does.
async fn freeze(directory: &Path) -> Vec<i32> {
    let is_stopped = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    };
    // Who has not been stopped yet may start another one.
    eventually("all are stopped", || {
        let pids = at_work_in(directory);
        for pid in &pids {
            let _ = signal::kill(Pid::from_raw(*pid), Signal::SIGSTOP);
        }
        (pids.len() > 1 && pids.iter().all(is_stopped) && at_work_in(directory) == pids).then_some(pids)
    })
    .await
}

#[tokio::test]
async fn nothing_outlives_a_killed_harness() {
    let temporary = temporary();
    for is_frozen in [false, true] {
        let mut child = Child::start("hold", temporary.path(), "local", &[]);
        let (pid, directory) = held(&child.answer().await);
        assert!(at_work_in(&directory).contains(&pid));
        let shared = SharedMemory::of(&directory);
        if is_frozen {
            freeze(&directory).await;
        }
        kill(child).await;
        soon("the server is gone, with its directory", || {
            (at_work_in(&directory).is_empty() && contents(temporary.path()).is_empty()).then_some(())
        })
        .await;
        assert!(!shared.is_there(), "{shared:?}");
    }
}

#[tokio::test]
async fn files_do_not_outlive_a_killed_harness_either() {
    let temporary = temporary();
    let mut child = Child::start("files", temporary.path(), "auto", &[]);
    child.answer().await;
    assert_eq!(contents(temporary.path()).len(), 1);
    kill(child).await;
    soon("the directory is gone", || contents(temporary.path()).is_empty().then_some(())).await;
}

#[tokio::test]
async fn ctrl_c_ends_a_server_that_is_frozen_whatever_is_under_way_on_it() {
    let temporary = temporary();
    let mut child = Child::start("busy", temporary.path(), "local", &[]);
    let (_, directory) = held(&child.answer().await);
    let shared = SharedMemory::of(&directory);
    let frozen = freeze(&directory).await;
    child.signal_only(Signal::SIGINT);
    let status = soon("the child ends", || child.has_ended()).await;
    assert!(status.success(), "{status}: {}", child.log());
    assert!(!frozen.into_iter().any(process_is_alive));
    assert!(!shared.is_there(), "{shared:?}");
    assert_eq!(contents(temporary.path()), Vec::<String>::new());
}

#[tokio::test]
async fn ctrl_c_is_heard_while_a_given_server_is_frozen() {
    let temporary = temporary();
    let server = start(&StartOptions { tcp: true, ..options(PostgresChoice::Local) }).await;
    let database = server.create_database("mine", None).await.unwrap();
    let directory = server.connect_options(&database).get_socket().unwrap().parent().unwrap().to_owned();
    let url = server.access(&database).unwrap();
    let mut child = Child::start("busy", temporary.path(), url.expose(), &[]);
    child.answer().await;
    freeze(&directory).await;
    child.signal_only(Signal::SIGINT);
    soon("the child ends", || child.has_ended()).await;
    assert!(child.log().contains("no answer within 3 s; the next start drops"), "{}", child.log());
    server.stop().await.unwrap();
    assert!(!directory.exists());
}

#[tokio::test]
async fn a_server_that_answers_nobody_is_not_waited_for_as_long_as_a_statement_may_take() {
    let server = start(&options(PostgresChoice::Local)).await;
    let template = server.create_database("template", None).await.unwrap();
    let directory = server.connect_options(&template).get_socket().unwrap().parent().unwrap().to_owned();
    freeze(&directory).await;
    let creation = server.create_database("other", None);
    let error = tokio::time::timeout(Duration::from_secs(60), creation).await.expect("half of a statement's time");
    assert!(matches!(error, Err(ProvisionError::Unreachable { .. })), "{error:?}");
    server.stop().await.unwrap();
    assert!(!directory.exists());
}

#[tokio::test]
async fn what_a_killed_harness_left_is_swept_and_what_a_living_one_has_is_not() {
    let temporary = temporary();
    let mut doomed = Child::start("hold", temporary.path(), "local", &[]);
    let mut living = Child::start("hold", temporary.path(), "local", &[]);
    let (doomed_pid, doomed_directory) = held(&doomed.answer().await);
    let (living_pid, living_directory) = held(&living.answer().await);
    assert!(sweep_by_another(temporary.path()).await.is_empty());
    assert!(process_is_alive(doomed_pid) && process_is_alive(living_pid));

    kill_watcher(&doomed_directory).await;
    kill(doomed).await;
    // Without its watcher the server outlives its harness, and does not keep the lock.
    assert!(process_is_alive(doomed_pid) && doomed_directory.exists());
    assert_eq!(sweep_by_another(temporary.path()).await, [doomed_directory.as_path()]);
    eventually("its server is gone", || (!process_is_alive(doomed_pid)).then_some(())).await;
    assert!(!doomed_directory.exists());
    assert!(process_is_alive(living_pid) && living_directory.exists());

    // What the next start of a server sweeps, too; also where nothing of the server runs on.
    kill_watcher(&living_directory).await;
    kill(living).await;
    let mut next = Child::start("use", temporary.path(), "local", &[]);
    assert!(next.end().await.success(), "{}", next.log());
    assert!(!process_is_alive(living_pid));
    assert_eq!(contents(temporary.path()), Vec::<String>::new());
}

#[tokio::test]
async fn ctrl_c_reaches_the_harness_alone_and_leaves_nothing() {
    let temporary = temporary();
    let mut child = Child::start("interrupt", temporary.path(), "local", &[]);
    let (pid, _) = held(&child.answer().await);
    let status = child.signal(Signal::SIGINT).await;
    assert!(status.success(), "{status}: {}", child.log());
    assert!(!process_is_alive(pid));
    assert_eq!(contents(temporary.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_panic_leaves_nothing() {
    let temporary = temporary();
    let mut child = Child::start("panic", temporary.path(), "local", &[]);
    let (pid, _) = held(&child.answer().await);
    assert!(!child.end().await.success());
    assert!(child.log().contains("on purpose"), "{}", child.log());
    assert!(!process_is_alive(pid));
    assert_eq!(contents(temporary.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_start_that_is_cancelled_leaves_nothing_however_far_it_has_come() {
    let cache = tempfile::tempdir().unwrap();
    let kept = cache.path().to_str().unwrap();
    // With initdb; with a cluster that is kept then; with one that was.
    for cache in ["", kept, kept] {
        let temporary = temporary();
        let mut child = Child::start("cancelled", temporary.path(), "local", &[("DRIFTLOCK_CACHE_DIR", cache)]);
        let status = child.end().await;
        assert!(status.success(), "{}", child.log());
        let given_up: u32 = child.answer().await.parse().unwrap();
        assert!(given_up >= 2, "cancelled only {given_up} times before a start came through");
        assert_eq!(contents(temporary.path()), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_directory_of_somebody_else_is_left_alone_by_the_program_too() {
    let temporary = temporary();
    for name in ["driftlock-0123456789", "driftlock-backup", "driftlock"] {
        std::fs::create_dir_all(temporary.path().join(name).join("data")).unwrap();
        std::fs::write(temporary.path().join(name).join("data/postmaster.pid"), "1\n").unwrap();
    }
    assert!(sweep_by_another(temporary.path()).await.is_empty());
    assert_eq!(contents(temporary.path()).len(), 3);
}
