//! A command on several versions of PostgreSQL: once on each, and what they come to beside each other.
//!
//! SQLite is the same beside every one of them, and is run once.

use std::path::{Path, PathBuf};

use drift_engine::lock::Backend;

use super::each::{self, All};
use super::line::{Planned, What, listing, postgres_of};
use super::write;
use crate::cli::common::{Format, SeedChoice, print, run_name};
use crate::cli::obtain::{self, Consent};
use crate::cli::output;
use crate::cli::provisioning::{PgVersions, PostgresArgs};
use crate::cli::{Command, Context, Failure};
use crate::exit::Exit;
use crate::overall::accepted::Acceptance;
use crate::overall::{OverallReport, RunRow};
use crate::provision::{
    Binaries, GivenUrl, PostgresChoice, ProvisionError, binary_directories, docker_state, of_major,
};
use crate::report::overall;
use crate::scenario::project::REGRESSIONS;

/// What is to be done with a command.
pub(crate) enum Ready {
    /// It can be carried out.
    Run(Box<Command>),
    /// It was, on each of several versions.
    Ended(Exit),
}

/// Finds the versions that a command asks for, or PostgreSQL at all where there is none: what is missing is installed if
/// somebody agrees. A command on several versions is run here.
pub(crate) async fn ready(mut command: Command, context: &mut Context<'_>) -> Result<Ready, Failure> {
    let Some(postgres) = command.postgres_mut().cloned() else { return Ok(Ready::Run(Box::new(command))) };
    let Some(versions) = &postgres.pg_version else {
        offered(&command, &postgres, context).await?;
        return Ok(Ready::Run(Box::new(command)));
    };
    if matches!(postgres.postgres, PostgresChoice::Docker | PostgresChoice::Url(_)) {
        return Err(Failure::usage(miette::miette!(
            help = "a container's version is that of its image: DRIFTLOCK_POSTGRES_IMAGE=postgres:17",
            "--pg-version chooses among local server programs, and --postgres {} asks for another server",
            postgres.postgres
        )));
    }
    // What runs nothing needs none.
    if is_listed(&command) {
        return Ok(Ready::Run(Box::new(command)));
    }
    if let [_] = versions.all() {
        if !wants(&command, Backend::Postgres, context).await {
            return Ok(Ready::Run(Box::new(command)));
        }
        let mut sought = match command {
            // It looks, and changes nothing.
            Command::Doctor(_) => looked_for(versions.all(), &postgres).await?,
            _ => found(versions.all(), &postgres, context).await?,
        };
        let (_, binaries) = sought.pop().expect("one version was looked for");
        postgres_of(&mut command).programs = Some(binaries?.directory);
        return Ok(Ready::Run(Box::new(command)));
    }
    several(&command, &postgres, versions, context).await.map(Ready::Ended)
}

/// Where no PostgreSQL is to be had, and one is wanted: offers to install it. What is not agreed to is told later, by whoever
/// needs it.
async fn offered(command: &Command, postgres: &PostgresArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    // The others say for themselves what is missing.
    if !matches!(command, Command::Verify(_) | Command::Mutate(_) | Command::Explore(_) | Command::Rehearse(_)) {
        return Ok(());
    }
    let is_open =
        postgres.pg_bin.is_none() && matches!(postgres.postgres, PostgresChoice::Auto | PostgresChoice::Local);
    let has_url = postgres.postgres == PostgresChoice::Auto && GivenUrl::is_set();
    if !is_open || has_url || is_listed(command) || !has_none() || !wants(command, Backend::Postgres, context).await {
        return Ok(());
    }
    if postgres.postgres == PostgresChoice::Auto && docker_state().await.is_ok() {
        return Ok(());
    }
    // Without a client there is nothing to offer.
    let major = obtain::USUAL;
    if crate::provision::clients(major).is_ok()
        && obtain::consent(&obtain::question(&[major]), postgres.yes, context).await? == Consent::Given
    {
        got(major, context).await?;
    }
    Ok(())
}

/// Installs a version; nothing, and why not is told, where that fails. Whatever needs no such version still runs.
async fn got(major: u32, context: &mut Context<'_>) -> Result<Option<Binaries>, Failure> {
    match obtain::installed(major, None, context).await {
        Ok(installed) => Ok(Some(installed.binaries)),
        Err(failure) if failure.exit == Exit::Interrupted => Err(failure),
        Err(failure) => {
            writeln!(context.err, "{:?}", failure.report)?;
            Ok(None)
        }
    }
}

/// Whether no server programs are on this machine.
fn has_none() -> bool {
    let (usable, unusable) = binary_directories(None);
    usable.is_empty() && unusable.is_empty()
}

fn is_listed(command: &Command) -> bool {
    match command {
        Command::Verify(args) => args.suite.list,
        Command::Mutate(args) => args.suite.list,
        Command::Explore(args) => args.list || args.parse_only,
        Command::Rehearse(args) => args.list,
        _ => false,
    }
}

/// Whether a command has a case on a database, as its own list says; why there is no list, the command says itself. What has
/// none by its nature is all on PostgreSQL.
async fn wants(command: &Command, backend: Backend, context: &mut Context<'_>) -> bool {
    match command {
        Command::Rehearse(args) => return args.backend.unwrap_or(Backend::Postgres) == backend,
        Command::Explore(args) if args.as_isolationtester => return backend == Backend::Postgres,
        Command::Verify(_) | Command::Mutate(_) | Command::Explore(_) => {}
        _ => return backend == Backend::Postgres,
    }
    let (mut listed, mut unheard) = (Vec::new(), std::io::sink());
    let mut inner = Context { out: &mut listed, err: &mut unheard, cancel: context.cancel.clone() };
    match each::carried_out(listing(command), &mut inner).await {
        Ok(_) => {
            let listed = String::from_utf8_lossy(&listed);
            listed.lines().any(|line| line.split(' ').any(|word| word == backend.as_str()))
        }
        Err(_) => false,
    }
}

type Sought = (u32, Result<Binaries, ProvisionError>);

/// Looks for versions.
async fn looked_for(majors: &[u32], postgres: &PostgresArgs) -> Result<Vec<Sought>, Failure> {
    let (pg_bin, wanted) = (postgres.pg_bin.clone(), majors.to_vec());
    let look = move || wanted.into_iter().map(|major| (major, of_major(major, pg_bin.as_deref()))).collect();
    tokio::task::spawn_blocking(look).await.map_err(|error| Failure::environment(miette::miette!("{error}")))
}

/// Looks for versions; what is missing is installed if somebody agrees.
async fn found(majors: &[u32], postgres: &PostgresArgs, context: &mut Context<'_>) -> Result<Vec<Sought>, Failure> {
    let mut sought = looked_for(majors, postgres).await?;
    let is_missing = |sought: &&Sought| matches!(sought.1, Err(ProvisionError::NoVersion { .. }));
    let missing: Vec<u32> = sought.iter().filter(is_missing).map(|(major, _)| *major).collect();
    let Some(first) = missing.first() else { return Ok(sought) };
    let can_install = crate::provision::clients(*first).is_ok();
    if !can_install || obtain::consent(&obtain::question(&missing), postgres.yes, context).await? != Consent::Given {
        return Ok(sought);
    }
    for (major, outcome) in sought.iter_mut().filter(|(major, _)| missing.contains(major)) {
        if let Some(binaries) = got(*major, context).await? {
            *outcome = Ok(binaries);
        }
    }
    Ok(sought)
}

/// Runs a command on several versions.
async fn several(
    command: &Command,
    postgres: &PostgresArgs,
    versions: &PgVersions,
    context: &mut Context<'_>,
) -> Result<Exit, Failure> {
    let name = refused(command, versions)?;
    let command = &with_one_seed(command, context)?;
    // A mistake in a file is told once.
    let (mut unheard, mut err) = (std::io::sink(), std::io::sink());
    let mut inner = Context { out: &mut unheard, err: &mut err, cancel: context.cancel.clone() };
    each::carried_out(listing(command), &mut inner).await?;
    let mut planned = Vec::new();
    let mut missing = Vec::new();
    if wants(command, Backend::Postgres, context).await {
        for (major, binaries) in found(versions.all(), postgres, context).await? {
            let name = format!("postgres-{major}");
            let mut command = command.clone();
            set_backend(&mut command, Backend::Postgres);
            let postgres = postgres_of(&mut command);
            postgres.pg_version = Some(PgVersions::one(major));
            let line = format!("PostgreSQL {major}");
            match binaries {
                Ok(binaries) => {
                    postgres.programs = Some(binaries.directory);
                    planned.push(Planned { name, line, what: What::Command(Box::new(command)) });
                }
                Err(error) => missing.push((name, line, error)),
            }
        }
        if planned.is_empty()
            && let Some((.., error)) = missing.pop()
        {
            for (.., earlier) in missing {
                writeln!(context.err, "{}", earlier.in_full())?;
            }
            return Err(error.into());
        }
    }
    if !matches!(command, Command::Rehearse(_)) && wants(command, Backend::Sqlite, context).await {
        let mut command = command.clone();
        set_backend(&mut command, Backend::Sqlite);
        postgres_of(&mut command).pg_version = None;
        planned.push(Planned {
            name: "sqlite".to_owned(),
            line: "SQLite".to_owned(),
            what: What::Command(Box::new(command)),
        });
    }
    let (format, output, is_shown) = printing(command);
    let directory = output::directory(output.as_ref(), &run_name(name), context)?;
    let rows = planned.iter().map(|planned| RunRow::new(&planned.name, &planned.line)).collect();
    let mut report = OverallReport::of_versions(name, rows);
    let today = jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::now()).date();
    let acceptance = Acceptance { entries: &[], today };
    let goes_on = vec![false; planned.len()];
    let all = All { planned: &planned, goes_on, acceptance, regressions: Path::new(REGRESSIONS) };
    each::run(&all, &directory, &mut report, is_shown && format == Format::Text, context).await?;
    for (name, line, error) in missing {
        let mut row = RunRow::new(&name, &line);
        let help = miette::Diagnostic::help(&error).map(|help| format!(" ({help})")).unwrap_or_default();
        row.failure = Some(format!("{}{help}", error.in_full()));
        row.exit = Some(Exit::Inconclusive as u8);
        report.runs.push(row);
    }
    report.runs.sort_by(|one, other| one.name.cmp(&other.name));
    report.conclude();
    write(&directory, &report)?;
    print(&report, format, overall::write, context)?;
    writeln!(context.err, "written to {}", directory.path().display())?;
    Ok(report.exit())
}

/// What makes no sense on several versions; else the command's name.
fn refused(command: &Command, versions: &PgVersions) -> Result<&'static str, Failure> {
    let (name, has_page, backend) = match command {
        Command::Verify(args) => ("verify", args.suite.page.is_wanted(), args.suite.backend),
        Command::Mutate(args) => ("mutate", args.suite.page.is_wanted(), args.suite.backend),
        Command::Explore(args) if args.as_isolationtester => {
            return Err(Failure::usage(miette::miette!(
                "--as-isolationtester prints what one server says: name one version, and not {versions}"
            )));
        }
        Command::Explore(args) => ("explore", args.page.is_wanted(), args.backend),
        Command::Rehearse(args) => ("rehearse", args.page.is_wanted(), args.backend),
        _ => {
            return Err(Failure::usage(miette::miette!(
                help = "verify, mutate, explore and rehearse take several",
                "this command runs on one version of PostgreSQL, and --pg-version {versions} names several"
            )));
        }
    };
    if has_page {
        return Err(Failure::usage(miette::miette!(
            help = "each version has a directory of its own in the run directory, of which `driftlock report` writes the page",
            "--html and --open write the page of one version, and --pg-version {versions} names several"
        )));
    }
    match backend {
        Some(Backend::Sqlite) => Err(Failure::usage(miette::miette!(
            "--backend sqlite leaves nothing that --pg-version {versions} could be about"
        ))),
        _ => Ok(name),
    }
}

/// A seed that is drawn is drawn once: else each version would have other cases.
fn with_one_seed(command: &Command, context: &mut Context<'_>) -> Result<Command, Failure> {
    let mut command = command.clone();
    if let Command::Verify(crate::cli::verify::Args { suite, .. })
    | Command::Mutate(crate::cli::mutate::Args { suite, .. }) = &mut command
        && let Some(seed) = suite.seed(context)?
    {
        suite.seed = Some(SeedChoice::Fixed(seed));
    }
    Ok(command)
}

fn set_backend(command: &mut Command, backend: Backend) {
    match command {
        Command::Verify(args) => args.suite.backend = Some(backend),
        Command::Mutate(args) => args.suite.backend = Some(backend),
        Command::Explore(args) => args.backend = Some(backend),
        // A rehearsal's directory says which one it is for.
        _ => {}
    }
}

/// How the result is printed, where it is written to, and whether what each version prints is shown: of a rehearsal it is.
fn printing(command: &Command) -> (Format, Option<PathBuf>, bool) {
    match command {
        Command::Verify(args) => (args.suite.format, args.suite.output.clone(), false),
        Command::Mutate(args) => (args.suite.format, args.suite.output.clone(), false),
        Command::Explore(args) => (args.format, args.output.clone(), false),
        Command::Rehearse(args) => (args.format, args.output.clone(), true),
        _ => (Format::Text, None, false),
    }
}
