//! `driftlock bench SCRIPT.toml`: rounds of the script's actors are the tasks.

use std::sync::Arc;

use drift_engine::lock::Backend;

use super::{Args, finish, with_arrivals};
use crate::capacity::load::{Arrivals, KeyChoice, Load};
use crate::capacity::script::bench::{Benched, ScriptBenchError, bench_script};
use crate::capacity::script::{ATTEMPTS_MAX, unrepeatable};
use crate::capacity::setting::{Lock, Setting, Surroundings, Work};
use crate::cli::common::run_name;
use crate::cli::explore::scripts::load as read;
use crate::cli::explore::subject::Source;
use crate::cli::output;
use crate::cli::{Context, Failure};
use crate::exit::Exit;
use crate::fixture::Host;
use crate::isolation::start_confining;
use crate::provision::{Journal, Profile, RunName, SqliteFiles, sqlite_version};
use crate::report::bench::BenchReport;
use crate::scenario::script::{Script, ScriptCase};

impl From<ScriptBenchError> for Failure {
    fn from(error: ScriptBenchError) -> Self {
        match error {
            ScriptBenchError::Bed(error) => error.into(),
            ScriptBenchError::Setup { .. } => Self::usage(miette::Report::from_err(error)),
            ScriptBenchError::Types(_) => Self::environment(miette::Report::from_err(error)),
        }
    }
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
    let directory = output::directory(args.output.as_ref(), &name, context)?;
    let (host, surroundings) = host(&args, &name, context).await?;
    let ran = bench_script(&host, &script, &case, &load, &context.cancel).await;
    if let Host::Postgres(server) = host
        && let Err(error) = server.stop().await
    {
        writeln!(context.err, "warning: {error}")?;
    }
    let Benched { calibration, driven, steps, round_trip_added } = ran?;
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
