//! The server's word on who waits for whom, and what follows from one sample of it.
//!
//! A sample asks about one waiter after another (`pg_blocking_pids`, PostgreSQL manual 9.27.1), so
//! its edges need not have existed at the same instant. A chain is only followed through actors
//! whose operation was in flight during the whole sample.

use std::collections::BTreeSet;

use crate::history::view::View;
use crate::history::{ActorId, Role, Seen, TaskId, Tick};

/// One sample.
pub(super) struct Sample<'h> {
    pub(super) from: Tick,
    pub(super) until: Tick,
    pub(super) waits: &'h [(ActorId, Vec<ActorId>)],
}

pub(super) fn samples<'h>(view: &View<'h>) -> impl Iterator<Item = Sample<'h>> {
    view.history.seen.iter().filter_map(|seen| match seen {
        Seen::Waits { from, until, waits } => Some(Sample { from: *from, until: *until, waits }),
        _ => None,
    })
}

impl Sample<'_> {
    /// Whether the server reported this actor as waiting.
    pub(super) fn waits(&self, actor: ActorId) -> bool {
        self.waits.iter().any(|(waiter, _)| *waiter == actor)
    }

    fn blockers(&self, actor: ActorId) -> impl Iterator<Item = ActorId> {
        self.waits.iter().filter(move |(waiter, _)| *waiter == actor).flat_map(|(_, by)| by.iter().copied())
    }

    /// Everybody whom an actor certainly waited for, directly or through others. An antagonist is
    /// named, but not looked behind: what it waits for is its own doing.
    pub(super) fn waited_for(&self, view: &View<'_>, actor: ActorId) -> BTreeSet<ActorId> {
        let mut found = BTreeSet::new();
        let mut behind = vec![actor];
        while let Some(actor) = behind.pop() {
            if view.in_flight_throughout(actor, self.from, self.until).is_none() {
                continue;
            }
            for blocker in self.blockers(actor) {
                if found.insert(blocker) && view.role(blocker) != Some(Role::Antagonist) {
                    behind.push(blocker);
                }
            }
        }
        found.remove(&actor);
        found
    }

    /// The task that a worker was performing during the whole sample.
    pub(super) fn task_of(&self, view: &View<'_>, actor: ActorId) -> Option<TaskId> {
        let task = view.entry(latest(view, actor, self.from)?).task?;
        let record = view.record(task)?;
        (record.started <= self.from && self.until <= record.finished).then_some(task)
    }
}

/// The entry that an actor had sent last at a tick.
pub(super) fn latest(view: &View<'_>, actor: ActorId, at: Tick) -> Option<u32> {
    let entries = view.entries_of(actor);
    let next = entries.partition_point(|&index| view.entry(index).invoked <= at);
    entries.get(next.checked_sub(1)?).copied()
}
