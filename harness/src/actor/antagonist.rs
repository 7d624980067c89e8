//! The antagonist takes what a task takes, in the wrong order: the run first, then the lock.
//!
//! The held task has the lock and is about to open the run; each waits for the other, and PostgreSQL
//! ends the wait of one of them. The antagonist's connection has patience, so that it is the task.

use drift_engine::op::{Isolation, Op, Reply};
use drift_engine::protocol::Task;
use drift_engine::session::{DbError, Session};

use super::{Stage, Trail};
use crate::database::Driver;
use crate::history::ActorId;
use crate::lens::gate::Gated;
use crate::lens::trace::Trace;

/// Forces one deadlock on `task`, which must be the one that is held after its lock.
pub async fn interfere(stage: &Stage, actor: ActorId, mut driver: Driver, task: &Task) -> Trail {
    let mut log = stage.log(actor);
    let traced = Trace::new(&mut driver, &mut log, None);
    let mut session = Gated::new(traced, &stage.opening, actor, None, task.identity.customer);
    // What fails here, fails on the record; then nothing is tried again, and retries-bounded says so.
    let _ = deadlock(stage, &mut session, task).await;
    let _ = session.call(Op::Rollback).await;
    stage.opening.finished(actor);
    Trail { entries: log.into_entries(), tasks: Vec::new() }
}

async fn deadlock<S>(stage: &Stage, session: &mut S, task: &Task) -> Result<(), DbError>
where
    S: Session<Op = Op, Reply = Reply>,
{
    session.call(Op::Begin { isolation: Isolation::ReadCommitted, immediate: false }).await?;
    let (id, fresh) = (task.run.id_for(&task.identity), task.run.is_fresh());
    session.call(Op::OpenRun { identity: task.identity, id, fresh }).await?;
    stage.opening.holder_stands().await;
    if let Some(lock) = task.strategy.lock(task.identity.customer) {
        session.call(lock).await?;
    }
    Ok(())
}
