//! Makes histories without a database: for the twins of the checks and for measuring them.
//!
//! [`Build`] keeps a small model of what a sound database would answer, so that a sound history is
//! written down in a few words, and a broken one differs from it in one place.

mod busy;

use std::collections::BTreeMap;
use std::sync::Arc;

use drift_engine::claim::{Claim, CustomerId, Outcome as ClaimOutcome};
use drift_engine::drift::{Cell, Signal};
use drift_engine::lock::LockStrategy;
use drift_engine::op::{Changes, OnConflict, Op, Opened, Reply};
use drift_engine::policy::{Policy, Window};
use drift_engine::protocol::{Recomputed, TaskError};
use drift_engine::run::{Identity, Run, RunId, Status};
use drift_engine::session::{DbError, ErrorClass, Operation, SessionId};
use jiff::civil::date;

use super::{
    ActorId, Entry, FinalState, History, Meta, Outcome, Recheck, Role, Seen, StoredEvent, StoredRun, TaskId,
    TaskRecord, Tick,
};
use crate::oracle;

pub use busy::busy;

/// The time between two facts, in ticks.
pub const STEP_TICKS: u64 = 1_000;

/// A history in the making. Workers are the actors from 0; bystanders come after them.
#[derive(Clone, Debug)]
pub struct Build {
    history: History,
    now: u64,
    workers: u32,
    base: Vec<Cell>,
    claims: BTreeMap<CustomerId, Vec<Cell>>,
    /// What each task has in its hands.
    work: Vec<Work>,
}

#[derive(Clone, Debug)]
struct Work {
    run: RunId,
    fresh: bool,
    /// What it read last.
    read: Arc<[Cell]>,
    /// What it wrote last.
    written: Option<Arc<[Signal]>>,
    attempts: u32,
}

impl Build {
    /// Starts a history with so many workers and bystanders.
    pub fn new(strategy: LockStrategy, workers: u32, bystanders: u32) -> Self {
        let role = |actor| if actor < workers { Role::Worker } else { Role::Bystander };
        let meta = Meta {
            scenario: "by hand".to_owned(),
            backend: strategy.backend(),
            strategy,
            seed: 0,
            max_attempts: 3,
            actors: (0..workers + bystanders).map(|actor| (ActorId(actor), role(actor))).collect(),
            base: Vec::new(),
            released: Tick(0),
        };
        let history =
            History { meta, entries: Vec::new(), seen: Vec::new(), tasks: Vec::new(), end: FinalState::default() };
        Self { history, now: 0, workers, base: base(1), claims: BTreeMap::new(), work: Vec::new() }
    }

    /// Gives every customer claims of so many payers, four cells each.
    pub fn payers(mut self, payers: u32) -> Self {
        self.base = base(payers);
        self
    }

    /// The next point in time.
    pub fn tick(&mut self) -> Tick {
        self.now += STEP_TICKS;
        Tick(self.now)
    }

    /// Lets time pass.
    pub fn wait(&mut self, ticks: u64) {
        self.now += ticks;
    }

    /// The n-th bystander.
    pub fn bystander(&self, n: u32) -> ActorId {
        ActorId(self.workers + n)
    }

    /// The customer's claims, as a read would show them now.
    pub fn claims(&mut self, customer: i64) -> Arc<[Cell]> {
        let customer = CustomerId(customer);
        let claims = self.claims.entry(customer).or_insert_with(|| {
            self.history.meta.base.push((customer, self.base.clone()));
            self.base.clone()
        });
        claims.as_slice().into()
    }

    /// Starts a task.
    pub fn task(&mut self, worker: u32, customer: i64) -> TaskId {
        let read = self.claims(customer);
        let identity = Identity {
            customer: CustomerId(customer),
            as_of: date(2026, 4, 15),
            policy: Policy::new(90, 14, 10).expect("a policy that makes sense"),
        };
        let (id, now) = (TaskId(self.work.len() as u32), self.tick());
        self.work.push(Work { run: identity.default_run_id(), fresh: false, read, written: None, attempts: 0 });
        let error = refusal(ErrorClass::Other, &Op::Rollback);
        let result = Err(TaskError::Database { error, attempts: 1, unrecorded: None });
        let actor = ActorId(worker);
        let record =
            TaskRecord { id, identity, actor, intended: now, started: now, finished: now, fault: None, result };
        self.history.tasks.push(record);
        id
    }

    /// Gives a task a run of its own.
    pub fn fresh(&mut self, task: TaskId) {
        let work = &mut self.work[task.0 as usize];
        work.run = RunId::new(&format!("fresh-{task}")).expect("a short name");
        work.fresh = true;
    }

    /// A task's record.
    pub fn record(&mut self, task: TaskId) -> &mut TaskRecord {
        &mut self.history.tasks[task.0 as usize]
    }

    /// Sends an operation of an actor.
    pub fn send_as(&mut self, actor: ActorId, task: Option<TaskId>, op: Op) -> usize {
        let invoked = self.tick();
        let outcome = Outcome::Unknown(Box::new(refusal(ErrorClass::Lost, &op)));
        let session = SessionId(i64::from(actor.0));
        self.history.entries.push(Entry { actor, session, task, invoked, returned: Tick(u64::MAX), op, outcome });
        self.history.entries.len() - 1
    }

    /// Sends an operation of a task.
    pub fn send(&mut self, task: TaskId, op: Op) -> usize {
        if matches!(op, Op::Begin { .. }) {
            self.work[task.0 as usize].attempts += 1;
        }
        self.send_as(self.history.tasks[task.0 as usize].actor, Some(task), op)
    }

    /// Answers an operation.
    pub fn answer(&mut self, entry: usize, reply: Reply) {
        let now = self.tick();
        let entry = &mut self.history.entries[entry];
        entry.returned = now;
        entry.outcome = Outcome::Ok(reply);
        let Op::InsertClaim { customer, .. } = entry.op else { return };
        let actor = entry.actor;
        let place = arrival(actor);
        let claims = self.claims.get_mut(&customer).expect("the customer has claims");
        match claims.iter_mut().find(|cell| cell.payer == place.payer) {
            Some(cell) => cell.count += 1,
            None => claims.push(place),
        }
    }

    /// Refuses an operation.
    pub fn refuse(&mut self, entry: usize, class: ErrorClass) -> DbError {
        let now = self.tick();
        let entry = &mut self.history.entries[entry];
        entry.returned = now;
        let error = refusal(class, &entry.op);
        entry.outcome = match class {
            ErrorClass::Lost => Outcome::Unknown(Box::new(error.clone())),
            _ => Outcome::Failed(Box::new(error.clone())),
        };
        error
    }

    /// Sends an operation of a task and answers it.
    pub fn call(&mut self, task: TaskId, op: Op, reply: Reply) -> usize {
        let entry = self.send(task, op);
        self.answer(entry, reply);
        entry
    }

    /// The customer of a task.
    pub fn customer(&self, task: TaskId) -> CustomerId {
        self.history.tasks[task.0 as usize].identity.customer
    }

    /// Begins, and asks for the lock; where there is none, only begins. What it returns is
    /// answered by [`Build::grant`].
    pub fn ask(&mut self, task: TaskId) -> Option<usize> {
        let strategy = self.history.meta.strategy;
        if strategy == LockStrategy::Immediate {
            return Some(self.send(task, strategy.begin()));
        }
        self.call(task, strategy.begin(), Reply::Done);
        let lock = strategy.lock(self.customer(task))?;
        Some(self.send(task, lock))
    }

    /// Grants a lock that was asked for.
    pub fn grant(&mut self, asked: Option<usize>) {
        if let Some(entry) = asked {
            let reply = match self.history.entries[entry].op {
                Op::Lock(_) => Reply::Locked(true),
                _ => Reply::Done,
            };
            self.answer(entry, reply);
        }
    }

    /// Begins and takes the lock.
    pub fn enter(&mut self, task: TaskId) {
        let asked = self.ask(task);
        self.grant(asked);
    }

    /// Opens the run.
    pub fn open(&mut self, task: TaskId) -> usize {
        let identity = self.history.tasks[task.0 as usize].identity;
        let Work { run, fresh, .. } = self.work[task.0 as usize].clone();
        let opened = Opened { run: Run { id: run.clone(), status: Status::Running }, same: true };
        self.call(task, Op::OpenRun { identity, id: run, fresh }, Reply::Opened(Some(opened)))
    }

    /// Reads these claims.
    pub fn read_of(&mut self, task: TaskId, claims: Arc<[Cell]>) -> usize {
        let identity = self.history.tasks[task.0 as usize].identity;
        let windows = identity.windows().expect("in the calendar");
        self.work[task.0 as usize].read = claims.clone();
        self.call(task, Op::ReadClaims { customer: identity.customer, windows }, Reply::Claims(claims))
    }

    /// Reads the claims as they are now.
    pub fn read(&mut self, task: TaskId) -> usize {
        let claims = self.claims(self.customer(task).0);
        self.read_of(task, claims)
    }

    /// Writes these events.
    pub fn write_of(&mut self, task: TaskId, signals: Arc<[Signal]>) -> usize {
        let identity = self.history.tasks[task.0 as usize].identity;
        let windows = identity.windows().expect("in the calendar");
        let work = &mut self.work[task.0 as usize];
        let (run, count) = (work.run.clone(), signals.len() as u64);
        work.written = Some(signals.clone());
        let on_conflict = OnConflict::Update;
        let op = Op::WriteEvents { customer: identity.customer, run, windows, signals, on_conflict };
        self.call(task, op, Reply::Written(Changes { inserted: count, ..Changes::default() }))
    }

    /// Writes what follows from the last read.
    pub fn write(&mut self, task: TaskId) -> usize {
        let signals = oracle::signals_of_cells(&self.work[task.0 as usize].read, 10);
        self.write_of(task, signals.into())
    }

    /// Opens, reads, writes, closes.
    pub fn work(&mut self, task: TaskId) {
        self.open(task);
        self.read(task);
        self.write(task);
        let run = self.work[task.0 as usize].run.clone();
        self.call(task, Op::CloseRun { run }, Reply::Done);
    }

    /// Commits, and reports success.
    pub fn commit(&mut self, task: TaskId) -> usize {
        let entry = self.call(task, Op::Commit, Reply::Committed);
        self.publish(task);
        self.succeed(task);
        entry
    }

    /// Makes what a task wrote the events of its run.
    pub fn publish(&mut self, task: TaskId) {
        let work = &self.work[task.0 as usize];
        let identity = self.history.tasks[task.0 as usize].identity;
        let end = &mut self.history.end;
        if !end.runs.iter().any(|run| run.id == work.run) {
            let (id, fresh) = (work.run.clone(), work.fresh);
            end.runs.push(StoredRun { id, identity, fresh, status: Status::Succeeded });
        }
        let Some(signals) = &work.written else { return };
        end.events.retain(|event| event.run != work.run);
        let stored = |signal: &Signal| StoredEvent {
            customer: identity.customer,
            run: work.run.clone(),
            signal: signal.clone(),
        };
        end.events.extend(signals.iter().map(stored));
    }

    /// Reports a task's success.
    pub fn succeed(&mut self, task: TaskId) {
        let work = self.work[task.0 as usize].clone();
        let finished = self.tick();
        let events = work.written.map_or(0, |signals| signals.len());
        let (changes, attempts) = (Changes::default(), work.attempts);
        let record = self.record(task);
        record.finished = finished;
        record.result = Ok(Recomputed { run: work.run, events, changes, attempts });
    }

    /// Reports a task's failure.
    pub fn fail(&mut self, task: TaskId, error: DbError) {
        let attempts = self.work[task.0 as usize].attempts;
        let finished = self.tick();
        let record = self.record(task);
        record.finished = finished;
        record.result = Err(TaskError::Database { error, attempts, unrecorded: None });
    }

    /// Performs a whole task, alone.
    pub fn run(&mut self, task: TaskId) {
        self.enter(task);
        self.work(task);
        self.commit(task);
    }

    /// Sends a bystander's claim.
    pub fn send_claim(&mut self, bystander: u32, customer: i64) -> usize {
        let actor = self.bystander(bystander);
        let submitted_on = date(2026, 4, 10);
        let Cell { payer, cpt_group, .. } = arrival(actor);
        let claim = Claim { payer, cpt_group, outcome: "PAID".into(), submitted_on, decided_on: None };
        self.send_as(actor, None, Op::InsertClaim { customer: CustomerId(customer), claim: claim.into() })
    }

    /// Inserts a bystander's claim.
    pub fn insert(&mut self, bystander: u32, customer: i64) -> usize {
        let entry = self.send_claim(bystander, customer);
        self.answer(entry, Reply::Done);
        entry
    }

    /// Notes what was observed.
    pub fn see(&mut self, seen: Seen) {
        self.history.seen.push(seen);
    }

    /// Notes the server's word on who waits for whom.
    pub fn see_waits(&mut self, waits: &[(u32, &[u32])]) {
        let waits = waits.iter().map(|(waiter, by)| (ActorId(*waiter), by.iter().copied().map(ActorId).collect()));
        let (waits, from, until) = (waits.collect(), self.tick(), self.tick());
        self.see(Seen::Waits { from, until, waits });
    }

    /// Notes that a worker was held before COMMIT, from `from` until now.
    pub fn see_hold(&mut self, task: TaskId, from: Tick) {
        let (actor, key, until) = (self.history.tasks[task.0 as usize].actor, self.customer(task), self.tick());
        self.see(Seen::Hold { actor, key, before: Op::Commit.kind(), from, until });
    }

    /// Ends the history: everything is quiet, and one more recompute changes nothing.
    pub fn finish(mut self) -> History {
        let mut identities: Vec<Identity> = self.history.tasks.iter().map(|record| record.identity).collect();
        identities.sort();
        identities.dedup();
        for identity in identities {
            let cells = self.claims(identity.customer.0).to_vec();
            self.history.end.rechecks.push(Recheck { identity, cells, result: Ok(Changes::default()) });
        }
        self.history
    }
}

/// The claims that every customer has at the start: for each payer one group that drifts, and one
/// that does not.
fn base(payers: u32) -> Vec<Cell> {
    let cell = |payer: u32, cpt_group: &str, window, outcome| Cell {
        payer: format!("acme-{payer:02}").into(),
        cpt_group: cpt_group.into(),
        window,
        outcome,
        decision_days: Some(5),
        count: 40,
    };
    let of_payer = |payer| {
        [
            cell(payer, "lab", Window::Baseline, ClaimOutcome::Paid),
            cell(payer, "lab", Window::Current, ClaimOutcome::Paid),
            cell(payer, "mri", Window::Baseline, ClaimOutcome::Paid),
            cell(payer, "mri", Window::Current, ClaimOutcome::Denied),
        ]
    };
    (0..payers).flat_map(of_payer).collect()
}

/// Where a bystander's claims are counted: in a cell of its own.
fn arrival(actor: ActorId) -> Cell {
    Cell {
        payer: format!("bystander-{actor}").into(),
        cpt_group: "lab".into(),
        window: Window::Current,
        outcome: ClaimOutcome::Paid,
        decision_days: None,
        count: 1,
    }
}

fn refusal(class: ErrorClass, op: &Op) -> DbError {
    DbError { class, code: None, message: "by hand".to_owned(), during: op.kind() }
}
