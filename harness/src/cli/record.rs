//! `driftlock record`: what a program does with its database.

use std::path::{Path, PathBuf};
use std::time::Duration;

use drift_engine::lock::Backend;
use driftlock_wire::{Config, Listen, Names, Proxy};

use super::common::{Format, print, quoted, run_name, unwritable};
use super::output;
use super::page::PageArgs;
use super::provisioning::PostgresArgs;
use super::{Context, Failure, hosts};
use crate::app::output::Output;
use crate::app::process::{Launch, exit_code};
use crate::app::record::account::Recorded;
use crate::app::record::{LOOK_EVERY, Recorder};
use crate::app::work::{Preparation, prepare};
use crate::exit::Exit;
use crate::explore::application::upstream;
use crate::explore::hosts::Hosts;
use crate::report::{html, record};

/// Runs any command, a test suite say, and says what it does with its PostgreSQL database
///
/// The command is given a new database on a server that driftlock starts, by DATABASE_URL and PGHOST, PGPORT, PGUSER,
/// PGPASSWORD and PGDATABASE, behind a proxy that holds nothing. What it did is printed: sessions, transactions with their
/// isolation, statements, locks, waits, retries, errors, transactions that were left open, COMMITs that were answered with
/// ROLLBACK, and how long statements kept transactions open. What it prints itself goes to standard error.
///
/// Exit codes: 0 the command ended with 0; 1 it did not; 2 it cannot be run, or the set-up failed; 3 it never connected;
/// 4 no database; 130 interrupted.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A shell command that prepares the database; it is not recorded
    #[arg(long, value_name = "COMMAND")]
    pub setup: Option<String>,

    /// The command, after --
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,

    /// How to print the result
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,

    /// Where to write the report
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub page: PageArgs,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub postgres: PostgresArgs,
}

/// With what a shell ends where a command cannot be run (POSIX, 2.8.2).
const NOT_EXECUTABLE: u32 = 126;
const NOT_FOUND: u32 = 127;

/// How long a set-up may take.
const SETUP_MAX: Duration = Duration::from_secs(600);

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let directory = output::directory(args.output.as_ref(), &run_name("record"), context)?;
    let mut hosts = hosts::hosts(&args.postgres, context);
    hosts.ready(Backend::Postgres).await?;
    let cancel = context.cancel.clone();
    let recorded = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Failure::interrupted()),
        recorded = record(&args, &mut hosts) => recorded,
    };
    let (profile, backends) = (hosts.profile().to_owned(), hosts.used.clone());
    hosts::stop(hosts, context).await?;
    let (code, recorder) = recorded?;
    let program = args.command.first().cloned().unwrap_or_default();
    let recorded = Recorded { program, profile, backends, ..recorder.recorded() };
    if recorded.sessions == 0 && matches!(code, NOT_EXECUTABLE | NOT_FOUND) {
        return Err(Failure::usage(miette::miette!("the command cannot be run (exit code {code})")));
    }
    directory.recorded(&recorded).map_err(unwritable)?;
    if recorded.sessions == 0 {
        let why = "the command never connected to driftlock's URL; it was given DATABASE_URL and PG*";
        writeln!(context.err, "{why} (exit code {code})")?;
        return Ok(Exit::Inconclusive);
    }
    args.page.write(directory.path(), context, || html::of_recorded(&recorded))?;
    print(&recorded, args.format, record::write, context)?;
    writeln!(context.err, "written to {}", directory.path().display())?;
    if code != 0 {
        writeln!(context.err, "the command ended with exit code {code}")?;
        return Ok(Exit::Violated);
    }
    Ok(Exit::Met)
}

/// Runs the command to its end; its exit code.
async fn record(args: &Args, hosts: &mut Hosts) -> Result<(u32, Recorder), Failure> {
    let environment = |error: &dyn std::error::Error| Failure::environment(miette::miette!("{error}"));
    let about = |error| hosts::about(error, "record", "record", Backend::Postgres);
    let site = hosts.postgres_site().await.map_err(about)?;
    let control = crate::explore::postgres::control(site.config()).await.map_err(|error| environment(&error))?;
    let recorder = Recorder::begin(control).await.map_err(|error| environment(&error))?;
    let mut config = Config::new(upstream(&site).map_err(|error| environment(&error))?);
    config.names = Names::Any;
    let proxy = Proxy::new(config, recorder.clone()).map_err(|error| environment(&error))?;
    let own = proxy.open(Listen::Tcp).await.map_err(|error| environment(&error))?;
    let endpoint = proxy.open(Listen::Tcp).await.map_err(|error| environment(&error))?;
    let directory = Path::new(".");
    if let Some(setup) = &args.setup {
        let preparation = Preparation { directory, database: &own.environment(), most: SETUP_MAX };
        let prepared = prepare(setup, &preparation, &Output::default()).await;
        prepared.map_err(|error| Failure::usage(miette::miette!("the set-up failed: {error}")))?;
    }
    recorder.records(endpoint.id);
    let command = args.command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let (database, env) = (endpoint.environment(), Default::default());
    let launch = Launch { command: &command, directory, database: &database, env: &env };
    let unable = |error: std::io::Error| Failure::usage(miette::miette!("`{command}` cannot be run: {error}"));
    let mut program = launch.pass_through().map_err(unable)?;
    let code = tokio::select! {
        ended = program.ended() => exit_code(ended.map_err(unable)?),
        error = recorder.watch_waits(LOOK_EVERY) => return Err(environment(&error)),
    };
    drop(program);
    proxy.stop().await;
    Ok((code, recorder))
}
