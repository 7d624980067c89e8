//! How much load the job can take: measures, fits, and checks the fit where it has not looked.

use std::future::Future;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::compare::series::estimate;
use super::drive::Driven;
use super::load::{Arrivals, Load};
use super::model::queue::Queues;
use super::model::usl::{Usl, UslError};
use super::model::{ClosedPoint, OpenPoint, error};
use super::phase::Phase;
use super::recording::{Recording, fairness};
use super::slo::{Kept, Slo};
use crate::scenario::data::fork;

/// The numbers of workers that are tried, up to a largest one.
const SIZES: [u32; 13] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96];
/// The parts of the highest rate at which predictions of responses are checked.
const CHECKED: [f64; 4] = [0.3, 0.5, 0.65, 0.8];
/// Below this part of the highest rate predictions are held to what they promise.
pub const TRUSTED: f64 = 0.85;
/// The most open loops that the search runs.
const SEARCH_MAX: usize = 12;
/// How close the rate that is kept and the one that is not must come.
const CLOSE: f64 = 1.08;
/// How often a run that is too short to say is prolonged.
const PROLONGED_MAX: u32 = 2;
/// How often the fit is repeated on rates that are off by chance.
const RESAMPLES: usize = 60;

/// Puts loads on, one at a time.
pub trait Measure {
    /// Why it cannot.
    type Error;

    /// Puts one on.
    fn measure(&mut self, load: &Load) -> impl Future<Output = Result<Driven, Self::Error>>;

    /// Is told what comes next.
    fn announce(&mut self, what: &str);
}

/// A prediction at a point that its model had not seen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// Workers of a closed loop, or the rate of an open one.
    pub at: f64,
    /// Tasks a second, or nanoseconds.
    pub predicted: f64,
    /// What it really was.
    pub measured: f64,
}

impl Checked {
    /// How far off it was: 0.1 is a tenth.
    pub fn error(&self) -> f64 {
        (self.predicted / self.measured - 1.0).abs()
    }
}

/// A fitted model of closed loops, and how it did where it had not looked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Why it does not apply, if it does not.
    pub refused: Option<String>,
    /// Its predictions at points that it had not seen.
    pub checked: Vec<Checked>,
    /// The mean of their errors.
    pub error: Option<f64>,
}

/// What was measured and found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Closed loops, by the number of workers.
    pub closed: Vec<ClosedPoint>,
    /// Open loops of the search, by their rate.
    pub open: Vec<OpenPoint>,
    /// The largest rate that met the objective, if any did.
    pub kept: Option<f64>,
    /// The smallest rate that did not, if any did not.
    pub broken: Option<f64>,
    /// The models of closed loops, the chosen one first.
    pub candidates: Vec<Candidate>,
    /// The fitted law, where it applies.
    pub usl: Option<Usl>,
    /// The fitted queues.
    pub queues: Queues,
    /// The same, scaled to the open loops of the search.
    pub open_queues: Queues,
    /// The tasks a second that no number of workers exceeds, by the queues: 5 %, 50 % and 95 % of the refits.
    pub limit: [f64; 3],
    /// The number of workers beyond which the rate hardly grows: with it 97 % of the highest rate are reached.
    pub enough_workers: u32,
    /// Predictions of the mean response at rates that no fit has seen.
    pub responses: Vec<Checked>,
    /// The key that waited longest at the highest rate that was kept: its number, its share of the
    /// tasks, its mean response and everybody's.
    pub hottest: Option<(u32, f64, f64, f64)>,
    /// Where the generator was in doubt.
    pub doubts: Vec<String>,
}

impl Plan {
    /// The highest rate of a closed loop.
    pub fn highest(&self) -> f64 {
        self.closed.iter().map(|point| point.rate).fold(0.0, f64::max)
    }
}

/// Measures `load` (its arrivals and workers aside) with up to `workers_max` workers.
///
/// # Errors
/// Those of the measurements.
pub async fn plan<M: Measure>(
    measure: &mut M,
    load: &Load,
    workers_max: u32,
    slo: &Slo,
    in_process: bool,
) -> Result<Plan, M::Error> {
    let shares = load.keys.shares(load.key_count);
    let mut doubts = Vec::new();
    let mut doubt = |driven: &Driven, what: &str| {
        let found = driven.generator.doubts(&driven.recording, in_process);
        doubts.extend(found.into_iter().map(|doubt| format!("{what}: {doubt}")));
    };
    let (mut closed, mut alone) = (Vec::new(), None);
    for workers in SIZES.into_iter().filter(|size| *size <= workers_max) {
        let what = format!("closed loop, {workers} workers");
        measure.announce(&what);
        let driven = measure.measure(&Load { arrivals: Arrivals::Closed, workers, pool: None, ..load.clone() }).await?;
        doubt(&driven, &what);
        alone.get_or_insert_with(|| Alone::of(&driven.recording));
        closed.extend(closed_point(workers, &driven.recording));
    }
    let alone = alone.unwrap_or(Alone { task: 1.0, lock: 1.0, spread: 1.0 });
    let (fitted, held) = divided(&closed);
    let usl = Usl::fit(&fitted);
    let queues = Queues::fit(&fitted, &shares, alone.task, alone.lock, alone.spread);
    let candidates = candidates(&usl, &queues, &shares, &held);
    let highest = closed.iter().map(|point| point.rate).fold(0.0, f64::max);

    let mut search = Search::default();
    while let Some(rate) = search.next(highest) {
        let what = format!("open loop, {rate:.1}/s");
        measure.announce(&what);
        let (recording, driven, kept) = open_loop(measure, load, workers_max, rate, slo).await?;
        doubt(&driven, &what);
        search.add(rate, recording, kept == Kept::Yes);
    }
    let mut responses = Vec::new();
    let seen: Vec<OpenPoint> = search.points.iter().map(|(point, _)| point.clone()).collect();
    // Where the objective breaks, a few long waits decide the mean: a fit would follow them.
    let calm = |point: &&OpenPoint| point.met && point.rate < TRUSTED * highest;
    let below: Vec<OpenPoint> = seen.iter().filter(calm).cloned().collect();
    let open_queues = if below.len() >= 2 { queues.fitted_to_open(&below, &shares) } else { queues };
    for part in CHECKED {
        let rate = part * highest;
        if rate <= 0.0 {
            continue;
        }
        let what = format!("check at {rate:.1}/s");
        measure.announce(&what);
        let driven = measure.measure(&open(load, workers_max, rate, load.seed ^ 0x5eed)).await?;
        doubt(&driven, &what);
        let Some(measured) = driven.recording.mean(Phase::Response) else { continue };
        // A queue that only grows has no response; a number so large says the same in a file.
        let predicted = (open_queues.open_response(&shares, rate) * 1e9).min(1e18);
        responses.push(Checked { at: rate, predicted, measured });
    }
    let at_best = search.points.iter().filter(|(point, _)| point.met);
    let at_best = at_best.max_by(|(a, _), (b, _)| a.rate.total_cmp(&b.rate));
    Ok(Plan {
        limit: limits(&fitted, &shares, alone, load.seed),
        enough_workers: enough(&closed, highest),
        usl: usl.ok(),
        queues,
        open_queues,
        candidates,
        kept: at_best.map(|(point, _)| point.rate),
        broken: search.broken,
        hottest: at_best.and_then(|(_, recording)| hottest(recording)),
        open: seen,
        closed,
        responses,
        doubts,
    })
}

/// What a task takes alone, in seconds.
#[derive(Clone, Copy)]
struct Alone {
    task: f64,
    lock: f64,
    spread: f64,
}

impl Alone {
    fn of(recording: &Recording) -> Self {
        let seconds = |phase| recording.mean(phase).unwrap_or(1e9) / 1e9;
        let spread = recording.histograms.get(&Phase::InLock).map_or(1.0, |in_lock| {
            // One task in a thousand that was put aside by the machine says nothing about the lock.
            let high = in_lock.value_at_quantile(0.999);
            let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
            for value in in_lock.iter_recorded().filter(|value| value.value_iterated_to() <= high) {
                let (nanos, times) = (value.value_iterated_to() as f64, value.count_at_value() as f64);
                (sum, squares, count) = (sum + nanos * times, squares + nanos * nanos * times, count + times);
            }
            (squares * count / (sum * sum) - 1.0).max(0.0)
        });
        Self { task: seconds(Phase::Response), lock: seconds(Phase::InLock), spread }
    }
}

fn closed_point(workers: u32, recording: &Recording) -> Option<ClosedPoint> {
    let pairs: Vec<(f64, f64)> = recording.series.iter().map(|interval| (interval.done as f64, 1.0)).collect();
    let rate = recording.throughput();
    (rate > 0.0).then(|| ClosedPoint {
        workers,
        rate,
        error: estimate(&pairs).error,
        response: recording.mean(Phase::Response).unwrap_or(0.0),
        longest: recording.workers.iter().map(|share| share.response_max).max().unwrap_or(0),
        fairness: fairness(&recording.workers).unwrap_or(1.0),
    })
}

/// The points that models are fitted to, powers of two and the last one, and those held back.
fn divided(closed: &[ClosedPoint]) -> (Vec<ClosedPoint>, Vec<ClosedPoint>) {
    let last = closed.last().map(|point| point.workers);
    closed.iter().partition(|point| point.workers.is_power_of_two() || Some(point.workers) == last)
}

fn candidates(usl: &Result<Usl, UslError>, queues: &Queues, shares: &[f64], held: &[ClosedPoint]) -> Vec<Candidate> {
    let candidate = |name: &str, refused: Option<String>, rate: &dyn Fn(u32) -> f64| {
        let predict = |point: &ClosedPoint| Checked {
            at: f64::from(point.workers),
            predicted: rate(point.workers),
            measured: point.rate,
        };
        let checked: Vec<Checked> = if refused.is_none() { held.iter().map(predict).collect() } else { Vec::new() };
        let error = error(checked.iter().map(|one| (one.predicted, one.measured)));
        Candidate { name: name.to_owned(), refused, checked, error }
    };
    let law = |workers: u32| usl.as_ref().map_or(f64::NAN, |law| law.rate(f64::from(workers)));
    let mut candidates = vec![
        candidate("queues (MVA)", None, &|workers| queues.closed_rate(shares, workers)),
        candidate("universal scalability law", usl.as_ref().err().map(ToString::to_string), &law),
    ];
    candidates.sort_by(|a, b| {
        let of = |candidate: &Candidate| candidate.error.unwrap_or(f64::INFINITY);
        of(a).total_cmp(&of(b))
    });
    candidates
}

/// The limit of the queues, refitted to rates that are off by what they may be off.
fn limits(points: &[ClosedPoint], shares: &[f64], alone: Alone, seed: u64) -> [f64; 3] {
    let mut rng = ChaCha8Rng::seed_from_u64(fork(seed, "refits"));
    let mut limits: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let moved: Vec<ClosedPoint> = points
                .iter()
                .map(|point| {
                    // Nearly normal: the sum of twelve even numbers.
                    let normal = (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
                    ClosedPoint { rate: point.rate * (point.error * normal).exp(), ..*point }
                })
                .collect();
            Queues::fit(&moved, shares, alone.task, alone.lock, alone.spread).limit(shares)
        })
        .collect();
    limits.sort_by(f64::total_cmp);
    [0.05, 0.5, 0.95].map(|part| limits[((RESAMPLES - 1) as f64 * part).round() as usize])
}

/// The fewest workers that come close to the highest rate.
fn enough(closed: &[ClosedPoint], highest: f64) -> u32 {
    closed.iter().find(|point| point.rate >= 0.97 * highest).map_or(1, |point| point.workers)
}

fn open(load: &Load, workers: u32, rate: f64, seed: u64) -> Load {
    let pool = load.pool.filter(|pool| *pool <= workers);
    Load { arrivals: Arrivals::Poisson(rate), workers, pool, seed, ..load.clone() }
}

/// Runs an open loop, and again while it is too short to say.
async fn open_loop<M: Measure>(
    measure: &mut M,
    load: &Load,
    workers: u32,
    rate: f64,
    slo: &Slo,
) -> Result<(Recording, Driven, Kept), M::Error> {
    let mut whole: Option<Recording> = None;
    for round in 0..=PROLONGED_MAX {
        let driven = measure.measure(&open(load, workers, rate, load.seed + u64::from(round))).await?;
        let recording = match whole.take() {
            None => driven.recording.clone(),
            Some(mut earlier) => {
                // After it, not beside it: its intervals follow.
                let mut series = std::mem::take(&mut earlier.series);
                series.extend(&driven.recording.series);
                earlier.merge(&driven.recording);
                Recording { series, ..earlier }
            }
        };
        let kept = slo.kept(&recording);
        if kept != Kept::Unsure || round == PROLONGED_MAX {
            return Ok((recording, driven, kept));
        }
        whole = Some(recording);
    }
    unreachable!("the last round returns")
}

/// The search for the largest rate that is kept: up by half, or down, until there is one on each side;
/// then in between.
#[derive(Default)]
struct Search {
    points: Vec<(OpenPoint, Recording)>,
    kept: Option<f64>,
    broken: Option<f64>,
}

impl Search {
    fn next(&self, highest: f64) -> Option<f64> {
        if self.points.len() >= SEARCH_MAX || highest <= 0.0 {
            return None;
        }
        match (self.kept, self.broken) {
            (None, None) => Some(highest * 0.4),
            (Some(kept), None) => Some(kept * 1.5).filter(|_| kept < highest * 1.5),
            (None, Some(broken)) => Some(broken / 2.0).filter(|rate| *rate > highest / 1_000.0),
            (Some(kept), Some(broken)) => Some((kept * broken).sqrt()).filter(|_| broken / kept > CLOSE),
        }
    }

    fn add(&mut self, rate: f64, recording: Recording, met: bool) {
        let known = if met { &mut self.kept } else { &mut self.broken };
        *known = Some(known.map_or(rate, |known| if met { known.max(rate) } else { known.min(rate) }));
        let quantile = |quantile| recording.quantile(Phase::Response, quantile).unwrap_or(0);
        let point = OpenPoint {
            rate,
            mean: recording.mean(Phase::Response).unwrap_or(0.0),
            quantiles: [0.5, 0.9, 0.99, 0.999].map(quantile),
            longest: quantile(1.0),
            met,
            tasks: recording.tasks(),
        };
        self.points.push((point, recording));
        self.points.sort_by(|(a, _), (b, _)| a.rate.total_cmp(&b.rate));
    }
}

fn hottest(recording: &Recording) -> Option<(u32, f64, f64, f64)> {
    let all = recording.mean(Phase::Response)?;
    // A key with a few tasks is the slowest one by chance.
    let tasks = recording.tasks() as f64;
    let often = recording.keys.iter().enumerate().filter(|(_, key)| key.tasks as f64 >= (tasks / 100.0).max(10.0));
    let mean = |share: &super::recording::Share| share.response as f64 / share.tasks as f64;
    let (index, key) = often.max_by(|(_, a), (_, b)| mean(a).total_cmp(&mean(b)))?;
    Some((u32::try_from(index + 1).ok()?, key.tasks as f64 / tasks, mean(key), all))
}

#[cfg(test)]
mod tests;
