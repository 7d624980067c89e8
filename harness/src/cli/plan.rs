//! `driftlock plan`: how much load can the job take?

use std::path::PathBuf;
use std::time::Duration;

use drift_engine::lock::LockStrategy;

use super::bench::unwritable;
use super::capacity::LoadArgs;
use super::common::{Format, print, run_name, verdict_exit};
use super::output;
use super::page::PageArgs;
use super::{Context, Failure};
use crate::capacity::bed::Bed;
use crate::capacity::drive::Driven;
use crate::capacity::load::{Arrivals, Load};
use crate::capacity::phase::Phase;
use crate::capacity::plan::{Extent, Measure, once, plan};
use crate::capacity::setting::Work;
use crate::capacity::slo::Slo;
use crate::exit::Exit;
use crate::provision::Profile;
use crate::report::html;
use crate::report::plan::{self as report, OtherLock, PlanReport};
use drift_engine::lock::Backend;

/// How many workers are tried where nobody says.
const WORKERS: u32 = 16;
/// How long tasks that are late may still begin after the last arrival, at most.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// How many are the fewest: closed loops of 1, 2, 4 and of all are fitted to, and 3 is to check.
const WORKERS_MIN: u32 = 6;

/// Finds the largest rate that meets an objective, and says what bounds it.
///
/// Puts closed loops of 1, 2, 3, 4, 6, 8 … workers on, fits models to some of them, checks these at the
/// others, and sees how many workers are enough. With so many it puts open loops on at nine rates: to five of
/// them models of the mean and of the 99th percentile are fitted, at the other four these are checked. All that
/// is done up and down its list, in six passes and in more until each load is known to 4 %, but never in more than
/// --passes. What the machine comes to just then is measured beside each open loop, and the arrivals are put on in
/// proportion. Last the rate is searched between them, in runs of six times --duration, and what is found there is asked
/// once more. A pass takes --warm-up and --duration, or longer where a rate is low, and a third of it beside the open
/// loops: all that, ten to twenty minutes with the defaults. Exit
/// codes: 0 there is an answer; 2 usage; 3 inconclusive; 4 no database; 130 interrupted.
#[derive(Clone, Debug, clap::Args)]
// Many short passes say more than a few long ones.
#[command(mut_arg("warm_up", |warm_up| warm_up.default_value("1s")))]
#[command(mut_arg("duration", |duration| duration.default_value("2s")))]
#[command(mut_arg("workers", |workers| workers.help("How many tasks at a time, at most: 6 to 256; 16 if none is named")))]
pub struct Args {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub load: LoadArgs,
    /// What must be kept, one or several with commas: p99<250ms,mean<50ms,max<2s (responses), wait<1s (the longest wait
    /// for the lock), spread<3 (no worker's mean response is three times everybody's)
    #[arg(long, value_name = "OBJECTIVE")]
    pub slo: Slo,
    /// In how many passes each load is measured at most, 3 to 1000: fewer take less time, and less is known then. Six are enough where
    /// passes are alike
    #[arg(long, value_name = "N", default_value_t = 14, value_parser = clap::value_parser!(u32).range(3..=1_000))]
    pub passes: u32,
    /// Measure the other locks of the backend as well
    #[arg(long)]
    pub every_lock: bool,
    /// How the result is written to standard output
    #[arg(long, default_value = "text")]
    pub format: Format,
    /// The directory for the report. Default: one of its own in target/driftlock
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub page: PageArgs,
}

/// Measures on a bed.
struct OnBed<'a, 'b> {
    bed: &'a mut Bed,
    what: (Work, LockStrategy),
    context: &'a mut Context<'b>,
}

impl Measure for OnBed<'_, '_> {
    type Error = Failure;

    async fn measure(&mut self, load: &Load) -> Result<Driven, Failure> {
        Ok(self.bed.run(self.what, load, false, &self.context.cancel).await?.1)
    }

    fn announce(&mut self, what: &str) {
        // Whoever does not listen misses nothing but the progress.
        let _ = writeln!(self.context.err, "{what}");
    }
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let scenario = args.load.scenario()?;
    let strategy = args.load.strategy()?;
    let workers = args.load.workers.unwrap_or(WORKERS);
    if workers < WORKERS_MIN {
        return Err(Failure::usage(miette::miette!(
            "--workers {workers}: a law of three parameters fits any three points, and one is to check it; at least {WORKERS_MIN}"
        )));
    }
    let mut load = args.load.load(&scenario, Arrivals::Closed)?;
    load.workers = workers;
    // What is later than the objective allows when an open loop ends has shown enough.
    let latest = args.slo.limits().into_iter().map(|(_, millis)| Duration::from_secs_f64(millis / 1e3)).max();
    load.drain = (once(&load).duration / 2).max(latest.unwrap_or_default()).min(DRAIN_MAX);
    let name = run_name("plan");
    let directory = output::directory(args.output.as_ref(), &name, context)?;
    let start = args.load.postgres.start_options(Profile::Durable);
    let mut bed = Bed::make(args.load.backend, &start, scenario, &name, &context.cancel).await?;
    let ran = planned(&args, strategy, &load, &mut bed, context).await;
    if let Err(error) = bed.stop().await {
        writeln!(context.err, "warning: {error}")?;
    }
    let report = ran?;
    let written = directory.write("report.json", |to| Ok(serde_json::to_writer_pretty(to, &report)?));
    written.map_err(unwritable)?;
    args.page.write(directory.path(), context, || html::of_plan(&report))?;
    print(&report, args.format, report::write, context)?;
    writeln!(context.err, "written to {}", directory.path().display())?;
    Ok(verdict_exit(report.verdict))
}

async fn planned(
    args: &Args,
    strategy: LockStrategy,
    load: &Load,
    bed: &mut Bed,
    context: &mut Context<'_>,
) -> Result<PlanReport, Failure> {
    let work = args.load.script;
    let has_one_lock = args.load.backend == Backend::Sqlite;
    let measured = {
        let mut measure = OnBed { bed, what: (work, strategy), context };
        plan(&mut measure, load, Extent { workers: load.workers, passes: args.passes }, &args.slo, has_one_lock).await?
    };
    let closed = Load { arrivals: Arrivals::Closed, workers: measured.enough_workers, pool: None, ..once(load) };
    let (mut locks, mut calibration) = (Vec::new(), None);
    let others = LockStrategy::ALL.into_iter().filter(|other| other.backend() == strategy.backend());
    let others = others.filter(|other| args.every_lock && work == Work::Engine && *other != strategy);
    for lock in std::iter::once(strategy).chain(others) {
        writeln!(context.err, "{lock}, {} workers", closed.workers)?;
        let (found, driven) = bed.run((work, lock), &closed, lock == strategy, &context.cancel).await?;
        calibration = calibration.or(found);
        let recording = driven.recording;
        locks.push(OtherLock {
            strategy: lock.to_string(),
            rate: recording.throughput(),
            response: recording.mean(Phase::Response).unwrap_or(0.0),
            longest: recording.quantile(Phase::Response, 1.0).unwrap_or(0),
            failed: [recording.failed, recording.tasks()],
        });
    }
    let mut replay = args.load.repeated("plan", load);
    replay.push_str(&format!(" --passes {} --slo '{}'", args.passes, args.slo));
    if args.every_lock {
        replay.push_str(" --every-lock");
    }
    let about = (bed.setting(work, strategy, load), bed.surroundings.clone());
    Ok(PlanReport::new(about, &args.slo, measured, (calibration, locks), replay))
}
