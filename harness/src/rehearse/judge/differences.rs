//! What the schema has otherwise after going down, or after going up again, and which statement brought it about.

use super::super::course::{FileRun, Pass, Record};
use super::super::finding::{Finding, Kind};
use super::super::twin::Step;
use super::at;

/// How many lines are shown of those that one statement has brought about.
const SHOWN: usize = 3;

/// Where a difference belongs: the try of a file, the statement, and what is to be said of it.
type Place<'r, 'a> = (&'r FileRun<'a>, usize, String);

/// Finds the differences, one finding for each statement that brought some about.
pub(super) fn find(record: &Record<'_>, findings: &mut Vec<Finding>) {
    for (pass, differs, kind, what) in [
        (Pass::Down, &record.down_differs, Kind::DownDiffers, "after going down"),
        (Pass::Again, &record.again_differs, Kind::UpDiffers, "after going up again"),
    ] {
        let mut places: Vec<(Place<'_, '_>, Vec<&str>)> = Vec::new();
        for line in differs.iter().flatten() {
            let Some(place) = place(record, pass, line) else { continue };
            let same = |(other, _): &&mut (Place<'_, '_>, Vec<&str>)| {
                std::ptr::eq(other.0, place.0) && (other.1, &other.2) == (place.1, &place.2)
            };
            match places.iter_mut().find(same) {
                Some((_, lines)) => lines.push(line),
                None => places.push((place, vec![line])),
            }
        }
        for ((file, statement, why), lines) in places {
            let more = lines.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            let shown = lines[..lines.len().min(SHOWN)].join("; ");
            findings.push(at(file, statement, kind, format!("{what} the schema differs: {shown}{more}{why}")));
        }
    }
}

/// The statement that brought a line about. What a way down has not undone belongs to its last statement, and it is
/// said where that came from.
fn place<'r, 'a>(record: &'r Record<'a>, pass: Pass, line: &str) -> Option<Place<'r, 'a>> {
    let last = record.files.iter().rfind(|file| file.pass == pass)?;
    let Some(twin) = &record.twin else { return Some((last, 0, String::new())) };
    let run = |step: &Step<'_>, pass: Pass| {
        record.files.iter().find(|file| file.pass == pass && std::ptr::eq(file.script, step.script))
    };
    let here = twin.brought(pass, line).or_else(|| twin.brought(Pass::Down, line));
    if let Some((step, file)) = here.and_then(|step| Some((step, run(step, step.pass)?))) {
        return Some((file, step.statement, String::new()));
    }
    let Some(step) = twin.brought(Pass::Up, line) else { return Some((last, 0, String::new())) };
    let from = step.script.statements.get(step.statement).map_or(1, |statement| statement.line);
    let why = format!("; {}:{from} brought that about, and it is not undone", step.script.file);
    let version = run(step, Pass::Up).map(|file| &file.version);
    let down = record.files.iter().rfind(|file| file.pass == Pass::Down && Some(&file.version) == version);
    let file = down.unwrap_or(last);
    Some((file, file.script.statements.len().saturating_sub(1), why))
}
