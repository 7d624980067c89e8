//! `--faults`: which failures are let happen in which case.

use drift_engine::lock::Backend;

use super::Args;
use super::subject::Subject;
use crate::cli::Failure;
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
        self.0.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(",")
    }
}

/// The failures that are let happen in a case.
pub(super) fn of(args: &Args, subject: &Subject<'_>) -> Vec<FaultKind> {
    let Subject::Script(source, _) = subject else { return Vec::new() };
    let kinds = match &args.faults {
        Some(Faults(kinds)) => kinds,
        // What the command line says is instead of what the file says.
        None if !args.overlap.is_empty() => return Vec::new(),
        None => &source.script.faults,
    };
    kinds.iter().copied().filter(|kind| kind.is_on(subject.backend())).collect()
}

/// What of `--faults` makes no sense for these cases.
pub(super) fn check(args: &Args, cases: &[Subject<'_>]) -> Result<(), Failure> {
    let Some(Faults(kinds)) = &args.faults else { return Ok(()) };
    for case in cases {
        let what = match case {
            Subject::Script(source, _) if source.script.is_program => continue,
            Subject::Script(..) => "a specification, of which nothing says what must be true at the end",
            Subject::Application(_) => "an application: that its database fails it cannot be tried yet",
            Subject::Engine(_) => "the engine's own",
        };
        let file = case.file();
        return Err(Failure::usage(miette::miette!("--faults is for scripts (*.toml), and {file} is {what}")));
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
