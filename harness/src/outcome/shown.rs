//! The operations of a history that show a violation, in words.

use drift_engine::op::Reply;

use super::Step;
use crate::history::{Entry, History, Outcome, Role};

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
pub fn outcome(outcome: &Outcome) -> String {
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
