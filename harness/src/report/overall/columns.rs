//! A command on several versions of PostgreSQL: a row for each case, a column for each version.

use std::collections::BTreeSet;
use std::io::{self, Write};

use crate::outcome::VerdictKind;
use crate::overall::{CaseRow, OverallReport};
use crate::report::terminal;

/// Writes the table, and which cases come out differently.
///
/// # Errors
/// The writer's.
pub(super) fn write(report: &OverallReport, to: &mut dyn Write) -> io::Result<()> {
    let cases = cases(report);
    let mut table = terminal::table();
    let columns = report.runs.iter().map(|run| run.line.clone());
    table.set_header(["case".to_owned()].into_iter().chain(columns));
    for (title, words) in &cases {
        table.add_row([*title].into_iter().chain(words.iter().copied()));
    }
    writeln!(to, "{table}\n")?;
    for (title, words) in &cases {
        // SQLite's cases have a column of their own: what is empty differs from nothing.
        let different: BTreeSet<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
        if different.len() > 1 {
            let each = report.runs.iter().zip(words).filter(|(_, word)| !word.is_empty());
            let each: Vec<String> = each.map(|(run, word)| format!("{word} on {}", run.line)).collect();
            writeln!(to, "differs: {title}: {}", each.join(", "))?;
        }
    }
    Ok(())
}

/// Each case with what it came to in each run, in the order in which they came.
fn cases(report: &OverallReport) -> Vec<(&str, Vec<&'static str>)> {
    let mut titles: Vec<&str> = Vec::new();
    let mut seen = BTreeSet::new();
    for row in &report.report.results {
        if seen.insert(&row.title) {
            titles.push(&row.title);
        }
    }
    let word = |title: &str, run: &str| {
        let row = report.report.results.iter().find(|row| row.run == run && row.title == title);
        row.map_or("", word)
    };
    let of = |title| (title, report.runs.iter().map(|run| word(title, &run.name)).collect());
    titles.into_iter().map(of).collect()
}

fn word(row: &CaseRow) -> &'static str {
    match (row.met, row.verdict) {
        (true, VerdictKind::Pass) => "pass",
        (true, VerdictKind::Violation) => "as expected",
        (false, VerdictKind::Pass) => "no violation",
        (false, VerdictKind::Violation) => "VIOLATION",
        (_, VerdictKind::Inconclusive) => "inconclusive",
    }
}
