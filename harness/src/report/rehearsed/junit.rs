//! The report as JUnit XML, which CI systems read.

use std::io::{self, Write};
use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::super::Word;
use super::RehearseReport;

/// Writes the report: a rehearsal that came out as expected passed, an inconclusive one is an error.
///
/// # Errors
/// The writer's.
pub fn write(report: &RehearseReport, to: &mut dyn Write) -> io::Result<()> {
    let mut document = quick_junit::Report::new("driftlock");
    let mut suite = TestSuite::new(report.command.clone());
    for row in &report.results {
        let status = if row.met {
            TestCaseStatus::success()
        } else {
            let inconclusive = row.verdict == Word::Inconclusive;
            let kind = if inconclusive { NonSuccessKind::Error } else { NonSuccessKind::Failure };
            let mut status = TestCaseStatus::non_success(kind);
            status.set_message(row.evidence.clone());
            status.set_description(format!("replay: {}", row.replay));
            status
        };
        let mut case = TestCase::new(format!("{} [{}]", row.name, row.strategy), status);
        case.set_classname(format!("{}.{}", row.backend, row.strategy));
        case.set_time(Duration::from_millis(row.duration_ms));
        suite.add_test_case(case);
    }
    for missing in &report.not_verified {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(missing.clone());
        suite.add_test_case(TestCase::new("not verified", status));
    }
    document.add_test_suite(suite);
    document.serialize(to).map_err(io::Error::other)
}
