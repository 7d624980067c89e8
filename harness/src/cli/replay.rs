//! `driftlock replay`: runs an order again that `explore` found.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use drift_engine::lock::Backend;

use super::explore::hosts::{CaseFailure, Hosts};
use super::explore::scripts::load;
use super::provisioning::PostgresArgs;
use super::{Context, Failure};
use crate::exit::Exit;
use crate::explore::application::rules::{AppRules, Shown, confirm as confirm_units};
use crate::explore::case::compare_serial_runs;
use crate::explore::engine::case::EngineCase;
use crate::explore::engine::rules::{Confirmed, EngineRules, confirm};
use crate::explore::fault::Fault;
use crate::explore::judge::{Found, Rules, run as run_order};
use crate::explore::rules::ScriptRules;
use crate::explore::schedule::{ENGINE, Schedule, ScheduleError};
use crate::explore::world::{Choice, Lost, World};
use crate::report::explored;
use crate::scenario::application::{Application, is_application_at};
use crate::scenario::script::{Script, ScriptCase};
use crate::setting::Setting;

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
    let mut hosts = Hosts::default();
    let cancel = context.cancel.clone();
    let replayed = if schedule.script == ENGINE {
        let (case, setting) = EngineCase::named(&schedule.case)
            .ok_or_else(|| ScheduleError::Changed { what: format!("case {}", schedule.case) })?;
        hosts.start(case.backend, &args.postgres, context).await?;
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Failure::interrupted()),
            replayed = replay_engine(&mut hosts, &schedule, setting) => {
                replayed.map_err(|failure| failure.about(ENGINE, &schedule.case, case.backend))
            }
        }
    } else if let Some(app) = application(Path::new(&schedule.script))? {
        let order = schedule.order_of(|name| app.actors.iter().position(|actor| actor.name == name))?;
        hosts.start(Backend::Postgres, &args.postgres, context).await?;
        let app = Arc::new(app);
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Failure::interrupted()),
            replayed = replay_application(&mut hosts, &schedule, &app, &order) => {
                replayed.map_err(|failure| failure.about(&schedule.script, &schedule.case, Backend::Postgres))
            }
        }
    } else {
        let source = load(&PathBuf::from(&schedule.script))?;
        let script = source.script.clone();
        let case = script.cases.iter().find(|case| case.name == schedule.case);
        let case = case.ok_or_else(|| ScheduleError::Changed { what: format!("case {}", schedule.case) })?;
        let case = &case.clone();
        let script = std::sync::Arc::new(script.of_case(case));
        let (order, fault) = (schedule.order(&script)?, schedule.fault(&script)?);
        hosts.start(case.backend, &args.postgres, context).await?;
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Failure::interrupted()),
            found = replay(&mut hosts, &script, case, &order, fault) => match found {
                Ok(found) => Ok(Replayed { script: Script::clone(&script), found, until: None, shown: None }),
                Err(failure) => Err(failure.about(&source.file, &case.name, case.backend)),
            },
        }
    };
    hosts.stop(context).await?;
    let Replayed { script, mut found, until, shown } = replayed?;
    found.sort_by_key(|found| found.check != schedule.check);
    let first = &found[0];
    let until = until.unwrap_or(first.execution.taken.len());
    explored::counterexample(&script, shown.as_ref().unwrap_or(first), until, context.out)?;
    if let Some(difference) = schedule.difference(&script, &first.execution.taken) {
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

/// An order that was run again.
struct Replayed {
    script: Script,
    /// One at least; without a check's name if nothing is violated.
    found: Vec<Found>,
    /// How many of its steps show it, if not all.
    until: Option<usize>,
    /// The first as it is shown, where that is more.
    shown: Option<Found>,
}

/// The application in a file, if it holds one.
fn application(file: &Path) -> Result<Option<Application>, Failure> {
    // What cannot be read is for the reader of scripts to say.
    if !is_application_at(file) {
        return Ok(None);
    }
    Application::load(file).map(Some).map_err(Failure::usage)
}

/// Runs an order of an application's units.
async fn replay_application(
    hosts: &mut Hosts,
    schedule: &Schedule,
    app: &Arc<Application>,
    order: &[Choice],
) -> Result<Replayed, CaseFailure> {
    let mut world = hosts.application(app.clone()).await?;
    let mut rules = AppRules::new(app, &world);
    // What differs by itself is no difference.
    compare_serial_runs(&mut world, &mut rules, app.violates.as_deref()).await?;
    let Shown { script, found, with_rows, .. } = confirm_units(&mut world, &mut rules, order, &schedule.check).await?;
    world.close().await?;
    let shown = Some(Found { execution: with_rows, ..found.clone() });
    Ok(Replayed { script, found: vec![found], until: None, shown })
}

/// Runs an order of the engine's operations: its actors are numbered in the schedule.
async fn replay_engine(hosts: &mut Hosts, schedule: &Schedule, setting: Setting) -> Result<Replayed, CaseFailure> {
    let numbers = schedule.numbers(setting.roles().len()).map_err(|error| Lost::by_script(error.to_string()))?;
    let mut world = hosts.engine(setting).await?;
    let mut rules = EngineRules::default();
    let Confirmed { script, found, until, .. } =
        confirm(&mut world, &mut rules, &schedule.case, &numbers, &schedule.check).await?;
    Ok(Replayed { script, found: vec![found], until: Some(until), shown: None })
}

async fn replay(
    hosts: &mut Hosts,
    script: &std::sync::Arc<Script>,
    case: &ScriptCase,
    order: &[Choice],
    fault: Option<Fault>,
) -> Result<Vec<Found>, CaseFailure> {
    match case.backend {
        Backend::Postgres => {
            let mut world = hosts.postgres(script.clone(), case).await?;
            judged(&mut world, (script, case), order, fault).await.map_err(CaseFailure::Lost)
        }
        Backend::Sqlite => {
            let mut world = hosts.sqlite(script.clone(), case).await?;
            judged(&mut world, (script, case), order, fault).await.map_err(CaseFailure::Lost)
        }
    }
}

/// Every violation of an order; one without a check's name if there is none.
async fn judged<W: World>(
    world: &mut W,
    (script, case): (&Script, &ScriptCase),
    order: &[Choice],
    fault: Option<Fault>,
) -> Result<Vec<Found>, Lost> {
    let mut rules = ScriptRules::new(script, case);
    if fault.is_some() {
        let tables = world.tables().await?;
        rules = rules.with_faults(tables);
        // What differs by itself is no difference.
        compare_serial_runs(world, &mut rules, case.violates.as_deref()).await?;
    }
    world.inject(fault);
    let queries = Rules::<W>::queries(&rules);
    let execution = run_order(world, order, &queries).await?;
    let wrong = rules.wrong(world, &execution).await?;
    let found = |(check, sentence)| Found { check, sentence, execution: execution.clone() };
    let found: Vec<Found> = wrong.into_iter().map(found).collect();
    if found.is_empty() {
        return Ok(vec![Found::nothing(execution)]);
    }
    Ok(found)
}
