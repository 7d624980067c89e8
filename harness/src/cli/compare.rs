//! `driftlock compare`: is the new version slower?

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::bench::unwritable;
use super::common::{Format, print, run_name};
use super::output;
use super::page::PageArgs;
use super::{Context, Failure};
use crate::capacity::compare::machine::shift;
use crate::capacity::compare::{CompareError, Suite, compare};
use crate::capacity::load::Arrivals;
use crate::capacity::phase::Phase;
use crate::capacity::recording::Recording;
use crate::capacity::setting::incomparable;
use crate::exit::Exit;
use crate::provision::ProcessGroup;
use crate::report::bench::{BenchReport, RunError};
use crate::report::compare::{self as report, CompareReport};
use crate::report::directory::RunDirectory;
use crate::report::html;

/// How long one run may take.
const RUN_MAX: Duration = Duration::from_secs(2 * 3_600);
/// How long an interrupted run may take to end before it is killed.
const INTERRUPT_MAX: Duration = Duration::from_secs(4);

/// Compares runs of `bench`: time in the lock, wait for it, and the rate (of an open loop: the response)
///
/// Exit codes: 0 nothing is worse by the threshold; 5 a regression, larger than the threshold and not by
/// chance; 3 the noise does not allow an answer (and how many rounds would), or a run was inconclusive;
/// 2 the runs cannot be compared, or usage; 4 a run failed; 130 interrupted.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The run of the old version
    #[arg(value_name = "BASE", required_unless_present = "run_base", conflicts_with = "run_base")]
    pub base: Option<PathBuf>,
    /// The run of the new version
    #[arg(value_name = "NEW", required_unless_present = "run_base", conflicts_with = "run_base")]
    pub new: Option<PathBuf>,
    /// Run the old version with this command of a shell, to which --output DIR is appended
    #[arg(long, value_name = "CMD", requires = "run_new")]
    pub run_base: Option<String>,
    /// Run the new version with this command, in turns with the old one: A B B A. What both of a pair of runs have, the
    /// machine being slow just then, is not held against either
    #[arg(long, value_name = "CMD", requires = "run_base")]
    pub run_new: Option<String>,
    /// How often each command is run
    ///
    /// One run a side, be it one round or BASE and NEW, does not show how far two runs of one version are apart. That
    /// is then taken to be 1 %, and only what is worse by 10 % more than the threshold (arrivals that were not done:
    /// 3 % more of them) is called a regression; what is less, and not fine, has no answer (exit 3).
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// How much worse a metric may become, in per cent
    ///
    /// An open loop's tasks count when they should have begun. Tasks that were given up and arrivals that nobody came
    /// to are compared as well: more than one more of a hundred arrivals is too many, whatever the threshold is.
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = parse_threshold)]
    pub threshold: f64,
    /// How the result is written to standard output
    #[arg(long, default_value = "text")]
    pub format: Format,
    /// The directory for the report, and for the runs. Default: one of its own in target/driftlock
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub page: PageArgs,
}

fn parse_threshold(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').trim_end().parse::<f64>().ok();
    let share = number.filter(|percent| (0.1..=1_000.0).contains(percent)).map(|percent| percent / 100.0);
    share.ok_or_else(|| "a threshold is a number of per cent, 0.1 to 1000".to_owned())
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let path = output::path(args.output.as_ref(), &run_name("compare"));
    let (base, new) = match (&args.base, &args.new, &args.run_base, &args.run_new) {
        (Some(base), Some(new), ..) => (vec![BenchReport::load(base)?], vec![BenchReport::load(new)?]),
        (_, _, Some(base), Some(new)) => in_turns(&args, [base, new], &path, context).await?,
        _ => return Err(Failure::usage(miette::miette!("two runs are compared, or two commands"))),
    };
    let report = judge(&base, &new, args.run_base.is_some(), args.threshold)?;
    let directory = RunDirectory::create(path).map_err(unwritable)?;
    let written = directory.write("report.json", |to| Ok(serde_json::to_writer_pretty(to, &report)?));
    written.map_err(unwritable)?;
    args.page.write(directory.path(), context, || html::of_compare(&report))?;
    print(&report, args.format, report::write, context)?;
    writeln!(context.err, "written to {}", directory.path().display())?;
    Ok(report.exit())
}

fn judge(base: &[BenchReport], new: &[BenchReport], in_turns: bool, threshold: f64) -> Result<CompareReport, Failure> {
    let first = base.first().ok_or_else(|| Failure::usage(miette::miette!("there is no run to compare with")))?;
    base.iter().chain(new).try_for_each(|other| comparable(first, other))?;
    let before: Vec<&Recording> = base.iter().map(|run| &run.recording).collect();
    let after: Vec<&Recording> = new.iter().map(|run| &run.recording).collect();
    let all_have = |phase| before.iter().chain(&after).all(|run| run.histograms.contains_key(&phase));
    let (sections, locks) = (all_have(Phase::InLock), all_have(Phase::LockWait));
    let machines = base.iter().zip(new).next().map(|(base, new)| shift(&base.machine(), &new.machine()));
    let closed = first.setting.load.arrivals == Arrivals::Closed;
    let suite = Suite { closed, sections, locks, shift: machines.unwrap_or_default(), in_turns };
    let compared = compare(&before, &after, suite, threshold)
        .map_err(|error: CompareError| Failure::usage(miette::Report::from_err(error)))?;
    Ok(CompareReport::new(base, new, compared, threshold))
}

/// Refuses runs that have nothing to do with each other.
fn comparable(first: &BenchReport, other: &BenchReport) -> Result<(), Failure> {
    let mut differ = incomparable((&first.setting, &first.surroundings), (&other.setting, &other.surroundings));
    let [generators, others] = [first, other].map(|run| run.seeds.len());
    if generators != others {
        differ.push(format!("generators: {generators} and {others}"));
    }
    if differ.is_empty() { Ok(()) } else { Err(RunError::Differ(differ).into()) }
}

/// Runs both commands, A B B A, each into a directory of its own below `path`.
async fn in_turns(
    args: &Args,
    commands: [&String; 2],
    path: &Path,
    context: &mut Context<'_>,
) -> Result<(Vec<BenchReport>, Vec<BenchReport>), Failure> {
    let _directory = RunDirectory::create(path.to_owned()).map_err(unwritable)?;
    let (mut runs, mut first) = ([Vec::new(), Vec::new()], None);
    for round in 0..args.rounds {
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            let name = ["base", "new"][side];
            let output = path.join(format!("{name}-{}", round + 1));
            writeln!(context.err, "round {} of {}, {name}", round + 1, args.rounds)?;
            let run = one_run(commands[side], &output, context).await?;
            // After the first pair, and not after hours, it is known whether there is anything to compare.
            comparable(first.get_or_insert_with(|| run.clone()), &run)?;
            runs[side].push(run);
        }
    }
    let [base, new] = runs;
    Ok((base, new))
}

/// Runs a command. What an earlier run left in its directory is removed, so that it cannot be taken for this one's.
async fn one_run(command: &str, output: &Path, context: &Context<'_>) -> Result<BenchReport, Failure> {
    if output.exists() {
        RunDirectory::create(output.to_owned()).map_err(unwritable)?;
    }
    let mut shell = Command::new("sh");
    // The directory comes as an argument, so that nothing in its name is read by the shell.
    shell.args(["-c", &format!("{command} --output \"$1\""), "sh"]).arg(output);
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let group = ProcessGroup::start()?;
    let child = shell.process_group(group.id()).spawn()?;
    let failed = |why: String| Failure::environment(miette::miette!("`{command}` came to nothing: {why}"));
    let mut ended = pin!(tokio::time::timeout(RUN_MAX, child.wait_with_output()));
    let ended = tokio::select! {
        biased;
        () = context.cancel.cancelled() => {
            // It may have something to clean up, on a server that is not its own.
            group.interrupt();
            let _ = tokio::time::timeout(INTERRUPT_MAX, ended).await;
            return Err(Failure::interrupted());
        }
        ended = &mut ended => ended,
    };
    let ended = ended.map_err(|_| failed("it did not come to an end".to_owned()))??;
    let (inconclusive, met) = (Exit::Inconclusive as i32, Exit::Met as i32);
    if !ended.status.code().is_some_and(|code| code == met || code == inconclusive) {
        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        return Err(failed(format!("{}: {said}", ended.status)));
    }
    BenchReport::load(output).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::parse_threshold;

    #[test]
    fn a_threshold_is_a_number_of_per_cent() {
        assert_eq!(parse_threshold("5"), Ok(0.05));
        assert_eq!(parse_threshold("2.5 %"), Ok(0.025));
        for wrong in ["", "-1", "0", "nan", "inf", "5 apples"] {
            assert!(parse_threshold(wrong).is_err(), "{wrong}");
        }
    }
}
