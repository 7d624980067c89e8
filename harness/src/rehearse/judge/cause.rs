//! Which statement an error of the application's goes back to.

use super::super::course::{FileRun, Plan, Record};
use super::super::refusals::Group;
use super::Measured;
use crate::sql::Statement;

/// What an error goes back to.
pub(super) enum Cause<'r, 'a> {
    /// A statement of a file.
    Statement(&'r FileRun<'a>, usize),
    /// Nothing that was applied: the traffic fails by itself.
    Itself,
}

/// Finds the cause of a group: the statement after which its first operation is refused where nobody else is; or the
/// one behind which it was seen to wait; or, by the time, one that has to do with what the message names.
pub(super) fn of<'r, 'a>(
    plan: &Plan<'_>,
    record: &'r Record<'a>,
    measured: &[Measured],
    (number, group): (usize, &Group),
) -> Option<Cause<'r, 'a>> {
    let operation = record.operations.get(group.first)?;
    if let Some(step) = record.twin.as_ref().and_then(|twin| twin.refusing(number)) {
        let same = |file: &&FileRun<'_>| file.pass == step.pass && std::ptr::eq(file.script, step.script);
        if let Some(file) = record.files.iter().find(same) {
            return Some(Cause::Statement(file, step.statement));
        }
    }
    for (file, measured) in record.files.iter().zip(measured) {
        if let Some(blocked) = measured.blame.blocked.iter().find(|blocked| blocked.entry == group.first) {
            return Some(Cause::Statement(file, blocked.statement));
        }
    }
    let began = |file: &&FileRun<'_>| file.applied.from <= operation.returned;
    // Code that came before its schema fails until the file is applied that it waits for.
    let early = record.files.first().filter(|_| plan.is_early);
    let latest = record.files.iter().rfind(began).or(early)?;
    // What only rows show that the traffic has written since, the twin cannot: then the name of what refuses it tells.
    let named = record.files.iter().rev().filter(began).find_map(|file| Some((file, naming(file, &group.message)?)));
    let can_tell = record.twin.as_ref().is_some_and(|twin| twin.works.contains(&number));
    if named.is_none() && can_tell && operation.invoked > latest.applied.until {
        return Some(Cause::Itself);
    }
    let (file, statement) = named.unwrap_or_else(|| (latest, changing(latest)));
    Some(Cause::Statement(file, statement))
}

/// The statement of a file that has most of the names that a message quotes.
fn naming(file: &FileRun<'_>, message: &str) -> Option<usize> {
    let names: Vec<String> = message.split('"').skip(1).step_by(2).map(str::to_lowercase).collect();
    let count = |statement: &Statement| {
        let text = statement.text.to_lowercase();
        let words: Vec<&str> = text.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
        names.iter().filter(|name| name.split('.').all(|part| words.contains(&part))).count()
    };
    let ran = file.applied.ran.iter().map(|ran| ran.statement);
    let scored = ran.filter_map(|number| Some((number, count(file.script.statements.get(number)?))));
    let best = scored.max_by_key(|(number, score)| (*score, std::cmp::Reverse(*number)))?;
    (best.1 > 0).then_some(best.0)
}

/// The statement with the strongest lock, or the first that does more than ask or set something.
fn changing(file: &FileRun<'_>) -> usize {
    let strongest = |number: usize| {
        let ran = file.applied.ran.iter().find(|ran| ran.statement == number);
        ran.and_then(|ran| ran.took.iter().map(|(_, mode)| *mode).max())
    };
    let locks = (0..file.script.statements.len()).filter_map(|number| Some((strongest(number)?, number)));
    let by_lock = locks.max_by_key(|(mode, number)| (*mode, std::cmp::Reverse(*number))).map(|(_, number)| number);
    let idle =
        |statement: &Statement| ["SELECT", "SET", "PRAGMA", "COMMENT"].iter().any(|word| statement.begins(&[word]));
    by_lock.or(file.script.statements.iter().position(|one| !idle(one))).unwrap_or_default()
}
