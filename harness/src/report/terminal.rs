//! The report as people read it.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, presets};
use owo_colors::OwoColorize;

use super::{counterexample, width};
use crate::outcome::{BackendUsed, LoomRow, ResultRow, SuiteReport, VerdictKind};

/// Up to how many rows a kill matrix is followed by the counterexamples.
const SHOWN_MAX: usize = 6;

/// How wide counterexamples are, in columns.
const WIDTH: u16 = 110;

/// Writes the report: a table of the cases, the violations, what is not as expected, the summary.
///
/// # Errors
/// The writer's.
pub fn write(report: &SuiteReport, to: &mut dyn Write) -> io::Result<()> {
    if report.command == "mutate" {
        writeln!(to, "{}", mutants(report))?;
    } else {
        writeln!(to, "{}", cases(report))?;
    }
    for row in report.results.iter().filter(|row| !row.counterexamples.is_empty()) {
        // Of a killed mutant, and of an expected violation, one is enough; of many mutants none.
        let shown = if row.met { 1 } else { row.counterexamples.len() };
        if row.met && report.command == "mutate" && report.results.len() > SHOWN_MAX {
            continue;
        }
        writeln!(to, "\n{} on {} with {}: {}", row.name, row.backend, row.strategy, wording(row))?;
        for one in row.counterexamples.iter().take(shown) {
            counterexample::render(one, width::less(WIDTH, 2), to)?;
        }
        writeln!(to, "  replay: {}", row.replay)?;
    }
    for row in report.results.iter().filter(|row| !row.met && row.counterexamples.is_empty()) {
        writeln!(to, "\n{} on {} with {}: {}", row.name, row.backend, row.strategy, wording(row))?;
        writeln!(to, "  {}", row.evidence)?;
        writeln!(to, "  replay: {}", row.replay)?;
    }
    writeln!(to)?;
    surroundings(&report.not_verified, &report.backends, to)?;
    let seed = report.seed.map(|seed| format!(", seed {seed}")).unwrap_or_default();
    writeln!(to, "profile {}{seed}", profile(&report.profile))?;
    let met = report.results.iter().filter(|row| row.met).count();
    conclusion(report.verdict, met, report.planned.max(report.results.len()), to)
}

/// Writes what could not be verified, and the databases.
pub(super) fn surroundings(not_verified: &[String], backends: &[BackendUsed], to: &mut dyn Write) -> io::Result<()> {
    for missing in not_verified {
        writeln!(to, "not verified: {missing}")?;
    }
    for backend in backends {
        writeln!(to, "{} {} ({})", backend.name, backend.version, backend.provisioned)?;
    }
    Ok(())
}

/// Writes the verdict, and how many of the cases came out as expected.
pub(super) fn conclusion(verdict: VerdictKind, met: usize, cases: usize, to: &mut dyn Write) -> io::Result<()> {
    let summary = format!("{met} of {cases} as expected");
    match verdict {
        VerdictKind::Pass => writeln!(to, "{}: {summary}", "pass".green().bold()),
        VerdictKind::Violation => writeln!(to, "{}: {summary}", "violation".red().bold()),
        VerdictKind::Inconclusive => writeln!(to, "{}: {summary}", "inconclusive".yellow().bold()),
    }
}

/// A table without a frame: on a terminal no wider than that, elsewhere as wide as it wants to be.
pub(crate) fn table() -> Table {
    fitted(width::columns())
}

fn fitted(columns: Option<u16>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    match columns {
        Some(columns) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table
}

/// A profile with what it means.
pub(super) fn profile(name: &str) -> String {
    match name {
        "fast" => "fast (the server does not wait for the disk)".to_owned(),
        "durable" => "durable (the server waits for the disk)".to_owned(),
        _ => name.to_owned(),
    }
}

fn cases(report: &SuiteReport) -> Table {
    let mut table = table();
    table.set_header(["scenario", "backend", "strategy", "tasks", "waiters", "verdict", "ms"]);
    for row in &report.results {
        table.add_row([
            row.name.clone(),
            row.backend.to_string(),
            row.strategy.to_string(),
            row.tasks.to_string(),
            row.waiters.to_string(),
            wording(row),
            row.duration_ms.to_string(),
        ]);
    }
    for index in [3, 4, 6] {
        table.column_mut(index).expect("the table has seven columns").set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn mutants(report: &SuiteReport) -> Table {
    let mut table = table();
    table.set_header(["mutant", "backend", "strategy", "altered", "verdict", "loom", "killed by"]);
    for row in &report.results {
        let (executed, loom, killed_by) = match &row.mutant {
            Some(mutant) => {
                let names: Vec<&str> = mutant.killed_by.iter().map(|check| check.as_str()).collect();
                (mutant.executed.to_string(), recorded(mutant.loom.as_ref()), names.join(", "))
            }
            None => ("-".to_owned(), String::new(), String::new()),
        };
        let (backend, strategy) = (row.backend.to_string(), row.strategy.to_string());
        table.add_row([row.name.clone(), backend, strategy, executed, wording(row), loom, killed_by]);
    }
    for one in &report.not_applicable {
        let (name, backend, verdict) = (one.name.clone(), one.backend.to_string(), "not applicable".to_owned());
        table.add_row([name, backend, String::new(), String::new(), verdict, String::new(), one.reason.clone()]);
    }
    table
}

/// What loom says of a mutant, by the record.
fn recorded(loom: Option<&LoomRow>) -> String {
    match loom {
        None => "not expressible".to_owned(),
        Some(LoomRow { verdict: VerdictKind::Violation, executions: 1 }) => "killed in the first".to_owned(),
        Some(LoomRow { verdict: VerdictKind::Violation, executions }) => format!("killed in {executions}"),
        Some(LoomRow { executions, .. }) => format!("survived {executions}"),
    }
}

/// The verdict in relation to what was expected.
pub(super) fn wording(row: &ResultRow) -> String {
    let violated = |check: Option<crate::check::CheckName>| match check {
        Some(check) => format!("violation of {check}"),
        None => "violation".to_owned(),
    };
    match (row.met, row.verdict, row.mutant.is_some()) {
        (true, VerdictKind::Violation, true) => "killed".to_owned(),
        (false, VerdictKind::Pass, true) => "survived".to_owned(),
        (false, VerdictKind::Violation, true) => format!("not {}", violated(row.expected.check)),
        (true, VerdictKind::Violation, false) => format!("{}, as expected", violated(row.expected.check)),
        (false, VerdictKind::Pass, false) => format!("no {}", violated(row.expected.check)),
        (false, VerdictKind::Violation, _) => {
            violated(row.counterexamples.first().map(|shown| shown.check)).to_uppercase()
        }
        (_, word, _) => word.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widest(columns: Option<u16>) -> usize {
        let mut table = fitted(columns);
        table.set_header(["place", "statement", "strongest lock (held, ms)"]);
        table.add_row(["0007_invoices.sql:12", &"CREATE INDEX ".repeat(12), "AccessExclusiveLock on public.invoices"]);
        table.to_string().lines().map(|line| line.chars().count()).max().unwrap_or_default()
    }

    #[test]
    fn a_table_breaks_its_cells_to_fit_a_terminal_and_is_whole_in_a_file() {
        for columns in [60, 100, 160] {
            assert!(widest(Some(columns)) <= usize::from(columns), "{} on {columns}", widest(Some(columns)));
        }
        assert!(widest(None) > 200);
    }
}
