//! From a scenario to a case: which tasks, when, for whom, and how the run begins.

use std::collections::BTreeMap;
use std::time::Duration;

use drift_engine::claim::CustomerId;
use drift_engine::lock::{Backend, LockStrategy};
use drift_engine::protocol::Task;
use drift_engine::session::Kind;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::actor::worker::PlannedTask;
use crate::history::{ActorId, Role, TaskId};
use crate::lens::fault;
use crate::mutant::Mutant;
use crate::scenario::data::fork;
use crate::scenario::{Arrival, Keys, Scenario, Until};
use crate::schedule::opening::{HoldPoint, Plan, Release};

/// One scenario on one backend with one strategy.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// What is run.
    pub scenario: &'a Scenario,
    /// On which database.
    pub backend: Backend,
    /// With which lock.
    pub strategy: LockStrategy,
    /// The root of everything random.
    pub seed: u64,
    /// How the protocol is broken, if it is.
    pub mutant: Option<&'a Mutant>,
}

impl Case<'_> {
    /// The actors: workers first, then bystanders, then the antagonist.
    pub fn roles(&self) -> BTreeMap<ActorId, Role> {
        let workers = self.scenario.tasks.workers as usize;
        let bystanders = self.scenario.arrivals.map_or(0, |arrivals| arrivals.writers as usize);
        let antagonists = usize::from(self.scenario.antagonist);
        let roles = std::iter::repeat_n(Role::Worker, workers)
            .chain(std::iter::repeat_n(Role::Bystander, bystanders))
            .chain(std::iter::repeat_n(Role::Antagonist, antagonists));
        (0..).map(ActorId).zip(roles).collect()
    }

    /// How the run begins.
    ///
    /// Without a lock there is no critical section to wait for. While claims arrive, a task that has
    /// read is held until others, who began after that, have committed; else one that has written,
    /// until the others meet it in the unique index.
    pub fn opening(&self) -> Plan {
        let exclusion = self.strategy.promises().exclusion;
        let hold = self.scenario.opening.map(|opening| match opening.before {
            _ if self.scenario.antagonist => HoldPoint::AfterLock,
            _ if !exclusion && self.scenario.arrivals.is_some() => HoldPoint::BeforeWriting,
            _ if !exclusion => HoldPoint::AfterWriting,
            Kind::Write => HoldPoint::BeforeWriting,
            _ => HoldPoint::BeforeCommit,
        });
        let release = match self.scenario.opening.map(|opening| opening.until) {
            Some(Until::OthersTimedOut) => Release::OthersTimedOut,
            Some(Until::OthersWait) | None => Release::OthersWait,
        };
        Plan { hold, release, bystanders_first: !exclusion }
    }

    /// The tasks, by number. The first one is for customer 1: it is the one that is held.
    pub fn tasks(&self) -> Vec<PlannedTask> {
        let mut rng = ChaCha8Rng::seed_from_u64(fork(self.seed, "tasks"));
        let mut due = Duration::ZERO;
        (0..self.scenario.tasks.count)
            .map(|number| {
                let customer = if number == 0 { CustomerId(1) } else { self.customer(&mut rng) };
                let planned = PlannedTask {
                    id: TaskId(number),
                    task: self.task(number, customer),
                    intended: due,
                    fault: self
                        .scenario
                        .fault
                        .filter(|plan| plan.task == number)
                        .map(|plan| fault::Plan { before: plan.before, fault: plan.action }),
                };
                due += match self.scenario.tasks.arrival {
                    Arrival::Together => Duration::ZERO,
                    Arrival::Every(interval) => interval,
                    // The gaps of a Poisson process are exponential.
                    Arrival::Poisson { per_second } => {
                        Duration::from_secs_f64(-(1.0 - rng.random::<f64>()).ln() / per_second)
                    }
                };
                planned
            })
            .collect()
    }

    fn task(&self, number: u32, customer: CustomerId) -> Task {
        let seed = fork(self.seed, &format!("retries of task {number}"));
        self.scenario.task(customer, self.strategy, &format!("fresh-{number}"), seed)
    }

    fn customer(&self, rng: &mut ChaCha8Rng) -> CustomerId {
        let customers = self.scenario.data.customers;
        let id = match self.scenario.tasks.keys {
            Keys::One => 1,
            Keys::Uniform => rng.random_range(1..=customers),
            Keys::Zipf { exponent } => {
                let weights = (1..=customers).map(|id| f64::from(id).powf(-exponent));
                let index = WeightedIndex::new(weights).expect("each weight is positive and finite").sample(rng);
                u32::try_from(index + 1).expect("there are at most a thousand customers")
            }
        };
        CustomerId(i64::from(id))
    }
}
