//! `driftlock verify SCRIPT.toml`: the script's actors run freely, round after round.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use drift_engine::lock::Backend;

use super::Args;
use crate::actor::script::postgres::PgSession;
use crate::actor::script::sqlite::SqliteSession;
use crate::cli::common::{print, quoted, run_name, unwritable, verdict_exit};
use crate::cli::explore::hosts::{CaseFailure, Hosts};
use crate::cli::explore::scripts::{Source, load};
use crate::cli::{Context, Failure};
use crate::exit::Exit;
use crate::explore::postgres::PgWorld;
use crate::explore::sqlite::SqliteWorld;
use crate::outcome::VerdictKind;
use crate::report::directory::RunDirectory;
use crate::report::explored::{ExpectedRow, ViolatedRow};
use crate::report::html;
use crate::report::rounds::{RoundRow, RoundsReport, ShownRound, write};
use crate::scenario::script::{Script, ScriptCase};
use crate::verify::rounds::{Options, Rounds, run as run_rounds};

/// The seed, if none is given.
const SEED: u64 = 1;

/// Runs the scripts in these files.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: &Args, files: &[PathBuf], context: &mut Context<'_>) -> Result<Exit, Failure> {
    if args.strategy.is_some() {
        return Err(Failure::usage(miette::miette!("--strategy is for scenarios: a script's SQL has its own locks")));
    }
    let sources = files.iter().map(|file| load(file)).collect::<Result<Vec<Source>, Failure>>()?;
    let named = |source: &Source, case: &ScriptCase| format!("{}/{}", source.script.name, case.name);
    let all = || sources.iter().flat_map(|source| source.script.cases.iter().map(move |case| (source, case)));
    let names: Vec<String> = all().map(|(source, case)| named(source, case)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let cases: Vec<(&Source, &ScriptCase)> =
        all().filter(|(source, case)| args.suite.wants(&named(source, case), case.backend, &names)).collect();
    if cases.is_empty() {
        return Err(Failure::usage(miette::miette!(
            help = "driftlock verify FILE --list shows what there is",
            "no case is left: the filters exclude them all"
        )));
    }
    if args.suite.list {
        for (source, case) in &cases {
            writeln!(context.out, "{} {}", named(source, case), case.backend)?;
        }
        return Ok(Exit::Met);
    }
    let seed = args.suite.seed(context)?.unwrap_or(SEED);
    let path = args.suite.output.clone().unwrap_or_else(|| PathBuf::from("target/driftlock").join(run_name("verify")));
    let directory = RunDirectory::create(path).map_err(unwritable)?;
    let mut report = RoundsReport::new("verify", Some(seed), "none");
    (report.rounds, report.planned) = (Some(args.rounds), cases.len());
    let mut hosts = Hosts::default();
    let ended = run_cases(args, &cases, &mut hosts, &mut report, context).await;
    hosts.stop(context).await?;
    report.conclude();
    if ended.is_ok() || !report.results.is_empty() {
        directory.rounds(&report).map_err(unwritable)?;
    }
    ended?;
    args.suite.page.write(|| html::of_rounds(&report))?;
    print(&report, args.suite.format, write, context)?;
    writeln!(context.err, "written to {}", directory.path().display())?;
    Ok(verdict_exit(report.verdict))
}

async fn run_cases(
    args: &Args,
    cases: &[(&Source, &ScriptCase)],
    hosts: &mut Hosts,
    report: &mut RoundsReport,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let wants = |backend| cases.iter().any(|(_, case)| case.backend == backend);
    let started = hosts.start_all(wants, &args.suite.postgres, context).await?;
    report.profile.clone_from(&started.profile);
    report.backends.clone_from(&started.backends);
    report.not_verified.extend(started.not_verified());
    let options = Options { rounds: args.rounds, seed: report.seed.unwrap_or_default() };
    let (cancel, limit) = (context.cancel.clone(), args.suite.time_limit.map(Duration::from_secs));
    let until = limit.map(|limit| tokio::time::Instant::now() + limit);
    for (source, case) in cases.iter().filter(|(_, case)| !started.lacks(case.backend)) {
        let over = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let ran = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Failure::interrupted()),
            () = over => {
                let (left, total) = (cases.len() - report.results.len(), cases.len());
                report.not_verified.push(format!("{left} of {total} cases have not come to an end within the time limit"));
                return Ok(());
            }
            ran = rounds(hosts, Arc::new(source.script.of_case(case)), case, options) => ran,
        };
        let ran = ran.map_err(|failure| failure.about(&source.file, &case.name, case.backend))?;
        report.results.push(row(args, source, case, &ran, options));
    }
    Ok(())
}

/// Runs a case in a database of its own.
async fn rounds(
    hosts: &mut Hosts,
    script: Arc<Script>,
    case: &ScriptCase,
    options: Options,
) -> Result<Rounds, CaseFailure> {
    match case.backend {
        Backend::Postgres => {
            let site = hosts.postgres_site().await?;
            let config = site.config().clone();
            let world = PgWorld::new(site, script.clone(), case.clone()).await;
            let mut world = world.map_err(CaseFailure::Lost)?;
            let control = PgSession::control(&config).await.map_err(CaseFailure::Lost)?;
            let mut sessions = Vec::new();
            for actor in &script.actors {
                let session = PgSession::open(&config, control.clone(), &actor.name).await;
                sessions.push(session.map_err(CaseFailure::Lost)?);
            }
            let ran = run_rounds(&mut world, &mut sessions, &script, case, options).await;
            world.close().await.and(ran).map_err(CaseFailure::Lost)
        }
        Backend::Sqlite => {
            let (file, keep) = hosts.sqlite_options().await?;
            let world = SqliteWorld::new(file.clone(), &keep, script.clone(), case.clone()).await;
            let mut world = world.map_err(CaseFailure::Lost)?;
            let mut sessions = Vec::new();
            for _ in &script.actors {
                sessions.push(SqliteSession::open(&file).await.map_err(CaseFailure::Lost)?);
            }
            run_rounds(&mut world, &mut sessions, &script, case, options).await.map_err(CaseFailure::Lost)
        }
    }
}

fn row(args: &Args, source: &Source, case: &ScriptCase, ran: &Rounds, options: Options) -> RoundRow {
    let (verdict, evidence) = ran.verdict(case);
    let name = format!("{}/{}", source.script.name, case.name);
    let seed = ran.found.first().map_or(options.seed, |found| found.seed);
    let replay = format!(
        "driftlock verify {} --filter {name} --backend {} --seed {seed} --rounds {}{}",
        quoted(&source.file),
        case.backend,
        options.rounds,
        args.suite.repeated()
    );
    let violated = |found: &crate::verify::rounds::FoundRound| ViolatedRow {
        name: found.check.clone(),
        verdict: VerdictKind::Violation,
        why: found.sentence.clone(),
    };
    RoundRow {
        name,
        backend: case.backend,
        verdict,
        expected: ExpectedRow {
            verdict: if case.violates.is_some() { VerdictKind::Violation } else { VerdictKind::Pass },
            check: case.violates.clone(),
        },
        met: ran.is_met(case),
        evidence,
        checks: ran.found.iter().map(violated).collect(),
        rounds: ran.rounds,
        overlapped: ran.overlapped,
        waited: ran.waited,
        refused: ran.refused,
        duration_ms: u64::try_from(ran.took.as_millis()).unwrap_or(u64::MAX),
        replay,
        counterexamples: {
            let script = source.script.of_case(case);
            ran.found.iter().map(|found| ShownRound::new(&script, found)).collect()
        },
    }
}
