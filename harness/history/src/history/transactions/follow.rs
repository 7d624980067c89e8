//! Follows each session through its operations: what is open, what is locked, what is undone.

use std::collections::BTreeMap;

use drift_engine::claim::CustomerId;
use drift_engine::lock::Backend;
use drift_engine::op::{Isolation, Lock, Op, Reply, Scope, Strength};
use drift_engine::session::{DbError, ErrorClass, SessionId};

use super::{End, Hold, Key, Ledger, NONE, Transaction};
use crate::history::{ActorId, Entry, History, Outcome, TaskId, Tick};

pub(super) fn follow(
    history: &History,
    customer_of: impl Fn(TaskId) -> Option<CustomerId>,
    sent_at: impl Fn(u32) -> Tick,
) -> Ledger {
    let count = history.entries.len();
    assert!(u32::try_from(count).is_ok_and(|count| count < NONE), "a history of {count} entries is too long");
    let ledger = Ledger {
        transactions: Vec::new(),
        holds: Vec::new(),
        transaction_of: vec![NONE; count],
        hold_at: vec![NONE; count],
    };
    let mut follower = Follower { backend: history.meta.backend, ledger };
    let mut sessions: BTreeMap<(ActorId, SessionId), State> = BTreeMap::new();
    for (index, entry) in history.entries.iter().enumerate() {
        let state = sessions.entry((entry.actor, entry.session)).or_default();
        if state.task != entry.task {
            state.task = entry.task;
            state.read = None;
        }
        let key = entry.task.and_then(&customer_of).map(Key::Customer);
        let index = index as u32;
        follower.step(state, Step { index, entry, key, sent: sent_at(index) });
    }
    for state in sessions.values_mut() {
        follower.close(state, End::Open);
    }
    follower.ledger
}

/// One entry on its way through.
#[derive(Clone, Copy)]
struct Step<'h> {
    index: u32,
    entry: &'h Entry,
    /// The key of its task.
    key: Option<Key>,
    /// When it was really sent.
    sent: Tick,
}

/// A session between two operations.
#[derive(Default)]
struct State {
    task: Option<TaskId>,
    /// The task's last successful read of claims.
    read: Option<u32>,
    transaction: Option<usize>,
    /// The number of savepoints.
    depth: u32,
    aborted: bool,
    /// Changes of the open transaction, oldest first.
    changes: Vec<Change>,
    active: Vec<Active>,
}

#[derive(Clone, Copy)]
struct Change {
    entry: u32,
    depth: u32,
    /// Of a write of events: the read that it is based on.
    write: Option<Option<u32>>,
}

/// A lock that has not been given up.
#[derive(Clone, Copy)]
struct Active {
    hold: usize,
    scope: Scope,
    /// The number of savepoints when it was taken.
    depth: u32,
    /// How often a session-level lock was taken.
    taken: u32,
    /// Whether it is still certain.
    certain: bool,
}

struct Follower {
    backend: Backend,
    ledger: Ledger,
}

impl Follower {
    fn step(&mut self, state: &mut State, step: Step<'_>) {
        let Step { index, entry, key, .. } = step;
        self.ledger.hold_at[index as usize] = key.and_then(|key| self.strongest(state, key)).unwrap_or(NONE);
        if let Some(open) = state.transaction {
            self.ledger.transaction_of[index as usize] = open as u32;
            self.ledger.transactions[open].last = index;
        }
        match &entry.outcome {
            Outcome::Unknown(_) => self.lost(state, step, End::Unknown),
            Outcome::Failed(error) if error.class == ErrorClass::Lost => self.lost(state, step, End::RolledBack),
            Outcome::Failed(error) => self.failed(state, step, error),
            Outcome::Ok(reply) => self.succeeded(state, step, reply),
        }
    }

    fn strongest(&self, state: &State, key: Key) -> Option<u32> {
        let holds = &self.ledger.holds;
        let of_key = state.active.iter().filter(|a| holds[a.hold].key == key || holds[a.hold].key == Key::File);
        of_key.max_by_key(|a| holds[a.hold].exclusive).map(|a| a.hold as u32)
    }

    /// The session is gone, and with it every lock. What was not committed is rolled back.
    fn lost(&mut self, state: &mut State, step: Step<'_>, commit: End) {
        let is_commit = matches!(step.entry.op, Op::Commit);
        if state.transaction.is_none() && commit == End::Unknown {
            self.implicit(state, step, End::Unknown);
        }
        self.release(state, step.index, |_| true);
        self.close(state, if is_commit { commit } else { End::RolledBack });
    }

    fn failed(&mut self, state: &mut State, step: Step<'_>, error: &DbError) {
        // An injected failure was never sent.
        if error.class == ErrorClass::Injected || matches!(step.entry.op, Op::Pause(_)) {
            return;
        }
        match self.backend {
            Backend::Sqlite if matches!(error.class, ErrorClass::Unique | ErrorClass::ForeignKey) => {}
            Backend::Sqlite => state.active.iter_mut().for_each(|active| active.certain = false),
            Backend::Postgres if matches!(step.entry.op, Op::Commit) => {
                self.release(state, step.index, |active| active.scope == Scope::Transaction);
                self.close(state, End::RolledBack);
            }
            Backend::Postgres if state.transaction.is_some() && !state.aborted => {
                let depth = state.depth;
                self.release(state, step.index, |a| a.scope == Scope::Transaction && a.depth >= depth);
                state.aborted = true;
            }
            Backend::Postgres => {}
        }
    }

    fn succeeded(&mut self, state: &mut State, step: Step<'_>, reply: &Reply) {
        let Step { index, entry, .. } = step;
        let aborted_commit = matches!(reply, Reply::RolledBack) && matches!(entry.op, Op::Commit);
        if !matches!(entry.op, Op::Pause(_)) {
            self.extend(state, step, aborted_commit);
        }
        match &entry.op {
            Op::Begin { isolation, immediate } => self.begin(state, step, *isolation, *immediate),
            Op::Lock(lock) if matches!(reply, Reply::Locked(true)) => self.lock(state, step, lock),
            Op::Unlock { customer } => self.unlock(state, index, Key::Customer(*customer)),
            Op::ReadClaims { .. } => state.read = Some(index),
            Op::OpenRun { .. } | Op::CloseRun { .. } => self.change(state, step, None),
            Op::WriteEvents { .. } => self.change(state, step, Some(state.read)),
            Op::FailRun { .. } => {
                if let Some(open) = state.transaction {
                    self.ledger.transactions[open].records_failure = true;
                }
            }
            Op::Savepoint if state.transaction.is_some() => state.depth += 1,
            Op::RollbackTo => {
                let depth = state.depth;
                if self.backend == Backend::Postgres {
                    self.release(state, index, |a| a.scope == Scope::Transaction && a.depth >= depth.max(1));
                }
                state.changes.retain(|change| change.depth < depth.max(1));
                state.aborted = false;
            }
            Op::Commit | Op::Rollback => {
                self.release(state, index, |active| active.scope == Scope::Transaction);
                self.close(state, if matches!(reply, Reply::Committed) { End::Committed } else { End::RolledBack });
            }
            Op::Lock(_) | Op::ReadEvents { .. } | Op::InsertClaim { .. } | Op::Savepoint | Op::Pause(_) => {}
        }
    }

    /// Every lock that is still there was held when this operation was invoked; unless a COMMIT was
    /// answered with ROLLBACK, for then the transaction had ended before, and nobody knows when.
    fn extend(&mut self, state: &State, step: Step<'_>, aborted_commit: bool) {
        for active in state.active.iter().filter(|active| active.certain) {
            if aborted_commit && active.scope == Scope::Transaction {
                continue;
            }
            let hold = &mut self.ledger.holds[active.hold];
            hold.until = hold.until.max(step.sent);
            hold.last = step.index;
        }
    }

    fn begin(&mut self, state: &mut State, step: Step<'_>, isolation: Isolation, immediate: bool) {
        // BEGIN inside a transaction is a warning on PostgreSQL, and begins nothing.
        if state.transaction.is_some() {
            return;
        }
        self.open(state, step, isolation, false);
        if self.backend == Backend::Sqlite && immediate {
            self.grant(state, step, Key::File, Scope::Transaction, true);
        }
    }

    fn lock(&mut self, state: &mut State, step: Step<'_>, lock: &Lock) {
        if self.backend == Backend::Sqlite {
            return;
        }
        let key = Key::Customer(lock.customer());
        match *lock {
            Lock::Advisory { scope: Scope::Session, .. } => {
                let holds = &self.ledger.holds;
                match state.active.iter_mut().find(|a| a.scope == Scope::Session && holds[a.hold].key == key) {
                    Some(active) => active.taken += 1,
                    None => self.grant(state, step, key, Scope::Session, true),
                }
            }
            // Outside a transaction the lock is given up as soon as the statement has ended.
            Lock::Row { .. } | Lock::Advisory { .. } if state.transaction.is_none() => {}
            Lock::Row { strength, .. } => {
                self.grant(state, step, key, Scope::Transaction, strength >= Strength::NoKeyUpdate);
            }
            Lock::Advisory { .. } => self.grant(state, step, key, Scope::Transaction, true),
        }
    }

    /// Notes a new hold, unless an equal or stronger one of the same scope is there already.
    fn grant(&mut self, state: &mut State, step: Step<'_>, key: Key, scope: Scope, exclusive: bool) {
        let Step { index, entry, .. } = step;
        let holds = &mut self.ledger.holds;
        let there = |a: &Active| a.scope == scope && holds[a.hold].key == key && holds[a.hold].exclusive >= exclusive;
        if state.active.iter().any(there) {
            return;
        }
        let Entry { actor, task, returned, .. } = *entry;
        state.active.push(Active { hold: holds.len(), scope, depth: state.depth, taken: 1, certain: true });
        holds.push(Hold {
            actor,
            task,
            key,
            grant: index,
            last: index,
            end: None,
            from: returned,
            until: returned,
            exclusive,
        });
    }

    fn unlock(&mut self, state: &mut State, index: u32, key: Key) {
        let holds = &self.ledger.holds;
        let of_key = |a: &Active| a.scope == Scope::Session && holds[a.hold].key == key;
        let Some(active) = state.active.iter_mut().find(|a| of_key(a)) else { return };
        active.taken -= 1;
        if active.taken == 0 {
            let hold = active.hold;
            self.release(state, index, |active| active.hold == hold);
        }
    }

    fn release(&mut self, state: &mut State, index: u32, which: impl Fn(&Active) -> bool) {
        state.active.retain(|active| {
            if which(active) {
                self.ledger.holds[active.hold].end = Some(index);
            }
            !which(active)
        });
    }

    /// Notes a change to a run; outside a transaction it takes effect at once.
    fn change(&mut self, state: &mut State, step: Step<'_>, write: Option<Option<u32>>) {
        if state.transaction.is_none() {
            self.implicit(state, step, End::Committed);
        } else {
            state.changes.push(Change { entry: step.index, depth: state.depth, write });
        }
    }

    fn implicit(&mut self, state: &mut State, step: Step<'_>, end: End) {
        let write = match step.entry.op {
            Op::WriteEvents { .. } => Some(state.read),
            Op::OpenRun { .. } | Op::CloseRun { .. } => None,
            _ => return,
        };
        self.open(state, step, Isolation::ReadCommitted, true);
        state.changes.push(Change { entry: step.index, depth: 0, write });
        self.close(state, end);
    }

    fn open(&mut self, state: &mut State, step: Step<'_>, isolation: Isolation, implicit: bool) {
        let Step { index, entry, .. } = step;
        let transactions = &mut self.ledger.transactions;
        self.ledger.transaction_of[index as usize] = transactions.len() as u32;
        state.transaction = Some(transactions.len());
        transactions.push(Transaction {
            actor: entry.actor,
            task: entry.task,
            begin: index,
            last: index,
            isolation,
            end: End::Open,
            implicit,
            records_failure: false,
            change: None,
            write: None,
            basis: None,
        });
    }

    /// Ends the open transaction, if there is one.
    fn close(&mut self, state: &mut State, end: End) {
        if let Some(open) = state.transaction.take() {
            let transaction = &mut self.ledger.transactions[open];
            transaction.end = end;
            transaction.change = state.changes.first().map(|change| change.entry);
            if let Some(last) = state.changes.iter().rev().find(|change| change.write.is_some()) {
                transaction.write = Some(last.entry);
                transaction.basis = last.write.flatten();
            }
        }
        state.changes.clear();
        state.depth = 0;
        state.aborted = false;
    }
}
