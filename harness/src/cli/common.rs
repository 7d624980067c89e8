//! What `verify` and `mutate` share: their options, the start of the databases, progress, the report.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use drift_engine::lock::Backend;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rand::TryRng;
use rand::rngs::SysRng;
use serde::Serialize;

use super::output;
use super::page::PageArgs;
use super::provisioning::PostgresArgs;
use super::{Context, Failure};
use crate::exit::Exit;
use crate::fixture::{Databases, Host, PrepareError};
use crate::history::History;
use crate::outcome::{BackendUsed, ResultRow, SuiteReport, VerdictKind};
use crate::provision::{Profile, RunName, Server, SqliteFiles, sqlite_version};
use crate::report::directory::{RunDirectory, WriteError};
use crate::report::{html, terminal};
use crate::verify::judge::Judged;
use crate::verify::plan::Case;
use crate::verify::suite::{self, Observer, SuiteError};

/// How the data on standard output is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// A seed, or the wish for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedChoice {
    /// This one.
    Fixed(u64),
    /// A new one, which is printed.
    Random,
}

impl std::str::FromStr for SeedChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "random" => Ok(Self::Random),
            _ => text.parse().map(Self::Fixed).map_err(|_| "a seed is a whole number below 2^64, or random".to_owned()),
        }
    }
}

/// The options that every command with cases has.
#[derive(Clone, Debug, clap::Args)]
pub struct SuiteArgs {
    /// Only cases whose name contains this text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub filter: Vec<String>,
    /// Only this backend.
    #[arg(long, value_parser = parse_backend)]
    pub backend: Option<Backend>,
    /// Print what would run, and stop.
    #[arg(long)]
    pub list: bool,
    /// End after this many seconds: a case that has begun is left, and no further one begun.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub time_limit: Option<u64>,
    /// The root of everything random: a number, or `random`. Default: each scenario's own.
    #[arg(long, value_name = "N|random")]
    pub seed: Option<SeedChoice>,
    /// Where PostgreSQL comes from.
    #[command(flatten)]
    pub postgres: PostgresArgs,
    /// The page.
    #[command(flatten)]
    pub page: PageArgs,
    /// How the result is written to standard output.
    #[arg(long, default_value = "text")]
    pub format: Format,
    /// The directory for the report and the histories. Default: one of its own in target/driftlock.
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// Parses the name of a backend.
///
/// # Errors
/// There is no such backend.
pub fn parse_backend(text: &str) -> Result<Backend, String> {
    let known = Backend::ALL.into_iter().find(|backend| backend.as_str() == text);
    known.ok_or_else(|| "the backends are postgres and sqlite".to_owned())
}

impl SuiteArgs {
    /// The seed for all scenarios, if there is to be one.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn seed(&self, context: &mut Context<'_>) -> Result<Option<u64>, Failure> {
        match self.seed {
            None => Ok(None),
            Some(SeedChoice::Fixed(seed)) => Ok(Some(seed)),
            Some(SeedChoice::Random) => {
                let seed = SysRng.try_next_u64().map_err(|error| {
                    Failure::environment(miette::miette!("the system has no randomness to give: {error}"))
                })?;
                writeln!(context.err, "seed {seed}")?;
                Ok(Some(seed))
            }
        }
    }

    /// Whether a case's name is asked for.
    ///
    /// A filter that is one of `names` means that one only; any other one is looked for within them.
    pub fn wants(&self, name: &str, backend: Backend, names: &[&str]) -> bool {
        let means = |text: &String| match names.contains(&text.as_str()) {
            true => name == text,
            false => name.contains(text.as_str()),
        };
        (self.filter.is_empty() || self.filter.iter().any(means)) && self.backend.is_none_or(|wanted| wanted == backend)
    }

    /// The options that a replay of one case must repeat.
    pub(super) fn repeated(&self) -> String {
        self.postgres.repeated()
    }
}

/// A word as a shell reads it back.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The words of a command that select one case.
pub struct Replay<'a> {
    /// `verify FILE…` or `mutate`.
    pub command: &'a str,
    /// Whether the strategy must be named too.
    pub with_strategy: bool,
}

/// Runs cases from the start of the databases to the exit code.
///
/// # Errors
/// No database could be had, the output cannot be written, or somebody interrupted it.
pub async fn run(
    args: &SuiteArgs,
    replay: &Replay<'_>,
    cases: &[Case<'_>],
    report: SuiteReport,
    context: &mut Context<'_>,
) -> Result<Exit, Failure> {
    let run = run_name(&report.command);
    let directory = output::directory(args.output.as_ref(), &run, context)?;
    let mut report = report;
    report.planned = cases.len();
    let mut progress = Progress { bar: bar(cases.len() as u64), args, replay, directory: &directory, report };
    let mut databases = BTreeMap::new();
    let ended = run_cases(args, &run, cases, &mut databases, &mut progress, context).await;
    progress.bar.finish_and_clear();
    for (_, host) in databases {
        if let Err(error) = host.stop().await {
            writeln!(context.err, "warning: {error}")?;
        }
    }
    let mut report = progress.report;
    report.conclude();
    if report.is_partial() && report.not_verified.is_empty() {
        let run = report.results.len();
        report.not_verified.push(format!("the run ended after {run} of {} cases", report.planned));
    }
    // Where nothing could be run there is nothing to report.
    if ended.is_ok() || !report.results.is_empty() {
        directory.report(&report).map_err(unwritable)?;
    }
    let ended = told_first(ended, report.results.len())?;
    let history = |row: &ResultRow| RunDirectory::read_history(directory.path(), row);
    args.page.write(directory.path(), context, || html::of_suite(&report, &history))?;
    print(&report, args.format, terminal::write, context)?;
    writeln!(context.err, "written to {}", directory.path().display())?;
    ended.map(|exit| exit.worst(verdict_exit(report.verdict)))
}

/// How a run ended that has something to show: who stops it is told what it had come to, before it ends with that.
///
/// # Errors
/// It ended otherwise, or had come to nothing yet.
pub(super) fn told_first<T>(ended: Result<T, Failure>, results: usize) -> Result<Result<T, Failure>, Failure> {
    match ended {
        Err(failure) if failure.exit != Exit::Interrupted || results == 0 => Err(failure),
        ended => Ok(ended),
    }
}

/// Prints a report, for people or for programs.
///
/// # Errors
/// The writer's.
pub fn print<R: Serialize>(
    report: &R,
    format: Format,
    text: impl FnOnce(&R, &mut dyn Write) -> io::Result<()>,
    context: &mut Context<'_>,
) -> io::Result<()> {
    match format {
        Format::Text => text(report, context.out)?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut *context.out, report)?;
            writeln!(context.out)?;
        }
    }
    context.out.flush()
}

/// The exit code that a report's verdict comes to.
pub fn verdict_exit(verdict: VerdictKind) -> Exit {
    match verdict {
        VerdictKind::Pass => Exit::Met,
        VerdictKind::Violation => Exit::Violated,
        VerdictKind::Inconclusive => Exit::Inconclusive,
    }
}

/// Starts the databases that the cases need, and runs the cases. What could not be tried is noted in
/// the report; the exit code says only what the report does not.
async fn run_cases(
    args: &SuiteArgs,
    run: &str,
    cases: &[Case<'_>],
    databases: &mut BTreeMap<Backend, Databases>,
    progress: &mut Progress<'_>,
    context: &mut Context<'_>,
) -> Result<Exit, Failure> {
    let wanted = Backend::ALL.into_iter().filter(|backend| cases.iter().any(|case| case.backend == *backend));
    let mut missing = Vec::new();
    for backend in wanted {
        let started = tokio::select! {
            biased;
            () = context.cancel.cancelled() => return Err(Failure::interrupted()),
            started = start(args, run, backend, context) => started,
        };
        match started {
            Ok((used, host)) => {
                if let Host::Postgres(server) = host.host() {
                    progress.report.profile = server.settings().profile().as_str().to_owned();
                }
                progress.report.backends.push(used);
                databases.insert(backend, host);
            }
            Err(PrepareError::Provision(error)) if error.is_usage() => return Err(Failure::usage(error)),
            Err(PrepareError::Provision(error)) if error.is_cancelled() => return Err(Failure::interrupted()),
            Err(error) => missing.push((backend, error)),
        }
    }
    if databases.is_empty()
        && let Some((_, error)) = missing.pop()
    {
        return Err(Failure::environment(miette::Report::from_err(error)));
    }
    for (backend, error) in missing {
        progress.report.not_verified.push(format!("{backend}: {}", flat(&error)));
    }
    let limit = args.time_limit.map(Duration::from_secs);
    match suite::run(cases, databases, limit, &context.cancel, progress).await.map_err(unwritable)? {
        Ok(0) => Ok(Exit::Met),
        Ok(left) => {
            let total = cases.len();
            progress
                .report
                .not_verified
                .push(format!("{left} of {total} cases have not come to an end within the time limit"));
            Ok(Exit::Met)
        }
        Err(SuiteError::Interrupted) => Err(Failure::interrupted()),
        Err(SuiteError::Prepare { source, .. }) if source.is_usage() => Err(Failure::usage(to_report(source))),
        Err(error) => {
            progress.report.not_verified.push(flat(&error));
            Ok(Exit::Environment)
        }
    }
}

fn to_report(error: PrepareError) -> miette::Report {
    miette::Report::from_err(error)
}

/// An error with what caused it, in one line.
fn flat(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    for cause in std::iter::successors(error.source(), |cause| cause.source()).map(ToString::to_string) {
        // Many errors repeat their cause.
        if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

async fn start(
    args: &SuiteArgs,
    run: &str,
    backend: Backend,
    context: &Context<'_>,
) -> Result<(BackendUsed, Databases), PrepareError> {
    match backend {
        Backend::Postgres => {
            let options = args.postgres.start_options(Profile::Fast);
            let server = Server::start(&options, &RunName::new(run)?, &context.cancel).await?;
            let used = BackendUsed {
                name: backend.to_string(),
                version: server.version().to_owned(),
                provisioned: server.way().to_string(),
            };
            Ok((used, Databases::new(Host::Postgres(Box::new(server))).await?))
        }
        Backend::Sqlite => {
            let (name, version) = (backend.to_string(), sqlite_version().await?);
            let used = BackendUsed { name, version, provisioned: "built in".to_owned() };
            let files = SqliteFiles::create(crate::provision::Journal::Wal).await?;
            Ok((used, Databases::new(Host::Sqlite(files)).await?))
        }
    }
}

/// An output cannot be written.
pub(super) fn unwritable(error: WriteError) -> Failure {
    Failure::environment(miette::Report::from_err(error))
}

/// What this run is called: its command, when it began, and its process.
pub fn run_name(command: &str) -> String {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S").to_string();
    format!("{command}-{now}-{}", std::process::id())
}

/// A bar on a terminal, and nothing elsewhere.
pub(super) fn bar(cases: u64) -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(cases), target);
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {elapsed} {msg}");
    bar.set_style(style.expect("the template is well formed"));
    bar
}

/// Shows how far it is, and keeps what was found.
struct Progress<'a> {
    bar: ProgressBar,
    args: &'a SuiteArgs,
    replay: &'a Replay<'a>,
    directory: &'a RunDirectory,
    report: SuiteReport,
}

impl Progress<'_> {
    fn replay(&self, case: &Case<'_>, row: &ResultRow) -> String {
        let Replay { command, with_strategy } = self.replay;
        let strategy = if *with_strategy { format!(" --strategy {}", case.strategy) } else { String::new() };
        // `mutate` selects by mutant; the protocol as it ships is a matter of `verify`.
        let (command, strategy) = match case.mutant {
            None => (if *command == "mutate" { "verify" } else { *command }, format!(" --strategy {}", case.strategy)),
            Some(_) => (*command, strategy),
        };
        format!(
            "driftlock {command} --filter {} --backend {}{strategy} --seed {}{}",
            row.name,
            case.backend,
            case.seed,
            self.args.repeated()
        )
    }
}

impl Observer for Progress<'_> {
    type Error = WriteError;

    fn begins(&mut self, case: &Case<'_>) {
        let name = case.mutant.map_or(case.scenario.name.as_str(), |mutant| mutant.name);
        self.bar.set_message(format!("{name} on {} with {}", case.backend, case.strategy));
    }

    fn ended(&mut self, case: &Case<'_>, judged: Judged, history: &History) -> Result<(), WriteError> {
        let Judged { mut row, not_applicable } = judged;
        row.replay = self.replay(case, &row);
        self.directory.history(&row, history)?;
        self.report.results.push(row);
        if case.mutant.is_none() && self.report.command == "verify" {
            self.report.not_applicable.extend(not_applicable);
        }
        // Should nothing come after this, it must not read as a run that passed.
        let mut so_far = self.report.clone();
        let (ended, total) = (so_far.results.len(), so_far.planned);
        if so_far.is_partial() {
            so_far.not_verified.push(format!("the run has not come to its end: {ended} of {total} cases have"));
        }
        so_far.conclude();
        self.directory.report(&so_far)?;
        self.bar.inc(1);
        Ok(())
    }
}
