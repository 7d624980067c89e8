//! `driftlock verify`: scenarios on real databases, and the actors of scripts and of applications.

pub mod scripts;

use std::path::PathBuf;

use drift_engine::lock::LockStrategy;

use super::common::{self, Replay, SuiteArgs};
use super::{Context, Failure};
use crate::exit::Exit;
use crate::outcome::SuiteReport;
use crate::scenario::Scenario;
use crate::scenario::application::is_application_at;
use crate::scenario::collect::{collect, scripts_apart};
use crate::scenario::shipped::{SHIPPED, Shipped};
use crate::verify::plan::Case;

/// The arguments of `verify`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Scenario files, or directories of them. Default: the scenarios that are built in. Or scripts and
    /// applications, as `explore` takes them, told by their content: their actors then run freely, round
    /// after round
    #[arg(value_name = "FILE or DIR")]
    pub paths: Vec<PathBuf>,
    /// Only this lock strategy.
    #[arg(long, value_parser = parse_strategy)]
    pub strategy: Option<LockStrategy>,
    /// How many rounds of a script or an application are run, if none shows a violation
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub rounds: u64,
    /// What the commands with cases share.
    #[command(flatten)]
    pub suite: SuiteArgs,
}

/// Parses the name of a strategy.
///
/// # Errors
/// There is no such strategy.
pub fn parse_strategy(text: &str) -> Result<LockStrategy, String> {
    LockStrategy::parse(text).ok_or_else(|| {
        let names: Vec<&str> = LockStrategy::ALL.iter().map(|strategy| strategy.as_str()).collect();
        format!("the strategies are {}", names.join(", "))
    })
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let (of_scripts, others) = scripts_apart(&args.paths);
    if !of_scripts.is_empty() && others.is_empty() {
        return scripts::run(&args, &of_scripts, context).await;
    }
    if let Some(script) = of_scripts.first() {
        let what = if is_application_at(script) { "an application" } else { "a script" };
        return Err(Failure::usage(miette::miette!(
            help = "Run scenarios by themselves, and scripts and applications by themselves: each gives a report of its own.",
            "{} is {what}, and {} is none",
            script.display(),
            others[0].display()
        )));
    }
    let scenarios = scenarios(&args.paths)?;
    let seed = args.suite.seed(context)?;
    let names: Vec<&str> = scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
    let cases: Vec<Case<'_>> = scenarios
        .iter()
        .flat_map(|scenario| scenario.cases().map(move |(backend, strategy)| (scenario, backend, strategy)))
        .filter(|(scenario, backend, _)| args.suite.wants(&scenario.name, *backend, &names))
        .filter(|(.., strategy)| args.strategy.is_none_or(|wanted| wanted == *strategy))
        .map(|(scenario, backend, strategy)| Case {
            scenario,
            backend,
            strategy,
            seed: seed.unwrap_or(scenario.data.seed),
            mutant: None,
        })
        .collect();
    if cases.is_empty() {
        return Err(Failure::usage(miette::miette!(
            help = "driftlock verify --list shows what there is",
            "no scenario is left: the filters exclude them all"
        )));
    }
    if args.suite.list {
        for case in &cases {
            writeln!(context.out, "{} {} {}", case.scenario.name, case.backend, case.strategy)?;
        }
        return Ok(Exit::Met);
    }
    let paths: String =
        args.paths.iter().map(|path| format!(" {}", common::quoted(&path.display().to_string()))).collect();
    let replay = Replay { command: &format!("verify{paths}"), with_strategy: true };
    common::run(&args.suite, &replay, &cases, SuiteReport::new("verify", seed, "none"), context).await
}

/// The scenarios of the files, or the built-in ones. What is wrong with several files is reported at once.
fn scenarios(paths: &[PathBuf]) -> Result<Vec<Scenario>, Failure> {
    if paths.is_empty() {
        return Ok(SHIPPED.iter().map(Shipped::scenario).collect());
    }
    collect(paths).map_err(Failure::usage)
}
