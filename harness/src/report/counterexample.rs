//! A counterexample as a table: time down, one column an actor.

use std::collections::BTreeSet;
use std::io::{self, Write};

use comfy_table::{ContentArrangement, LineStyle, Table, presets};

use crate::outcome::{Shown, Step};

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
