//! A worker performs tasks, one after another, on a connection of its own.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use drift_engine::protocol::{Task, TaskError, recompute};
use drift_engine::session::{Connect, DbError, ErrorClass};

use super::{Stage, Trail};
use crate::database::Driver;
use crate::history::{ActorId, TaskId, TaskRecord, Tick};
use crate::lens::fault::{Faulty, Plan};
use crate::lens::gate::Gated;
use crate::lens::mutant::Mutated;
use crate::lens::trace::Trace;

/// A task, and when it should start.
#[derive(Clone, Debug)]
pub struct PlannedTask {
    /// Which one.
    pub id: TaskId,
    /// What it is.
    pub task: Task,
    /// When it should start, from the start of the run.
    pub intended: Duration,
    /// The failure that is put into it.
    pub fault: Option<Plan>,
}

/// The tasks that nobody has begun yet.
#[derive(Debug)]
pub struct Queue {
    tasks: Mutex<VecDeque<PlannedTask>>,
}

impl Queue {
    /// These tasks, in this order.
    pub fn new(tasks: impl IntoIterator<Item = PlannedTask>) -> Self {
        Self { tasks: Mutex::new(tasks.into_iter().collect()) }
    }

    fn next(&self) -> Option<PlannedTask> {
        self.tasks.lock().expect("nobody panics while holding the queue").pop_front()
    }
}

/// Performs `first`, then tasks from the queue until it is empty. The connection is opened before
/// the first task, and again after it was lost.
///
/// # Errors
/// The database cannot be reached.
pub async fn work(
    stage: &Stage,
    actor: ActorId,
    mut driver: Driver,
    first: PlannedTask,
    queue: &Queue,
) -> Result<Trail, DbError> {
    let mut log = stage.log(actor);
    let mut tasks = Vec::new();
    let mut next = Some(first);
    while let Some(planned) = next {
        let early = planned.intended.saturating_sub(stage.clock.elapsed());
        if !early.is_zero() {
            tokio::time::sleep(early).await;
        }
        let started = stage.clock.now();
        let faulty = Faulty::new(&mut driver, planned.fault, &stage.database);
        let traced = Trace::new(faulty, &mut log, Some(planned.id));
        let key = planned.task.identity.customer;
        let gated = Gated::new(traced, &stage.opening, actor, Some(planned.id), key);
        let mut session = Mutated::new(gated, stage.rewrite, planned.id, &stage.altered);
        let result = recompute(&mut session, &planned.task).await;
        let lost = is_lost(&result);
        tasks.push(TaskRecord {
            id: planned.id,
            identity: planned.task.identity,
            actor,
            intended: Tick(u64::try_from(planned.intended.as_nanos()).unwrap_or(u64::MAX)),
            started,
            finished: stage.clock.now(),
            fault: planned.fault.map(|plan| plan.fault),
            result,
        });
        if lost {
            driver = stage.database.connect().await?;
        }
        next = queue.next();
    }
    stage.opening.finished(actor);
    Ok(Trail { entries: log.into_entries(), tasks })
}

/// Whether a task's connection is gone.
pub(crate) fn is_lost<T>(result: &Result<T, TaskError>) -> bool {
    match result {
        Err(TaskError::CommitUnknown(_)) => true,
        Err(TaskError::Database { error, unrecorded, .. }) => {
            let lost = |error: &DbError| error.class == ErrorClass::Lost;
            lost(error) || unrecorded.as_ref().is_some_and(lost)
        }
        _ => false,
    }
}
