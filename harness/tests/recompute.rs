//! `driftlock recompute` on both backends, from a file to what is printed.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use drift_engine::claim::Claim;
use drift_engine::drift::{Signal, aggregate, signals};
use drift_engine::policy::Policy;
use jiff::ToSpan;
use jiff::civil::{Date, date};
use rand::rngs::ChaCha8Rng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tempfile::TempDir;

const HEADER: &str = "customer,payer,cpt_group,outcome,submitted_on,decided_on\n";
const BACKENDS: [&str; 2] = ["postgres", "sqlite"];
const AS_OF: Date = date(2026, 4, 15);

/// What a call of the program came to.
struct Called {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Called {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.err);
        serde_json::from_str(&self.out).expect("JSON on standard output")
    }

    /// The message of a failure that is the caller's fault.
    fn usage(self) -> String {
        assert_eq!(self.code, Some(2), "{}", self.err);
        assert_eq!(self.out, "", "no data beside a failure");
        self.err
    }
}

fn command(file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftlock"));
    command.args(["recompute", "--claims"]).arg(file);
    command
}

fn call(file: &Path, arguments: &[&str]) -> Called {
    let mut command = command(file);
    Called::of(command.args(["--as-of", "2026-04-15"]).args(arguments).output().expect("the program runs"))
}

fn written(bytes: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("claims.csv");
    std::fs::write(&path, bytes).expect("a file");
    (directory, path)
}

/// `Beta` before `acme` in the file; for acme 2 of 10 against 3 of 10 denied, and decided after
/// 4, 5, 6, 7 days (median 5.5) against 9, 9, 10 days.
fn small_file() -> String {
    let mut text = HEADER.to_owned();
    let mut row =
        |customer, outcome, day, decided| _ = writeln!(text, "{customer},Aetna,mri,{outcome},{day},{decided}");
    row("Beta", "PAID", "2026-04-01", "");
    for decided in ["2026-01-05", "2026-01-06", "2026-01-07", "2026-01-08", "", "", "", ""] {
        row("acme", "PAID", "2026-01-01", decided);
    }
    (0..2).for_each(|_| row("acme", "DENIED", "2026-03-31", ""));
    for decided in ["2026-04-10", "2026-04-10", "2026-04-11", "", "", "", ""] {
        row("acme", "PAID", "2026-04-01", decided);
    }
    (0..3).for_each(|_| row("acme", "DENIED", "2026-04-14", ""));
    // None of these count.
    row("acme", "DENIED", "2026-04-15", "2026-04-15");
    row("acme", "DENIED", "2025-12-31", "2026-04-15");
    (0..9).for_each(|_| row("acme", "Denied", "2026-04-02", "2026-04-03"));
    text
}

#[test]
fn a_small_file_gives_what_was_computed_by_hand_on_both_backends() {
    let (_directory, path) = written(small_file());
    for backend in BACKENDS {
        let called = call(&path, &["--backend", backend, "--format", "json", "--min-volume", "10"]);
        let event = |drift_type, baseline: f64, current: f64, severity: f64| {
            json!({
                "payer": "Aetna", "cpt_group": "mri", "drift_type": drift_type, "baseline_value": baseline,
                "current_value": current, "delta": current - baseline, "severity": severity, "confidence": 0.5,
                "baseline_start": "2026-01-01", "baseline_end": "2026-04-01",
                "current_start": "2026-04-01", "current_end": "2026-04-15",
            })
        };
        let events = [event("DENIAL_RATE", 0.2, 0.3, 2.0 * (0.3 - 0.2)), event("DECISION_TIME", 5.5, 9.0, 0.35)];
        assert_eq!(
            called.json(),
            json!({
                "schema_version": 1,
                "runs": [
                    { "run_id": "1.2026-04-15.90.14.10", "customer": "Beta", "status": "succeeded", "events": [] },
                    { "run_id": "2.2026-04-15.90.14.10", "customer": "acme", "status": "succeeded", "events": events },
                ],
            }),
            "{backend}"
        );
        let lookalike = format!(
            "warning: {}:25:16: the outcome \"Denied\" is neither PAID nor DENIED and does not count (it is the first \
             of 9 that differ from them only in case or space)\n",
            path.display()
        );
        assert_eq!(called.err, lookalike);
    }
}

#[test]
fn one_customer_and_a_name_for_its_run_can_be_chosen() {
    let (_directory, path) = written(small_file());
    for backend in BACKENDS {
        let arguments = ["--backend", backend, "--format", "json", "--customer", "acme", "--run-id", "nightly"];
        let document = call(&path, &arguments).json();
        assert_eq!(document["runs"].as_array().map(Vec::len), Some(1));
        assert_eq!(
            (&document["runs"][0]["run_id"], &document["runs"][0]["customer"]),
            (&json!("nightly"), &json!("acme"))
        );
    }
    let text = call(&path, &["--min-volume", "10"]).out;
    assert!(text.contains("Beta: no drift") && text.contains("acme: 2 drifts"), "{text}");
}

/// Names that CSV, COPY or a text format might trip over.
const NAMES: [&str; 8] = ["plain", "com,ma", "quo\"te", "new\nline", "cr\rlf\r\n", "tab\t\\N", "é😀", " padded "];

fn random_claims(seed: u64, count: usize) -> Vec<(String, Claim)> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let claim = |_| {
        let mut name = || *NAMES.choose(&mut rng).expect("names");
        let (customer, payer, cpt_group) = (format!("{}!", name()), name(), name());
        let submitted_on = AS_OF - rng.random_range(-2..=110_i64).days();
        let decided_on = rng.random_bool(0.8).then(|| submitted_on + rng.random_range(0..30_i64).days());
        let outcome = *["PAID", "PAID", "DENIED", "PENDING", ""].choose(&mut rng).expect("outcomes");
        let claim = Claim {
            payer: payer.into(),
            cpt_group: cpt_group.into(),
            outcome: outcome.into(),
            submitted_on,
            decided_on,
        };
        (customer, claim)
    };
    (0..count).map(claim).collect()
}

fn csv_of(claims: &[(String, Claim)]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(HEADER.trim_end().split(',')).expect("a vector takes all");
    for (customer, claim) in claims {
        let decided_on = claim.decided_on.map(|day| day.to_string()).unwrap_or_default();
        let dates = [&claim.submitted_on.to_string(), &decided_on];
        let record = [customer, &*claim.payer, &claim.cpt_group, &claim.outcome, dates[0], dates[1]];
        writer.write_record(record).expect("a vector takes all");
    }
    writer.into_inner().expect("a vector takes all")
}

#[test]
fn both_backends_print_the_same_to_the_last_bit_and_it_is_what_the_engine_computes() {
    let claims = random_claims(7, 20_000);
    let (_directory, path) = written(csv_of(&claims));
    let arguments = |backend| ["--backend", backend, "--format", "json", "--min-volume", "5"];
    let postgres = call(&path, &arguments("postgres"));
    let sqlite = call(&path, &arguments("sqlite"));
    assert_eq!(postgres.out, sqlite.out);

    let policy = Policy::new(90, 14, 5).expect("a policy");
    let windows = policy.windows(AS_OF).expect("in the calendar");
    let document = sqlite.json();
    let runs = document["runs"].as_array().expect("a list");
    let names: Vec<_> = runs.iter().map(|run| run["customer"].as_str().expect("a name")).collect();
    assert!(names.is_sorted() && names.len() == NAMES.len(), "{names:?}");
    let mut events = 0;
    for run in runs {
        let own = claims.iter().filter(|(customer, _)| run["customer"] == **customer).map(|(_, claim)| claim);
        let expected = signals(&aggregate(own, &windows), &policy);
        let printed: Vec<Signal> = serde_json::from_value(run["events"].clone()).expect("signals");
        assert_eq!(printed, expected, "{}", run["customer"]);
        events += printed.len();
    }
    assert!(events > 100, "{events}");
}

#[test]
fn a_file_without_claims_has_no_runs() {
    let (_directory, path) = written(HEADER);
    for backend in BACKENDS {
        let called = call(&path, &["--backend", backend, "--format", "json"]);
        assert_eq!(called.json(), json!({ "schema_version": 1, "runs": [] }));
    }
    assert!(call(&path, &[]).out.ends_with("\nno customers: the file holds no claims\n"));
    let unknown = call(&path, &["--customer", "acme"]).usage();
    assert!(unknown.contains("help: the file holds no claims"), "{unknown}");
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_line_and_column() {
    let cases: [(&[u8], &str); 8] = [
        (b"", ":1:1: the file is empty; its first line must be the header customer,payer,"),
        (b"customer,payer,cpt_group,outcome,submitted_on\n", ":1:1: the column decided_on is missing"),
        (b"a,b,c,PAID,2026-01-01,\nx,y\n", ":3:4: the row has 2 fields"),
        (b"a,\"b\nb\",c,PAID,2026-01-01,\na,b,c,PAID,2026-02-30,\n", ":4:12: submitted_on: there is no day 2026-02-30"),
        (b"a,b,c,PAID,2026-01-02,2026-01-01\n", ":2:23: decided_on 2026-01-01 is before submitted_on 2026-01-02"),
        (b"a,b\xff,c,PAID,2026-01-02,\n", ":2:3: payer is not UTF-8 text"),
        (b"a,b\0,c,PAID,2026-01-02,\n", ":2:3: payer contains a NUL character"),
        (b"a,\"b,c,PAID,2026-01-02,\n", ":2:3: payer begins with a quote that is never closed"),
    ];
    for (rows, expected) in cases {
        let header = if rows.is_empty() || rows.starts_with(b"customer") { "" } else { HEADER };
        let (_directory, path) = written([header.as_bytes(), rows].concat());
        let message = call(&path, &["--format", "json"]).usage();
        assert!(message.contains(&format!(" {}{expected}", path.display())), "{message}");
    }
    let (directory, path) = written(HEADER.to_owned() + &"a,b,c,PAID,2026-01-02,\n".repeat(20_000) + "a,b,c,PAID,?,\n");
    for backend in BACKENDS {
        let message = call(&path, &["--backend", backend]).usage();
        assert!(message.contains(":20002:12: submitted_on must be a date written YYYY-MM-DD"), "{message}");
    }
    for path in [directory.path(), &directory.path().join("none.csv")] {
        let message = call(path, &[]).usage();
        assert!(message.contains(&format!("failed to read {}: ", path.display())), "{message}");
    }
}

#[test]
fn what_is_wrong_with_the_arguments_is_said() {
    let (_directory, path) = written(small_file());
    let cases: [(&[&str], &str); 8] = [
        (&["--customer", "Acme"], "did you mean \"acme\"?"),
        (&["--run-id", "nightly"], "a run id names the run of one customer"),
        (&["--min-volume", "0"], "the minimum volume is 0"),
        (&["--current-days", "0"], "the current window is 0 days long"),
        (&["--baseline-days", "4000"], "the baseline window is 4000 days long"),
        (&["--strategy", "row"], "the strategy row does not exist on sqlite"),
        (&["--backend", "postgres", "--strategy", "immediate"], "use --backend sqlite"),
        (&["--postgres", "postgres://u:hunter2@h"], "the PostgreSQL URL cannot be used"),
    ];
    for (arguments, expected) in cases {
        let message = call(&path, arguments).usage();
        assert!(message.contains(expected) && !message.contains("hunter2"), "{message}");
    }
    for (as_of, expected) in [("2026-02-29", "there is no day 2026-02-29"), ("0001-02-01", "beyond the calendar")] {
        let called = Called::of(command(&path).args(["--as-of", as_of]).output().expect("the program runs"));
        let message = called.usage();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn an_interrupt_ends_it_while_it_reads_and_while_it_loads_and_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (backend, rows) in [("sqlite", 0), ("sqlite", 100_000), ("postgres", 100_000)] {
        let (pipe, own) =
            (directory.path().join(format!("{backend}-{rows}.csv")), tempfile::tempdir().expect("another"));
        // The server may run as another user.
        std::fs::set_permissions(own.path(), PermissionsExt::from_mode(0o755)).expect("its owner");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let mut program = command(&pipe);
        program.args(["--as-of", "2026-04-15", "--backend", backend]).env("TMPDIR", own.path());
        let child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
        // The pipe never ends. So many rows fit neither into it nor into the batches that are read
        // ahead: when all are written, most of them have been loaded.
        let mut end = std::fs::OpenOptions::new().write(true).open(&pipe).expect("the other end");
        let text = HEADER.to_owned() + &"acme,Aetna,mri,PAID,2026-04-01,2026-04-03\n".repeat(rows);
        end.write_all(text.as_bytes()).expect("somebody reads");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it is ours");
        let called = Called::of(child.wait_with_output().expect("it ends"));
        assert_eq!((called.code, &*called.out), (Some(130), ""), "{}", called.err);
        let left: Vec<_> = std::fs::read_dir(own.path()).expect("it is ours").collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
