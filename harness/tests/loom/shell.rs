//! The loom session: a mutex and a condition variable around the model.
//!
//! Each operation is atomic but for its waits: one acquisition of the mutex, under which the model is
//! asked, the clock goes on and the record is written. So loom's choices are exactly who comes next.

use std::collections::BTreeSet;
use std::sync::Arc;

use drift_engine::claim::CustomerId;
use drift_engine::lock::Backend;
use drift_engine::op::{Isolation, Lock, Op, Reply, Scope, Strength, Wait};
use drift_engine::session::{DbError, Operation, Session, SessionId};
use driftlock::history::{ActorId, Entry, Outcome, Seen, TaskId, Tick};
use driftlock::model::{Model, Progress};
use loom::sync::{Condvar, Mutex};

/// Whoever probes a copy of the model.
const PROBE: SessionId = SessionId(2_000);

/// One database, shared by the threads of an execution.
pub struct Shared {
    state: Mutex<Record>,
    /// One for each actor: whoever cannot go on is not woken.
    changed: Vec<Condvar>,
}

/// The database, and what has happened to it.
pub struct Record {
    pub model: Model,
    pub entries: Vec<Entry>,
    pub seen: Vec<Seen>,
    backend: Backend,
    now: u64,
    /// Who waits.
    waiting: BTreeSet<SessionId>,
    /// Those of them who have been told that they can go on.
    woken: BTreeSet<SessionId>,
}

impl Shared {
    pub fn new(model: Model, backend: Backend, actors: usize) -> Arc<Self> {
        let (waiting, woken) = (BTreeSet::new(), BTreeSet::new());
        let record = Record { model, entries: Vec::new(), seen: Vec::new(), backend, now: 0, waiting, woken };
        let changed = (0..actors).map(|_| Condvar::new()).collect();
        Arc::new(Self { state: Mutex::new(record), changed })
    }

    fn notify(&self, woken: &[SessionId]) {
        for session in woken {
            self.changed[actor(*session).0 as usize].notify_one();
        }
    }

    /// Takes the record, when all threads have ended.
    pub fn into_record(self: Arc<Self>) -> Record {
        let shared = Arc::into_inner(self).expect("every thread has ended");
        shared.state.into_inner().expect("nobody panicked")
    }

    /// Records an operation that a lens refused before it came to the database.
    pub fn refused(&self, driver: &Seat, op: Op, error: &DbError) {
        let mut record = self.state.lock().expect("nobody panicked");
        let entry = record.invoke(driver, op);
        record.close(entry, &Err(error.clone()));
    }
}

/// Who sends, for which task, about whom.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    pub actor: ActorId,
    pub task: Option<TaskId>,
    pub customer: CustomerId,
}

impl Seat {
    pub fn session(&self) -> SessionId {
        SessionId(i64::from(self.actor.0))
    }
}

/// A session on the shared database.
pub struct Driver {
    shared: Arc<Shared>,
    seat: Seat,
}

impl Driver {
    pub fn new(shared: Arc<Shared>, seat: Seat) -> Self {
        Self { shared, seat }
    }

    /// Carries out an operation, and returns when it has ended.
    fn carry_out(&self, op: Op) -> Result<Reply, DbError> {
        let (shared, session) = (&self.shared, self.seat.session());
        let mut record = shared.state.lock().expect("nobody panicked");
        if matches!(op, Op::Commit) && self.seat.task.is_some() {
            record.look_before_commit(&self.seat);
        }
        let entry = record.invoke(&self.seat, op);
        let op = record.entries[entry].op.clone();
        let mut progress = record.model.submit(session, &op);
        let result = loop {
            match progress {
                Progress::Done(result) => break result,
                Progress::Waits if record.model.deadlock().contains(&session) => {
                    break Err(record.model.abort_victim(session));
                }
                Progress::Waits => {}
            }
            record.waiting.insert(session);
            record.sample();
            let woken = record.wake();
            shared.notify(&woken);
            record = shared.changed[self.seat.actor.0 as usize].wait(record).expect("nobody panicked");
            record.waiting.remove(&session);
            record.woken.remove(&session);
            progress = record.model.poll(session);
        };
        record.close(entry, &result);
        let woken = record.wake();
        drop(record);
        shared.notify(&woken);
        result
    }
}

impl Session for Driver {
    type Op = Op;
    type Reply = Reply;

    fn id(&self) -> SessionId {
        self.seat.session()
    }

    async fn call(&mut self, op: Op) -> Result<Reply, DbError> {
        let pauses = matches!(op, Op::Pause(_));
        let result = self.carry_out(op);
        if pauses {
            loom::thread::yield_now();
        }
        result
    }
}

impl Record {
    fn tick(&mut self) -> Tick {
        self.now += 1;
        Tick(self.now)
    }

    fn invoke(&mut self, seat: &Seat, op: Op) -> usize {
        let invoked = self.tick();
        let Seat { actor, task, .. } = *seat;
        let outcome = Outcome::Ok(Reply::Done);
        let session = seat.session();
        self.entries.push(Entry { actor, session, task, invoked, returned: Tick(u64::MAX), op, outcome });
        self.entries.len() - 1
    }

    fn close(&mut self, entry: usize, result: &Result<Reply, DbError>) {
        let returned = self.tick();
        let entry = &mut self.entries[entry];
        entry.returned = returned;
        entry.outcome = match result {
            Ok(reply) => Outcome::Ok(reply.clone()),
            Err(error) => Outcome::Failed(Box::new(error.clone())),
        };
    }

    /// Those whom the last step let go on.
    fn wake(&mut self) -> Vec<SessionId> {
        let can = |session: &&SessionId| self.model.can_advance(**session) && !self.woken.contains(session);
        let woken: Vec<SessionId> = self.waiting.iter().filter(can).copied().collect();
        self.woken.extend(&woken);
        woken
    }

    /// Before a task's COMMIT: whether it was held up there, and whether its lock is taken.
    fn look_before_commit(&mut self, seat: &Seat) {
        let Seat { actor, customer, .. } = *seat;
        let last = self.entries.iter().rev().find(|entry| entry.actor == actor).map(|entry| entry.returned);
        let from = self.tick();
        let held = lock_is_taken(&self.model, self.backend, &self.entries, seat);
        let until = self.tick();
        self.seen.push(Seen::Probe { from, until, key: customer, holder: actor, held });
        if let Some(last) = last.filter(|last| last.0 + 1 < from.0) {
            self.seen.push(Seen::Hold { actor, key: customer, before: Op::Commit.kind(), from: last, until });
        }
    }

    /// The database's word on who waits for whom.
    fn sample(&mut self) {
        let from = self.tick();
        let mut waits = Vec::new();
        for waiter in self.waiting.iter().filter(|waiter| !self.model.can_advance(**waiter)) {
            let blockers: Vec<ActorId> = match self.backend {
                Backend::Postgres => self.idle().filter(|idle| self.holds_up(*idle, *waiter)).map(actor).collect(),
                // SQLite names nobody.
                Backend::Sqlite => Vec::new(),
            };
            waits.push((actor(*waiter), blockers));
        }
        let until = self.tick();
        self.seen.push(Seen::Waits { from, until, waits });
    }

    /// The sessions that have been used, and do not wait.
    fn idle(&self) -> impl Iterator<Item = SessionId> {
        let all: BTreeSet<SessionId> = self.entries.iter().map(|entry| entry.session).collect();
        all.into_iter().filter(|session| !self.waiting.contains(session))
    }

    /// Whether `waiter` would go on if `holder` ended its transaction, and everybody let go on by that
    /// ended theirs.
    fn holds_up(&self, holder: SessionId, waiter: SessionId) -> bool {
        let mut model = self.model.clone();
        model.submit(holder, &Op::Rollback);
        let mut others: Vec<SessionId> = self.waiting.iter().copied().filter(|other| *other != waiter).collect();
        while !model.can_advance(waiter) {
            let Some(next) = others.iter().position(|other| model.can_advance(*other)) else { return false };
            let next = others[next];
            if matches!(model.poll(next), Progress::Done(_)) {
                others.retain(|other| *other != next);
                model.submit(next, &Op::Rollback);
            }
        }
        true
    }
}

fn actor(session: SessionId) -> ActorId {
    ActorId(u32::try_from(session.0).expect("a session has its actor's number"))
}

/// Whether another connection that asks for the customer's lock does not get it. It asks a copy.
fn lock_is_taken(model: &Model, backend: Backend, entries: &[Entry], seat: &Seat) -> bool {
    let mut copy = model.clone();
    let is_advisory = |entry: &Entry| {
        let Op::Lock(Lock::Advisory { customer, .. }) = entry.op else { return false };
        entry.actor == seat.actor && customer == seat.customer
    };
    let advisory = entries.iter().any(is_advisory);
    let (begin, ask) = match backend {
        Backend::Sqlite => (None, Op::Begin { isolation: Isolation::ReadCommitted, immediate: true }),
        Backend::Postgres => {
            let lock = match advisory {
                true => Lock::Advisory { customer: seat.customer, scope: Scope::Transaction },
                false => Lock::Row { customer: seat.customer, strength: Strength::NoKeyUpdate, wait: Wait::NoWait },
            };
            (Some(Op::Begin { isolation: Isolation::ReadCommitted, immediate: false }), Op::Lock(lock))
        }
    };
    if let Some(begin) = begin {
        copy.submit(PROBE, &begin);
    }
    !matches!(copy.submit(PROBE, &ask), Progress::Done(Ok(_)))
}
