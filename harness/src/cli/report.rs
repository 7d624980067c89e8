//! `driftlock report`: an earlier run, again.

use std::path::PathBuf;

use super::common::{Format, print, verdict_exit};
use super::page::PageArgs;
use super::{Context, Failure};
use crate::app::record::account::Recorded as Recording;
use crate::exit::Exit;
use crate::outcome::ResultRow;
use crate::report::bench::{self, BenchReport};
use crate::report::compare::{self, CompareReport};
use crate::report::directory::{Recorded, RunDirectory};
use crate::report::plan::{self, PlanReport};
use crate::report::record;
use crate::report::varied::{self, VariedReport};
use crate::report::{explored, html, overall, rehearsed, replayed, rounds, terminal};

/// The arguments of `report`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The run's directory, which holds its report.json.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// How it is written to standard output.
    #[arg(long, default_value = "text")]
    pub format: Format,
    /// The page.
    #[command(flatten)]
    pub page: PageArgs,
}

/// Runs the command; the exit code is that of the report's verdict.
///
/// # Errors
/// There is no report, or it is of another version.
pub fn run(args: &Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let at = args.directory.as_path();
    let unreadable = |error| Failure::usage(miette::Report::from_err(error));
    match RunDirectory::command(&args.directory).map_err(unreadable)?.as_str() {
        "bench" => {
            let report = BenchReport::load(&args.directory)?;
            args.page.write(at, context, || html::of_bench(&report))?;
            print(&report, args.format, bench::write, context)?;
            return Ok(verdict_exit(report.verdict));
        }
        "record" => {
            let report: Recording = RunDirectory::read_as(&args.directory).map_err(unreadable)?;
            args.page.write(at, context, || html::of_recorded(&report))?;
            print(&report, args.format, record::write, context)?;
            return Ok(Exit::Met);
        }
        "compare" => {
            let report: CompareReport = RunDirectory::read_as(&args.directory).map_err(unreadable)?;
            args.page.write(at, context, || html::of_compare(&report))?;
            print(&report, args.format, compare::write, context)?;
            return Ok(report.exit());
        }
        "plan" => {
            let report: PlanReport = RunDirectory::read_as(&args.directory).map_err(unreadable)?;
            args.page.write(at, context, || html::of_plan(&report))?;
            print(&report, args.format, plan::write, context)?;
            return Ok(verdict_exit(report.verdict));
        }
        _ => {}
    }
    let report = RunDirectory::read(&args.directory).map_err(unreadable)?;
    match &report {
        Recorded::Replayed(report) => args.page.write(at, context, || html::of_replayed(report))?,
        Recorded::Explored(report) => args.page.write(at, context, || html::of_explored(report))?,
        Recorded::Rounds(report) => args.page.write(at, context, || html::of_rounds(report))?,
        Recorded::Suite(report) => {
            let history = |row: &ResultRow| RunDirectory::read_history(&args.directory, row);
            args.page.write(at, context, || html::of_suite(report, &history))?;
        }
        Recorded::Rehearsed(report) => args.page.write(at, context, || html::of_rehearsed(report))?,
        Recorded::Varied(report) => args.page.write(at, context, || html::of_varied(report))?,
        Recorded::Overall(_) if args.page.is_wanted() => {
            return Err(Failure::usage(miette::miette!(
                help =
                    "driftlock report DIR prints it as text; each of its runs has a directory, and a page, of its own",
                "there is no page for all of `driftlock run`"
            )));
        }
        Recorded::Overall(_) => {}
    }
    let verdict = match &report {
        Recorded::Suite(report) => {
            print(report, args.format, terminal::write, context)?;
            report.verdict
        }
        Recorded::Explored(report) => {
            print(report, args.format, |report, to| explored::write(report, false, to), context)?;
            report.verdict
        }
        Recorded::Replayed(report) => {
            print(&**report, args.format, replayed::write, context)?;
            report.verdict
        }
        Recorded::Rounds(report) => {
            print(report, args.format, rounds::write, context)?;
            report.verdict
        }
        Recorded::Varied(report) => {
            let text = |report: &VariedReport, to: &mut dyn std::io::Write| match report.command.as_str() {
                "repair" => varied::repairs(report, false, to),
                _ => varied::mutants(report, to),
            };
            print(report, args.format, text, context)?;
            report.verdict
        }
        Recorded::Overall(report) => {
            print(&**report, args.format, overall::write, context)?;
            return Ok(report.exit());
        }
        Recorded::Rehearsed(report) => {
            print(&**report, args.format, rehearsed::write, context)?;
            report.verdict
        }
    };
    Ok(verdict_exit(verdict))
}
