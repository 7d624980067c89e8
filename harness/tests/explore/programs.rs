//! `explore` of applications, as a user has it: files, commands, what is printed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use super::apps::worker;
use super::command::driftlock;

/// A seat, and who wants it.
const BOOKING: &str = r#"[
    {"sql": "BEGIN"},
    {"sql": "SELECT count(*) FROM bookings WHERE seat = 1", "keep": "taken"},
    {"sql": "INSERT INTO bookings (seat) VALUES (1)", "if_even": "taken", "extended": true},
    {"sql": "COMMIT"}
]"#;
const LOCKED: &str = r#"[
    {"sql": "BEGIN"},
    {"sql": "SELECT FROM seats WHERE id = 1 FOR UPDATE"},
    {"sql": "SELECT count(*) FROM bookings WHERE seat = 1", "keep": "taken"},
    {"sql": "INSERT INTO bookings (seat) VALUES (1)", "if_even": "taken", "extended": true},
    {"sql": "COMMIT"}
]"#;
const SCHEMA: &str = "CREATE TABLE seats (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO seats VALUES (1), (2); \
     CREATE TABLE bookings (id serial PRIMARY KEY, seat int, at timestamptz DEFAULT clock_timestamp());";
const SOLD_ONCE: &str = "[[invariant]]\nname = \"sold-once\"\n\
     sql = \"SELECT seat FROM bookings GROUP BY seat HAVING count(*) > 1\"\n";

/// A file with two actors that do this, whatever the programs are called.
fn file(directory: &Path, name: &str, job: &str, more: &str) {
    let worker = worker().display().to_string();
    for (file, text) in [("booking.json", BOOKING), ("locked.json", LOCKED), ("schema.sql", SCHEMA)] {
        std::fs::write(directory.join(file), text).unwrap();
    }
    let text = format!(
        "name = \"{name}\"\nsummary = \"One seat, one booking.\"\nsetup = \"WORKER --setup schema.sql\"\n\
         silent-seconds = 4\n{more}\n[[actor]]\nname = \"customer\"\ncount = 2\n{job}\n"
    );
    std::fs::write(directory.join(format!("{name}.toml")), text.replace("WORKER", &worker)).unwrap();
}

fn explore(directory: &Path, name: &str) -> (Option<i32>, String) {
    let (file, out) = (format!("{name}.toml"), format!("{name}-out"));
    driftlock(directory, &["explore", "--postgres", "local", "--output", &out, &file])
}

#[test]
fn each_kind_of_actor_is_found_wanting_without_its_lock_and_exhausted_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let server = "[server]\ncommand = \"WORKER --serve {port} FILE\"\n";
    for (kind, job, more) in [
        ("run", "run = \"WORKER --once FILE\"", ""),
        ("worker", "worker = \"WORKER FILE\"", ""),
        ("http", "http = { method = \"POST\", path = \"/book\" }", server),
    ] {
        for (program, code) in [("booking.json", Some(1)), ("locked.json", Some(0))] {
            let name = format!("{kind}-{}", program.trim_end_matches(".json"));
            let at_end = |text: &str| text.replace("FILE", program);
            file(path, &name, &at_end(job), &format!("{}{}", at_end(more), SOLD_ONCE));
            let (ended, said) = explore(path, &name);
            assert_eq!(ended, code, "{name}: {said}");
            if code == Some(0) {
                assert!(said.contains("exhausted at statement granularity"), "{name}: {said}");
                continue;
            }
            // The units as they were sent, with what came of them, and the schedule that shows it again.
            assert!(said.contains("violation of sold-once") && said.contains("INSERT INTO bookings (seat)"), "{said}");
            let schedule = format!("{name}-out/schedule-{name}-sold-once.json");
            let (ended, said) = driftlock(path, &["replay", "--postgres", "local", &schedule]);
            assert_eq!(ended, Some(1), "{said}");
            assert!(said.contains("the same course, and the same violation"), "{said}");
        }
    }
}

#[test]
fn without_an_invariant_the_outcome_is_that_of_a_serial_order_generated_values_left_aside() {
    let directory = tempfile::tempdir().unwrap();
    file(directory.path(), "broken", "run = \"WORKER --once booking.json\"", "");
    let (code, said) = explore(directory.path(), "broken");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("violation of serial"), "{said}");
    file(directory.path(), "mended", "worker = \"WORKER locked.json\"", "");
    let (code, said) = explore(directory.path(), "mended");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("exhausted") && said.contains("column 1 of public.bookings"), "{said}");
    assert!(said.contains("column 3 of public.bookings"), "the clock's column is not told: {said}");
}

#[test]
fn a_deadlock_is_shown_with_its_victim_the_same_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let update = |id: u32| format!(r#"{{"sql": "UPDATE seats SET n = n + 1 WHERE id = {id}"}}"#);
    for (file, first, second) in [("ab.json", 1, 2), ("ba.json", 2, 1)] {
        let program = format!(r#"[{{"sql": "BEGIN"}}, {}, {}, {{"sql": "COMMIT"}}]"#, update(first), update(second));
        std::fs::write(path.join(file), program).unwrap();
    }
    let other = "worker = \"WORKER ab.json\"\n[[actor]]\nname = \"other\"\nworker = \"WORKER ba.json\"\n";
    file(path, "crossed", other, "");
    let text = std::fs::read_to_string(path.join("crossed.toml")).unwrap().replace("count = 2", "");
    std::fs::write(path.join("crossed.toml"), text).unwrap();
    for _ in 0..3 {
        let (code, said) = explore(path, "crossed");
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("violation of exits") && said.contains("40P01"), "{said}");
        assert!(said.contains("waits for") && said.contains("failed: 40P01"), "{said}");
        // Who fails is told; that the others' outcome is then no serial order's is no second finding.
        assert!(!said.contains("violation of serial"), "{said}");
    }
}

#[test]
fn who_waits_outside_of_the_database_is_waited_for_and_bounds_the_search_if_others_could_go_on() {
    let directory = tempfile::tempdir().unwrap();
    // Who sleeps for a moment computes.
    file(directory.path(), "sleeps", "run = \"sleep 0.4; WORKER --once locked.json\"", SOLD_ONCE);
    let (code, said) = explore(directory.path(), "sleeps");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("exhausted"), "{said}");
    // A lock in the file system keeps one out for as long as the other is held at the gate.
    file(directory.path(), "locks", "run = \"flock lock WORKER --once booking.json\"", SOLD_ONCE);
    let (code, said) = explore(directory.path(), "locks");
    // Nothing was ever concurrent, which is no pass.
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("bounded: ") && said.contains("waited for something outside of the database"), "{said}");
}

#[test]
fn what_is_wrong_with_a_program_is_said_with_what_it_printed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for (name, job, expected) in [
        ("absent", "run = \"no-such-program\"", "ended with exit code 127, where 0 is expected: "),
        ("exits", "run = \"echo oops >&2; exit 7\"", "ended with exit code 7, where 0 is expected: oops"),
        ("silent", "run = \"true\"", "never connected to driftlock's URL: it was given DATABASE_URL and PG*"),
        (
            "hangs",
            "run = \"echo here; sleep 60\"",
            "does not end, although nothing runs concurrently with it; it printed: here",
        ),
        ("spins", "run = \"while :; do :; done\"", "neither spoke to the database nor ended for 4 s, and computes"),
        ("elsewhere", "run = \"WORKER --once nothing.json\"", "ended with exit code 1"),
        (
            "mute",
            "worker = \"read line; echo why >&2; exit 3\"",
            "the worker ended with exit code 3 and gave no answer; it printed: why",
        ),
        ("babble", "worker = \"read line; echo done\"", "the worker answered \"done\" on its standard output"),
        (
            "deaf",
            "http = { path = \"/\" }\n[server]\ncommand = \"sleep 60\"\nready-seconds = 1",
            "did not answer GET / within 1 s; it printed nothing",
        ),
        (
            "dies",
            "http = { path = \"/\" }\n[server]\ncommand = \"echo no; exit 5\"",
            "ended with exit code 5 before it answered; it printed: no",
        ),
    ] {
        file(path, name, job, "");
        let begin = Instant::now();
        let (code, said) = explore(path, name);
        assert_eq!(code, Some(2), "{name}: {said}");
        assert!(
            said.replace('\n', " ").split_whitespace().collect::<Vec<_>>().join(" ").contains(expected),
            "{name}: {said}"
        );
        assert!(begin.elapsed() < Duration::from_secs(60), "{name} took {:?}", begin.elapsed());
    }
    file(path, "set-up", "run = \"true\"", "");
    let text = std::fs::read_to_string(path.join("set-up.toml")).unwrap().replace("schema.sql", "nothing.sql");
    std::fs::write(path.join("set-up.toml"), text).unwrap();
    let (code, said) = explore(path, "set-up");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("the set-up failed") && said.contains("exit code 1"), "{said}");
}

#[test]
fn whoever_waits_for_a_transaction_that_a_program_has_left_open_is_stuck() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("open.json"), r#"[{"sql": "BEGIN"}, {"sql": "UPDATE seats SET n = 1"}]"#)
        .unwrap();
    file(directory.path(), "open", "worker = \"WORKER open.json\"", SOLD_ONCE);
    let (code, said) = explore(directory.path(), "open");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("violation of stuck") && said.contains("would wait for ever"), "{said}");
}

#[test]
fn a_command_that_cannot_take_an_application_says_so() {
    let directory = tempfile::tempdir().unwrap();
    file(directory.path(), "app", "run = \"true\"", "");
    let (code, said) = driftlock(directory.path(), &["plan", "--slo", "p99<100ms", "app.toml"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("an application"), "{said}");
}

#[test]
fn megabytes_are_printed_and_children_left_behind_are_ended() {
    let directory = tempfile::tempdir().unwrap();
    let mark = format!("{}", 100_000 + std::process::id());
    let job = format!("run = \"sleep {mark} & yes | head -c 9000000; WORKER --once locked.json\"");
    file(directory.path(), "loud", &job, SOLD_ONCE);
    let (code, said) = explore(directory.path(), "loud");
    assert_eq!(code, Some(0), "{said}");
    assert!(!is_running(&mark), "a child is left");
    // Killed without a chance to clean up, nothing of it outlives it by long.
    let mut running = Command::new(env!("CARGO_BIN_EXE_driftlock"))
        .args(["explore", "--postgres", "local", "loud.toml"])
        .current_dir(directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while !is_running(&mark) {
        assert!(begin.elapsed() < Duration::from_secs(60), "it never begins");
        std::thread::yield_now();
    }
    running.kill().unwrap();
    running.wait().unwrap();
    let begin = Instant::now();
    while is_running(&mark) {
        assert!(begin.elapsed() < Duration::from_secs(10), "a child outlives the program");
        std::thread::yield_now();
    }
}

/// Whether a process sleeps for this number of seconds.
fn is_running(mark: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let wanted = format!("sleep\0{mark}\0");
    lines.any(|line| line == wanted.as_bytes())
}
