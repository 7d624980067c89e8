//! Each specification in `specs/` says what its file beside it says.

use std::fs;
use std::path::Path;
use std::time::Duration;

use driftlock_isolation::{RunError, Target};

use super::{server, transcript};

#[tokio::test(flavor = "multi_thread")]
async fn every_specification_of_our_own_says_what_is_expected() {
    let server = server().await;
    let target = Target::make(&server, 0).await.unwrap();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/isolation/specs");
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "spec"));
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let (said, ended) = transcript(&target, &file, Duration::from_secs(60)).await;
        let expected = fs::read_to_string(file.with_extension("out")).unwrap();
        assert_eq!(said, expected, "{}", file.display());
        ended.unwrap();
    }
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_does_not_end_is_cancelled_and_a_failed_set_up_ends_the_run() {
    let server = server().await;
    let mut target = Target::make(&server, 0).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("endless.spec");
    fs::write(&file, "session s step sleep { SELECT pg_sleep(600) } permutation sleep").unwrap();
    let (said, ended) = transcript(&target, &file, Duration::from_secs(1)).await;
    assert!(said.contains("isolationtester: canceling step sleep after 1 seconds\n"), "{said}");
    assert!(said.ends_with("ERROR:  canceling statement due to user request\n"), "{said}");
    ended.unwrap();
    fs::write(&file, "setup { CREATE TABLE t (); SELECT nothing }\nsession s step a {}").unwrap();
    let (said, ended) = transcript(&target, &file, Duration::from_secs(60)).await;
    let expected = "setup failed: ERROR:  column \"nothing\" does not exist\n\
                    LINE 1: CREATE TABLE t (); SELECT nothing\n                                  ^\n";
    assert!(said.ends_with(expected), "{said}");
    assert!(matches!(ended, Err(RunError::Setup { .. })));
    target.renew(&server).await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_whose_markers_wait_for_each_other_end_the_run() {
    let server = server().await;
    let target = Target::make(&server, 0).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mutual.spec");
    fs::write(&file, "session s step a { SELECT 1 } session t step b { SELECT 2 } permutation a(b notices 1) b(a)")
        .unwrap();
    let (said, ended) = transcript(&target, &file, Duration::from_secs(60)).await;
    assert!(said.ends_with("failed to complete permutation due to mutually-blocking steps\n"), "{said}");
    assert!(matches!(ended, Err(RunError::MutuallyBlocked)));
    server.stop().await.unwrap();
}
