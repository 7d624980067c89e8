//! One execution: every actor on a loom thread of its own, and the history that comes of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use drift_engine::claim::CustomerId;
use drift_engine::op::Op;
use drift_engine::protocol::{Recomputed, TaskError, recompute};
use drift_engine::session::{Kind, Session};
use driftlock::history::{
    ActorId, Fault, FinalState, History, Meta, Recheck, Role, StoredEvent, StoredRun, TaskId, TaskRecord, Tick,
};
use driftlock::lens::fault::{Faulty, Plan};
use driftlock::lens::mutant::Mutated;
use driftlock::scenario::data;
use loom::future::block_on;
use loom::thread::{self, JoinHandle};

use super::refusal::{Nobody, Refusals};
use super::shell::{Driver, Record, Seat, Shared};
use super::world::{self, Alone, World};
use driftlock::setting::work::in_the_wrong_order;
use driftlock::setting::{ATTEMPTS_MAX, Setting};

/// The size of a thread's stack: in loom, a coroutine's, in words.
const STACK_WORDS: usize = 32 * 1024;

/// What became of one task, and how many of its operations the mutant altered.
type Ended = (Result<Recomputed, TaskError>, u64);

/// An execution that has ended, not yet looked at.
pub struct Performed {
    record: Record,
    ended: Vec<Ended>,
}

/// Lets every actor do its work, in the order that loom chooses.
pub fn perform(world: &World, setting: &Setting) -> Performed {
    let roles = setting.roles();
    let shared = Shared::new(world.model.clone(), setting.strategy.backend(), roles.len());
    let (mut workers, mut others) = (Vec::new(), Vec::new());
    for (actor, role) in roles {
        let (shared, setting) = (shared.clone(), setting.clone());
        match role {
            Role::Worker => workers.push(spawn(move || work(shared, &setting, actor))),
            Role::Bystander => others.push(spawn(move || insert(shared, actor, setting.claims))),
            Role::Antagonist => others.push(spawn(move || interfere(shared, &setting, actor))),
        }
    }
    let ended = workers.into_iter().map(|worker| worker.join().expect("a panic ends the exploration")).collect();
    for other in others {
        other.join().expect("a panic ends the exploration");
    }
    Performed { record: shared.into_record(), ended }
}

/// Starts a thread of the execution.
pub fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::Builder::new().stack_size(STACK_WORDS).spawn(work).expect("loom has room for it")
}

fn work(shared: Arc<Shared>, setting: &Setting, actor: ActorId) -> Ended {
    let id = TaskId(actor.0);
    let customer = CustomerId(setting.customers[actor.0 as usize]);
    let task = world::task(customer, setting.strategy);
    let seat = Seat { actor, task: Some(id), customer };
    let plan = Plan { before: Kind::Commit, fault: Fault::Fail };
    let executed = AtomicU64::new(0);
    let faulty =
        Faulty::new(Driver::new(shared.clone(), seat), Some(plan).filter(|_| setting.fails == Some(id.0)), &Nobody);
    let mut session = Mutated::new(Refusals::new(faulty, shared, seat), setting.rewrite, id, &executed);
    let result = block_on(recompute(&mut session, &task));
    (result, executed.load(Ordering::Relaxed))
}

fn insert(shared: Arc<Shared>, actor: ActorId, claims: u32) {
    let customer = CustomerId(1);
    let mut session = Driver::new(shared, Seat { actor, task: None, customer });
    for n in 0..claims {
        let claim = Arc::new(data::arriving(world::windows(), 0, n));
        let _ = block_on(session.call(Op::InsertClaim { customer, claim }));
    }
}

/// Takes the run first, then the lock.
fn interfere(shared: Arc<Shared>, setting: &Setting, actor: ActorId) {
    let customer = CustomerId(1);
    let task = world::task(customer, setting.strategy);
    let mut session = Driver::new(shared, Seat { actor, task: None, customer });
    let _ = block_on(in_the_wrong_order(&mut session, &task));
    let _ = block_on(session.call(Op::Rollback));
}

impl Performed {
    /// How many operations the mutant altered.
    pub fn altered(&self) -> u64 {
        self.ended.iter().map(|(_, altered)| altered).sum()
    }

    /// The history, with what one more recompute of each customer finds.
    pub fn into_history(self, world: &World, setting: &Setting) -> History {
        let Self { record, ended } = self;
        let end = finish(&record, setting);
        let meta = Meta {
            scenario: setting.name.to_owned(),
            backend: setting.strategy.backend(),
            strategy: setting.strategy,
            seed: 0,
            max_attempts: ATTEMPTS_MAX,
            actors: setting.roles(),
            base: world.base.clone(),
            released: Tick(0),
        };
        let task = |(number, (result, _)): (usize, Ended)| {
            let id = TaskId(u32::try_from(number).expect("there are a few"));
            let mut own = record.entries.iter().filter(|entry| entry.task == Some(id));
            let started = own.next().map_or(Tick(0), |entry| entry.invoked);
            let finished = own.next_back().map_or(started, |entry| entry.returned);
            let fault = (setting.fails == Some(id.0)).then_some(Fault::Fail);
            let identity = world::identity(CustomerId(setting.customers[number]));
            let actor = ActorId(id.0);
            TaskRecord { id, identity, actor, intended: started, started, finished, fault, result }
        };
        let tasks = ended.into_iter().enumerate().map(task).collect();
        History { meta, entries: record.entries, seen: record.seen, tasks, end }
    }
}

fn finish(record: &Record, setting: &Setting) -> FinalState {
    let committed = record.model.committed();
    let runs = committed.runs.into_iter().map(|run| StoredRun {
        id: run.id,
        identity: run.identity,
        fresh: run.fresh,
        status: run.status,
    });
    let events = committed.events.into_iter().map(|event| StoredEvent {
        customer: event.customer,
        run: event.run,
        signal: event.signal,
    });
    let mut alone = Alone { model: record.model.clone() };
    let customers: BTreeSet<i64> = setting.customers.iter().copied().collect();
    // Without the unique constraint the protocol as it ships cannot run: 42P10.
    let rechecks = customers.into_iter().filter(|_| setting.constrained).map(|customer| {
        let task = world::task(CustomerId(customer), setting.strategy);
        let (result, cells) = alone.recompute(&task);
        Recheck { identity: task.identity, cells, result: result.map(|done| done.changes) }
    });
    FinalState { runs: runs.collect(), events: events.collect(), rechecks: rechecks.collect() }
}
