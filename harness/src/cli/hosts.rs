//! The databases of commands that run scripts and applications: as the arguments ask for them, and what is said where there
//! is none.

use drift_engine::lock::Backend;

use super::provisioning::PostgresArgs;
use super::{Context, Failure};
use crate::explore::hosts::{HostError, Hosts};
use crate::explore::world::Lost;
use crate::fixture::PrepareError;
use crate::isolation::TargetError;
use crate::provision::{Profile, ProvisionError};

/// Hosts of which none is started yet.
pub(super) fn hosts(postgres: &PostgresArgs, context: &Context<'_>) -> Hosts {
    Hosts::new(postgres.start_options(Profile::Fast), context.cancel.clone())
}

/// Ends them; what of a server could not be removed is told, and fails nothing.
pub(super) async fn stop(hosts: Hosts, context: &mut Context<'_>) -> Result<(), Failure> {
    told(hosts.stop().await, context)
}

/// Tells of an end that failed.
pub(super) fn told(stopped: Result<(), ProvisionError>, context: &mut Context<'_>) -> Result<(), Failure> {
    if let Err(error) = stopped {
        writeln!(context.err, "warning: {error}")?;
    }
    Ok(())
}

/// Why a case of a file could not be run.
pub(super) fn about(error: HostError, file: &str, case: &str, backend: Backend) -> Failure {
    let lost = match error {
        HostError::Lost(lost) => lost,
        HostError::Prepare(error) if !matches!(error, PrepareError::Provision(_)) => Lost::new(error.to_string()),
        other => return other.into(),
    };
    let place = lost.at.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
    let report = miette::miette!("{file}{place}, case {case} on {backend}: {lost}");
    if lost.by_script { Failure::usage(report) } else { Failure::environment(report) }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Provision(error) | HostError::Prepare(PrepareError::Provision(error)) => error.into(),
            HostError::Target(error) => error.into(),
            HostError::Lost(error) => Self::environment(miette::Report::from_err(error)),
            HostError::Prepare(error) => Self::environment(miette::Report::from_err(error)),
        }
    }
}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::Provision(error) => error.into(),
            TargetError::Powerful { .. } => Self::usage(miette::miette!(
                help = "Give a URL whose role has neither SUPERUSER nor CREATEROLE, or let driftlock start a server: --postgres local",
                "{error}"
            )),
            TargetError::Make(_) | TargetError::Address => Self::environment(miette::miette!("{}", chain(&error))),
        }
    }
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text.trim_end().to_owned()
}
