//! What `driftlock run` has to say: the cases of reports as rows, and all of them for people, JUnit and Markdown.

mod collect;
mod columns;
pub mod markdown;
pub mod sarif;

use std::io::{self, Write};

use comfy_table::CellAlignment;
use owo_colors::OwoColorize;

use super::terminal;
use crate::outcome::VerdictKind;
use crate::overall::{CaseRow, OverallReport};

pub use collect::{Collected, collected};

/// Writes everything for people: a table of the runs, what is not as expected, the summary.
///
/// # Errors
/// The writer's.
pub fn write(report: &OverallReport, to: &mut dyn Write) -> io::Result<()> {
    if report.by_version {
        columns::write(report, to)?;
    } else {
        writeln!(to, "{}\n", table(report))?;
    }
    for row in report.report.results.iter().filter(|row| !row.met) {
        case(row, to)?;
    }
    for row in &report.report.results {
        if let Some(accepted) = &row.accepted {
            let (until, reason) = (accepted.until, &accepted.reason);
            writeln!(to, "{}: {}: {} until {until}: {reason}", row.run, row.title.bold(), "accepted".yellow())?;
            writeln!(to, "  {}", row.evidence)?;
        }
    }
    for run in &report.runs {
        if let Some(why) = &run.nothing {
            writeln!(to, "{}: {why}", run.name)?;
        }
    }
    for note in &report.notes {
        writeln!(to, "note: {note}")?;
    }
    terminal::surroundings(&report.report.not_verified, &report.report.backends, to)?;
    match report.by_version {
        true => writeln!(to, "profile {}", report.report.profile)?,
        false => writeln!(to, "profile {} of driftlock.toml", report.project_profile)?,
    }
    if report.is_interrupted {
        writeln!(to, "{}: this is what there was until then", "interrupted".yellow())?;
    }
    let met = report.report.results.iter().filter(|row| row.is_as_expected()).count();
    terminal::conclusion(report.report.verdict, met, report.report.planned.max(report.report.results.len()), to)
}

/// The columns of the table of runs.
const HEADER: [&str; 7] = ["run", "command", "cases", "as expected", "accepted", "result", "s"];

fn table(report: &OverallReport) -> comfy_table::Table {
    let mut table = terminal::table();
    table.set_header(HEADER);
    for cells in cells(report) {
        table.add_row(cells);
    }
    for index in [2, 3, 4, 6] {
        table.column_mut(index).expect("the table has seven columns").set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The cells of the table of runs.
fn cells(report: &OverallReport) -> impl Iterator<Item = [String; 7]> {
    report.runs.iter().map(|run| {
        let command = match report.by_version {
            true => report.report.command.clone(),
            false => run.line.split_whitespace().nth(1).unwrap_or_default().to_owned(),
        };
        let met = report.of_run(run).filter(|row| row.is_as_expected()).count().to_string();
        let accepted = report.of_run(run).filter(|row| row.accepted.is_some()).count().to_string();
        let seconds = run.duration_ms as f64 / 1e3;
        let cases = run.planned.max(report.of_run(run).count());
        let (result, seconds) = (run.word().to_owned(), format!("{seconds:.1}"));
        [run.name.clone(), command, cases.to_string(), met, accepted, result, seconds]
    })
}

fn case(row: &CaseRow, to: &mut dyn Write) -> io::Result<()> {
    let word = match row.verdict {
        VerdictKind::Pass => "no violation, though one is expected".to_owned(),
        VerdictKind::Violation => "VIOLATION".to_owned(),
        VerdictKind::Inconclusive => "inconclusive".to_owned(),
    };
    writeln!(to, "{}: {}: {}", row.run, row.title.bold(), word.red())?;
    writeln!(to, "  {}", row.evidence)?;
    for violated in row.violated.iter().filter(|violated| !row.evidence.contains(&violated.why)) {
        let at = violated.at.as_ref().map(|at| format!("{at}: ")).unwrap_or_default();
        writeln!(to, "  {at}{}: {}", violated.check, violated.why)?;
    }
    writeln!(to, "  replay: {}", row.replay)?;
    if let Some(keep) = &row.keep {
        writeln!(to, "  keep it, to be replayed first: {keep}")?;
    }
    writeln!(to)
}
