//! What `rehearse` has to say: rows as data, and the same for people.

pub mod applications;
mod evidence;
pub mod layout;
pub mod markdown;
pub mod row;
pub mod sarif;
pub mod statement;

use std::io::{self, Write};

use comfy_table::CellAlignment;
use owo_colors::OwoColorize;

use super::terminal;
use crate::outcome::{Report, VerdictKind, row};
use row::RehearseRow;

/// The outcome of `rehearse`.
pub type RehearseReport = Report<RehearseRow>;

row!(RehearseRow, |row| format!("{} [{}]", row.name, row.strategy), format!("{}.{}", row.backend, row.strategy));

/// Writes everything for people.
///
/// # Errors
/// The writer's.
pub fn write(report: &RehearseReport, to: &mut dyn Write) -> io::Result<()> {
    for row in &report.results {
        // Of what came out as expected among many, one line is enough.
        if report.results.len() > 1 && row.met {
            continue;
        }
        case(row, to)?;
    }
    if report.results.len() > 1 {
        writeln!(to, "{}\n", summary(report))?;
    }
    for one in &report.not_applicable {
        writeln!(to, "{}: {}", one.name, one.reason)?;
    }
    terminal::surroundings(&report.not_verified, &report.backends, to)?;
    writeln!(to, "profile {}, seed {}", terminal::profile(&report.profile), report.seed.unwrap_or_default())?;
    let met = report.results.iter().filter(|row| row.met).count();
    terminal::conclusion(report.verdict, met, report.planned.max(report.results.len()), to)
}

fn summary(report: &RehearseReport) -> comfy_table::Table {
    let mut table = terminal::table();
    table.set_header(["migrations", "beside", "verdict", "found", "ms"]);
    for row in &report.results {
        let mut kinds: Vec<&str> = row.findings.iter().map(|finding| finding.kind.as_str()).collect();
        kinds.dedup();
        table.add_row([
            row.name.clone(),
            row.strategy.clone(),
            wording(row),
            kinds.join(", "),
            row.duration_ms.to_string(),
        ]);
    }
    table.column_mut(4).expect("the table has five columns").set_cell_alignment(CellAlignment::Right);
    table
}

fn case(row: &RehearseRow, to: &mut dyn Write) -> io::Result<()> {
    let last = if row.to.is_none() { "the last".to_owned() } else { row.to.to_string() };
    writeln!(to, "{}, {}: version {} to {last}, {}", row.name.bold(), row.strategy, row.from, row.traffic)?;
    if let Some(layout) = &row.layout {
        layout::write(layout, to)?;
    }
    if !row.files.is_empty() {
        writeln!(to, "{}", statement::table(row))?;
    }
    if !row.applications.is_empty() {
        writeln!(to, "{}", applications::table(&row.applications))?;
    }
    for finding in &row.findings {
        let code = finding.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
        writeln!(
            to,
            "{}:{}:{}: {}{code}, {}",
            finding.file,
            finding.line,
            finding.column,
            finding.kind.as_str().red().bold(),
            finding.pass
        )?;
        writeln!(to, "    {}", finding.statement)?;
        writeln!(to, "  {}", finding.sentence)?;
        writeln!(to, "  instead: {}", finding.advice)?;
    }
    for why in &row.inconclusive {
        writeln!(to, "{}: {why}", "inconclusive".yellow())?;
    }
    for note in &row.notes {
        writeln!(to, "note: {note}")?;
    }
    for (name, rate) in row.rates.iter().flat_map(|rates| rates.named()) {
        writeln!(
            to,
            "{name:>22}: {:>6.0} operations a second (±{:.0} %), p50 {:.1} ms, p99 {:.1} ms, longest {:.0} ms",
            rate.per_second,
            rate.noise * 50.0,
            rate.p50_ms,
            rate.p99_ms,
            rate.max_ms
        )?;
    }
    if let Some(cost) = &row.observer {
        writeln!(to, "observer: {cost}")?;
    }
    for (file, bytes) in &row.wal_bytes {
        let of = if row.backend == "sqlite" { "in the log or the journal at its peak" } else { "of WAL" };
        writeln!(to, "{file}: {:.1} MB {of}", *bytes as f64 / 1e6)?;
    }
    writeln!(to, "budget: {}", row.budget)?;
    writeln!(to, "{}", wording(row))?;
    writeln!(to, "replay: {}\n", row.replay)
}

/// The verdict in relation to what was expected.
pub(super) fn wording(row: &RehearseRow) -> String {
    match (row.met, row.verdict) {
        (true, VerdictKind::Violation) => {
            format!("{}, as expected", row.expected.finding.as_deref().unwrap_or("violation"))
        }
        (false, VerdictKind::Pass) => format!("no {}", row.expected.finding.as_deref().unwrap_or("violation")),
        (false, VerdictKind::Violation) => "VIOLATION".to_owned(),
        (_, word) => word.as_str().to_owned(),
    }
}
