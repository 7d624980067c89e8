//! A statement under way: what it has read with its one snapshot, and the row actions still to do.

use std::collections::VecDeque;
use std::sync::Arc;

use drift_engine::claim::{Claim, CustomerId};
use drift_engine::drift;
use drift_engine::op::{Changes, Lock, OnConflict, Op, Opened, Reply, Scope, Strength, Wait};
use drift_engine::run::Status;
use drift_engine::session::{Kind, Operation, SessionId};

use super::PgModel;
use super::locking::Waiting;
use super::store::{RowId, VersionId};
use super::transaction::Commits;
use crate::Scan;
use crate::data::{EventRow, RunRow, found, sorted};
use crate::rule::Rule;

/// What is done to one row, or to one advisory lock.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    LockCustomer(CustomerId, Strength, Wait),
    LockAdvisory(CustomerId, Scope),
    UnlockAdvisory(CustomerId),
    InsertClaim(CustomerId, Arc<Claim>),
    InsertRun(RunRow),
    /// Inserts an event; with the version that it has begun to lock, under `DO UPDATE`.
    WriteEvent(Box<EventRow>, OnConflict, Option<VersionId>),
    /// Makes a run what it becomes.
    UpdateRun(Target, RunRow),
    UpdateEvent(Target, Box<EventRow>),
    DeleteEvent(Target),
    /// A foreign key's check.
    NeedCustomer(CustomerId),
    /// A foreign key's check.
    NeedRun(drift_engine::run::RunId),
    /// Reads again: only where a rule is broken.
    FindRunAgain(RunRow),
}

/// A row to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub row: RowId,
    /// The version that was found.
    pub version: VersionId,
    /// It is newer than the one that the snapshot shows.
    pub is_newer: bool,
}

/// A statement under way.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Running {
    pub kind: Kind,
    /// What is to be done, before anything is.
    pub op: Option<Op>,
    pub waiting: Option<Waiting>,
    pub snapshot: Commits,
    pub actions: VecDeque<Action>,
    /// The checks of foreign keys, which come last.
    pub parents: Vec<Action>,
    pub changes: Changes,
    pub opened: Option<Opened>,
    /// The unique index at which the insert of a run goes on after a wait.
    pub conflicts_from: usize,
    reply: Reply,
}

impl Running {
    pub fn new(op: &Op) -> Self {
        Self {
            kind: op.kind(),
            op: Some(op.clone()),
            waiting: None,
            snapshot: 0,
            actions: VecDeque::new(),
            parents: Vec::new(),
            changes: Changes::default(),
            opened: None,
            conflicts_from: 0,
            reply: Reply::Done,
        }
    }

    pub fn set_locked(&mut self, is_locked: bool) {
        self.reply = Reply::Locked(is_locked);
    }

    /// The answer, once all is done.
    pub fn reply(&self) -> Reply {
        match &self.reply {
            Reply::Opened(_) => Reply::Opened(self.opened.clone()),
            Reply::Written(_) => Reply::Written(self.changes),
            other => other.clone(),
        }
    }
}

impl PgModel {
    /// Takes the statement's snapshot, reads with it, and lists what is to be done.
    pub(super) fn plan(&mut self, session: SessionId, running: &mut Running, op: &Op) {
        running.snapshot = self.snapshot(session);
        match op {
            Op::Lock(Lock::Row { customer, strength, wait }) => {
                running.reply = Reply::Locked(false);
                if self.store.customers.contains_key(customer) {
                    running.actions.push_back(Action::LockCustomer(*customer, *strength, *wait));
                }
            }
            Op::Lock(Lock::Advisory { customer, scope }) => {
                running.reply = Reply::Locked(true);
                running.actions.push_back(Action::LockAdvisory(*customer, *scope));
            }
            Op::Unlock { customer } => running.actions.push_back(Action::UnlockAdvisory(*customer)),
            Op::OpenRun { identity, id, fresh } => {
                let (id, status) = (id.clone(), Status::Running);
                let run = RunRow { id, identity: *identity, fresh: *fresh, status, failure: None };
                self.plan_open(session, running, run);
            }
            Op::FailRun { identity, id, fresh, reason } => {
                let (id, status, failure) = (id.clone(), Status::Failed, Some(reason.clone()));
                self.plan_failure(session, running, RunRow { id, identity: *identity, fresh: *fresh, status, failure });
            }
            Op::CloseRun { run: id } => {
                let runs = self.runs_seen(session, running.snapshot);
                let open = runs.into_iter().filter(|(_, run)| run.id == *id && run.status != Status::Succeeded);
                running.actions.extend(open.map(|(target, run)| {
                    let becomes = RunRow { status: Status::Succeeded, failure: None, ..run.clone() };
                    Action::UpdateRun(target, becomes)
                }));
            }
            Op::ReadClaims { customer, windows } => {
                let claims = self
                    .store
                    .claims
                    .iter()
                    .filter(|(xid, owner, _)| owner == customer && self.sees(session, running.snapshot, *xid));
                let cells = drift::aggregate(claims.map(|(.., claim)| &**claim), windows);
                running.reply = Reply::Claims(cells.into());
            }
            Op::ReadEvents { run } => {
                let events = self.events_seen(session, running.snapshot);
                let signals = events.into_iter().filter(|(_, event)| event.run == *run);
                running.reply = Reply::Events(sorted(signals.map(|(_, event)| event.signal.clone()).collect()));
            }
            Op::InsertClaim { customer, claim } => {
                running.actions.push_back(Action::InsertClaim(*customer, claim.clone()));
            }
            Op::WriteEvents { customer, run, signals, on_conflict, .. } => {
                let event =
                    |signal: &drift::Signal| EventRow { customer: *customer, run: run.clone(), signal: signal.clone() };
                let incoming: Vec<EventRow> = signals.iter().map(event).collect();
                running.reply = Reply::Written(Changes::default());
                let seen = self.events_seen(session, running.snapshot);
                let seen = seen.into_iter().filter(|(_, event)| event.customer == *customer && event.run == *run);
                let actions = plan_write(&incoming, &seen.collect::<Vec<_>>(), *on_conflict);
                running.actions.extend(actions);
            }
            Op::Begin { .. } | Op::Savepoint | Op::RollbackTo | Op::Commit | Op::Rollback | Op::Pause(_) => {
                unreachable!("a command is no statement")
            }
        }
    }

    fn plan_open(&mut self, session: SessionId, running: &mut Running, run: RunRow) {
        running.reply = Reply::Opened(None);
        running.opened = self.find_run(session, running.snapshot, &run);
        running.actions.push_back(Action::InsertRun(run.clone()));
        if !self.rules.holds(Rule::SnapshotBeforeWaiting) {
            running.actions.push_back(Action::FindRunAgain(run));
        }
    }

    fn plan_failure(&mut self, session: SessionId, running: &mut Running, failed: RunRow) {
        let runs = self.runs_seen(session, running.snapshot);
        let mine = runs.into_iter().filter(|(_, run)| run.takes_failure_of(&failed));
        running.actions.extend(mine.map(|(target, run)| {
            let becomes = RunRow { status: failed.status, failure: failed.failure.clone(), ..run.clone() };
            Action::UpdateRun(target, becomes)
        }));
        // Nothing reads the insert, so it comes after the update that is the statement itself
        // (queries-with, 7.8.4).
        running.actions.push_back(Action::InsertRun(failed));
    }

    pub(super) fn find_run(&self, session: SessionId, snapshot: Commits, asked: &RunRow) -> Option<Opened> {
        found(self.runs_seen(session, snapshot).into_iter().map(|(_, run)| run), asked)
    }

    fn runs_seen(&self, session: SessionId, snapshot: Commits) -> Vec<(Target, &RunRow)> {
        let sees = |xid| self.sees(session, snapshot, xid);
        let rows = self.store.runs.iter().filter_map(|(row, it)| Some((*row, it.seen(sees)?)));
        rows.map(|(row, (version, run))| (Target { row, version, is_newer: false }, run)).collect()
    }

    /// The events that a snapshot shows, in the order of the scan.
    fn events_seen(&self, session: SessionId, snapshot: Commits) -> Vec<(Target, &EventRow)> {
        let sees = |xid| self.sees(session, snapshot, xid);
        let rows = self.store.events.iter().filter_map(|(row, it)| Some((*row, it.seen(sees)?)));
        let mut seen: Vec<_> =
            rows.map(|(row, (version, event))| (Target { row, version, is_newer: false }, event)).collect();
        if self.scan == Scan::Backward {
            seen.reverse();
        }
        seen
    }
}

/// The parts of a write in the order in which the statement's result reads them: written, updated, withdrawn.
fn plan_write(incoming: &[EventRow], seen: &[(Target, &EventRow)], on_conflict: OnConflict) -> Vec<Action> {
    let wanted = |event: &EventRow| incoming.iter().find(|new| new.same_key(event));
    let is_new = |new: &&EventRow| on_conflict != OnConflict::Error || !seen.iter().any(|(_, old)| old.same_key(new));
    let new = incoming.iter().filter(is_new);
    let mut actions: Vec<Action> =
        new.map(|event| Action::WriteEvent(Box::new(event.clone()), on_conflict, None)).collect();
    if on_conflict == OnConflict::Error {
        let changed = seen.iter().filter_map(|(target, old)| Some((target, wanted(old).filter(|new| *new != *old)?)));
        actions.extend(changed.map(|(target, new)| Action::UpdateEvent(*target, Box::new(new.clone()))));
    }
    let stale = seen.iter().filter(|(_, event)| wanted(event).is_none());
    actions.extend(stale.map(|(target, _)| Action::DeleteEvent(*target)));
    actions
}
