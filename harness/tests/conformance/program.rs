//! Programs: what each of two or three sessions sends, and in which order they take turns.
//!
//! Operations are drawn as small numbers, so that they collide and shrink well; [`Keys`] makes them
//! the engine's operations on keys that no other program uses.

use std::sync::Arc;

use drift_engine::claim::{Claim, CustomerId};
use drift_engine::drift::{DriftType, Signal};
use drift_engine::lock::Backend;
use drift_engine::op::{Isolation, Lock, OnConflict, Op, Scope, Strength, Wait};
use drift_engine::policy::Policy;
use drift_engine::run::{Identity, RunId};
use jiff::civil::date;
use proptest::collection::vec;
use proptest::prelude::*;

/// The customers of a program. The last one does not exist.
pub const CUSTOMERS: i64 = 3;
/// The names of runs that a program uses.
pub const RUNS: u8 = 3;
/// The longest list of operations of one session, as the issue has it.
const OPS_MAX: usize = 8;

/// One operation of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Begin {
        isolation: Isolation,
        immediate: bool,
    },
    Commit,
    Rollback,
    Savepoint,
    RollbackTo,
    /// Also where there is no savepoint to go back to.
    RollbackToAnyway,
    LockRow {
        customer: i64,
        strength: Strength,
        wait: Wait,
    },
    LockAdvisory {
        customer: i64,
        scope: Scope,
    },
    Unlock {
        customer: i64,
    },
    OpenRun {
        identity: u8,
        run: u8,
        fresh: bool,
    },
    FailRun {
        identity: u8,
        run: u8,
        fresh: bool,
    },
    CloseRun {
        run: u8,
    },
    WriteEvents {
        run: u8,
        values: [u8; 2],
        on_conflict: OnConflict,
    },
    ReadEvents {
        run: u8,
    },
    ReadClaims {
        customer: i64,
    },
    InsertClaim {
        customer: i64,
    },
}

/// A program, as it is drawn.
#[derive(Clone, Debug)]
pub struct Program {
    /// What is there before: 0 nothing, then ever more.
    pub there: u8,
    /// What each session sends.
    pub sessions: Vec<Vec<Act>>,
    /// Whose turn it is, counted among those that have something left.
    pub turns: Vec<u8>,
}

impl Program {
    /// What the first session does before the others begin.
    pub fn prologue(&self) -> Vec<Act> {
        let write = |values| Act::WriteEvents { run: 0, values, on_conflict: OnConflict::Update };
        let open = Act::OpenRun { identity: 0, run: 0, fresh: false };
        match self.there {
            0 => vec![],
            1 => vec![open],
            2 => vec![open, write([1, 0])],
            3 => vec![open, write([1, 1])],
            _ => vec![open, write([1, 1]), Act::CloseRun { run: 0 }],
        }
    }

    /// The operations in the order in which they are sent; an operation that has no place where it
    /// stands (BEGIN inside a transaction, SAVEPOINT outside) is left out, because it is not modelled.
    pub fn steps(&self) -> Vec<(usize, Act)> {
        let mut left: Vec<std::collections::VecDeque<Act>> =
            self.sessions.iter().map(|acts| acts.iter().copied().collect()).collect();
        let (mut is_open, mut has_savepoint) = (vec![false; left.len()], vec![false; left.len()]);
        let mut steps = Vec::new();
        let mut turns = self.turns.iter().copied().chain(std::iter::repeat(0));
        loop {
            let able: Vec<usize> = (0..left.len()).filter(|session| !left[*session].is_empty()).collect();
            if able.is_empty() {
                return steps;
            }
            let session = able[usize::from(turns.next().unwrap_or(0)) % able.len()];
            let Some(act) = left[session].pop_front() else { continue };
            match act {
                Act::Begin { .. } if is_open[session] => continue,
                Act::Savepoint if !is_open[session] => continue,
                // Mostly an error that leaves nothing to be done by the rest.
                Act::RollbackTo if !has_savepoint[session] => continue,
                Act::Begin { .. } => is_open[session] = true,
                Act::Savepoint => has_savepoint[session] = true,
                Act::Commit | Act::Rollback => (is_open[session], has_savepoint[session]) = (false, false),
                _ => {}
            }
            steps.push((session, act));
        }
    }
}

/// The keys of one program.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// Its number.
    pub number: i64,
}

impl Keys {
    pub fn customer(self, customer: i64) -> CustomerId {
        // The one that does not exist has a number that nobody ever gets.
        CustomerId(if customer + 1 < CUSTOMERS { self.number * (CUSTOMERS - 1) + customer + 1 } else { -1 })
    }

    /// The customers that exist.
    pub fn customers(self) -> Vec<CustomerId> {
        (0..CUSTOMERS - 1).map(|customer| self.customer(customer)).collect()
    }

    pub fn run(self, run: u8) -> RunId {
        RunId::new(&format!("{}.{run}", self.number)).expect("short, and without a NUL")
    }

    pub fn runs(self) -> Vec<RunId> {
        (0..RUNS).map(|run| self.run(run)).collect()
    }

    /// Identities 0 and 2 are of the first customer, 1 of the second, 3 of nobody.
    fn identity(self, identity: u8) -> Identity {
        let customer = self.customer(match identity {
            0 | 2 => 0,
            1 => 1,
            _ => CUSTOMERS - 1,
        });
        let policy = Policy::new(90, 14, if identity == 2 { 31 } else { 30 }).expect("sound numbers");
        Identity { customer, as_of: date(2026, 4, 15), policy }
    }

    /// An operation as it is sent.
    pub fn op(self, act: Act) -> Op {
        match act {
            Act::Begin { isolation, immediate } => Op::Begin { isolation, immediate },
            Act::Commit => Op::Commit,
            Act::Rollback => Op::Rollback,
            Act::Savepoint => Op::Savepoint,
            Act::RollbackTo | Act::RollbackToAnyway => Op::RollbackTo,
            Act::LockRow { customer, strength, wait } => {
                Op::Lock(Lock::Row { customer: self.customer(customer), strength, wait })
            }
            Act::LockAdvisory { customer, scope } => {
                Op::Lock(Lock::Advisory { customer: self.customer(customer), scope })
            }
            Act::Unlock { customer } => Op::Unlock { customer: self.customer(customer) },
            Act::OpenRun { identity, run, fresh } => {
                Op::OpenRun { identity: self.identity(identity), id: self.run(run), fresh }
            }
            Act::FailRun { identity, run, fresh } => {
                let (identity, id) = (self.identity(identity), self.run(run));
                Op::FailRun { identity, id, fresh, reason: "a reason".into() }
            }
            Act::CloseRun { run } => Op::CloseRun { run: self.run(run) },
            Act::ReadEvents { run } => Op::ReadEvents { run: self.run(run) },
            Act::ReadClaims { customer } => {
                let windows = self.identity(0).windows().expect("the calendar reaches so far");
                Op::ReadClaims { customer: self.customer(customer), windows }
            }
            Act::InsertClaim { customer } => {
                Op::InsertClaim { customer: self.customer(customer), claim: Arc::new(claim()) }
            }
            Act::WriteEvents { run, values, on_conflict } => Op::WriteEvents {
                // The events of a run are always the same customer's.
                customer: self.customer(i64::from(run % 2)),
                run: self.run(run),
                windows: self.identity(0).windows().expect("the calendar reaches so far"),
                signals: signals(values).into(),
                on_conflict,
            },
        }
    }
}

fn claim() -> Claim {
    Claim {
        payer: "aetna".into(),
        cpt_group: "imaging".into(),
        outcome: "PAID".into(),
        submitted_on: date(2026, 4, 10),
        decided_on: Some(date(2026, 4, 12)),
    }
}

/// Two business keys, each with a value or absent (0), in the order of the engine.
fn signals(values: [u8; 2]) -> Vec<Signal> {
    let signal = |payer: &str, value: u8| Signal {
        payer: payer.into(),
        cpt_group: "imaging".into(),
        drift_type: DriftType::DenialRate,
        baseline_value: 0.25,
        current_value: 0.25 + f64::from(value) / 8.0,
        delta: f64::from(value) / 8.0,
        severity: 0.5,
        confidence: 0.5,
    };
    let both = ["aetna", "cigna"].into_iter().zip(values);
    both.filter(|(_, value)| *value > 0).map(|(payer, value)| signal(payer, value)).collect()
}

/// Draws programs for a backend.
pub fn programs(backend: Backend) -> impl Strategy<Value = Program> {
    let session = vec(act(backend), 1..=OPS_MAX);
    let begins = (begin(backend), vec(act(backend), 1..OPS_MAX)).prop_map(|(begin, mut acts)| {
        acts.insert(0, begin);
        acts
    });
    let session = prop_oneof![5 => begins, 1 => session];
    (0..5_u8, vec(session, 2..=3), vec(0..6_u8, 0..=3 * OPS_MAX)).prop_map(|(there, sessions, turns)| Program {
        there,
        sessions,
        turns,
    })
}

fn begin(backend: Backend) -> BoxedStrategy<Act> {
    let begin = |isolation, immediate| Just(Act::Begin { isolation, immediate });
    let read_committed = Isolation::ReadCommitted;
    match backend {
        Backend::Postgres => {
            prop_oneof![2 => begin(read_committed, false), 1 => begin(Isolation::RepeatableRead, false)].boxed()
        }
        Backend::Sqlite => prop_oneof![begin(read_committed, false), begin(read_committed, true)].boxed(),
    }
}

/// Mostly the first of a few, so that sessions meet.
fn mostly<T: Copy + std::fmt::Debug + 'static>(first: T, second: T, third: T) -> impl Strategy<Value = T> + Clone {
    prop_oneof![24 => Just(first), 4 => Just(second), 1 => Just(third)]
}

fn act(backend: Backend) -> BoxedStrategy<Act> {
    let customer = mostly(0_i64, 1, CUSTOMERS - 1);
    let run = mostly(0_u8, 1, 2);
    let identity = prop_oneof![12 => Just(0_u8), 2 => Just(1), 2 => Just(2), 1 => Just(3)];
    let fresh = prop_oneof![6 => Just(false), 1 => Just(true)];
    let strength =
        prop::sample::select(vec![Strength::KeyShare, Strength::Share, Strength::NoKeyUpdate, Strength::Update]);
    let wait = mostly(Wait::Block, Wait::NoWait, Wait::SkipLocked);
    let on_conflict = prop_oneof![
        2 => Just(OnConflict::Update),
        1 => Just(OnConflict::Nothing),
        1 => Just(OnConflict::Error),
    ];
    let values = [0..3_u8, 0..3_u8];
    let lock_row = (customer.clone(), strength, wait);
    let lock_row = lock_row.prop_map(|(customer, strength, wait)| Act::LockRow { customer, strength, wait });
    let named = (identity, run.clone(), fresh);
    let open = named.clone().prop_map(|(identity, run, fresh)| Act::OpenRun { identity, run, fresh });
    let fail = named.prop_map(|(identity, run, fresh)| Act::FailRun { identity, run, fresh });
    let write = (run.clone(), values, on_conflict).prop_map(|(run, values, on_conflict)| Act::WriteEvents {
        run,
        values,
        on_conflict,
    });
    let shared = prop_oneof![
        24 => begin(backend),
        16 => Just(Act::Commit),
        8 => Just(Act::Rollback),
        12 => Just(Act::Savepoint),
        20 => Just(Act::RollbackTo),
        1 => Just(Act::RollbackToAnyway),
        48 => lock_row,
        24 => open,
        16 => fail,
        24 => run.clone().prop_map(|run| Act::CloseRun { run }),
        64 => write,
        8 => run.prop_map(|run| Act::ReadEvents { run }),
        8 => customer.clone().prop_map(|customer| Act::ReadClaims { customer }),
        24 => customer.clone().prop_map(|customer| Act::InsertClaim { customer }),
    ];
    if backend == Backend::Sqlite {
        return shared.boxed();
    }
    let scope = prop_oneof![Just(Scope::Transaction), Just(Scope::Session)];
    let advisory = (customer.clone(), scope).prop_map(|(customer, scope)| Act::LockAdvisory { customer, scope });
    let unlock = customer.prop_map(|customer| Act::Unlock { customer });
    prop_oneof![34 => shared, 4 => advisory, 1 => unlock].boxed()
}
