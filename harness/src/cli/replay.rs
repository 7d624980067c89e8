//! `driftlock replay`: runs an order again that `explore` found.

pub(crate) mod again;
pub(crate) mod origin;

use std::path::PathBuf;

use super::explore::hosts::Hosts;
use super::provisioning::PostgresArgs;
use super::{Context, Failure};
use crate::exit::Exit;
use crate::explore::schedule::{Schedule, ScheduleError};
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
    let mut hosts = Hosts::default();
    let came = again::replayed(&schedule, &origin, &mut hosts, &args.postgres, context).await;
    hosts.stop(context).await?;
    let Came { difference, violated, .. } = came?;
    if let Some(difference) = difference {
        writeln!(context.out, "another course was taken: {difference}")?;
        return Ok(Exit::Inconclusive);
    }
    if violated.is_some_and(|(check, _)| check == schedule.check) {
        writeln!(context.out, "the same course, and the same violation")?;
        return Ok(Exit::Violated);
    }
    writeln!(context.out, "the same course; {} is not violated", schedule.check)?;
    Ok(Exit::Met)
}
