//! The command line: one file a command, each with its arguments and a `run`.

pub mod doctor;
pub mod provisioning;

use std::io::Write;

use tokio_util::sync::CancellationToken;

use crate::exit::Exit;

/// What a command gets from its surroundings.
pub struct Context<'a> {
    /// Where its data goes (standard output).
    pub out: &'a mut (dyn Write + Send),
    /// Where its diagnostics go (standard error).
    pub err: &'a mut (dyn Write + Send),
    /// Cancelled on Ctrl-C, SIGTERM and SIGHUP: stop, clean up, return.
    pub cancel: CancellationToken,
}

/// Why a command could not do its work: printed for a person on standard error.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened, where, and what to do.
    pub report: miette::Report,
}

impl Failure {
    /// The command line or an input file is wrong.
    pub fn usage(report: impl Into<miette::Report>) -> Self {
        Self { exit: Exit::Usage, report: report.into() }
    }

    /// The surroundings do not allow it: no database, no permission, a full disk.
    pub fn environment(report: impl Into<miette::Report>) -> Self {
        Self { exit: Exit::Environment, report: report.into() }
    }
}
