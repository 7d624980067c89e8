//! Breaks the protocol on purpose, by rewriting its operations on their way to the database.
//!
//! The protocol itself is never touched: what is attacked is the function that ships. Which mutant
//! makes sense where, and what provokes it, is in [`crate::mutant`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use drift_engine::claim::CustomerId;
use drift_engine::op::{Changes, Isolation, Lock, OnConflict, Op, Opened, Reply, Scope, Strength, Wait};
use drift_engine::run::{Run, RunId, Status};
use drift_engine::session::{DbError, ErrorClass, Session, SessionId};

use crate::history::TaskId;

/// A way to rewrite the protocol's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// The lock is not taken.
    NoLock,
    /// The lock is taken after the claims have been read.
    LockAfterRead,
    /// COMMIT and BEGIN come between reading and writing.
    CommitBetween,
    /// `FOR SHARE` instead of the strategy's strength.
    ShareLock,
    /// `FOR UPDATE` instead of the strategy's strength.
    UpdateLock,
    /// Each task locks the row of another customer.
    WrongRow,
    /// One lock for all customers, before the customer's own.
    GlobalLock,
    /// `REPEATABLE READ`: the snapshot is taken before the wait for the lock.
    EarlySnapshot,
    /// No conflict clause; a unique violation is caught and the transaction carries on.
    CaughtViolation,
    /// As [`Rewrite::CaughtViolation`], with a savepoint around the insert: sound.
    CaughtInSavepoint,
    /// No conflict clause.
    NoConflictClause,
    /// `ON CONFLICT DO NOTHING`: events that are there are not brought up to date.
    KeepStale,
    /// A failed task deletes the run's events.
    DeleteOnFailure,
    /// A failure is not recorded in the run.
    ForgetFailure,
    /// Each task opens a run of its own.
    FreshRun,
    /// `SKIP LOCKED`, and a skipped task reports success.
    SkipLocked,
    /// A session-level advisory lock, given back before COMMIT.
    EarlyUnlock,
    /// Failures that a second try can mend are final.
    NoRetry,
    /// `BEGIN DEFERRED` instead of `BEGIN IMMEDIATE`.
    BeginDeferred,
}

/// A session whose operations are rewritten.
pub struct Mutated<'a, S> {
    inner: S,
    rewrite: Option<Rewrite>,
    task: TaskId,
    executed: &'a AtomicU64,
    begin: Option<Op>,
    postponed: Option<Op>,
    /// The transaction's error was swallowed.
    caught: bool,
    /// The task was dropped: nothing is sent any more.
    dropped: bool,
}

impl<'a, S> Mutated<'a, S> {
    /// Rewrites `inner`'s operations for `task`, and counts in `executed` how many it altered.
    pub fn new(inner: S, rewrite: Option<Rewrite>, task: TaskId, executed: &'a AtomicU64) -> Self {
        let (begin, postponed) = (None, None);
        Self { inner, rewrite, task, executed, begin, postponed, caught: false, dropped: false }
    }

    fn altered(&self) {
        self.executed.fetch_add(1, Ordering::Relaxed);
    }
}

impl<S: Session<Op = Op, Reply = Reply>> Session for Mutated<'_, S> {
    type Op = Op;
    type Reply = Reply;

    fn id(&self) -> SessionId {
        self.inner.id()
    }

    async fn call(&mut self, op: Op) -> Result<Reply, DbError> {
        if matches!(op, Op::Begin { .. }) {
            (self.begin, self.caught, self.dropped) = (Some(op.clone()), false, false);
        }
        let Some(rewrite) = self.rewrite else {
            return self.inner.call(op).await;
        };
        if self.dropped {
            return self.pretend(op).await;
        }
        match (rewrite, op) {
            (Rewrite::NoLock, Op::Lock(_)) => {
                self.altered();
                Ok(Reply::Locked(true))
            }
            (Rewrite::LockAfterRead, Op::Lock(lock)) => {
                self.postponed = Some(Op::Lock(lock));
                Ok(Reply::Locked(true))
            }
            (Rewrite::LockAfterRead, op @ Op::ReadClaims { .. }) => {
                let reply = self.inner.call(op).await?;
                if let Some(lock) = self.postponed.take() {
                    self.altered();
                    self.inner.call(lock).await?;
                }
                Ok(reply)
            }
            (Rewrite::CommitBetween, op @ Op::WriteEvents { .. }) => {
                self.altered();
                self.inner.call(Op::Commit).await?;
                self.inner.call(self.begin.clone().expect("a write follows a begin")).await?;
                self.inner.call(op).await
            }
            (Rewrite::ShareLock, op) => self.relock(op, Strength::Share).await,
            (Rewrite::UpdateLock, op) => self.relock(op, Strength::Update).await,
            (Rewrite::WrongRow, Op::Lock(Lock::Row { customer, strength, wait })) => {
                let other = CustomerId(1 + i64::from(self.task.0 % 2));
                if other != customer {
                    self.altered();
                }
                self.inner.call(Op::Lock(Lock::Row { customer: other, strength, wait })).await
            }
            (Rewrite::GlobalLock, op @ Op::Lock(_)) => {
                self.altered();
                let everybody = Lock::Advisory { customer: CustomerId(0), scope: Scope::Transaction };
                self.inner.call(Op::Lock(everybody)).await?;
                self.inner.call(op).await
            }
            (Rewrite::EarlySnapshot, Op::Begin { immediate, .. }) => {
                self.altered();
                self.inner.call(Op::Begin { isolation: Isolation::RepeatableRead, immediate }).await
            }
            (Rewrite::BeginDeferred, Op::Begin { isolation, .. }) => {
                self.altered();
                self.inner.call(Op::Begin { isolation, immediate: false }).await
            }
            (Rewrite::CaughtViolation | Rewrite::CaughtInSavepoint, op) => self.catch(op).await,
            (Rewrite::NoConflictClause, op) => self.rewrite_conflict(op, OnConflict::Error).await,
            (Rewrite::KeepStale, op) => self.rewrite_conflict(op, OnConflict::Nothing).await,
            (Rewrite::DeleteOnFailure, op @ Op::FailRun { .. }) => {
                self.delete_events(&op).await?;
                self.inner.call(op).await
            }
            (Rewrite::ForgetFailure, Op::FailRun { .. }) => {
                self.altered();
                Ok(Reply::Done)
            }
            (Rewrite::FreshRun, Op::OpenRun { identity, .. }) => {
                self.altered();
                let id = RunId::new(&format!("fresh-{}", self.task)).expect("short, and without a NUL");
                self.inner.call(Op::OpenRun { identity, id, fresh: true }).await
            }
            (Rewrite::SkipLocked, Op::Lock(Lock::Row { customer, strength, .. })) => {
                self.altered();
                let lock = Lock::Row { customer, strength, wait: Wait::SkipLocked };
                self.dropped = self.inner.call(Op::Lock(lock)).await? == Reply::Locked(false);
                Ok(Reply::Locked(true))
            }
            (Rewrite::EarlyUnlock, op) => self.unlock_early(op).await,
            (Rewrite::NoRetry, op) => self.inner.call(op).await.map_err(|error| {
                if !error.class.is_retryable() {
                    return error;
                }
                self.altered();
                DbError { class: ErrorClass::Other, ..error }
            }),
            (_, op) => self.inner.call(op).await,
        }
    }
}

impl<S: Session<Op = Op, Reply = Reply>> Mutated<'_, S> {
    async fn relock(&mut self, op: Op, strength: Strength) -> Result<Reply, DbError> {
        let op = match op {
            Op::Lock(Lock::Row { customer, wait, .. }) => {
                self.altered();
                Op::Lock(Lock::Row { customer, strength, wait })
            }
            op => op,
        };
        self.inner.call(op).await
    }

    async fn rewrite_conflict(&mut self, op: Op, with: OnConflict) -> Result<Reply, DbError> {
        let op = match op {
            Op::WriteEvents { customer, run, windows, signals, .. } => {
                self.altered();
                Op::WriteEvents { customer, run, windows, signals, on_conflict: with }
            }
            op => op,
        };
        self.inner.call(op).await
    }

    /// Carries on after a unique violation as if nothing had happened.
    async fn catch(&mut self, op: Op) -> Result<Reply, DbError> {
        let savepoint = self.rewrite == Some(Rewrite::CaughtInSavepoint);
        match op {
            Op::WriteEvents { .. } => {
                if savepoint {
                    self.inner.call(Op::Savepoint).await?;
                }
                match self.rewrite_conflict(op, OnConflict::Error).await {
                    Err(error) if error.class == ErrorClass::Unique => {
                        if savepoint {
                            self.inner.call(Op::RollbackTo).await?;
                        } else {
                            self.caught = true;
                        }
                        Ok(Reply::Written(Changes::default()))
                    }
                    other => other,
                }
            }
            // On PostgreSQL these would fail with 25P02; the code that this mutant stands for never
            // sent them.
            Op::CloseRun { .. } if self.caught => Ok(Reply::Done),
            // The driver answers the COMMIT of an aborted transaction with success.
            Op::Commit if self.caught => self.inner.call(Op::Commit).await.map(|_| Reply::Committed),
            op => self.inner.call(op).await,
        }
    }

    async fn delete_events(&mut self, failure: &Op) -> Result<(), DbError> {
        let Op::FailRun { identity, id, .. } = failure else { return Ok(()) };
        self.altered();
        let windows = identity.windows().expect("the task has computed them before");
        let delete = Op::WriteEvents {
            customer: identity.customer,
            run: id.clone(),
            windows,
            signals: Arc::new([]),
            on_conflict: OnConflict::Update,
        };
        self.inner.call(delete).await.map(drop)
    }

    /// Session-level locking that lets go before COMMIT.
    async fn unlock_early(&mut self, op: Op) -> Result<Reply, DbError> {
        match op {
            Op::Lock(lock) => {
                let customer = lock.customer();
                self.postponed = Some(Op::Unlock { customer });
                self.inner.call(Op::Lock(Lock::Advisory { customer, scope: Scope::Session })).await
            }
            Op::Commit | Op::Rollback => {
                if let Some(unlock) = self.postponed.take() {
                    self.altered();
                    let _ = self.inner.call(unlock).await;
                }
                self.inner.call(op).await
            }
            op => self.inner.call(op).await,
        }
    }

    /// Answers for the database after the task was silently dropped.
    async fn pretend(&mut self, op: Op) -> Result<Reply, DbError> {
        Ok(match op {
            Op::OpenRun { id, .. } => {
                Reply::Opened(Some(Opened { run: Run { id, status: Status::Succeeded }, same: true }))
            }
            Op::ReadClaims { .. } => Reply::Claims(Arc::new([])),
            Op::WriteEvents { .. } => Reply::Written(Changes::default()),
            Op::Commit => {
                self.inner.call(Op::Rollback).await?;
                self.dropped = false;
                Reply::Committed
            }
            _ => Reply::Done,
        })
    }
}
