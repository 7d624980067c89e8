//! The schedules that were kept: what was found once is replayed first, ever after.

use std::path::{Component, Path, PathBuf};

use crate::cli::common::quoted;
use crate::cli::provisioning::PostgresArgs;
use crate::cli::replay::again::{Came, replayed};
use crate::cli::replay::origin::{Origin, Since};
use crate::cli::{Context, Failure, hosts};
use crate::clock::Clock;
use crate::exit::Exit;
use crate::explore::schedule::Schedule;
use crate::outcome::VerdictKind;
use crate::overall::{CaseRow, ViolatedRow};
use crate::report::overall::Collected;

/// The most schedules that are kept.
const SCHEDULES_MAX: usize = 1_000;

/// The name of the run of them.
pub(super) const NAME: &str = "regressions";

/// A schedule, read, with what it is an order of.
pub(super) struct Regression {
    /// Where it is.
    pub(super) file: String,
    schedule: Schedule,
    origin: Origin,
}

/// The schedules of a directory, by name. Everything that is wrong with any of them is told at once.
pub(super) fn read(directory: &Path, root: &Path) -> Result<Vec<Regression>, Failure> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let unreadable = |error: std::io::Error| {
        Failure::usage(miette::miette!("failed to read the directory {}: {error}", directory.display()))
    };
    let entries = std::fs::read_dir(directory).map_err(unreadable)?;
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(unreadable)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    if files.len() > SCHEDULES_MAX {
        let shown = directory.display();
        return Err(Failure::usage(miette::miette!("{shown} has more than {SCHEDULES_MAX} schedules")));
    }
    let (mut regressions, mut wrong) = (Vec::new(), Vec::new());
    for file in files {
        match one(&file, root) {
            Ok(regression) => regressions.push(regression),
            Err(failure) => wrong.push(format!("{}: {}", file.display(), failure.report)),
        }
    }
    if wrong.is_empty() {
        return Ok(regressions);
    }
    Err(Failure::usage(miette::miette!(
        help = "A schedule that is about nothing any more can be removed.",
        "the regressions cannot be replayed:\n{}",
        wrong.join("\n")
    )))
}

fn one(file: &Path, root: &Path) -> Result<Regression, Failure> {
    let schedule = Schedule::load(file)?;
    // It may have been found from another directory of the checkout: what remains is from its root on.
    let named = Path::new(&schedule.script);
    let within: PathBuf = named.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let places = if named.is_absolute() { vec![named.to_owned()] } else { vec![root.join(within), named.to_owned()] };
    let origin = Origin::of(&schedule, &places)?;
    if origin.since == Since::Carried {
        // What it carries is the script as it was, with whatever has been mended since.
        return Err(Failure::usage(miette::miette!(
            help = "Name its file as it is seen from driftlock.toml's directory (\"script\" in the schedule), or remove the schedule",
            "{} is not there, so what it says now cannot be replayed",
            schedule.script
        )));
    }
    Ok(Regression { file: file.display().to_string(), schedule, origin })
}

/// Replays all of them, on one server; what came of each is kept also where the next one fails.
pub(super) async fn replay(
    regressions: &[Regression],
    postgres: &PostgresArgs,
    collected: &mut Collected,
    context: &mut Context<'_>,
) -> Result<Exit, Failure> {
    collected.planned = regressions.len();
    let (mut hosts, mut exit) = (hosts::hosts(postgres, context), Exit::Met);
    let mut ended = Ok(());
    for regression in regressions {
        writeln!(context.out, "{}", regression.file)?;
        if let Some(note) = regression.origin.note() {
            writeln!(context.out, "  note: {note}")?;
        }
        let clock = Clock::start();
        let came = replayed(&regression.schedule, &regression.origin, false, &mut hosts, context).await;
        match came {
            Ok(came) => {
                let row = row(regression, came, &clock);
                exit = exit.worst(match row.verdict {
                    VerdictKind::Pass => Exit::Met,
                    VerdictKind::Violation => Exit::Violated,
                    VerdictKind::Inconclusive => Exit::Inconclusive,
                });
                writeln!(context.out, "  {}: {}\n", row.verdict.as_str(), row.evidence)?;
                collected.rows.push(row);
            }
            // A schedule whose actors are gone says nothing of the others.
            Err(failure) if failure.exit == Exit::Usage => {
                collected.not_verified.push(format!("{}: {}", regression.file, failure.report));
                exit = exit.worst(Exit::Usage);
            }
            Err(failure) => {
                ended = Err(failure);
                break;
            }
        }
    }
    collected.backends.clone_from(&hosts.used);
    collected.profile = hosts.profile().to_owned();
    hosts::stop(hosts, context).await?;
    ended.map(|()| exit)
}

fn row(regression: &Regression, came: Came, clock: &Clock) -> CaseRow {
    let Regression { file, schedule, origin } = regression;
    let check = &schedule.check;
    let (verdict, evidence) = match (came.violated.first(), &came.difference) {
        (Some((violated, sentence)), _) if violated == check => {
            (VerdictKind::Violation, format!("{check} is violated again: {sentence}"))
        }
        (Some((violated, sentence)), _) => {
            (VerdictKind::Violation, format!("{violated} is violated, where {check} was: {sentence}"))
        }
        (None, None) => (VerdictKind::Pass, format!("the same course, and {check} is not violated")),
        (None, Some(how)) if origin.may_differ() => {
            let why = format!("the actors' order was kept as far as it can be: {how}");
            (VerdictKind::Pass, format!("nothing is violated; {} has changed since, and {why}", origin.file))
        }
        (None, Some(how)) => (
            VerdictKind::Inconclusive,
            format!("another course was taken, though nothing is known to have changed: {how}"),
        ),
    };
    let one = |(check, why): (String, String)| ViolatedRow { check, why, at: None };
    let name = Path::new(file).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    CaseRow {
        run: NAME.to_owned(),
        title: format!("{name} [{}]", came.backend),
        version: None,
        name: came.name,
        class: format!("{}.{NAME}", came.backend),
        backend: came.backend,
        verdict,
        met: verdict == VerdictKind::Pass,
        evidence,
        violated: came.violated.into_iter().map(one).collect(),
        incomplete: None,
        accepted: None,
        replay: format!("driftlock replay {}", quoted(file)),
        keep: None,
        duration_ms: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}
