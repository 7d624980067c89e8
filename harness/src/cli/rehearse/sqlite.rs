//! What makes no sense on SQLite.

use std::collections::BTreeSet;

use super::{Args, Fidelity};
use crate::cli::Failure;
use crate::rehearse::companion::Companion;
use crate::rehearse::subject::Subject;
use crate::rehearse::target::sqlite::beside::unfit;

/// Refuses what makes no sense on SQLite, and says why.
pub(super) fn check(args: &Args, subject: &Subject) -> Result<(), Failure> {
    let refused = |what: &str, why: &str| Err(Failure::usage(miette::miette!("{what}: {why} ({})", subject.path)));
    let companions: BTreeSet<Companion> =
        subject.companion().into_iter().chain(args.companion.iter().copied()).collect();
    for companion in companions {
        if let Some(why) = unfit(companion) {
            return refused(&format!("there is no companion {} on SQLite", companion.as_str()), why);
        }
    }
    if !args.rows.is_empty() {
        return refused(
            "--rows is for PostgreSQL",
            "a SQLite file has one lock, and no tables with locks of their own",
        );
    }
    if !args.app.is_empty() {
        return refused("--app is for PostgreSQL", "what code works on which version of a file is not tried yet");
    }
    if args.data.is_some() {
        return refused("--data is for PostgreSQL", "a script's set-up (--traffic FILE) can fill the tables instead");
    }
    if args.runner.is_some() {
        return refused(
            "--runner is for PostgreSQL",
            "a SQLite file has no URL, and no server that sees other sessions",
        );
    }
    if args.fidelity == Fidelity::Runner {
        return refused(
            "--fidelity runner is for PostgreSQL",
            "it is about sqlx's advisory lock, which SQLite has not",
        );
    }
    Ok(())
}
