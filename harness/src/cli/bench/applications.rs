//! `driftlock bench APP.toml`: the jobs of the application's actors are the tasks.

use std::sync::Arc;
use std::time::Duration;

use drift_engine::lock::Backend;

use super::{Args, finish, with_arrivals};
use crate::capacity::alarm::Alarm;
use crate::capacity::application::measure::{Compared, MeasureError, Measured, Subject, measure};
use crate::capacity::load::{Arrivals, KeyChoice, Load};
use crate::capacity::phase::Phase;
use crate::capacity::setting::{Lock, Setting, Surroundings, Way, Work};
use crate::cli::capacity::undriven;
use crate::cli::common::run_name;
use crate::cli::output;
use crate::cli::{Context, Failure};
use crate::clock::Clock;
use crate::exit::Exit;
use crate::isolation::start_confining;
use crate::provision::{Profile, RunName, Server, StartOptions};
use crate::report::bench::BenchReport;
use crate::scenario::application::{Application, Job};

/// How long whoever puts the load on has to end its programs after Ctrl-C.
const CANCEL_MAX: Duration = Duration::from_millis(300);

/// Runs the command for an application.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let app = Application::load(&args.load.scenario).map_err(|error| Failure::usage(miette::Report::new(error)))?;
    let load = load(&args, &app)?;
    let name = run_name("bench");
    let directory = output::directory(args.output.as_ref(), &name, context)?;
    let server = start(&args, &name, context).await?;
    let profile = server.settings().profile().as_str().to_owned();
    let surroundings = Surroundings::here(server.version().to_owned(), server.way().to_string(), profile);
    let ran = run_on(&server, &args, app, load, context).await;
    if let Err(error) = server.stop().await {
        writeln!(context.err, "warning: {error}")?;
    }
    let (subject, Measured { driven, run }) = ran?;
    let Subject { app, load, .. } = subject;
    let mut replay = with_arrivals(args.load.repeated("bench", &load), load.arrivals);
    for (is, word) in [(args.direct, " --direct"), (args.proxy_cost, " --proxy-cost")] {
        replay.push_str(if is { word } else { "" });
    }
    let setting = Setting {
        scenario: app.name.clone(),
        work: Work::Application,
        backend: Backend::Postgres,
        strategy: Lock::Application { way: run.way },
        max_attempts: 1,
        data: "what the set-up makes".to_owned(),
        load,
    };
    let report =
        BenchReport::new(setting, surroundings, driven.recording, driven.generator, replay).with_application(run);
    finish(&report, &directory, (args.format, &args.page), context)
}

/// The load that is meant.
fn load(args: &Args, app: &Application) -> Result<Load, Failure> {
    let own = [
        (args.load.backend != Backend::Postgres, "an application is put under load on PostgreSQL: leave out --backend"),
        (args.case.is_some(), "--case is for scripts: an application has no cases"),
        (args.load.strategy.is_some(), "--strategy is for scenarios: an application has its own locks"),
        (args.load.script != Work::Engine, "--script is for scenarios: an application's jobs are the tasks"),
        (args.load.rows.is_some(), "--rows is for --script lock"),
        (args.load.keys.is_some(), "--keys is for scenarios: each worker is one of the application's actors"),
        (args.load.pool.is_some(), "--pool is for scenarios and scripts: an application opens its own connections"),
        (!args.load.rtt.is_zero(), "--rtt is for scenarios and scripts: nothing is added to what an application sends"),
    ];
    if let Some((_, why)) = own.into_iter().find(|(is, _)| *is) {
        return Err(Failure::usage(miette::miette!("{why}")));
    }
    let actors = u32::try_from(app.actors.len()).unwrap_or(u32::MAX);
    let load = args.load.load_of((KeyChoice::Uniform, actors), actors, args.arrivals(Arrivals::Closed)?)?;
    if load.workers < actors {
        let workers = load.workers;
        return Err(Failure::usage(miette::miette!(
            help = format!("Leave out --workers, or give --workers {actors} or more."),
            "{} has {actors} actors, and each needs a worker of its own: --workers {workers} leaves some out",
            app.name
        )));
    }
    Ok(load)
}

async fn start(args: &Args, run: &str, context: &Context<'_>) -> Result<Server, Failure> {
    // Programs that go to the server directly do so as they would in production; what is compared with them goes the
    // same way from the proxy on.
    let tcp = args.direct || args.proxy_cost;
    let options = StartOptions { tcp, ..args.load.postgres.start_options(Profile::Durable) };
    Ok(start_confining(&options, &RunName::new(run)?, &context.cancel).await?)
}

/// Puts the load on, in each way that is asked for.
async fn run_on(
    server: &Server,
    args: &Args,
    app: Application,
    load: Load,
    context: &mut Context<'_>,
) -> Result<(Subject, Measured), Failure> {
    let starts: Vec<&str> = app
        .actors
        .iter()
        .filter(|actor| matches!(actor.job, Job::Run { .. }))
        .map(|actor| actor.name.as_str())
        .collect();
    if !starts.is_empty() {
        let names = starts.join(", ");
        let why = "a process is started for each task (`run`), and its start is part of what is measured";
        writeln!(context.err, "note: {names}: {why}; with `worker = …` a process stays")?;
    }
    let clock = Clock::start();
    let alarm = Arc::new(Alarm::start(clock.clone())?);
    let subject = Subject { app: Arc::new(app), load, clock, alarm };
    let file = args.load.scenario.display().to_string();
    let direct = match args.proxy_cost {
        true => Some(compared(&one(server, &subject, Way::Direct, &file, context).await?)),
        false => None,
    };
    let way = if args.direct { Way::Direct } else { Way::Proxy };
    let mut measured = one(server, &subject, way, &file, context).await?;
    measured.run.direct = direct;
    Ok((subject, measured))
}

async fn one(
    server: &Server,
    subject: &Subject,
    way: Way,
    file: &str,
    context: &Context<'_>,
) -> Result<Measured, Failure> {
    // The load listens for it itself, so that its programs have ended when this returns.
    let stopped = async {
        context.cancel.cancelled().await;
        tokio::time::sleep(CANCEL_MAX).await;
    };
    tokio::select! {
        biased;
        measured = measure(server, subject, way, &context.cancel) => measured.map_err(|error| failure(error, file)),
        () = stopped => Err(Failure::interrupted()),
    }
}

/// What one way came to, to be held against the other.
fn compared(measured: &Measured) -> Compared {
    let recording = &measured.driven.recording;
    let at = |quantile| recording.quantile(Phase::Response, quantile).unwrap_or(0);
    Compared { throughput: recording.throughput(), p50: at(0.5), p99: at(0.99) }
}

fn failure(error: MeasureError, file: &str) -> Failure {
    match error {
        MeasureError::Provision(error) => error.into(),
        MeasureError::Target(error) => error.into(),
        MeasureError::Drive(error) => undriven(error),
        MeasureError::Setup(_) | MeasureError::Unable(_) => Failure::usage(miette::miette!("{file}: {error}")),
        MeasureError::Lost(_) | MeasureError::Proxy(_) => Failure::environment(miette::miette!("{file}: {error}")),
    }
}
