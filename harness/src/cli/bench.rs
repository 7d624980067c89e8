//! `driftlock bench`: a load on a real database that flushes, and what it comes to.

mod applications;
mod scripts;

use std::path::PathBuf;

use super::capacity::{LoadArgs, arrivals_of, parse_rate};
use super::common::{Format, print, run_name, verdict_exit};
use super::output;
use super::page::PageArgs;
use super::{Context, Failure};
use crate::capacity::bed::{Bed, Benched, bench};
use crate::capacity::load::Arrivals;
use crate::exit::Exit;
use crate::provision::Profile;
use crate::report::bench::{BenchReport, write};
use crate::report::directory::{RunDirectory, WriteError};
use crate::report::html;

/// How tasks arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Process {
    /// Closed loop: each worker begins one when its last one has ended.
    Closed,
    /// Open loop: at random.
    Poisson,
    /// Open loop: at equal intervals.
    Constant,
}

/// Puts a load on a real database whose commits reach the disk, and says where the time goes.
///
/// Latency counts from the moment at which a task should have started: an arrival that finds every
/// worker busy is late, never left out. Exit codes: 0 it was measured; 1 an application's invariant is
/// violated; 2 usage; 3 inconclusive: the generator was the bottleneck, or tasks failed; 4 no database;
/// 130 interrupted.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub load: LoadArgs,
    /// Of a script: the case that is run; default: the first one on the backend
    #[arg(long, value_name = "CASE")]
    pub case: Option<String>,
    /// Of an application: its programs get the server's own address, and nothing is recorded by statement
    #[arg(long)]
    pub direct: bool,
    /// Of an application: the load is put on twice, directly and then through the proxy, each in a
    /// database of its own, to tell what the proxy costs
    #[arg(long, conflicts_with = "direct")]
    pub proxy_cost: bool,
    /// Open loop: this many tasks a second
    #[arg(long, value_name = "TASKS/S", value_parser = parse_rate)]
    pub rate: Option<f64>,
    /// How tasks arrive; default: poisson where a rate is given, else as the scenario says
    #[arg(long)]
    pub arrivals: Option<Process>,
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

impl Args {
    fn arrivals(&self, usual: Arrivals) -> Result<Arrivals, Failure> {
        let rate = self.rate.or_else(|| usual.rate());
        let missing = || Failure::usage(miette::miette!("an open loop needs a rate: --rate N"));
        match self.arrivals {
            None => Ok(match (self.rate, usual) {
                (Some(rate), Arrivals::Closed) => Arrivals::Poisson(rate),
                (Some(rate), usual) => usual.at(rate),
                (None, usual) => usual,
            }),
            Some(Process::Closed) if self.rate.is_some() => {
                Err(Failure::usage(miette::miette!("a closed loop has no rate: leave out --rate or --arrivals closed")))
            }
            Some(Process::Closed) => Ok(Arrivals::Closed),
            Some(Process::Poisson) => rate.map(Arrivals::Poisson).ok_or_else(missing),
            Some(Process::Constant) => rate.map(Arrivals::Constant).ok_or_else(missing),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    if args.load.is_application() {
        return applications::run(args, context).await;
    }
    if args.direct || args.proxy_cost {
        let which = if args.direct { "--direct" } else { "--proxy-cost" };
        return Err(Failure::usage(miette::miette!(
            "{which} is for applications: nothing else goes through the proxy"
        )));
    }
    if args.load.is_script() {
        return scripts::run(args, context).await;
    }
    if args.case.is_some() {
        return Err(Failure::usage(miette::miette!("--case is for scripts: a scenario has no cases")));
    }
    let scenario = args.load.scenario()?;
    let strategy = args.load.strategy()?;
    let load = args.load.load(&scenario, args.arrivals(arrivals_of(&scenario))?)?;
    let name = run_name("bench");
    let directory = output::directory(args.output.as_ref(), &name, context)?;
    let start = args.load.postgres.start_options(Profile::Durable);
    let mut bed = Bed::make(args.load.backend, &start, scenario, &name, &context.cancel).await?;
    let ran = bench(&mut bed, (args.load.script, strategy), &load, &context.cancel).await;
    if let Err(error) = bed.stop().await {
        writeln!(context.err, "warning: {error}")?;
    }
    let Benched { setting, surroundings, calibration, driven, round_trip_added } = ran?;
    let replay = with_arrivals(args.load.repeated("bench", &load), load.arrivals);
    let report = BenchReport::new(setting, surroundings, driven.recording, driven.generator, replay);
    let report = report.calibrated(calibration).delayed(round_trip_added);
    finish(&report, &directory, (args.format, &args.page), context)
}

fn with_arrivals(replay: String, arrivals: Arrivals) -> String {
    match arrivals {
        Arrivals::Closed => replay + " --arrivals closed",
        Arrivals::Poisson(rate) => format!("{replay} --arrivals poisson --rate {rate}"),
        Arrivals::Constant(rate) => format!("{replay} --arrivals constant --rate {rate}"),
    }
}

/// Writes a report into its directory and to standard output; the exit code is its verdict's.
///
/// # Errors
/// It cannot be written.
pub fn finish(
    report: &BenchReport,
    directory: &RunDirectory,
    (format, page): (Format, &PageArgs),
    context: &mut Context<'_>,
) -> Result<Exit, Failure> {
    report.save(directory).map_err(unwritable)?;
    page.write(directory.path(), context, || html::of_bench(report))?;
    print(report, format, write, context)?;
    writeln!(context.err, "written to {}", directory.path().display())?;
    Ok(verdict_exit(report.verdict))
}

/// An output that cannot be written.
pub fn unwritable(error: WriteError) -> Failure {
    Failure::environment(miette::Report::from_err(error))
}
