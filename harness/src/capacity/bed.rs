//! The database that a scenario's load is put on: what `driftlock bench SCENARIO` does is [`bench()`] on a [`Bed`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use drift_engine::lock::{Backend, LockStrategy};
use drift_engine::postgres::classify;
use drift_engine::session::{DbError, Kind};

use tokio_util::sync::CancellationToken;

use super::alarm::Alarm;
use super::calibrate::{Calibration, calibrate};
use super::drive::{DriveError, Driven, drive};
use super::floor::{Floor, measure};
use super::job::{EngineJob, Job};
use super::load::Load;
use super::lock_script::{LockScript, TABLES};
use super::setting::{Lock, Setting, Surroundings, Work, data_of};
use crate::clock::Clock;
use crate::database::Database;
use crate::database::postgres::PgDatabase;
use crate::fixture::{Copy, Databases, Host, PrepareError, Template};
use crate::isolation::TargetError;
use crate::provision::{
    Journal, Profile, ProvisionError, RunName, Server, SqliteFiles, StartOptions, Way, sqlite_version,
};
use crate::scenario::Scenario;

/// How long the engine's statements are measured without the engine, in turns with it.
const FLOOR: Duration = Duration::from_millis(800);

/// The longest that is waited for the system to write down what it still holds.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BedError {
    /// Somebody said so.
    #[error("interrupted")]
    Interrupted,
    /// The database could not be prepared.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// There is no database, or it could not be dropped.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// The database has no address that can be used.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The load came to nothing.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// The database refuses, or is gone.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The system has no thread to give.
    #[error("the system has no thread to give: {0}")]
    Thread(#[source] io::Error),
    /// A script's or an application's load is put on elsewhere.
    #[error("a scenario's task is the engine's or the lock script's")]
    NoScenario,
    /// The lock script is not for SQLite.
    #[error("the lock script locks a row of PostgreSQL")]
    NotPostgres,
}

/// What a load came to.
pub struct Benched {
    /// What was measured.
    pub setting: Setting,
    /// Where.
    pub surroundings: Surroundings,
    /// What its parts take alone.
    pub calibration: Option<Calibration>,
    /// What was recorded.
    pub driven: Driven,
    /// What was really added to a round trip, on average, in nanoseconds.
    pub round_trip_added: Option<f64>,
}

/// Measures what a load's parts take alone, then puts it on a fresh copy of the data.
///
/// Cancellation: the bed can be used again.
///
/// # Errors
/// See [`BedError`].
pub async fn bench(
    bed: &mut Bed,
    (work, strategy): (Work, LockStrategy),
    load: &Load,
    cancel: &CancellationToken,
) -> Result<Benched, BedError> {
    let (calibration, driven) = bed.run((work, strategy), load, true, cancel).await?;
    Ok(Benched {
        setting: bed.setting(work, strategy, load),
        surroundings: bed.surroundings.clone(),
        calibration,
        driven,
        round_trip_added: bed.alarm.round_trip_added(),
    })
}

/// A database with a scenario's data, and what puts a load on it.
pub struct Bed {
    databases: Databases,
    template: Template,
    scenario: Arc<Scenario>,
    clock: Clock,
    alarm: Arc<Alarm>,
    /// Where it is measured.
    pub surroundings: Surroundings,
}

impl Bed {
    /// Starts a database that flushes, and fills it. `start` is about a server; its profile should be durable.
    ///
    /// # Errors
    /// No database could be had, or somebody interrupted it.
    pub async fn make(
        backend: Backend,
        start: &StartOptions,
        scenario: Scenario,
        run: &str,
        cancel: &CancellationToken,
    ) -> Result<Self, BedError> {
        let making = async {
            let (mut databases, surroundings) = host(backend, start, run, cancel).await?;
            match databases.template(&scenario, scenario.data.seed).await {
                Ok(template) => Ok((databases, template, surroundings)),
                Err(error) => {
                    let _ = databases.stop().await;
                    Err(error)
                }
            }
        };
        let made: Result<_, PrepareError> = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(BedError::Interrupted),
            made = making => made,
        };
        let (databases, template, surroundings) = made?;
        let clock = Clock::start();
        let alarm = Alarm::start(clock.clone()).map_err(BedError::Thread)?;
        Ok(Self { databases, template, scenario: Arc::new(scenario), clock, alarm: Arc::new(alarm), surroundings })
    }

    /// What will have been measured.
    pub fn setting(&self, work: Work, strategy: LockStrategy, load: &Load) -> Setting {
        Setting {
            scenario: self.scenario.name.clone(),
            work,
            backend: strategy.backend(),
            strategy: Lock::Strategy(strategy),
            max_attempts: self.scenario.tasks.max_attempts,
            data: data_of(&self.scenario),
            load: load.clone(),
        }
    }

    /// Puts a load on a fresh copy of the data, after measuring what its parts take alone if that is wanted.
    ///
    /// # Errors
    /// The database is lost, or somebody interrupted it.
    pub async fn run(
        &mut self,
        (work, strategy): (Work, LockStrategy),
        load: &Load,
        calibrated: bool,
        cancel: &CancellationToken,
    ) -> Result<(Option<Calibration>, Driven), BedError> {
        let copy = self.databases.copy(&self.template, &self.scenario).await?;
        let ran = match work {
            Work::Engine => {
                let job = self.engine_job(&copy, strategy, load);
                let floor = self.floor(&job, &copy, calibrated, cancel).await;
                match floor {
                    Ok(floor) => self.put(job, &copy, load, calibrated, cancel).await.map(|(calibration, driven)| {
                        (calibration.map(|calibration| Calibration { floor, ..calibration }), driven)
                    }),
                    Err(failure) => Err(failure),
                }
            }
            Work::Script | Work::Application => Err(BedError::NoScenario),
            Work::Lock => match self.lock_script(&copy, load).await {
                Ok(job) => self.put(job, &copy, load, calibrated, cancel).await,
                Err(failure) => Err(failure),
            },
        };
        let discarded = self.databases.discard(copy).await;
        let ran = ran?;
        discarded?;
        Ok(ran)
    }

    /// Has everything written to the disk that is not the load's: what making the copy left in a server's memory, and
    /// what the system still holds of anybody's. A flush that has to wait for that says nothing about the job. A given
    /// server and its disk are left alone.
    async fn settle(&self, copy: &Copy) -> Result<(), DbError> {
        if let (Host::Postgres(server), Database::Postgres(database)) = (self.databases.host(), &copy.database) {
            if server.way() == Way::Given {
                return Ok(());
            }
            let mut connection = database.plain().await?;
            let failed = |error| classify(error, Kind::Write);
            sqlx::raw_sql("CHECKPOINT").execute(&mut connection).await.map_err(failed)?;
            let _ = sqlx::Connection::close(connection).await;
        }
        // A thread of its own: nobody who stops waits for a disk that does not answer. One that is busy for longer than
        // this with others' work is seen in what is measured.
        let (written, all_written) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            nix::unistd::sync();
            let _ = written.send(());
        });
        let _ = tokio::time::timeout(SETTLE_MAX, all_written).await;
        Ok(())
    }

    /// What the engine's statements take without the engine, where there is a server.
    async fn floor(
        &self,
        job: &EngineJob,
        copy: &Copy,
        calibrated: bool,
        cancel: &CancellationToken,
    ) -> Result<Option<Floor>, BedError> {
        let config = self.databases.config(copy)?.filter(|_| calibrated);
        let Some(config) = config else { return Ok(None) };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(BedError::Interrupted),
            floor = measure(job, &config, FLOOR) => Ok(floor?),
        }
    }

    async fn put<J: Job>(
        &self,
        job: J,
        copy: &Copy,
        load: &Load,
        calibrated: bool,
        cancel: &CancellationToken,
    ) -> Result<(Option<Calibration>, Driven), BedError> {
        let job = Arc::new(job);
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(BedError::Interrupted),
            settled = self.settle(copy) => settled?,
        }
        let mut calibration = None;
        if calibrated {
            let server = match &copy.database {
                Database::Postgres(database) => Some(database),
                Database::Sqlite(_) => None,
            };
            let calibrating = calibrate(job.clone(), load, server, &self.clock, &self.alarm, cancel);
            calibration = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(BedError::Interrupted),
                calibration = calibrating => calibration?,
            };
        }
        let driven = drive(job, load, &self.clock, &self.alarm, cancel).await?;
        Ok((calibration, driven))
    }

    fn engine_job(&self, copy: &Copy, strategy: LockStrategy, load: &Load) -> EngineJob {
        EngineJob {
            database: copy.database.clone(),
            scenario: self.scenario.clone(),
            strategy,
            round_trip_added: load.round_trip_added,
            clock: self.clock.clone(),
            alarm: self.alarm.clone(),
            seed: load.seed,
        }
    }

    /// The lock script, on tables with a row for each key.
    async fn lock_script(&self, copy: &Copy, load: &Load) -> Result<LockScript, BedError> {
        let Database::Postgres(database) = &copy.database else {
            return Err(BedError::NotPostgres);
        };
        fill(database, load.key_count).await?;
        let config = self.databases.config(copy)?.expect("it is PostgreSQL");
        let (clock, alarm) = (self.clock.clone(), self.alarm.clone());
        Ok(LockScript { config, round_trip_added: load.round_trip_added, clock, alarm })
    }

    /// Ends the database.
    ///
    /// # Errors
    /// Something could not be removed.
    pub async fn stop(self) -> Result<(), ProvisionError> {
        self.databases.stop().await
    }
}

/// Makes the tables of the lock script, with this many rows.
///
/// # Errors
/// The database refuses.
pub async fn fill(database: &PgDatabase, rows: u32) -> Result<(), DbError> {
    let mut connection = database.plain().await?;
    let failed = |error| classify(error, Kind::Write);
    sqlx::raw_sql(TABLES).execute(&mut connection).await.map_err(failed)?;
    let insert = sqlx::query("INSERT INTO bench_rows SELECT generate_series(1, $1::bigint)").bind(i64::from(rows));
    insert.execute(&mut connection).await.map_err(failed)?;
    sqlx::raw_sql("ANALYZE bench_rows").execute(&mut connection).await.map_err(failed)?;
    let _ = sqlx::Connection::close(connection).await;
    Ok(())
}

async fn host(
    backend: Backend,
    start: &StartOptions,
    run: &str,
    cancel: &CancellationToken,
) -> Result<(Databases, Surroundings), PrepareError> {
    let (host, version, provisioned, profile) = match backend {
        Backend::Postgres => {
            let server = Server::start(start, &RunName::new(run)?, cancel).await?;
            let (version, way) = (server.version().to_owned(), server.way().to_string());
            let profile = server.settings().profile();
            (Host::Postgres(Box::new(server)), version, way, profile)
        }
        Backend::Sqlite => {
            let files = SqliteFiles::create(Journal::Wal).await?;
            (Host::Sqlite(files), sqlite_version().await?, "built in".to_owned(), Profile::Durable)
        }
    };
    let here = Surroundings::here(version, provisioned, profile.as_str().to_owned());
    Ok((Databases::new(host).await?, here))
}
