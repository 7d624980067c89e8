//! The cases of a command's report, as rows of the whole.

use drift_engine::lock::Backend;

use crate::outcome::{BackendUsed, NotApplicable, Report, Row, VerdictKind};
use crate::overall::{CaseRow, ViolatedRow};
use crate::report::directory::Recorded;

/// What a run adds to the whole.
#[derive(Debug, Default)]
pub struct Collected {
    /// Its cases.
    pub rows: Vec<CaseRow>,
    /// How many there were to be.
    pub planned: usize,
    /// What could not be tried.
    pub not_verified: Vec<String>,
    /// What makes no sense there.
    pub not_applicable: Vec<NotApplicable>,
    /// How the server treats the disk.
    pub profile: String,
    /// The databases.
    pub backends: Vec<BackendUsed>,
}

/// Takes a run's report apart.
pub fn collected(run: &str, recorded: &Recorded) -> Collected {
    match recorded {
        Recorded::Suite(report) => of(run, report, |row| {
            let violated = row.checks.iter().filter(|check| check.verdict == VerdictKind::Violation);
            let violated = violated.map(|check| sentence(check.name.as_str(), &check.why)).collect();
            (row.name.clone(), row.backend, violated, None)
        }),
        Recorded::Explored(report) => of(run, report, |row| {
            let violated = row.checks.iter().map(|check| sentence(&check.name, &check.why)).collect();
            let is_partial = matches!(row.coverage.as_str(), "stopped" | "diverged");
            let incomplete = is_partial.then(|| format!("the search {}, so not all orders were visited", row.coverage));
            (row.name.clone(), row.backend, violated, incomplete)
        }),
        Recorded::Rounds(report) => of(run, report, |row| {
            let violated = row.checks.iter().map(|check| sentence(&check.name, &check.why)).collect();
            (row.name.clone(), row.backend, violated, None)
        }),
        Recorded::Varied(report) => of(run, report, |row| {
            let violated = row.checks.iter().map(|check| sentence(&check.name, &check.why)).collect();
            (row.name.clone(), row.backend, violated, None)
        }),
        Recorded::Rehearsed(report) => of(run, report, |row| {
            let found = row.findings.iter().map(|finding| ViolatedRow {
                check: finding.kind.as_str().to_owned(),
                why: format!("{}. Instead: {}", finding.sentence, finding.advice),
                at: Some(format!("{}:{}:{}", finding.file, finding.line, finding.column)),
            });
            let backend = if row.backend == Backend::Sqlite.as_str() { Backend::Sqlite } else { Backend::Postgres };
            (row.name.clone(), backend, found.collect(), row.inconclusive.first().cloned())
        }),
        // No run is of `driftlock run` itself, nor of `replay`.
        Recorded::Overall(_) | Recorded::Replayed(_) => Collected::default(),
    }
}

fn sentence(check: &str, why: &str) -> ViolatedRow {
    ViolatedRow { check: check.to_owned(), why: why.to_owned(), at: None }
}

/// The name, the database, what is violated, and why not everything was looked at.
type Parts = (String, Backend, Vec<ViolatedRow>, Option<String>);

fn of<R: Row>(run: &str, report: &Report<R>, parts: impl Fn(&R) -> Parts) -> Collected {
    let row = |row: &R| {
        let (name, backend, violated, incomplete) = parts(row);
        CaseRow {
            run: run.to_owned(),
            name,
            title: row.title(),
            class: row.class(),
            backend,
            version: None,
            verdict: row.verdict(),
            met: row.met(),
            evidence: row.evidence().to_owned(),
            violated,
            incomplete,
            accepted: None,
            replay: row.replay().to_owned(),
            keep: None,
            duration_ms: row.duration_ms(),
        }
    };
    Collected {
        rows: report.results.iter().map(row).collect(),
        planned: report.planned,
        not_verified: report.not_verified.clone(),
        not_applicable: report.not_applicable.clone(),
        profile: report.profile.clone(),
        backends: report.backends.clone(),
    }
}
