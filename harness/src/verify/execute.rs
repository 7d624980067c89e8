//! Runs one case and records it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use drift_engine::claim::CustomerId;
use drift_engine::drift::Cell;
use drift_engine::protocol::{Retry, Task};
use drift_engine::run::Identity;
use drift_engine::session::{Connect, DbError};
use tokio::task::JoinSet;

use super::plan::Case;
use crate::actor::worker::{PlannedTask, Queue};
use crate::actor::{Stage, Trail, antagonist, bystander, worker};
use crate::clock::Clock;
use crate::database::Database;
use crate::history::{ActorId, FinalState, History, Meta, Role};
use crate::mutant::{SchemaChange, Stance};
use crate::recheck::recheck;
use crate::scenario::data;
use crate::schedule::opening::Opening;

/// A case that was run.
#[derive(Debug)]
pub struct Executed {
    /// What happened.
    pub history: History,
    /// Why the arranged contention was given up, if it was.
    pub gave_up: Option<String>,
    /// How many operations the mutant altered.
    pub altered: u64,
}

/// Runs a case on a database that holds the scenario's data, whose claims are counted in `base`.
///
/// Cancellation: dropping the future ends every actor; the database must then be dropped.
///
/// # Errors
/// The database is lost, or cannot be asked.
pub async fn execute(
    case: &Case<'_>,
    database: Database,
    base: Vec<(CustomerId, Vec<Cell>)>,
) -> Result<Executed, DbError> {
    if let Some(Stance::Runs { schema: Some(SchemaChange::DropConstraint), .. }) =
        case.mutant.map(|mutant| mutant.on(case.backend))
    {
        database.drop_constraint().await?;
    }
    let (roles, tasks, clock) = (case.roles(), case.tasks(), Clock::start());
    let identities = identities(&tasks);
    let stage = Arc::new(Stage {
        database: database.clone(),
        opening: Opening::new(case.opening(), roles.clone(), clock.clone()),
        clock,
        rewrite: case.mutant.map(|mutant| mutant.rewrite),
        altered: AtomicU64::new(0),
    });
    let mut watcher = database.watcher(case.strategy).await?;
    let mut actors = launch(case, &stage, &roles, tasks).await?;
    let joining = async {
        let mut trails = Vec::new();
        while let Some(trail) = actors.join_next().await {
            trails.push(trail.expect("an actor neither panics nor is aborted")?);
        }
        Ok(trails)
    };
    let (conducted, trails) = tokio::try_join!(stage.opening.conduct(&mut watcher), joining)?;
    let end = finish(case, &stage, &identities).await?;
    let mut history = History {
        meta: Meta {
            scenario: case.scenario.name.clone(),
            backend: case.backend,
            strategy: case.strategy,
            seed: case.seed,
            max_attempts: case.scenario.tasks.max_attempts,
            actors: roles,
            base,
            released: conducted.released,
        },
        entries: Vec::with_capacity(trails.iter().map(|trail| trail.entries.len()).sum()),
        seen: conducted.seen,
        tasks: Vec::new(),
        end,
    };
    for Trail { entries, tasks } in trails {
        history.entries.extend(entries);
        history.tasks.extend(tasks);
    }
    history.entries.sort_by_key(|entry| (entry.invoked, entry.returned, entry.actor));
    history.tasks.sort_by_key(|task| task.id);
    Ok(Executed { history, gave_up: conducted.gave_up, altered: stage.altered.load(Ordering::Relaxed) })
}

/// Connects every actor, then starts them all.
async fn launch(
    case: &Case<'_>,
    stage: &Arc<Stage>,
    roles: &BTreeMap<ActorId, Role>,
    tasks: Vec<PlannedTask>,
) -> Result<JoinSet<Result<Trail, DbError>>, DbError> {
    let held = tasks.first().map(|planned| planned.task.clone()).expect("a scenario has a task");
    let mut tasks = tasks.into_iter();
    let first: Vec<PlannedTask> = tasks.by_ref().take(case.scenario.tasks.workers as usize).collect();
    let queue = Arc::new(Queue::new(tasks));
    let mut drivers = Vec::new();
    for role in roles.values() {
        drivers.push(match role {
            Role::Antagonist => stage.database.connect_patiently().await?,
            Role::Worker | Role::Bystander => stage.database.connect().await?,
        });
    }
    let windows = case.scenario.data.windows().expect("a scenario's windows are in the calendar");
    let (mut first, mut writer, mut actors) = (first.into_iter(), 0, JoinSet::new());
    for ((actor, role), driver) in roles.iter().map(|(actor, role)| (*actor, *role)).zip(drivers) {
        let (stage, queue) = (stage.clone(), queue.clone());
        match role {
            Role::Worker => {
                let first = first.next().expect("there are at least as many tasks as workers");
                actors.spawn(async move { worker::work(&stage, actor, driver, first, &queue).await });
            }
            Role::Bystander => {
                let claims = case.scenario.arrivals.map_or(0, |arrivals| arrivals.claims_per_writer);
                let claims = (0..claims).map(move |n| data::arriving(windows, writer, n));
                writer += 1;
                actors.spawn(async move { Ok(bystander::insert(&stage, actor, driver, CustomerId(1), claims).await) });
            }
            Role::Antagonist => {
                let held = held.clone();
                actors.spawn(async move { Ok(antagonist::interfere(&stage, actor, driver, &held).await) });
            }
        }
    }
    Ok(actors)
}

/// Each identity once, as its first task has it.
fn identities(tasks: &[PlannedTask]) -> Vec<Task> {
    let mut first: BTreeMap<Identity, &Task> = BTreeMap::new();
    for planned in tasks {
        first.entry(planned.task.identity).or_insert(&planned.task);
    }
    first.into_values().cloned().collect()
}

/// Reads what is left, then recomputes each identity once more, with the protocol as it ships.
async fn finish(case: &Case<'_>, stage: &Stage, tasks: &[Task]) -> Result<FinalState, DbError> {
    let (runs, events) = stage.database.stored().await?;
    let mut driver = stage.database.connect().await?;
    let mut rechecks = Vec::new();
    // Without the unique constraint the protocol as it ships cannot run: 42P10.
    let skip = matches!(
        case.mutant.map(|mutant| mutant.on(case.backend)),
        Some(Stance::Runs { schema: Some(SchemaChange::DropConstraint), .. })
    );
    for task in tasks.iter().filter(|_| !skip) {
        let task = Task { retry: Retry { seed: 0, ..task.retry }, ..task.clone() };
        rechecks.push(recheck(&mut driver, &task, &stage.clock).await);
    }
    Ok(FinalState { runs, events, rechecks })
}
