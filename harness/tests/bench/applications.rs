//! `bench` on applications: a user's programs as load.

use std::path::{Path, PathBuf};
use std::time::Duration;

use driftlock::capacity::application::measure::Held;
use driftlock::capacity::phase::Phase;
use driftlock::capacity::setting::{Way, Work};
use driftlock::outcome::VerdictKind;
use driftlock::report::bench::BenchReport;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::call;
use crate::called::program;
use crate::comes::comes;

/// Two that add to a number from what they read; how they read is to be put in.
const ADDS: &str = r#"[
    {"sql": "BEGIN"},
    {"sql": "SELECT n FROM seats WHERE id = 1LOCK", "keep": "n"},
    {"sql": "UPDATE seats SET n = {n}::int + 1 WHERE id = 1"},
    {"sql": "INSERT INTO added VALUES (1)"},
    {"sql": "COMMIT"}
]"#;
const SCHEMA: &str = "CREATE TABLE seats (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO seats VALUES (1); \
                      CREATE TABLE added (n int)";
/// None is lost, however many rounds there were; and what only holds after one round.
const INVARIANTS: &str = r#"
[[invariant]]
name = "none-lost"
sql = "SELECT n FROM seats WHERE n <> (SELECT count(*) FROM added)"
[[invariant]]
name = "only-two"
sql = "SELECT n FROM seats WHERE n <> 2"
"#;
const QUICK: [&str; 6] = ["--warm-up", "200ms", "--duration", "1s", "--postgres", "local"];

/// The example that interprets programs: it is built beside the tests.
fn worker() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_driftlock"));
    let worker = path.parent().unwrap().join("examples/worker");
    assert!(worker.exists(), "{} is missing: cargo build -p driftlock --example worker", worker.display());
    worker
}

/// A directory with the programs and `app.toml`: its two actors do `job`, after what is in `more`.
fn app(job: &str, more: &str) -> tempfile::TempDir {
    let at = tempfile::tempdir().unwrap();
    let file = format!(
        "name = \"adding\"\nsummary = \"Two add to one number.\"\nsetup = \"WORKER --setup schema.sql\"\n\
         silent-seconds = 3\n{more}\n[[actor]]\nname = \"adder\"\ncount = 2\n{job}\n{INVARIANTS}"
    );
    let file = file.replace("WORKER", &worker().display().to_string());
    let programs = [("lost.json", ADDS.replace("LOCK", "")), ("locked.json", ADDS.replace("LOCK", " FOR UPDATE"))];
    let files = [("schema.sql", SCHEMA.to_owned()), ("app.toml", file)];
    for (name, text) in programs.into_iter().chain(files) {
        std::fs::write(at.path().join(name), text).unwrap();
    }
    at
}

async fn bench(at: &Path, more: &[&str]) -> crate::called::Called {
    call(at, &[&["bench", "app.toml", "--output", "run"], more, &QUICK].concat()).await
}

#[tokio::test]
async fn workers_that_stay_warm_are_loaded_through_the_proxy_which_tells_what_they_do() {
    let at = app("worker = \"exec WORKER locked.json\"", "");
    let ran = bench(at.path(), &["--workers", "4"]).await;
    assert!(matches!(ran.code, Some(0 | 3)), "{}{}", ran.out, ran.err);
    let report = BenchReport::load(&at.path().join("run")).unwrap();
    let (recording, run) = (&report.recording, report.application.as_ref().unwrap());
    assert_eq!((report.setting.work, run.way, recording.failed), (Work::Application, Way::Proxy, 0));
    assert!(recording.keys.len() == 2 && recording.keys.iter().all(|key| key.tasks > 3), "{}", ran.out);
    for phase in [Phase::Begin, Phase::Read, Phase::Write, Phase::Commit, Phase::InTransaction] {
        // Each task does each of these once, or in one transaction: so nothing of another task is in it.
        assert_eq!(recording.histograms[&phase].len(), recording.tasks(), "{phase:?}");
    }
    let [transaction, response] = [Phase::InTransaction, Phase::Response].map(|phase| recording.mean(phase).unwrap());
    assert!(transaction < response, "{transaction} {response}");
    // Four workers want one row, and the server says that they wait: in its sessions, and of the statement that locks.
    assert!(run.gauges.looks > 5 && run.gauges.sessions.max == 4 && run.gauges.waiting.max > 0, "{:?}", run.gauges);
    let recorded = run.recorded.as_ref().unwrap();
    let statement = |begin: &str| recorded.statements.iter().find(|row| row.text.starts_with(begin)).unwrap();
    let (lock, commit) = (statement("SELECT n FROM seats"), statement("COMMIT"));
    // The proxy counts units by when they come, and tasks count by when they begin: four may straddle either end.
    assert!(
        lock.waited_ms > 0.0 && commit.times.abs_diff(recording.tasks()) <= 8 + recording.tasks() / 4,
        "{}",
        ran.out
    );
    assert_eq!((recorded.transactions.left_open, run.counts.deadlocks), (0, 0), "{}", ran.out);
    assert!(run.counts.committed > recording.tasks() && run.alone > Some(0.0), "{}", ran.out);
    let held: Vec<&Held> = run.invariants.iter().map(|row| &row.held).collect();
    assert_eq!(held, [&Held::Kept, &Held::NotJudged], "{}", ran.out);
    let answers: u64 = run.answers.iter().filter(|row| row.kind == "exit 0" && row.met).map(|row| row.times).sum();
    assert!(answers.abs_diff(recording.tasks()) <= 4, "{}", ran.out);
    assert!(ran.out.contains("under load its programs reach the server through the proxy"), "{}", ran.out);
    let again = call(at.path(), &["report", "run", "--html", "page.html"]).await;
    assert_eq!((again.out, again.code), (ran.out, ran.code));
    let merged = call(at.path(), &["merge", "run", "run"]).await.ends_with(2);
    assert!(merged.err.contains("applications"), "{}", merged.err);
}

#[tokio::test]
async fn an_invariant_that_only_the_load_violates_is_a_violation() {
    let at = app("worker = \"exec WORKER lost.json\"", "");
    let ran = bench(at.path(), &["--workers", "4"]).await.ends_with(1);
    assert!(ran.out.contains("VIOLATION OF NONE-LOST") && ran.out.contains("only-two: not judged"), "{}", ran.out);
    let report = BenchReport::load(&at.path().join("run")).unwrap();
    assert_eq!(report.verdict, VerdictKind::Violation);
    call(at.path(), &["report", "run"]).await.ends_with(1);
    // What the file expects is no failure.
    let text = std::fs::read_to_string(at.path().join("app.toml")).unwrap();
    std::fs::write(at.path().join("app.toml"), format!("violates = \"none-lost\"\n{text}")).unwrap();
    let ran = bench(at.path(), &["--workers", "4"]).await;
    assert!(matches!(ran.code, Some(0 | 3)) && ran.out.contains("as the file expects"), "{}{}", ran.out, ran.err);
}

#[tokio::test]
async fn jobs_that_find_nothing_left_to_do_are_doubted() {
    let at = app("worker = \"exec WORKER once.json\"", "");
    let once = r#"[{"sql": "INSERT INTO added SELECT 1 WHERE NOT EXISTS (SELECT FROM added)"}]"#;
    std::fs::write(at.path().join("once.json"), once).unwrap();
    let ran = bench(at.path(), &[]).await.ends_with(3);
    assert!(ran.out.contains("inconclusive: no job changed a row under load"), "{}", ran.out);
    let report = BenchReport::load(&at.path().join("run")).unwrap();
    let run = report.application.unwrap();
    assert_eq!((run.changed_alone, run.counts.changed), (1, 0));
}

#[tokio::test]
async fn requests_are_loaded_and_what_the_proxy_costs_is_told() {
    let server = "[server]\ncommand = \"exec WORKER --serve {port} locked.json\"\nready-seconds = 20";
    let at = app("http = { method = \"POST\", path = \"/add\", expect = [200] }", server);
    let ran = bench(at.path(), &["--proxy-cost", "--rate", "20"]).await;
    assert!(matches!(ran.code, Some(0 | 3)), "{}{}", ran.out, ran.err);
    let report = BenchReport::load(&at.path().join("run")).unwrap();
    let run = report.application.as_ref().unwrap();
    let direct = run.direct.unwrap();
    assert!(direct.throughput > 5.0 && direct.p50 > 0 && direct.p99 >= direct.p50, "{direct:?}");
    assert!(run.recorded.is_some() && run.answers.iter().all(|row| row.kind == "status 200"), "{}", ran.out);
    assert!(ran.out.contains("proxy: ") && report.replay.ends_with("--proxy-cost"), "{}", ran.out);
}

#[tokio::test]
async fn a_process_a_task_goes_directly_and_its_unexpected_exits_are_counted_by_kind() {
    // Alone it works; from the third job on it fails.
    let job =
        "run = \"WORKER --once locked.json; echo x >> jobs; test $(wc -l < jobs) -le 2 || { echo sold out; exit 7; }\"";
    let at = app(job, "");
    let ran = bench(at.path(), &["--direct"]).await.ends_with(3);
    let report = BenchReport::load(&at.path().join("run")).unwrap();
    let run = report.application.as_ref().unwrap();
    assert_eq!((run.way, &run.recorded), (Way::Direct, &None));
    assert!(run.counts.committed > 2, "the programs were not in this database: {:?}", run.counts);
    assert!(report.recording.failed > 0 && report.recording.failed == report.recording.tasks(), "{}", ran.out);
    assert!(report.recording.errors["exit 7"] >= report.recording.failed, "{:?}", report.recording.errors);
    for part in ["exit 7 × ", "(not expected)", "the first exit 7: adder-", "sold out", "given up", "a process a task"]
    {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    assert!(ran.err.contains("worker = "), "{}", ran.err);
}

#[tokio::test]
async fn programs_that_cannot_be_loaded_are_told_of_with_what_they_printed() {
    let unready = "[server]\ncommand = \"echo starting; exec sleep 300\"\nready-seconds = 1";
    let ends = "[server]\ncommand = \"echo no module named app >&2; exit 1\"";
    let http = "http = { path = \"/add\" }";
    let wrong: [(&str, &str, &str); 8] = [
        ("worker = \"no-such-command\"", "", "no-such-command: not found"),
        (
            "worker = \"read job; echo cannot import >&2; exit 3\"",
            "",
            "ended with exit code 3 and gave no answer; it printed: cannot import",
        ),
        (
            "worker = 'while read job; do echo \"{\\\"ok\\\":true}\"; done'",
            "",
            "never connected to driftlock's URL: it was given DATABASE_URL",
        ),
        ("worker = \"exec sleep 300\"", "", "did not end within 3 s, and was killed"),
        ("run = \"WORKER --once locked.json; exit 9\"", "", "adder-1: its exit was 9"),
        (http, unready, "did not answer GET / within 1 s; it printed: starting"),
        (http, ends, "ended with exit code 1 before it answered; it printed: no module named app"),
        ("worker = \"exec WORKER locked.json\"", "reset = \"true\"\nsetup-seconds = 0", "must be 1 to 3600"),
    ];
    for (job, more, words) in wrong {
        let at = app(job, more);
        let ran = bench(at.path(), &[]).await.ends_with(2);
        let said = ran.err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(words), "{job}: {}", ran.err);
    }
    let at = app("worker = \"exec WORKER locked.json\"", "");
    let refused: [(&[&str], &str); 6] = [
        (&["--workers", "1"], "has 2 actors"),
        (&["--pool", "1"], "opens its own connections"),
        (&["--rtt", "1ms"], "nothing is added"),
        (&["--backend", "sqlite"], "on PostgreSQL"),
        (&["--case", "x"], "has no cases"),
        (&["--keys", "one"], "one of the application's actors"),
    ];
    for (more, words) in refused {
        let ran = bench(at.path(), more).await.ends_with(2);
        assert!(ran.err.contains(words), "{more:?}: {}", ran.err);
    }
    for (arguments, words) in [
        (&["plan", "app.toml", "--slo", "p99<1s"][..], "is an application"),
        (&["bench", "same-run", "--direct"], "--direct is for applications"),
    ] {
        let ran = call(at.path(), arguments).await.ends_with(2);
        assert!(ran.err.contains(words), "{arguments:?}: {}", ran.err);
    }
    assert!(!at.path().join("run").exists(), "a refused run leaves nothing");
}

#[tokio::test]
async fn ctrl_c_ends_the_load_and_leaves_no_program() {
    // Each program writes its number down, and has a child of its own.
    let at = app("worker = \"echo $$ >> started; sleep 300 & exec WORKER locked.json\"", "");
    let arguments = ["bench", "app.toml", "--duration", "1m", "--postgres", "local", "--output", "run"];
    let mut command = program(at.path(), &arguments);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    let started = || std::fs::read_to_string(at.path().join("started")).unwrap_or_default();
    // The two that go alone first, and the two of the load.
    assert!(comes(Duration::from_secs(60), || started().lines().count() >= 4).await, "{}", started());
    kill(Pid::from_raw(child.id().unwrap().try_into().unwrap()), Signal::SIGINT).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await;
    let output = ended.expect("it ends in time").unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    let lives = |pid: &str| Path::new("/proc").join(pid).exists();
    let started = started();
    let gone = || !started.lines().any(lives);
    assert!(comes(Duration::from_secs(10), gone).await, "a program is left of {started}");
}
