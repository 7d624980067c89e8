//! `--faults`: which failures are let happen in which case.

use drift_engine::lock::Backend;

use super::Args;
use super::subject::Subject;
use crate::cli::Failure;
use crate::scenario::application::{AppActor, Job};
use crate::scenario::script::FaultKind;

/// Kinds of failures, as they are given on a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<FaultKind>);

/// Reads `--faults`.
pub(super) fn parse(text: &str) -> Result<Faults, String> {
    FaultKind::parse_list(text).map(Faults)
}

impl Faults {
    /// As it is written.
    pub(super) fn text(&self) -> String {
        if self.0 == FaultKind::ALL {
            return "all".to_owned();
        }
        if self.0.is_empty() {
            return "none".to_owned();
        }
        self.0.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(",")
    }
}

/// The failures that a case is to have, whether they can come or not.
fn asked<'a>(args: &'a Args, subject: &'a Subject<'_>) -> &'a [FaultKind] {
    match (&args.faults, subject) {
        (_, Subject::Engine(_)) => &[],
        (Some(Faults(kinds)), _) => kinds,
        // What the command line says is instead of what the file says.
        (None, Subject::Script(..)) if !args.overlap.is_empty() => &[],
        (None, Subject::Script(source, _)) => &source.script.faults,
        (None, Subject::Application(source)) => &source.app.faults,
    }
}

/// The failures that are let happen in a case.
pub(super) fn of(args: &Args, subject: &Subject<'_>, can_restart: bool) -> Vec<FaultKind> {
    let exists = |kind: &FaultKind| kind.is_on(subject.backend()) && impossible(subject, *kind, can_restart).is_none();
    asked(args, subject).iter().copied().filter(exists).collect()
}

/// Why a kind cannot come in an application, if it cannot.
fn impossible(subject: &Subject<'_>, kind: FaultKind, can_restart: bool) -> Option<&'static str> {
    if kind == FaultKind::Restarted && !can_restart && subject.backend() == Backend::Postgres {
        return Some("only a server that driftlock has started itself is restarted, from local programs");
    }
    let Subject::Application(source) = subject else { return None };
    let is_request = |actor: &AppActor| matches!(actor.job, Job::Http(_));
    match kind {
        FaultKind::Killed if source.app.actors.iter().all(is_request) => {
            Some("its actors are requests, and no programs that could be killed")
        }
        _ => None,
    }
}

/// The kinds that were asked for and cannot come in a case, each with the reason.
pub(super) fn left_out(args: &Args, subject: &Subject<'_>, can_restart: bool) -> Vec<(FaultKind, &'static str)> {
    let asked = asked(args, subject).iter();
    asked.filter_map(|kind| Some((*kind, impossible(subject, *kind, can_restart)?))).collect()
}

/// Whether a restart is asked for that this server cannot have.
pub(super) fn check_restart(args: &Args, can_restart: bool) -> Result<(), Failure> {
    let asks = args.faults.as_ref().is_some_and(|Faults(kinds)| kinds.contains(&FaultKind::Restarted));
    if !asks || can_restart {
        return Ok(());
    }
    Err(Failure::usage(miette::miette!(
        help = "--postgres local starts one that is",
        "--faults restarted: only a server that driftlock has started itself is restarted, from local programs"
    )))
}

/// What of `--faults` makes no sense for these cases.
pub(super) fn check(args: &Args, cases: &[Subject<'_>]) -> Result<(), Failure> {
    let Some(Faults(kinds)) = args.faults.as_ref().filter(|of| !of.0.is_empty()) else { return Ok(()) };
    for case in cases {
        let what = match case {
            Subject::Script(source, _) if source.script.is_program => continue,
            Subject::Application(source) => {
                let impossible = |kind: &FaultKind| Some((*kind, impossible(case, *kind, true)?));
                match kinds.iter().map(impossible).collect::<Option<Vec<_>>>().as_deref() {
                    Some([(kind, why), ..]) => {
                        let file = &source.file;
                        return Err(Failure::usage(miette::miette!(
                            help = "driftlock explore FILE --faults all",
                            "--faults {kind} is not for {file}: {why}"
                        )));
                    }
                    _ => continue,
                }
            }
            Subject::Script(..) => "a specification, of which nothing says what must be true at the end",
            Subject::Engine(_) => "the engine's own",
        };
        let file = case.file();
        return Err(Failure::usage(miette::miette!(
            "--faults is for scripts and applications (*.toml), and {file} is {what}"
        )));
    }
    let here = |backend: &Backend| cases.iter().any(|case| case.backend() == *backend);
    let is_here = |kind: &FaultKind| Backend::ALL.iter().any(|backend| kind.is_on(*backend) && here(backend));
    match kinds.iter().find(|kind| !is_here(kind)) {
        Some(kind) if *kinds != FaultKind::ALL => {
            let there = Backend::ALL.into_iter().filter(here);
            let there = there.map(|backend| format!("on {backend} there are {}", FaultKind::names_on(backend)));
            let there = there.collect::<Vec<_>>().join("; ");
            Err(Failure::usage(miette::miette!(
                help = "driftlock explore FILE --faults all",
                "--faults {kind}: no case has a database on which this exists; {there}"
            )))
        }
        _ => Ok(()),
    }
}
