//! `driftlock replay`: runs an order again that `explore` found.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use drift_engine::lock::Backend;

use super::common::{quoted, unwritable, verdict_exit};
use super::explore::hosts::{CaseFailure, Hosts};
use super::explore::scripts::load;
use super::page::PageArgs;
use super::provisioning::PostgresArgs;
use super::{Context, Failure};
use crate::exit::Exit;
use crate::explore::application::rules::{AppRules, Shown, confirm as confirm_units};
use crate::explore::case::compare_serial_runs;
use crate::explore::course::{Counterexample, Course, Names};
use crate::explore::engine::case::EngineCase;
use crate::explore::engine::rules::{Confirmed, EngineRules, confirm};
use crate::explore::engine::state::QUERIES;
use crate::explore::judge::{Found, NOTHING, Rules, run as run_order};
use crate::explore::rules::{ScriptRules, queries};
use crate::explore::schedule::{ENGINE, Schedule, ScheduleError};
use crate::explore::shrink::serial_without;
use crate::explore::world::{Choice, Lost, World};
use crate::outcome::VerdictKind;
use crate::report::directory::RunDirectory;
use crate::report::replayed::ReplayReport;
use crate::report::{explored, html};
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

    /// Where to write a report, for `driftlock report`; without it none is written
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub page: PageArgs,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub postgres: PostgresArgs,
}

impl Args {
    /// Whether more is wanted than what is printed: a run that does not violate it is then looked for.
    fn wants_more(&self) -> bool {
        self.output.is_some() || self.page.html.is_some()
    }
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
    let directory = args.output.clone().map(RunDirectory::create).transpose().map_err(unwritable)?;
    let more = args.wants_more();
    let (mut hosts, mut backends) = (Hosts::default(), Vec::new());
    let cancel = context.cancel.clone();
    let replayed = if schedule.script == ENGINE {
        let (case, setting) = EngineCase::named(&schedule.case)
            .ok_or_else(|| ScheduleError::Changed { what: format!("case {}", schedule.case) })?;
        backends.push(hosts.start(case.backend, &args.postgres, context).await?);
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Failure::interrupted()),
            replayed = replay_engine(&mut hosts, &schedule, setting, more) => {
                replayed.map_err(|failure| failure.about(ENGINE, &schedule.case, case.backend))
            }
        }
    } else if let Some(app) = application(Path::new(&schedule.script))? {
        let order = schedule.order_of(|name| app.actors.iter().position(|actor| actor.name == name))?;
        backends.push(hosts.start(Backend::Postgres, &args.postgres, context).await?);
        let app = Arc::new(app);
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Failure::interrupted()),
            replayed = replay_application(&mut hosts, &schedule, &app, &order, more) => {
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
        let order = schedule.order(&script)?;
        backends.push(hosts.start(case.backend, &args.postgres, context).await?);
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Failure::interrupted()),
            found = replay(&mut hosts, &script, case, &order, more.then_some(&schedule.check)) => match found {
                Ok(found) => {
                    let queries = Names::of(&script).queries;
                    Ok(Replayed { script: Script::clone(&script), found, until: None, shown: None, queries, serial: None })
                }
                Err(failure) => Err(failure.about(&source.file, &case.name, case.backend)),
            },
        }
    };
    let profile = hosts.server().map_or("none", |server| server.settings().profile().as_str());
    hosts.stop(context).await?;
    let Replayed { script, mut found, until, shown, queries, serial } = replayed?;
    found.sort_by_key(|found| found.check != schedule.check);
    let first = &found[0];
    let until = until.unwrap_or(first.execution.taken.len());
    explored::counterexample(&script, shown.as_ref().unwrap_or(first), until, context.out)?;
    let (verdict, conclusion) = match schedule.difference(&script, &first.execution.taken) {
        Some(difference) => (VerdictKind::Inconclusive, format!("another course was taken: {difference}")),
        None if first.check == schedule.check => {
            (VerdictKind::Violation, "the same course, and the same violation".to_owned())
        }
        None => (VerdictKind::Pass, format!("the same course; {} is not violated", schedule.check)),
    };
    writeln!(context.out, "{conclusion}")?;
    if more {
        let names = Names { queries, ..Names::of(&script) };
        let command = format!("driftlock replay {}", quoted(&args.file.display().to_string()));
        let mut of = Counterexample::new(&names, shown.as_ref().unwrap_or(first), until, command);
        of.serial = serial.or(of.serial);
        let mut report = ReplayReport::new(verdict, conclusion, of);
        report.schedule = args.file.display().to_string();
        (report.script, report.case) = (schedule.script, schedule.case);
        (report.profile, report.backends) = (profile.to_owned(), backends);
        if let Some(directory) = &directory {
            directory.replayed(&report).map_err(unwritable)?;
        }
        args.page.write(|| html::of_replayed(&report))?;
    }
    Ok(verdict_exit(verdict))
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
    /// What the queries are called that are asked at the end.
    queries: Vec<String>,
    /// The same actors one after the other, where that was looked for and violates nothing of the kind.
    serial: Option<Course>,
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
    more: bool,
) -> Result<Replayed, CaseFailure> {
    let mut world = hosts.application(app.clone()).await?;
    let mut rules = AppRules::new(app, &world);
    // What differs by itself is no difference.
    compare_serial_runs(&mut world, &mut rules, app.violates.as_deref()).await?;
    let Shown { script, found, with_rows, .. } = confirm_units(&mut world, &mut rules, order, &schedule.check).await?;
    let queries = rules.names().queries;
    let mut serial = None;
    if more
        && found.check != NOTHING
        && let Some(order) = serial_without(&mut world, &mut rules, &found).await?.map(|serial| serial.order())
    {
        let of = confirm_units(&mut world, &mut rules, &order, &schedule.check).await?;
        let names = Names { queries: queries.clone(), ..Names::of(&of.script) };
        serial = (of.found.check != found.check).then(|| Course::new(&names, &of.with_rows));
    }
    world.close().await?;
    let shown = Some(Found { execution: with_rows, ..found.clone() });
    Ok(Replayed { script, found: vec![found], until: None, shown, queries, serial })
}

/// Runs an order of the engine's operations: its actors are numbered in the schedule.
async fn replay_engine(
    hosts: &mut Hosts,
    schedule: &Schedule,
    setting: Setting,
    more: bool,
) -> Result<Replayed, CaseFailure> {
    let numbers = schedule.numbers(setting.roles().len()).map_err(|error| Lost::by_script(error.to_string()))?;
    let mut world = hosts.engine(setting).await?;
    let mut rules = EngineRules::default();
    let asked = || QUERIES.map(str::to_owned).into();
    let Confirmed { script, found, until, .. } =
        confirm(&mut world, &mut rules, &schedule.case, &numbers, &schedule.check).await?;
    let mut serial = None;
    if more
        && found.check != NOTHING
        && let Some(order) = serial_without(&mut world, &mut rules, &found).await?.map(|serial| serial.order())
    {
        let of = confirm(&mut world, &mut rules, &schedule.case, &order, &schedule.check).await?;
        let is_clean = of.found.check != found.check;
        let names = Names { queries: asked(), ..Names::of(&of.script) };
        serial = is_clean.then(|| Course::new(&names, &of.found.execution));
    }
    let queries = asked();
    Ok(Replayed { script, found: vec![found], until: Some(until), shown: None, queries, serial })
}

async fn replay(
    hosts: &mut Hosts,
    script: &std::sync::Arc<Script>,
    case: &ScriptCase,
    order: &[Choice],
    more: Option<&String>,
) -> Result<Vec<Found>, CaseFailure> {
    match case.backend {
        Backend::Postgres => {
            let mut world = hosts.postgres(script.clone(), case).await?;
            judged(&mut world, (script, case), order, more).await.map_err(CaseFailure::Lost)
        }
        Backend::Sqlite => {
            let mut world = hosts.sqlite(script.clone(), case).await?;
            judged(&mut world, (script, case), order, more).await.map_err(CaseFailure::Lost)
        }
    }
}

/// Every violation of an order; one without a check's name if there is none.
async fn judged<W: World>(
    world: &mut W,
    (script, case): (&Script, &ScriptCase),
    order: &[Choice],
    more: Option<&String>,
) -> Result<Vec<Found>, Lost> {
    let mut rules = ScriptRules::new(script, case);
    let execution = run_order(world, order, &queries(script)).await?;
    let wrong = rules.wrong(world, &execution).await?;
    let found = |(check, sentence)| Found { check, sentence, execution: execution.clone(), serial: None };
    let mut found: Vec<Found> = wrong.into_iter().map(found).collect();
    if let Some(of) = found.iter_mut().find(|of| Some(&of.check) == more) {
        of.serial = serial_without(world, &mut rules, of).await?;
    }
    if found.is_empty() {
        return Ok(vec![Found::nothing(execution)]);
    }
    Ok(found)
}
