use driftlock::capacity::parts::Part;
use driftlock::capacity::phase::Phase;
use driftlock::capacity::setting::Work;
use driftlock::report::bench::BenchReport;

use crate::call;

/// Two actors, of which one waits for the other's lock, and one that is always refused.
const TRANSFER: &str = r#"
name = "transfer"
summary = "Two actors lock the same row."
setup = """
CREATE TABLE accounts (id integer PRIMARY KEY, amount integer NOT NULL);
INSERT INTO accounts VALUES (1, 0), (2, 0);
"""
[[actor]]
name = "reader"
steps = [
  { sql = "{begin}", lock = LOCKS_BEGIN },
  { name = "lock", sql = "UPDATE accounts SET amount = amount + 1 WHERE id = 1", lock = LOCKS_UPDATE },
  { name = "read", sql = "SELECT amount FROM accounts WHERE id = 1", capture = "amount" },
  { name = "keep", sql = "UPDATE accounts SET amount = {amount} WHERE id = 2" },
  "COMMIT",
]
[[actor]]
name = "writer"
steps = [
  { sql = "{begin}", lock = LOCKS_BEGIN },
  { name = "lock", sql = "UPDATE accounts SET amount = amount + 1 WHERE id = 1", lock = LOCKS_UPDATE },
  { name = "again", sql = "INSERT INTO accounts VALUES (1, 0)", errors = ["23505", "1555"] },
  "COMMIT",
]
[[invariant]]
name = "both"
sql = "SELECT 1 WHERE false"
[[case]]
name = "pg"
backend = "postgres"
[[case]]
name = "lite"
backend = "sqlite"
begin = "BEGIN IMMEDIATE"
"#;

const QUICK: [&str; 4] = ["--warm-up", "100ms", "--duration", "700ms"];

/// A directory with the script; the step that locks is the second, or the first, or not told.
fn place(locks: &str) -> tempfile::TempDir {
    let at = tempfile::tempdir().unwrap();
    let is = |which: &str| if locks == which { "true" } else { "false" };
    let text = TRANSFER.replace("LOCKS_BEGIN", is("begin")).replace("LOCKS_UPDATE", is("update"));
    std::fs::write(at.path().join("transfer.toml"), text).unwrap();
    at
}

fn steps(report: &BenchReport) -> Vec<String> {
    let step = |part: &Part| match part {
        Part::Step { name, .. } => Some(name.clone()),
        _ => None,
    };
    report.recording.parts.keys().filter_map(step).collect()
}

#[tokio::test]
async fn a_script_s_rounds_are_timed_by_step_on_postgres() {
    let at = place("update");
    for (output, how) in [("closed", &["--workers", "4"][..]), ("open", &["--rate", "50", "--pool", "2"])] {
        let common = ["bench", "transfer.toml", "--output", output];
        let ran = call(at.path(), &[&common[..], how, &QUICK].concat()).await;
        assert!(matches!(ran.code, Some(0 | 3)), "{}{}", ran.out, ran.err);
        let report = BenchReport::load(&at.path().join(output)).unwrap();
        let recording = &report.recording;
        assert_eq!((report.setting.work, recording.failed, recording.keys.len()), (Work::Script, 0, 2));
        assert!(recording.keys.iter().all(|key| key.tasks > 5), "{}", ran.out);
        // The refusal that the script expects is counted, and no failure. The step after it is never reached.
        assert!(recording.errors["23505"] >= recording.keys[1].tasks, "{:?}", recording.errors);
        let again = report.steps.iter().find(|row| row.step == "writer.again").unwrap();
        // Each round of it sends this once, changes nothing, and is refused.
        assert!(again.refused["23505"] == again.times && again.changed == 0, "{again:?}");
        assert!(again.times.abs_diff(recording.keys[1].tasks) <= 4, "{again:?} {:?}", recording.keys);
        let keep = report.steps.iter().find(|row| row.step == "reader.keep").unwrap();
        assert!(keep.changed == keep.times && keep.changed_before > 0, "{keep:?}");
        assert!(ran.out.contains("rows changed") && ran.out.contains("23505 × "), "{}", ran.out);
        let names = ["reader.1", "reader.lock", "reader.read", "reader.keep", "reader.5"];
        assert_eq!(steps(&report), [&names[..], &["writer.1", "writer.lock", "writer.again"]].concat());
        for phase in [Phase::LockWait, Phase::InLock, Phase::Read, Phase::Write, Phase::Commit, Phase::Begin] {
            assert!(recording.histograms.contains_key(&phase), "{output} without {phase:?}");
        }
        assert!(ran.out.contains("reader.keep") && report.replay.contains("--case pg"), "{}", ran.out);
        let again = call(at.path(), &["report", output, "--html", "page.html"]).await;
        assert_eq!(again.out, ran.out);
        assert!(std::fs::read_to_string(at.path().join("page.html")).unwrap().contains("Time by step"));
    }
    // Four workers want one row: they wait for each other, and the wait is no step of the database's work.
    let closed = BenchReport::load(&at.path().join("closed")).unwrap();
    let wait = closed.recording.mean(Phase::LockWait).unwrap();
    let alone = closed.calibration.unwrap().in_lock_alone;
    assert!(wait > alone / 2.0, "{wait} {alone}");
}

#[tokio::test]
async fn a_script_s_rounds_are_timed_on_sqlite_and_without_a_named_lock_by_statement_alone() {
    for locks in ["begin", "none"] {
        let at = place(locks);
        let common = ["bench", "transfer.toml", "--backend", "sqlite", "--rtt", "1ms", "--output", "run"];
        let ran = call(at.path(), &[&common[..], &QUICK].concat()).await;
        assert!(matches!(ran.code, Some(0 | 3)), "{}{}", ran.out, ran.err);
        let report = BenchReport::load(&at.path().join("run")).unwrap();
        let recording = &report.recording;
        assert!(recording.failed == 0 && recording.tasks() > 5, "{}", ran.out);
        assert!(recording.errors.contains_key("1555"), "{:?}", recording.errors);
        let known = locks == "begin";
        for phase in [Phase::LockWait, Phase::InLock] {
            assert_eq!(recording.histograms.contains_key(&phase), known, "{locks} {phase:?}");
        }
        assert_eq!(report.calibration.is_some(), known);
        let read = recording.parts.iter().find(|(part, _)| part.to_string() == "step-1-3/reader.read").unwrap();
        assert!(read.1.min() >= 990_000, "{}", read.1.min());
    }
}

/// All seats are sold by the first round: every one after it inserts nothing.
const SEATS: &str = r#"
name = "seats"
summary = "One buys the only seat."
setup = "CREATE TABLE seats (id integer PRIMARY KEY, buyer text); INSERT INTO seats (id) VALUES (1);"
[[actor]]
name = "buyer"
steps = [
  "BEGIN",
  { name = "buy", sql = "UPDATE seats SET buyer = 'me' WHERE id = 1 AND buyer IS NULL" },
  "COMMIT",
]
[[invariant]]
name = "sold"
sql = "SELECT 1 WHERE false"
[[case]]
name = "pg"
backend = "postgres"
[[case]]
name = "lite"
backend = "sqlite"
"#;

#[tokio::test]
async fn rounds_that_find_nothing_left_to_do_are_doubted() {
    let at = tempfile::tempdir().unwrap();
    std::fs::write(at.path().join("seats.toml"), SEATS).unwrap();
    // The other one sells the seat anew each time.
    let anew = SEATS.replace("AND buyer IS NULL", "");
    std::fs::write(at.path().join("anew.toml"), anew).unwrap();
    for (backend, file, is_doubted) in
        [("postgres", "seats.toml", true), ("sqlite", "seats.toml", true), ("postgres", "anew.toml", false)]
    {
        let common = ["bench", file, "--backend", backend, "--rate", "50", "--output", "run"];
        let ran = call(at.path(), &[&common[..], &QUICK].concat()).await;
        assert!(matches!(ran.code, Some(0 | 3)), "{}{}", ran.out, ran.err);
        let report = BenchReport::load(&at.path().join("run")).unwrap();
        let buy = report.steps.iter().find(|row| row.step == "buyer.buy").unwrap();
        assert!(buy.times > 5 && buy.changed == if is_doubted { 0 } else { buy.times }, "{file} {buy:?}");
        assert!(buy.changed_before > 0, "{file} {buy:?}");
        let doubts = |words: &str| report.doubts.iter().any(|doubt| doubt.contains(words));
        assert_eq!(doubts("no round changed a row"), is_doubted, "{:?}", report.doubts);
        assert_eq!(ran.out.contains("inconclusive: no round changed a row"), is_doubted, "{}", ran.out);
    }
}

#[tokio::test]
async fn a_script_that_cannot_be_benched_is_refused_with_the_reason() {
    let at = place("update");
    let schema = TRANSFER.replace("UPDATE accounts SET amount = {amount} WHERE id = 2", "CREATE TABLE more (id int)");
    let schema = schema.replace("LOCKS_BEGIN", "false").replace("LOCKS_UPDATE", "true");
    std::fs::write(at.path().join("schema.toml"), schema).unwrap();
    let refused: [(&[&str], &str); 7] = [
        (&["bench", "schema.toml"], "step keep of actor reader changes more than rows"),
        (&["bench", "transfer.toml", "--case", "nowhere"], "There is: --backend postgres --case pg"),
        (&["bench", "transfer.toml", "--case", "lite"], "no such case on postgres"),
        (&["bench", "transfer.toml", "--strategy", "row"], "has its own locks"),
        (&["bench", "transfer.toml", "--keys", "one"], "take turns"),
        (&["bench", "same-run", "--case", "pg"], "has no cases"),
        (&["plan", "transfer.toml", "--slo", "p99<1s"], "is a script"),
    ];
    for (arguments, words) in refused {
        let called = call(at.path(), arguments).await.ends_with(2);
        assert!(called.err.contains(words), "{arguments:?}: {}", called.err);
    }
    assert!(!at.path().join("target").exists(), "a refused run leaves nothing");
    let wrong = TRANSFER.replace("CREATE TABLE accounts", "CREATE TABEL accounts");
    let wrong = wrong.replace("LOCKS_BEGIN", "false").replace("LOCKS_UPDATE", "true");
    std::fs::write(at.path().join("wrong.toml"), wrong).unwrap();
    let called = call(at.path(), &["bench", "wrong.toml", "--backend", "sqlite"]).await.ends_with(2);
    assert!(called.err.contains("the set-up of transfer is refused"), "{}", called.err);
}
