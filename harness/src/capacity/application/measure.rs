//! Puts a load on an application in a database of its own, from the set-up to the invariants at the end.

use std::sync::Arc;
use std::time::Duration;

use driftlock_wire::{Config, Listen, Names, Proxy};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::answers::AnswerRow;
use super::observe::{Counts, Gauges, observe, sessions};
use super::seen::Seen;
use super::{AppJob, Door};
use crate::app::record::Recorder;
use crate::app::record::account::Recorded;
use crate::app::work::{Preparation, WorkError, set_up};
use crate::capacity::alarm::Alarm;
use crate::capacity::drive::{DriveError, Driven, drive};
use crate::capacity::load::Load;
use crate::capacity::setting::Way;
use crate::clock::Clock;
use crate::explore::application::upstream_of;
use crate::explore::postgres::answer::ask_all;
use crate::explore::postgres::control;
use crate::explore::world::Lost;
use crate::isolation::{TargetError, config};
use crate::provision::{Database, ProvisionError, Server};
use crate::scenario::application::{Application, Job};

/// How long actors do their job alone, and how often at the most.
const ALONE: Duration = Duration::from_millis(800);
const ALONE_ROUNDS_MAX: u32 = 1_000;
/// How long the sessions of programs that have ended may take to end at the server.
const DEPARTURE_MAX: Duration = Duration::from_secs(10);
/// How many rows of an invariant are shown.
const ROWS_SHOWN: usize = 3;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// There is no database.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// The database has no address that can be used.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The set-up failed.
    #[error("the set-up failed: {0}")]
    Setup(#[source] WorkError),
    /// An actor cannot do its job.
    #[error("{0}")]
    Unable(String),
    /// The database is lost.
    #[error("{0}")]
    Lost(#[from] Lost),
    /// The proxy cannot be started.
    #[error("failed to start the proxy: {0}")]
    Proxy(#[from] driftlock_wire::Error),
    /// The load could not be put on.
    #[error(transparent)]
    Drive(#[from] DriveError),
}

/// How an invariant is at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Held {
    /// It returns no row.
    Kept,
    /// It returns rows, and it returned none before the load.
    Violated {
        /// How many.
        count: usize,
        /// The first ones.
        rows: Vec<Vec<String>>,
    },
    /// It was violated before the load, by jobs that went one after the other: it is not about many of them.
    NotJudged,
    /// The server refuses it at the end; or it returns rows then, and was refused before the load, so that nobody knows whose
    /// they are.
    Refused {
        /// What the server says, and when, where that was not at the end.
        why: String,
    },
}

/// An invariant at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvariantRow {
    /// Its name.
    pub name: String,
    /// How it is.
    pub held: Held,
}

/// What one way of two came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The tasks a second.
    pub throughput: f64,
    /// Half of the tasks needed at most this, in nanoseconds.
    pub p50: u64,
    /// 99 in a hundred needed at most this, in nanoseconds.
    pub p99: u64,
}

/// What is known of an application under load beside its times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApplicationRun {
    /// How it reached its database.
    pub way: Way,
    /// The actors: name, and what starts their programs: `worker`, `http` or `run`.
    pub actors: Vec<(String, String)>,
    /// What their jobs came to, in the time that is recorded.
    pub answers: Vec<AnswerRow>,
    /// What a job takes that is alone and ends as the file expects, on average, in nanoseconds; nothing if none did.
    pub alone: Option<f64>,
    /// How many jobs ended otherwise while they were timed alone.
    #[serde(default)]
    pub alone_failed: u64,
    /// The rows that jobs alone had changed before the load, as the server has counted them.
    pub changed_alone: u64,
    /// The invariants at the end.
    pub invariants: Vec<InvariantRow>,
    /// The invariant that the file expects to be violated.
    pub violates: Option<String>,
    /// What the server said, look by look.
    pub gauges: Gauges,
    /// What the server has counted of the whole load, the warm-up included.
    pub counts: Counts,
    /// What the proxy has recorded, by statement.
    pub recorded: Option<Recorded>,
    /// The same load without the proxy, if that was measured too.
    pub direct: Option<Compared>,
}

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    /// The times.
    pub driven: Driven,
    /// All else.
    pub run: ApplicationRun,
}

/// What runs, and what time is taken from.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The application.
    pub app: Arc<Application>,
    /// The load.
    pub load: Load,
    /// The clock.
    pub clock: Clock,
    /// Who waits.
    pub alarm: Arc<Alarm>,
}

/// Where the application's database is, and how to get there.
struct Entrance {
    way: Way,
    /// Ends with this, and with it whatever has come in by it.
    proxy: Option<Proxy>,
    seen: Option<Seen>,
    /// The server's own address, for who goes there directly.
    own: Vec<(&'static str, String)>,
}

impl Entrance {
    async fn open(server: &Server, database: &Database, way: Way) -> Result<Self, MeasureError> {
        if way == Way::Direct {
            let url = server.access(database).ok_or(TargetError::Address)?;
            return Ok(Self { way, proxy: None, seen: None, own: environment(url.expose())? });
        }
        let at = config(server, database)?;
        let recorder = Recorder::holding_nothing(control(&at).await?).await;
        let recorder = recorder.map_err(|error| Lost::during("ask the server who waits", error))?;
        let mut settings = Config::new(upstream_of(&at)?);
        settings.names = Names::Any;
        let seen = Seen::new(recorder);
        let proxy = Proxy::new(settings, seen.clone())?;
        let own = proxy.open(Listen::Tcp).await?.environment();
        Ok(Self { way, proxy: Some(proxy), seen: Some(seen), own })
    }

    /// Doors for so many workers.
    async fn doors(&self, count: usize) -> Result<Vec<Door>, MeasureError> {
        let mut doors = Vec::new();
        for _ in 0..count {
            doors.push(match &self.proxy {
                Some(proxy) => {
                    let endpoint = proxy.open(Listen::Tcp).await?;
                    self.seen.iter().for_each(|seen| seen.sees(endpoint.id));
                    Door { endpoint: Some(endpoint.id), environment: endpoint.environment() }
                }
                None => Door { endpoint: None, environment: self.own.clone() },
            });
        }
        Ok(doors)
    }
}

/// What says where a server's own address is. It holds the password.
fn environment(url: &str) -> Result<Vec<(&'static str, String)>, MeasureError> {
    use tokio_postgres::config::Host;
    let parsed: tokio_postgres::Config = url.parse().map_err(TargetError::Make)?;
    let host = match parsed.get_hosts().first().ok_or(TargetError::Address)? {
        Host::Tcp(host) => host.clone(),
        Host::Unix(directory) => directory.display().to_string(),
    };
    let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
    let password = parsed.get_password().map(|password| String::from_utf8_lossy(password).into_owned());
    // Some drivers know only the longer name.
    let url = url.strip_prefix("postgres://").map_or(url.to_owned(), |rest| format!("postgresql://{rest}"));
    let mut environment = vec![
        ("DATABASE_URL", url),
        ("PGHOST", host),
        ("PGPORT", parsed.get_ports().first().copied().unwrap_or(5432).to_string()),
        ("PGUSER", text(parsed.get_user())),
        ("PGDATABASE", text(parsed.get_dbname())),
    ];
    environment.extend(password.map(|password| ("PGPASSWORD", password)));
    Ok(environment)
}

/// Makes a database, and puts the load on the application there. The programs are ended when this returns.
///
/// Cancellation: dropping this ends the programs, those of the load within a moment.
///
/// # Errors
/// See [`MeasureError`].
pub async fn measure(
    server: &Server,
    subject: &Subject,
    way: Way,
    cancel: &CancellationToken,
) -> Result<Measured, MeasureError> {
    let Subject { app, load, clock, alarm } = subject;
    let suffix = match way {
        Way::Proxy => "application",
        Way::Direct => "direct",
    };
    let database = server.create_database(suffix, None).await?;
    let client = control(&config(server, &database)?).await?;
    let entrance = Entrance::open(server, &database, way).await?;
    if let Some(by) = &app.setup {
        let preparation = Preparation { directory: &app.directory, database: &entrance.own, most: app.setup_max };
        set_up(by, &preparation).await.map_err(MeasureError::Setup)?;
    }
    let queries: Vec<String> = app.invariants.iter().map(|invariant| invariant.sql.clone()).collect();
    departed(&client).await?;
    let made = Counts::now(&client).await.map_err(asking)?;
    let doors = entrance.doors(app.actors.len()).await?;
    let alone = alone(AppJob::new(app.clone(), doors, entrance.seen.clone(), load), app, clock).await?;
    departed(&client).await?;
    let before = ask_all(&client, &queries).await?;
    let counted = Counts::now(&client).await.map_err(asking)?;

    let doors = entrance.doors(load.workers as usize).await?;
    let job = Arc::new(AppJob::new(app.clone(), doors, entrance.seen.clone(), load));
    let observer = control(&config(server, &database)?).await?;
    let (begun, load_of, seen) = (job.begun(), load.clone(), entrance.seen.clone());
    let observed =
        AbortOnDropHandle::new(tokio::spawn(async move { observe(begun, &load_of, &observer, seen.as_ref()).await }));
    let driven =
        drive(job.clone(), load, clock, alarm, cancel).await.map_err(|error| match (error, job.refusal()) {
            (DriveError::Database(_), Some(why)) => MeasureError::Unable(why),
            (error, _) => error.into(),
        })?;
    let observed = observed.await.map_err(|_| Lost::new("whoever asked the server was stopped"))?.map_err(asking)?;
    departed(&client).await?;
    let counts = Counts::now(&client).await.map_err(asking)?.since(counted);
    let answers = ask_all(&client, &queries).await?;
    let held = app.invariants.iter().zip(before.iter().zip(&answers));
    let invariants =
        held.map(|(of, (before, after))| InvariantRow { name: of.name.clone(), held: judge(before, after) });
    let run = ApplicationRun {
        way: entrance.way,
        actors: app.actors.iter().map(|actor| (actor.name.clone(), does(&actor.job).to_owned())).collect(),
        answers: job.answers.rows(),
        alone: alone.mean(),
        alone_failed: alone.failed,
        changed_alone: counted.since(made).changed,
        invariants: invariants.collect(),
        violates: app.violates.clone(),
        gauges: observed.gauges,
        counts,
        recorded: observed.recorded,
        direct: None,
    };
    if let Some(proxy) = entrance.proxy {
        proxy.stop().await;
    }
    Ok(Measured { driven, run })
}

fn asking(error: tokio_postgres::Error) -> MeasureError {
    Lost::during("ask the server about its sessions", error).into()
}

/// The word by which the file says what an actor does.
fn does(job: &Job) -> &'static str {
    match job {
        Job::Run { .. } => "run",
        Job::Worker { .. } => "worker",
        Job::Http(_) => "http",
        Job::Code(_) => "a function",
    }
}

type Rows = Result<Vec<Vec<String>>, String>;

fn judge(before: &Rows, after: &Rows) -> Held {
    match (before, after) {
        (_, Err(why)) => Held::Refused { why: why.clone() },
        (_, Ok(rows)) if rows.is_empty() => Held::Kept,
        (Ok(before), Ok(rows)) if before.is_empty() => {
            Held::Violated { count: rows.len(), rows: rows.iter().take(ROWS_SHOWN).cloned().collect() }
        }
        (Ok(_), Ok(_)) => Held::NotJudged,
        (Err(why), Ok(_)) => Held::Refused { why: format!("before the load: {why}") },
    }
}

/// What jobs took while nobody else did anything.
#[derive(Clone, Copy, Debug, Default)]
struct Alone {
    took: Duration,
    met: u64,
    failed: u64,
}

impl Alone {
    /// Adds one. What a failure takes says nothing of the job.
    fn add(&mut self, is_met: bool, took: Duration) {
        match is_met {
            true => (self.took, self.met) = (self.took + took, self.met + 1),
            false => self.failed += 1,
        }
    }

    /// In nanoseconds.
    fn mean(&self) -> Option<f64> {
        (self.met > 0).then(|| self.took.as_nanos() as f64 / self.met as f64)
    }
}

/// Has each actor do its job when nobody else does anything, to see that it can; then what that takes.
async fn alone(job: AppJob, app: &Application, clock: &Clock) -> Result<Alone, MeasureError> {
    let unable = |why: String| MeasureError::Unable(format!("{why} (nothing ran concurrently with it)"));
    let mut all = Vec::new();
    for actor in &app.actors {
        let mut programs = job.open().expect("there is a door for each actor");
        let came = job.once(&mut programs).await;
        if !came.is_met() {
            return Err(unable(job.about(&programs, &came)));
        }
        if let Some((seen, endpoint)) = job.seen.as_ref().zip(programs.endpoint)
            && seen.sessions(endpoint) == 0
        {
            let printed = crate::app::work::said(&programs.worker.output);
            let name = &actor.name;
            let why = "ended and never connected to driftlock's URL: it was given DATABASE_URL and PG*";
            return Err(MeasureError::Unable(format!("{name} {why}{printed}")));
        }
        all.push(programs);
    }
    let (begin, mut alone, mut times) = (Instant::now(), Alone::default(), 0_u32);
    while times == 0 || begin.elapsed() < ALONE && times < ALONE_ROUNDS_MAX {
        for programs in &mut all {
            let since = clock.elapsed();
            let came = job.once(programs).await;
            alone.add(came.is_met(), clock.elapsed() - since);
        }
        times += 1;
    }
    for mut programs in all {
        programs.worker.kill().await;
    }
    Ok(alone)
}

/// Waits until the sessions of programs that have ended are at their end at the server too: what they have left open is
/// then no part of the state.
async fn departed(client: &Client) -> Result<(), MeasureError> {
    const PAUSE: Duration = Duration::from_millis(10);
    let begin = Instant::now();
    while sessions(client).await.map_err(asking)? > 0 {
        if begin.elapsed() > DEPARTURE_MAX {
            let seconds = DEPARTURE_MAX.as_secs();
            let why = format!("the programs have ended, and {seconds} s later sessions of theirs are still open");
            return Err(Lost::new(why).into());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invariant_that_jobs_one_after_the_other_violate_is_not_judged() {
        let (none, some): (Rows, Rows) = (Ok(Vec::new()), Ok(vec![vec!["1".to_owned()]]));
        assert_eq!(judge(&none, &none), Held::Kept);
        assert_eq!(judge(&some, &none), Held::Kept);
        assert_eq!(judge(&some, &some), Held::NotJudged);
        assert!(matches!(judge(&none, &some), Held::Violated { count: 1, .. }));
        assert!(matches!(judge(&none, &Err("no".to_owned())), Held::Refused { .. }));
    }

    #[test]
    fn rows_of_an_invariant_that_was_refused_before_the_load_are_not_taken_to_be_those_of_jobs_alone() {
        let (before, some): (Rows, Rows) = (Err("division by zero".to_owned()), Ok(vec![vec!["1".to_owned()]]));
        let why = "before the load: division by zero".to_owned();
        assert_eq!(judge(&before, &some), Held::Refused { why });
        assert_eq!(judge(&before, &Ok(Vec::new())), Held::Kept);
    }

    #[test]
    fn what_a_failure_takes_is_no_part_of_what_a_job_takes_alone() {
        let mut alone = Alone::default();
        alone.add(false, Duration::from_secs(3));
        assert_eq!((alone.mean(), alone.failed), (None, 1));
        alone.add(true, Duration::from_nanos(10));
        alone.add(true, Duration::from_nanos(20));
        assert_eq!((alone.mean(), alone.failed), (Some(15.0), 1));
    }

    #[test]
    fn a_server_s_address_is_given_in_all_the_ways_that_drivers_ask_for() {
        let given = environment("postgres://me:secret@127.0.0.1:6543/mine").unwrap();
        let given: std::collections::BTreeMap<_, _> = given.into_iter().collect();
        assert_eq!(given["DATABASE_URL"], "postgresql://me:secret@127.0.0.1:6543/mine");
        let names = ["PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"];
        assert_eq!(names.map(|name| given[name].as_str()), ["127.0.0.1", "6543", "me", "secret", "mine"]);
    }
}
