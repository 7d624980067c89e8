//! `driftlock verify FILE.toml`: the actors of a script, or of an application, run freely, round after round.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Args;
use crate::cli::common::{print, quoted, run_name, told_first, unwritable, verdict_exit};
use crate::cli::explore::scripts::load;
use crate::cli::explore::subject::{AppSource, Source, Subject};
use crate::cli::output;
use crate::cli::{Context, Failure, hosts};
use crate::exit::Exit;
use crate::explore::application::rules::Shown;
use crate::explore::hosts::{HostError, Hosts};
use crate::explore::schedule::Schedule;
use crate::outcome::VerdictKind;
use crate::report::directory::RunDirectory;
use crate::report::explored::{ExpectedRow, ViolatedRow};
use crate::report::html;
use crate::report::rounds::{RoundRow, RoundsReport, ShownRound, write};
use crate::scenario::LoadError;
use crate::scenario::application::{Application, is_application_at};
use crate::scenario::script::Script;
use crate::verify::freely::{verify_application, verify_script};
use crate::verify::rounds::{FoundRound, Options, Rounds};

/// The seed, if none is given.
const SEED: u64 = 1;

/// After how long it is said how many rounds there were, again and again.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// What a file holds.
enum Loaded {
    Script(Source),
    Application(AppSource),
}

impl Loaded {
    fn of(file: &Path) -> Result<Self, Failure> {
        if !is_application_at(file) {
            return load(file).map(Self::Script);
        }
        let text = Script::text_of(file).map_err(Failure::usage)?;
        let app = Arc::new(
            Application::parse(file, text.as_bytes()).map_err(|wrong| Failure::usage(LoadError::Wrong(wrong)))?,
        );
        Ok(Self::Application(AppSource { file: file.display().to_string(), text: text.into(), app }))
    }

    fn subjects(&self) -> Vec<Subject<'_>> {
        match self {
            Self::Script(source) => source.script.cases.iter().map(|case| Subject::Script(source, case)).collect(),
            Self::Application(source) => vec![Subject::Application(source)],
        }
    }
}

/// Runs the scripts and the applications in these files.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: &Args, files: &[PathBuf], context: &mut Context<'_>) -> Result<Exit, Failure> {
    if args.strategy.is_some() {
        return Err(Failure::usage(miette::miette!(
            "--strategy is for scenarios: a script's SQL has its own locks, and so has an application"
        )));
    }
    let loaded = files.iter().map(|file| Loaded::of(file)).collect::<Result<Vec<Loaded>, Failure>>()?;
    let all: Vec<Subject<'_>> = loaded.iter().flat_map(Loaded::subjects).collect();
    let names: Vec<String> = all.iter().map(Subject::name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let cases: Vec<Subject<'_>> =
        all.into_iter().filter(|case| args.suite.wants(&case.name(), case.backend(), &names)).collect();
    if cases.is_empty() {
        return Err(Failure::usage(miette::miette!(
            help = "driftlock verify FILE --list shows what there is",
            "no case is left: the filters exclude them all"
        )));
    }
    if args.suite.list {
        for case in &cases {
            writeln!(context.out, "{} {}", case.name(), case.backend())?;
        }
        return Ok(Exit::Met);
    }
    let seed = args.suite.seed(context)?.unwrap_or(SEED);
    let directory = output::directory(args.suite.output.as_ref(), &run_name("verify"), context)?;
    let mut report = RoundsReport::new("verify", Some(seed), "none");
    (report.rounds, report.planned) = (Some(args.rounds), cases.len());
    let mut hosts = hosts::hosts(&args.suite.postgres, context);
    let ended = run_cases(args, &cases, &directory, &mut hosts, &mut report, context).await;
    hosts::stop(hosts, context).await?;
    report.conclude();
    if ended.is_ok() || !report.results.is_empty() {
        directory.rounds(&report).map_err(unwritable)?;
    }
    let ended = told_first(ended, report.results.len())?;
    args.suite.page.write(directory.path(), context, || html::of_rounds(&report))?;
    print(&report, args.suite.format, write, context)?;
    writeln!(context.err, "written to {}", directory.path().display())?;
    ended.map(|()| verdict_exit(report.verdict))
}

async fn run_cases(
    args: &Args,
    cases: &[Subject<'_>],
    directory: &RunDirectory,
    hosts: &mut Hosts,
    report: &mut RoundsReport,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let wants = |backend| cases.iter().any(|case| case.backend() == backend);
    let started = hosts.start_all(wants).await?;
    report.profile.clone_from(&started.profile);
    report.backends.clone_from(&started.backends);
    report.not_verified.extend(started.not_verified());
    let options = Options { rounds: args.rounds, seed: report.seed.unwrap_or_default() };
    let (cancel, limit) = (context.cancel.clone(), args.suite.time_limit.map(Duration::from_secs));
    let until = limit.map(|limit| tokio::time::Instant::now() + limit);
    for case in cases.iter().filter(|case| !started.lacks(case.backend())) {
        let (begin, counted) = (tokio::time::Instant::now(), AtomicU64::new(0));
        let mut ticks = tokio::time::interval_at(begin + TOLD_EVERY, TOLD_EVERY);
        let ran = {
            let mut running = std::pin::pin!(of_subject(hosts, case, options, &counted));
            let mut over = std::pin::pin!(async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            });
            loop {
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => return Err(Failure::interrupted()),
                    () = &mut over => {
                        let (left, total) = (cases.len() - report.results.len(), cases.len());
                        report.not_verified.push(format!(
                            "{left} of {total} cases have not come to an end within the time limit{}",
                            so_far(&counted)
                        ));
                        return Ok(());
                    }
                    ran = &mut running => break ran,
                    _ = ticks.tick(), if matches!(case, Subject::Application(_)) => {
                        let (rounds, seconds) = (counted.load(Ordering::Relaxed), begin.elapsed().as_secs());
                        writeln!(context.err, "{}: {rounds} of {} rounds in {seconds} s", case.name(), options.rounds)?;
                    }
                }
            }
        };
        let ran = ran.map_err(|failure| hosts::about(failure, case.file(), &case.name(), case.backend()))?;
        let again = written(args, case, &ran, directory)?;
        let mut row = row(args, case, &ran, options);
        row.replay = again.unwrap_or(row.replay);
        report.results.push(row);
    }
    Ok(())
}

/// Writes what the programs have printed, and the schedules of violations that can be run again: the command for the first.
fn written(
    args: &Args,
    subject: &Subject<'_>,
    ran: &Rounds,
    directory: &RunDirectory,
) -> Result<Option<String>, Failure> {
    let mut first = None;
    for (number, FoundRound { check, outputs, again, .. }) in ran.found.iter().enumerate() {
        let slug = format!("{}-{check}", subject.name());
        for (actor, text) in outputs {
            directory.printed(&format!("{slug}-{actor}"), text).map_err(unwritable)?;
        }
        if let Some(Shown { script, case, found, .. }) = again.as_deref() {
            let text = Schedule::new(subject.file(), subject.text(), script, case, found).text();
            let path = directory.schedule(&slug, "json", &text).map_err(unwritable)?;
            if number == 0 {
                let version = args.suite.postgres.version();
                first = Some(format!("driftlock replay {}{version}", quoted(&path.display().to_string())));
            }
        }
    }
    Ok(first)
}

/// How far the case came that was cut off, where that is known.
fn so_far(counted: &AtomicU64) -> String {
    match counted.load(Ordering::Relaxed) {
        0 => String::new(),
        rounds => format!(" (the last one after {rounds} rounds without a finding)"),
    }
}

async fn of_subject(
    hosts: &mut Hosts,
    subject: &Subject<'_>,
    options: Options,
    counted: &AtomicU64,
) -> Result<Rounds, HostError> {
    match subject {
        Subject::Script(source, case) => {
            verify_script(hosts, &Arc::new(source.script.of_case(case)), case, options).await
        }
        Subject::Application(source) => verify_application(hosts, &source.app, options, counted).await,
        Subject::Engine(_) => unreachable!("the engine is explored, and its scenarios are verified"),
    }
}

fn row(args: &Args, subject: &Subject<'_>, ran: &Rounds, options: Options) -> RoundRow {
    let (name, backend, violates) = (subject.name(), subject.backend(), subject.violates());
    let (verdict, evidence) = ran.verdict(violates.as_deref());
    let seed = ran.found.first().map_or(options.seed, |found| found.seed);
    let replay = format!(
        "driftlock verify {} --filter {name} --backend {backend} --seed {seed} --rounds {}{}",
        quoted(subject.file()),
        options.rounds,
        args.suite.repeated()
    );
    let violated = |found: &FoundRound| ViolatedRow {
        name: found.check.clone(),
        verdict: VerdictKind::Violation,
        why: found.sentence.clone(),
    };
    let shown = |found: &FoundRound| match (subject, &found.script) {
        (Subject::Script(source, case), _) => Some(ShownRound::new(&source.script.of_case(case), found)),
        (_, script) => script.as_ref().map(|script| ShownRound::new(script, found)),
    };
    RoundRow {
        backend,
        verdict,
        met: ran.is_met(violates.as_deref()),
        expected: ExpectedRow {
            verdict: if violates.is_some() { VerdictKind::Violation } else { VerdictKind::Pass },
            check: violates,
        },
        evidence,
        checks: ran.found.iter().map(violated).collect(),
        rounds: ran.rounds,
        overlapped: ran.overlapped,
        arranged: ran.arranged,
        waited: ran.waited,
        refused: ran.refused,
        not_compared: ran.not_compared.clone(),
        duration_ms: u64::try_from(ran.took.as_millis()).unwrap_or(u64::MAX),
        replay,
        counterexamples: ran.found.iter().filter_map(shown).collect(),
        name,
    }
}
