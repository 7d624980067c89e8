//! A counterexample as a table: time down, one column an actor.

use std::collections::BTreeSet;
use std::io::{self, Write};

use comfy_table::{ContentArrangement, LineStyle, Table, presets};

use super::{Shown, Step};
use crate::history::{Entry, History, Outcome, Role};
use drift_engine::op::Reply;

/// The entries of a history that show something, ready to be rendered.
pub fn steps(history: &History, indices: &[usize]) -> Vec<Step> {
    let mut entries: Vec<&Entry> = indices.iter().filter_map(|index| history.entries.get(*index)).collect();
    entries.sort_by_key(|entry| (entry.invoked, entry.returned));
    entries.dedup_by_key(|entry| (entry.actor, entry.invoked));
    let step = |entry: &Entry| {
        let role = match history.meta.actors.get(&entry.actor) {
            Some(Role::Worker) | None => "worker",
            Some(Role::Bystander) => "bystander",
            Some(Role::Antagonist) => "antagonist",
        };
        let task = entry.task.map(|task| format!(", task {task}")).unwrap_or_default();
        Step {
            actor: format!("{role} {}{task}", entry.actor),
            invoked: entry.invoked.0,
            returned: entry.returned.0,
            operation: entry.op.to_string(),
            outcome: outcome(&entry.outcome),
        }
    };
    entries.into_iter().map(step).collect()
}

/// What came of an operation, in a few words.
pub(crate) fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ok(reply) => match reply {
            Reply::Done => "ok".to_owned(),
            Reply::Locked(true) => "granted".to_owned(),
            Reply::Locked(false) => "no row".to_owned(),
            Reply::Opened(Some(opened)) => format!("run is {}", opened.run.status.as_str()),
            Reply::Opened(None) => "committed by another meanwhile".to_owned(),
            Reply::Claims(cells) => format!("{} claims", cells.iter().map(|cell| cell.count).sum::<u64>()),
            Reply::Written(changes) => {
                format!("+{} ~{} -{} events", changes.inserted, changes.updated, changes.withdrawn)
            }
            Reply::Events(events) => format!("{} events", events.len()),
            Reply::Committed => "committed".to_owned(),
            Reply::RolledBack => "rolled back".to_owned(),
        },
        Outcome::Failed(error) => match &error.code {
            Some(code) => format!("failed: {} ({code})", error.class),
            None => format!("failed: {}", error.class),
        },
        Outcome::Unknown(_) => "answer lost".to_owned(),
    }
}

/// Writes a counterexample: the table, then the sentence.
///
/// # Errors
/// The writer's.
pub fn render(shown: &Shown, width: u16, to: &mut dyn Write) -> io::Result<()> {
    timed(&shown.steps, width, to)?;
    writeln!(to, "  {}: {}", shown.check, shown.sentence)
}

/// Writes steps as a table, with their times in milliseconds.
///
/// # Errors
/// The writer's.
pub fn timed(steps: &[Step], width: u16, to: &mut dyn Write) -> io::Result<()> {
    let time = |step: &Step| format!("{:.2} – {:.2}", step.invoked as f64 / 1e6, step.returned as f64 / 1e6);
    table(steps, width, "ms", &time, to)
}

/// Writes a counterexample whose times are not nanoseconds but the steps of a schedule.
///
/// # Errors
/// The writer's.
pub fn render_steps(shown: &Shown, width: u16, to: &mut dyn Write) -> io::Result<()> {
    let time = |step: &Step| format!("{} – {}", step.invoked, step.returned);
    table(&shown.steps, width, "step", &time, to)?;
    writeln!(to, "  {}: {}", shown.check, shown.sentence)
}

fn table(steps: &[Step], width: u16, unit: &str, time: &dyn Fn(&Step) -> String, to: &mut dyn Write) -> io::Result<()> {
    if !steps.is_empty() {
        let actors: BTreeSet<&str> = steps.iter().map(|step| step.actor.as_str()).collect();
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()))
            .set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width);
        table.set_header(std::iter::once(unit).chain(actors.iter().copied()));
        for step in steps {
            let cell = |actor: &&str| match *actor == step.actor {
                true => format!("{} → {}", step.operation, step.outcome),
                false => String::new(),
            };
            table.add_row(std::iter::once(time(step)).chain(actors.iter().map(cell)));
        }
        for line in table.to_string().lines() {
            writeln!(to, "  {}", line.trim_end())?;
        }
    }
    Ok(())
}
