//! `driftlock report`: an earlier run, again.

use std::path::PathBuf;

use super::common::{Format, verdict_exit};
use super::{Context, Failure, bench, compare, plan};
use crate::exit::Exit;
use crate::report::bench::BenchReport;
use crate::report::compare::CompareReport;
use crate::report::directory::RunDirectory;
use crate::report::plan::PlanReport;
use crate::report::terminal;

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
    let unreadable = |error| Failure::usage(miette::Report::from_err(error));
    match RunDirectory::command(&args.directory).map_err(unreadable)?.as_str() {
        "bench" => {
            let report = BenchReport::load(&args.directory)?;
            bench::print(&report, args.format, context)?;
            return Ok(verdict_exit(report.verdict));
        }
        "compare" => {
            let report: CompareReport = RunDirectory::read_as(&args.directory).map_err(unreadable)?;
            compare::print(&report, args.format, context)?;
            return Ok(report.exit());
        }
        "plan" => {
            let report: PlanReport = RunDirectory::read_as(&args.directory).map_err(unreadable)?;
            plan::print(&report, args.format, context)?;
            return Ok(verdict_exit(report.verdict));
        }
        _ => {}
    }
    let report = RunDirectory::read(&args.directory).map_err(unreadable)?;
    match args.format {
        Format::Text => terminal::write(&report, context.out)?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut *context.out, &report).map_err(std::io::Error::from)?;
            writeln!(context.out)?;
        }
    }
    Ok(verdict_exit(report.verdict))
}
