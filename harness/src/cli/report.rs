//! `driftlock report`: an earlier run, again.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::common::{Format, verdict_exit};
use super::{Context, Failure};
use crate::exit::Exit;
use crate::report::directory::{Recorded, RunDirectory};
use crate::report::{explored, rehearsed, rounds, terminal};

/// The arguments of `report`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The run's directory, which holds its report.json.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// How it is written to standard output.
    #[arg(long, default_value = "text")]
    pub format: Format,
}

/// Runs the command; the exit code is that of the report's verdict.
///
/// # Errors
/// There is no report, or it is of another version.
pub fn run(args: &Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let report =
        RunDirectory::read(&args.directory).map_err(|error| Failure::usage(miette::Report::from_err(error)))?;
    let verdict = match &report {
        Recorded::Suite(report) => {
            say(args.format, report, |out| terminal::write(report, out), context)?;
            report.verdict
        }
        Recorded::Explored(report) => {
            say(args.format, report, |out| explored::write(report, false, out), context)?;
            report.verdict
        }
        Recorded::Rounds(report) => {
            say(args.format, report, |out| rounds::write(report, out), context)?;
            report.verdict
        }
        Recorded::Rehearsed(report) => {
            say(args.format, report, |out| rehearsed::write(report, out), context)?;
            report.verdict
        }
    };
    Ok(verdict_exit(verdict))
}

fn say(
    format: Format,
    report: &impl Serialize,
    text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    context: &mut Context<'_>,
) -> io::Result<()> {
    match format {
        Format::Text => text(context.out),
        Format::Json => {
            serde_json::to_writer_pretty(&mut *context.out, report)?;
            writeln!(context.out)
        }
    }
}
