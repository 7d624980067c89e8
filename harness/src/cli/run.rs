//! `driftlock run`: everything that `driftlock.toml` says, one run after another, with one summary and one exit code.

mod each;
mod line;
mod regressions;
pub(super) mod versions;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::common::{Format, print, run_name, unwritable};
use super::output;
use super::provisioning::PostgresArgs;
use super::{Context, Failure};
use crate::exit::Exit;
use crate::overall::accepted::Acceptance;
use crate::overall::{OverallReport, RunRow};
use crate::provision::PostgresChoice;
use crate::report::directory::{OUTPUT, RunDirectory};
use crate::report::{junit, overall};
use crate::scenario::project::{CommandName, DEFAULT_PROFILE, FILE, Project, Run};
use line::Planned;

/// How many directories above are searched for the project's file.
const ABOVE_MAX: usize = 32;

/// Runs what driftlock.toml says: verify, mutate, explore and rehearse, with one summary and one exit code
///
/// The file is the nearest driftlock.toml, here or above, within the same checkout; `driftlock init --ci` writes a
/// commented one. Each [[run]] is a command with its files and options; a [profile.NAME] selects runs and has options of
/// its own. All of it is looked at before anything is begun: a mistake, or a file that is not there, is told with
/// its line, and nothing is run.
///
/// The schedules in driftlock/regressions (schedule-*.json, copied there) are replayed first, on their scripts as they
/// are now. A violation that `[[accepted]]` names does not fail a run until the day after its date.
///
/// The run directory has the whole as report.json, junit.xml and report.md, and of each run a directory of its name
/// with that command's own report and what it printed.
///
/// Exit codes: the strongest of the runs': 130 interrupted; 2 a mistake; 1 a violation; 4 no database; 5 a regression;
/// 3 no answer; 0 all as expected.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only these runs, by name; regressions are those that are replayed
    #[arg(value_name = "RUN")]
    pub runs: Vec<String>,

    /// The profile
    #[arg(long, value_name = "NAME", default_value = DEFAULT_PROFILE)]
    pub profile: String,

    /// The project's file, instead of the nearest driftlock.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Have every rehearsal be of what has changed since HEAD left this branch or commit (rehearse --changed)
    #[arg(long, value_name = "BASE")]
    pub changed: Option<String>,

    /// Print what would be run, with its cases, and stop
    #[arg(long)]
    pub list: bool,

    /// Also append the summary to this file, as Markdown: in a GitHub workflow "$GITHUB_STEP_SUMMARY"
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,

    /// Print the summary alone, without what each run prints: that is in its directory
    #[arg(long, short)]
    pub quiet: bool,

    /// How the summary is written to standard output; with json, nothing else is
    #[arg(long, default_value = "text")]
    pub format: Format,

    /// The directory for the reports. Default: one of its own in target/driftlock
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    /// Where PostgreSQL comes from, instead of what the file says
    #[arg(long, value_name = "auto|local|docker|URL")]
    pub postgres: Option<PostgresChoice>,

    /// The directory that holds initdb and postgres
    #[arg(long, value_name = "DIR")]
    pub pg_bin: Option<PathBuf>,
}

impl Args {
    /// Where PostgreSQL comes from, as the command line has it.
    fn over(&self, postgres: &mut PostgresArgs) {
        if let Some(choice) = &self.postgres {
            postgres.postgres = choice.clone();
        }
        if let Some(directory) = &self.pg_bin {
            postgres.pg_bin = Some(directory.clone());
        }
    }
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let file = match &args.config {
        Some(file) => file.clone(),
        None => nearest()?,
    };
    let project = Project::load(&file, &line::check).map_err(Failure::usage)?;
    let runs = selected(&project, &args, &file)?;
    // The same workflow serves repositories, and profiles, that have no migrations.
    if args.changed.is_some() && runs.iter().all(|run| run.command != CommandName::Rehearse) {
        writeln!(context.err, "note: --changed is about rehearsals, and there is none among these runs")?;
    }
    let mut planned = Vec::new();
    if args.runs.is_empty() || args.runs.iter().any(|name| name == regressions::NAME) {
        planned.extend(Planned::of_regressions(&project, &args)?);
    }
    for run in &runs {
        planned.push(Planned::new(run, &args)?);
    }
    if planned.is_empty() {
        let directory = project.regressions.display();
        return Err(Failure::usage(miette::miette!("there is no schedule (*.json) in {directory}")));
    }
    let today = jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::now()).date();
    let acceptance = Acceptance { entries: &project.accepted, today };
    let goes_on = match each::looked_at(&planned, acceptance, args.list, context).await? {
        Ok(goes_on) => goes_on,
        Err(exit) => return Ok(exit),
    };
    if args.list {
        return Ok(Exit::Met);
    }
    let path = output::path(args.output.as_ref(), &run_name("run"));
    // What cannot be written later is better known now.
    let summary = args.summary.as_deref().map(appended).transpose()?;
    let earlier = RunDirectory::read_as::<OverallReport>(&path).ok();
    let directory = RunDirectory::create(path).map_err(unwritable)?;
    clear(&directory, earlier, &planned);
    let rows = planned.iter().map(|planned| RunRow::new(&planned.name, &planned.line)).collect();
    let mut report = OverallReport::new(&args.profile, rows);
    let all = each::All { planned: &planned, goes_on, acceptance, regressions: &project.regressions };
    let is_shown = args.format == Format::Text && !args.quiet;
    each::run(&all, &directory, &mut report, is_shown, context).await?;
    report.notes = acceptance.notes(&report.report.results, runs.len() == project.runs.len());
    write(&directory, &report)?;
    if let Some(file) = summary {
        summarise(file, &directory, &report)?;
    }
    print(&report, args.format, overall::write, context)?;
    writeln!(context.err, "written to {}", directory.path().display())?;
    Ok(report.exit())
}

/// The nearest project's file, here or above, within the same checkout.
fn nearest() -> Result<PathBuf, Failure> {
    let mut directory = PathBuf::new();
    for _ in 0..ABOVE_MAX {
        let file = directory.join(FILE);
        if file.exists() {
            return Ok(file);
        }
        // A checkout's directory has it, and a worktree's file of that name.
        if directory.join(".git").exists() {
            break;
        }
        directory.push("..");
    }
    Err(Failure::usage(miette::miette!(
        help = "driftlock init --ci sh writes one to begin with; --config FILE names one elsewhere",
        "there is no {FILE} here, or above within the same checkout"
    )))
}

/// The runs that are asked for.
fn selected(project: &Project, args: &Args, file: &Path) -> Result<Vec<Run>, Failure> {
    let wrong = |why: String| {
        let file = file.display();
        Failure::usage(miette::miette!(help = "driftlock run --list shows what there is", "{file}: {why}"))
    };
    let runs = project.runs_of(&args.profile).map_err(wrong)?;
    let is_known = |name: &str| name == regressions::NAME || runs.iter().any(|run| run.name == name);
    if let Some(unknown) = args.runs.iter().find(|name| !is_known(name)) {
        let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
        let (names, profile) = (names.join(", "), &args.profile);
        return Err(wrong(format!("there is no run {unknown} in profile {profile}; there are {names}")));
    }
    Ok(runs.into_iter().filter(|run| args.runs.is_empty() || args.runs.contains(&run.name)).collect())
}

/// Removes what an earlier run left in the directories of runs that this one has not: it would seem to be this one's.
fn clear(directory: &RunDirectory, earlier: Option<OverallReport>, planned: &[Planned]) {
    let earlier = earlier.map(|report| report.runs).unwrap_or_default();
    for run in earlier.iter().filter(|run| planned.iter().all(|planned| planned.name != run.name)) {
        // A name of another program's making leads nowhere else.
        let inner = directory.path().join(Path::new(&run.name).file_name().unwrap_or_default());
        if inner != directory.path() && inner.is_dir() && RunDirectory::create(inner.clone()).is_ok() {
            // It fails where there is anything else in it.
            let _ = std::fs::remove_dir(inner);
        }
    }
}

/// Writes the report in every form.
fn write(directory: &RunDirectory, report: &OverallReport) -> Result<(), Failure> {
    directory.write("report.json", |to| Ok(serde_json::to_writer_pretty(to, report)?)).map_err(unwritable)?;
    directory.write("junit.xml", |to| junit::write_overall(report, to)).map_err(unwritable)?;
    directory.write("report.md", |to| markdown(directory, report, to)).map_err(unwritable)?;
    let sarif = report.runs.iter().filter_map(|run| {
        let bytes = RunDirectory::bytes(&directory.path().join(&run.name).join("report.sarif")).ok()?;
        serde_json::from_slice(&bytes).ok()
    });
    match overall::sarif::merged(sarif) {
        Some(whole) => {
            directory.write("report.sarif", |to| Ok(serde_json::to_writer_pretty(to, &whole)?)).map_err(unwritable)
        }
        None => Ok(()),
    }
}

fn markdown(directory: &RunDirectory, report: &OverallReport, to: &mut dyn Write) -> io::Result<()> {
    let printed = |run: &RunRow| {
        let bytes = RunDirectory::bytes(&directory.path().join(&run.name).join(OUTPUT)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    overall::markdown::write(report, &printed, to)
}

/// A file to append the summary to, which other steps of a job may write too.
fn appended(file: &Path) -> Result<(File, &Path), Failure> {
    let opened = OpenOptions::new().append(true).create(true).open(file);
    opened.map(|opened| (opened, file)).map_err(|error| no_summary(file, &error))
}

fn summarise((mut to, file): (File, &Path), directory: &RunDirectory, report: &OverallReport) -> Result<(), Failure> {
    let mut text = Vec::new();
    let written = markdown(directory, report, &mut text).and_then(|()| to.write_all(&text));
    written.map_err(|error| no_summary(file, &error))
}

fn no_summary(file: &Path, error: &io::Error) -> Failure {
    Failure::environment(miette::miette!("failed to write the summary to {}: {error}", file.display()))
}
