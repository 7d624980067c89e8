//! What the database refused, and what a refusal left.

use super::super::catalog::Left;
use super::super::companion::Companion;
use super::super::course::{FileRun, Pass, Plan, RAISED, Record};
use super::super::finding::{Finding, Kind};
use super::{Measured, advice, at, deadlock};
use crate::sql::Statement;
use drift_engine::session::DbError;

/// Finds refused statements, INVALID indexes, and checks that refused what would have succeeded.
pub(super) fn find(plan: &Plan<'_>, record: &Record<'_>, measured: &[Measured], findings: &mut Vec<Finding>) {
    for (index, file) in record.files.iter().enumerate() {
        let told = |statement: usize| {
            let mut circles = deadlock::broken(&record.operations, file, &measured[index]);
            circles.any(|circle| circle.statement == statement)
        };
        let is_deadlock = |error: &DbError| error.code.as_deref() == Some(deadlock::DEADLOCK);
        let failed = file.applied.failed.as_ref();
        if let Some((statement, error)) = failed.filter(|(number, error)| !(is_deadlock(error) && told(*number))) {
            let code = error.code.clone().unwrap_or_default();
            if let Some(finding) = false_alarm(record, index) {
                // Said once, with the first try that it refused.
                let is_told = earlier(record, index).any(|(earlier, _)| false_alarm(record, earlier).is_some());
                findings.extend((!is_told).then_some(finding));
                continue;
            }
            // The next try was refused in the same way, which is no second thing.
            let is_same = |other: &FileRun<'_>| {
                let failed = other.applied.failed.as_ref();
                failed.is_some_and(|(other, refused)| (*other, &refused.code) == (*statement, &error.code))
            };
            let is_told =
                earlier(record, index).any(|(earlier, run)| is_same(run) && false_alarm(record, earlier).is_none());
            let several = file.script.is_message() && file.script.statements.len() > 1;
            let at_once = plan.companion == Some(Companion::Replicas) && code == "40P01";
            let kind = match file.pass {
                _ if at_once => Kind::Replicas,
                _ if several && code == "25001" => Kind::OneMessage,
                Pass::Down => Kind::DownRefused,
                Pass::Up | Pass::Again => Kind::Refused,
            };
            let tried = if file.attempt > 1 { " when it was run again" } else { "" };
            let beside = match plan.companion {
                Some(companion) if !file.beside.is_empty() => format!(" beside the companion {}", companion.as_str()),
                _ => String::new(),
            };
            let sentence = match &error.code {
                Some(code) => format!("the database refused it{tried}{beside}: {code} {}", error.message),
                None => format!("it failed{tried}{beside}: {}", error.message),
            };
            let mut finding = at(file, *statement, kind, sentence);
            if kind != Kind::OneMessage
                && let Some(found) = file.script.statements.get(*statement)
                && let Some(better) = advice::of_refusal(
                    &code,
                    &error.message,
                    found,
                    (file.script, dropped(record, file, *statement, &error.message)),
                )
            {
                finding.advice = better;
            }
            finding.code.clone_from(&error.code);
            findings.extend((!is_told).then_some(finding));
        }
        findings.extend(invalid(record, index));
        for error in file.beside_refused.iter().filter(|_| plan.companion == Some(Companion::Replicas)) {
            let sentence = format!("a replica that wanted to migrate too was refused: {error}");
            let mut finding = at(file, 0, Kind::Replicas, sentence);
            finding.code.clone_from(&error.code);
            findings.push(finding);
        }
    }
}

/// The tries of the same file before this one, in the same pass.
fn earlier<'r, 'a>(record: &'r Record<'a>, index: usize) -> impl Iterator<Item = (usize, &'r FileRun<'a>)> {
    let file = &record.files[index];
    let before = record.files[..index].iter().enumerate();
    before.filter(move |(_, other)| other.pass == file.pass && other.version == file.version)
}

/// A check of the file's own that refused what goes through without it.
fn false_alarm(record: &Record<'_>, index: usize) -> Option<Finding> {
    let file = &record.files[index];
    let of_file = |other: &&FileRun<'_>| other.pass == file.pass && other.version == file.version;
    let without = record.files.iter().filter(of_file).find(|other| other.skipped.is_some())?;
    let statement = without.skipped?;
    let (refused, error) = file.applied.failed.as_ref()?;
    if *refused != statement || error.code.as_deref() != Some(RAISED) {
        return None;
    }
    let later =
        record.files.iter().filter(|other| other.pass == file.pass && other.applied.from >= without.applied.from);
    let (mut count, mut went) = (0, true);
    for other in later {
        count += 1;
        went &= other.applied.failed.is_none();
    }
    went.then(|| {
        let sentence = format!(
            "it refused the migration ({}); without it this file and the {} after it went through",
            error.message,
            count - 1
        );
        let mut finding = at(file, statement, Kind::FalseAlarm, sentence);
        finding.code.clone_from(&error.code);
        finding
    })
}

/// The statement before a refused one that has dropped what the refusal names, where that was seen.
fn dropped<'a>(record: &Record<'_>, file: &FileRun<'a>, refused: usize, message: &str) -> Option<&'a Statement> {
    let name = message.split('"').nth(1)?;
    let step = record.twin.as_ref()?.dropped((file.pass, file.script), refused, name)?;
    file.script.statements.get(step.statement)
}

/// INVALID indexes that a file left, or passed over in silence.
fn invalid(record: &Record<'_>, index: usize) -> Vec<Finding> {
    let file = &record.files[index];
    let mut found = Vec::new();
    for left in &file.left {
        let Left::InvalidIndex { index, table, ready } = left else { continue };
        let rejects = if *ready { ", and still rejects what would be a duplicate in it" } else { "" };
        let (kind, statement) = match &file.applied.failed {
            Some((statement, _)) => (Kind::InvalidIndex, *statement),
            None => (Kind::SilentInvalid, 0),
        };
        let sentence = format!("index {index} of {table} is INVALID: no query uses it{rejects}");
        let mut finding = at(file, statement, kind, sentence);
        finding.code = file.applied.failed.as_ref().and_then(|(_, error)| error.code.clone());
        found.push(finding);
    }
    // The next try, which went through: whatever the one before it left is still there, and nobody was told.
    let earlier = index.checked_sub(1).map(|before| &record.files[before]);
    let earlier = earlier.filter(|earlier| earlier.version == file.version && earlier.pass == file.pass);
    if let (Some(earlier), None) = (earlier, &file.applied.failed) {
        for left in &earlier.left {
            let Left::InvalidIndex { index, table, .. } = left else { continue };
            if file.still.contains(left) {
                let sentence = format!(
                    "run again, it reported success, and index {index} of {table} is still the INVALID one that the \
                     first run left"
                );
                found.push(at(file, 0, Kind::SilentInvalid, sentence));
            }
        }
    }
    found
}
