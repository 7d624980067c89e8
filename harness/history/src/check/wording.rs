//! The few phrases that the checks' sentences share.

use crate::history::view::View;
use crate::history::{ActorId, Entry, TaskId};

/// Who sent an operation: `task 3`, or `actor 7` where there is no task.
pub(super) fn sender(entry: &Entry) -> String {
    performer(entry.task, entry.actor)
}

/// Whoever acts: by its task if it has one.
pub(super) fn performer(task: Option<TaskId>, actor: ActorId) -> String {
    match task {
        Some(task) => format!("task {task}"),
        None => format!("actor {actor}"),
    }
}

/// What was sent, by whom: ``task 3's `COMMIT` ``.
pub(super) fn sent(view: &View<'_>, entry: u32) -> String {
    let entry = view.entry(entry);
    format!("{}'s `{}`", sender(entry), entry.op)
}

/// A number with its noun: `1 task`, `2 tasks`.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Ticks of a free-running history, in milliseconds.
pub(super) fn millis(ticks: u64) -> String {
    format!("{:.3} ms", ticks as f64 / 1e6)
}

/// Entries of a counterexample.
pub(super) fn entries(indices: impl IntoIterator<Item = u32>) -> Vec<usize> {
    indices.into_iter().map(|index| index as usize).collect()
}
