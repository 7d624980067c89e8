//! `driftlock report`: an earlier run, again.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::common::{Format, verdict_exit};
use super::{Context, Failure};
use crate::exit::Exit;
use crate::report::directory::{Kept, RunDirectory};
use crate::report::{rehearsed, terminal};

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
    match (args.format, &report) {
        (Format::Text, Kept::Cases(report)) => terminal::write(report, context.out)?,
        (Format::Text, Kept::Rehearsed(report)) => rehearsed::write(report, context.out)?,
        (Format::Json, Kept::Cases(report)) => json(report, context.out)?,
        (Format::Json, Kept::Rehearsed(report)) => json(report, context.out)?,
    }
    Ok(verdict_exit(match &report {
        Kept::Cases(report) => report.verdict,
        Kept::Rehearsed(report) => report.verdict,
    }))
}

fn json(report: &impl Serialize, mut to: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut to, report).map_err(io::Error::from)?;
    writeln!(to)
}
