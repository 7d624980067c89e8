//! What each actor of a setting does in one execution, and the history that comes of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use drift_engine::claim::CustomerId;
use drift_engine::drift::Cell;
use drift_engine::op::Op;
use drift_engine::protocol::{Recomputed, TaskError, recompute};
use drift_engine::session::{DbError, ErrorClass, Kind, Session, SessionId};

use super::super::world::Lost;
use super::gate::Gate;
use super::looking::{Closing, Looking};
use crate::clock::Clock;
use crate::database::{Database, Driver};
use crate::history::{ActorId, Entry, Fault, FinalState, History, Meta, Role, Seen, TaskId, TaskRecord, Tick};
use crate::lens::fault::{Faulty, Plan, Terminate};
use crate::lens::gate::Gated;
use crate::lens::mutant::Mutated;
use crate::lens::trace::{Log, Trace};
use crate::recheck::recheck;
use crate::scenario::data;
use crate::setting::work::{identity, in_the_wrong_order, task, windows};
use crate::setting::{ATTEMPTS_MAX, Setting};

/// What an actor leaves.
pub(super) struct Performed {
    pub entries: Vec<Entry>,
    /// Of a worker.
    pub result: Option<Result<Recomputed, TaskError>>,
    pub altered: u64,
}

/// No session is ended from outside here.
struct Nobody;

impl Terminate for Nobody {
    async fn terminate(&self, _: SessionId) -> Result<(), DbError> {
        let message = "no setting ends a session".to_owned();
        Err(DbError { class: ErrorClass::Other, code: None, message, during: Kind::Begin })
    }
}

/// Does what an actor is there for.
pub(super) async fn perform(
    gate: Arc<Gate>,
    clock: Clock,
    setting: Setting,
    actor: ActorId,
    role: Role,
    mut driver: Driver,
    closing: Arc<Closing>,
) -> (Driver, Performed) {
    let mut log = Log::new(actor, clock);
    let mut looking = Looking::begin(&mut driver, &closing).await;
    let altered = AtomicU64::new(0);
    let mut result = None;
    match role {
        Role::Worker => {
            let id = TaskId(actor.0);
            let customer = CustomerId(setting.customers[actor.0 as usize]);
            let task = task(customer, setting.strategy);
            let plan = Plan { before: Kind::Commit, fault: Fault::Fail };
            let faulty = Faulty::new(&mut looking, Some(plan).filter(|_| setting.fails == Some(id.0)), &Nobody);
            let gated = Gated::new(Trace::new(faulty, &mut log, Some(id)), &*gate, actor, Some(id), customer);
            let mut session = Mutated::new(gated, setting.rewrite, id, &altered);
            result = Some(recompute(&mut session, &task).await);
        }
        Role::Bystander => {
            let customer = CustomerId(1);
            let mut session = Gated::new(Trace::new(&mut looking, &mut log, None), &*gate, actor, None, customer);
            for n in 0..setting.claims {
                let claim = Arc::new(data::arriving(windows(), 0, n));
                let _ = session.call(Op::InsertClaim { customer, claim }).await;
            }
        }
        Role::Antagonist => {
            let customer = CustomerId(1);
            let mut session = Gated::new(Trace::new(&mut looking, &mut log, None), &*gate, actor, None, customer);
            let _ = in_the_wrong_order(&mut session, &task(customer, setting.strategy)).await;
            let _ = session.call(Op::Rollback).await;
        }
    }
    gate.ended(actor);
    (driver, Performed { entries: log.into_entries(), result, altered: altered.load(Ordering::Relaxed) })
}

/// The history of an execution, with what one more recompute of each customer finds.
pub(super) async fn history(
    setting: &Setting,
    base: &[(CustomerId, Vec<Cell>)],
    database: &Database,
    checker: &mut Driver,
    seen: Vec<Seen>,
    performed: Vec<(ActorId, Role, Performed)>,
) -> Result<History, Lost> {
    let end = finish(setting, database, checker).await?;
    let mut history = History {
        meta: Meta {
            scenario: setting.name.to_owned(),
            backend: setting.strategy.backend(),
            strategy: setting.strategy,
            seed: 0,
            max_attempts: ATTEMPTS_MAX,
            actors: setting.roles(),
            base: base.to_vec(),
            released: Tick(0),
        },
        entries: Vec::new(),
        seen,
        tasks: Vec::new(),
        end,
    };
    for (actor, role, done) in performed {
        if let (Role::Worker, Some(result)) = (role, done.result) {
            let id = TaskId(actor.0);
            let started = done.entries.first().map_or(Tick(0), |entry| entry.invoked);
            let finished = done.entries.last().map_or(started, |entry| entry.returned);
            let fault = (setting.fails == Some(id.0)).then_some(Fault::Fail);
            let identity = identity(CustomerId(setting.customers[actor.0 as usize]));
            history.tasks.push(TaskRecord { id, identity, actor, intended: started, started, finished, fault, result });
        }
        history.entries.extend(done.entries);
    }
    history.entries.sort_by_key(|entry| (entry.invoked, entry.returned, entry.actor));
    Ok(history)
}

async fn finish(setting: &Setting, database: &Database, checker: &mut Driver) -> Result<FinalState, Lost> {
    let (runs, events) = database.stored().await?;
    let customers: BTreeSet<i64> = setting.customers.iter().copied().collect();
    let mut rechecks = Vec::new();
    // Without the unique constraint the protocol as it ships cannot run: 42P10.
    for customer in customers.into_iter().filter(|_| setting.constrained) {
        let task = task(CustomerId(customer), setting.strategy);
        rechecks.push(recheck(&mut *checker, &task, &Clock::start()).await);
    }
    Ok(FinalState { runs, events, rechecks })
}
