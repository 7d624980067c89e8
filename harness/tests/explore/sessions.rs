//! What happens to sessions, and what they are sent beside statements: a session that is ended, data that is copied,
//! notifications, set-ups that no transaction can hold, and steps that take their time.

use std::fs;

use crate::command::driftlock;

/// A script of two actors with these steps, and what comes of exploring it on PostgreSQL.
fn explored(head: &str, setup: &str, one: &str, two: &str) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "name = \"sessions\"\nsummary = \"Two sessions.\"\nsetup = \"\"\"\n{setup}\n\"\"\"\n{head}\n\
         [[actor]]\nname = \"one\"\n{one}\n[[actor]]\nname = \"two\"\n{two}\n\
         [[serial]]\nname = \"rows\"\nsql = \"SELECT * FROM t\"\n[[case]]\nbackend = \"postgres\"\n"
    );
    fs::write(directory.path().join("sessions.toml"), text).unwrap();
    driftlock(directory.path(), &["explore", "sessions.toml", "--postgres", "local", "--output", "out"])
}

/// The work of a session that is ended is undone; its actor is refused, or begins anew on another session.
#[test]
fn a_session_that_is_ended_is_refused_and_its_actor_may_begin_anew() {
    let work = "\"BEGIN\", \"UPDATE t SET v = v + 1\", ";
    let kills = "steps = [\"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
                 WHERE application_name = 'driftlock/one'\"]";
    let setup = "CREATE TABLE t (v int); INSERT INTO t VALUES (0)";
    let (code, said) = explored("", setup, &format!("steps = [{work}\"COMMIT\"]"), kills);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("one failed: ") && said.contains("(57P01)"), "{said}");
    // Not where nobody is left to be ended: that would be refused for ever.
    let again = format!("retry = 2\nsteps = [{work}{{ sql = \"COMMIT\", on-error = {{ 57P01 = \"retry\" }} }}]");
    let (code, said) = explored("refusals = [\"57P01\"]\nallows-no-effect = true", setup, &again, kills);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("exhausted") && said.contains("57P01"), "{said}");
}

#[test]
fn data_is_copied_and_what_cannot_be_sent_has_its_place() {
    let setup = "CREATE TABLE t (v int PRIMARY KEY)";
    let insert = "steps = [\"INSERT INTO t VALUES (6)\"]";
    let copies =
        "steps = [\"BEGIN\", { sql = \"COPY t FROM STDIN\", stdin = \"5\\n6\\n\", affected = \"n\" }, \"COMMIT\"]";
    let (code, said) = explored("refusals = \"none\"", setup, copies, insert);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("duplicate key") && said.contains("23505"), "{said}");
    let (code, said) = explored("", setup, "steps = [\"COPY t FROM STDIN\"]", insert);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("sessions.toml:9:10") && said.contains("needs a `stdin`"), "{said}");
}

#[test]
fn a_set_up_may_do_what_no_transaction_can_and_what_is_wrong_in_it_has_its_place() {
    let steps = "steps = [\"UPDATE t SET v = v + 1\"]";
    let setup = "CREATE TABLE t (v int);\nINSERT INTO t VALUES (0);\nCREATE INDEX CONCURRENTLY i ON t (v);";
    let (code, said) = explored("", setup, steps, steps);
    assert_eq!(code, Some(0), "{said}");
    let index = "steps = [\"CREATE INDEX CONCURRENTLY j ON t (v)\"]";
    let (code, said) = explored("allows-no-effect = true", setup, steps, index);
    assert_eq!(code, Some(0), "{said}");
    for (wrong, place) in [
        ("SELECT 1,\n  nothing", "sessions.toml:6:3"),
        ("INSERT INTO t VALUES ('x')", "sessions.toml:5:23"),
        ("ALTER TABLE t ADD CHECK (v > 5)", "sessions.toml:5:1"),
    ] {
        let setup = format!("CREATE TABLE t (v int); INSERT INTO t VALUES (0);\n{wrong};");
        let (code, said) = explored("", &setup, steps, steps);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(place) && said.contains("failed to set up: "), "{said}");
    }
}

#[test]
fn what_arrives_is_shown_and_how_long_a_step_may_take_is_the_files_to_say() {
    let setup = "CREATE TABLE t (v int); INSERT INTO t VALUES (0)";
    let notifies = "steps = [\"BEGIN\", \"UPDATE t SET v = v + 1\", \"NOTIFY moved, 'one'\", \"COMMIT\"]";
    // It fails, so that there is something to see.
    let listens = "goes-on = true\nsteps = [\"LISTEN moved\", \"SELECT 1\", \"SELECT 1 / v FROM t\"]";
    let (code, said) = explored("refusals = \"none\"", setup, notifies, listens);
    assert_eq!(code, Some(1), "{said}");
    let slow = "steps = [\"SELECT pg_sleep(1.5)\", \"UPDATE t SET v = v + 1\"]";
    let (code, said) = explored("step-seconds = 1", setup, slow, "steps = [\"UPDATE t SET v = v + 2\"]");
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("within 1 s (`step-seconds`)"), "{said}");
}

/// Two runs that write into the same directory would leave a report of neither.
#[test]
fn a_directory_of_outputs_is_one_runs() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["explore", "--built-in", "--filter", "no-lock/", "--postgres", "local", "--output", "out"];
    fs::create_dir(directory.path().join("out")).unwrap();
    let taken = fs::File::open(directory.path().join("out")).unwrap();
    taken.lock().unwrap();
    let (code, said) = driftlock(directory.path(), &arguments);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("another run writes its outputs there just now"), "{said}");
    taken.unlock().unwrap();
    let (code, said) = driftlock(directory.path(), &arguments);
    assert_eq!(code, Some(0), "{said}");
}

/// What we send beside the statements takes no snapshot before the actor's own: who locks first, or says first at which
/// level it works, sees what was committed until then.
#[test]
fn a_transaction_that_begins_with_a_lock_or_its_level_has_its_snapshot_later() {
    let setup = "CREATE TABLE t (v int); INSERT INTO t VALUES (0)";
    let work = "{ sql = \"SELECT v FROM t\", capture = \"v\" }, \"UPDATE t SET v = {v} + 1\", \"COMMIT\"]";
    let locks =
        format!("steps = [\"BEGIN ISOLATION LEVEL REPEATABLE READ\", \"LOCK TABLE t IN EXCLUSIVE MODE\", {work}");
    let (code, said) = explored("refusals = \"none\"", setup, &locks, &locks);
    assert_eq!(code, Some(0), "{said}");
    let sets = format!("retry = 3\nsteps = [\"BEGIN\", \"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ\", {work}");
    let (code, said) = explored("refusals = \"none\"", setup, &sets, &sets);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("25001"), "{said}");
}
