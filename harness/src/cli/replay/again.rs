//! Runs the order of a schedule, and says what came of it.

use std::sync::Arc;

use drift_engine::lock::Backend;

use super::origin::{Origin, Program};
use crate::cli::hosts::about;
use crate::cli::{Context, Failure};
use crate::explore::application::Looking;
use crate::explore::application::rules::{AppRules, Shown, confirm as confirm_units};
use crate::explore::case::compare_serial_runs;
use crate::explore::course::{Counterexample, Course, Names};
use crate::explore::engine::case::EngineCase;
use crate::explore::engine::rules::{Confirmed, EngineRules, confirm};
use crate::explore::engine::state::QUERIES;
use crate::explore::fault::Fault;
use crate::explore::hosts::{HostError, Hosts};
use crate::explore::judge::{Found, Rules, run as run_order};
use crate::explore::rules::ScriptRules;
use crate::explore::schedule::{ENGINE, Schedule};
use crate::explore::shrink::serial_without;
use crate::explore::world::{Choice, Lost, World};
use crate::report::explored;
use crate::scenario::application::Application;
use crate::scenario::script::{Script, ScriptCase};
use crate::setting::Setting;

/// What came of an order.
pub(crate) struct Came {
    /// The case's name, as `explore` has it.
    pub(crate) name: String,
    /// On which database.
    pub(crate) backend: Backend,
    /// The first difference to the schedule's course, in a sentence.
    pub(crate) difference: Option<String>,
    /// What is violated, and how; the schedule's own check first.
    pub(crate) violated: Vec<(String, String)>,
    /// The order as data, where that was wanted.
    pub(crate) counterexample: Option<Counterexample>,
}

/// Runs a schedule's order, and shows it. If `more` is wanted, a serial order that does not violate it is looked for too. The hosts are to be stopped by whoever gave them.
///
/// # Errors
/// See [`Failure`].
pub(crate) async fn replayed(
    schedule: &Schedule,
    origin: &Origin,
    more: bool,
    hosts: &mut Hosts,
    context: &mut Context<'_>,
) -> Result<Came, Failure> {
    let cancel = context.cancel.clone();
    let (name, backend, replayed) = match &origin.program {
        Program::Engine => {
            let (case, setting) =
                EngineCase::named(&schedule.case).ok_or_else(|| Origin::missing("case", &schedule.case))?;
            hosts.ready(case.backend).await?;
            let replayed = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Failure::interrupted()),
                replayed = replay_engine(hosts, schedule, setting, more) => replayed,
            };
            let replayed = replayed.map_err(|failure| about(failure, ENGINE, &schedule.case, case.backend))?;
            (schedule.case.clone(), case.backend, replayed)
        }
        Program::Application(app) => {
            let number = |name: &str| app.actors.iter().position(|actor| actor.name == name);
            let order = schedule.order_of(number)?;
            // Units have no names but their numbers, from 1.
            let unit = |_, name: &str| name.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
            let fault = schedule.fault_of(number, unit)?;
            hosts.ready(Backend::Postgres).await?;
            let replayed = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Failure::interrupted()),
                replayed = replay_application(hosts, schedule, app, (&order, fault), more) => replayed,
            };
            let about = |failure: HostError| about(failure, &origin.file, &schedule.case, Backend::Postgres);
            (app.name.clone(), Backend::Postgres, replayed.map_err(about)?)
        }
        Program::Script(source) => {
            let case = source.script.cases.iter().find(|case| case.name == schedule.case);
            let case = case.ok_or_else(|| Origin::missing("case", &schedule.case))?;
            let script = Arc::new(source.script.of_case(case));
            // Of a check that is gone nobody can say that it holds.
            if !script.knows_check(&schedule.check) {
                return Err(Origin::missing("check", &schedule.check));
            }
            let (order, fault) = (schedule.order(&script)?, schedule.fault(&script)?);
            hosts.ready(case.backend).await?;
            let found = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Failure::interrupted()),
                found = replay(hosts, &script, case, &order, fault, more.then_some(&schedule.check)) => found,
            };
            let found = found.map_err(|failure| about(failure, &source.file, &case.name, case.backend))?;
            let name = format!("{}/{}", source.script.name, case.name);
            (
                name,
                case.backend,
                Replayed {
                    queries: Names::of(&script).queries,
                    script: Script::clone(&script),
                    found,
                    until: None,
                    shown: None,
                    serial: None,
                },
            )
        }
    };
    let Replayed { script, mut found, until, shown, queries, serial } = replayed;
    found.sort_by_key(|found| found.check != schedule.check);
    let first = &found[0];
    let until = until.unwrap_or(first.execution.taken.len());
    explored::counterexample(&script, shown.as_ref().unwrap_or(first), until, context.out)?;
    let violated = found.iter().filter(|found| !found.is_nothing());
    let violated = violated.map(|found| (found.check.clone(), found.sentence.clone())).collect();
    let counterexample = more.then(|| {
        let names = Names { queries, ..Names::of(&script) };
        let mut of = Counterexample::new(&names, shown.as_ref().unwrap_or(first), until, String::new());
        of.serial = serial.or(of.serial);
        of
    });
    let difference = schedule.difference(&script, &first.execution.taken);
    Ok(Came { name, backend, difference, violated, counterexample })
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

/// Runs an order of an application's units.
async fn replay_application(
    hosts: &mut Hosts,
    schedule: &Schedule,
    app: &Arc<Application>,
    (order, fault): (&[Choice], Option<Fault>),
    more: bool,
) -> Result<Replayed, HostError> {
    let mut world = hosts.application(app.clone(), Looking::Footprints).await?;
    let mut rules = AppRules::new(app, &world);
    if fault.is_some() {
        rules = rules.with_faults(&world);
    }
    // What differs by itself is no difference.
    compare_serial_runs(&mut world, &mut rules, app.violates.as_deref()).await?;
    world.inject(fault);
    let Shown { script, found, with_rows, .. } = confirm_units(&mut world, &mut rules, order, &schedule.check).await?;
    world.inject(None);
    let queries = rules.names().queries;
    let mut serial = None;
    if more
        && !found.is_nothing()
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
) -> Result<Replayed, HostError> {
    let numbers = schedule.numbers(setting.roles().len()).map_err(|error| Lost::by_script(error.to_string()))?;
    let mut world = hosts.engine(setting).await?;
    let mut rules = EngineRules::default();
    let Confirmed { script, found, until, .. } =
        confirm(&mut world, &mut rules, &schedule.case, &numbers, &schedule.check).await?;
    let asked = || QUERIES.map(str::to_owned).into();
    let mut serial = None;
    if more
        && !found.is_nothing()
        && let Some(order) = serial_without(&mut world, &mut rules, &found).await?.map(|serial| serial.order())
    {
        let of = confirm(&mut world, &mut rules, &schedule.case, &order, &schedule.check).await?;
        let names = Names { queries: asked(), ..Names::of(&of.script) };
        serial = (of.found.check != found.check).then(|| Course::new(&names, &of.found.execution));
    }
    let queries = asked();
    Ok(Replayed { script, found: vec![found], until: Some(until), shown: None, queries, serial })
}

async fn replay(
    hosts: &mut Hosts,
    script: &std::sync::Arc<Script>,
    case: &ScriptCase,
    order: &[Choice],
    fault: Option<Fault>,
    more: Option<&String>,
) -> Result<Vec<Found>, HostError> {
    match case.backend {
        Backend::Postgres => {
            let mut world = hosts.postgres(script.clone(), case).await?;
            judged(&mut world, (script, case), order, fault, more).await.map_err(HostError::Lost)
        }
        Backend::Sqlite => {
            let mut world = hosts.sqlite(script.clone(), case).await?;
            judged(&mut world, (script, case), order, fault, more).await.map_err(HostError::Lost)
        }
    }
}

/// Every violation of an order; one without a check's name if there is none.
async fn judged<W: World>(
    world: &mut W,
    (script, case): (&Script, &ScriptCase),
    order: &[Choice],
    fault: Option<Fault>,
    more: Option<&String>,
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
