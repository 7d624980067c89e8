//! The report as JUnit XML, which CI systems read.

use std::io::{self, Write};
use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::explored::{ExploreReport, ExploreRow};
use super::rounds::{RoundRow, RoundsReport};
use super::{Report, ResultRow, Word};

/// Writes the report: a case that met its expectation passed, an inconclusive one is an error.
///
/// # Errors
/// The writer's.
pub fn write(report: &Report, to: &mut dyn Write) -> io::Result<()> {
    suite(&report.command, report.results.iter().map(case).collect(), &report.not_verified, to)
}

/// Writes what `explore` found in the same way.
///
/// # Errors
/// The writer's.
pub fn write_explored(report: &ExploreReport, to: &mut dyn Write) -> io::Result<()> {
    suite(&report.command, report.results.iter().map(explored).collect(), &report.not_verified, to)
}

/// Writes what came of the rounds of scripts in the same way.
///
/// # Errors
/// The writer's.
pub fn write_rounds(report: &RoundsReport, to: &mut dyn Write) -> io::Result<()> {
    suite(&report.command, report.results.iter().map(rounds).collect(), &report.not_verified, to)
}

fn suite(name: &str, cases: Vec<TestCase>, not_verified: &[String], to: &mut dyn Write) -> io::Result<()> {
    let mut document = quick_junit::Report::new("driftlock");
    let mut suite = TestSuite::new(name);
    suite.add_test_cases(cases);
    for missing in not_verified {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(missing.clone());
        suite.add_test_case(TestCase::new("not verified", status));
    }
    document.add_test_suite(suite);
    document.serialize(to).map_err(io::Error::other)
}

fn explored(row: &ExploreRow) -> TestCase {
    let status = status(row.met, row.verdict, &row.evidence, &row.replay);
    let mut case = TestCase::new(format!("{} [{} {}]", row.name, row.backend, row.strategy), status);
    case.set_classname(format!("{}.{}", row.backend, row.strategy));
    case.set_time(Duration::from_millis(row.duration_ms));
    case
}

fn rounds(row: &RoundRow) -> TestCase {
    let status = status(row.met, row.verdict, &row.evidence, &row.replay);
    let mut case = TestCase::new(format!("{} [{}]", row.name, row.backend), status);
    case.set_classname(row.backend.to_string());
    case.set_time(Duration::from_millis(row.duration_ms));
    case
}

fn status(met: bool, verdict: Word, evidence: &str, replay: &str) -> TestCaseStatus {
    if met {
        return TestCaseStatus::success();
    }
    let kind = if verdict == Word::Inconclusive { NonSuccessKind::Error } else { NonSuccessKind::Failure };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(evidence);
    status.set_description(format!("replay: {replay}"));
    status
}

fn case(row: &ResultRow) -> TestCase {
    let status = status(row.met, row.verdict, &row.evidence, &row.replay);
    let mut case = TestCase::new(format!("{} [{} {}]", row.name, row.backend, row.strategy), status);
    case.set_classname(format!("{}.{}", row.backend, row.strategy));
    case.set_time(Duration::from_millis(row.duration_ms));
    case
}
