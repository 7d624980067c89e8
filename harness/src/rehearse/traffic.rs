//! The verified traffic: workers that recompute, writers that insert claims, readers that look at events, for as long
//! as the rehearsal lasts. Every operation is recorded, and judged afterwards by the checks of `verify`.
//!
//! It is open-ended, and bounded: at [`OPERATIONS_MAX`] the actors stop by themselves, and the record says so.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use drift_engine::claim::CustomerId;
use drift_engine::drift::Cell;
use drift_engine::lock::{Backend, LockStrategy};
use drift_engine::op::{Op, Reply};
use drift_engine::policy::{Policy, Windows};
use drift_engine::protocol::{Retry, Task, TaskError, recompute};
use drift_engine::run::{Identity, RunChoice};
use drift_engine::session::{Connect, DbError, ErrorClass, Kind, Session};
use jiff::civil::{Date, date};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use super::application::{Application, Deployed};
use super::flight::{Counted, Flight};
use super::rounds::Rounds;
use crate::actor::Trail;
use crate::clock::Clock;
use crate::database::{Database, Driver};
use crate::history::{ActorId, FinalState, History, Meta, Role, TaskId, TaskRecord, Tick};
use crate::lens::trace::{Log, Trace};
use crate::recheck::recheck;
use crate::scenario::data::{self, fork};

/// How many customers there are.
pub const CUSTOMERS: u32 = 16;
/// The end of every run's current window.
pub const AS_OF: Date = date(2026, 4, 15);
/// How many operations are recorded at the most: some 300 MB.
pub const OPERATIONS_MAX: u64 = 500_000;
/// How long to rest between two tasks, claims or reads: the database is to be used, not to be drowned.
pub(super) const REST: Duration = Duration::from_millis(4);
/// How many tries a task may make: more than usual, since a migration may refuse it several times.
const ATTEMPTS_MAX: u32 = 20;
/// How long the actors may take to get going.
pub(super) const WARM_UP_MAX: Duration = Duration::from_secs(30);

/// How many actors there are of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    /// Workers that recompute.
    pub workers: u32,
    /// Writers that insert claims.
    pub writers: u32,
    /// Readers of events.
    pub readers: u32,
}

impl Cast {
    /// The actors of a usual rehearsal, with so many workers; without a number, fewer on SQLite, where all writers share
    /// one lock.
    pub fn usual(backend: Backend, workers: Option<u32>) -> Self {
        let usual = if backend == Backend::Sqlite { 4 } else { 6 };
        Self { workers: workers.unwrap_or(usual), writers: 2, readers: 2 }
    }
}

/// What differs between the databases.
#[derive(Clone, Copy, Debug)]
struct Manners {
    backend: Backend,
    strategy: LockStrategy,
    /// How long to rest between two tasks, claims or reads.
    rest: Duration,
    /// How many customers' tasks there are: so few that some of them meet.
    customers: u32,
}

impl Manners {
    fn on(database: &Database) -> Self {
        match database {
            Database::Postgres(_) => {
                Self { backend: Backend::Postgres, strategy: LockStrategy::RowNoKey, rest: REST, customers: CUSTOMERS }
            }
            // All writers share one lock that wakes nobody in turn: a busy file starves its own traffic.
            Database::Sqlite(_) => Self {
                backend: Backend::Sqlite,
                strategy: LockStrategy::Immediate,
                rest: Duration::from_millis(40),
                customers: 2,
            },
        }
    }
}

/// What the actors share.
#[derive(Debug)]
struct Shared {
    database: Database,
    clock: Clock,
    application: Application,
    manners: Manners,
    seed: u64,
    stop: AtomicBool,
    tasks: AtomicU32,
    operations: AtomicU64,
    /// How often each actor has come round.
    rounds: Rounds,
    flight: Arc<Flight>,
    /// The server's names for the sessions of the actors, every one that there was.
    sessions: Mutex<BTreeMap<i64, ActorId>>,
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed) && self.operations.load(Ordering::Relaxed) < OPERATIONS_MAX
    }

    async fn connect(&self, actor: ActorId) -> Result<Driver, DbError> {
        let driver = self.database.connect().await?;
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(driver.id().0, actor);
        Ok(driver)
    }

    fn came_round(&self, actor: ActorId, operations: u64) {
        self.rounds.done(actor);
        self.operations.fetch_add(operations, Ordering::Relaxed);
    }

    fn task(&self, number: u32, customer: CustomerId) -> Task {
        let seed = fork(self.seed, &format!("retries of task {number}"));
        Task {
            identity: identity(customer),
            run: RunChoice::Shared,
            strategy: self.manners.strategy,
            retry: Retry { max_attempts: ATTEMPTS_MAX, ..Retry::seeded(seed) },
        }
    }
}

/// The windows of every run.
pub fn windows() -> Windows {
    Policy::default().windows(AS_OF).expect("the date lies in the calendar")
}

/// What a customer's tasks are about.
pub fn identity(customer: CustomerId) -> Identity {
    Identity { customer, as_of: AS_OF, policy: Policy::default() }
}

/// The traffic, running.
#[derive(Debug)]
pub struct Traffic {
    shared: Arc<Shared>,
    roles: BTreeMap<ActorId, Role>,
    actors: JoinSet<Result<Trail, DbError>>,
}

/// What the traffic has left.
#[derive(Debug)]
pub struct Ended {
    /// Everything that it did, and what was left.
    pub history: History,
    /// Which session was whose.
    pub sessions: BTreeMap<i64, ActorId>,
    /// Whether the record was full before the end.
    pub full: bool,
    /// How the database refused to tell what was left: the history has no end then, and is not to be judged.
    pub unread: Option<DbError>,
}

impl Traffic {
    /// Starts the actors, and waits until each has done something twice.
    ///
    /// Cancellation: dropping the future, or the traffic, ends every actor.
    ///
    /// # Errors
    /// The database cannot be reached, or the actors do not get going.
    pub async fn start(
        database: Database,
        cast: Cast,
        application: Application,
        seed: u64,
        clock: Clock,
    ) -> Result<Self, DbError> {
        let count = cast.workers + cast.writers + cast.readers;
        let manners = Manners::on(&database);
        let shared = Arc::new(Shared {
            database,
            clock,
            application,
            manners,
            seed,
            stop: AtomicBool::new(false),
            tasks: AtomicU32::new(0),
            operations: AtomicU64::new(0),
            rounds: Rounds::of(count as usize),
            flight: Arc::default(),
            sessions: Mutex::default(),
        });
        let (mut roles, mut actors) = (BTreeMap::new(), JoinSet::new());
        for number in 0..count {
            let (actor, shared) = (ActorId(number), shared.clone());
            let driver = shared.connect(actor).await?;
            if number < cast.workers {
                roles.insert(actor, Role::Worker);
                actors.spawn(work(shared, actor, driver));
            } else {
                roles.insert(actor, Role::Bystander);
                let bystander = number - cast.workers;
                if bystander < cast.writers {
                    actors.spawn(write(shared, actor, driver, bystander));
                } else {
                    actors.spawn(read(shared, actor, driver));
                }
            }
        }
        let traffic = Self { shared, roles, actors };
        if !traffic.shared.rounds.come_to(2, WARM_UP_MAX).await {
            let message = format!("not every actor got going within {} s", WARM_UP_MAX.as_secs());
            return Err(DbError { class: ErrorClass::Other, code: None, message, during: Kind::Begin });
        }
        Ok(traffic)
    }

    /// Waits until each actor has done something once more, or `at_most` has passed; answers which.
    pub async fn come_round(&self, at_most: Duration) -> bool {
        self.shared.rounds.one_more(|| self.shared.goes_on(), at_most).await
    }

    /// Its operations under way.
    pub fn flight(&self) -> Arc<Flight> {
        self.shared.flight.clone()
    }

    /// Lets each actor finish what it is doing, and puts the record together. `base` is the claims at the start.
    ///
    /// # Errors
    /// The database was lost, or cannot be read.
    ///
    /// # Panics
    /// An actor panicked.
    pub async fn stop(mut self, base: Vec<(CustomerId, Vec<Cell>)>) -> Result<Ended, DbError> {
        let full = !self.shared.goes_on();
        self.shared.stop.store(true, Ordering::Relaxed);
        let (mut entries, mut tasks) = (Vec::new(), Vec::new());
        while let Some(trail) = self.actors.join_next().await {
            let trail = trail.expect("an actor neither panics nor is aborted")?;
            entries.extend(trail.entries);
            tasks.extend(trail.tasks);
        }
        // After a migration that the application does not fit it can neither work nor read any more.
        let unfit = |error: DbError| if error.class == ErrorClass::Lost { Err(error) } else { Ok(Some(error)) };
        let mut unread = None;
        match close(&self.shared).await {
            Ok(closing) => {
                entries.extend(closing.entries);
                tasks.extend(closing.tasks);
            }
            Err(error) => unread = unfit(error)?,
        }
        entries.sort_by_key(|entry| (entry.invoked, entry.returned, entry.actor));
        tasks.sort_by_key(|task: &TaskRecord| task.id);
        let mut end = FinalState::default();
        if unread.is_none() {
            match finish(&self.shared).await {
                Ok(left) => end = left,
                Err(error) => unread = unfit(error)?,
            }
        }
        let meta = Meta {
            scenario: "rehearse".to_owned(),
            backend: self.shared.manners.backend,
            strategy: self.shared.manners.strategy,
            seed: self.shared.seed,
            max_attempts: ATTEMPTS_MAX,
            actors: self.roles,
            base,
            released: Tick(0),
        };
        let sessions = self.shared.sessions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Ended { history: History { meta, entries, seen: Vec::new(), tasks, end }, sessions, full, unread })
    }
}

async fn work(shared: Arc<Shared>, actor: ActorId, mut driver: Driver) -> Result<Trail, DbError> {
    let mut log = Log::new(actor, shared.clock.clone());
    let mut rng = ChaCha8Rng::seed_from_u64(fork(shared.seed, &format!("customers of worker {actor}")));
    let (mut tasks, mut recorded) = (Vec::new(), 0);
    while shared.goes_on() {
        let customer = CustomerId(i64::from(rng.random_range(1..=shared.manners.customers)));
        let task = perform(&shared, &mut driver, &mut log, customer).await;
        let lost = is_lost(&task.result);
        tasks.push(task);
        shared.came_round(actor, (log.len() - recorded) as u64);
        recorded = log.len();
        if lost {
            driver = shared.connect(actor).await?;
        }
        tokio::time::sleep(shared.manners.rest).await;
    }
    Ok(Trail { entries: log.into_entries(), tasks })
}

/// Performs one task, and says what became of it.
async fn perform(shared: &Shared, driver: &mut Driver, log: &mut Log<Op, Reply>, customer: CustomerId) -> TaskRecord {
    let id = TaskId(shared.tasks.fetch_add(1, Ordering::Relaxed));
    let task = shared.task(id.0, customer);
    let started = shared.clock.now();
    let traced = Trace::new(Counted::new(driver, &shared.flight), log, Some(id));
    let result = recompute(&mut Deployed::new(traced, shared.application), &task).await;
    let finished = shared.clock.now();
    let (identity, actor) = (task.identity, log.actor());
    TaskRecord { id, identity, actor, intended: started, started, finished, fault: None, result }
}

/// One more task for each customer, when no more claims arrive: what the others left is brought up to date.
async fn close(shared: &Shared) -> Result<Trail, DbError> {
    let actor = ActorId(0);
    let mut driver = shared.connect(actor).await?;
    let (mut log, mut tasks) = (Log::new(actor, shared.clock.clone()), Vec::new());
    for customer in 1..=CUSTOMERS {
        tasks.push(perform(shared, &mut driver, &mut log, CustomerId(i64::from(customer))).await);
    }
    Ok(Trail { entries: log.into_entries(), tasks })
}

/// Inserts claims of one customer. A claim that is refused is not tried again: the record says so.
async fn write(shared: Arc<Shared>, actor: ActorId, mut driver: Driver, writer: u32) -> Result<Trail, DbError> {
    let mut log = Log::new(actor, shared.clock.clone());
    let customer = CustomerId(i64::from(1 + writer % CUSTOMERS));
    let mut n = 0;
    while shared.goes_on() {
        let claim = Arc::new(data::arriving(windows(), writer, n));
        n += 1;
        let counted = Counted::new(&mut driver, &shared.flight);
        let sent = Trace::new(counted, &mut log, None).call(Op::InsertClaim { customer, claim }).await;
        driver = again(&shared, actor, driver, sent).await?;
        shared.came_round(actor, 1);
        tokio::time::sleep(shared.manners.rest).await;
    }
    Ok(Trail { entries: log.into_entries(), tasks: Vec::new() })
}

/// Reads the events of one customer after another, as a page that shows them would.
async fn read(shared: Arc<Shared>, actor: ActorId, mut driver: Driver) -> Result<Trail, DbError> {
    let mut log = Log::new(actor, shared.clock.clone());
    for customer in (1..=CUSTOMERS).cycle() {
        if !shared.goes_on() {
            break;
        }
        let run = RunChoice::Shared.id_for(&identity(CustomerId(i64::from(customer))));
        let counted = Counted::new(&mut driver, &shared.flight);
        let sent = Trace::new(counted, &mut log, None).call(Op::ReadEvents { run }).await;
        driver = again(&shared, actor, driver, sent).await?;
        shared.came_round(actor, 1);
        tokio::time::sleep(shared.manners.rest).await;
    }
    Ok(Trail { entries: log.into_entries(), tasks: Vec::new() })
}

/// The session to go on with: a new one, if the old one is gone.
async fn again(
    shared: &Shared,
    actor: ActorId,
    driver: Driver,
    sent: Result<Reply, DbError>,
) -> Result<Driver, DbError> {
    match sent {
        Err(error) if error.class == ErrorClass::Lost => shared.connect(actor).await,
        _ => Ok(driver),
    }
}

fn is_lost<T>(result: &Result<T, TaskError>) -> bool {
    let lost = |error: &DbError| error.class == ErrorClass::Lost;
    match result {
        Err(TaskError::CommitUnknown(_)) => true,
        Err(TaskError::Database { error, unrecorded, .. }) => lost(error) || unrecorded.as_ref().is_some_and(lost),
        _ => false,
    }
}

/// Reads what is left, and recomputes each customer once more.
async fn finish(shared: &Shared) -> Result<FinalState, DbError> {
    let ours = |customer: CustomerId| (1..=i64::from(CUSTOMERS)).contains(&customer.0);
    let (runs, events) = shared.database.stored_of(|run| ours(run.identity.customer)).await?;
    let mut driver = shared.database.connect().await?;
    let mut rechecks = Vec::new();
    for run in &runs {
        let task = shared.task(u32::MAX, run.identity.customer);
        let mut deployed = Deployed::new(&mut driver, shared.application);
        rechecks.push(recheck(&mut deployed, &task, &shared.clock).await);
    }
    Ok(FinalState { runs, events, rechecks })
}
