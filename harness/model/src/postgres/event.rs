//! The row actions on events: the three forms of a write, and what each meets.

use drift_engine::op::{OnConflict, Strength, Wait};
use drift_engine::session::{DbError, SessionId};

use super::PgModel;
use super::action::{Acted, Existing, Seized};
use super::locking::{Asked, Request, Waiting};
use super::statement::{Action, Running, Target};
use super::store::{At, Row, RowId, VersionId};
use crate::data::EventRow;
use crate::rule::Rule;
use crate::sqlstate;

impl PgModel {
    pub(super) fn write_event(
        &mut self,
        session: SessionId,
        running: &mut Running,
        event: Box<EventRow>,
        on_conflict: OnConflict,
        locking: Option<VersionId>,
    ) -> Result<Acted, DbError> {
        let rows = self.store.events.iter().filter(|(_, row)| {
            row.chain.versions.iter().any(|version| version.live && row.value(version.id).same_key(&event))
        });
        let rows: Vec<RowId> = rows.map(|(row, _)| *row).collect();
        if let Some(version) = locking
            && let Some(row) =
                rows.iter().find(|row| self.store.events[row].chain.versions.iter().any(|v| v.id == version))
        {
            return self.update_conflicting(session, running, event, Target { row: *row, version, is_newer: false });
        }
        if on_conflict == OnConflict::Error {
            self.xid(session);
        }
        for row in rows {
            match (self.existing(session, At::Event(row)), on_conflict) {
                (Existing::None, _) => {}
                (Existing::InFlight(xid), _) => return Ok(Acted::Waits(Waiting::For(xid))),
                (Existing::There(at, _), OnConflict::Nothing) => {
                    let made_by = self.store.chain(at).newest().expect("it is there").made_by;
                    self.check_seen(session, running, made_by)?;
                    return Ok(Acted::Done);
                }
                (Existing::There(..), OnConflict::Error) if !self.rules.holds(Rule::UniqueViolationFails) => {}
                (Existing::There(..), OnConflict::Error) => return Err(sqlstate("23505", running.kind)),
                (Existing::There(_, version), OnConflict::Update) => {
                    return Ok(Acted::Changed(Action::WriteEvent(event, on_conflict, Some(version))));
                }
            }
        }
        let (version, row) = (self.version(session, true), self.row());
        need_parents(running, &event);
        running.changes.inserted += 1;
        self.store.events.insert(row, Row::new(version, *event));
        Ok(Acted::Done)
    }

    /// `ON CONFLICT DO UPDATE`, from the lock on (`ExecOnConflictUpdate`).
    fn update_conflicting(
        &mut self,
        session: SessionId,
        running: &mut Running,
        event: Box<EventRow>,
        target: Target,
    ) -> Result<Acted, DbError> {
        let at = At::Event(target.row);
        let old = self.store.events[&target.row].value(target.version).clone();
        let is_equal = old == *event;
        if is_equal && !self.rules.holds(Rule::ConflictLocksUnchangedRow) {
            return Ok(Acted::Done);
        }
        let (strength, wait) = (Strength::NoKeyUpdate, Wait::Block);
        match self.lock(session, Request { at, version: target.version, strength, wait, queues: true }) {
            Asked::Granted => {}
            Asked::Waits(waiting) => return Ok(Acted::Waits(waiting)),
            Asked::Replaced => {
                self.check_unchanged(session, running)?;
                return Ok(Acted::Changed(Action::WriteEvent(event, OnConflict::Update, None)));
            }
            Asked::Refused => unreachable!("it may wait"),
        }
        let made_by = self.made_by(at, target.version);
        self.check_seen(session, running, made_by)?;
        if !is_equal {
            self.replace_event(session, running, target, event);
        }
        Ok(Acted::Done)
    }

    fn replace_event(&mut self, session: SessionId, running: &mut Running, target: Target, event: Box<EventRow>) {
        let made_by = self.made_by(At::Event(target.row), target.version);
        if self.is_mine(session, made_by) && self.rules.holds(Rule::OwnRowIsCheckedAgain) {
            need_parents(running, &event);
        }
        let version = self.version(session, true);
        running.changes.updated += 1;
        self.store.events.get_mut(&target.row).expect("it is locked").push(version, Some(*event));
    }

    pub(super) fn update_event(
        &mut self,
        session: SessionId,
        running: &mut Running,
        target: Target,
        becomes: Box<EventRow>,
    ) -> Result<Acted, DbError> {
        match self.seize(session, running, At::Event(target.row), target, Strength::NoKeyUpdate)? {
            Seized::Waits(waiting) => return Ok(Acted::Waits(waiting)),
            Seized::Gone => return Ok(Acted::Done),
            Seized::Newer(newer) => return Ok(Acted::Changed(Action::UpdateEvent(newer, becomes))),
            Seized::Mine => {}
        }
        let is_equal = *self.store.events[&target.row].value(target.version) == *becomes;
        if !(target.is_newer && is_equal && self.rules.holds(Rule::RecheckAfterWait)) {
            self.replace_event(session, running, target, becomes);
        }
        Ok(Acted::Done)
    }

    pub(super) fn delete_event(
        &mut self,
        session: SessionId,
        running: &mut Running,
        target: Target,
    ) -> Result<Acted, DbError> {
        match self.seize(session, running, At::Event(target.row), target, Strength::Update)? {
            Seized::Waits(waiting) => return Ok(Acted::Waits(waiting)),
            Seized::Gone => return Ok(Acted::Done),
            Seized::Newer(newer) => return Ok(Acted::Changed(Action::DeleteEvent(newer))),
            Seized::Mine => {}
        }
        let version = self.version(session, false);
        running.changes.withdrawn += 1;
        self.store.events.get_mut(&target.row).expect("it is locked").push(version, None);
        Ok(Acted::Done)
    }
}

fn need_parents(running: &mut Running, event: &EventRow) {
    running.parents.push(Action::NeedCustomer(event.customer));
    running.parents.push(Action::NeedRun(event.run.clone()));
}
