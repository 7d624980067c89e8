//! The report as JUnit XML, which CI systems read.

use std::io::{self, Write};
use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use crate::outcome::{Report, Row, VerdictKind};

/// Writes the report: a case that met its expectation passed, an inconclusive one is an error.
///
/// # Errors
/// The writer's.
pub fn write<R: Row>(report: &Report<R>, to: &mut dyn Write) -> io::Result<()> {
    let mut document = quick_junit::Report::new("driftlock");
    let mut suite = TestSuite::new(report.command.clone());
    suite.add_test_cases(report.results.iter().map(case));
    for missing in &report.not_verified {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(missing.clone());
        suite.add_test_case(TestCase::new("not verified", status));
    }
    document.add_test_suite(suite);
    document.serialize(to).map_err(io::Error::other)
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
