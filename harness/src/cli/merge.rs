//! `driftlock merge`: the runs of several generators as one.

use std::path::PathBuf;

use super::bench::finish;
use super::common::{Format, run_name};
use super::output;
use super::page::PageArgs;
use super::{Context, Failure};
use crate::exit::Exit;
use crate::report::bench::{BenchReport, RunError};

/// Adds up runs of `bench` that put the same load on at the same time, each with a seed of its own
///
/// Histograms and counts are added exactly: what comes out is what one generator would have recorded.
/// Each generator works in a database of its own, also on one server. All but the seeds must be the same,
/// locks, cases and versions included. Exit codes: as `bench`; 2 the runs have nothing to do with each other.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The runs' directories
    #[arg(value_name = "RUN", required = true, num_args = 2..)]
    pub runs: Vec<PathBuf>,
    /// How the result is written to standard output
    #[arg(long, default_value = "text")]
    pub format: Format,
    /// The directory for the report and the histograms. Default: one of its own in target/driftlock
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub page: PageArgs,
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self::usage(miette::Report::from_err(error))
    }
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub fn run(args: &Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let mut whole: Option<BenchReport> = None;
    for run in &args.runs {
        let part = BenchReport::load(run)?;
        match &mut whole {
            None => whole = Some(part),
            Some(whole) => whole.merge(&part)?,
        }
    }
    let whole = whole.ok_or_else(|| Failure::usage(miette::miette!("there is nothing to merge")))?;
    let directory = output::directory(args.output.as_ref(), &run_name("merge"), context)?;
    finish(&whole, &directory, (args.format, &args.page), context)
}
