//! Rust functions as actors, from a test of yours: no file, and no program to start.
//!
//! Each actor is an async function that gets the URL of a database of its own run, and does with it what your code does:
//! through sqlx, tokio-postgres or whatever speaks PostgreSQL's protocol and is awaited. [`Race::explore`] visits every order of
//! what they ask of the database that matters, and [`Race::verify`] runs them freely, many times over.
//!
//! ```
//! use driftlock::race::Race;
//! use tokio_postgres::NoTls;
//!
//! /// Reads, and writes what it has read and one more: an update is lost where two do so at the same time.
//! async fn count(url: String) -> Result<(), tokio_postgres::Error> {
//!     let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
//!     tokio::spawn(connection);
//!     let value: i32 = client.query_one("SELECT value FROM counter", &[]).await?.get(0);
//!     client.execute("UPDATE counter SET value = $1", &[&(value + 1)]).await?;
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), driftlock::race::RaceError> {
//! let raced = Race::new("counter")
//!     .setup("CREATE TABLE counter (value int); INSERT INTO counter VALUES (0)")
//!     .actors("counter", 2, count)
//!     .invariant("counted-twice", "SELECT value FROM counter WHERE value <> 2")
//!     .explore()
//!     .await?;
//! assert!(raced.violates("counted-twice"), "{raced}");
//! # Ok(())
//! # }
//! ```
//!
//! In a test, [`Raced::assert_holds`] fails it, with the order that shows why. [`Race::faults`] asks what becomes of a lost
//! connection, a deadlock or a killed actor, at every place.
//!
//! # What a function must do
//!
//! - Connect by itself, each time that it is called: a pool of the process's would mix up the actors. Its connections end with
//!   it. It is called once for each order, on a thread and a runtime of its own, so it need not be `Send`.
//! - Await: one that blocks its thread cannot be ended where it is stuck, and the search fails then.
//! - Share nothing with another actor outside of the database, as a mutex: whoever waits there is not waited for, and the
//!   search is then bounded.
//! - Answer nothing that differs by itself, as a time or a random number: answers are compared, by their `Debug` form.
//! - Return an error where the actor has failed: that is a violation. What your code expects (sold out, taken) is an answer.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use drift_engine::lock::Backend;
use tokio_postgres::NoTls;
use tokio_util::sync::CancellationToken;

use crate::explore::application::case::explore_application;
use crate::explore::application::{AppWorld, Looking};
use crate::explore::case::Options;
use crate::explore::hosts::{HostError, Hosts};
use crate::explore::judge::Limit;
use crate::explore::search::Strategy;
use crate::explore::world::Lost;
use crate::outcome::VerdictKind;
use crate::provision::{PostgresChoice, Profile, StartOptions};
use crate::report::{explored, rounds};
use crate::scenario::application::{AppActor, Application, Code, Job, SetUp};
use crate::scenario::script::{ACTORS_MAX, FaultKind, NamedQuery};
use crate::verify::{applications, rounds::Options as RoundOptions};

/// How long a set-up may take, and how long an actor may neither speak to the database nor end.
const SETUP_MAX: Duration = Duration::from_secs(120);
const SILENT_MAX: Duration = Duration::from_secs(30);

/// Actors, what is there before them, and what must hold after them.
#[derive(Clone, Debug)]
pub struct Race {
    name: String,
    setup: Option<SetUp>,
    actors: Vec<AppActor>,
    invariants: Vec<NamedQuery>,
    is_serial: Option<bool>,
    postgres: PostgresChoice,
    limit: Option<Limit>,
    faults: Vec<FaultKind>,
}

impl Race {
    /// Nobody yet. The name is that of what is shown.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            setup: None,
            actors: Vec::new(),
            invariants: Vec::new(),
            is_serial: None,
            postgres: PostgresChoice::Auto,
            limit: None,
            faults: Vec::new(),
        }
    }

    /// SQL that makes the state in which everything begins, as one message.
    pub fn setup(self, sql: &str) -> Self {
        let sql = sql.to_owned();
        self.setup_with(async move |url: String| {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await.map_err(|error| told(&error))?;
            tokio::spawn(connection);
            client.batch_execute(&sql).await.map_err(|error| told(&error))
        })
    }

    /// A function that makes it, as your migrations; instead of SQL.
    pub fn setup_with<T: fmt::Debug, E: fmt::Display>(
        mut self,
        function: impl AsyncFn(String) -> Result<T, E> + Send + Sync + 'static,
    ) -> Self {
        self.setup = Some(SetUp::Code(Code::new(function)));
        self
    }

    /// An actor.
    pub fn actor<T: fmt::Debug, E: fmt::Display>(
        self,
        name: &str,
        function: impl AsyncFn(String) -> Result<T, E> + Send + Sync + 'static,
    ) -> Self {
        self.actors(name, 1, function)
    }

    /// Several actors that do the same; of more than one, the names end with `-1`, `-2` and so on.
    pub fn actors<T: fmt::Debug, E: fmt::Display>(
        mut self,
        name: &str,
        count: usize,
        function: impl AsyncFn(String) -> Result<T, E> + Send + Sync + 'static,
    ) -> Self {
        let code = Code::new(function);
        let named = |number: usize| if count == 1 { name.to_owned() } else { format!("{name}-{number}") };
        self.actors.extend((1..=count).map(|number| AppActor {
            name: named(number),
            job: Job::Code(code.clone()),
            env: [].into(),
        }));
        self
    }

    /// A query that must return no row at the end. Without any, every end must be one that the actors come to one after
    /// another, in some order.
    pub fn invariant(mut self, name: &str, sql: &str) -> Self {
        self.invariants.push(NamedQuery { name: name.to_owned(), sql: sql.to_owned() });
        self
    }

    /// Whether ends are compared with those of the actors one after another, where there are invariants too.
    pub fn serial(mut self, is_serial: bool) -> Self {
        self.is_serial = Some(is_serial);
        self
    }

    /// Where PostgreSQL comes from. By default `DRIFTLOCK_POSTGRES_URL`, else local server binaries, else a container.
    pub fn postgres(mut self, choice: PostgresChoice) -> Self {
        self.postgres = choice;
        self
    }

    /// After how many orders or how much time a search ends, with no answer then. By default it goes to its end.
    pub fn budget(mut self, limit: Limit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// What is to fail in a search: each of these kinds comes once at each thing that an actor asks of the database, and all
    /// orders that matter of the rest are visited. `verify` lets nothing fail.
    pub fn faults(mut self, kinds: impl IntoIterator<Item = FaultKind>) -> Self {
        self.faults.extend(kinds);
        self
    }

    /// Visits every order that matters.
    ///
    /// Cancellation: everything that was started is ended.
    ///
    /// # Errors
    /// There is no database, the set-up fails, or an actor neither goes on nor ends.
    pub async fn explore(self) -> Result<Raced, RaceError> {
        self.run(Way::Explore).await
    }

    /// Runs the actors freely, so many rounds, with the contention at COMMIT arranged.
    ///
    /// Cancellation: everything that was started is ended.
    ///
    /// # Errors
    /// As those of [`explore`](Self::explore).
    pub async fn verify(self, rounds: u64) -> Result<Raced, RaceError> {
        self.run(Way::Verify(RoundOptions { rounds, seed: 1 })).await
    }

    /// Boxed, so that all that a search calls is compiled here, and not once more in every test.
    fn run(self, way: Way) -> Pin<Box<dyn Future<Output = Result<Raced, RaceError>>>> {
        Box::pin(run(self, way))
    }

    fn application(&self) -> Result<Application, RaceError> {
        let wrong = |what: String| Err(RaceError::Wrong { what });
        if self.actors.is_empty() || self.actors.len() > ACTORS_MAX {
            return wrong(format!("it has {} actors; it must have 1 to {ACTORS_MAX}", self.actors.len()));
        }
        let names = self.actors.iter().map(|actor| &actor.name).chain(self.invariants.iter().map(|one| &one.name));
        let names: Vec<&String> = names.collect();
        if let Some(twice) = names.iter().enumerate().find_map(|(at, name)| names[..at].contains(name).then_some(name))
        {
            return wrong(format!("two actors or invariants are called {twice}: names tell them apart"));
        }
        Ok(Application {
            name: self.name.clone(),
            summary: self.name.clone(),
            directory: PathBuf::from("."),
            setup: self.setup.clone(),
            setup_max: SETUP_MAX,
            reset: None,
            silent_max: SILENT_MAX,
            server: None,
            actors: self.actors.clone(),
            serial: self.is_serial.unwrap_or(self.invariants.is_empty()),
            invariants: self.invariants.clone(),
            violates: None,
            faults: self.faults.clone(),
        })
    }
}

/// What is done with the actors.
enum Way {
    Explore,
    Verify(RoundOptions),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raced {
    /// `Pass` only where it was seen to hold.
    pub verdict: VerdictKind,
    /// What was done, and how far: exhausted, bounded, stopped.
    pub evidence: String,
    /// The violations, one a check, each with the order that shows it.
    pub violations: Vec<Violation>,
}

/// A violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What was violated: an invariant by its name, `exits` (an actor failed), `serial`, `stuck`, …
    pub check: String,
    /// The order, as a table with a column for each actor, and what is wrong with it.
    pub table: String,
}

impl Raced {
    /// Whether this check was violated.
    pub fn violates(&self, check: &str) -> bool {
        self.violations.iter().any(|violation| violation.check == check)
    }

    /// Fails a test, with what was found, unless the race was seen to hold.
    ///
    /// # Panics
    /// Something was violated, or there is no answer.
    #[track_caller]
    pub fn assert_holds(&self) {
        assert!(self.verdict == VerdictKind::Pass, "{self}");
    }
}

impl fmt::Display for Raced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.verdict.as_str(), self.evidence)?;
        self.violations.iter().try_for_each(|violation| write!(f, "\n{}", violation.table))
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RaceError {
    /// The race makes no sense.
    #[error("{what}")]
    Wrong {
        /// What is wrong with it.
        what: String,
    },
    /// There is no database, the set-up fails, or an actor neither goes on nor ends.
    #[error(transparent)]
    Host(#[from] HostError),
    /// What was found cannot be written down.
    #[error("what was found cannot be shown: {0}")]
    Shown(#[from] std::io::Error),
}

impl From<Lost> for RaceError {
    fn from(lost: Lost) -> Self {
        Self::Host(lost.into())
    }
}

/// An error of the database's, with what the server says.
fn told(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => error.to_string(),
    }
}

async fn run(race: Race, way: Way) -> Result<Raced, RaceError> {
    let app = Arc::new(race.application()?);
    let start = StartOptions { choice: race.postgres.clone(), pg_bin: None, profile: Profile::Fast, tcp: false };
    let mut hosts = Hosts::new(start, CancellationToken::new());
    let raced = on(&mut hosts, &app, &race, way).await;
    let stopped = hosts.stop().await;
    let raced = raced?;
    stopped.map_err(HostError::from)?;
    Ok(raced)
}

async fn on(hosts: &mut Hosts, app: &Arc<Application>, race: &Race, way: Way) -> Result<Raced, RaceError> {
    hosts.ready(Backend::Postgres).await?;
    let looking = if matches!(way, Way::Explore) { Looking::Footprints } else { Looking::Answers };
    let mut world = hosts.application(app.clone(), looking).await?;
    let raced = match way {
        Way::Explore => explored(&mut world, app, race).await,
        Way::Verify(options) => verified(&mut world, app, options).await,
    };
    let closed = world.close().await;
    let raced = raced?;
    closed?;
    Ok(raced)
}

async fn explored(world: &mut AppWorld, app: &Arc<Application>, race: &Race) -> Result<Raced, RaceError> {
    let (strategy, executions) = (Strategy::Exhaustive, Arc::new(AtomicU64::new(0)));
    let options = Options { strategy, seed: 1, limit: race.limit, all: false, executions };
    let (explored, _, confirmed) = explore_application(world, app, &app.faults, &options).await?;
    let (verdict, evidence) = explored.verdict(None, app.actors.len(), strategy);
    let mut violations = Vec::new();
    for of in confirmed {
        let (check, with_rows) = (of.shown.found.check.clone(), of.with_rows());
        let (script, until) = (&of.shown.script, with_rows.execution.taken.len());
        let mut table = Vec::new();
        explored::counterexample(script, &with_rows, until, &mut table)?;
        violations.push(Violation { check, table: String::from_utf8_lossy(&table).into_owned() });
    }
    Ok(Raced { verdict, evidence, violations })
}

async fn verified(world: &mut AppWorld, app: &Arc<Application>, options: RoundOptions) -> Result<Raced, RaceError> {
    let ran = applications::run(world, app, options, &AtomicU64::new(0)).await?;
    let (verdict, evidence) = ran.verdict(None);
    let mut violations = Vec::new();
    for found in &ran.found {
        let mut table = Vec::new();
        if let Some(script) = &found.script {
            rounds::violation(&rounds::ShownRound::new(script, found), &mut table)?;
        }
        let table = String::from_utf8_lossy(&table).into_owned();
        violations.push(Violation { check: found.check.clone(), table });
    }
    Ok(Raced { verdict, evidence, violations })
}
