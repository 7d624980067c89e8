//! Holds the rehearsals, one after another, and keeps what came of them.

use super::again::replay;
use super::{Args, shown, unwritable};
use crate::cli::{Context, Failure};
use crate::exit::Exit;
use crate::history::file;
use crate::outcome::NotApplicable;
use crate::rehearse::case::Case;
use crate::rehearse::rehearsal::{Found, Options, RehearsalError, Rehearsed, Targets, rehearse};
use crate::rehearse::site::SiteError;
use crate::report::directory::RunDirectory;
use crate::report::rehearsed::RehearseReport;
use crate::report::rehearsed::row::row;

/// Holds all of them. What could not be tried is noted in the report.
pub(super) async fn all(
    args: &Args,
    cases: &[Case],
    (mut targets, options): (Targets<'_>, &Options),
    directory: &RunDirectory,
    report: &mut RehearseReport,
    context: &mut Context<'_>,
) -> Result<Exit, Failure> {
    let cancel = context.cancel.clone();
    let mut shown = shown::Shown::new(cases.len());
    for case in cases {
        let progress = shown.begins(&case.subject.name, &case.beside());
        let rehearsed = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Failure::interrupted()),
            rehearsed = rehearse(&mut targets, case, options, &progress) => rehearsed,
        };
        shown.ended();
        match rehearsed {
            Ok(rehearsed) => {
                keep(&rehearsed, directory)?;
                report.results.push(row(rehearsed, replay(args, case)));
            }
            Err(RehearsalError::Unfit(reason)) => {
                let name = format!("{} {}", case.subject.name, case.beside());
                report.not_applicable.push(NotApplicable { name, backend: case.subject.settings.backend(), reason });
                report.planned -= 1;
            }
            Err(RehearsalError::Site(SiteError::Provision(error))) => return Err(error.into()),
            Err(RehearsalError::Site(
                error @ (SiteError::Earlier { .. }
                | SiteError::Subject(_)
                | SiteError::NoTables(_)
                | SiteError::Data(_)),
            )) => return Err(Failure::usage(miette::Report::from_err(error))),
            Err(error) => {
                report.not_verified.push(format!("{}: {error}", case.subject.name));
                return Ok(Exit::Environment);
            }
        }
        report.conclude();
        // Should nothing come after this, what there is so far is there.
        directory.rehearsed(report).map_err(unwritable)?;
    }
    Ok(Exit::Met)
}

/// Writes the history of the engine's traffic, if there was any.
fn keep(rehearsed: &Rehearsed<'_>, directory: &RunDirectory) -> Result<(), Failure> {
    let Found::Course(course) = &rehearsed.found else { return Ok(()) };
    let Some(history) = &course.record.history else { return Ok(()) };
    let case = rehearsed.case;
    let name = format!("history-{}-{}.jsonl", case.subject.name, case.beside().replace(", ", "-"));
    directory.write(&name, |to| file::write(history, to)).map_err(unwritable)
}
