//! A run as one HTML page that needs nothing else: no network, no font. It can be read without its script. Charts are
//! SVG in the page; colours follow the reader's light or dark.

pub mod bars;
mod bench;
mod chart;
mod compare;
mod explored;
mod frame;
mod gantt;
mod held;
mod lanes;
mod matrix;
mod paint;
mod picture;
mod plan;
mod player;
mod recorded;
mod rehearsed;
mod replayed;
mod rounds;
mod scale;
mod suite;
mod table;
mod timeline;
mod varied;

use self::frame::of_charts as page;
use super::bench::BenchReport;
use super::compare::CompareReport;
use super::explored::ExploreReport;
use super::plan::PlanReport;
use super::rehearsed::RehearseReport;
use super::replayed::ReplayReport;
use super::rounds::RoundsReport;
use super::varied::VariedReport;
use crate::app::record::account::Recorded;
use crate::history::History;
use crate::outcome::{ResultRow, SuiteReport};

/// The page of a run of `explore`.
pub fn of_explored(report: &ExploreReport) -> String {
    explored::page(report)
}

/// The page of a run of `replay`.
pub fn of_replayed(report: &ReplayReport) -> String {
    replayed::page(report)
}

/// The page of a run of `verify` or `mutate`; `history` is what was recorded of a case, if it can be read.
pub fn of_suite(report: &SuiteReport, history: &dyn Fn(&ResultRow) -> Option<History>) -> String {
    suite::page(report, history)
}

/// The page of a run of `verify` on scripts.
pub fn of_rounds(report: &RoundsReport) -> String {
    rounds::page(report)
}

/// The page of a run of `mutate` on scripts and applications, or of `repair`.
pub fn of_varied(report: &VariedReport) -> String {
    varied::page(report)
}

/// The page of a run of `record`.
pub fn of_recorded(report: &Recorded) -> String {
    recorded::page(report)
}

/// The page of a run of `rehearse`.
pub fn of_rehearsed(report: &RehearseReport) -> String {
    rehearsed::page(report)
}

/// The page of a run of `bench`.
pub fn of_bench(report: &BenchReport) -> String {
    bench::page(report)
}

/// The page of a run of `plan`.
pub fn of_plan(report: &PlanReport) -> String {
    plan::page(report)
}

/// The page of a run of `compare`.
pub fn of_compare(report: &CompareReport) -> String {
    compare::page(report)
}

#[cfg(test)]
mod tests;
