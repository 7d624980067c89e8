//! The same as one call of the library's.

use std::path::Path;

use driftlock::outcome::VerdictKind;

#[path = "../../examples/verify_script.rs"]
#[expect(dead_code, reason = "its main function is the example's")]
mod verify_script;

#[tokio::test]
async fn a_script_is_verified_by_one_call_and_its_cases_come_to_what_they_say() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/explore/lost-update.toml");
    let verdicts = verify_script::verified(&script, 40).await.unwrap();
    let of = |verdict| verdicts.iter().filter(|one| one.1 == verdict).count();
    assert!(of(VerdictKind::Violation) > 0 && of(VerdictKind::Pass) > 0, "{verdicts:?}");
}
