//! The same as one call of the library's.

use std::path::Path;

use driftlock::outcome::VerdictKind;

#[path = "../../examples/rehearse_directory.rs"]
#[expect(dead_code, reason = "its main function is the example's")]
mod rehearse_directory;

#[tokio::test]
async fn a_directory_is_rehearsed_by_one_call_on_either_backend() {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/rehearse");
    let rows = rehearse_directory::rehearsed(&scenarios.join("sqlite-half-a-file"), 1_000).await.unwrap();
    let beside: Vec<&str> = rows.iter().map(|row| row.strategy.as_str()).collect();
    assert_eq!(beside, ["alone, wal", "alone, rollback"]);
    let rows = [rows, rehearse_directory::rehearsed(&scenarios.join("down-order"), 1_000).await.unwrap()].concat();
    assert_eq!(rows.last().unwrap().backend, "postgres");
    for row in rows {
        assert_eq!((row.verdict, row.met), (VerdictKind::Violation, true), "{row:#?}");
    }
}
