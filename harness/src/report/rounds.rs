//! What `verify` has to say of scripts: rows as data, and the same for people.

use std::io::{self, Write};

use comfy_table::CellAlignment;
use drift_engine::lock::Backend;
use serde::{Deserialize, Serialize};

use super::explored::{ExpectedRow, ViolatedRow, cut, named};
use super::{counterexample, terminal, width};
use crate::explore::schedule::done_as;
use crate::explore::world::What;
use crate::outcome::{Report, Step, VerdictKind, row};
use crate::scenario::script::Script;
use crate::verify::rounds::FoundRound;

/// How wide counterexamples are, in columns.
const WIDTH: u16 = 120;
/// How much of what a program printed is shown, from its end.
const PRINTED_LINES_MAX: usize = 5;
const PRINTED_CHARS_MAX: usize = 200;

/// The outcome of `verify` on scripts.
pub type RoundsReport = Report<RoundRow>;

/// One case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RoundRow {
    /// SCRIPT/CASE.
    pub name: String,
    /// The database.
    pub backend: Backend,
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
    /// How many rounds there were.
    pub rounds: u64,
    /// In how many two actors were under way at the same time for certain.
    pub overlapped: u64,
    /// In how many of these that was arranged, where it is tried: of applications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arranged: Option<u64>,
    /// In how many a step was seen to wait for another actor.
    pub waited: u64,
    /// In how many a step was refused.
    pub refused: u64,
    /// What is not compared with serial orders, for it differs by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_compared: Vec<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// The command that runs it, or the round of its violation, again.
    pub replay: String,
    /// The rounds that came to a violation.
    pub counterexamples: Vec<ShownRound>,
}

/// A round that came to a violation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShownRound {
    /// What was violated.
    pub check: String,
    /// How, in a sentence.
    pub sentence: String,
    /// The round's number, from 1.
    pub round: u64,
    /// The seed of its pauses.
    pub seed: u64,
    /// What its actors did, in the order in which it was sent.
    pub steps: Vec<Step>,
    /// What each actor's program has printed, at its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub printed: Vec<(String, String)>,
}

impl ShownRound {
    /// Of a violation.
    pub fn new(script: &Script, found: &FoundRound) -> Self {
        let start = found.history.first().map(|moved| moved.ran.begun).unwrap_or_default();
        let since = |time: std::time::Duration| u64::try_from((time - start).as_nanos()).unwrap_or(u64::MAX);
        let step = |moved: &crate::verify::rounds::Moved| {
            let actor = &script.actors[moved.actor];
            let mut outcome = match &moved.ran.answer.what {
                What::Done(done) => cut(&done_as(&actor.steps[moved.ran.step].sql, done)),
                What::Failed { code, message } => format!("failed: {} ({code})", cut(message)),
                What::Waits { .. } => "waits".to_owned(),
            };
            if let Some(by) = &moved.waited {
                let names: Vec<&str> = by.iter().map(|by| script.actors[*by].name.as_str()).collect();
                let whom = if names.is_empty() { String::new() } else { format!(" for {}", names.join(", ")) };
                outcome = match moved.ran.answer.what {
                    What::Waits { .. } => format!("waits{whom}"),
                    _ => format!("waited{whom}, {outcome}"),
                };
            }
            for notice in &moved.ran.answer.notices {
                outcome.push_str(&format!("; {}", cut(notice)));
            }
            Step {
                actor: actor.name.clone(),
                invoked: since(moved.ran.begun),
                returned: since(moved.ran.ended),
                operation: named(&actor.steps[moved.ran.step].name, &moved.ran.sql),
                outcome,
            }
        };
        Self {
            check: found.check.clone(),
            sentence: found.sentence.clone(),
            round: found.number,
            seed: found.seed,
            steps: found.history.iter().map(step).collect(),
            printed: found.outputs.iter().map(|(actor, text)| (actor.clone(), last_lines(text))).collect(),
        }
    }
}

/// The last lines of what was printed.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let short = |line: &&str| line.chars().take(PRINTED_CHARS_MAX).collect::<String>();
    lines[lines.len().saturating_sub(PRINTED_LINES_MAX)..].iter().map(short).collect::<Vec<_>>().join("\n")
}

row!(RoundRow, |row| format!("{} [{}]", row.name, row.backend), row.backend.to_string());

/// Writes the table of the cases, the violations that nobody expected, and the summary.
///
/// # Errors
/// The writer's.
pub fn write(report: &RoundsReport, to: &mut dyn Write) -> io::Result<()> {
    let mut table = terminal::table();
    let is_arranged = report.results.iter().any(|row| row.arranged.is_some());
    let mut header = vec!["case", "backend", "rounds", "overlapped", "waited", "refused", "verdict"];
    if is_arranged {
        header.insert(4, "arranged");
    }
    table.set_header(header.clone());
    for row in &report.results {
        let numbers = [row.rounds, row.overlapped, row.waited, row.refused].map(|number| number.to_string());
        let [rounds, overlapped, waited, refused] = numbers;
        let mut cells =
            vec![row.name.clone(), row.backend.to_string(), rounds, overlapped, waited, refused, wording(row)];
        if is_arranged {
            cells.insert(4, row.arranged.map_or(String::new(), |arranged| arranged.to_string()));
        }
        table.add_row(cells);
    }
    let numbers = 2..header.len() - 1;
    for index in numbers {
        table.column_mut(index).expect("the table has a column for each word").set_cell_alignment(CellAlignment::Right);
    }
    writeln!(to, "{table}\n")?;
    for row in report.results.iter().filter(|row| !row.met || report.results.len() == 1) {
        writeln!(to, "{} on {}: {}", row.name, row.backend, row.evidence)?;
        row.counterexamples.iter().try_for_each(|shown| violation(shown, to))?;
        writeln!(to, "  replay: {}\n", row.replay)?;
    }
    terminal::surroundings(&report.not_verified, &report.backends, to)?;
    writeln!(to, "profile {}, seed {}", terminal::profile(&report.profile), report.seed.unwrap_or_default())?;
    let met = report.results.iter().filter(|row| row.met).count();
    terminal::conclusion(report.verdict, met, report.results.len(), to)
}

/// Writes a violation: what the actors did, and what is wrong with it.
///
/// # Errors
/// The writer's.
pub fn violation(shown: &ShownRound, to: &mut dyn Write) -> io::Result<()> {
    counterexample::timed(&shown.steps, width::less(WIDTH, 2), to)?;
    for (actor, text) in &shown.printed {
        text.lines().try_for_each(|line| writeln!(to, "  {actor} printed: {line}"))?;
    }
    writeln!(to, "  {}: {}", shown.check, shown.sentence)
}

/// The verdict in relation to what was expected.
pub(super) fn wording(row: &RoundRow) -> String {
    let first = || row.checks.first().map(|check| check.name.clone()).unwrap_or_default();
    match (row.met, row.verdict) {
        (true, VerdictKind::Violation) => format!("violation of {}, as expected", first()),
        (false, VerdictKind::Violation) => format!("VIOLATION OF {}", first().to_uppercase()),
        (_, word) => word.as_str().to_owned(),
    }
}
