//! The page of a run of `bench`.

use hdrhistogram::Histogram;

use super::bars::{Bars, LeftOut, Row};
use super::chart::{Chart, Look, Mark, Series};
use super::frame::measured;
use super::paint::Paint;
use super::scale::Axis;
use crate::capacity::floor::Floor;
use crate::capacity::parts::Part;
use crate::capacity::phase::Phase;
use crate::capacity::recording::{Interval, Recording, SERIES_INTERVAL, Share};
use crate::report::bench::{BenchReport, write};

/// The percentiles that are named.
const NAMED: [(f64, &str); 5] = [(0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")];

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
    let mut charts =
        vec![percentiles(&report.recording).render(), over_time(report).render(), workers(&report.recording).render()];
    if report.recording.keys.iter().filter(|key| key.tasks > 0).count() > 1 {
        charts.push(keys(report).render());
    }
    for (title, whose) in [("Waits of each worker", worker as fn(&Part) -> _), ("Waits by key", key)] {
        let bars = waits(report, title, whose);
        if bars.rows.len() > 1 {
            charts.push(bars.render());
        }
    }
    if let Some(floor) = report.calibration.and_then(|calibration| calibration.floor) {
        charts.push(parts(&floor).render());
    }
    let steps = steps(report);
    if !steps.rows.is_empty() {
        charts.push(steps.render());
    }
    let facts = measured(&report.setting, &report.surroundings, &report.replay);
    super::page(&title, &verdict, &charts, &text, &facts)
}

pub(super) fn percentiles(recording: &Recording) -> Chart {
    // Each nine of the percentile is as far from the last one.
    let place = |quantile: f64| 1.0 / (1.0 - quantile);
    let most = recording.histograms.values().map(|histogram| histogram.len()).max().unwrap_or(1) as f64;
    let steps = (0..=80).map(|n| 10_f64.powf(f64::from(n) / 20.0)).filter(|at| *at <= most.max(10.0));
    let steps: Vec<f64> = steps.collect();
    let series = Phase::ALL
        .into_iter()
        .filter_map(|phase| {
            let histogram = recording.histograms.get(&phase)?;
            let value = |at: &f64| (*at, histogram.value_at_quantile(1.0 - 1.0 / at) as f64 / 1e6);
            let points = steps.iter().map(value).collect();
            Some(Series::new(phase.as_str(), Look::Line, Paint::nth(phase.index()), points))
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
    let point = |(index, chunk): (usize, &[Interval])| {
        let done: u64 = chunk.iter().map(|interval| interval.done).sum();
        let seconds = SERIES_INTERVAL.as_secs_f64() * chunk.len() as f64;
        (index as f64 * width + seconds / 2.0, done as f64 / seconds)
    };
    let mean = report.recording.throughput();
    let mut marks = vec![Mark::level(format!("mean {mean:.1}/s"), mean)];
    if let Some(ceiling) = report.ceiling().filter(|ceiling| ceiling.whole < mean * 3.0) {
        marks.push(Mark::level(format!("the lock's ceiling {:.1}/s", ceiling.whole), ceiling.whole));
    }
    Chart {
        title: "Tasks done over time".to_owned(),
        caption: "After the warm-up. The lock's ceiling is how many tasks a second hold one lock after each other if each holds it as \
                  long as a task that is alone. It is one of the mean: a task counts in the interval in which it ends, so that \
                  single intervals can lie above it."
            .to_owned(),
        x: Axis::even("time, s"),
        y: Axis::even("tasks a second"),
        series: vec![Series::new(
            &format!("done, in intervals of {width:.1} s"),
            Look::Line,
            Paint::nth(0),
            series.chunks(together).enumerate().map(point).collect(),
        )],
        marks,
    }
}

pub(super) fn workers(recording: &Recording) -> Bars {
    let mut workers: Vec<_> = recording.workers.iter().enumerate().collect();
    workers.sort_by_key(|(_, share)| share.tasks);
    let row = |(index, share): (usize, &Share)| (format!("worker {index}"), vec![share.tasks as f64]);
    Bars {
        title: "Fairness".to_owned(),
        caption: "The tasks of each worker, who had the fewest first. \
                  In an open loop whoever is free takes the next one."
            .to_owned(),
        axis: "tasks".to_owned(),
        unit: String::new(),
        parts: vec!["tasks".to_owned()],
        rows: workers.into_iter().map(row).collect(),
        left_out: LeftOut::Middle,
        dots: Vec::new(),
    }
}

fn keys(report: &BenchReport) -> Bars {
    let mut keys: Vec<_> = report.recording.keys.iter().enumerate().filter(|(_, key)| key.tasks > 0).collect();
    keys.sort_by_key(|(_, key)| std::cmp::Reverse(key.tasks));
    let row = |(index, share): (usize, &Share)| {
        let millis = |nanos: u64| nanos as f64 / share.tasks as f64 / 1e6;
        (format!("key {}", index + 1), vec![millis(share.lock_wait), millis(share.in_lock)])
    };
    Bars {
        title: "Waiting for the lock, and having it, by key".to_owned(),
        caption: "Means a task, the key with the most tasks first.".to_owned(),
        axis: "time, ms".to_owned(),
        unit: "ms".to_owned(),
        parts: vec!["wait for the lock".to_owned(), "in the lock".to_owned()],
        rows: keys.into_iter().map(row).collect(),
        left_out: LeftOut::Last,
        dots: Vec::new(),
    }
}

/// Whose waits for the lock a part is about: a worker.
fn worker(part: &Part) -> Option<String> {
    matches!(part, Part::Worker(_, Phase::LockWait)).then(|| named(part))
}

/// The same of a key.
fn key(part: &Part) -> Option<String> {
    matches!(part, Part::Key(_, Phase::LockWait) | Part::OtherKeys(Phase::LockWait)).then(|| named(part))
}

/// A part's name without the phase.
fn named(part: &Part) -> String {
    let tag = part.to_string();
    tag.split('/').next().unwrap_or_default().replace('-', " ")
}

fn waits(report: &BenchReport, title: &str, whose: fn(&Part) -> Option<String>) -> Bars {
    let row = |(part, histogram): (&Part, &Histogram<u64>)| {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
        let (half, most) = (at(0.5), at(0.99));
        Some((whose(part)?, vec![half, most - half, (histogram.max() as f64 / 1e6 - most).max(0.0)]))
    };
    let mut rows: Vec<Row> = report.recording.parts.iter().filter_map(row).collect();
    let longest = |row: &Row| row.1.iter().sum::<f64>();
    rows.sort_by(|a, b| longest(b).total_cmp(&longest(a)));
    Bars {
        title: title.to_owned(),
        caption: "For the lock. The bars end at the longest wait; who waited longest is first.".to_owned(),
        axis: "time, ms".to_owned(),
        unit: "ms".to_owned(),
        parts: ["50 %", "99 %", "the longest"].map(str::to_owned).into(),
        rows,
        left_out: LeftOut::Middle,
        dots: Vec::new(),
    }
}

/// What the engine's time in the lock consists of: the three add up to it, also where chance made the statements alone take
/// longer than with the engine around them.
pub(super) fn engine_parts(floor: &Floor) -> [f64; 3] {
    let engine = floor.engine.max(0.0);
    let database = floor.database.clamp(0.0, engine);
    let driver = (floor.operations - floor.database).clamp(0.0, engine - database);
    [database, driver, engine - database - driver]
}

fn parts(floor: &Floor) -> Bars {
    let millis = |nanos: f64| nanos.max(0.0) / 1e6;
    let engine = engine_parts(floor).map(millis).to_vec();
    Bars {
        title: "The engine and its statements alone".to_owned(),
        caption: "Time in the lock of a task that is alone, in turns with its statements sent raw.".to_owned(),
        axis: "time, ms".to_owned(),
        unit: "ms".to_owned(),
        parts: ["database", "driver and decoding", "computing"].map(str::to_owned).into(),
        rows: vec![("statements".to_owned(), vec![millis(floor.database)]), ("engine".to_owned(), engine)],
        left_out: LeftOut::Last,
        dots: Vec::new(),
    }
}

fn steps(report: &BenchReport) -> Bars {
    let row = |(part, histogram): (&Part, &Histogram<u64>)| match part {
        Part::Step { name, .. } => Some((name.clone(), vec![histogram.mean() / 1e6])),
        _ => None,
    };
    Bars {
        title: "Time by step".to_owned(),
        caption: "The mean of each step of the script, in the order of its actors.".to_owned(),
        axis: "time, ms".to_owned(),
        unit: "ms".to_owned(),
        parts: vec!["from sending it to its answer".to_owned()],
        rows: report.recording.parts.iter().filter_map(row).collect(),
        left_out: LeftOut::Last,
        dots: Vec::new(),
    }
}
