//! Transactions and savepoints: numbers, snapshots, and what an end undoes and lets go.

use std::collections::{BTreeMap, BTreeSet};

use drift_engine::claim::CustomerId;
use drift_engine::op::Isolation;
use drift_engine::session::SessionId;

use super::PgModel;
use super::statement::Running;
use crate::rule::Rule;

/// A transaction or a savepoint that has written or locked, numbered in the order of its first such act.
pub(super) type Xid = u32;

/// The number of commits so far: a snapshot sees those up to its own.
pub(super) type Commits = u32;

/// What has become of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Running,
    Committed(Commits),
    Aborted,
}

/// A transaction, or a savepoint in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Level {
    pub xid: Option<Xid>,
    /// Transaction-level advisory locks taken here, and how often.
    pub advisory: BTreeMap<CustomerId, u32>,
}

/// A session.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PgState {
    /// The transaction, then its savepoints; empty outside a transaction.
    pub levels: Vec<Level>,
    /// The transaction is one statement's own.
    pub is_implicit: bool,
    pub is_aborted: bool,
    pub isolation: Isolation,
    /// REPEATABLE READ's one snapshot.
    pub snapshot: Option<Commits>,
    /// Session-level advisory locks, and how often each is held.
    pub advisory: BTreeMap<CustomerId, u32>,
    pub running: Option<Running>,
}

impl Default for PgState {
    fn default() -> Self {
        Self {
            levels: Vec::new(),
            is_implicit: false,
            is_aborted: false,
            isolation: Isolation::ReadCommitted,
            snapshot: None,
            advisory: BTreeMap::new(),
            running: None,
        }
    }
}

impl PgModel {
    pub(super) fn is_running(&self, xid: Xid) -> bool {
        self.fates[xid as usize].1 == Fate::Running
    }

    pub(super) fn owner(&self, xid: Xid) -> SessionId {
        self.fates[xid as usize].0
    }

    /// Whether a transaction is the session's present one.
    pub(super) fn is_mine(&self, session: SessionId, xid: Xid) -> bool {
        self.owner(xid) == session && self.is_running(xid)
    }

    /// Whether somebody else's transaction has not ended.
    pub(super) fn is_others(&self, session: SessionId, xid: Xid) -> bool {
        self.owner(xid) != session && self.is_running(xid)
    }

    /// Whether a snapshot shows what a transaction did.
    pub(super) fn sees(&self, session: SessionId, snapshot: Commits, xid: Xid) -> bool {
        match self.fates[xid as usize].1 {
            Fate::Running => self.owner(xid) == session,
            Fate::Committed(at) => at <= snapshot,
            Fate::Aborted => false,
        }
    }

    /// The number of the innermost level, given out now if need be: parents before children.
    pub(super) fn xid(&mut self, session: SessionId) -> Xid {
        let state = self.sessions.get_mut(&session).expect("only sessions that have sent something write");
        let mut last = None;
        for level in &mut state.levels {
            last = Some(*level.xid.get_or_insert_with(|| {
                self.fates.push((session, Fate::Running));
                Xid::try_from(self.fates.len() - 1).expect("a model lives for less than 2^32 transactions")
            }));
        }
        last.expect("a statement runs in a transaction")
    }

    /// Takes the snapshot of a statement that begins now.
    pub(super) fn snapshot(&mut self, session: SessionId) -> Commits {
        let (commits, rules) = (self.commits, self.rules);
        let state = self.state(session);
        let is_kept = match state.isolation {
            Isolation::ReadCommitted => !rules.holds(Rule::StatementSnapshot),
            _ => rules.holds(Rule::TransactionSnapshot),
        };
        if is_kept { *state.snapshot.get_or_insert(commits) } else { commits }
    }

    pub(super) fn begin(&mut self, session: SessionId, isolation: Isolation, is_implicit: bool) {
        let early = (!self.rules.holds(Rule::SnapshotAtFirstStatement)).then_some(self.commits);
        let state = self.state(session);
        state.levels = vec![Level::default()];
        state.is_implicit = is_implicit;
        state.is_aborted = false;
        state.isolation = isolation;
        state.snapshot = early.filter(|_| isolation != Isolation::ReadCommitted);
    }

    pub(super) fn commit(&mut self, session: SessionId) {
        self.commits += 1;
        let commits = self.commits;
        let levels = std::mem::take(&mut self.state(session).levels);
        for xid in levels.iter().filter_map(|level| level.xid) {
            self.fates[xid as usize].1 = Fate::Committed(commits);
        }
        self.end(session, &levels);
    }

    pub(super) fn roll_back(&mut self, session: SessionId) {
        let levels = std::mem::take(&mut self.state(session).levels);
        self.abort(&levels);
        self.end(session, &levels);
    }

    fn end(&mut self, session: SessionId, levels: &[Level]) {
        let rules = self.rules;
        let state = self.state(session);
        (state.is_implicit, state.is_aborted, state.snapshot) = (false, false, None);
        let mut freed: BTreeSet<CustomerId> = levels.iter().flat_map(|level| level.advisory.keys().copied()).collect();
        if !rules.holds(Rule::SessionAdvisorySurvives) {
            freed.extend(std::mem::take(&mut state.advisory).into_keys());
        }
        self.free_advisory(session, &freed);
    }

    /// Undoes the innermost level: what it wrote and locked. The level itself stays.
    pub(super) fn undo_level(&mut self, session: SessionId) {
        let Some(level) = self.state(session).levels.last_mut().map(std::mem::take) else { return };
        let levels = [level];
        if self.rules.holds(Rule::RollbackToUndoes) {
            self.abort(&levels);
        } else {
            self.state(session).levels.last_mut().expect("it stays").xid = levels[0].xid;
        }
        let freed = levels[0].advisory.keys().copied().collect();
        self.free_advisory(session, &freed);
    }

    fn abort(&mut self, levels: &[Level]) {
        let gone: BTreeSet<Xid> = levels.iter().filter_map(|level| level.xid).collect();
        for xid in &gone {
            self.fates[*xid as usize].1 = Fate::Aborted;
        }
        if !gone.is_empty() {
            self.store.forget(&gone);
        }
    }

    /// An error: undoes the innermost level, or the whole of a statement's own transaction.
    pub(super) fn fail(&mut self, session: SessionId) {
        self.leave_queues(session);
        let rules = self.rules;
        let state = self.state(session);
        if state.is_implicit {
            return self.roll_back(session);
        }
        if state.levels.is_empty() || state.is_aborted {
            return;
        }
        state.is_aborted = rules.holds(Rule::ErrorAborts);
        if !rules.holds(Rule::ErrorKeepsOuterLocks) {
            while self.state(session).levels.len() > 1 {
                self.undo_level(session);
                self.state(session).levels.pop();
            }
        }
        if rules.holds(Rule::ErrorReleasesLocks) {
            self.undo_level(session);
        }
    }
}
