//! What a script's steps came to, as a table.

use comfy_table::{CellAlignment, Table};

use super::super::terminal;
use crate::capacity::script::steps::StepRow;

/// The steps, in order; nothing where there are none.
pub(super) fn table(steps: &[StepRow]) -> Option<Table> {
    steps.iter().find(|row| row.times > 0)?;
    let mut table = terminal::table();
    table.set_header(["step", "sent", "rows returned", "rows changed", "refused"]);
    for row in steps {
        let refused: Vec<String> = row.refused.iter().map(|(code, times)| format!("{code} × {times}")).collect();
        let numbers = [row.times, row.returned, row.changed].map(|number| number.to_string());
        table.add_row([row.step.clone()].into_iter().chain(numbers).chain([refused.join(", ")]));
    }
    table.column_iter_mut().skip(1).take(3).for_each(|column| {
        column.set_cell_alignment(CellAlignment::Right);
    });
    Some(table)
}
