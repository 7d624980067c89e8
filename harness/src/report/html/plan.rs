//! The page of a run of `plan`.

use super::bars::Bars;
use super::chart::{Axis, Chart, Look, Mark, Series};
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
    let shares = report.setting.load.keys.shares(report.setting.load.key_count);
    let millis = |nanos: f64| nanos / 1e6;
    let open = |of: &dyn Fn(&crate::capacity::model::OpenPoint) -> f64| -> Vec<(f64, f64)> {
        plan.open.iter().map(|point| (point.rate, millis(of(point)))).collect()
    };
    let highest = plan.open.iter().map(|point| point.rate).fold(plan.highest(), f64::max);
    let curve = (1..=100).map(|n| highest * f64::from(n) / 100.0);
    let longest = plan.open.iter().map(|point| point.longest as f64).fold(1.0, f64::max);
    let predicted = curve.map(|rate| (rate, plan.open_queues.open_response(&shares, rate) * 1e9));
    let predicted = predicted.filter(|(_, nanos)| *nanos < longest).map(|(rate, nanos)| (rate, millis(nanos)));
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
            named("mean by the queues", Look::Line, predicted.collect()),
            named(
                "mean at the checks",
                Look::Dots,
                plan.responses.iter().map(|checked| (checked.at, millis(checked.measured))).collect(),
            ),
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
