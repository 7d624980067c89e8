//! What `replay` has to say: an order that was run again, as data and for people.

use std::io::{self, Write};

use comfy_table::ContentArrangement;
use serde::{Deserialize, Serialize};

use super::{terminal, width};
use crate::explore::course::{Counterexample, Course};
use crate::outcome::{BackendUsed, SCHEMA_VERSION, VerdictKind};

/// How wide the table is, in columns.
const WIDTH: u16 = 120;

/// The outcome of `replay`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplayReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// `replay`.
    pub command: String,
    /// `violation`: it is there again; `inconclusive`: another course was taken.
    pub verdict: VerdictKind,
    /// The schedule's file.
    pub schedule: String,
    /// The script's file, as the schedule says.
    pub script: String,
    /// The script's case.
    pub case: String,
    /// What came of it, in a sentence.
    pub conclusion: String,
    /// How the PostgreSQL server treats the disk.
    pub profile: String,
    /// The databases that were used.
    pub backends: Vec<BackendUsed>,
    /// What happened; its check is `end` where nothing is violated.
    pub counterexample: Counterexample,
}

impl ReplayReport {
    /// Of an order that was run again.
    pub fn new(verdict: VerdictKind, conclusion: String, counterexample: Counterexample) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            command: "replay".to_owned(),
            verdict,
            schedule: String::new(),
            script: String::new(),
            case: String::new(),
            conclusion,
            profile: String::new(),
            backends: Vec::new(),
            counterexample,
        }
    }
}

/// Writes it: time down, one column an actor, then the sentence.
///
/// # Errors
/// The writer's.
pub fn write(report: &ReplayReport, to: &mut dyn Write) -> io::Result<()> {
    let of = &report.counterexample;
    course(&of.course, of.shown, to)?;
    writeln!(to, "  {}: {}", of.check, of.sentence)?;
    writeln!(to, "{}", report.conclusion)
}

fn course(course: &Course, shown: usize, to: &mut dyn Write) -> io::Result<()> {
    let mut table = terminal::table();
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width::less(WIDTH, 2));
    table.set_header(std::iter::once("").chain(course.actors.iter().map(String::as_str)));
    for (number, step) in course.steps.iter().enumerate().take(shown) {
        let mut cells = vec![String::new(); course.actors.len()];
        for event in &step.events {
            let Some(lane) = course.actors.iter().position(|actor| *actor == event.actor) else { continue };
            let is_own = (&event.actor, &event.step) == (&step.actor, &step.step);
            let sql = if is_own { super::explored::named(&step.step, &step.sql) } else { "…".to_owned() };
            cells[lane] = format!("{sql} → {}", event.said);
        }
        table.add_row(std::iter::once((number + 1).to_string()).chain(cells));
    }
    for line in table.to_string().lines() {
        writeln!(to, "  {}", line.trim_end())?;
    }
    Ok(())
}
