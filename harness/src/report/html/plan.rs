//! The page of a run of `plan`.

use super::bars::Bars;
use super::chart::{Axis, Chart, Look, Mark, Series};
use crate::capacity::model::OpenPoint;
use crate::capacity::model::response::{ENDLESS, Prediction};
use crate::capacity::plan::{Foreseen, Response};
use crate::report::plan::{PlanReport, write};

pub(super) fn page(report: &PlanReport) -> String {
    let mut text = Vec::new();
    // Writing to memory cannot fail.
    let _ = write(report, &mut text);
    let (setting, plan) = (&report.setting, &report.plan);
    let title = format!("{} on {} with {}: {}", setting.scenario, setting.backend, setting.strategy, report.slo);
    let verdict = match (plan.doubts.first(), plan.kept) {
        (Some(doubt), _) => format!("inconclusive: {doubt}"),
        (None, Some(kept)) => format!("kept up to {kept:.1} tasks a second"),
        (None, None) => "kept at no rate".to_owned(),
    };
    let mut charts = vec![rates(report).render(), responses(report).render()];
    if report.locks.len() > 1 {
        charts.push(locks(report).render());
    }
    super::page(&title, &verdict, &charts, &text)
}

fn named(name: &str, look: Look, points: Vec<(f64, f64)>) -> Series {
    Series { name: name.to_owned(), look, points }
}

fn rates(report: &PlanReport) -> Chart {
    let plan = &report.plan;
    let shares = report.setting.load.keys.shares(report.setting.load.key_count);
    let most = plan.closed.last().map_or(1, |point| point.workers);
    let held =
        |workers: u32| plan.candidates.iter().any(|one| one.checked.iter().any(|at| at.at == f64::from(workers)));
    let measured = |of: bool| -> Vec<(f64, f64)> {
        let points = plan.closed.iter().filter(|point| held(point.workers) == of);
        points.map(|point| (f64::from(point.workers), point.rate)).collect()
    };
    let mut series = vec![
        named("measured, and fitted to", Look::Dots, measured(false)),
        named("measured, and held back", Look::Dots, measured(true)),
        named(
            "queues",
            Look::Line,
            (1..=most).map(|workers| (f64::from(workers), plan.queues.closed_rate(&shares, workers))).collect(),
        ),
    ];
    if let Some(usl) = plan.usl {
        let law = (1..=most).map(|workers| (f64::from(workers), usl.rate(f64::from(workers))));
        series.push(named("universal scalability law", Look::Dashed, law.collect()));
    }
    let [low, middle, high] = plan.limit;
    let knee = f64::from(plan.enough_workers);
    Chart {
        title: "Throughput over workers (closed loop)".to_owned(),
        caption: "The band is the queues' limit for any number of workers, in 90 % of refits.".to_owned(),
        x: Axis::even("workers"),
        y: Axis::even("tasks a second"),
        series,
        marks: vec![
            Mark { label: format!("limit {middle:.0}/s"), from: low, to: high, vertical: false },
            Mark { label: format!("{knee:.0} workers: 97 %"), from: knee, to: knee, vertical: true },
        ],
    }
}

fn responses(report: &PlanReport) -> Chart {
    let plan = &report.plan;
    let millis = |nanos: f64| nanos / 1e6;
    // The checks are among the rates that were tried.
    let is_check = |rate: f64| plan.responses.iter().any(|check| check.rate == rate);
    let open = |of: &dyn Fn(&OpenPoint) -> f64| -> Vec<(f64, f64)> {
        let points = plan.open.iter().filter(|point| !is_check(point.rate));
        points.map(|point| (point.rate, millis(of(point)))).collect()
    };
    let checks = |of: &dyn Fn(&Response) -> f64| -> Vec<(f64, f64)> {
        plan.responses.iter().map(|check| (check.rate, millis(of(check)))).collect()
    };
    // What has no end has no place either.
    let ends = |of: &dyn Fn(&Foreseen) -> f64| -> Vec<(f64, f64)> {
        let ends = plan.foreseen.iter().filter(|at| of(at) < ENDLESS);
        ends.map(|at| (at.rate, millis(of(at)))).collect()
    };
    let band = |of: &dyn Fn(&Foreseen) -> Prediction| -> Vec<(f64, f64)> {
        let back = ends(&|at| of(at).between[0]).into_iter().rev();
        ends(&|at| of(at).between[1]).into_iter().chain(back).collect()
    };
    let mut marks: Vec<Mark> = report
        .limits
        .iter()
        .map(|(name, limit)| Mark { label: name.clone(), from: *limit, to: *limit, vertical: false })
        .collect();
    if let (Some(kept), Some(broken)) = (plan.kept, plan.broken) {
        marks.push(Mark { label: format!("kept up to {kept:.0}/s"), from: kept, to: broken.max(kept), vertical: true });
    }
    Chart {
        title: "Response over the rate (open loop)".to_owned(),
        caption: "From the intended start. The objective breaks between the edges of the upright band.".to_owned(),
        x: Axis::even("tasks a second"),
        y: Axis::log("response, ms"),
        series: vec![
            named("mean", Look::Dots, open(&|point| point.mean)),
            named("99th percentile", Look::Dots, open(&|point| point.quantiles[2] as f64)),
            named("mean, by the model", Look::Line, ends(&|at| at.mean.response)),
            named("in 90 % of refits", Look::Band, band(&|at| at.mean)),
            named("99th percentile, by the model", Look::Dashed, ends(&|at| at.p99.response)),
            named("in 90 % of refits", Look::Band, band(&|at| at.p99)),
            named("mean at the checks", Look::Dots, checks(&|check| check.mean.measured)),
            named("99th percentile at the checks", Look::Dots, checks(&|check| check.p99.measured)),
        ],
        marks,
    }
}

fn locks(report: &PlanReport) -> Bars {
    Bars {
        title: "Other locks".to_owned(),
        caption: format!("Tasks a second of a closed loop with {} workers.", report.plan.enough_workers),
        unit: "/s".to_owned(),
        parts: vec!["tasks a second".to_owned()],
        rows: report.locks.iter().map(|lock| (lock.strategy.clone(), vec![lock.rate])).collect(),
    }
}
