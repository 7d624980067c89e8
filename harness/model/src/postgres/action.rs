//! The row actions: each is tried until it is done, and starts anew after a wait; only the insert of a
//! run remembers at which index it waited.

use drift_engine::claim::CustomerId;
use drift_engine::op::{Isolation, Scope, Strength, Wait};
use drift_engine::run::RunId;
use drift_engine::session::{DbError, SessionId};

use super::PgModel;
use super::locking::{Asked, Request, Waiting};
use super::statement::{Action, Running, Target};
use super::store::{At, Row, RowId, Version, VersionId};
use super::transaction::Xid;
use crate::data::RunRow;
use crate::rule::Rule;
use crate::sqlstate;

/// The unique indexes of `drift_runs`, in the order in which they were made: the primary key, then the identity.
const RUN_INDEXES: [fn(&RunRow, &RunRow) -> bool; 2] = [|a, b| a.id == b.id, RunRow::shares_identity];

/// What came of trying an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Acted {
    Done,
    /// Not yet done, and this is left of it.
    Changed(Action),
    Waits(Waiting),
}

/// What a unique index says of a key.
pub(super) enum Existing {
    None,
    /// The row is being inserted, updated or deleted by somebody else.
    InFlight(Xid),
    There(At, VersionId),
}

/// What came of trying to change a row.
pub(super) enum Seized {
    /// It is locked, and it is this version that is changed.
    Mine,
    Gone,
    Newer(Target),
    Waits(Waiting),
}

impl PgModel {
    pub(super) fn act(&mut self, session: SessionId, running: &mut Running, action: Action) -> Result<Acted, DbError> {
        match action {
            Action::LockCustomer(customer, strength, wait) => {
                return self.lock_customer(session, running, customer, strength, wait);
            }
            Action::LockAdvisory(customer, scope) => return Ok(self.lock_advisory(session, customer, scope)),
            Action::UnlockAdvisory(customer) => self.unlock_advisory(session, customer),
            Action::InsertClaim(customer, claim) => {
                let xid = self.xid(session);
                self.store.claims.push((xid, customer, claim));
                running.parents.push(Action::NeedCustomer(customer));
            }
            Action::InsertRun(run) => return self.insert_run(session, running, run),
            Action::WriteEvent(event, on_conflict, locking) => {
                return self.write_event(session, running, event, on_conflict, locking);
            }
            Action::UpdateRun(target, becomes) => return self.update_run(session, running, target, becomes),
            Action::UpdateEvent(target, becomes) => return self.update_event(session, running, target, becomes),
            Action::DeleteEvent(target) => return self.delete_event(session, running, target),
            Action::NeedCustomer(customer) => return self.need_customer(session, running, customer),
            Action::NeedRun(run) => return self.need_run(session, running, &run),
            Action::FindRunAgain(run) => {
                if running.opened.is_none() {
                    running.opened = self.find_run(session, self.commits, &run);
                }
            }
        }
        Ok(Acted::Done)
    }

    fn lock_customer(
        &mut self,
        session: SessionId,
        running: &mut Running,
        customer: CustomerId,
        strength: Strength,
        wait: Wait,
    ) -> Result<Acted, DbError> {
        let request = Request { at: At::Customer(customer), version: 0, strength, wait, queues: true };
        match self.lock(session, request) {
            Asked::Granted => running.set_locked(true),
            Asked::Waits(waiting) => return Ok(Acted::Waits(waiting)),
            Asked::Refused if wait == Wait::NoWait => return Err(sqlstate("55P03", running.kind)),
            Asked::Refused => {}
            Asked::Replaced => unreachable!("customers are not updated"),
        }
        Ok(Acted::Done)
    }

    fn lock_advisory(&mut self, session: SessionId, customer: CustomerId, scope: Scope) -> Acted {
        if !self.take_advisory(session, customer) {
            return Acted::Waits(Waiting::Advisory(customer));
        }
        let ends = self.rules.holds(Rule::AdvisoryEndsWithTransaction);
        let counts = self.rules.holds(Rule::SessionAdvisoryCounts);
        let state = self.state(session);
        let held = match scope {
            Scope::Transaction if ends => {
                let level = state.levels.last_mut().expect("a statement runs in a transaction");
                level.advisory.entry(customer).or_default()
            }
            _ => state.advisory.entry(customer).or_default(),
        };
        *held = if counts { *held + 1 } else { 1 };
        Acted::Done
    }

    fn unlock_advisory(&mut self, session: SessionId, customer: CustomerId) {
        let state = self.state(session);
        if let Some(held) = state.advisory.get_mut(&customer) {
            *held -= 1;
            if *held == 0 {
                state.advisory.remove(&customer);
                self.free_advisory(session, &[customer].into());
            }
        }
    }

    pub(super) fn version(&mut self, session: SessionId, live: bool) -> Version {
        let made_by = self.xid(session);
        self.next_version += 1;
        Version { id: self.next_version, made_by, live }
    }

    pub(super) fn row(&mut self) -> RowId {
        self.next_row += 1;
        self.next_row
    }

    /// What the newest version of one row means to an insert of the same key.
    pub(super) fn existing(&self, session: SessionId, at: At) -> Existing {
        let chain = self.store.chain(at);
        let Some(newest) = chain.newest() else { return Existing::None };
        let rule = if chain.versions.len() > 1 { Rule::InsertWaitsForUpdate } else { Rule::InsertWaitsForInsert };
        if self.is_others(session, newest.made_by) && self.rules.holds(rule) {
            return Existing::InFlight(newest.made_by);
        }
        if newest.live { Existing::There(at, newest.id) } else { Existing::None }
    }

    /// REPEATABLE READ may not step around what its snapshot does not show.
    pub(super) fn check_seen(&self, session: SessionId, running: &Running, made_by: Xid) -> Result<(), DbError> {
        let is_hidden = !self.sees(session, running.snapshot, made_by);
        if is_hidden && self.is_repeatable(session) && self.rules.holds(Rule::UnseenConflictFails) {
            return Err(sqlstate("40001", running.kind));
        }
        Ok(())
    }

    pub(super) fn is_repeatable(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|state| state.isolation != Isolation::ReadCommitted)
    }

    fn insert_run(&mut self, session: SessionId, running: &mut Running, run: RunRow) -> Result<Acted, DbError> {
        // Who finds no conflict inserts, and that looks at every index anew: a conflict begins all again.
        let from = std::mem::take(&mut running.conflicts_from);
        let goes_on = self.rules.holds(Rule::ConflictGoesOnWhereItWaited);
        for index in (from..RUN_INDEXES.len()).chain(0..from) {
            let same =
                |row: &Row<RunRow>| row.chain.newest().is_some_and(|it| RUN_INDEXES[index](row.value(it.id), &run));
            let rows = self.store.runs.iter().filter(|(_, row)| same(row)).map(|(row, _)| At::Run(*row));
            for at in rows.collect::<Vec<_>>() {
                match self.existing(session, at) {
                    Existing::None => {}
                    Existing::InFlight(xid) => {
                        running.conflicts_from = if goes_on { index } else { 0 };
                        return Ok(Acted::Waits(Waiting::For(xid)));
                    }
                    Existing::There(at, _) => {
                        let made_by = self.store.chain(at).newest().expect("it is there").made_by;
                        self.check_seen(session, running, made_by)?;
                        return Ok(Acted::Done);
                    }
                }
            }
        }
        let (version, row) = (self.version(session, true), self.row());
        running.parents.push(Action::NeedCustomer(run.identity.customer));
        running.opened = Some(drift_engine::op::Opened {
            run: drift_engine::run::Run { id: run.id.clone(), status: run.status },
            same: true,
        });
        self.store.runs.insert(row, Row::new(version, run));
        Ok(Acted::Done)
    }

    pub(super) fn made_by(&self, at: At, version: VersionId) -> Xid {
        let versions = &self.store.chain(at).versions;
        versions.iter().find(|it| it.id == version).expect("a version that is locked is there").made_by
    }

    /// REPEATABLE READ may not change what others have changed.
    pub(super) fn check_unchanged(&self, session: SessionId, running: &Running) -> Result<(), DbError> {
        if self.is_repeatable(session) && self.rules.holds(Rule::ConcurrentUpdateFails) {
            return Err(sqlstate("40001", running.kind));
        }
        Ok(())
    }

    /// Locks a row that the snapshot shows, or the newest version of it (EvalPlanQual).
    pub(super) fn seize(
        &mut self,
        session: SessionId,
        running: &Running,
        at: At,
        target: Target,
        strength: Strength,
    ) -> Result<Seized, DbError> {
        let queues = !target.is_newer || self.store.chain(at).successor(target.version).is_none();
        let request = Request { at, version: target.version, strength, wait: Wait::Block, queues };
        match self.lock(session, request) {
            Asked::Granted => Ok(Seized::Mine),
            Asked::Waits(waiting) => Ok(Seized::Waits(waiting)),
            Asked::Refused => unreachable!("it may wait"),
            Asked::Replaced => {
                self.check_unchanged(session, running)?;
                let next = self.store.chain(at).successor(target.version).expect("it was replaced");
                let newer = Target { version: next.id, is_newer: true, ..target };
                Ok(if next.live { Seized::Newer(newer) } else { Seized::Gone })
            }
        }
    }

    fn update_run(
        &mut self,
        session: SessionId,
        running: &mut Running,
        target: Target,
        becomes: RunRow,
    ) -> Result<Acted, DbError> {
        let at = At::Run(target.row);
        match self.seize(session, running, at, target, Strength::NoKeyUpdate)? {
            Seized::Waits(waiting) => return Ok(Acted::Waits(waiting)),
            Seized::Gone => return Ok(Acted::Done),
            Seized::Newer(newer) => return Ok(Acted::Changed(Action::UpdateRun(newer, becomes))),
            Seized::Mine => {}
        }
        let now = self.store.runs[&target.row].value(target.version);
        let qualifies = now.status != drift_engine::run::Status::Succeeded;
        if target.is_newer && !qualifies && self.rules.holds(Rule::RecheckAfterWait) {
            return Ok(Acted::Done);
        }
        let made_by = self.made_by(at, target.version);
        if self.is_mine(session, made_by) && self.rules.holds(Rule::OwnRowIsCheckedAgain) {
            running.parents.push(Action::NeedCustomer(becomes.identity.customer));
        }
        let version = self.version(session, true);
        self.store.runs.get_mut(&target.row).expect("it is locked").push(version, Some(becomes));
        Ok(Acted::Done)
    }

    fn need_customer(&mut self, session: SessionId, running: &Running, customer: CustomerId) -> Result<Acted, DbError> {
        if !self.store.customers.contains_key(&customer) {
            return self.no_parent(running);
        }
        if !self.rules.holds(Rule::ForeignKeyLocksParent) {
            return Ok(Acted::Done);
        }
        let (at, strength, wait) = (At::Customer(customer), Strength::KeyShare, Wait::Block);
        match self.lock(session, Request { at, version: 0, strength, wait, queues: true }) {
            Asked::Waits(waiting) => Ok(Acted::Waits(waiting)),
            _ => Ok(Acted::Done),
        }
    }

    fn need_run(&mut self, session: SessionId, running: &Running, run: &RunId) -> Result<Acted, DbError> {
        // The check is a statement of its own: under READ COMMITTED it has a newer snapshot.
        let snapshot = if self.is_repeatable(session) { running.snapshot } else { self.commits };
        let sees = |xid| self.sees(session, snapshot, xid);
        let mut rows = self.store.runs.iter().filter_map(|(row, it)| Some((*row, it.seen(sees)?)));
        let Some((row, (version, _))) = rows.find(|(_, (_, it))| it.id == *run) else {
            return self.no_parent(running);
        };
        let (at, strength, wait) = (At::Run(row), Strength::KeyShare, Wait::Block);
        match self.lock(session, Request { at, version, strength, wait, queues: true }) {
            Asked::Waits(waiting) => Ok(Acted::Waits(waiting)),
            _ => Ok(Acted::Done),
        }
    }

    fn no_parent(&self, running: &Running) -> Result<Acted, DbError> {
        if self.rules.holds(Rule::ForeignKeyNeedsParent) {
            return Err(sqlstate("23503", running.kind));
        }
        Ok(Acted::Done)
    }
}
