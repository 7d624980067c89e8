//! What `explore` has to say: rows as data, and the same for people.

use std::collections::BTreeMap;
use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement};
use drift_engine::lock::Backend;
use serde::{Deserialize, Serialize};

use super::{terminal, width};
use crate::explore::course::Counterexample;
use crate::explore::faulted::{FaultViolation, Faulted};
use crate::explore::judge::Found;
use crate::explore::overlap::FoundTogether;
use crate::explore::reached::OutcomeRow;
use crate::explore::schedule::{Letting, Schedule, came};
use crate::outcome::{Report, VerdictKind, row};
use crate::scenario::script::{Script, ScriptCase};
use crate::sql::in_short;

/// How much of a step's SQL is shown, in characters: what it needs, within reason. Tables wrap it.
const SQL_MAX: usize = 300;

/// How wide counterexamples are, in columns.
const WIDTH: u16 = 120;

/// The outcome of `explore`.
pub type ExploreReport = Report<ExploreRow>;

/// One case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExploreRow {
    /// SCRIPT/CASE.
    pub name: String,
    /// The database.
    pub backend: Backend,
    /// Which orders were visited.
    pub strategy: String,
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
    /// How far the search came: `exhausted`, `bounded`, `stopped` or `diverged`.
    #[serde(default)]
    pub coverage: String,
    /// The steps that were refused, with the code, and in how many executions.
    #[serde(default)]
    pub refused: Vec<(String, String, u64)>,
    /// Values that differ between two runs of the same serial order, and are not compared.
    #[serde(default)]
    pub not_compared: Vec<String>,
    /// Complete executions.
    pub executions: u64,
    /// Executions that were left half-way.
    pub abandoned: u64,
    /// The orders of the steps that these stand for.
    pub orders: f64,
    /// Executions a second, whole ones and those left half-way.
    pub executions_per_second: f64,
    /// What the executions came to.
    pub outcomes: Vec<OutcomeRow>,
    /// The violations, step by step.
    #[serde(default)]
    pub counterexamples: Vec<Counterexample>,
    /// What the script or application shows, in one line.
    #[serde(default)]
    pub summary: String,
    /// How long the search took, in milliseconds.
    pub duration_ms: u64,
    /// The steps that were run at the same time.
    #[serde(default)]
    pub overlaps: Vec<OverlapRow>,
    /// What was let fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faults: Option<FaultsRow>,
    /// The command that runs it, or its counterexample, again.
    pub replay: String,
}

/// What was let fail, and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FaultsRow {
    /// The actors, each with how many of its steps are places.
    pub places: BTreeMap<String, usize>,
    /// Actors that cannot be told from another one, and who that is: nothing fails for them by themselves.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub alike: BTreeMap<String, String>,
    /// The kinds of failures.
    pub kinds: Vec<String>,
    /// How many searches came to their end, of one for each place and each kind that can come there.
    pub searches: u64,
    /// How many there were to be.
    pub wanted: u64,
    /// Complete executions in them.
    pub executions: u64,
    /// How far they came: `exhausted`, `bounded`, `stopped` or `diverged`.
    pub coverage: String,
    /// At how many places each kind led to a violation.
    pub by_kind: BTreeMap<String, u64>,
    /// The violations.
    pub violations: Vec<FaultViolationRow>,
    /// What could not come where it was to, in any order.
    pub never_came: Vec<String>,
    /// Steps that are sent only after something else fails: they are no places.
    pub unsent: Vec<String>,
}

/// A violation that a failure led to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FaultViolationRow {
    /// The failure's kind.
    pub kind: String,
    /// The step at which it came: ACTOR.STEP.
    pub place: String,
    /// What was violated.
    pub check: String,
}

impl FaultsRow {
    /// Of what was let fail, which was covered so far.
    pub fn new(of: &Faulted, coverage: &str) -> Self {
        let violation = |of: &FaultViolation| FaultViolationRow {
            kind: of.kind.to_string(),
            place: of.place.clone(),
            check: of.check.clone(),
        };
        Self {
            places: of.places.iter().cloned().collect(),
            alike: of.alike.iter().cloned().collect(),
            kinds: of.kinds.iter().map(ToString::to_string).collect(),
            searches: of.searches,
            wanted: of.wanted,
            executions: of.executions,
            coverage: coverage.to_owned(),
            by_kind: of.by_kind().into_iter().map(|(kind, places)| (kind.to_string(), places)).collect(),
            violations: of.violations.iter().map(violation).collect(),
            never_came: of.never_came.clone(),
            unsent: of.unsent.clone(),
        }
    }
}

/// Two steps that were run at the same time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OverlapRow {
    /// Which ones: ACTOR.STEP.
    pub steps: [String; 2],
    /// In how many executions they were to be.
    pub tries: u64,
    /// In how many they were sent together.
    pub together: u64,
    /// In how many the server worked on both at once.
    pub in_flight: u64,
    /// The executions that came to a violation.
    pub violations: Vec<TogetherRow>,
}

/// A violation in whose execution two steps ran at the same time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TogetherRow {
    /// What was violated.
    pub check: String,
    /// How, in a sentence.
    pub sentence: String,
    /// In which execution, from 1.
    pub execution: u64,
    /// The steps, in the order in which they were sent.
    pub steps: Vec<Letting>,
    /// Which of these were sent together: this one, counted from 0, and the next.
    pub together: usize,
    /// When the server worked on each of the two, in microseconds since it began the first one.
    pub server_us: [(i64, i64); 2],
}

impl TogetherRow {
    /// Of a violation.
    pub fn new(script: &Script, case: &ScriptCase, of: &FoundTogether) -> Self {
        let schedule = Schedule::new("", None, script, case, &of.found);
        let start = of.flights[0].begun.min(of.flights[1].begun);
        Self {
            check: schedule.check,
            sentence: schedule.sentence,
            execution: of.number,
            steps: schedule.step,
            together: of.at,
            server_us: of.flights.map(|flight| (flight.begun - start, flight.ended - start)),
        }
    }
}

/// What is expected.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExpectedRow {
    /// `pass` or `violation`.
    pub verdict: VerdictKind,
    /// Of what.
    pub check: Option<String>,
}

/// A violation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ViolatedRow {
    /// What was violated.
    pub name: String,
    /// `violation`.
    pub verdict: VerdictKind,
    /// How.
    pub why: String,
}

row!(
    ExploreRow,
    |row| format!("{} [{} {}]", row.name, row.backend, row.strategy),
    format!("{}.{}", row.backend, row.strategy)
);

/// Writes the table of the cases and the summary.
///
/// # Errors
/// The writer's.
pub fn write(report: &ExploreReport, all: bool, to: &mut dyn Write) -> io::Result<()> {
    let mut table = terminal::table();
    table.set_header(["case", "backend", "executions", "pruned", "orders", "per s", "coverage", "refused", "verdict"]);
    for row in &report.results {
        table.add_row([
            row.name.clone(),
            row.backend.to_string(),
            row.executions.to_string(),
            row.abandoned.to_string(),
            row.orders.to_string(),
            format!("{:.0}", row.executions_per_second),
            row.coverage.clone(),
            refused(row),
            wording(row),
        ]);
    }
    for index in 2..6 {
        table.column_mut(index).expect("the table has nine columns").set_cell_alignment(CellAlignment::Right);
    }
    writeln!(to, "{table}\n")?;
    for row in &report.results {
        if all || !row.met || report.results.len() == 1 {
            writeln!(to, "{} on {}: {}", row.name, row.backend, row.evidence)?;
            writeln!(to, "  replay: {}", row.replay)?;
        }
        if all {
            for outcome in &row.outcomes {
                writeln!(to, "  {:>6} × {outcome}", outcome.executions)?;
            }
        }
    }
    if report.results.iter().any(|row| row.abandoned > 0) {
        writeln!(to, "pruned: executions that were left half-way, for all that they could still show had been seen")?;
    }
    terminal::surroundings(&report.not_verified, &report.backends, to)?;
    writeln!(to, "profile {}", terminal::profile(&report.profile))?;
    let met = report.results.iter().filter(|row| row.met).count();
    terminal::conclusion(report.verdict, met, report.results.len(), to)
}

/// The codes with which steps were refused.
fn refused(row: &ExploreRow) -> String {
    let mut codes: Vec<&str> = row.refused.iter().map(|(_, code, _)| code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    codes.join(" ")
}

/// The verdict in relation to what was expected.
pub(super) fn wording(row: &ExploreRow) -> String {
    let expected = || row.expected.check.clone().unwrap_or_default();
    match (row.met, row.verdict) {
        (true, VerdictKind::Violation) => format!("violation of {}, as expected", expected()),
        (false, VerdictKind::Pass) => format!("no violation of {}", expected()),
        (false, VerdictKind::Violation) => {
            format!("VIOLATION OF {}", row.checks.first().map(|check| check.name.to_uppercase()).unwrap_or_default())
        }
        (_, word) => word.as_str().to_owned(),
    }
}

/// Writes a violation: time down, one column an actor, then the sentence; only the first `until` steps.
///
/// # Errors
/// The writer's.
pub fn counterexample(script: &Script, found: &Found, until: usize, to: &mut dyn Write) -> io::Result<()> {
    table(script, found, until, None, to)?;
    let left = found.execution.taken.len().saturating_sub(until);
    if left > 0 {
        writeln!(to, "  ({left} steps more only end what was begun)")?;
    }
    writeln!(to, "  {}: {}", found.check, found.sentence)
}

/// Writes a violation in which two steps ran at the same time: they are marked, and the server's times
/// are told.
///
/// # Errors
/// The writer's.
pub fn together(script: &Script, case: &ScriptCase, of: &FoundTogether, to: &mut dyn Write) -> io::Result<()> {
    table(script, &of.found, usize::MAX, Some(of.at), to)?;
    let server_us = TogetherRow::new(script, case, of).server_us;
    let times = server_us.iter().zip(&of.found.execution.taken[of.at..]).map(|((from, until), taken)| {
        format!("{} from {from} to {until} µs", script.name_of((taken.actor, taken.step)))
    });
    writeln!(to, "  ∥: at the same time, by the server's clock: {}", times.collect::<Vec<_>>().join(", "))?;
    writeln!(to, "  {}: {}", of.found.check, of.found.sentence)
}

fn table(script: &Script, found: &Found, until: usize, together: Option<usize>, to: &mut dyn Write) -> io::Result<()> {
    let taking_part: Vec<usize> = (0..script.actors.len())
        .filter(|actor| found.execution.taken.iter().any(|taken| taken.actor == *actor))
        .collect();
    let mut table = terminal::table();
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width::less(WIDTH, 2));
    table.set_header(std::iter::once("").chain(taking_part.iter().map(|actor| script.actors[*actor].name.as_str())));
    for (number, taken) in found.execution.taken.iter().enumerate().take(until) {
        let mut cells = vec![String::new(); taking_part.len()];
        for (event, came) in taken.events.iter().zip(came(script, taken)) {
            let Some(column) = taking_part.iter().position(|actor| *actor == event.actor) else { continue };
            let came =
                came.rsplit_once(": ").filter(|_| event.actor != taken.actor).map_or(came.as_str(), |(_, came)| came);
            let step = &script.actors[event.actor].steps[event.step];
            // A step that was set free was shown when it was sent.
            let of_this = (event.actor, event.step) == (taken.actor, taken.step);
            // The engine's steps are operations, and named so.
            let sent = if taken.sql.is_empty() { &step.sql } else { &taken.sql };
            let sql = if of_this { named(&step.name, sent) } else { "…".to_owned() };
            cells[column] = format!("{sql} → {came}");
            for notice in taken.notes.get(event.actor).into_iter().flat_map(|note| &note.notices) {
                cells[column].push_str(&format!("\n{}", cut(notice)));
            }
        }
        let both = together.is_some_and(|at| number == at || number == at + 1);
        let number = format!("{}{}", if both { "∥ " } else { "" }, number + 1);
        table.add_row(std::iter::once(number).chain(cells));
    }
    for line in table.to_string().lines() {
        writeln!(to, "  {}", line.trim_end())?;
    }
    Ok(())
}

/// A step's SQL, after its name if it has one of its own.
pub(super) fn named(name: &str, sql: &str) -> String {
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { cut(sql) } else { format!("{name}: {}", cut(sql)) }
}

/// A text as one short line.
pub(super) fn cut(text: &str) -> String {
    in_short(text, SQL_MAX)
}
