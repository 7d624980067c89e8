//! A run as one HTML page that needs nothing else: no network, no font. It can be read without its script. Charts are
//! SVG in the page; colours follow the reader's light or dark.

pub mod bars;
mod bench;
mod chart;
mod compare;
mod explored;
mod frame;
mod lanes;
mod paint;
mod picture;
mod plan;
mod player;
mod replayed;
mod scale;

use self::frame::of_charts as page;
use super::bench::BenchReport;
use super::compare::CompareReport;
use super::explored::ExploreReport;
use super::plan::PlanReport;
use super::replayed::ReplayReport;

/// The page of a run of `explore`.
pub fn of_explored(report: &ExploreReport) -> String {
    explored::page(report)
}

/// The page of a run of `replay`.
pub fn of_replayed(report: &ReplayReport) -> String {
    replayed::page(report)
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
