//! Migrations that are cut off and run again.

use crate::{found, rehearse};

const ARGUMENTS: [&str; 8] = ["--postgres", "local", "--format", "json", "--events", "1000", "--failures", "--filter"];

#[test]
fn what_is_one_transaction_recovers_from_every_cut_and_a_concurrent_build_does_not() {
    let at = tempfile::tempdir().unwrap();
    let report = rehearse(at.path(), &[&ARGUMENTS[..], &["postgres"]].concat()).ends_with(0).json();
    let row = report["results"].as_array().unwrap().iter().find(|row| row["strategy"] == "failures").unwrap();
    let found = found(row);
    assert_eq!(found[0], "not-recovered 0003_unique_signal_index.up.sql:2 42P07");
    // What the dead process had begun goes on in the server, and the next run may meet it: 40P01.
    assert!(found.iter().all(|one| one.starts_with("not-recovered 0003_unique_signal_index.up.sql:2")), "{found:?}");
    let sentences: Vec<&str> =
        row["findings"].as_array().unwrap().iter().map(|one| one["sentence"].as_str().unwrap()).collect();
    for cut in ["a cancel", "the end of its session", "a lock_timeout", "the death of the migrating process"] {
        let said = format!("cut off by {cut}, the next run was refused");
        assert!(sentences.iter().any(|sentence| sentence.contains(&said)), "{cut}: {sentences:?}");
    }
    let note = row["notes"][0].as_str().unwrap();
    assert!(note.starts_with("cut off 20 times at 7 statements, after 16 of them"), "{note}");
}

#[test]
fn a_second_run_that_only_says_that_it_succeeded_has_not_recovered() {
    let at = tempfile::tempdir().unwrap();
    let report = rehearse(at.path(), &[&ARGUMENTS[..], &["if-not-exists"]].concat()).ends_with(1).json();
    let row = report["results"].as_array().unwrap().iter().find(|row| row["strategy"] == "failures").unwrap();
    // A dead process's build may also meet the next one: 40P01.
    let found = found(row);
    assert_eq!(found[0], "not-recovered 0003_unique_signal.up.sql:2 -");
    assert!(found.iter().all(|one| one.starts_with("not-recovered 0003_unique_signal.up.sql:2")), "{found:?}");
    let sentence = row["findings"][0]["sentence"].as_str().unwrap();
    assert!(sentence.contains("the next run reported success, and the schema differs"), "{sentence}");
    assert!(sentence.contains("(invalid)"), "{sentence}");
}
