//! Settings small enough for every order of their operations to be tried, by loom on the model and by
//! `explore` on the real databases: who does what, with which lock.

pub mod provoking;
pub mod work;

use std::collections::BTreeMap;

use crate::history::{ActorId, Role};
use crate::lens::mutant::Rewrite;
use crate::scenario::Before;
use drift_engine::lock::LockStrategy;

/// The number of tries that a task may make.
pub const ATTEMPTS_MAX: u32 = 3;

/// A handful of actors: at most four.
#[derive(Clone, Debug)]
pub struct Setting {
    /// What it is called.
    pub name: &'static str,
    /// How the tasks lock.
    pub strategy: LockStrategy,
    /// The customer of each task; each task has a worker of its own.
    pub customers: &'static [i64],
    /// How many claims of customer 1 a bystander inserts.
    pub claims: u32,
    /// What the tasks find.
    pub before: Before,
    /// The task that fails before its COMMIT.
    pub fails: Option<u32>,
    /// Whether somebody takes the same locks in the wrong order.
    pub antagonist: bool,
    /// Whether events have their unique constraint.
    pub constrained: bool,
    /// How the protocol is broken, if it is.
    pub rewrite: Option<Rewrite>,
}

impl Setting {
    /// Tasks of these customers, and nothing else.
    pub fn new(name: &'static str, strategy: LockStrategy, customers: &'static [i64]) -> Self {
        Self {
            name,
            strategy,
            customers,
            claims: 0,
            before: Before::Nothing,
            fails: None,
            antagonist: false,
            constrained: true,
            rewrite: None,
        }
    }

    /// Two or three tasks of one customer.
    pub fn same_run(strategy: LockStrategy, tasks: usize) -> Self {
        let name = if tasks == 2 { "2 tasks" } else { "3 tasks" };
        Self::new(name, strategy, &[1, 1, 1][..tasks])
    }

    /// Two tasks of one customer, and one of another.
    pub fn two_customers(strategy: LockStrategy) -> Self {
        Self::new("2 + 1 tasks", strategy, &[1, 1, 2])
    }

    /// Two tasks, and a claim that arrives.
    pub fn arrivals(strategy: LockStrategy) -> Self {
        let new = Self::new("2 tasks and a claim", strategy, &[1, 1]);
        Self { claims: 1, before: Before::Recomputed, ..new }
    }

    /// Two tasks, of which the first fails.
    pub fn failing_task(strategy: LockStrategy) -> Self {
        Self { fails: Some(0), ..Self::new("2 tasks, one fails", strategy, &[1, 1]) }
    }

    /// One task, which fails.
    pub fn only_failing_task(strategy: LockStrategy) -> Self {
        Self { fails: Some(0), ..Self::new("1 task, which fails", strategy, &[1]) }
    }

    /// Two tasks of a run that failed before.
    pub fn failed_run(strategy: LockStrategy) -> Self {
        Self { before: Before::Failed, ..Self::new("2 tasks of a failed run", strategy, &[1, 1]) }
    }

    /// Tasks, and somebody who takes their locks in the wrong order.
    pub fn deadlocks(strategy: LockStrategy, tasks: usize) -> Self {
        let name = if tasks == 1 { "1 task and an antagonist" } else { "2 tasks and an antagonist" };
        Self { antagonist: true, ..Self::new(name, strategy, &[1, 1][..tasks]) }
    }

    /// The actors: workers first, then the bystander, then the antagonist.
    pub fn roles(&self) -> BTreeMap<ActorId, Role> {
        let workers = std::iter::repeat_n(Role::Worker, self.customers.len());
        let bystander = (self.claims > 0).then_some(Role::Bystander);
        let antagonist = self.antagonist.then_some(Role::Antagonist);
        (0..).map(ActorId).zip(workers.chain(bystander).chain(antagonist)).collect()
    }
}
