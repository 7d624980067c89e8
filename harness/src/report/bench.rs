//! What `bench` has to say: the report of a run directory, and the same for people.

mod application;
mod shares;
mod steps;

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use comfy_table::{CellAlignment, LineStyle, Table, presets};
use drift_engine::lock::LockStrategy;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::directory::{ReadError, RunDirectory, WriteError};
use super::terminal;
use crate::capacity::application::measure::ApplicationRun;
use crate::capacity::calibrate::{Calibration, Ceiling};
use crate::capacity::compare::machine::Machine;
use crate::capacity::floor::Floor;
use crate::capacity::health::Generator;
use crate::capacity::job::grants;
use crate::capacity::load::Arrivals;
use crate::capacity::log::{self, LogError};
use crate::capacity::parts::{Part, PartRow};
use crate::capacity::phase::Phase;
use crate::capacity::recording::{Recording, Spread};
use crate::capacity::script::steps::{StepRow, do_nothing};
use crate::capacity::setting::{Lock, Setting, Surroundings, Work, differences};
use crate::outcome::{SCHEMA_VERSION, VerdictKind};

/// The file beside the report that holds the histograms.
const HISTOGRAMS: &str = "histograms.hlog";
/// The part of the tasks that may fail in a run that measures anything but failures.
const FAILED_SHARE_MAX: f64 = 0.01;

/// The outcome of `bench`, or of `merge`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// `bench`.
    pub command: String,
    /// Pass: it was measured. Violation: an application's invariant was violated. Inconclusive: see `doubts`.
    pub verdict: VerdictKind,
    /// Why what was measured says nothing about the database.
    pub doubts: Vec<String>,
    /// What was measured.
    pub setting: Setting,
    /// The seeds of the generators that were merged.
    pub seeds: Vec<u64>,
    /// Where.
    pub surroundings: Surroundings,
    /// What it came to.
    pub recording: Recording,
    /// What the generator needed.
    pub generator: Generator,
    /// What the parts take alone, measured in the same run.
    pub calibration: Option<Calibration>,
    /// What was really added to a round trip on average, in nanoseconds; the load says what was asked for.
    #[serde(default)]
    pub round_trip_added: Option<f64>,
    /// What the engine's statements take at least, as a part of its time in the lock under this load.
    #[serde(default)]
    pub floor_share: Option<f64>,
    /// How evenly the workers got on.
    #[serde(default)]
    pub spread: Option<Spread>,
    /// Workers, keys and steps: what their histograms, which are in the log, come to.
    #[serde(default)]
    pub parts: Vec<PartRow>,
    /// Of a script: what its steps came to.
    #[serde(default)]
    pub steps: Vec<StepRow>,
    /// Of an application: what else is known.
    #[serde(default)]
    pub application: Option<ApplicationRun>,
    /// The command that does it again.
    pub replay: String,
}

/// Why runs cannot be read or merged.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The report cannot be read.
    #[error(transparent)]
    Report(#[from] ReadError),
    /// It is of another command.
    #[error("{path} is a run of {command}, and not of bench")]
    Command {
        /// The run's directory.
        path: String,
        /// What wrote it.
        command: String,
    },
    /// The histograms cannot be read.
    #[error("failed to read {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The histograms are damaged.
    #[error("{path}: {source}")]
    Log {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: LogError,
    },
    /// The runs have nothing to do with each other.
    #[error("the runs cannot be put together: {}", .0.join("; "))]
    Differ(Vec<String>),
}

impl BenchReport {
    /// Puts a report together; its verdict follows from what was measured.
    pub fn new(
        setting: Setting,
        surroundings: Surroundings,
        recording: Recording,
        generator: Generator,
        replay: String,
    ) -> Self {
        let seeds = vec![setting.load.seed];
        let mut report = Self {
            schema_version: SCHEMA_VERSION,
            command: "bench".to_owned(),
            verdict: VerdictKind::Inconclusive,
            doubts: Vec::new(),
            setting,
            seeds,
            surroundings,
            recording,
            generator,
            calibration: None,
            round_trip_added: None,
            floor_share: None,
            spread: None,
            parts: Vec::new(),
            steps: Vec::new(),
            application: None,
            replay,
        };
        report.conclude();
        report
    }

    /// Derives the verdict.
    fn conclude(&mut self) {
        self.spread = Spread::of(&self.recording.workers);
        self.parts = self.recording.parts.iter().map(|(part, histogram)| PartRow::new(part, histogram)).collect();
        let in_process = self.setting.backend == drift_engine::lock::Backend::Sqlite;
        let rate = self.setting.load.arrivals.rate();
        self.doubts = self.generator.doubts(&self.recording, rate, in_process);
        let (failed, tasks) = (self.recording.failed, self.recording.tasks());
        if failed as f64 > tasks as f64 * FAILED_SHARE_MAX {
            self.doubts.push(format!("{failed} of {tasks} tasks were given up: what is measured is failures"));
        }
        self.doubts.extend(do_nothing(&self.steps));
        self.doubts.extend(self.application.iter().flat_map(application::doubts));
        self.verdict = match self.application.as_ref().is_some_and(application::is_violated) {
            true => VerdictKind::Violation,
            false if self.doubts.is_empty() => VerdictKind::Pass,
            false => VerdictKind::Inconclusive,
        };
    }

    /// The same with what a script's steps came to.
    pub fn with_steps(mut self, steps: Vec<StepRow>) -> Self {
        self.steps = steps;
        self.conclude();
        self
    }

    /// The same with what else is known of an application.
    pub fn with_application(mut self, run: ApplicationRun) -> Self {
        self.application = Some(run);
        self.conclude();
        self
    }

    /// The same with what was measured beforehand.
    pub fn calibrated(mut self, calibration: Option<Calibration>) -> Self {
        let floor = calibration.and_then(|calibration| calibration.floor);
        let in_lock = self.recording.mean(Phase::InLock).filter(|in_lock| *in_lock > 0.0);
        let least = floor.map(|floor| floor.in_lock(self.setting.load.round_trip_added));
        self.floor_share = least.zip(in_lock).map(|(least, in_lock)| least / in_lock);
        self.calibration = calibration;
        self
    }

    /// The same with what was really added to a round trip.
    pub fn delayed(self, round_trip_added: Option<f64>) -> Self {
        Self { round_trip_added, ..self }
    }

    /// Adds the run of another generator, which put the same load on at the same time with another seed.
    ///
    /// # Errors
    /// [`RunError::Differ`].
    pub fn merge(&mut self, other: &Self) -> Result<(), RunError> {
        let mut differ = differences((&self.setting, &self.surroundings), (&other.setting, &other.surroundings));
        if let Some(seed) = self.seeds.iter().find(|seed| other.seeds.contains(seed)) {
            differ.push(format!("seed: both have {seed}, so both are the same arrivals and keys"));
        }
        if self.application.is_some() || other.application.is_some() {
            differ.push("work: applications, whose invariants and statements are each database's own".to_owned());
        }
        if !differ.is_empty() {
            return Err(RunError::Differ(differ));
        }
        self.recording.merge(&other.recording);
        self.generator.merge(&other.generator);
        self.steps.iter_mut().zip(&other.steps).for_each(|(row, other)| row.merge(other));
        self.round_trip_added = self.round_trip_added.into_iter().chain(other.round_trip_added).reduce(f64::max);
        self.seeds.extend(&other.seeds);
        self.conclude();
        Ok(())
    }

    /// The strategy, if it takes no lock: there is no such thing then as the most that the lock allows.
    fn without_lock(&self) -> Option<LockStrategy> {
        match self.setting.strategy {
            Lock::Strategy(strategy) => grants(strategy).is_none().then_some(strategy),
            Lock::Own { .. } | Lock::Application { .. } => None,
        }
    }

    /// What the lock allows at best; a run of several generators has none, and neither has one without a lock.
    pub fn ceiling(&self) -> Option<Ceiling> {
        // A script's actors are taken to want the same lock: its text does not say which.
        let one_lock = self.setting.backend == drift_engine::lock::Backend::Sqlite || self.setting.work == Work::Script;
        let calibration = self.calibration.filter(|_| self.seeds.len() == 1 && self.without_lock().is_none())?;
        Some(calibration.ceiling(&self.setting.load, one_lock))
    }

    /// What was measured beside it that is not the version's.
    pub fn machine(&self) -> Machine {
        let server = self.calibration.and_then(|calibration| calibration.server);
        let alone = self.calibration.map(|calibration| calibration.service_alone);
        Machine {
            round_trip: server.map(|server| server.round_trip),
            flush: server.map(|server| server.flush),
            alone: alone.or(self.application.as_ref().and_then(|run| run.alone)),
            others: self.generator.others,
            counts_server: !["local", "built in"].contains(&self.surroundings.provisioned.as_str()),
        }
    }

    /// Writes it into a run's directory.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, directory: &RunDirectory) -> Result<(), WriteError> {
        let length = self.setting.load.duration;
        directory.write(HISTOGRAMS, |to| log::write(&self.recording, length, to))?;
        directory.write("report.json", |to| Ok(serde_json::to_writer_pretty(to, self)?))
    }

    /// Reads it from a run's directory.
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn load(directory: &Path) -> Result<Self, RunError> {
        let command = RunDirectory::command(directory)?;
        if command != "bench" {
            return Err(RunError::Command { path: directory.display().to_string(), command });
        }
        let mut report: Self = RunDirectory::read_as(directory)?;
        let path = directory.join(HISTOGRAMS);
        let text =
            RunDirectory::bytes(&path).map_err(|source| RunError::Io { path: path.display().to_string(), source })?;
        (report.recording.histograms, report.recording.parts) =
            log::read(&text).map_err(|source| RunError::Log { path: path.display().to_string(), source })?;
        Ok(report)
    }
}

/// Writes the report for people.
///
/// # Errors
/// The writer's.
pub fn write(report: &BenchReport, to: &mut dyn Write) -> io::Result<()> {
    let BenchReport { setting, recording, surroundings, generator, .. } = report;
    let load = &setting.load;
    writeln!(to, "{} on {} with {}: {}", setting.scenario, setting.backend, setting.strategy, load.arrivals)?;
    let whose = match setting.work {
        Work::Script => format!("{} actors in turn", load.key_count),
        Work::Application => format!("each one of {} actors", load.key_count),
        Work::Engine | Work::Lock => format!("keys {} of {}", load.keys, load.key_count),
    };
    let pool = match (load.pool, setting.work) {
        (Some(pool), _) => format!("{pool} connections"),
        (None, Work::Application) => "programs of its own each".to_owned(),
        (None, _) => "a connection each".to_owned(),
    };
    writeln!(
        to,
        "{} workers ({pool}), {whose}, {:?} after {:?} of warm-up{}\n",
        load.workers * u32::try_from(report.seeds.len()).unwrap_or(u32::MAX),
        load.duration,
        load.warm_up,
        added(load.round_trip_added, report.round_trip_added)
    )?;
    writeln!(to, "{}\n", phases(recording))?;
    for table in times_by_step(recording).into_iter().chain(steps::table(&report.steps)) {
        writeln!(to, "{table}\n")?;
    }
    let tasks = recording.tasks();
    write!(to, "{:.1} tasks/s; {tasks} recorded", recording.throughput())?;
    if let Some(rate) = load.arrivals.rate() {
        write!(to, " of an intended {:.1}/s", rate * report.seeds.len() as f64)?;
    }
    writeln!(to)?;
    if recording.unfinished > 0 {
        writeln!(
            to,
            "the system was overloaded: {} arrivals found nobody free before the end; they count as waiting until then",
            recording.unfinished
        )?;
    }
    let again: u64 = recording.attempts.iter().skip(2).sum();
    if again > 0 || recording.failed > 0 {
        let errors: Vec<String> = recording.errors.iter().map(|(code, count)| format!("{code} × {count}")).collect();
        let most = recording.attempts.iter().rposition(|count| *count > 0).unwrap_or(0);
        writeln!(
            to,
            "{again} tried again (at most {most} tries), {} given up; {}",
            recording.failed,
            errors.join(", ")
        )?;
    }
    if let Some(calibration) = report.calibration.filter(|_| report.seeds.len() == 1) {
        alone(report, &calibration, to)?;
    }
    if let Some(run) = &report.application {
        application::write(run, recording, to)?;
    }
    shares::workers(recording, matches!(load.arrivals, Arrivals::Closed), to)?;
    // Of an application its actors' answers say it.
    if setting.work != Work::Application {
        shares::keys(recording, to)?;
    }
    let others = generator.others.map_or_else(String::new, |part| format!(", others {:.0} %", part * 100.0));
    writeln!(
        to,
        "generator: {:.0} % of {} that its threads can use{others}, {:.2} ms late (p99 {:.2} ms), clock step {} ns",
        generator.cpu_share() * 100.0,
        generator.processors(),
        generator.late_mean / 1e6,
        generator.late_p99 as f64 / 1e6,
        generator.clock_step
    )?;
    writeln!(to, "{} {} ({})", setting.backend, surroundings.version, surroundings.provisioned)?;
    let seeds: Vec<String> = report.seeds.iter().map(u64::to_string).collect();
    writeln!(to, "profile {}, seed {}", terminal::profile(&surroundings.profile), seeds.join(" and "))?;
    for doubt in &report.doubts {
        writeln!(to, "inconclusive: {doubt}")?;
    }
    writeln!(to, "again: {}", report.replay)
}

/// The engine against its statements alone, those of this section of a task.
fn floor_line(floor: &Floor, section: &str, under_load: Option<f64>, to: &mut dyn Write) -> io::Result<()> {
    let part = |nanos: f64| nanos.max(0.0) / floor.engine.max(1.0) * 100.0;
    write!(
        to,
        "\nfloor: {} statements {section}, sent raw {:.3} ms, by the engine {:.3} ms: {:.2} (database {:.0} %, driver \
         and decoding {:.0} %, computing {:.0} %)",
        floor.statements,
        floor.database / 1e6,
        floor.engine / 1e6,
        floor.share(),
        part(floor.database),
        part(floor.operations - floor.database),
        part(floor.engine - floor.operations),
    )?;
    match under_load {
        Some(share) => write!(to, "; under this load {share:.2}"),
        None => Ok(()),
    }
}

/// What the parts of a task take alone, and what follows for the load.
fn alone(report: &BenchReport, calibration: &Calibration, to: &mut dyn Write) -> io::Result<()> {
    let millis = |nanos: f64| format!("{:.3} ms", nanos / 1e6);
    let section = if report.without_lock().is_some() { "after BEGIN" } else { "in the lock" };
    let (service, in_lock) = (millis(calibration.service_alone), millis(calibration.in_lock_alone));
    write!(to, "alone: a task {service}, {section} {in_lock}")?;
    if let Some(server) = calibration.server {
        let [round_trip, flush, hand_off] = [server.round_trip, server.flush, server.hand_off].map(millis);
        write!(to, "; round trip {round_trip}, flush {flush}, hand-off {hand_off}")?;
    }
    if let Some(floor) = calibration.floor {
        floor_line(&floor, section, report.floor_share, to)?;
    }
    writeln!(to)?;
    if let Some(strategy) = report.without_lock() {
        writeln!(to, "ceiling: none by a lock, since {strategy} takes none")?;
    }
    let Some(ceiling) = report.ceiling() else { return Ok(()) };
    write!(to, "ceiling: {:.1}/s on one key, {:.1}/s here", ceiling.one_key, ceiling.whole)?;
    match report.setting.load.arrivals {
        Arrivals::Closed => {
            writeln!(to, "; achieved {:.0} %", report.recording.throughput() / ceiling.whole * 100.0)
        }
        Arrivals::Poisson(_) | Arrivals::Constant(_) => writeln!(to),
    }
}

fn added(asked: Duration, measured: Option<f64>) -> String {
    if asked.is_zero() {
        return String::new();
    }
    let measured = measured.map_or_else(String::new, |nanos| format!(" (measured: {:.3} ms)", nanos / 1e6));
    format!(", {asked:?} added to each round trip{measured}")
}

fn phases(recording: &Recording) -> Table {
    let means = |phase: &Phase| recording.mean(*phase).unwrap_or(0.0);
    let rows = recording.histograms.iter();
    times("ms", rows.map(|(phase, histogram)| (phase.as_str(), means(phase), histogram)))
}

/// The steps of a script, in order.
fn times_by_step(recording: &Recording) -> Option<Table> {
    fn step<'a>((part, histogram): (&'a Part, &'a Histogram<u64>)) -> Option<(&'a str, f64, &'a Histogram<u64>)> {
        match part {
            Part::Step { name, .. } => Some((name, histogram.mean(), histogram)),
            _ => None,
        }
    }
    let mut rows = recording.parts.iter().filter_map(step).peekable();
    rows.peek()?;
    Some(times("step, ms", rows))
}

fn times<'a>(head: &str, rows: impl Iterator<Item = (&'a str, f64, &'a Histogram<u64>)>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header([head, "tasks", "mean", "p50", "p90", "p99", "p99.9", "max"]);
    for (name, mean, histogram) in rows {
        let millis = |nanos: f64| format!("{:.3}", nanos / 1e6);
        let at = |quantile| millis(histogram.value_at_quantile(quantile) as f64);
        table.add_row([
            name.to_owned(),
            histogram.len().to_string(),
            millis(mean),
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            millis(histogram.max() as f64),
        ]);
    }
    table.column_iter_mut().skip(1).for_each(|column| {
        column.set_cell_alignment(CellAlignment::Right);
    });
    table
}

#[cfg(test)]
mod tests;
