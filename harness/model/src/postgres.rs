//! PostgreSQL: row versions, row locks, advisory locks, and the engine's statements on them.

mod action;
mod event;
mod locking;
mod statement;
mod store;
mod transaction;

use std::collections::{BTreeMap, BTreeSet};

use drift_engine::claim::CustomerId;
use drift_engine::op::{Isolation, Op, Reply};
use drift_engine::session::{DbError, Kind, Operation, SessionId};

use self::action::Acted;
use self::locking::{Advisory, Place, Queue};
use self::statement::Running;
use self::store::{Chain, RowId, Store, VersionId};
use self::transaction::{Commits, Fate, Level, PgState};
use super::rule::{Rule, Rules};
use super::{Committed, NOT_MODELLED, Scan, Step, refused, sqlstate};

/// One PostgreSQL database, and the sessions on it.
#[derive(Clone, Debug, PartialEq)]
pub struct PgModel {
    rules: Rules,
    pub(super) scan: Scan,
    commits: Commits,
    /// Every transaction that has written or locked: whose, and what became of it.
    fates: Vec<(SessionId, Fate)>,
    sessions: BTreeMap<SessionId, PgState>,
    store: Store,
    queues: BTreeMap<Place, Queue>,
    advisory: BTreeMap<CustomerId, Advisory>,
    next_version: VersionId,
    next_row: RowId,
}

impl PgModel {
    /// A database with these customers.
    pub(super) fn new(rules: Rules, customers: &BTreeSet<CustomerId>) -> Self {
        let customers = customers.iter().map(|customer| (*customer, Chain::default())).collect();
        Self {
            rules,
            scan: Scan::Forward,
            commits: 0,
            fates: Vec::new(),
            sessions: BTreeMap::new(),
            store: Store { customers, ..Store::default() },
            queues: BTreeMap::new(),
            advisory: BTreeMap::new(),
            next_version: 1,
            next_row: 1,
        }
    }

    fn state(&mut self, session: SessionId) -> &mut PgState {
        self.sessions.entry(session).or_default()
    }

    pub(super) fn start(&mut self, session: SessionId, op: &Op) {
        let state = self.state(session);
        assert!(state.running.is_none(), "session {session} has an operation under way");
        state.running = Some(Running::new(op));
    }

    pub(super) fn can_advance(&self, session: SessionId) -> bool {
        let running = self.sessions.get(&session).and_then(|state| state.running.as_ref());
        running.is_some_and(|running| running.waiting.is_none_or(|waiting| self.is_over(session, waiting)))
    }

    pub(super) fn advance(&mut self, session: SessionId) -> Step {
        let mut running = self.state(session).running.take().expect("the session has an operation under way");
        if let Some(waiting) = running.waiting
            && !self.is_over(session, waiting)
        {
            self.state(session).running = Some(running);
            return Step::Waits;
        }
        running.waiting = None;
        match self.carry_on(session, &mut running) {
            Ok(Step::Done(result)) => Step::Done(result),
            Ok(step) => {
                self.state(session).running = Some(running);
                step
            }
            Err(error) => {
                // What was not sent leaves the transaction as it is.
                if error.code.as_deref().is_some_and(|code| code != NOT_MODELLED) {
                    self.fail(session);
                }
                Step::Done(Err(error))
            }
        }
    }

    fn carry_on(&mut self, session: SessionId, running: &mut Running) -> Result<Step, DbError> {
        if let Some(op) = running.op.take() {
            return Ok(match self.command(session, &op)? {
                Some(reply) => Step::Done(Ok(reply)),
                None => {
                    self.plan(session, running, &op);
                    Step::More
                }
            });
        }
        let Some(action) = running.actions.front().cloned() else {
            if self.state(session).is_implicit {
                self.commit(session);
            }
            return Ok(Step::Done(Ok(running.reply())));
        };
        match self.act(session, running, action)? {
            Acted::Done => drop(running.actions.pop_front()),
            Acted::Changed(action) => running.actions[0] = action,
            Acted::Waits(waiting) => {
                running.waiting = Some(waiting);
                return Ok(Step::Waits);
            }
        }
        if running.actions.is_empty() {
            running.actions.extend(std::mem::take(&mut running.parents));
        }
        Ok(Step::More)
    }

    /// Carries out what is not a statement, or makes ready for one.
    fn command(&mut self, session: SessionId, op: &Op) -> Result<Option<Reply>, DbError> {
        let (kind, rules) = (op.kind(), self.rules);
        let state = self.state(session);
        let is_open = !state.levels.is_empty();
        let is_end = matches!(op, Op::Commit | Op::Rollback | Op::RollbackTo | Op::Pause(_));
        if matches!(op, Op::Begin { immediate: true, .. }) {
            return Err(refused(kind));
        }
        if state.is_aborted && !is_end {
            return Err(sqlstate("25P02", kind));
        }
        match op {
            Op::Begin { isolation: Isolation::Serializable, .. } => return Err(sqlstate(NOT_MODELLED, kind)),
            Op::Begin { .. } if is_open => return Err(sqlstate(NOT_MODELLED, kind)),
            Op::Begin { isolation, .. } => self.begin(session, *isolation, false),
            Op::Commit if state.is_aborted && rules.holds(Rule::CommitOfAbortedRollsBack) => {
                self.roll_back(session);
                return Ok(Some(Reply::RolledBack));
            }
            Op::Commit => {
                self.commit(session);
                return Ok(Some(Reply::Committed));
            }
            Op::Rollback => {
                self.roll_back(session);
                return Ok(Some(Reply::RolledBack));
            }
            Op::Savepoint if !is_open => return Err(sqlstate("25P01", kind)),
            Op::Savepoint => state.levels.push(Level::default()),
            Op::RollbackTo => self.roll_back_to(session, kind)?,
            Op::Pause(_) => {}
            _ => {
                if !is_open {
                    self.begin(session, Isolation::ReadCommitted, true);
                }
                return Ok(None);
            }
        }
        Ok(Some(Reply::Done))
    }

    fn roll_back_to(&mut self, session: SessionId, kind: Kind) -> Result<(), DbError> {
        let rules = self.rules;
        match self.state(session).levels.len() {
            0 => return Err(sqlstate("25P01", kind)),
            1 => return Err(sqlstate("3B001", kind)),
            _ => {}
        }
        let kept = self.state(session).levels.last().cloned();
        if rules.holds(Rule::RollbackToReleasesLocks) {
            self.undo_level(session);
        } else if let Some(xid) = kept.and_then(|level| level.xid) {
            self.store.forget(&BTreeSet::from([xid]));
        }
        let state = self.state(session);
        state.is_aborted = false;
        if !rules.holds(Rule::SavepointStays) {
            let level = state.levels.pop().expect("there are two");
            let outer = state.levels.last_mut().expect("there is the transaction");
            outer.xid = outer.xid.or(level.xid);
        }
        Ok(())
    }

    /// Ends the operation of a deadlock's victim.
    pub(super) fn abort_victim(&mut self, session: SessionId) -> DbError {
        let running = self.state(session).running.take().expect("who waits has an operation under way");
        self.fail(session);
        sqlstate("40P01", running.kind)
    }

    pub(super) fn committed(&self) -> Committed {
        let sees = |xid| matches!(self.fates[xid as usize].1, Fate::Committed(_));
        let mut runs: Vec<_> =
            self.store.runs.values().filter_map(|row| row.seen(sees)).map(|(_, run)| run.clone()).collect();
        runs.sort_by(|a, b| a.id.cmp(&b.id));
        let mut events: Vec<_> =
            self.store.events.values().filter_map(|row| row.seen(sees)).map(|(_, event)| event.clone()).collect();
        events.sort_by_key(|event| (event.run.clone(), event.signal.key()));
        let mut claims: BTreeMap<CustomerId, u64> = BTreeMap::new();
        for (_, customer, _) in self.store.claims.iter().filter(|(xid, ..)| sees(*xid)) {
            *claims.entry(*customer).or_default() += 1;
        }
        Committed { runs, events, claims: claims.into_iter().collect() }
    }
}
