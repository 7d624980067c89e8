//! An application under load: the job of one of its actors is a task.
//!
//! A worker of the load is one actor, and has its program: a process that stays, or a server that requests are sent to;
//! where the file says `run`, each task starts a process. [`measure`] makes the database, has each actor do its job alone
//! first, puts the load on and judges the invariants at the end; [`seen`] is the proxy's view of a task.

pub mod answers;
pub mod measure;
pub mod observe;
pub mod seen;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use drift_engine::session::{DbError, ErrorClass, Kind};
use driftlock_wire::EndpointId;
use tokio::sync::watch;
use tokio::time::Instant;

use self::answers::{Answers, Came};
use self::seen::Seen;
use super::job::{Job, Turn};
use super::load::Load;
use super::phase::Times;
use super::recorder::{Errors, Outcome};
use crate::app::gate::Holding;
use crate::app::work::{Worker, said};
use crate::scenario::application::{Application, Job as Does};

/// Where the programs of one worker find their database.
#[derive(Clone)]
pub struct Door {
    /// Where they come in, if that is by the proxy.
    pub endpoint: Option<EndpointId>,
    /// What their environment says of it.
    pub environment: Vec<(&'static str, String)>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The environment holds a password.
        f.debug_struct("Door").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// The actors of an application, each with a program of its own for each worker.
#[derive(Debug)]
pub struct AppJob {
    app: Arc<Application>,
    /// One for each worker.
    doors: Vec<Door>,
    opened: AtomicUsize,
    seen: Option<Seen>,
    warm_up: Duration,
    duration: Duration,
    begun: watch::Sender<Option<Instant>>,
    /// What came of the tasks that began in the time that is recorded.
    pub answers: Answers,
    /// Why a program could not even be made ready.
    refusal: Mutex<Option<String>>,
    /// Each job has a number of its own: a program may use it as a key that nobody else has.
    number: AtomicU64,
}

/// What one worker works with.
#[derive(Debug)]
pub struct Programs {
    worker: Worker,
    /// Nothing is held here: it is where a worker tells its end.
    told: Holding,
    actor: usize,
    endpoint: Option<EndpointId>,
}

impl AppJob {
    /// The actors of an application, in a database that has its set-up. There is a door for each worker; what comes in by
    /// one of the proxy's is `seen`.
    pub fn new(app: Arc<Application>, doors: Vec<Door>, seen: Option<Seen>, load: &Load) -> Self {
        Self {
            app,
            doors,
            opened: AtomicUsize::new(0),
            seen,
            warm_up: load.warm_up,
            duration: load.duration,
            begun: watch::Sender::new(None),
            answers: Answers::default(),
            refusal: Mutex::new(None),
            number: AtomicU64::new(0),
        }
    }

    /// Tells when the load begins.
    pub fn begun(&self) -> watch::Receiver<Option<Instant>> {
        self.begun.subscribe()
    }

    /// Why a program could not be made ready, if that is why the load came to nothing.
    pub fn refusal(&self) -> Option<String> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The next one that has no programs yet; nothing was started.
    fn open(&self) -> Option<Programs> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let Door { endpoint, environment } = self.doors.get(number)?.clone();
        let (actor, told) = (number % self.app.actors.len(), Holding::default());
        let worker = Worker::new(&self.app, actor, environment, told.clone());
        Some(Programs { worker, told, actor, endpoint })
    }

    /// How long a job may take; whoever takes longer is killed.
    fn most(&self, programs: &Programs) -> Duration {
        let starts = match &self.app.actors[programs.actor].job {
            Does::Http(_) => self.app.server.as_ref().map(|server| server.ready_max),
            Does::Run { .. } | Does::Worker { .. } | Does::Code(_) => None,
        };
        self.app.silent_max + starts.unwrap_or_default()
    }

    /// Has an actor do its job once.
    async fn once(&self, programs: &mut Programs) -> Came {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let (does, most) = (&self.app.actors[programs.actor].job, self.most(programs));
        let doing = async {
            programs.worker.begin(number).await?;
            Ok(programs.worker.ended().await)
        };
        let came = match tokio::time::timeout(most, doing).await {
            Ok(Ok(outcome)) => Came::of(does, &outcome),
            Ok(Err(error)) => Came::unable(&error),
            Err(_) => Came::too_long(most),
        };
        // Its end was waited for here, and nobody else asks.
        programs.told.take();
        if came.is_gone() {
            // Whatever is left of it would not answer the next one either.
            programs.worker.kill().await;
        }
        came
    }

    /// What a message about an actor's job ends with.
    fn about(&self, programs: &Programs, came: &Came) -> String {
        let name = &self.app.actors[programs.actor].name;
        // A program that could not be started, or whose server is not ready, has been told with what it printed.
        let printed = if came.tells_output() { String::new() } else { said(&programs.worker.output) };
        let whose = if came.names_actor() { String::new() } else { format!("{name}: ") };
        format!("{whose}{}{printed}", came.why())
    }

    /// Whether a task that begins now is recorded.
    fn is_recorded(&self) -> bool {
        let begun = *self.begun.borrow();
        let since = begun.map(|begun| begun.elapsed());
        since.is_some_and(|since| since >= self.warm_up && since < self.warm_up + self.duration)
    }
}

impl Job for AppJob {
    type Connection = Programs;

    /// Starts what stays, and has it do its job once, so that it is warm.
    async fn connect(&self) -> Result<Programs, DbError> {
        let failed = |why: String| {
            let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
            refusal.get_or_insert_with(|| why.clone());
            DbError { class: ErrorClass::Other, code: None, message: why, during: Kind::Begin }
        };
        let mut programs = self.open().ok_or_else(|| failed("there are more workers than doors".to_owned()))?;
        if programs.worker.stays() {
            let came = self.once(&mut programs).await;
            if came.is_gone() {
                return Err(failed(self.about(&programs, &came)));
            }
        }
        Ok(programs)
    }

    fn key_of(&self, programs: &Programs) -> Option<u32> {
        u32::try_from(programs.actor + 1).ok()
    }

    fn begins(&self) {
        self.begun.send_replace(Some(Instant::now()));
    }

    async fn perform(&self, programs: &mut Programs, _: Turn, errors: &Errors, times: &mut Times) -> Outcome {
        times.attempts += 1;
        let (is_recorded, seen) = (self.is_recorded(), self.seen.as_ref().zip(programs.endpoint));
        // What a program sends between two tasks is part of none.
        if let Some((seen, endpoint)) = seen {
            seen.take(endpoint);
        }
        let came = self.once(programs).await;
        if let Some((seen, endpoint)) = seen {
            times.absorb(&seen.take(endpoint));
        }
        let is_met = came.is_met();
        if !is_met {
            let (class, code, message) = (ErrorClass::Other, Some(came.kind()), String::new());
            errors.count(&DbError { class, code, message, during: Kind::Write });
        }
        if is_recorded {
            self.answers.count(programs.actor, &came, || self.about(programs, &came));
        }
        if is_met { Outcome::Done } else { Outcome::Failed }
    }
}
