//! The locking protocol: the one place where the order lock → read → compute → write → close →
//! commit is written.
//!
//! On PostgreSQL, between the grant of the customer's lock and COMMIT there are at most four
//! statements, whatever the number of signals, and each is needed:
//!
//! 1. open the run: names it, and finds out whether another task has; it must see what the
//!    predecessor committed, so it cannot come before the lock;
//! 2. read the claims, counted by the database: the same holds for it;
//! 3. write the events: one statement inserts, updates and withdraws all of them;
//! 4. close the run: only the first successful task of a run sends it.
//!
//! BEGIN lies outside the lock. Without a lock (`serializable`, `constraint`) the same statements run;
//! there the first may have to be sent again, when another task's run was committed meanwhile.
//!
//! A task that the database fails rolls back, and records the failure in a transaction of its own,
//! under the same lock: opening a run and recording a failure could otherwise wait for each other.
//! A task that asked for something that cannot be ([`TaskError::RunConflict`] and its like) records
//! nothing, since the run is not its own. Failures that
//! a second try can mend (40001, 40P01, 55P03, SQLITE_BUSY) are tried again from BEGIN, a bounded
//! number of times, after a jittered pause ([`Op::Pause`]: there is no timer here).

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::claim::CustomerId;
use crate::drift;
use crate::lock::LockStrategy;
use crate::op::{Changes, OnConflict, Op, Opened, Reply};
use crate::policy::{PolicyError, Windows};
use crate::run::{Identity, RunChoice, RunId, Status};
use crate::session::{DbError, ErrorClass, Session};

/// How often [`Op::OpenRun`] may find that another task's run has just been committed.
const OPEN_TRIES_MAX: u32 = 3;

/// One call of the job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// What is recomputed.
    pub identity: Identity,
    /// In which run.
    pub run: RunChoice,
    /// How the customer's tasks are kept apart.
    pub strategy: LockStrategy,
    /// What to do about failures that a second try can mend.
    pub retry: Retry,
}

/// How often, and after which pauses, a task is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// The number of tries, the first included; 0 counts as 1.
    pub max_attempts: u32,
    /// The longest pause before the second try; it doubles with each further one.
    pub base: Duration,
    /// The longest pause at all.
    pub cap: Duration,
    /// Where the jitter comes from, to be different for each task: each pause is drawn evenly between zero and its longest
    /// ("full jitter": Brooker, Exponential Backoff And Jitter, 2015).
    pub seed: u64,
}

impl Retry {
    /// Ten tries, with pauses of at most 5 ms, 10 ms, and so on up to 500 ms.
    pub fn seeded(seed: u64) -> Self {
        Self { max_attempts: 10, base: Duration::from_millis(5), cap: Duration::from_millis(500), seed }
    }

    /// The pauses between the tries: one fewer than there are tries.
    fn pauses(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        let Self { max_attempts, base, cap, seed } = *self;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..max_attempts.saturating_sub(1)).map(move |n| {
            let longest = base.saturating_mul(2_u32.saturating_pow(n)).min(cap);
            Duration::from_nanos(rng.random_range(0..=u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX)))
        })
    }
}

/// What a successful task did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recomputed {
    /// The run that its events are in.
    pub run: RunId,
    /// How many events the run has now.
    pub events: usize,
    /// What the task changed of them.
    pub changes: Changes,
    /// The number of tries, the successful one included.
    pub attempts: u32,
}

/// Why a task did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum TaskError {
    /// The windows make no sense at this date.
    #[error("{0}")]
    Policy(String),
    /// No such customer, where the lock is the customer's row.
    #[error("there is no customer {0} to lock")]
    UnknownCustomer(CustomerId),
    /// The identity's run has another name than the one asked for.
    #[error("the run asked for is {asked}, but {existing} exists for the same customer, date and policy")]
    RunConflict {
        /// The name asked for.
        asked: RunId,
        /// The name of the run that exists.
        existing: RunId,
    },
    /// The name asked for belongs to a run about something else.
    #[error("the run id {0} is taken by a run for another customer, date or policy")]
    RunIdTaken(RunId),
    /// COMMIT was answered with ROLLBACK: an earlier error had aborted the transaction.
    #[error("COMMIT was answered with ROLLBACK: nothing of the task remains")]
    RolledBack,
    /// The connection was lost during COMMIT: the task may have taken effect, or not.
    #[error("the outcome of COMMIT is unknown: {0}")]
    CommitUnknown(DbError),
    /// The database refused, and a further try is not allowed or would not help.
    #[error("{error} (after {attempts} attempts)")]
    Database {
        /// What it said to the last try.
        error: DbError,
        /// The number of tries.
        attempts: u32,
        /// Why the failure could not be recorded in the run, if it could not.
        unrecorded: Option<DbError>,
    },
}

impl From<PolicyError> for TaskError {
    fn from(error: PolicyError) -> Self {
        Self::Policy(error.to_string())
    }
}

/// Why one try did not succeed.
enum Fault {
    Final(TaskError),
    Database(DbError),
}

impl From<DbError> for Fault {
    fn from(error: DbError) -> Self {
        Self::Database(error)
    }
}

impl From<TaskError> for Fault {
    fn from(error: TaskError) -> Self {
        Self::Final(error)
    }
}

/// Recomputes one customer's drift, so that any number of concurrent calls leaves what one leaves.
///
/// Cancellation: dropping the future may leave a transaction open; close the session.
///
/// # Errors
/// See [`TaskError`]. Except for [`TaskError::CommitUnknown`], nothing of a failed task remains but
/// the run's status.
///
/// # Panics
/// The session answers an operation with a reply of another operation.
pub async fn recompute<S>(session: &mut S, task: &Task) -> Result<Recomputed, TaskError>
where
    S: Session<Op = Op, Reply = Reply>,
{
    let windows = task.identity.windows()?;
    let mut pauses = task.retry.pauses();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let error = match attempt(session, task, windows, attempts).await {
            Ok(done) => return Ok(done),
            Err(Fault::Final(error @ TaskError::CommitUnknown(_))) => return Err(error),
            Err(Fault::Final(error)) => {
                // If even ROLLBACK fails the connection is gone, and the transaction with it.
                let _ = session.call(Op::Rollback).await;
                return Err(error);
            }
            Err(Fault::Database(error)) => error,
        };
        if error.class != ErrorClass::Lost {
            let _ = session.call(Op::Rollback).await;
        }
        match pauses.next().filter(|_| error.class.is_retryable()) {
            Some(pause) => drop(session.call(Op::Pause(pause)).await),
            None => {
                let unrecorded = record_failure(session, task, &error).await.err();
                return Err(TaskError::Database { error, attempts, unrecorded });
            }
        }
    }
}

async fn attempt<S>(session: &mut S, task: &Task, windows: Windows, attempts: u32) -> Result<Recomputed, Fault>
where
    S: Session<Op = Op, Reply = Reply>,
{
    let Task { identity, strategy, .. } = task;
    let customer = identity.customer;
    session.call(strategy.begin()).await?;
    if let Some(lock) = strategy.lock(customer) {
        match session.call(lock).await? {
            Reply::Locked(true) => {}
            Reply::Locked(false) => return Err(TaskError::UnknownCustomer(customer).into()),
            other => unexpected("a lock", &other),
        }
    }
    let run = open(session, task).await?;
    let cells = match session.call(Op::ReadClaims { customer, windows }).await? {
        Reply::Claims(cells) => cells,
        other => unexpected("a read of claims", &other),
    };
    let signals: Arc<[_]> = drift::signals(&cells, &identity.policy).into();
    let events = signals.len();
    let write = Op::WriteEvents { customer, run: run.id.clone(), windows, signals, on_conflict: OnConflict::Update };
    let changes = match session.call(write).await? {
        Reply::Written(changes) => changes,
        other => unexpected("a write of events", &other),
    };
    if run.status != Status::Succeeded {
        session.call(Op::CloseRun { run: run.id.clone() }).await?;
    }
    match session.call(Op::Commit).await {
        Ok(Reply::Committed) => Ok(Recomputed { run: run.id, events, changes, attempts }),
        Ok(Reply::RolledBack) => Err(TaskError::RolledBack.into()),
        Ok(other) => unexpected("a commit", &other),
        Err(error) if error.class == ErrorClass::Lost => Err(TaskError::CommitUnknown(error).into()),
        Err(error) => Err(error.into()),
    }
}

/// Opens the run and makes sure that it is the one asked for.
async fn open<S>(session: &mut S, task: &Task) -> Result<crate::run::Run, Fault>
where
    S: Session<Op = Op, Reply = Reply>,
{
    let id = task.run.id_for(&task.identity);
    let op = Op::OpenRun { identity: task.identity, id: id.clone(), fresh: task.run.is_fresh() };
    for _ in 0..OPEN_TRIES_MAX {
        let Opened { run, same } = match session.call(op.clone()).await? {
            Reply::Opened(Some(opened)) => opened,
            Reply::Opened(None) => continue,
            other => unexpected("an open run", &other),
        };
        return match &task.run {
            _ if !same => Err(TaskError::RunIdTaken(run.id).into()),
            RunChoice::Named(asked) if *asked != run.id => {
                Err(TaskError::RunConflict { asked: asked.clone(), existing: run.id }.into())
            }
            _ => Ok(run),
        };
    }
    let message = format!("run {id} was committed by others {OPEN_TRIES_MAX} times and could not be seen");
    Err(DbError { class: ErrorClass::Serialization, code: None, message, during: crate::session::Kind::Write }.into())
}

/// Writes the failure into the run, in a transaction of its own.
async fn record_failure<S>(session: &mut S, task: &Task, error: &DbError) -> Result<(), DbError>
where
    S: Session<Op = Op, Reply = Reply>,
{
    let op = Op::FailRun {
        identity: task.identity,
        id: task.run.id_for(&task.identity),
        fresh: task.run.is_fresh(),
        reason: error.to_string().into(),
    };
    let mut pauses = task.retry.pauses();
    loop {
        let error = match record(session, task, op.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if error.class != ErrorClass::Lost {
            let _ = session.call(Op::Rollback).await;
        }
        match pauses.next().filter(|_| error.class.is_retryable()) {
            Some(pause) => drop(session.call(Op::Pause(pause)).await),
            None => return Err(error),
        }
    }
}

async fn record<S>(session: &mut S, task: &Task, op: Op) -> Result<(), DbError>
where
    S: Session<Op = Op, Reply = Reply>,
{
    session.call(task.strategy.begin()).await?;
    if let Some(lock) = task.strategy.lock(task.identity.customer) {
        session.call(lock).await?;
    }
    session.call(op).await?;
    session.call(Op::Commit).await.map(drop)
}

fn unexpected(asked: &str, reply: &Reply) -> ! {
    panic!("the session answered {asked} with {reply:?}")
}
