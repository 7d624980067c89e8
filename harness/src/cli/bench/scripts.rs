//! `driftlock bench SCRIPT.toml`: rounds of the script's actors are the tasks.

use std::path::PathBuf;
use std::sync::Arc;

use drift_engine::lock::Backend;
use drift_engine::session::Kind;

use super::{Args, finish, unwritable, with_arrivals};
use crate::capacity::alarm::Alarm;
use crate::capacity::calibrate::{Calibration, calibrate};
use crate::capacity::drive::{Driven, drive};
use crate::capacity::load::{Arrivals, KeyChoice, Load};
use crate::capacity::script::connection::Place;
use crate::capacity::script::steps::StepRow;
use crate::capacity::script::{ATTEMPTS_MAX, ScriptJob, unrepeatable};
use crate::capacity::setting::{Lock, Setting, Surroundings, Work};
use crate::cli::capacity::bed::{lost, undriven};
use crate::cli::common::run_name;
use crate::cli::explore::scripts::load as read;
use crate::cli::explore::subject::Source;
use crate::cli::{Context, Failure};
use crate::clock::Clock;
use crate::database::STATEMENT_MAX;
use crate::database::postgres::PgDatabase;
use crate::database::sqlite::SqliteDatabase;
use crate::exit::Exit;
use crate::isolation::{config, start_confining};
use crate::provision::{Journal, Profile, RunName, Server, SqliteFiles, sqlite_version};
use crate::report::bench::BenchReport;
use crate::report::directory::RunDirectory;
use crate::scenario::script::{Script, ScriptCase};

/// Where a script runs.
enum Host {
    Postgres(Box<Server>),
    Sqlite(SqliteFiles),
}

/// What was measured.
struct Measured {
    calibration: Option<Calibration>,
    driven: Driven,
    steps: Vec<StepRow>,
    round_trip_added: Option<f64>,
}

/// Runs the command for a script.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let Source { script, .. } = read(&args.load.scenario)?;
    let case = case(&args, &script)?.clone();
    let script = Arc::new(script.of_case(&case));
    let load = load(&args, &script)?;
    let name = run_name("bench");
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from("target/driftlock").join(&name));
    let directory = RunDirectory::create(path).map_err(unwritable)?;
    let (host, surroundings) = host(&args, &name, context).await?;
    let ran = measure(&host, &script, &case, &load, context).await;
    if let Host::Postgres(server) = host
        && let Err(error) = server.stop().await
    {
        writeln!(context.err, "warning: {error}")?;
    }
    let Measured { calibration, driven, steps, round_trip_added } = ran?;
    let replay = with_arrivals(args.load.repeated("bench", &load), load.arrivals);
    let setting = Setting {
        scenario: script.name.clone(),
        work: Work::Script,
        backend: case.backend,
        strategy: Lock::Own { case: case.name.clone() },
        max_attempts: ATTEMPTS_MAX,
        data: "what the set-up makes".to_owned(),
        load,
    };
    let replay = format!("{replay} --case {}", case.name);
    let report = BenchReport::new(setting, surroundings, driven.recording, driven.generator, replay);
    let report = report.with_steps(steps).calibrated(calibration).delayed(round_trip_added);
    finish(&report, &directory, (args.format, &args.page), context)
}

/// The case that is meant.
fn case<'a>(args: &Args, script: &'a Script) -> Result<&'a ScriptCase, Failure> {
    let on = |case: &&ScriptCase| case.backend == args.load.backend;
    let named = |case: &&ScriptCase| args.case.as_ref().is_none_or(|name| *name == case.name);
    let backend = args.load.backend;
    script.cases.iter().filter(on).find(named).ok_or_else(|| {
        let there: Vec<String> =
            script.cases.iter().map(|case| format!("--backend {} --case {}", case.backend, case.name)).collect();
        Failure::usage(miette::miette!(
            help = format!("There is: {}", there.join(", ")),
            "{} has no such case on {backend}",
            script.name
        ))
    })
}

/// The load that is meant.
fn load(args: &Args, script: &Script) -> Result<Load, Failure> {
    let own = [
        (args.load.strategy.is_some(), "--strategy is for scenarios: a script's SQL has its own locks"),
        (args.load.script != Work::Engine, "--script is for scenarios: a script is its own task"),
        (args.load.rows.is_some(), "--rows is for --script lock"),
        (args.load.keys.is_some(), "--keys is for scenarios: a script's actors take turns"),
    ];
    if let Some((_, why)) = own.into_iter().find(|(is, _)| *is) {
        return Err(Failure::usage(miette::miette!("{why}")));
    }
    if let Some(why) = unrepeatable(script, args.load.pool.is_some()) {
        return Err(Failure::usage(miette::miette!(
            help = "Put it into the set-up, which is run once before the load, and leave it out of the actors.",
            "{} is no load: {why}",
            script.name
        )));
    }
    let actors = u32::try_from(script.actors.len()).unwrap_or(1);
    args.load.load_of((KeyChoice::Uniform, actors), actors, args.arrivals(Arrivals::Closed)?)
}

async fn host(args: &Args, run: &str, context: &Context<'_>) -> Result<(Host, Surroundings), Failure> {
    match args.load.backend {
        Backend::Postgres => {
            let options = args.load.postgres.start_options(Profile::Durable);
            let server = start_confining(&options, &RunName::new(run)?, &context.cancel).await?;
            let profile = server.settings().profile().as_str().to_owned();
            let here = Surroundings::here(server.version().to_owned(), server.way().to_string(), profile);
            Ok((Host::Postgres(Box::new(server)), here))
        }
        Backend::Sqlite => {
            let profile = Profile::Durable.as_str().to_owned();
            let here = Surroundings::here(sqlite_version().await?, "built in".to_owned(), profile);
            Ok((Host::Sqlite(SqliteFiles::create(Journal::Wal).await?), here))
        }
    }
}

/// Makes a database with the set-up, and puts the load on it.
async fn measure(
    host: &Host,
    script: &Arc<Script>,
    case: &ScriptCase,
    load: &Load,
    context: &Context<'_>,
) -> Result<Measured, Failure> {
    let (place, server) = match host {
        Host::Postgres(server) => {
            let own = server.create_database("script", None).await?;
            // What is measured of the server alone is measured beside the script's tables.
            let beside = server.create_database("beside", None).await?;
            let place = Place::Postgres(Box::new(config(server, &own)?));
            (place, Some(PgDatabase::new(server.connect_options(&beside), None)))
        }
        Host::Sqlite(files) => {
            let made = files.create_database("script", None).await?;
            (Place::Sqlite(Box::new(SqliteDatabase::new(files.connect_options(&made), STATEMENT_MAX))), None)
        }
    };
    let mut connection = place.connect().await.map_err(lost)?;
    let set_up = connection.send(&script.setup, Kind::Write, None).await;
    set_up.map_err(|error| Failure::usage(miette::miette!("the set-up of {} is refused: {error}", script.name)))?;
    drop(connection);
    let clock = Clock::start();
    let alarm = Arc::new(Alarm::start(clock.clone())?);
    let measures = (clock.clone(), alarm.clone());
    let types = place.types(script, case).await.map_err(|lost| Failure::environment(miette::miette!("{lost}")))?;
    let job = Arc::new(ScriptJob::new(place, (script.clone(), case.clone(), types), load, measures));
    let calibrating = calibrate(job.clone(), load, server.as_ref(), &clock, &alarm, &context.cancel);
    let calibration = tokio::select! {
        biased;
        () = context.cancel.cancelled() => return Err(Failure::interrupted()),
        calibration = calibrating => calibration.map_err(undriven)?,
    };
    let driven = drive(job.clone(), load, &clock, &alarm, &context.cancel).await.map_err(undriven)?;
    Ok(Measured { calibration, driven, steps: job.counted(), round_trip_added: alarm.round_trip_added() })
}
