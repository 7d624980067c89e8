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

/// SQLite's driver goes by the columns that a statement had when it was prepared, and dies where it gets more of them
/// while it waits. That once hung, ended with exit 4 and a panic's text, or looked like an answer without rows.
#[test]
fn on_sqlite_a_star_that_grows_in_the_middle_of_a_statement_is_told_with_what_to_write_instead() {
    let explored = |returned: &str| {
        let directory = tempfile::tempdir().unwrap();
        let text = format!(
            "name = \"grows\"\nsummary = \"A column comes.\"\n\
             setup = \"CREATE TABLE t (id INTEGER PRIMARY KEY, v INT); INSERT INTO t VALUES (1, 0)\"\n\
             [[actor]]\nname = \"one\"\n\
             steps = [\"BEGIN\", \"UPDATE t SET v = v + 1 WHERE id = 1 RETURNING {returned}\", \"COMMIT\"]\n\
             [[actor]]\nname = \"two\"\nsteps = [\"ALTER TABLE t ADD COLUMN w INT\"]\n\
             [[serial]]\nname = \"v\"\nsql = \"SELECT id, v FROM t\"\n[[case]]\nbackend = \"sqlite\"\n"
        );
        fs::write(directory.path().join("grows.toml"), text).unwrap();
        driftlock(directory.path(), &["explore", "grows.toml", "--output", "out"])
    };
    // Whether the driver's thread is already gone when it is asked next is chance.
    for _ in 0..2 {
        let (code, said) = explored("*");
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("grows.toml:6:") && said.contains("name the columns in place of `*`"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    let (code, said) = explored("id, v");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("exhausted"), "{said}");
}

/// An error of the machine is no answer of the job: a violation, or a mistake of the script, would be neither.
#[test]
fn a_full_disk_is_neither_a_violation_nor_a_mistake_of_the_script() {
    let setup = "CREATE TABLE t (v int); INSERT INTO t VALUES (0)";
    let steps = "steps = [\"UPDATE t SET v = v + 1\"]";
    // As the server says it where it finds no room.
    let full = "DO $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$";
    let (code, said) = explored("refusals = \"none\"", setup, &format!("steps = [\"{full}\"]"), steps);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("could not extend file (53100): the disk is full"), "{said}");
    let (code, said) = explored("", &format!("{setup};\n{full};"), steps, steps);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("sessions.toml:5:") && said.contains("the disk is full"), "{said}");

    let directory = tempfile::tempdir().unwrap();
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000) \
                INSERT INTO t SELECT printf('%.90c', 'x') FROM n";
    let text = format!(
        "name = \"full\"\nsummary = \"No page is left.\"\nsetup = \"CREATE TABLE t (v)\"\n\
         [[actor]]\nname = \"one\"\nsteps = [\"PRAGMA max_page_count = 8\", \"{many}\"]\n\
         [[actor]]\nname = \"two\"\nsteps = [\"INSERT INTO t VALUES (1)\"]\n\
         [[serial]]\nname = \"rows\"\nsql = \"SELECT count(*) FROM t\"\n[[case]]\nbackend = \"sqlite\"\n"
    );
    fs::write(directory.path().join("full.toml"), text).unwrap();
    for command in ["explore", "verify"] {
        let (code, said) = driftlock(directory.path(), &[command, "full.toml", "--output", command]);
        assert_eq!(code, Some(4), "{said}");
        assert!(said.contains("(13): the disk is full"), "{said}");
    }
}

/// Of a session that has ended the server says nothing: that is not to say that it tracks no activities.
#[test]
fn in_free_rounds_a_session_may_be_ended_at_any_moment() {
    let directory = tempfile::tempdir().unwrap();
    let text = "name = \"ended\"\nsummary = \"A session is ended.\"\nsetup = \"CREATE TABLE t (v int)\"\n\
                refusals = [\"57P01\", \"22012\"]\nallows-no-effect = true\n\
                [[actor]]\nname = \"one\"\nsteps = [\"BEGIN\", \"INSERT INTO t VALUES (1)\", \"SELECT 1 / 0\", \"COMMIT\"]\n\
                [[actor]]\nname = \"two\"\nsteps = [\"SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE application_name LIKE 'driftlock%one'\"]\n\
                [[invariant]]\nname = \"nothing\"\nsql = \"SELECT 1 WHERE false\"\n[[case]]\nbackend = \"postgres\"\n";
    fs::write(directory.path().join("ended.toml"), text).unwrap();
    let arguments = ["verify", "ended.toml", "--postgres", "local", "--rounds", "100", "--output", "out"];
    let (code, said) = driftlock(directory.path(), &arguments);
    assert_ne!(code, Some(4), "{said}");
    assert!(said.contains("100 rounds"), "{said}");
}
