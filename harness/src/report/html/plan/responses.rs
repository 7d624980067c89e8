//! What responses of open loops were, and what they were said to be.

use super::{SURE, objective, open_workers};
use crate::capacity::model::OpenPoint;
use crate::capacity::model::response::{ENDLESS, Prediction};
use crate::capacity::plan::{Foreseen, Plan, Response, Seen};
use crate::report::html::chart::{Chart, Look, Mark, Series};
use crate::report::html::paint::Paint;
use crate::report::html::scale::Axis;
use crate::report::plan::PlanReport;

/// What a mean may be off by and still be a good prediction: 15 %.
const NEAR: f64 = 0.15;
/// How many times higher than all that was measured a prediction is still drawn.
const HIGHER_MAX: f64 = 10.0;

fn millis(nanos: f64) -> f64 {
    nanos / 1e6
}

/// What is drawn of one statistic.
struct Statistic {
    name: &'static str,
    paint: Paint,
    /// Checks have another shape.
    check: Paint,
    measured: fn(&OpenPoint) -> f64,
    foreseen: fn(&Foreseen) -> Prediction,
    seen: fn(&Response) -> &Seen,
}

/// The mean and the 99th percentile.
fn statistics() -> [Statistic; 2] {
    [
        Statistic {
            name: "mean",
            paint: Paint::nth(0),
            check: Paint::nth(0).varied(4),
            measured: |point| point.mean,
            foreseen: |at| at.mean,
            seen: |check| &check.mean,
        },
        Statistic {
            name: "99th percentile",
            paint: Paint::nth(1),
            check: Paint::nth(1).varied(3),
            measured: |point| point.quantiles[2] as f64,
            foreseen: |at| at.p99,
            seen: |check| &check.p99,
        },
    ]
}

/// Responses over the rate, with the models, their bands, the objective and the knee.
pub(super) fn over_the_rate(report: &PlanReport) -> Chart {
    let plan = &report.plan;
    let limits = report.limits.iter().map(|(name, limit)| Mark::level(name.clone(), *limit));
    let mut marks: Vec<Mark> = limits.chain(objective(plan)).collect();
    marks.push(Mark::upright(format!("knee: {} come to {:.0}/s", open_workers(plan), plan.reached()), plan.reached()));
    Chart {
        title: "Response over the rate (open loop)".to_owned(),
        caption: "From the intended start. Fits have not seen the checks, whose error bars hold 90 %.".to_owned(),
        x: Axis::even("arrivals a second"),
        y: Axis::log("response, ms"),
        series: statistics().iter().flat_map(|statistic| statistic.series(report)).collect(),
        marks,
    }
}

impl Statistic {
    fn series(&self, report: &PlanReport) -> [Series; 4] {
        let plan = &report.plan;
        // The checks are among the rates that were tried.
        let is_check = |rate: f64| plan.responses.iter().any(|check| check.rate == rate);
        let measured = plan.open.iter().filter(|point| !is_check(point.rate));
        let measured = measured.map(|point| (point.rate, millis((self.measured)(point)))).collect();
        let top = self.top(report);
        let model = plan.foreseen.iter().map(|at| (at.rate, millis((self.foreseen)(at).response)));
        let model = model.filter(|(_, response)| *response <= top).collect();
        let name = self.name;
        [
            Series::new(&format!("{name}, measured"), Look::Dots, self.paint, measured),
            self.checks(plan),
            Series::new(&format!("{name}, by the model"), Look::Line, self.paint, model),
            Series::new(
                &format!("{name}: what would be measured in 90 of 100 runs"),
                Look::Band,
                self.paint,
                self.band(plan, top),
            ),
        ]
    }

    /// The highest response, in milliseconds, that is drawn of a prediction.
    fn top(&self, report: &PlanReport) -> f64 {
        let measured = report.plan.open.iter().map(|point| millis((self.measured)(point)));
        let limits = report.limits.iter().map(|(_, limit)| *limit);
        measured.chain(limits).fold(1.0, f64::max) * HIGHER_MAX
    }

    /// Along the upper edge and back along the lower one; what is too high is at the chart's upper edge.
    fn band(&self, plan: &Plan, top: f64) -> Vec<(f64, f64)> {
        let edge = |at: &Foreseen, side: usize| {
            let response = millis((self.foreseen)(at).between[side]);
            (at.rate, if response <= top { response } else { f64::INFINITY })
        };
        let upper = plan.foreseen.iter().map(|at| edge(at, 1));
        upper.chain(plan.foreseen.iter().rev().map(|at| edge(at, 0))).collect()
    }

    fn checks(&self, plan: &Plan) -> Series {
        let name = format!("{}, measured at the checks", self.name);
        let seen = || plan.responses.iter().map(|check| (check.rate, (self.seen)(check)));
        let points = seen().map(|(rate, seen)| (rate, millis(seen.measured))).collect();
        let bars = seen().map(|(rate, seen)| measured_between(seen).map(|at| (rate, at))).collect();
        Series { bars, ..Series::new(&name, Look::Dots, self.check, points) }
    }

    /// The checks, from left to right by what was said, upwards by what was seen.
    fn said_and_seen(&self, plan: &Plan) -> Series {
        let seen = || plan.responses.iter().map(self.seen).filter(|seen| seen.prediction.response < ENDLESS);
        let points: Vec<_> = seen().map(|seen| (millis(seen.prediction.response), millis(seen.measured))).collect();
        let upright = seen().zip(&points).map(|(seen, (across, _))| measured_between(seen).map(|at| (*across, at)));
        let level = seen().zip(&points).map(|(seen, (_, up))| said_between(seen).map(|at| (at, *up)));
        let bars = upright.chain(level).collect();
        Series { bars, ..Series::new(self.name, Look::Dots, self.check, points) }
    }
}

/// Between which responses, in milliseconds, 90 % of what was measured lie.
fn measured_between(seen: &Seen) -> [f64; 2] {
    let off = (SURE * seen.error).exp();
    [millis(seen.measured / off), millis(seen.measured * off)]
}

/// Between which responses, in milliseconds, 90 of 100 runs were said to be.
fn said_between(seen: &Seen) -> [f64; 2] {
    seen.prediction.between.map(|at| if at < ENDLESS { millis(at) } else { f64::INFINITY })
}

/// What was said of the checks against what was seen.
pub(super) fn said_and_seen(plan: &Plan) -> Chart {
    let mut series: Vec<Series> = statistics().iter().map(|statistic| statistic.said_and_seen(plan)).collect();
    let places = || series.iter().flat_map(|series| &series.points).flat_map(|(said, seen)| [*said, *seen]);
    let (least, most) = (places().fold(f64::INFINITY, f64::min), places().fold(0.0, f64::max));
    let near = [(least, 1.0 + NEAR), (most, 1.0 + NEAR), (most, 1.0 - NEAR), (least, 1.0 - NEAR)];
    let near = near.map(|(at, factor)| (at, at * factor)).to_vec();
    series.push(Series::new("seen as said", Look::Line, Paint::nth(2), vec![(least, least), (most, most)]));
    series.push(Series::new("off by at most 15 %", Look::Band, Paint::nth(2), near));
    let endless = plan.responses.iter().flat_map(|one| [&one.mean, &one.p99]);
    let endless = endless.filter(|seen| seen.prediction.response >= ENDLESS).count();
    let left_out =
        if endless > 0 { format!(" {endless} that were said to have no end are not shown.") } else { String::new() };
    Chart {
        title: "Responses said and seen, at rates that no fit has seen".to_owned(),
        caption: format!(
            "Bars across: what was said to be measured in 90 of 100 runs. \
             Upright: what was measured, to 90 %.{left_out}"
        ),
        x: Axis::log("said, ms"),
        y: Axis::log("measured, ms"),
        series,
        marks: Vec::new(),
    }
}
