//! The page of a run of `bench`.

use super::bars::Bars;
use super::chart::{Axis, Chart, Look, Mark, Series};
use crate::capacity::phase::Phase;
use crate::capacity::recording::SERIES_INTERVAL;
use crate::report::bench::{BenchReport, write};

/// The percentiles that are drawn and named.
const NAMED: [(f64, &str); 6] =
    [(0.0, "0 %"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")];
/// The keys that are shown.
const KEYS_SHOWN: usize = 20;

pub(super) fn page(report: &BenchReport) -> String {
    let mut text = Vec::new();
    // Writing to memory cannot fail.
    let _ = write(report, &mut text);
    let setting = &report.setting;
    let title =
        format!("{} on {} with {}, {}", setting.scenario, setting.backend, setting.strategy, setting.load.arrivals);
    let rate = report.recording.throughput();
    let verdict = match report.doubts.first() {
        Some(doubt) => format!("inconclusive: {doubt}"),
        None => format!("{rate:.1} tasks a second"),
    };
    let mut charts = vec![percentiles(report).render(), over_time(report).render(), workers(report).render()];
    if report.recording.keys.iter().filter(|key| key.tasks > 0).count() > 1 {
        charts.push(keys(report).render());
    }
    super::page(&title, &verdict, &charts, &text)
}

fn percentiles(report: &BenchReport) -> Chart {
    // Each nine of the percentile is as far from the last one.
    let place = |quantile: f64| 1.0 / (1.0 - quantile);
    let most = report.recording.histograms.values().map(|histogram| histogram.len()).max().unwrap_or(1) as f64;
    let steps = (0..=80).map(|n| 10_f64.powf(f64::from(n) / 20.0)).filter(|at| *at <= most.max(10.0));
    let steps: Vec<f64> = steps.collect();
    let series = Phase::ALL
        .into_iter()
        .filter_map(|phase| {
            let histogram = report.recording.histograms.get(&phase)?;
            let value = |at: &f64| (*at, histogram.value_at_quantile(1.0 - 1.0 / at) as f64 / 1e6);
            Some(Series {
                name: phase.as_str().to_owned(),
                look: Look::Line,
                points: steps.iter().map(value).collect(),
            })
        })
        .collect();
    let ticks = NAMED.into_iter().map(|(quantile, name)| (place(quantile), name.to_owned())).collect();
    Chart {
        title: "Percentiles by phase".to_owned(),
        caption: "So many per cent of the tasks spent at most this time on the phase.".to_owned(),
        x: Axis { ticks, ..Axis::log("per cent of the tasks") },
        y: Axis::log("time, ms"),
        series,
        marks: Vec::new(),
    }
}

fn over_time(report: &BenchReport) -> Chart {
    let series = &report.recording.series;
    // About a hundred points, whatever the length of the run.
    let together = series.len().div_ceil(100).max(1);
    let width = SERIES_INTERVAL.as_secs_f64() * together as f64;
    let point = |(index, chunk): (usize, &[crate::capacity::recording::Interval])| {
        let done: u64 = chunk.iter().map(|interval| interval.done).sum();
        let seconds = SERIES_INTERVAL.as_secs_f64() * chunk.len() as f64;
        (index as f64 * width + seconds / 2.0, done as f64 / seconds)
    };
    let mean = report.recording.throughput();
    let mut marks = vec![mark(format!("mean {mean:.1}/s"), mean)];
    if let Some(ceiling) = report.ceiling().filter(|ceiling| ceiling.whole < mean * 3.0) {
        marks.push(mark(format!("ceiling {:.1}/s", ceiling.whole), ceiling.whole));
    }
    Chart {
        title: "Tasks done over time".to_owned(),
        caption: "After the warm-up. The ceiling is what the lock allows, by what a task takes alone.".to_owned(),
        x: Axis::even("time, s"),
        y: Axis::even("tasks a second"),
        series: vec![Series {
            name: format!("done, in intervals of {width:.1} s"),
            look: Look::Line,
            points: series.chunks(together).enumerate().map(point).collect(),
        }],
        marks,
    }
}

fn mark(label: String, at: f64) -> Mark {
    Mark { label, from: at, to: at, vertical: false }
}

fn workers(report: &BenchReport) -> Bars {
    let row = |(index, share): (usize, &crate::capacity::recording::Share)| {
        (format!("worker {index}"), vec![share.tasks as f64])
    };
    Bars {
        title: "Fairness".to_owned(),
        caption: "The tasks of each worker. In an open loop whoever is free takes the next one.".to_owned(),
        unit: String::new(),
        parts: vec!["tasks".to_owned()],
        rows: report.recording.workers.iter().enumerate().map(row).collect(),
    }
}

fn keys(report: &BenchReport) -> Bars {
    let mut keys: Vec<_> = report.recording.keys.iter().enumerate().filter(|(_, key)| key.tasks > 0).collect();
    keys.sort_by_key(|(_, key)| std::cmp::Reverse(key.tasks));
    let row = |(index, share): (usize, &crate::capacity::recording::Share)| {
        let millis = |nanos: u64| nanos as f64 / share.tasks as f64 / 1e6;
        (format!("key {}", index + 1), vec![millis(share.lock_wait), millis(share.in_lock)])
    };
    Bars {
        title: "Waiting for the lock, and having it, by key".to_owned(),
        caption: "Means a task, the key with the most tasks first.".to_owned(),
        unit: "ms".to_owned(),
        parts: vec!["wait for the lock".to_owned(), "in the lock".to_owned()],
        rows: keys.into_iter().take(KEYS_SHOWN).map(row).collect(),
    }
}
