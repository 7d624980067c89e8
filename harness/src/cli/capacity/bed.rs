//! The database that a load is put on.

use std::sync::Arc;
use std::time::Duration;

use drift_engine::lock::{Backend, LockStrategy};
use drift_engine::postgres::classify;
use drift_engine::session::{DbError, Kind};

use super::LoadArgs;
use crate::capacity::alarm::Alarm;
use crate::capacity::calibrate::{Calibration, calibrate};
use crate::capacity::drive::{DriveError, Driven, drive};
use crate::capacity::floor::{Floor, measure};
use crate::capacity::job::{EngineJob, Job};
use crate::capacity::load::Load;
use crate::capacity::lock_script::{LockScript, TABLES};
use crate::capacity::setting::{Lock, Setting, Surroundings, Work, data_of};
use crate::cli::{Context, Failure};
use crate::clock::Clock;
use crate::database::Database;
use crate::database::postgres::PgDatabase;
use crate::fixture::{Copy, Databases, Host, PrepareError, Template};
use crate::provision::{Journal, Profile, RunName, Server, SqliteFiles, Way, sqlite_version};
use crate::scenario::Scenario;

/// How long the engine's statements are measured without the engine, in turns with it.
const FLOOR: Duration = Duration::from_millis(800);

/// The longest that is waited for the system to write down what it still holds.
const SETTLE_MAX: Duration = Duration::from_secs(60);

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
    /// Starts a database that flushes, and fills it.
    ///
    /// # Errors
    /// No database could be had, or somebody interrupted it.
    pub async fn make(args: &LoadArgs, scenario: Scenario, run: &str, context: &Context<'_>) -> Result<Self, Failure> {
        let cancel = context.cancel.clone();
        let making = async {
            let (mut databases, surroundings) = host(args, run, context).await?;
            match databases.template(&scenario, scenario.data.seed).await {
                Ok(template) => Ok((databases, template, surroundings)),
                Err(error) => {
                    let _ = databases.stop().await;
                    Err(error)
                }
            }
        };
        let made = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Failure::interrupted()),
            made = making => made,
        };
        let (databases, template, surroundings) = made.map_err(unprepared)?;
        let clock = Clock::start();
        let alarm = Alarm::start(clock.clone())
            .map_err(|error| Failure::environment(miette::miette!("the system has no thread to give: {error}")))?;
        Ok(Self { databases, template, scenario: Arc::new(scenario), clock, alarm: Arc::new(alarm), surroundings })
    }

    /// What was really added to a round trip of the last load, on average, in nanoseconds.
    pub fn round_trip_added(&self) -> Option<f64> {
        self.alarm.round_trip_added()
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
        context: &Context<'_>,
    ) -> Result<(Option<Calibration>, Driven), Failure> {
        let copy = self.databases.copy(&self.template, &self.scenario).await.map_err(unprepared)?;
        let ran = match work {
            Work::Engine => {
                let job = self.engine_job(&copy, strategy, load);
                let floor = self.floor(&job, &copy, calibrated, context).await;
                match floor {
                    Ok(floor) => self.put(job, &copy, load, calibrated, context).await.map(|(calibration, driven)| {
                        (calibration.map(|calibration| Calibration { floor, ..calibration }), driven)
                    }),
                    Err(failure) => Err(failure),
                }
            }
            Work::Script | Work::Application => unreachable!("scripts and applications have beds of their own"),
            Work::Lock => match self.lock_script(&copy, load).await {
                Ok(job) => self.put(job, &copy, load, calibrated, context).await,
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
        context: &Context<'_>,
    ) -> Result<Option<Floor>, Failure> {
        let config = self.databases.config(copy)?.filter(|_| calibrated);
        let Some(config) = config else { return Ok(None) };
        tokio::select! {
            biased;
            () = context.cancel.cancelled() => Err(Failure::interrupted()),
            floor = measure(job, &config, FLOOR) => floor.map_err(lost),
        }
    }

    async fn put<J: Job>(
        &self,
        job: J,
        copy: &Copy,
        load: &Load,
        calibrated: bool,
        context: &Context<'_>,
    ) -> Result<(Option<Calibration>, Driven), Failure> {
        let (job, cancel) = (Arc::new(job), &context.cancel);
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Failure::interrupted()),
            settled = self.settle(copy) => settled.map_err(lost)?,
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
                () = cancel.cancelled() => return Err(Failure::interrupted()),
                calibration = calibrating => calibration.map_err(undriven)?,
            };
        }
        let driven = drive(job, load, &self.clock, &self.alarm, cancel).await.map_err(undriven)?;
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
    async fn lock_script(&self, copy: &Copy, load: &Load) -> Result<LockScript, Failure> {
        let Database::Postgres(database) = &copy.database else {
            return Err(Failure::usage(miette::miette!("the lock script locks a row of PostgreSQL")));
        };
        fill(database, load.key_count).await.map_err(lost)?;
        let config = self.databases.config(copy)?.expect("it is PostgreSQL");
        let (clock, alarm) = (self.clock.clone(), self.alarm.clone());
        Ok(LockScript { config, round_trip_added: load.round_trip_added, clock, alarm })
    }

    /// Ends the database.
    ///
    /// # Errors
    /// The diagnostics cannot be written.
    pub async fn stop(self, context: &mut Context<'_>) -> Result<(), Failure> {
        if let Err(error) = self.databases.stop().await {
            writeln!(context.err, "warning: {error}")?;
        }
        Ok(())
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

async fn host(args: &LoadArgs, run: &str, context: &Context<'_>) -> Result<(Databases, Surroundings), PrepareError> {
    match args.backend {
        Backend::Postgres => {
            let options = args.postgres.start_options(Profile::Durable);
            let server = Server::start(&options, &RunName::new(run)?, &context.cancel).await?;
            let profile = server.settings().profile().as_str().to_owned();
            let here = Surroundings::here(server.version().to_owned(), server.way().to_string(), profile);
            Ok((Databases::new(Host::Postgres(Box::new(server))).await?, here))
        }
        Backend::Sqlite => {
            let version = sqlite_version().await?;
            let profile = Profile::Durable.as_str().to_owned();
            let here = Surroundings::here(version, "built in".to_owned(), profile);
            let files = SqliteFiles::create(Journal::Wal).await?;
            Ok((Databases::new(Host::Sqlite(files)).await?, here))
        }
    }
}

fn unprepared(error: PrepareError) -> Failure {
    match error {
        PrepareError::Provision(error) => error.into(),
        error if error.is_usage() => Failure::usage(miette::Report::from_err(error)),
        error => Failure::environment(miette::Report::from_err(error)),
    }
}

/// A load that came to nothing.
pub fn undriven(error: DriveError) -> Failure {
    match error {
        DriveError::Interrupted => Failure::interrupted(),
        error => Failure::environment(miette::Report::from_err(error)),
    }
}

/// A database that refuses, or is gone.
pub fn lost(error: DbError) -> Failure {
    Failure::environment(miette::Report::from_err(error))
}
