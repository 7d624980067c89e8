//! Holds the rehearsals, one after another, and keeps what came of them.

use super::{Args, Case, TrafficChoice, replay, unwritable, write};
use std::sync::Arc;

use crate::cli::{Context, Failure};
use crate::clock::Clock;
use crate::exit::Exit;
use crate::history::file;
use crate::provision::{ProvisionError, Server, Way};
use crate::rehearse::course::{self, Crowd, Plan, WINDOW};
use crate::rehearse::judge::judge;
use crate::rehearse::runner::{self, Runner};
use crate::rehearse::scripted;
use crate::rehearse::settings::EVENTS;
use crate::rehearse::site::{Place, Site, SiteError};
use crate::report::directory::RunDirectory;
use crate::report::rehearsed::RehearseReport;
use crate::report::rehearsed::row::{About, RehearseRow, row};
use crate::scenario::script::Script;

/// Holds all of them. What could not be tried is noted in the report.
pub(super) async fn all(
    args: &Args,
    cases: &[Case],
    script: Option<Arc<Script>>,
    server: &Server,
    directory: &RunDirectory,
    report: &mut RehearseReport,
    context: &mut Context<'_>,
) -> Result<Exit, Failure> {
    let mut site = Site::new(server, args.seed);
    let cancel = context.cancel.clone();
    for case in cases {
        let held = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Failure::interrupted()),
            held = one(args, case, script.as_ref(), &mut site, directory) => held,
        };
        match held {
            Ok(row) => {
                report.results.push(row);
                report.conclude();
                // Should nothing come after this, what there is so far is there.
                write(directory, report)?;
            }
            Err(Held::Site(SiteError::Provision(error))) => return Err(error.into()),
            Err(Held::Site(error @ (SiteError::Earlier { .. } | SiteError::Subject(_)))) => {
                return Err(Failure::usage(miette::Report::from_err(error)));
            }
            Err(Held::Site(error)) => {
                report.not_verified.push(format!("{}: {error}", case.subject.name));
                return Ok(Exit::Environment);
            }
            Err(Held::Failure(failure)) => return Err(failure),
        }
    }
    Ok(Exit::Met)
}

enum Held {
    Site(SiteError),
    Failure(Failure),
}

impl From<SiteError> for Held {
    fn from(error: SiteError) -> Self {
        Self::Site(error)
    }
}

async fn one(
    args: &Args,
    case: &Case,
    script: Option<&Arc<Script>>,
    site: &mut Site<'_>,
    directory: &RunDirectory,
) -> Result<RehearseRow, Held> {
    let clock = Clock::start();
    let (subject, settings) = (&case.subject, &case.subject.settings);
    let (from, to) = subject.range().map_err(SiteError::from)?;
    let events = settings.events.unwrap_or(EVENTS);
    let mut place = site.place(subject, events).await?;
    let runner = match &args.runner {
        Some(command) => Some(runner(args, case, command, (from, to), site, &mut place, events).await?),
        None => None,
    };
    let fitting = place.application.filter(|_| args.traffic == TrafficChoice::Engine);
    let traffic = match script {
        Some(script) => {
            let set = scripted::set_up(script, &place.database).await;
            set.map_err(|error| SiteError::Earlier { file: format!("the set-up of {}", script.name), error })?;
            Some(Crowd::Script(script.clone()))
        }
        None => fitting.map(|fitting| Crowd::Engine(args.cast(), settings.application.unwrap_or(fitting))),
    };
    let plan = Plan {
        migrations: subject.migrations.between(from, to).collect(),
        traffic,
        companion: case.companion.filter(|companion| place.application.is_some() || !companion.needs_engine()),
        lock: settings.replica_lock,
        runner,
        seed: args.seed,
        window: WINDOW,
    };
    let base = place.base.clone();
    let record = course::run(&plan, place.database.clone(), base).await.map_err(SiteError::from)?;
    site.leave(place).await.map_err(SiteError::from)?;
    let judged = judge(&plan, &record, &settings.budget);
    if let Some(history) = &record.history {
        let beside = case.companion.map_or("alone", |companion| companion.as_str());
        let name = format!("history-{}-{beside}.jsonl", subject.name);
        directory.file(&name, |to| file::write(history, to)).map_err(|error| Held::Failure(unwritable(error)))?;
    }
    let expected = settings.expected(case.companion);
    let about = About {
        name: &subject.name,
        from,
        to,
        expected: &expected,
        budget: settings.budget.to_string(),
        duration_ms: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
        replay: replay(args, case),
    };
    Ok(row(about, &plan, &record, judged))
}

/// The runner, after it has brought the database to the version to begin at.
async fn runner(
    args: &Args,
    case: &Case,
    command: &str,
    (from, to): (i64, i64),
    site: &Site<'_>,
    place: &mut Place,
    events: u32,
) -> Result<Runner, Held> {
    let path = &case.subject.path;
    let unreachable = || ProvisionError::Statement {
        what: "give the runner the database's URL".into(),
        why: "the server does not listen for other processes".into(),
    };
    let runner = Runner {
        up: runner::script(path, command),
        down: args.runner_down.as_ref().map(|down| runner::script(path, down)),
        url: site.access(place).ok_or_else(unreachable).map_err(SiteError::from)?,
        from,
        to,
        may_trigger: site.way() != Way::Given,
    };
    if from > 0 {
        let brought = runner.run(command, "up", from).await;
        brought.map_err(|error| SiteError::Earlier { file: format!("version {from}"), error })?;
    }
    site.look_again(place, events).await?;
    Ok(runner)
}
