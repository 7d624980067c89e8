//! Scenarios: what is run, on which databases and with which locks, what is checked, and what is
//! expected to come of it.
//!
//! A [`Scenario`] comes from a TOML file and holds its invariants: who has one need not look again.
//! Everything that is wrong with a file is reported at once, with its place. The other files that say what is run are here
//! too: [`script`]s, [`application`]s, and a [`project`].
//!
//! ```
//! use std::path::Path;
//! use driftlock_scenario::script::Script;
//!
//! let text = "name = 'counter'\nsummary = 'Counts.'\nsetup = 'CREATE TABLE t (v int)'\n\
//!             [[actor]]\nname = 'a'\nsteps = ['UPDATE t SET v = v + 1']\n\
//!             [[invariant]]\nname = 'positive'\nsql = 'SELECT v FROM t WHERE v < 0'";
//! let script = Script::parse(Path::new("counter.toml"), text.as_bytes()).unwrap();
//! assert_eq!(script.actors[0].steps.len(), 1);
//!
//! let wrong = Script::parse(Path::new("counter.toml"), text.replace("steps", "stepps").as_bytes());
//! assert!(format!("{:?}", wrong.unwrap_err()).contains("stepps"));
//! ```

pub mod application;
mod build;
pub mod collect;
pub mod data;
mod draft;
mod file;
pub mod problem;
pub mod project;
pub mod promised;
mod read;
mod rules;
pub mod script;
pub mod shipped;
mod value;

use std::path::PathBuf;
use std::time::Duration;

use drift_engine::claim::CustomerId;
use drift_engine::lock::{Backend, LockStrategy};
use drift_engine::policy::{Policy, PolicyError, Windows};
use drift_engine::protocol::{Retry, Task};
use drift_engine::run::{Identity, RunChoice, RunId};
use drift_engine::session::Kind;
use jiff::civil::Date;

use driftlock_history::check::CheckName;
use driftlock_history::history::Fault;

pub use file::{FILE_BYTES_MAX, LoadError};
pub use shipped::table;

/// One scenario: a case for each of its strategies.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Lower-case words and digits, joined by single hyphens; at most 64 bytes.
    pub name: String,
    /// What it shows, as one line of at most 500 bytes.
    pub summary: String,
    /// Where it runs: at least one, each once.
    pub backends: Vec<Backend>,
    /// The ways to lock: at least one on every backend, each once, none that exists on no backend.
    pub strategies: Vec<LockStrategy>,
    /// What is in the database before the tasks.
    pub data: Data,
    /// The calls of the job.
    pub tasks: Tasks,
    /// How the connections of the tasks are set.
    pub session: SessionSettings,
    /// The contention that is arranged at the start, if any; never for a single worker without an antagonist.
    pub opening: Option<Opening>,
    /// The claims that are inserted while the tasks run, if any.
    pub arrivals: Option<Arrivals>,
    /// The failure that is put into a task, if any.
    pub fault: Option<FaultPlan>,
    /// Whether an actor takes locks in the wrong order, to force deadlocks: PostgreSQL only, and
    /// only with `row-no-key` and `advisory`.
    pub antagonist: bool,
    /// What is asked of the history: at least one, each once.
    pub checks: Vec<CheckName>,
    /// What is expected where it is not a pass; each entry decides at least one case.
    pub expect: Vec<Expect>,
}

/// What is in the database before the tasks.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// The number of customers, 1 to 1,000; their ids are 1 to this.
    pub customers: u32,
    /// Where their claims come from.
    pub source: Source,
    /// The root of everything random in the scenario's data; parts are forked from it by name ([`data::fork`]).
    pub seed: u64,
    /// What has become of each customer's run before the tasks.
    pub before: Before,
    /// The exclusive end of the current window, 1970 to 2100.
    pub as_of: Date,
    /// The lengths of the windows and the minimum volume.
    pub policy: Policy,
}

impl Data {
    /// The windows of every run of the scenario.
    ///
    /// # Errors
    /// Never for data of a [`Scenario`] that came from a file: the windows were tried when it was read.
    pub fn windows(&self) -> Result<Windows, PolicyError> {
        self.policy.windows(self.as_of)
    }
}

/// What has become of a run before the tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Before {
    /// There is none.
    Nothing,
    /// A task has failed: the run exists, and has no events.
    Failed,
    /// A task has succeeded: the run and its events exist.
    Recomputed,
}

/// Where the claims come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// From [`data::claims`].
    Generated {
        /// The number of claims of each customer, at least 1; [`data::CLAIMS_MAX`] over all customers.
        claims_per_customer: u32,
    },
    /// From a CSV file with as many customers as the data has, numbered as they appear; the path is
    /// resolved against the scenario file's directory.
    Csv(PathBuf),
}

/// The calls of the job.
#[derive(Clone, Debug, PartialEq)]
pub struct Tasks {
    /// How many, 1 to 100,000.
    pub count: u32,
    /// How many at a time, 1 to 64 and at most `count`.
    pub workers: u32,
    /// When they should start.
    pub arrival: Arrival,
    /// Whose drift they compute.
    pub keys: Keys,
    /// In which run.
    pub run: RunPlan,
    /// How often each may try, the first try included: 1 to 100.
    pub max_attempts: u32,
}

/// When the tasks should start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrival {
    /// All at once.
    Together,
    /// One after each such interval, 1 ms to 60 s.
    Every(Duration),
    /// At random, this many a second on average: 0.001 to 1,000,000.
    Poisson {
        /// The rate, in tasks a second.
        per_second: f64,
    },
}

/// Whose drift the tasks compute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Keys {
    /// That of customer 1.
    One,
    /// That of a customer drawn evenly; there are at least two.
    Uniform,
    /// That of a customer drawn with a probability proportional to `1 / id ^ exponent`; there are
    /// at least two.
    Zipf {
        /// How skewed, above 0 and at most 10.
        exponent: f64,
    },
}

/// In which run the tasks put their events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunPlan {
    /// Each names this run; there is one customer.
    Named(RunId),
    /// None names a run: the identity's.
    ByWindow,
    /// Each in a run of its own, outside the identity's uniqueness.
    Fresh,
}

/// How the connections of the tasks are set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSettings {
    /// PostgreSQL: how long a statement waits for a lock, 1 ms to 10 min; `None` for ever.
    pub lock_timeout: Option<Duration>,
    /// SQLite: how long an operation waits for the file's lock, 0 to 10 min.
    pub busy_timeout: Duration,
    /// SQLite: how the file is journalled.
    pub journal: Journal,
}

/// How SQLite journals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Journal {
    /// A write-ahead log: readers and the writer do not block each other.
    Wal,
    /// A rollback journal: readers and the writer exclude each other.
    Delete,
}

/// The contention that is arranged at the start: the first worker's task, for customer 1, is held,
/// and let go when the others are where they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The operation before which it is held: [`Kind::Commit`], or [`Kind::Write`] (the first one
    /// after its read). With an antagonist it is held as soon as it has its lock.
    pub before: Kind,
    /// When it is let go; [`Until::OthersTimedOut`] only where a timeout is set and every strategy
    /// takes a lock.
    pub until: Until,
}

/// When the held task is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Until {
    /// The server reports that each other worker waits, or it has nothing left to do.
    OthersWait,
    /// Each other worker has seen a lock timeout, or has nothing left to do.
    OthersTimedOut,
}

/// Bystanders that insert claims while the tasks run ([`data::arriving`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrivals {
    /// How many, 1 to 64; each inserts one claim after another, each in a transaction of its own.
    pub writers: u32,
    /// How many claims each inserts, 1 to 10,000.
    pub claims_per_writer: u32,
}

/// A failure that is put into a task on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// The number of the task, from 0, below the number of tasks.
    pub task: u32,
    /// The operation that fails: [`Kind::Commit`], or [`Kind::Write`] (the first one after the read).
    pub before: Kind,
    /// How it fails; [`Fault::Terminate`] on PostgreSQL only.
    pub action: Fault,
}

/// What is expected of some cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// Of those on this backend only.
    pub backend: Option<Backend>,
    /// Of those with this strategy only.
    pub strategy: Option<LockStrategy>,
    /// What should come of them.
    pub verdict: Expected,
}

/// What should come of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expected {
    /// Every check that applies passes.
    Pass,
    /// This check, and no other that applies, reports a violation.
    Violation {
        /// Which one; it is among the scenario's checks, and applies although nothing was promised.
        check: CheckName,
    },
}

impl Expect {
    /// Whether it speaks of this case.
    pub fn matches(&self, backend: Backend, strategy: LockStrategy) -> bool {
        self.backend.is_none_or(|b| b == backend) && self.strategy.is_none_or(|s| s == strategy)
    }

    /// How much it says about the cases that it means: of two that match, the greater one decides.
    fn specificity(&self) -> (bool, bool) {
        (self.strategy.is_some(), self.backend.is_some())
    }
}

impl Scenario {
    /// What should come of a case: the most specific entry that matches decides, and without one a pass is expected.
    pub fn expectation(&self, backend: Backend, strategy: LockStrategy) -> Expected {
        let matching = self.expect.iter().filter(|expect| expect.matches(backend, strategy));
        matching.max_by_key(|expect| expect.specificity()).map_or(Expected::Pass, |expect| expect.verdict)
    }

    /// A customer's task; `fresh` names its run where each task has one of its own, and `seed` is its retries'.
    ///
    /// # Panics
    /// `fresh` is no name of a run.
    pub fn task(&self, customer: CustomerId, strategy: LockStrategy, fresh: &str, seed: u64) -> Task {
        Task {
            identity: Identity { customer, as_of: self.data.as_of, policy: self.data.policy },
            run: match &self.tasks.run {
                RunPlan::Named(id) => RunChoice::Named(id.clone()),
                RunPlan::ByWindow => RunChoice::Shared,
                RunPlan::Fresh => RunChoice::Fresh(RunId::new(fresh).expect("short, and without a NUL")),
            },
            strategy,
            retry: Retry { max_attempts: self.tasks.max_attempts, ..Retry::seeded(seed) },
        }
    }

    /// The cases: every backend with every chosen strategy that exists there, in the file's order.
    pub fn cases(&self) -> impl Iterator<Item = (Backend, LockStrategy)> + '_ {
        self.backends.iter().flat_map(|backend| {
            let there = self.strategies.iter().filter(move |strategy| strategy.backend() == *backend);
            there.map(move |strategy| (*backend, *strategy))
        })
    }
}
