//! One rehearsal as data.

use std::collections::{BTreeMap, BTreeSet};

use drift_engine::lock::Backend;
use serde::{Deserialize, Serialize};

use super::applications::{self, ApplicationRow};
use super::evidence;
use super::layout::{self, LayoutRow};
use crate::check::CheckName;
use crate::outcome::VerdictKind;
use crate::rehearse::blame::between;
use crate::rehearse::budget::Budget;
use crate::rehearse::course::{FileRun, Pass, Plan, Record};
use crate::rehearse::crowd::Crowd;
use crate::rehearse::failures::{After, Cut};
use crate::rehearse::finding::Finding;
use crate::rehearse::judge::Measured;
use crate::rehearse::migrations::Version;
use crate::rehearse::observer::{Cost, SHARE_MAX};
use crate::rehearse::operation::Class;
use crate::rehearse::rate::Rate;
use crate::rehearse::rehearsal::{Course, Found, Rehearsed};
use crate::rehearse::settings::is_as_expected;
use crate::verdict::Verdict;

/// How many characters of a statement are shown.
const STATEMENT_CHARACTERS: usize = 56;

/// One rehearsal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RehearseRow {
    /// The directory's name.
    pub name: String,
    /// `postgres` or `sqlite`.
    pub backend: String,
    /// Beside whom: `alone`, or a companion; on SQLite also with which journal.
    pub strategy: String,
    /// What came of it.
    pub verdict: VerdictKind,
    /// What should have.
    pub expected: ExpectedRow,
    /// Whether it did.
    pub met: bool,
    /// What shows the verdict, in a sentence.
    pub evidence: String,
    /// The answers of the checks of the traffic.
    pub checks: Vec<CheckRow>,
    /// How long it took, set-up included, in milliseconds.
    pub duration_ms: u64,
    /// The command that holds it again.
    pub replay: String,
    /// The version at the start.
    pub from: Version,
    /// The version at the top.
    pub to: Version,
    /// Whose migrations they are, where that was to be found out.
    #[serde(default)]
    pub layout: Option<LayoutRow>,
    /// What the traffic was, in a few words.
    pub traffic: String,
    /// What was found.
    pub findings: Vec<Finding>,
    /// Why there is no answer, if there is none.
    pub inconclusive: Vec<String>,
    /// What else is to be known.
    pub notes: Vec<String>,
    /// The tries of the files, in order.
    pub files: Vec<FileRow>,
    /// The traffic, before, during and after.
    pub rates: Option<RatesRow>,
    /// Errors that the application saw, by SQLSTATE, and how often.
    pub errors: BTreeMap<String, u64>,
    /// Bytes of what grew or shrank by a tenth, before and after the first way up.
    pub sizes: BTreeMap<String, (Option<i64>, Option<i64>)>,
    /// PostgreSQL: bytes of WAL that each file writes without traffic, if that was asked for. SQLite: the most that the
    /// log or the journal had while the file was being applied, the traffic's share included.
    pub wal_bytes: BTreeMap<String, i64>,
    /// Which version's code works on which version, where that was asked.
    #[serde(default)]
    pub applications: Vec<ApplicationRow>,
    /// What looking cost the traffic, measured before the first file.
    #[serde(default)]
    pub observer: Option<Cost>,
    /// What the migrations may cost, in a sentence.
    pub budget: String,
}

/// What was expected.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExpectedRow {
    /// Pass or violation.
    pub verdict: VerdictKind,
    /// The finding.
    #[serde(rename = "check", default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<String>,
}

/// The answer of one check of the traffic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckRow {
    /// Which one.
    pub name: CheckName,
    /// What it said.
    pub verdict: VerdictKind,
    /// The evidence, the violation, or what was missing.
    pub why: String,
}

/// The traffic's rates.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RatesRow {
    /// On its own, without the sampler.
    pub unobserved: Rate,
    /// On its own, with it.
    pub before: Rate,
    /// While the files were applied for the first time.
    pub during: Rate,
    /// On its own again, if it came to that.
    pub after: Option<Rate>,
}

impl RatesRow {
    /// Each with its name.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &Rate)> {
        let known =
            [("before, unobserved", &self.unobserved), ("before", &self.before), ("while applying", &self.during)];
        known.into_iter().chain(self.after.as_ref().map(|after| ("after", after)))
    }
}

/// One try of one file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileRow {
    /// In which part of the course.
    pub pass: String,
    /// The migration's version.
    pub version: Version,
    /// The file.
    pub file: String,
    /// Which try, from 1.
    pub attempt: u32,
    /// From its first message to its last answer, in milliseconds.
    pub duration_ms: f64,
    /// How many operations of the traffic were under way meanwhile.
    pub overlapped: usize,
    /// How many sessions of the traffic waited for it at the worst moment.
    pub queue_peak: usize,
    /// How long the traffic took to get over it, in milliseconds.
    pub recovery_ms: f64,
    /// Its statements.
    pub statements: Vec<StatementRow>,
}

/// One statement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatementRow {
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// Its text, shortened.
    pub statement: String,
    /// When it was sent, in milliseconds since the file's first message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<f64>,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// The locks that it took on what was there before, strongest first.
    pub locks: Vec<LockRow>,
    /// How long it was seen to wait for a lock, in milliseconds, at the most.
    pub waited_ms: f64,
    /// Reads that it blocked.
    pub reads: BlockedRow,
    /// Writes that it blocked.
    pub writes: BlockedRow,
    /// How the database refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// A lock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LockRow {
    /// On what.
    pub on: String,
    /// How strongly.
    pub mode: String,
    /// From its grant to the end of the transaction, in milliseconds.
    pub held_ms: f64,
}

/// Operations that were blocked.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct BlockedRow {
    /// How many.
    pub count: usize,
    /// The longest, in milliseconds.
    pub longest_ms: f64,
}

/// Puts a row together; `replay` is the command that holds the rehearsal again.
pub fn row(rehearsed: Rehearsed<'_>, replay: String) -> RehearseRow {
    let Rehearsed { case, from, to, found, notes, took } = rehearsed;
    let subject = &case.subject;
    let backend = subject.settings.backend();
    let budget = &subject.settings.budget;
    let mut row = RehearseRow {
        name: subject.name.clone(),
        backend: backend.to_string(),
        strategy: case.beside(),
        verdict: VerdictKind::Pass,
        expected: ExpectedRow { verdict: VerdictKind::Pass, finding: None },
        met: false,
        evidence: String::new(),
        checks: Vec::new(),
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        replay,
        from,
        to,
        layout: layout::row(&subject.migrations),
        traffic: "no traffic".to_owned(),
        findings: Vec::new(),
        inconclusive: Vec::new(),
        notes: Vec::new(),
        files: Vec::new(),
        rates: None,
        errors: BTreeMap::new(),
        sizes: BTreeMap::new(),
        wal_bytes: BTreeMap::new(),
        applications: Vec::new(),
        observer: None,
        budget: match backend {
            Backend::Postgres => budget.to_string(),
            Backend::Sqlite => budget.on_sqlite(),
        },
    };
    match found {
        Found::Course(course) => of_course(&mut row, *course, budget),
        Found::Cuts { cuts, findings } => of_cuts(&mut row, &cuts, findings),
    }
    row.notes.extend(notes);
    row.verdict = match (row.findings.is_empty(), row.inconclusive.is_empty()) {
        (false, _) => VerdictKind::Violation,
        (true, false) => VerdictKind::Inconclusive,
        (true, true) => VerdictKind::Pass,
    };
    let expected = case.expected();
    row.met = is_as_expected(&expected, &row.findings) && row.verdict != VerdictKind::Inconclusive;
    if let Some(expect) = expected.iter().find(|expect| !expect.may) {
        let finding = Some(expect.finding.as_str().to_owned());
        row.expected = ExpectedRow { verdict: VerdictKind::Violation, finding };
    }
    row
}

/// What was seen under traffic.
fn of_course(row: &mut RehearseRow, course: Course<'_>, budget: &Budget) {
    let Course { plan, record, judged, wal, applications } = course;
    row.files = record.files.iter().zip(&judged.measured).map(|(file, measured)| of_file(file, measured)).collect();
    row.evidence = evidence::of(&record, &judged, budget, &row.files);
    row.checks = judged.checks.iter().map(|(name, verdict)| check(*name, verdict)).collect();
    row.traffic = traffic(&plan);
    row.notes = notes(&plan, &record, judged.observer.as_ref()).into_iter().chain(judged.notes).collect();
    row.rates = judged.rates.map(|[unobserved, before, during, after]| {
        let after = record.after.map(|_| after);
        RatesRow { unobserved, before, during, after }
    });
    let changed = |(_, (before, after)): &(&String, &(Option<i64>, Option<i64>))| {
        let (before, after) = (before.unwrap_or(0), after.unwrap_or(0));
        before.abs_diff(after) > before.unsigned_abs() / 10
    };
    row.sizes = record.sizes.iter().filter(changed).map(|(name, sizes)| (name.clone(), *sizes)).collect();
    (row.findings, row.inconclusive) = (judged.findings, judged.inconclusive);
    (row.errors, row.observer, row.wal_bytes) = (judged.errors, judged.observer, wal);
    row.applications = applications.as_ref().map(applications::rows).unwrap_or_default();
}

/// What came of being cut off.
fn of_cuts(row: &mut RehearseRow, cuts: &[Cut<'_>], findings: Vec<Finding>) {
    let count = |wanted: fn(&After) -> bool| cuts.iter().filter(|cut| wanted(&cut.after)).count();
    let (skipped, recovered) = (count(|after| *after == After::NotReached), count(|after| *after == After::Recovered));
    let reached = cuts.len() - skipped;
    let evidence = format!(
        "cut off {reached} times at {} statements, after {recovered} of them the next run came to what a clean run \
         comes to; {skipped} times the statement had ended before it could be",
        cuts.iter().map(|cut| (&cut.script.file, cut.statement)).collect::<BTreeSet<_>>().len()
    );
    row.evidence = findings.first().map_or(evidence.clone(), |finding| finding.sentence.clone());
    row.notes.push(evidence);
    row.findings = findings;
    if reached == 0 {
        row.inconclusive.push("no statement could be cut off".to_owned());
    }
}

fn traffic(plan: &Plan<'_>) -> String {
    match &plan.traffic {
        None => "no traffic".to_owned(),
        Some(Crowd::Script(script)) => format!("{} actors of the script {}", script.actors.len(), script.name),
        Some(Crowd::Engine(cast, application)) => format!(
            "{} workers, {} writers and {} readers, application {}",
            cast.workers,
            cast.writers,
            cast.readers,
            application.as_str()
        ),
    }
}

fn notes(plan: &Plan<'_>, record: &Record<'_>, observer: Option<&Cost>) -> Vec<String> {
    let mut notes = Vec::new();
    // No fault of the migrations', and no reason to doubt a pass: under it the traffic had it harder, not easier.
    if observer.is_some_and(Cost::is_heavy) {
        notes.push(format!(
            "looking costs the traffic more than {:.0} %: what was measured is longer, and the throughput lower, than it \
             would be otherwise",
            SHARE_MAX * 100.0
        ));
    }
    if plan.runner.is_some() && record.irreversible.is_some() {
        notes.push("there is no --runner-down: going down was not rehearsed".to_owned());
    } else if let Some(version) = &record.irreversible {
        notes.push(format!("nothing undoes version {version}: going down was not rehearsed"));
    }
    for file in &record.files {
        for error in &file.beside_refused {
            notes.push(format!("{} ({}): the companion was refused: {error}", file.script.file, file.pass.as_str()));
        }
    }
    let differs = plan.migrations.first().and_then(|one| one.up.layout.differs);
    notes.extend(differs.filter(|_| plan.migrations.len() > 1).map(str::to_owned));
    notes.extend(record.reordered.iter().cloned());
    notes.dedup();
    notes
}

fn check(name: CheckName, verdict: &Verdict) -> CheckRow {
    let word = match verdict {
        Verdict::Pass { .. } => VerdictKind::Pass,
        Verdict::Violation { .. } => VerdictKind::Violation,
        Verdict::Inconclusive { .. } => VerdictKind::Inconclusive,
    };
    CheckRow { name, verdict: word, why: verdict.sentence().to_owned() }
}

fn ms(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn of_file(file: &FileRun<'_>, measured: &Measured) -> FileRow {
    let statements = file.applied.ran.iter().map(|ran| {
        let found = file.script.statements.get(ran.statement);
        let blocked = |class: Class| {
            let of = measured.blame.blocked.iter();
            let of = of.filter(|blocked| blocked.class == class && blocked.statement == ran.statement);
            let longest = of.clone().map(|blocked| ms(blocked.took)).fold(0.0, f64::max);
            BlockedRow { count: of.count(), longest_ms: longest }
        };
        let locks = measured.holds.iter().filter(|hold| hold.statement == ran.statement);
        // SQLite's only one comes with the file's beginning.
        let first = file.applied.ran.first().is_some_and(|first| first.statement == ran.statement);
        let whole = file.applied.granted.filter(|_| first).map(|granted| LockRow {
            on: "the file".to_owned(),
            mode: "write lock".to_owned(),
            held_ms: ms(between(granted, file.applied.until)),
        });
        let refused = file.applied.failed.as_ref().filter(|(statement, _)| *statement == ran.statement);
        StatementRow {
            line: found.map_or(1, |statement| statement.line),
            column: found.map_or(1, |statement| statement.column),
            statement: found.map(|statement| statement.in_short(STATEMENT_CHARACTERS)).unwrap_or_default(),
            from_ms: Some(ms(between(file.applied.from, ran.from))),
            duration_ms: ms(between(ran.from, ran.until)),
            locks: whole
                .into_iter()
                .chain(locks.map(|hold| LockRow {
                    on: hold.table.clone(),
                    mode: hold.mode.as_str().to_owned(),
                    held_ms: ms(hold.held),
                }))
                .collect(),
            waited_ms: measured.blame.waited.get(&ran.statement).map_or(0.0, |(waited, _)| ms(*waited)),
            reads: blocked(Class::Read),
            writes: blocked(Class::Write),
            refused: refused.map(|(_, error)| match &error.code {
                Some(code) => format!("{code} {}", error.message),
                None => error.message.clone(),
            }),
        }
    });
    FileRow {
        pass: Pass::as_str(file.pass).to_owned(),
        version: file.version.clone(),
        file: file.script.file.clone(),
        attempt: file.attempt,
        duration_ms: ms(between(file.applied.from, file.applied.until)),
        overlapped: measured.blame.overlapped,
        queue_peak: measured.blame.queue_peak,
        recovery_ms: measured.recovery_ms,
        statements: statements.collect(),
    }
}
