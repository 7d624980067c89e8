//! One more recompute after the end, with the protocol as it ships: it must find nothing to change.

use drift_engine::op::{Op, Reply};
use drift_engine::protocol::{Task, recompute};
use drift_engine::session::Session;

use crate::clock::Clock;
use crate::history::{ActorId, Recheck};
use crate::lens::trace::{Log, Trace};

/// Recomputes a task's run once more, when nobody else is at work.
pub async fn recheck<S>(session: &mut S, task: &Task, clock: &Clock) -> Recheck
where
    S: Session<Op = Op, Reply = Reply>,
{
    let mut log = Log::new(ActorId(u32::MAX), clock.clone());
    let result = recompute(&mut Trace::new(session, &mut log, None), task).await;
    let cells = log.into_entries().into_iter().rev().find_map(|entry| match entry.outcome.ok() {
        Some(Reply::Claims(cells)) => Some(cells.to_vec()),
        _ => None,
    });
    Recheck { identity: task.identity, cells: cells.unwrap_or_default(), result: result.map(|done| done.changes) }
}
