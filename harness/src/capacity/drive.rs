//! Puts a load on a job.
//!
//! A few threads, each with a runtime of its own and its share of the workers: a task never moves
//! from one processor to another, and nobody is woken across threads but by the alarm.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use drift_engine::session::DbError;
use hdrhistogram::Histogram;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::alarm::Alarm;
use super::health::{CpuTime, Generator};
use super::job::{Job, Turn};
use super::load::{Arrivals, Load};
use super::park;
use super::phase::{Phase, Times};
use super::recorder::{Finished, Outcome, Recorder};
use super::recording::{Recording, histogram};
use super::stream::{Arrival, Keys, Schedule};
use crate::clock::Clock;

/// How often a thread is asked how late it comes to what it should do. Oftener would cost more processor
/// time than a slow server's tasks.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// After how many arrivals that are counted and not begun a worker lets its thread look up. There may be billions of
/// them, and nothing else would let it see that somebody stops the load.
const YIELD_EVERY: u64 = 1_000;

/// Why a load came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// A connection could not be opened.
    #[error("{0}")]
    Database(#[from] DbError),
    /// The system has no thread or no runtime to give.
    #[error("failed to start a thread: {0}")]
    Thread(#[source] std::io::Error),
    /// Somebody stopped it.
    #[error("interrupted")]
    Interrupted,
}

/// What a load came to, and what the generator needed for it.
#[derive(Clone, Debug)]
pub struct Driven {
    /// The tasks.
    pub recording: Recording,
    /// The generator.
    pub generator: Generator,
}

/// Connections that workers share.
struct Pool<C> {
    idle: Mutex<Vec<C>>,
    permits: Semaphore,
}

impl<C> Pool<C> {
    async fn take(&self) -> (C, SemaphorePermit<'_>) {
        let permit = self.permits.acquire().await.expect("the pool is never closed");
        let connection = self.idle.lock().expect("nobody panics while holding the pool").pop();
        (connection.expect("there is a connection for each permit"), permit)
    }

    fn put(&self, connection: C) {
        self.idle.lock().expect("nobody panics while holding the pool").push(connection);
    }
}

/// What the threads share.
struct Shared<J: Job> {
    job: Arc<J>,
    load: Load,
    clock: Clock,
    alarm: Arc<Alarm>,
    recorder: Recorder,
    schedule: Mutex<Schedule>,
    pool: Pool<J::Connection>,
    threads: usize,
    cancel: CancellationToken,
}

/// How many threads a load is put on by: those of the machine, and one where connections are shared,
/// since a connection belongs to the runtime that opened it.
pub fn threads(load: &Load) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if load.pool.is_some() { 1 } else { cores.min(load.workers as usize).max(1) }
}

/// Puts a load on a job, and waits for its end.
///
/// What the alarm has counted of added round trips is this load's alone when it has ended.
///
/// Cancellation: dropping the future stops the load; its threads end within a statement's bound.
///
/// # Errors
/// See [`DriveError`].
pub async fn drive<J: Job>(
    job: Arc<J>,
    load: &Load,
    clock: &Clock,
    alarm: &Arc<Alarm>,
    cancel: &CancellationToken,
) -> Result<Driven, DriveError> {
    let threads = threads(load);
    let recorder = Recorder::with_steps(load, threads, job.steps());
    let shared = Arc::new(Shared {
        job,
        load: load.clone(),
        clock: clock.clone(),
        alarm: alarm.clone(),
        recorder,
        schedule: Mutex::new(Schedule::new(load)),
        pool: Pool { idle: Mutex::default(), permits: Semaphore::new(load.pool.unwrap_or(0) as usize) },
        threads,
        cancel: cancel.child_token(),
    });
    let _stop = shared.cancel.clone().drop_guard();
    let (ready, mut opened) = mpsc::channel(threads);
    let (start, started) = watch::channel(None);
    let running: Result<Vec<_>, DriveError> =
        (0..threads).map(|index| start_thread(shared.clone(), index, ready.clone(), started.clone())).collect();
    let running = running?;
    drop((ready, started));
    for _ in 0..threads {
        // Who says nothing has failed, and says so at its end.
        if opened.recv().await.is_none() {
            shared.cancel.cancel();
        }
    }
    alarm.count_anew();
    let cpu = CpuTime::now();
    let began = clock.elapsed();
    shared.job.begins();
    let _ = start.send(Some(began));
    let (mut late, mut failure) = (histogram(), None);
    for thread in running {
        match thread.await.expect("a thread does not panic") {
            Ok(thread_late) => late.add(&thread_late).expect("all histograms have the same bounds"),
            Err(DriveError::Interrupted) if failure.is_some() => {}
            Err(error) => failure = Some(error),
        }
    }
    if cancel.is_cancelled() {
        return Err(DriveError::Interrupted);
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    let cpu = (cpu, CpuTime::now());
    let generator = Generator::measured(cpu, clock.elapsed() - began, threads, &late, clock);
    let shared = Arc::into_inner(shared).expect("the threads have ended");
    Ok(Driven { recording: shared.recorder.finish(), generator })
}

/// Starts a thread for this load alone. One of a runtime's that has put on another load before would do:
/// but it stays where the scheduler put it then, beside the others on one processor often enough that a load
/// of four workers came to 20 % less.
fn start_thread<J: Job>(
    shared: Arc<Shared<J>>,
    index: usize,
    ready: mpsc::Sender<()>,
    started: watch::Receiver<Option<Duration>>,
) -> Result<oneshot::Receiver<Result<Histogram<u64>, DriveError>>, DriveError> {
    let (end, ended) = oneshot::channel();
    let body = move || {
        let came_to = run_thread(&shared, index, ready, started);
        // Before whoever waits hears of it, who then has what was shared to itself.
        drop(shared);
        let _ = end.send(came_to);
    };
    std::thread::Builder::new().name(format!("load {index}")).spawn(body).map_err(DriveError::Thread)?;
    Ok(ended)
}

/// One thread: opens its connections, waits for the start, and works to the end.
fn run_thread<J: Job>(
    shared: &Arc<Shared<J>>,
    index: usize,
    ready: mpsc::Sender<()>,
    started: watch::Receiver<Option<Duration>>,
) -> Result<Histogram<u64>, DriveError> {
    park::enable().map_err(DriveError::Thread)?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().on_thread_park(park::wait).build().map_err(DriveError::Thread)?;
    runtime.block_on(async {
        let working = work_thread(shared, index, ready, started);
        let ended = tokio::select! {
            biased;
            () = shared.cancel.cancelled() => Err(DriveError::Interrupted),
            ended = working => ended,
        };
        if ended.is_err() {
            shared.cancel.cancel();
        }
        ended
    })
}

async fn work_thread<J: Job>(
    shared: &Arc<Shared<J>>,
    index: usize,
    ready: mpsc::Sender<()>,
    mut started: watch::Receiver<Option<Duration>>,
) -> Result<Histogram<u64>, DriveError> {
    for _ in 0..shared.load.pool.unwrap_or(0) {
        shared.pool.put(shared.job.connect().await?);
    }
    let mut workers = Vec::new();
    for worker in (0..shared.load.workers).skip(index).step_by(shared.threads) {
        let own = if shared.load.pool.is_some() { None } else { Some(shared.job.connect().await?) };
        workers.push((worker, own));
    }
    let _ = ready.send(()).await;
    drop(ready);
    let began = match started.wait_for(Option::is_some).await {
        Ok(began) => began.expect("it was waited for"),
        Err(_) => return Err(DriveError::Interrupted),
    };
    let mut working = JoinSet::new();
    for (worker, own) in workers {
        let shared = shared.clone();
        working.spawn(async move { work(&shared, index, worker, own, began).await });
    }
    let probe = {
        let shared = shared.clone();
        tokio::spawn(async move { probe(&shared, began).await })
    };
    while let Some(ended) = working.join_next().await {
        ended.expect("a worker neither panics nor is aborted")?;
    }
    Ok(probe.await.expect("the probe neither panics nor is aborted"))
}

/// How late this thread comes to something that is due, again and again until the end of the load.
async fn probe<J: Job>(shared: &Shared<J>, began: Duration) -> Histogram<u64> {
    let mut late = histogram();
    let end = began + shared.load.warm_up + shared.load.duration;
    let mut due = began + shared.load.warm_up;
    while due < end {
        shared.alarm.until(due).await;
        let now = shared.clock.elapsed();
        late.saturating_record(u64::try_from((now - due).as_nanos()).unwrap_or(u64::MAX));
        // Not one for each moment that has passed meanwhile: the lateness says it.
        due = now + PROBE_EVERY;
    }
    late
}

/// What is next for a worker: intended when, and what.
struct Next {
    intended: Duration,
    turn: Turn,
}

async fn work<J: Job>(
    shared: &Shared<J>,
    thread: usize,
    worker: u32,
    mut own: Option<J::Connection>,
    began: Duration,
) -> Result<(), DriveError> {
    let Shared { load, clock, .. } = shared;
    let end = load.warm_up + load.duration;
    let mut keys = Keys::new(load, &format!("worker {worker}"));
    let (mut round, mut unfinished) = (0_u64, 0_u64);
    let since = || clock.elapsed().saturating_sub(began);
    loop {
        let mut times = Times::default();
        let next = match load.arrivals {
            Arrivals::Closed => {
                let intended = since();
                if intended >= end {
                    return Ok(());
                }
                let number = round * u64::from(load.workers) + u64::from(worker);
                // With as many workers as keys, or a multiple, the number would give each worker one key for ever.
                let place = round + u64::from(worker);
                round += 1;
                let key = shared.job.key_at(place).unwrap_or_else(|| keys.draw());
                Next { intended, turn: Turn { number, key } }
            }
            Arrivals::Poisson(_) | Arrivals::Constant(_) => {
                let next = shared.schedule.lock().expect("nobody panics while holding the schedule").next();
                let Some(Arrival { intended, key, number }) = next else { return Ok(()) };
                if since() > end + load.drain {
                    shared.recorder.unfinished(thread, intended, since());
                    unfinished += 1;
                    if unfinished.is_multiple_of(YIELD_EVERY) {
                        tokio::task::yield_now().await;
                    }
                    continue;
                }
                shared.alarm.until(began + intended).await;
                times.add(Phase::Lag, nanos(since().saturating_sub(intended)));
                Next { intended, turn: Turn { number, key: shared.job.key_at(number).unwrap_or(key) } }
            }
        };
        let taken = since();
        let (mut connection, permit) = match own.take() {
            Some(connection) => (connection, None),
            None => {
                let (connection, permit) = shared.pool.take().await;
                times.add(Phase::Pool, nanos(since().saturating_sub(taken)));
                (connection, Some(permit))
            }
        };
        let errors = &shared.recorder.errors;
        let Next { intended, turn } = next;
        let turn = Turn { key: shared.job.key_of(&connection).unwrap_or(turn.key), ..turn };
        let outcome = shared.job.perform(&mut connection, turn, errors, &mut times).await;
        let ended = since();
        let finished = Finished { worker, key: turn.key, intended, ended, times: &times, outcome };
        shared.recorder.record(thread, &finished);
        if outcome == Outcome::Lost {
            connection = shared.job.connect().await?;
        }
        match permit {
            Some(permit) => {
                shared.pool.put(connection);
                drop(permit);
            }
            None => own = Some(connection),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
