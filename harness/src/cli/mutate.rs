//! `driftlock mutate`: the kill matrix.

use std::path::PathBuf;

use drift_engine::lock::Backend;

use super::common::{self, Replay, SuiteArgs};
use super::explore::parse_budget;
use super::varied::{self, Task, Wanted};
use super::{Context, Failure};
use crate::exit::Exit;
use crate::explore::judge::Limit;
use crate::mutant::{self, Stance, recorded};
use crate::outcome::{NotApplicable, SuiteReport};
use crate::scenario::Scenario;
use crate::scenario::shipped::{SHIPPED, Shipped};
use crate::verify::plan::Case;

/// The arguments of `mutate`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Scripts and applications (*.toml), or directories of them: their defences are taken away, one after the other
    #[arg(value_name = "FILE or DIR", conflicts_with_all = ["seed", "time_limit"])]
    pub files: Vec<PathBuf>,
    /// Of a file: explore each mutant for so many executions, or so long
    #[arg(long, value_name = "N|TIME", value_parser = parse_budget, default_value = "60s", requires = "files")]
    pub budget: Limit,
    /// What the commands with cases share.
    #[command(flatten)]
    pub suite: SuiteArgs,
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    if !args.files.is_empty() {
        let SuiteArgs { filter, backend, list, postgres, format, output, page, .. } = &args.suite;
        let wanted = Wanted {
            task: Task::Mutate,
            files: &args.files,
            filter,
            backend: *backend,
            budget: args.budget,
            list: *list,
            all: false,
            format: *format,
            output: output.as_ref(),
            page,
            postgres,
        };
        return varied::run(&wanted, context).await;
    }
    let scenarios: Vec<Scenario> = SHIPPED.iter().map(Shipped::scenario).collect();
    let seed = args.suite.seed(context)?;
    let mut report = SuiteReport::new("mutate", seed, "none");
    report.backends.push(recorded::backend_used());
    let cases = cases(&args.suite, &scenarios, seed, &mut report.not_applicable);
    if cases.is_empty() && report.not_applicable.is_empty() {
        return Err(Failure::usage(miette::miette!(
            help = "driftlock mutate --list shows what there is",
            "no mutant is left: the filters exclude them all"
        )));
    }
    if args.suite.list {
        for case in &cases {
            let name = case.mutant.map_or(case.scenario.name.as_str(), |mutant| mutant.name);
            writeln!(context.out, "{name} {} {}", case.backend, case.strategy)?;
        }
        for one in &report.not_applicable {
            writeln!(context.out, "{} {} not applicable: {}", one.name, one.backend, one.reason)?;
        }
        return Ok(Exit::Met);
    }
    let replay = Replay { command: "mutate", with_strategy: false };
    common::run(&args.suite, &replay, &cases, report, context).await
}

/// Every mutant on every backend, and before them, the protocol as it ships in the same scenarios.
fn cases<'a>(
    args: &SuiteArgs,
    scenarios: &'a [Scenario],
    seed: Option<u64>,
    not_applicable: &mut Vec<NotApplicable>,
) -> Vec<Case<'a>> {
    let (mut sound, mut broken): (Vec<Case<'a>>, Vec<Case<'a>>) = (Vec::new(), Vec::new());
    let names: Vec<&str> = mutant::ALL.iter().map(|mutant| mutant.name).collect();
    for backend in Backend::ALL {
        for mutant in mutant::ALL.iter().filter(|mutant| args.wants(mutant.name, backend, &names)) {
            match mutant.on(backend) {
                Stance::NotApplicable { reason } => not_applicable.push(NotApplicable {
                    name: mutant.name.to_owned(),
                    backend,
                    reason: reason.to_owned(),
                }),
                Stance::Runs { scenario, strategy, .. } => {
                    let scenario = scenarios.iter().find(|one| one.name == scenario);
                    let scenario = scenario.expect("a test sees to it that every mutant's scenario is built in");
                    let seed = seed.unwrap_or(scenario.data.seed);
                    let case = Case { scenario, backend, strategy, seed, mutant: None };
                    let same = |one: &Case<'_>| {
                        one.scenario.name == scenario.name && one.backend == backend && one.strategy == strategy
                    };
                    if !sound.iter().any(same) {
                        sound.push(case);
                    }
                    broken.push(Case { mutant: Some(mutant), ..case });
                }
            }
        }
    }
    sound.extend(broken);
    sound
}
