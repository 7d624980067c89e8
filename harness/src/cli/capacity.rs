//! What `bench` and `plan` share: the load's arguments, and the database that it is put on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use drift_engine::lock::{Backend, LockStrategy};
use drift_engine::session::DbError;

use super::Failure;
use super::common::{parse_backend, quoted};
use super::provisioning::PostgresArgs;
use super::verify::parse_strategy;
use crate::capacity::bed::BedError;
use crate::capacity::drive::DriveError;
use crate::capacity::load::{Arrivals, DURATION_MAX, KeyChoice, Load, RATE_MAX, WORKERS_MAX};
use crate::capacity::setting::Work;
use crate::fixture::PrepareError;
use crate::scenario::application::is_application_at;
use crate::scenario::script::is_script_at;
use crate::scenario::shipped::{SCRIPTS, SHIPPED, Shipped};
use crate::scenario::{Arrival, Keys, Scenario};

impl From<BedError> for Failure {
    fn from(error: BedError) -> Self {
        match error {
            BedError::Interrupted => Self::interrupted(),
            BedError::Prepare(PrepareError::Provision(error)) | BedError::Provision(error) => error.into(),
            BedError::Prepare(error) if error.is_usage() => Self::usage(miette::Report::from_err(error)),
            BedError::Prepare(error) => Self::environment(miette::Report::from_err(error)),
            BedError::Target(error) => error.into(),
            BedError::Drive(error) => undriven(error),
            BedError::Database(error) => lost(error),
            BedError::Thread(_) => Self::environment(miette::Report::from_err(error)),
            BedError::NotPostgres | BedError::NoScenario => Self::usage(miette::Report::from_err(error)),
        }
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

/// How long tasks that are late may still begin after the last arrival.
const DRAIN: Duration = Duration::from_secs(10);

/// What load is put on what.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadArgs {
    /// A scenario file, or the name of a built-in scenario: its data, keys, workers and arrivals are
    /// where the options begin. `bench` also takes a script or an application, whose actors then are
    /// the tasks
    #[arg(value_name = "SCENARIO")]
    pub scenario: PathBuf,
    /// The database
    #[arg(long, value_parser = parse_backend, default_value = "postgres")]
    pub backend: Backend,
    /// The lock; default: the backend's usual one
    #[arg(long, value_parser = parse_strategy)]
    pub strategy: Option<LockStrategy>,
    /// How many tasks at a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(WORKERS_MAX)))]
    pub workers: Option<u32>,
    /// Share this many connections among the workers, instead of one each
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(WORKERS_MAX)))]
    pub pool: Option<u32>,
    /// What a task is
    #[arg(long, value_name = "engine|lock", default_value = "engine")]
    pub script: Work,
    /// How many rows the lock script has; default: one for each customer of the scenario
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rows: Option<u32>,
    /// Whose the tasks are: one, uniform, or zipf:S
    #[arg(long, value_name = "KEYS")]
    pub keys: Option<KeyChoice>,
    /// Added to each round trip: 1ms
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "0s")]
    pub rtt: Duration,
    /// How long the load is on before anything is recorded
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "2s")]
    pub warm_up: Duration,
    /// How long it is recorded
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "10s")]
    pub duration: Duration,
    /// The root of arrivals and keys
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub postgres: PostgresArgs,
}

/// Parses a time with its unit: `1ms`, `10s`, `1m 30s`.
///
/// # Errors
/// It is none, or negative, or longer than an hour.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|_| "a time has a unit: 250us, 1ms, 10s, 2m".to_owned())?;
    let time = Duration::try_from(span).map_err(|_| "a time is not negative".to_owned())?;
    if time > DURATION_MAX { Err(format!("at most {} s", DURATION_MAX.as_secs())) } else { Ok(time) }
}

/// Parses a rate.
///
/// # Errors
/// It is none, or out of bounds.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| *rate > 0.0 && *rate <= RATE_MAX);
    rate.ok_or_else(|| format!("a rate is a number of tasks a second, above 0 and at most {RATE_MAX}"))
}

impl LoadArgs {
    /// Whether a script is meant, and not a scenario.
    pub fn is_script(&self) -> bool {
        let file = &self.scenario;
        let is_spec = file.extension().is_some_and(|extension| extension == "spec");
        let is_shipped = || SCRIPTS.iter().any(|shipped| Path::new(shipped.path) == file);
        match file.is_file() {
            true => is_spec || is_script_at(file),
            false => is_shipped(),
        }
    }

    /// Whether an application is meant.
    pub fn is_application(&self) -> bool {
        self.scenario.is_file() && is_application_at(&self.scenario)
    }

    /// The scenario that is meant.
    ///
    /// # Errors
    /// There is none, something is wrong with it, or it is no load.
    pub fn scenario(&self) -> Result<Scenario, Failure> {
        let name = self.scenario.to_string_lossy();
        let is_application = self.is_application();
        if is_application || self.is_script() {
            let what = if is_application { "an application" } else { "a script" };
            return Err(Failure::usage(miette::miette!(
                help = format!("driftlock bench {name} puts load on it"),
                "{name} is {what}, and this command is for scenarios"
            )));
        }
        let shipped = SHIPPED.iter().map(Shipped::scenario).find(|scenario| scenario.name == *name);
        let scenario = match shipped {
            Some(scenario) if !self.scenario.exists() => scenario,
            _ => Scenario::load(&self.scenario).map_err(|error| Failure::usage(miette::Report::new(error)))?,
        };
        let what = [
            (scenario.fault.is_some(), "a failure is put into a task"),
            (scenario.antagonist, "an actor takes locks in the wrong order"),
            (scenario.arrivals.is_some(), "claims arrive meanwhile"),
        ];
        if let Some((_, what)) = what.into_iter().find(|(is, _)| *is) {
            return Err(Failure::usage(miette::miette!(
                help = "same-run, same-window and many-customers are loads",
                "{} is no load: in it {what}",
                scenario.name
            )));
        }
        Ok(scenario)
    }

    /// The lock that is meant.
    ///
    /// # Errors
    /// It is one of the other backend.
    pub fn strategy(&self) -> Result<LockStrategy, Failure> {
        if self.script == Work::Lock {
            let row = LockStrategy::Row;
            if self.backend != Backend::Postgres || self.strategy.is_some_and(|strategy| strategy != row) {
                return Err(Failure::usage(miette::miette!(
                    "the lock script locks a row of PostgreSQL, and in no other way"
                )));
            }
            return Ok(row);
        }
        if self.rows.is_some() {
            return Err(Failure::usage(miette::miette!("--rows is for --script lock: the engine locks customers")));
        }
        let strategy = self.strategy.unwrap_or_else(|| self.backend.default_strategy());
        if strategy.backend() != self.backend {
            let other = strategy.backend();
            return Err(Failure::usage(miette::miette!("{strategy} is a lock of {other}: --backend {other}")));
        }
        Ok(strategy)
    }

    /// The load that is meant.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn load(&self, scenario: &Scenario, arrivals: Arrivals) -> Result<Load, Failure> {
        let keys = self.keys.unwrap_or(match scenario.tasks.keys {
            Keys::One => KeyChoice::One,
            Keys::Uniform => KeyChoice::Uniform,
            Keys::Zipf { exponent } => KeyChoice::Zipf(exponent),
        });
        let count = self.rows.unwrap_or(scenario.data.customers);
        self.load_of((keys, count), scenario.tasks.workers, arrivals)
    }

    /// The load on these keys, with so many workers if the command does not say how many.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn load_of(&self, keys: (KeyChoice, u32), workers: u32, arrivals: Arrivals) -> Result<Load, Failure> {
        if self.duration.is_zero() {
            return Err(Failure::usage(miette::miette!("--duration 0 measures nothing")));
        }
        let workers = self.workers.unwrap_or(workers);
        if let Some(pool) = self.pool.filter(|pool| *pool > workers) {
            return Err(Failure::usage(miette::miette!("--pool {pool} is more than the {workers} workers can use")));
        }
        Ok(Load {
            arrivals,
            workers,
            pool: self.pool,
            keys: keys.0,
            key_count: keys.1,
            round_trip_added: self.rtt,
            warm_up: self.warm_up,
            duration: self.duration,
            drain: DRAIN,
            seed: self.seed,
        })
    }

    /// The words of a command that puts the same load on again.
    pub fn repeated(&self, command: &str, load: &Load) -> String {
        let mut words = format!(
            "driftlock {command} {} --backend {} --workers {} --warm-up {:?} --duration {:?} --seed {}",
            word(&self.scenario),
            self.backend,
            load.workers,
            load.warm_up,
            load.duration,
            load.seed
        );
        if !self.is_script() && !self.is_application() {
            words.push_str(&format!(" --keys {}", load.keys));
        }
        if let Some(strategy) = self.strategy {
            words.push_str(&format!(" --strategy {strategy}"));
        }
        if self.script == Work::Lock {
            words.push_str(&format!(" --script lock --rows {}", load.key_count));
        }
        if let Some(pool) = load.pool {
            words.push_str(&format!(" --pool {pool}"));
        }
        if !load.round_trip_added.is_zero() {
            words.push_str(&format!(" --rtt {:?}", load.round_trip_added));
        }
        words + &self.postgres.repeated()
    }
}

/// A path as a shell reads it back, bare where that is enough.
fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if text.chars().all(plain) { text } else { quoted(&text) }
}

/// The arrivals that a scenario asks for.
pub fn arrivals_of(scenario: &Scenario) -> Arrivals {
    match scenario.tasks.arrival {
        Arrival::Together => Arrivals::Closed,
        Arrival::Every(interval) => Arrivals::Constant(1.0 / interval.as_secs_f64()),
        Arrival::Poisson { per_second } => Arrivals::Poisson(per_second),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_rates_are_read_and_nonsense_is_not() {
        assert_eq!(parse_time("1ms"), Ok(Duration::from_millis(1)));
        assert_eq!(parse_time("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(parse_time("1m 30s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "1", "-1s", "2h", "1 parsec"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_rate("0.5"), Ok(0.5));
        for wrong in ["", "0", "-1", "nan", "inf", "1e9"] {
            assert!(parse_rate(wrong).is_err(), "{wrong}");
        }
    }
}
