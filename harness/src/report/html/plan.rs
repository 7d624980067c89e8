//! The page of a run of `plan`.

mod responses;

use super::bars::{Bars, LeftOut};
use super::chart::{Chart, Look, Mark, Series};
use super::frame::measured;
use super::paint::Paint;
use super::scale::Axis;
use crate::capacity::model::ClosedPoint;
use crate::capacity::plan::Plan;
use crate::report::plan::{PlanReport, write};
use drift_engine::lock::Backend;

/// How many standard errors there are from the middle of a normal distribution to where 90 % of it end.
const SURE: f64 = 1.645;

pub(super) fn page(report: &PlanReport) -> String {
    let mut text = Vec::new();
    // Writing to memory cannot fail.
    let _ = write(report, &mut text);
    let (setting, plan) = (&report.setting, &report.plan);
    let title = format!("{} on {} with {}: {}", setting.scenario, setting.backend, setting.strategy, report.slo);
    // Why it is not certain comes after what was found: who asks for a rate is told one.
    let found = match plan.kept {
        Some(kept) => format!("kept up to {kept:.1} tasks a second"),
        None => "kept at no rate that was tried".to_owned(),
    };
    let verdict = match plan.doubts.first() {
        Some(doubt) => format!("{found}; inconclusive: {doubt}"),
        None => found,
    };
    let mut figures: Vec<_> = charts(report).iter().map(Chart::render).collect();
    if report.locks.len() > 1 {
        figures.push(locks(report).render());
    }
    let facts = measured(&report.setting, &report.surroundings, &report.replay);
    super::page(&title, &verdict, &figures, &text, &facts)
}

/// The charts of points and lines, in their order.
pub(super) fn charts(report: &PlanReport) -> Vec<Chart> {
    let mut charts = vec![workers(report), arrivals(report), responses::over_the_rate(report)];
    if !report.plan.responses.is_empty() {
        charts.push(responses::said_and_seen(&report.plan));
    }
    charts
}

fn workers(report: &PlanReport) -> Chart {
    let plan = &report.plan;
    let held =
        |workers: u32| plan.candidates.iter().any(|one| one.checked.iter().any(|at| at.at == f64::from(workers)));
    let (kept_back, fitted_to): (Vec<ClosedPoint>, Vec<ClosedPoint>) =
        plan.closed.iter().partition(|point| held(point.workers));
    let mut series = vec![
        closed("measured, and fitted to", Paint::nth(0), &fitted_to),
        closed("measured, and seen by no fit", Paint::nth(1), &kept_back),
    ];
    series.extend(laws(report));
    let [low, middle, high] = plan.limit;
    let enough = plan.enough_workers;
    let mut marks = vec![
        Mark { label: format!("limit {middle:.0}/s"), from: low, to: high, vertical: false },
        Mark::upright(format!("{enough} workers are enough (97 %)"), f64::from(enough)),
    ];
    let most = plan.closed.last().map_or(1, |point| point.workers);
    let peak = plan.usl.map(|usl| usl.peak()).filter(|peak| *peak <= f64::from(most));
    marks.extend(peak.map(|peak| Mark::upright(format!("most at {peak:.1}, by the law"), peak)));
    Chart {
        title: "Throughput over workers (closed loop)".to_owned(),
        caption:
            "Error bars hold 90 %. The strip across is the queues' limit for any number of workers, in 90 % of refits."
                .to_owned(),
        x: Axis::even("workers"),
        y: Axis::even("tasks a second"),
        series,
        marks,
    }
}

/// Closed loops, each with what its rate may be off by.
fn closed(name: &str, paint: Paint, points: &[ClosedPoint]) -> Series {
    let bar = |point: &ClosedPoint| {
        let off = (SURE * point.error).exp();
        [point.rate / off, point.rate * off].map(|rate| (f64::from(point.workers), rate))
    };
    let places = points.iter().map(|point| (f64::from(point.workers), point.rate)).collect();
    Series { bars: points.iter().map(bar).collect(), ..Series::new(name, Look::Dots, paint, places) }
}

/// What the models of closed loops say of each number of workers.
fn laws(report: &PlanReport) -> Vec<Series> {
    let plan = &report.plan;
    // A file has one lock for all keys.
    let shares = report.setting.load.lock_shares(report.setting.backend == Backend::Sqlite);
    let most = plan.closed.last().map_or(1, |point| point.workers);
    let over = |rate: &dyn Fn(u32) -> f64| (1..=most).map(|workers| (f64::from(workers), rate(workers))).collect();
    let chosen = plan.candidates.first().filter(|first| first.error.is_some()).map(|first| first.name.as_str());
    let is_chosen = |name: &str| chosen.is_some_and(|chosen| chosen.starts_with(name));
    let law = |name: &str, paint, points| {
        let name = if is_chosen(name) { format!("{name} (chosen)") } else { name.to_owned() };
        Series::new(&name, Look::Line, paint, points)
    };
    let queues = over(&|workers| plan.queues.closed_rate(&shares, workers));
    let mut laws = vec![law("queues", Paint::nth(2), queues)];
    if let Some(usl) = plan.usl {
        laws.push(law("universal scalability law", Paint::nth(3), over(&|workers| usl.rate(f64::from(workers)))));
    }
    // Along the upper edge and back along the lower one.
    let edge = |side: usize| plan.rates_foreseen.iter().map(move |at| (f64::from(at.workers), at.between[side]));
    let band: Vec<(f64, f64)> = edge(1).chain(edge(0).collect::<Vec<_>>().into_iter().rev()).collect();
    if !band.is_empty() {
        let paint = if is_chosen("queues") { 2 } else { 3 };
        let name = "by the chosen one: what would be measured in 90 of 100 runs";
        laws.push(Series::new(name, Look::Band, Paint::nth(paint), band));
    }
    laws
}

fn arrivals(report: &PlanReport) -> Chart {
    let plan = &report.plan;
    let done = |met: bool| -> Vec<(f64, f64)> {
        let points = plan.open.iter().filter(|point| point.met == met);
        points.map(|point| (point.rate, point.done)).collect()
    };
    let most = plan.open.last().map_or(1.0, |point| point.rate);
    let mut marks: Vec<Mark> = objective(plan).into_iter().collect();
    let knee = plan.reached();
    marks.push(Mark::level(format!("{} in a closed loop: {knee:.0}/s", open_workers(plan)), knee));
    Chart {
        title: "Throughput over arrivals (open loop)".to_owned(),
        caption: format!("Tasks that came to their end in a second, with {}.", open_workers(plan)),
        x: Axis::even("arrivals a second"),
        y: Axis::even("tasks a second"),
        series: vec![
            Series::new("done, and the objective kept", Look::Dots, Paint::nth(0), done(true)),
            Series::new(
                "done, and the objective not kept, or too short to say",
                Look::Dots,
                Paint::nth(1),
                done(false),
            ),
            Series::new("as many as arrive", Look::Line, Paint::nth(2), vec![(0.0, 0.0), (most, most)]),
        ],
        marks,
    }
}

/// The workers that the open loops had, in words.
fn open_workers(plan: &Plan) -> String {
    format!("{} workers", plan.enough_workers)
}

/// Where the objective breaks, as far as it is known.
fn objective(plan: &Plan) -> Option<Mark> {
    Some(match (plan.kept, plan.broken) {
        (Some(kept), Some(broken)) => Mark {
            label: format!("objective kept up to {kept:.0}/s"),
            from: kept,
            to: broken.max(kept),
            vertical: true,
        },
        (Some(kept), None) => Mark::upright(format!("kept at {kept:.0}/s, the most tried"), kept),
        (None, Some(broken)) => Mark::upright(format!("not kept at {broken:.0}/s, the least tried"), broken),
        (None, None) => return None,
    })
}

fn locks(report: &PlanReport) -> Bars {
    Bars {
        title: "Other locks".to_owned(),
        caption: format!("A closed loop with {} workers.", report.plan.enough_workers),
        axis: "tasks a second".to_owned(),
        unit: "/s".to_owned(),
        parts: vec!["tasks a second".to_owned()],
        rows: report.locks.iter().map(|lock| (lock.strategy.clone(), vec![lock.rate])).collect(),
        left_out: LeftOut::Last,
        dots: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
