//! Rows as both databases keep them, and what the engine's statements find in them.

use std::sync::Arc;

use drift_engine::claim::CustomerId;
use drift_engine::drift::Signal;
use drift_engine::op::Opened;
use drift_engine::run::{Identity, Run, RunId, Status};

use driftlock_history::history::{StoredEvent, StoredRun};

/// A row of `drift_runs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// Its name.
    pub id: RunId,
    /// What it is about.
    pub identity: Identity,
    /// Whether it lies outside the identity's uniqueness.
    pub fresh: bool,
    /// Where it is in its life.
    pub status: Status,
    /// Why the last task failed.
    pub failure: Option<Arc<str>>,
}

impl RunRow {
    /// Whether the partial unique index on the identity keeps the two apart.
    pub(super) fn shares_identity(&self, other: &Self) -> bool {
        !self.fresh && !other.fresh && self.identity == other.identity
    }

    /// Whether a failure recorded for `other` is this run's.
    pub(super) fn takes_failure_of(&self, other: &Self) -> bool {
        self.status != Status::Succeeded
            && self.fresh == other.fresh
            && self.identity == other.identity
            && (!self.fresh || self.id == other.id)
    }

    /// As a history records it.
    pub fn stored(&self) -> StoredRun {
        StoredRun { id: self.id.clone(), identity: self.identity, fresh: self.fresh, status: self.status }
    }
}

/// A row of `drift_events`.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// Whose.
    pub customer: CustomerId,
    /// In which run.
    pub run: RunId,
    /// What it says.
    pub signal: Signal,
}

impl EventRow {
    /// Whether the unique constraint on the business key keeps the two apart.
    pub(super) fn same_key(&self, other: &Self) -> bool {
        self.customer == other.customer && self.run == other.run && self.signal.key() == other.signal.key()
    }

    /// As a history records it.
    pub fn stored(&self) -> StoredEvent {
        StoredEvent { customer: self.customer, run: self.run.clone(), signal: self.signal.clone() }
    }
}

/// What the second half of `OpenRun` finds among the runs that its statement sees.
pub(super) fn found<'a>(runs: impl Iterator<Item = &'a RunRow>, asked: &RunRow) -> Option<Opened> {
    let matching = runs.filter(|run| run.id == asked.id || run.shares_identity(asked));
    let opened = matching.map(|run| Opened {
        run: Run { id: run.id.clone(), status: run.status },
        same: run.identity == asked.identity && run.fresh == asked.fresh,
    });
    opened.max_by_key(|opened| opened.same)
}

/// Sorts signals as a read of events does.
pub(super) fn sorted(mut signals: Vec<Signal>) -> Arc<[Signal]> {
    signals.sort_by_key(Signal::key);
    signals.into()
}
