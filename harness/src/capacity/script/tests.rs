use std::path::Path;

use super::*;

fn script(step: &str) -> Script {
    let text = format!(
        "name = \"x\"\nsummary = \"x\"\nsetup = \"SELECT 1\"\n[[actor]]\nname = \"one\"\nsteps = [\"{{begin}}\", {step}]\n\
         [[invariant]]\nname = \"none\"\nsql = \"SELECT 1 WHERE false\"\n"
    );
    Script::parse(Path::new("x.toml"), text.as_bytes()).unwrap()
}

#[test]
fn what_cannot_be_done_again_is_named_and_what_can_is_not() {
    let rows = script("{ sql = \"UPDATE t SET a = 1\", name = \"up\" }");
    assert_eq!((unrepeatable(&rows, false), unrepeatable(&rows, true)), (None, None));
    let schema = script("{ sql = \"CREATE TABLE t (a int)\", name = \"make\" }");
    assert!(unrepeatable(&schema, false).unwrap().starts_with("step make of actor one changes"));
    let session = script("\"SELECT pg_advisory_lock(1)\"");
    assert_eq!(unrepeatable(&session, false), None);
    assert!(unrepeatable(&session, true).unwrap().starts_with("step 2 of actor one may leave"));
}

#[test]
fn the_step_that_locks_is_named_in_the_file() {
    let script = script("{ sql = \"SELECT 1\", lock = true }");
    assert!(script.actors[0].steps[1].locks && !script.actors[0].steps[0].locks);
}
