//! The report as JUnit XML, which CI systems read.

use std::io::{self, Write};
use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use crate::outcome::{Report, Row, VerdictKind};
use crate::overall::{CaseRow, OverallReport};

/// Writes the report: a case that met its expectation passed, an inconclusive one is an error.
///
/// # Errors
/// The writer's.
pub fn write<R: Row>(report: &Report<R>, to: &mut dyn Write) -> io::Result<()> {
    document([suite(&report.command, report.results.iter().map(case), report.not_verified.iter())], to)
}

/// Writes several runs: a suite for each.
///
/// # Errors
/// The writer's.
pub fn write_overall(report: &OverallReport, to: &mut dyn Write) -> io::Result<()> {
    let not_begun = "it was not begun".to_owned();
    let of_run = report.runs.iter().map(|run| {
        let missing = run.failure.iter().chain(&run.not_verified);
        suite(&run.name, report.of_run(run).map(accepted), missing.chain(run.exit.is_none().then_some(&not_begun)))
    });
    document(of_run, to)
}

fn document(suites: impl IntoIterator<Item = TestSuite>, to: &mut dyn Write) -> io::Result<()> {
    let mut document = quick_junit::Report::new("driftlock");
    document.add_test_suites(suites);
    document.serialize(to).map_err(io::Error::other)
}

fn suite<'a>(
    name: &str,
    cases: impl Iterator<Item = TestCase>,
    not_verified: impl Iterator<Item = &'a String>,
) -> TestSuite {
    let mut suite = TestSuite::new(name);
    suite.add_test_cases(cases);
    for missing in not_verified {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(missing.clone());
        suite.add_test_case(TestCase::new("not verified", status));
    }
    suite
}

/// A case that may be accepted: then it is skipped, which people see and nobody's gate minds.
fn accepted(row: &CaseRow) -> TestCase {
    let mut case = case(row);
    if let Some(accepted) = &row.accepted {
        let mut status = TestCaseStatus::skipped();
        status.set_message(format!("accepted until {}: {} ({})", accepted.until, accepted.reason, row.evidence));
        case.status = status;
    }
    case
}

fn case<R: Row>(row: &R) -> TestCase {
    let status = if row.met() {
        TestCaseStatus::success()
    } else {
        let inconclusive = row.verdict() == VerdictKind::Inconclusive;
        let kind = if inconclusive { NonSuccessKind::Error } else { NonSuccessKind::Failure };
        let mut status = TestCaseStatus::non_success(kind);
        status.set_message(row.evidence());
        status.set_description(format!("replay: {}", row.replay()));
        status
    };
    let mut case = TestCase::new(row.title(), status);
    case.set_classname(row.class());
    case.set_time(Duration::from_millis(row.duration_ms()));
    case
}
