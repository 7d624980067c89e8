//! What a program did with its database, for people.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement};

use super::{terminal, width};
use crate::app::record::account::Recorded;

/// How wide the tables are, in columns.
const WIDTH: u16 = 120;
/// The most rows of a table.
const ROWS_MAX: usize = 20;

/// Writes it.
///
/// # Errors
/// The writer's.
pub fn write(recorded: &Recorded, to: &mut dyn Write) -> io::Result<()> {
    let all = &recorded.transactions;
    writeln!(
        to,
        "{} sessions, at most {} at once, in {:.1} s",
        recorded.sessions, recorded.sessions_at_once, recorded.seconds
    )?;
    writeln!(
        to,
        "transactions: {} committed, {} rolled back, {} retried; the longest took {} ms; and {} statements by themselves",
        all.committed, all.rolled_back, all.retries, all.longest_ms, all.of_one_statement
    )?;
    for (isolation, times) in &all.isolation {
        writeln!(to, "  {times} at {isolation}")?;
    }
    if all.commits_rolled_back > 0 {
        writeln!(
            to,
            "COMMIT ANSWERED WITH ROLLBACK: {} times; nothing remains of what the program may believe to be kept",
            all.commits_rolled_back
        )?;
    }
    if all.left_open > 0 {
        writeln!(to, "LEFT OPEN: {} transactions, which their connections' ends have rolled back", all.left_open)?;
    }
    writeln!(to)?;
    let mut table = terminal::table();
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width::less(WIDTH, 0));
    table.set_header(["statement", "times", "rows", "errors", "server ms", "open after ms", "waited ms"]);
    for row in recorded.statements.iter().take(ROWS_MAX) {
        table.add_row([
            row.text.clone(),
            row.times.to_string(),
            row.rows.to_string(),
            row.errors.to_string(),
            format!("{:.1}", row.server_ms),
            format!("{:.1}", row.open_after_ms),
            format!("{:.0}", row.waited_ms),
        ]);
    }
    for column in 1..7 {
        table.column_mut(column).expect("the table has seven columns").set_cell_alignment(CellAlignment::Right);
    }
    writeln!(to, "{table}")?;
    more(recorded.statements.len(), to)?;
    for error in recorded.errors.iter().take(ROWS_MAX) {
        writeln!(to, "refused {} times with {}: {} ({})", error.times, error.code, error.message, error.statement)?;
    }
    more(recorded.errors.len(), to)?;
    for wait in recorded.waits.iter().take(ROWS_MAX) {
        writeln!(to, "waited {:.0} ms: {} for whoever had sent {}", wait.ms, wait.statement, wait.waits_for)?;
    }
    more(recorded.waits.len(), to)?;
    for lock in recorded.locks.iter().take(ROWS_MAX) {
        writeln!(to, "locked at COMMIT: {} in {}, by {} transactions", lock.relation, lock.mode, lock.transactions)?;
    }
    more(recorded.locks.len(), to)
}

fn more(rows: usize, to: &mut dyn Write) -> io::Result<()> {
    match rows.saturating_sub(ROWS_MAX) {
        0 => Ok(()),
        more => writeln!(to, "… and {more} more, in the report"),
    }
}
