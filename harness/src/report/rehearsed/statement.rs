//! The statements of a rehearsal as a table.

use comfy_table::{CellAlignment, Table};

use super::super::terminal;
use super::row::{BlockedRow, RehearseRow, StatementRow};

/// The columns.
pub(super) const HEADER: [&str; 8] =
    ["pass", "place", "statement", "ms", "strongest lock (held, ms)", "waited", "reads blocked", "writes blocked"];

/// The cells, row by row.
pub(super) fn cells(row: &RehearseRow) -> Vec<[String; 8]> {
    let mut cells = Vec::new();
    for file in &row.files {
        let name = short(&file.file);
        let again = if file.attempt > 1 { format!(", try {}", file.attempt) } else { String::new() };
        for statement in &file.statements {
            cells.push([
                format!("{}{again}", file.pass),
                format!("{name}:{}", statement.line),
                statement.statement.clone(),
                format!("{:.0}", statement.duration_ms),
                lock(statement),
                if statement.waited_ms < 1.0 { String::new() } else { format!("{:.0}", statement.waited_ms) },
                blocked(statement.reads),
                blocked(statement.writes),
            ]);
        }
    }
    cells
}

/// The table for people.
pub(super) fn table(row: &RehearseRow) -> Table {
    let mut table = terminal::table();
    table.set_header(HEADER);
    for cells in cells(row) {
        table.add_row(cells);
    }
    for index in [3, 5] {
        table.column_mut(index).expect("the table has eight columns").set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn lock(statement: &StatementRow) -> String {
    match (&statement.refused, statement.locks.first()) {
        (Some(refused), _) => format!("refused: {}", refused.chars().take(40).collect::<String>()),
        (None, Some(lock)) => format!("{} on {} ({:.0})", lock.mode, lock.on, lock.held_ms),
        (None, None) => String::new(),
    }
}

fn blocked(blocked: BlockedRow) -> String {
    match blocked.count {
        0 => String::new(),
        count => format!("{count}, ≤ {:.0} ms", blocked.longest_ms),
    }
}

/// A file's name, with its folder where every migration's file has the same one.
fn short(file: &str) -> &str {
    let parts = match file.rsplit('/').next() {
        Some("up.sql" | "down.sql" | "migration.sql") => 2,
        _ => 1,
    };
    let start = file.rmatch_indices('/').nth(parts - 1).map_or(0, |(at, _)| at + 1);
    &file[start..]
}
