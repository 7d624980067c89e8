//! `driftlock replay`: runs an order again that `explore` found.

use std::path::PathBuf;

use drift_engine::lock::Backend;

use super::explore::scripts::{CaseFailure, Hosts, load};
use super::provisioning::PostgresArgs;
use super::{Context, Failure};
use crate::exit::Exit;
use crate::explore::judge::{Found, Judge, queries, run as run_order};
use crate::explore::schedule::{Schedule, ScheduleError};
use crate::explore::world::{Lost, World};
use crate::report::explored;
use crate::scenario::script::{Script, ScriptCase};

/// Runs a schedule again that `explore` wrote, step by step
///
/// Exit codes: 1 the violation is there again; 0 the same steps came out as before, and nothing is
/// violated any more; 3 they took another course (the script has changed, or something else than the
/// order matters); 2 the file cannot be used; 4 no database; 130 interrupted.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The schedule (schedule-*.json)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub postgres: PostgresArgs,
}

impl From<ScheduleError> for Failure {
    fn from(error: ScheduleError) -> Self {
        Self::usage(miette::miette!("{error}"))
    }
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let schedule = Schedule::load(&args.file)?;
    let source = load(&PathBuf::from(&schedule.script))?;
    let script = source.script.clone();
    let case = script.cases.iter().find(|case| case.name == schedule.case);
    let case = case.ok_or_else(|| ScheduleError::Changed { what: format!("case {}", schedule.case) })?;
    let order = schedule.order(&script)?;
    let mut hosts = Hosts::default();
    hosts.start(case.backend, &args.postgres, context).await?;
    let cancel = context.cancel.clone();
    let ran = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Failure::interrupted()),
        ran = replay(&mut hosts, &source.script, case, &order) => ran.map_err(|failure| failure.about(&source, case)),
    };
    hosts.stop(context).await?;
    let mut found = ran?;
    let difference = schedule.difference(&script, &found[0].execution.taken);
    found.sort_by_key(|found| found.check != schedule.check);
    let first = &found[0];
    explored::counterexample(&script, case, first, context.out)?;
    if let Some(difference) = difference {
        writeln!(context.out, "another course was taken: {difference}")?;
        return Ok(Exit::Inconclusive);
    }
    if first.check == schedule.check {
        writeln!(context.out, "the same course, and the same violation")?;
        return Ok(Exit::Violated);
    }
    writeln!(context.out, "the same course; {} is not violated", schedule.check)?;
    Ok(Exit::Met)
}

async fn replay(
    hosts: &mut Hosts,
    script: &std::sync::Arc<Script>,
    case: &ScriptCase,
    order: &[usize],
) -> Result<Vec<Found>, CaseFailure> {
    match case.backend {
        Backend::Postgres => {
            let mut world = hosts.postgres(script.clone(), case).await?;
            judged(&mut world, script, order).await.map_err(CaseFailure::Lost)
        }
        Backend::Sqlite => {
            let mut world = hosts.sqlite(script.clone(), case).await?;
            judged(&mut world, script, order).await.map_err(CaseFailure::Lost)
        }
    }
}

/// Every violation of an order; one without a check's name if there is none.
async fn judged<W: World>(world: &mut W, script: &Script, order: &[usize]) -> Result<Vec<Found>, Lost> {
    let mut judge = Judge::new(script, None, true, None);
    let execution = run_order(world, order, &queries(script)).await?;
    let wrong = judge.judge(world, &execution).await?;
    let found = |(check, sentence)| Found { check, sentence, execution: execution.clone() };
    let found: Vec<Found> = wrong.into_iter().map(found).collect();
    if found.is_empty() {
        let (check, sentence) = ("end".to_owned(), "nothing is violated".to_owned());
        return Ok(vec![Found { check, sentence, execution }]);
    }
    Ok(found)
}
