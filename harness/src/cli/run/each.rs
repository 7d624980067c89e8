//! The runs, one after another: each is the command's own function, with its outputs beside those of the others.

use std::io::{self, Write};
use std::path::Path;

use anstream::StripStream;

use super::line::{self, Planned, What};
use super::{regressions, write};
use crate::cli::common::{quoted, unwritable, verdict_exit};
use crate::cli::{Command, Context, Failure, explore, mutate, rehearse, verify};
use crate::clock::Clock;
use crate::exit::Exit;
use crate::outcome::VerdictKind;
use crate::overall::OverallReport;
use crate::overall::accepted::Acceptance;
use crate::report::directory::{OUTPUT, RunDirectory, WriteError};
use crate::report::overall::{self, Collected};

/// How much of what a run prints is kept, in bytes.
const OUTPUT_MAX: usize = 4 << 20;

/// All that is to be held.
pub(super) struct All<'a> {
    /// The runs.
    pub(super) planned: &'a [Planned],
    /// Which of them go on after a first violation: one that is accepted must not hide another.
    pub(super) goes_on: Vec<bool>,
    /// What is accepted.
    pub(super) acceptance: Acceptance<'a>,
    /// Where schedules are kept.
    pub(super) regressions: &'a Path,
}

/// Has every run list its cases, which reads all of its files. Answers which have a case of which something is
/// accepted, or the exit code if any cannot be read.
pub(super) async fn looked_at(
    planned: &[Planned],
    acceptance: Acceptance<'_>,
    is_listed: bool,
    context: &mut Context<'_>,
) -> Result<Result<Vec<bool>, Exit>, Failure> {
    let (mut wrong, mut goes_on) = (None, Vec::new());
    for run in planned {
        let mut listed = Vec::new();
        let mut inner = Context { out: &mut listed, err: &mut *context.err, cancel: context.cancel.clone() };
        let looked = match &run.what {
            What::Command(command) => carried_out(line::listing(command), &mut inner).await,
            What::Regressions(regressions, _) => {
                regressions.iter().try_for_each(|one| writeln!(inner.out, "{}", one.file))?;
                Ok(Exit::Met)
            }
        };
        let listed = String::from_utf8_lossy(&listed);
        let is_of = |name: &str| listed.lines().any(|line| line.split(' ').next() == Some(name));
        goes_on.push(acceptance.entries.iter().any(|entry| is_of(&entry.name)));
        match looked {
            Ok(_) if is_listed => {
                writeln!(context.out, "{}: {}", run.name, run.line)?;
                for case in listed.lines() {
                    writeln!(context.out, "  {case}")?;
                }
            }
            Ok(_) => {}
            Err(failure) => {
                writeln!(context.err, "run {}: {:?}", run.name, failure.report)?;
                wrong = Some(wrong.map_or(failure.exit, |exit: Exit| exit.worst(failure.exit)));
            }
        }
    }
    Ok(wrong.map_or(Ok(goes_on), Err))
}

/// Holds all of them. What one could not do is noted, and the next one begun, unless somebody interrupts.
pub(super) async fn run(
    all: &All<'_>,
    directory: &RunDirectory,
    report: &mut OverallReport,
    is_shown: bool,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    for (number, run) in all.planned.iter().enumerate() {
        if context.cancel.is_cancelled() {
            break;
        }
        if is_shown {
            writeln!(context.out, "== {}: {}\n", run.name, run.line)?;
        }
        let clock = Clock::start();
        let inner = directory.path().join(&run.name);
        let (ended, collected) = printed(run, all.goes_on[number], &inner, is_shown, context).await?;
        if is_shown {
            writeln!(context.out)?;
        }
        report.runs[number].duration_ms = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
        note(report, number, ended, collected, all);
        report.conclude();
        // Should nothing come after this, what there is so far is there.
        write(directory, report)?;
    }
    // Whoever interrupts between two runs has none that says so.
    report.is_interrupted = context.cancel.is_cancelled();
    report.conclude();
    Ok(())
}

/// What a run came to; what it prints is kept too.
async fn printed(
    run: &Planned,
    goes_on: bool,
    directory: &Path,
    is_shown: bool,
    context: &mut Context<'_>,
) -> Result<(Result<Exit, Failure>, Collected), Failure> {
    let mut sink = io::sink();
    let shown: &mut (dyn Write + Send) = if is_shown { &mut *context.out } else { &mut sink };
    let mut both = Both { shown, kept: StripStream::new(Vec::new()), room: OUTPUT_MAX };
    let mut inner = Context { out: &mut both, err: &mut *context.err, cancel: context.cancel.clone() };
    let mut collected = Collected::default();
    let ended = match &run.what {
        What::Command(command) => {
            let command = line::into_directory(command, directory.to_owned(), goes_on);
            let ended = carried_out(command, &mut inner).await;
            // Who was interrupted, or lost its database, has written what there was until then.
            if let Ok(recorded) = RunDirectory::read(directory) {
                collected = overall::collected(&run.name, &recorded);
            }
            ended
        }
        What::Regressions(regressions, postgres) => {
            Box::pin(regressions::replay(regressions, postgres, &mut collected, &mut inner)).await
        }
    };
    let kept = both.kept.into_inner();
    if let Err(failure) = &ended {
        writeln!(context.err, "run {}: {:?}", run.name, failure.report)?;
    }
    if !kept.is_empty() {
        // Whoever could not begin has made no directory.
        let file = directory.join(OUTPUT);
        let written = std::fs::create_dir_all(directory).and_then(|()| std::fs::write(&file, &kept));
        written.map_err(|source| unwritable(WriteError { path: file, source }))?;
    }
    Ok((ended, collected))
}

/// The command's own function.
pub(super) async fn carried_out(command: Command, context: &mut Context<'_>) -> Result<Exit, Failure> {
    match command {
        Command::Verify(args) => Box::pin(verify::run(args, context)).await,
        Command::Mutate(args) => Box::pin(mutate::run(args, context)).await,
        Command::Explore(args) => Box::pin(explore::run(args, context)).await,
        Command::Rehearse(args) => Box::pin(rehearse::run(*args, context)).await,
        _ => unreachable!("a run is of verify, mutate, explore or rehearse"),
    }
}

/// Notes what came of a run.
fn note(report: &mut OverallReport, number: usize, ended: Result<Exit, Failure>, collected: Collected, all: &All<'_>) {
    let Collected { mut rows, planned, not_verified, not_applicable, profile, backends } = collected;
    all.acceptance.apply(&mut rows);
    for row in &mut rows {
        let used = backends.iter().find(|used| used.name == row.backend.as_str());
        row.version = used.map(|used| used.version.clone());
    }
    for row in rows.iter_mut().filter(|row| !row.met) {
        row.keep = keep(&row.replay, all.regressions);
    }
    let run = &mut report.runs[number];
    run.exit = Some(match ended {
        // What is accepted is no violation to this command.
        Ok(Exit::Violated) if rows.iter().any(|row| row.accepted.is_some()) => {
            let is_partial = rows.len() < planned || !not_verified.is_empty();
            verdict_exit(VerdictKind::over(rows.iter().map(|row| (row.met, row.verdict)), is_partial)) as u8
        }
        Ok(exit) => exit as u8,
        Err(failure) => {
            run.failure = Some(failure.report.to_string());
            failure.exit as u8
        }
    });
    if rows.is_empty() && planned == 0 && run.failure.is_none() {
        let why: Vec<&str> = not_applicable.iter().map(|one| one.reason.as_str()).collect();
        run.nothing = Some(why.join("; "));
    }
    (run.planned, run.not_verified) = (planned, not_verified);
    report.report.results.extend(rows);
    report.report.not_applicable.extend(not_applicable);
    report.add_profile(&profile);
    for backend in backends {
        if !report.report.backends.contains(&backend) {
            report.report.backends.push(backend);
        }
    }
}

/// The commands that keep the schedule of a violation, if it has one.
fn keep(replay: &str, regressions: &Path) -> Option<String> {
    let schedule = replay.strip_prefix("driftlock replay ")?;
    let schedule = schedule.split_once(" --pg-version ").map_or(schedule, |(schedule, _)| schedule);
    if Path::new(schedule.trim_matches('\'')).starts_with(regressions) {
        return None;
    }
    let directory = quoted(&format!("{}/", regressions.display()));
    Some(format!("mkdir -p {directory} && cp {schedule} {directory}"))
}

/// What is shown, and kept without colours up to a bound.
struct Both<'a> {
    shown: &'a mut (dyn Write + Send),
    kept: StripStream<Vec<u8>>,
    room: usize,
}

impl Write for Both<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.shown.write(bytes)?;
        let kept = &bytes[..written.min(self.room)];
        self.kept.write_all(kept)?;
        self.room -= kept.len();
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.shown.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_no_colours_and_a_bound() {
        let mut shown = Vec::new();
        let mut both = Both { shown: &mut shown, kept: StripStream::new(Vec::new()), room: 12 };
        both.write_all(b"\x1b[31mred\x1b[0m and more").unwrap();
        assert_eq!(both.kept.into_inner(), b"red");
        assert!(shown.ends_with(b" and more"));
    }
}
