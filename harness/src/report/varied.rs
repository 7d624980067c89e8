//! What `mutate` of scripts and applications and `repair` have to say: rows as data, and the same for people.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement};
use drift_engine::lock::Backend;
use serde::{Deserialize, Serialize};

use super::explored::{ExpectedRow, ViolatedRow};
use super::{terminal, width};
use crate::explore::course::{Counterexample, Names};
use crate::explore::judge::Found;
use crate::explore::schedule::came;
use crate::explore::world::Taken;
use crate::outcome::{Report, VerdictKind, row};
use crate::scenario::script::Script;
use crate::sql::one_line;

/// How wide tables are, in columns.
const WIDTH: u16 = 110;

/// The evidence of a repair that holds.
pub const HOLDS: &str = "all orders were visited, and nothing is violated";

/// The outcome of `mutate` on scripts and applications, and of `repair`.
pub type VariedReport = Report<VariedRow>;

/// A script or an application as it is, or with something changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VariedRow {
    /// SCRIPT/CASE or the application's name, and what was changed.
    pub name: String,
    /// SCRIPT/CASE, or the application's name.
    pub case: String,
    /// The database.
    pub backend: Backend,
    /// Which orders were visited.
    pub strategy: String,
    /// What came of it, in one word: of a mutant `killed`, `covered`, `harmless`, `survived`, `undecided`; of a repair
    /// `holds`, `violated`, `not serial`, `not proven`, `idle`, `changes the job`, `inapplicable`; of the script as it is `as it is`.
    pub fate: String,
    /// What was changed, in a few words; nothing for the script as it is.
    pub change: String,
    /// What was changed, as it reads now: where it stands, and the SQL.
    pub statements: Vec<(String, String)>,
    /// What came of it.
    pub verdict: VerdictKind,
    /// What was to come of it.
    pub expected: ExpectedRow,
    /// Whether it did.
    pub met: bool,
    /// The sentence that shows it.
    pub evidence: String,
    /// The violations.
    pub checks: Vec<ViolatedRow>,
    /// Of a mutant: the checks that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub killed_by: Vec<String>,
    /// How often what was changed was run.
    pub executed: u64,
    /// Complete executions.
    pub executions: u64,
    /// Of a repair: the executions in which a step waited.
    pub waited: u64,
    /// Of a repair: how often a step was refused, over all executions.
    pub refused: u64,
    /// The order that shows it, step by step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<VariedStep>,
    /// The violation with its execution, as `explore` records it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counterexamples: Vec<Counterexample>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// The command that runs it again.
    pub replay: String,
}

/// A step of an order that shows something.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VariedStep {
    /// Whose.
    pub actor: String,
    /// Its name.
    pub step: String,
    /// Its SQL as it was sent, captured values filled in.
    pub sql: String,
    /// What came of it, and of whatever it set free.
    pub came: Vec<String>,
}

row!(VariedRow, |row| format!("{} [{}]", row.name, row.backend), format!("{}.{}", row.backend, row.case));

impl VariedRow {
    /// Adds the order that shows a violation.
    pub fn show(&mut self, script: &Script, found: &Found) {
        let step = |taken: &Taken| {
            let (actor, step) = (&script.actors[taken.actor], &script.actors[taken.actor].steps[taken.step]);
            let sql = if taken.sql.is_empty() { &step.sql } else { &taken.sql };
            VariedStep {
                actor: actor.name.clone(),
                step: step.name.clone(),
                sql: sql.clone(),
                came: came(script, taken),
            }
        };
        self.steps = found.execution.taken.iter().map(step).collect();
        self.checks = vec![ViolatedRow {
            name: found.check.clone(),
            verdict: VerdictKind::Violation,
            why: found.sentence.clone(),
        }];
        let all = found.execution.taken.len();
        self.counterexamples = vec![Counterexample::new(&Names::of(script), found, all, self.replay.clone())];
    }
}

/// Writes the kill matrix of each script.
///
/// # Errors
/// The writer's.
pub fn mutants(report: &VariedReport, to: &mut dyn Write) -> io::Result<()> {
    for (row, changed) in cases(report) {
        writeln!(to, "{} on {}: {}: {}", row.case, row.backend, row.verdict.as_str(), row.evidence)?;
        order(row, to)?;
        if changed.is_empty() {
            writeln!(to)?;
            continue;
        }
        let mut table = wide(["without", "executed", "executions", "verdict", "killed by"]);
        for one in &changed {
            let counts = [one.executed, one.executions].map(|count| count.to_string());
            let [executed, executions] = counts;
            let change = one.change.strip_prefix("without ").unwrap_or(&one.change).to_owned();
            table.add_row([change, executed, executions, word(one), one.killed_by.join(", ")]);
        }
        right(&mut table, 1..3);
        writeln!(to, "\n{table}\n")?;
        for one in changed.iter().filter(|one| one.fate != "killed" && one.fate != "harmless") {
            writeln!(to, "{}: {}: {}", one.change, one.fate, one.evidence)?;
            order(one, to)?;
        }
        if changed.iter().any(|one| one.fate == "harmless") {
            writeln!(
                to,
                "harmless: without it, too, every order comes to what some serial order comes to, and nobody is refused \
                 who was not before"
            )?;
        }
        writeln!(to)?;
    }
    end(report, to)
}

/// Writes the table of repairs of each script, and the statements of those that hold.
///
/// # Errors
/// The writer's.
pub fn repairs(report: &VariedReport, all: bool, to: &mut dyn Write) -> io::Result<()> {
    for (row, changed) in cases(report) {
        writeln!(to, "{} on {}: {}", row.case, row.backend, row.evidence)?;
        order(row, to)?;
        if changed.is_empty() {
            writeln!(to)?;
            continue;
        }
        let mut table = wide(["repair", "verdict", "waits", "refusals", "executions", "why"]);
        for one in &changed {
            let why = one.evidence.replacen(HOLDS, "exhausted", 1);
            let counts = [one.waited, one.refused, one.executions].map(|count| count.to_string());
            let [waited, refused, executions] = counts;
            table.add_row([one.change.clone(), word(one), waited, refused, executions, why]);
        }
        right(&mut table, 2..5);
        writeln!(to, "\n{table}\n")?;
        for one in changed.iter().filter(|one| one.fate == "holds" || all) {
            writeln!(to, "{} ({}):", one.change, one.fate)?;
            for (place, sql) in &one.statements {
                writeln!(to, "  {place}: {}", one_line(sql))?;
            }
            if all && !one.steps.is_empty() {
                writeln!(to, "  {}", one.evidence)?;
                order(one, to)?;
            }
        }
        writeln!(to)?;
    }
    end(report, to)
}

/// The cases as they are, each with what was changed of it.
pub fn cases(report: &VariedReport) -> Vec<(&VariedRow, Vec<&VariedRow>)> {
    let mut cases: Vec<(&VariedRow, Vec<&VariedRow>)> = Vec::new();
    for row in &report.results {
        match cases.last_mut() {
            Some((_, changed)) if !row.change.is_empty() => changed.push(row),
            _ => cases.push((row, Vec::new())),
        }
    }
    cases
}

fn wide<const N: usize>(header: [&str; N]) -> comfy_table::Table {
    let mut table = terminal::table();
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width::less(WIDTH, 0));
    table.set_header(header);
    table
}

fn right(table: &mut comfy_table::Table, columns: std::ops::Range<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// What came of it, louder where it should not have.
fn word(row: &VariedRow) -> String {
    if row.fate == "survived" { row.fate.to_uppercase() } else { row.fate.clone() }
}

/// The order that shows something, one step a line.
fn order(row: &VariedRow, to: &mut dyn Write) -> io::Result<()> {
    let width = row.steps.iter().map(|step| step.actor.chars().count()).max().unwrap_or(0);
    for (number, step) in row.steps.iter().enumerate() {
        let (sql, came) = (one_line(&step.sql), step.came.join("; "));
        writeln!(to, "  {:>3}  {:width$}  {sql} → {came}", number + 1, step.actor)?;
    }
    Ok(())
}

fn end(report: &VariedReport, to: &mut dyn Write) -> io::Result<()> {
    for one in &report.not_applicable {
        writeln!(to, "{} on {} was left out: {}", one.name, one.backend, one.reason)?;
    }
    terminal::surroundings(&report.not_verified, &report.backends, to)?;
    writeln!(to, "profile {}", terminal::profile(&report.profile))?;
    let met = report.results.iter().filter(|row| row.met).count();
    terminal::conclusion(report.verdict, met, report.results.len(), to)
}
