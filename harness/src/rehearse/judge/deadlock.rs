//! Deadlocks between a migration and the traffic: each is told with both statements, and with whom the server chose.

use super::super::blame::Circle;
use super::super::course::{FileRun, Plan};
use super::super::crowd::Crowd;
use super::super::finding::{Finding, Kind};
use super::super::operation::Operation;
use super::super::scripted::what;
use super::{Measured, STATEMENT_CHARACTERS, at};
use crate::sql::in_short;

/// What the server says of a deadlock to whom it has chosen.
pub(super) const DEADLOCK: &str = "40P01";

/// The circles of a file that the server broke.
pub(super) fn broken<'m>(
    entries: &[Operation],
    file: &FileRun<'_>,
    measured: &'m Measured,
) -> impl Iterator<Item = &'m Circle> {
    let chosen = |circle: &&Circle| is_victim(entries, circle) || failed(file) == Some(circle.statement);
    measured.blame.circles.iter().filter(chosen)
}

/// Finds them, one for each statement of the migration that waited.
pub(super) fn find(
    plan: &Plan<'_>,
    entries: &[Operation],
    file: &FileRun<'_>,
    measured: &Measured,
    findings: &mut Vec<Finding>,
) {
    let mut told = Vec::new();
    for circle in broken(entries, file, measured) {
        if told.contains(&circle.statement) {
            continue;
        }
        told.push(circle.statement);
        let same = broken(entries, file, measured).filter(|other| other.statement == circle.statement);
        let victims = same.filter(|circle| is_victim(entries, circle)).count();
        let operation = &entries[circle.entry];
        let text = sql(plan, operation).map(|sql| format!(": {sql}")).unwrap_or_default();
        let line = |number: usize| file.script.statements.get(number).map_or(1, |statement| statement.line);
        let has = match circle.holder == circle.statement {
            true => "for what it has locked itself".to_owned(),
            false => format!("for what line {} has locked", line(circle.holder)),
        };
        let victim = match failed(file) == Some(circle.statement) {
            true => "the migration was the victim: the server refused its statement".to_owned(),
            false => format!(
                "the application was the victim: the server refused its statement{}",
                if victims > 1 { format!(", and {} more like it", victims - 1) } else { String::new() }
            ),
        };
        let sentence = format!(
            "a deadlock with the traffic: this statement waited for a lock of {}{text}, which waited {has}; {victim}",
            operation.what
        );
        let mut finding = at(file, circle.statement, Kind::Deadlock, sentence);
        finding.code = Some(DEADLOCK.to_owned());
        findings.push(finding);
    }
}

/// Whether the operation was the one that the server refused.
fn is_victim(entries: &[Operation], circle: &Circle) -> bool {
    entries[circle.entry].refused.as_ref().is_some_and(|(code, _)| **code == *DEADLOCK)
}

/// The statement of the file that the server refused for a deadlock.
fn failed(file: &FileRun<'_>) -> Option<usize> {
    let (statement, error) = file.applied.failed.as_ref()?;
    (error.code.as_deref() == Some(DEADLOCK)).then_some(*statement)
}

/// What an operation of a script's sent.
fn sql(plan: &Plan<'_>, operation: &Operation) -> Option<String> {
    let Some(Crowd::Script(script)) = &plan.traffic else { return None };
    let actor = script.actors.get(operation.actor.0 as usize)?;
    let step = actor.steps.iter().find(|step| what(actor, step) == *operation.what)?;
    Some(in_short(operation.sql.as_deref().unwrap_or(&step.sql), STATEMENT_CHARACTERS))
}
