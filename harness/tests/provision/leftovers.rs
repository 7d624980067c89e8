use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::child::{Child, contents, kill, sweep_by_another, temporary};
use crate::{eventually, process_is_alive};

fn held(said: &str) -> (i32, PathBuf) {
    let said: Value = serde_json::from_str(said).unwrap();
    let pid = said["pid"].as_i64().unwrap().try_into().unwrap();
    (pid, PathBuf::from(said["directory"].as_str().unwrap()))
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

    kill(doomed).await;
    // The server outlives its harness, and does not keep the lock.
    assert!(process_is_alive(doomed_pid) && doomed_directory.exists());
    assert_eq!(sweep_by_another(temporary.path()).await, [doomed_directory.as_path()]);
    eventually("its server is gone", || (!process_is_alive(doomed_pid)).then_some(())).await;
    assert!(!doomed_directory.exists());
    assert!(process_is_alive(living_pid) && living_directory.exists());

    // What the next start of a server sweeps, too.
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
    let temporary = temporary();
    let mut child = Child::start("cancelled", temporary.path(), "local", &[]);
    let status = child.end().await;
    assert!(status.success(), "{}", child.log());
    let given_up: u32 = child.answer().await.parse().unwrap();
    assert!(given_up >= 2, "cancelled only {given_up} times before a start came through");
    assert_eq!(contents(temporary.path()), Vec::<String>::new());
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
