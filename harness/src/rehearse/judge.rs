//! From the record of a rehearsal to its findings.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::blame::{Blame, ByActor, Hold, between, blame, holds, let_go};
use super::budget::Budget;
use super::catalog::Left;
use super::companion::Companion;
use super::course::{FileRun, Pass, Plan, Record};
use super::failures::{After, Cut};
use super::finding::{Finding, Kind};
use super::migrations::Script;
use super::modes::Mode;
use super::observer::Cost;
use super::operation::{Class, Operation};
use super::rate::{Rate, recovery_ms};
use crate::check::CheckName;
use crate::sql::Statement;
use crate::verdict::Verdict;

mod advice;
mod cause;
mod deadlock;
mod differences;
mod growth;
mod refused;
pub mod releases;
#[cfg(test)]
mod tests;
mod traffic;

/// The checks that are put to the traffic: those whose promises hold while something else has locks too.
pub const CHECKS: [CheckName; 7] = [
    CheckName::NoDuplicates,
    CheckName::SerialOracle,
    CheckName::Settled,
    CheckName::Freshness,
    CheckName::Exclusion,
    CheckName::Accounted,
    CheckName::RetriesBounded,
];
/// How many sentences about the same place are told.
const SENTENCES_MAX: usize = 5;
/// How many characters of a statement are shown.
const STATEMENT_CHARACTERS: usize = 100;

/// What was measured of one try of one file.
#[derive(Debug)]
pub struct Measured {
    /// What it did to the traffic.
    pub blame: Blame,
    /// Its locks, strongest first.
    pub holds: Vec<Hold>,
    /// How long the traffic took to get over it, in milliseconds.
    pub recovery_ms: f64,
}

/// What a rehearsal comes to.
#[derive(Debug)]
pub struct Judged {
    /// Everything that was found.
    pub findings: Vec<Finding>,
    /// Why there is no answer, if there is none.
    pub inconclusive: Vec<String>,
    /// What else is to be known.
    pub notes: Vec<String>,
    /// What was measured, file by file, in the record's order.
    pub measured: Vec<Measured>,
    /// The answers of the checks of the traffic.
    pub checks: Vec<(CheckName, Verdict)>,
    /// The traffic before (without the sampler, with it), during and after.
    pub rates: Option<[Rate; 4]>,
    /// What looking cost the traffic.
    pub observer: Option<Cost>,
    /// Errors that the application saw, by SQLSTATE.
    pub errors: BTreeMap<String, u64>,
}

/// Judges a record by a budget.
pub fn judge(plan: &Plan<'_>, record: &Record<'_>, budget: &Budget) -> Judged {
    let entries = &record.operations;
    let by_actor = ByActor::new(entries);
    let measure = |file: &FileRun<'_>| Measured {
        blame: blame(record, &by_actor, file),
        holds: holds(record, file),
        recovery_ms: recovery_ms(entries, file.applied.until),
    };
    let measured: Vec<Measured> = record.files.iter().map(measure).collect();
    let mut judged = Judged {
        findings: Vec::new(),
        inconclusive: Vec::new(),
        notes: Vec::new(),
        measured,
        checks: Vec::new(),
        rates: None,
        observer: record.before.cost(entries, record.recording),
        errors: traffic::errors(entries),
    };
    for (file, measured) in record.files.iter().zip(&judged.measured) {
        blocks(plan, entries, budget, file, measured, &mut judged.findings);
        deadlock::find(plan, entries, file, measured, &mut judged.findings);
    }
    if !record.failing.is_empty() && record.files.is_empty() {
        traffic::fails_by_itself(record, &mut judged);
        return judged;
    }
    refused::find(plan, record, &judged.measured, &mut judged.findings);
    left_behind(record, &mut judged.findings);
    differences::find(record, &mut judged.findings);
    growth::find(record, budget, &mut judged);
    traffic::judge(plan, record, budget, &mut judged);
    total_time(record, budget, &mut judged.findings);
    coverage(plan, record, &mut judged);
    merge(&mut judged.findings);
    sort(&mut judged.findings);
    judged
}

/// Sorts findings into the order of reports.
fn sort(findings: &mut [Finding]) {
    let order = |kind: Kind| Kind::ALL.iter().position(|one| *one == kind);
    findings.sort_by_key(|finding| order(finding.kind));
}

/// Judges what came of the cuts: one finding a statement, with every way in which it does not recover.
pub fn judge_cuts(cuts: &[Cut<'_>]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for cut in cuts {
        let (code, what) = match &cut.after {
            After::NotReached | After::Recovered => continue,
            After::Refused { file, error } => {
                let of_another = if *file == cut.script.file { String::new() } else { format!(" of {file}") };
                let code = error.code.clone();
                let said = format!("{} {}", code.as_deref().unwrap_or_default(), error.message);
                (code, format!("the next run{of_another} was refused: {}", said.trim()))
            }
            After::Differs(lines) => {
                let shown: Vec<&str> = lines.iter().take(2).map(String::as_str).collect();
                (None, format!("the next run reported success, and the schema differs: {}", shown.join("; ")))
            }
        };
        let sentence = format!("cut off by {}, {what}", cut.failure.as_str());
        let mut finding = placed(cut.script, cut.statement, Kind::NotRecovered, "up", sentence);
        finding.code = code;
        let same = |other: &&mut Finding| {
            (&other.file, other.line, &other.code) == (&finding.file, finding.line, &finding.code)
        };
        match findings.iter_mut().find(same) {
            Some(other) => other.sentence = format!("{}; {}", other.sentence, finding.sentence),
            None => findings.push(finding),
        }
    }
    findings
}

/// What was found at the same place in several parts of the course is said once, with the parts; and what is several
/// things of one part, in one finding that has them all. What a later part has as well is the same with other times.
fn merge(findings: &mut Vec<Finding>) {
    let mut merged: Vec<(Finding, Vec<String>)> = Vec::new();
    let mut parts: BTreeMap<(usize, String), usize> = BTreeMap::new();
    for finding in findings.drain(..) {
        let same = |(other, _): &(Finding, Vec<String>)| {
            let key = |one: &Finding| (one.kind, one.file.clone(), one.line, one.code.clone());
            key(other) == key(&finding)
        };
        let place = merged.iter().position(same).unwrap_or(merged.len());
        let of_part = parts.entry((place, finding.pass.clone())).or_default();
        *of_part += 1;
        let Some((other, told)) = merged.get_mut(place) else {
            let told = vec![finding.sentence.clone()];
            merged.push((finding, told));
            continue;
        };
        if *of_part == 1 {
            other.pass = format!("{}, {}", other.pass, finding.pass);
        }
        if *of_part > told.len() && !told.contains(&finding.sentence) {
            told.push(finding.sentence);
        }
    }
    let one = |(mut finding, mut told): (Finding, Vec<String>)| {
        let more = told.len().saturating_sub(SENTENCES_MAX);
        told.truncate(SENTENCES_MAX);
        if more > 0 {
            told.push(format!("{more} more of the kind"));
        }
        finding.sentence = told.join("; and ");
        finding
    };
    *findings = merged.into_iter().map(one).collect();
}

/// A finding at a statement of a file.
fn at(file: &FileRun<'_>, statement: usize, kind: Kind, sentence: String) -> Finding {
    placed(file.script, statement, kind, file.pass.as_str(), sentence)
}

/// A finding at a statement of a script.
fn placed(script: &Script, statement: usize, kind: Kind, pass: &str, sentence: String) -> Finding {
    let found: Option<&Statement> = script.statements.get(statement);
    Finding {
        kind,
        file: script.file.clone(),
        line: found.map_or(1, |statement| statement.line),
        column: found.map_or(1, |statement| statement.column),
        statement: found.map(|statement| statement.in_short(STATEMENT_CHARACTERS)).unwrap_or_default(),
        pass: pass.to_owned(),
        code: None,
        sentence,
        advice: found
            .and_then(|statement| advice::of(kind, statement, script.layout))
            .unwrap_or_else(|| kind.advice().to_owned()),
    }
}

fn blocks(
    plan: &Plan<'_>,
    entries: &[Operation],
    budget: &Budget,
    file: &FileRun<'_>,
    measured: &Measured,
    findings: &mut Vec<Finding>,
) {
    let blame = &measured.blame;
    for (class, kind, limit_ms) in [
        (Class::Read, Kind::BlocksReaders, budget.read_block_ms),
        (Class::Write, Kind::BlocksWriters, budget.write_block_ms),
    ] {
        for queued in [false, true] {
            let Some(longest) = blame.longest(class, queued) else { continue };
            if !is_beyond(longest.took, limit_ms) {
                continue;
            }
            // What a deadlock keeps waiting is told with the deadlock.
            if queued && deadlock::broken(entries, file, measured).any(|one| one.statement == longest.statement) {
                continue;
            }
            let of_class =
                |blocked: &&super::blame::Blocked| blocked.class == class && blocked.queued_behind.is_some() == queued;
            let count = blame.blocked.iter().filter(of_class).count();
            let operation = &entries[longest.entry].what;
            let behind = longest.queued_behind.as_deref().map(|sessions| whom(plan, file, sessions));
            let what = format!(
                "{count} {}{} blocked, the longest ({operation}) for {} ms; {} ms are allowed",
                class.as_str(),
                if count == 1 { " was" } else { "s were" },
                longest.took.as_millis(),
                limit_ms
            );
            let (kind, sentence) = match behind {
                Some(whom) => (Kind::Queue, format!("it waited for {whom}, and behind it {what}")),
                None => (kind, what),
            };
            findings.push(match kind {
                Kind::Queue => at(file, longest.statement, kind, sentence),
                _ => under_locks(file, longest.statement, kind, longest.took, sentence),
            });
        }
    }
    let mut told = BTreeSet::new();
    for hold in measured.holds.iter().filter(|hold| hold.mode == Mode::AccessExclusive) {
        // Of the relations that one statement locks, the one that its row shows: the first of those held longest.
        if !is_beyond(hold.held, budget.access_exclusive_ms) || !told.insert(hold.statement) {
            continue;
        }
        let sentence = format!(
            "ACCESS EXCLUSIVE on {} was held for {} ms, from its grant to the end of the transaction{}; {} ms are allowed",
            hold.table,
            hold.held.as_millis(),
            meanwhile(file, hold.statement, hold.held)
                .map_or(String::new(), |line| format!(", most of it while line {line} was carried out")),
            budget.access_exclusive_ms
        );
        findings.push(under_locks(file, hold.statement, Kind::AccessExclusive, hold.held, sentence));
    }
}

/// Whether a time is more than is allowed, in the milliseconds that are shown: 500 of 500 are not.
fn is_beyond(took: Duration, limit_ms: u64) -> bool {
    took.as_millis() > u128::from(limit_ms)
}

/// The line of the later statement during which most of a time under a statement's locks went by, if there is one.
fn meanwhile(file: &FileRun<'_>, holder: usize, time: Duration) -> Option<u32> {
    let end = file.applied.ran.iter().find(|ran| ran.statement == holder).map(|ran| let_go(file, ran))?;
    let later = file.applied.ran.iter().filter(|ran| ran.statement > holder && ran.until <= end);
    let longest = later.max_by_key(|ran| between(ran.from, ran.until))?;
    let is_most = 2 * between(longest.from, longest.until) > time;
    file.script.statements.get(longest.statement).filter(|_| is_most).map(|statement| statement.line)
}

/// A finding about a time under a statement's locks: where most of it went by elsewhere, that is said, and what helps there.
fn under_locks(file: &FileRun<'_>, statement: usize, kind: Kind, time: Duration, sentence: String) -> Finding {
    let mut finding = at(file, statement, kind, sentence);
    if let Some(line) = meanwhile(file, statement, time) {
        finding.advice = advice::late(line);
    }
    finding
}

/// Whose sessions these are, for people.
fn whom(plan: &Plan<'_>, file: &FileRun<'_>, sessions: &[i64]) -> String {
    match plan.companion {
        Some(companion) if sessions.iter().any(|session| file.beside.contains(session)) => {
            format!("the companion {}", companion.as_str())
        }
        _ => "the traffic's own transactions".to_owned(),
    }
}

fn left_behind(record: &Record<'_>, findings: &mut Vec<Finding>) {
    for file in &record.files {
        let statement = match &file.applied.failed {
            Some((statement, _)) => *statement,
            None => file.script.statements.len().saturating_sub(1),
        };
        for left in &file.left {
            let sentence = match left {
                // The refusal tells of it.
                Left::InvalidIndex { .. } => continue,
                Left::UnvalidatedConstraint { constraint, table } => {
                    format!("constraint {constraint} of {table} is not validated: it holds for new rows only")
                }
                Left::AdvisoryLock { key } => format!("the session still has the advisory lock {key}"),
                Left::Dangling { table, parent, rows } => {
                    format!("{rows} rows of {table} refer to rows of {parent} that are not there")
                }
                Left::Part { line } => format!("it was refused, and a part of it is there: {line}"),
                Left::IdleTransaction { application, .. } => {
                    format!("a session ({application}) is idle in a transaction: its locks and its snapshot stay")
                }
                Left::PreparedTransaction { name } => format!("the prepared transaction {name} was not ended"),
            };
            // A later file of the same pass may see to it.
            let last = record.files.iter().rfind(|other| other.pass == file.pass);
            if last.is_some_and(|last| last.left.contains(left) || last.still.contains(left)) {
                findings.push(at(file, statement, Kind::LeftBehind, sentence));
            }
        }
    }
}

fn total_time(record: &Record<'_>, budget: &Budget, findings: &mut Vec<Finding>) {
    for pass in [Pass::Up, Pass::Down] {
        let of_pass = || record.files.iter().filter(move |file| file.pass == pass);
        let total: Duration = of_pass().map(|file| between(file.applied.from, file.applied.until)).sum();
        let longest = of_pass().max_by_key(|file| between(file.applied.from, file.applied.until));
        if let Some(file) = longest.filter(|_| total > Duration::from_secs(budget.total_s)) {
            let sentence = format!("{} took {} s; {} s are allowed", pass.as_str(), total.as_secs(), budget.total_s);
            findings.push(at(file, 0, Kind::TotalTime, sentence));
        }
    }
}

/// Why a rehearsal that found nothing shows nothing.
fn coverage(plan: &Plan<'_>, record: &Record<'_>, judged: &mut Judged) {
    if record.files.is_empty() {
        judged.inconclusive.push("no migration was applied".to_owned());
    }
    if plan.traffic.is_none() {
        judged.inconclusive.push("there was no traffic: what the migrations block was not put to the test. --traffic FILE runs the actors of a \
             script, and driftlock init --traffic DIR writes one for these migrations"
                .to_owned());
        return;
    }
    if record.full {
        judged.inconclusive.push("the traffic was stopped before the end: its record was full".to_owned());
    }
    for (file, measured) in record.files.iter().zip(&judged.measured) {
        if measured.blame.overlapped == 0 && file.attempt == 1 {
            let why = "no operation of the traffic was under way while it was applied";
            judged.inconclusive.push(format!("{} ({}): {why}", file.script.file, file.pass.as_str()));
        }
    }
    if let Some(companion) = plan.companion.filter(|companion| *companion != Companion::Vacuum)
        && plan.stock.is_none()
        && record.files.iter().all(|file| file.beside.is_empty())
    {
        judged.inconclusive.push(format!("the companion {} never stood beside a file", companion.as_str()));
    }
}
