//! Shows on a terminal how far the rehearsals are, and which file and statement is under way.

use std::time::Duration;

use indicatif::ProgressBar;
use tokio::task::JoinSet;

use crate::cli::common::bar;
use crate::rehearse::progress::Progress;

/// How often the clock is drawn while nothing else changes.
const TICK: Duration = Duration::from_millis(200);

/// The bar, and who keeps its words up to date.
pub(super) struct Shown {
    bar: ProgressBar,
    listening: JoinSet<()>,
}

impl Shown {
    /// Nothing has begun.
    pub(super) fn new(cases: usize) -> Self {
        let bar = bar(cases as u64);
        bar.enable_steady_tick(TICK);
        Self { bar, listening: JoinSet::new() }
    }

    /// A rehearsal begins; what it says from now on is shown.
    pub(super) fn begins(&mut self, name: &str, beside: &str) -> Progress {
        let progress = Progress::default();
        let (mut said, bar, case) = (progress.listen(), self.bar.clone(), format!("{name}, {beside}"));
        bar.set_message(case.clone());
        self.listening.abort_all();
        self.listening.spawn(async move {
            while said.changed().await.is_ok() {
                let what = said.borrow_and_update().clone();
                bar.set_message(format!("{case}: {what}"));
            }
        });
        progress
    }

    /// It has ended.
    pub(super) fn ended(&self) {
        self.bar.inc(1);
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
