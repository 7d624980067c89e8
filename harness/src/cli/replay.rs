//! `driftlock replay`: runs an order again that `explore` found.

pub(crate) mod again;
pub(crate) mod origin;

use std::path::{Path, PathBuf};

use super::common::{quoted, run_name, unwritable, verdict_exit};
use super::output;
use super::page::PageArgs;
use super::provisioning::PostgresArgs;
use super::{Context, Failure, hosts};
use crate::exit::Exit;
use crate::explore::schedule::{Schedule, ScheduleError};
use crate::outcome::VerdictKind;
use crate::report::directory::RunDirectory;
use crate::report::html;
use crate::report::replayed::ReplayReport;
use again::Came;
use origin::Origin;

/// Runs a schedule again that `explore` wrote, step by step
///
/// The script is the file that the schedule names, as it is now; where it is not there, the one that the schedule carries.
///
/// Exit codes: 1 the violation is there again; 0 the same steps came out as before, and nothing is
/// violated any more; 3 they took another course (the script has changed, or something else than the
/// order matters); 2 the file cannot be used; 4 no database; 130 interrupted.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The schedule (schedule-*.json)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Where to write a report, for `driftlock report`; without it none is written
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub page: PageArgs,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub postgres: PostgresArgs,
}

impl From<ScheduleError> for Failure {
    fn from(error: ScheduleError) -> Self {
        Self::usage(miette::miette!("{error}"))
    }
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let schedule = Schedule::load(&args.file)?;
    let origin = Origin::of(&schedule, &[PathBuf::from(&schedule.script)])?;
    if let Some(note) = origin.note() {
        writeln!(context.err, "note: {note}")?;
    }
    // A page that nobody has named lies in a run's directory.
    let unnamed = (args.page.open && args.page.html.is_none()).then(|| output::path(None, &run_name("replay")));
    let directory = args.output.clone().or(unnamed).map(RunDirectory::create).transpose().map_err(unwritable)?;
    // Only a report has room for a run that does not violate it, so only then it is looked for.
    let more = directory.is_some() || args.page.is_wanted();
    let mut hosts = hosts::hosts(&args.postgres, context);
    let came = again::replayed(&schedule, &origin, more, &mut hosts, context).await;
    let profile = hosts.profile();
    let backends = hosts.used.clone();
    hosts::stop(hosts, context).await?;
    let Came { difference, violated, counterexample, .. } = came?;
    let (verdict, conclusion) = match difference {
        Some(difference) => (VerdictKind::Inconclusive, format!("another course was taken: {difference}")),
        None if violated.iter().any(|(check, _)| *check == schedule.check) => {
            (VerdictKind::Violation, "the same course, and the same violation".to_owned())
        }
        None if let Some((check, sentence)) = violated.first() => (
            VerdictKind::Violation,
            format!("the same course; {check} is violated, where {} was: {sentence}", schedule.check),
        ),
        None => (VerdictKind::Pass, format!("the same course; {} is not violated", schedule.check)),
    };
    writeln!(context.out, "{conclusion}")?;
    if let Some(mut counterexample) = counterexample {
        counterexample.replay =
            format!("driftlock replay {}{}", quoted(&args.file.display().to_string()), args.postgres.version());
        let mut report = ReplayReport::new(verdict, conclusion, counterexample);
        report.schedule = args.file.display().to_string();
        (report.script, report.case) = (schedule.script, schedule.case);
        (report.profile, report.backends) = (profile.to_owned(), backends);
        if let Some(directory) = &directory {
            directory.replayed(&report).map_err(unwritable)?;
        }
        let at = directory.as_ref().map_or(Path::new("."), RunDirectory::path);
        args.page.write(at, context, || html::of_replayed(&report))?;
    }
    Ok(verdict_exit(verdict))
}
