//! How wide tables are: as wide as the terminal to which they go.

use std::sync::atomic::{AtomicU16, Ordering};

/// The terminal's columns; 0: output goes elsewhere.
static COLUMNS: AtomicU16 = AtomicU16::new(0);
/// Nothing is made narrower, in columns.
const COLUMNS_MIN: u16 = 40;

/// Has tables fit a terminal of so many columns. Like colours it is set once, by whoever knows where output goes. In files
/// and pipes tables stay as wide as they are, so that nothing in them is broken.
pub fn fit(columns: u16) {
    COLUMNS.store(columns.max(COLUMNS_MIN), Ordering::Relaxed);
}

/// The terminal's columns, if output goes to one.
pub(super) fn columns() -> Option<u16> {
    Some(COLUMNS.load(Ordering::Relaxed)).filter(|columns| *columns > 0)
}

/// How wide a table is that is `usual` wide in files and begins after so many columns.
pub(super) fn less(usual: u16, indent: u16) -> u16 {
    within(columns(), usual, indent)
}

fn within(columns: Option<u16>, usual: u16, indent: u16) -> u16 {
    columns.map_or(usual, |columns| columns.saturating_sub(indent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_as_wide_as_the_terminal_and_elsewhere_as_it_always_was() {
        assert_eq!(within(None, 110, 2), 110);
        assert_eq!(within(Some(80), 110, 2), 78);
        assert_eq!(within(Some(200), 110, 0), 200);
    }
}
