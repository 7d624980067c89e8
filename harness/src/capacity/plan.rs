//! How much load the job can take: measures, fits, and checks the fit where it has not looked.

mod grid;
mod passes;
mod responses;
mod search;

use std::future::Future;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use self::grid::open;
use self::passes::{Paces, Pass, Turn, typical};
pub use self::responses::{Foreseen, Response, Seen};
use self::search::{Search, open_loop, point};
use super::drive::Driven;
use super::load::{Arrivals, Load};
use super::model::queue::Queues;
use super::model::response::{Fitted, Known, normal};
use super::model::usl::{Usl, UslError};
use super::model::{ClosedPoint, OpenPoint, error};
use super::phase::Phase;
use super::recording::{Recording, fairness};
use super::slo::Slo;
use crate::scenario::data::fork;

/// The numbers of workers that are tried, up to a largest one.
const SIZES: [u32; 13] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96];
/// Below this part of the rate that the workers come to predictions are held to what they promise.
pub const TRUSTED: f64 = 0.85;
/// How close the rate that is kept and the one that is not must come.
const CLOSE: f64 = 1.08;
/// How often the fit is repeated on rates that are off by chance.
const RESAMPLES: usize = 60;
/// How many times longer than everybody's a key's mean response must be for it to be named.
const STANDS_OUT: f64 = 1.1;

/// Puts loads on, one at a time.
pub trait Measure {
    /// Why it cannot.
    type Error;

    /// Puts one on.
    fn measure(&mut self, load: &Load) -> impl Future<Output = Result<Driven, Self::Error>>;

    /// Is told what comes next, or what a run came to.
    fn announce(&mut self, what: &str);
}

/// A prediction of a closed loop's rate, at a number of workers that its model had not seen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// The workers.
    pub at: f64,
    /// Tasks a second.
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
    /// The tasks a second that no number of workers exceeds, by the queues: 5 %, 50 % and 95 % of the refits.
    pub limit: [f64; 3],
    /// The number of workers beyond which the rate hardly grows: with it 97 % of the highest rate are reached.
    /// The open loops have so many.
    pub enough_workers: u32,
    /// The largest rate that met the objective, put on once more with all workers, where these are more.
    #[serde(default)]
    pub crowded: Option<OpenPoint>,
    /// The models of the mean response of open loops, the chosen one first.
    pub mean_models: Vec<Fitted>,
    /// Those of the 99th percentile.
    pub p99_models: Vec<Fitted>,
    /// What the chosen ones say over the rates, for a picture.
    pub foreseen: Vec<Foreseen>,
    /// Predictions of responses at rates that no fit has seen.
    pub responses: Vec<Response>,
    /// The key that waits markedly longer than all, where the objective begins to break: its number, its share of
    /// the tasks, its mean response and everybody's.
    pub hottest: Option<(u32, f64, f64, f64)>,
    /// Where the generator was in doubt.
    pub doubts: Vec<String>,
    /// The largest part of the processors, 0 to 1, that others used during a run, where the system says so.
    pub others: Option<f64>,
    /// The passes that others or a disk that stood still disturbed, of all.
    #[serde(default)]
    pub disturbed: [usize; 2],
    /// What the workers of the open loops came to in a closed loop beside these, in tasks a second: the least, the median
    /// and the most. Responses are predicted and checked by the clock of the median.
    #[serde(default)]
    pub pace: Option<[f64; 3]>,
}

impl Plan {
    /// The rate of the closed loop of the workers that the open loops have, beside these: with a higher one a queue has no
    /// end.
    pub fn reached(&self) -> f64 {
        self.pace.map_or_else(|| rate_of(&self.closed, self.enough_workers), |[_, usual, _]| usual)
    }

    /// The highest rate of a closed loop.
    pub fn highest(&self) -> f64 {
        self.closed.iter().map(|point| point.rate).fold(0.0, f64::max)
    }
}

/// Measures `load` (its arrivals and workers aside) with up to `workers_max` workers: closed loops to see how many are
/// enough, then open loops of so many. `has_one_lock` says that one lock serves all keys.
///
/// # Errors
/// Those of the measurements.
pub async fn plan<M: Measure>(
    measure: &mut M,
    load: &Load,
    workers_max: u32,
    slo: &Slo,
    has_one_lock: bool,
) -> Result<Plan, M::Error> {
    let shares = if has_one_lock { vec![1.0] } else { load.keys.shares(load.key_count) };
    let (mut doubts, mut others) = (Vec::new(), None);
    let mut doubt = |driven: &Driven, what: &str| {
        others = others.into_iter().chain(driven.generator.others).reduce(f64::max);
        // A file's database works within this process.
        let found = driven.generator.doubts(&driven.recording, has_one_lock);
        doubts.extend(found.into_iter().map(|doubt| format!("{what}: {doubt}")));
    };
    let turns = closed_loops(measure, load, workers_max, &mut doubt).await?;
    let closed: Vec<ClosedPoint> = turns.iter().filter_map(closed_point).collect();
    let alone = turns.first().map_or(Alone { task: 1.0, lock: 1.0, spread: 1.0 }, |turn| Alone::of(&turn.recording));
    let (fitted, held) = divided(&closed);
    let usl = Usl::fit(&fitted);
    let queues = Queues::fit(&fitted, &shares, alone.task, alone.lock, alone.spread);
    let candidates = candidates(&usl, &queues, &shares, &held);
    let highest = closed.iter().map(|point| point.rate).fold(0.0, f64::max);
    let workers = enough(&closed, highest);

    let reached = rate_of(&closed, workers);
    let mut paces = Paces::of(&open(load, workers, highest.max(1.0), load.seed, 0.0));
    let grid = grid::measure(measure, load, workers, reached, &mut paces, slo, &mut doubt).await?;
    let passes = turns.iter().map(|turn| &turn.passes).chain(grid.iter().map(|spot| &spot.passes));
    let disturbed =
        passes.fold([0, 0], |[some, all], passes| [some + passes.len() - passes::calm(passes), all + passes.len()]);
    // The closed loops by the clock of the open ones.
    let usual = paces.range().map_or(reached, |[_, usual, _]| usual);
    let fast = if reached > 0.0 { usual / reached } else { 1.0 };
    let rates: Vec<f64> = up_to(&closed, workers).into_iter().map(|rate| rate * fast).collect();
    let known = Known { queues: queues.by_clock(fast), shares: &shares, closed: &rates };
    let found = responses::find(&grid, &known, load.seed);
    let mut search = Search::of(grid);
    while let Some(rate) = search.next(highest) {
        let pace = (&mut paces, usual);
        let (recording, kept) = open_loop(measure, load, workers, rate, pace, slo, &mut doubt).await?;
        search.add(rate, recording, kept);
    }
    let kept = search.best().map(|(point, _)| point.rate);
    let crowded = match kept.filter(|_| workers < workers_max) {
        Some(rate) => {
            let pace = (&mut paces, usual);
            let (recording, kept) = open_loop(measure, load, workers_max, rate, pace, slo, &mut doubt).await?;
            Some(point(rate, &recording, kept))
        }
        None => None,
    };
    Ok(Plan {
        limit: limits(&fitted, &shares, alone, load.seed),
        enough_workers: workers,
        crowded,
        usl: usl.ok(),
        queues,
        candidates,
        kept,
        broken: search.broken().map(|(point, _)| point.rate),
        hottest: search.broken().or(search.best()).and_then(|(_, recording)| hottest(recording)),
        open: search.points(),
        closed,
        mean_models: found.mean,
        p99_models: found.p99,
        foreseen: found.foreseen,
        responses: found.checks,
        doubts,
        others,
        disturbed,
        pace: paces.range().map(|[least, _, most]| [least, usual, most]),
    })
}

/// Closed loops of more and more workers, the most among them.
async fn closed_loops<M: Measure>(
    measure: &mut M,
    load: &Load,
    workers_max: u32,
    doubt: &mut impl FnMut(&Driven, &str),
) -> Result<Vec<Turn>, M::Error> {
    let sizes = SIZES.into_iter().filter(|size| *size < workers_max).chain([workers_max]);
    let turn = |workers: u32| {
        let pool = load.pool.filter(|pool| *pool <= workers);
        let load = Load { arrivals: Arrivals::Closed, workers, pool, ..load.clone() };
        Turn::of(format!("closed loop, {workers} workers"), load)
    };
    let mut turns: Vec<Turn> = sizes.map(turn).collect();
    passes::measure(measure, &mut turns, |pass: &Pass| pass.rate, doubt).await?;
    Ok(turns)
}

/// What so many workers come to in a closed loop.
fn rate_of(closed: &[ClosedPoint], workers: u32) -> f64 {
    closed.iter().find(|point| point.workers == workers).map_or(0.0, |point| point.rate)
}

/// What 1, 2, … workers come to; between those that were measured, on a straight line of logarithms.
fn up_to(closed: &[ClosedPoint], workers: u32) -> Vec<f64> {
    let at = |workers: u32| {
        let above = closed.iter().find(|point| point.workers >= workers)?;
        let below = closed.iter().rev().find(|point| point.workers <= workers)?;
        let (low, high) = (f64::from(below.workers).ln(), f64::from(above.workers).ln());
        let part = if high > low { (f64::from(workers).ln() - low) / (high - low) } else { 0.0 };
        Some((below.rate.ln() * (1.0 - part) + above.rate.ln() * part).exp())
    };
    (1..=workers).map_while(at).collect()
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

fn closed_point(turn: &Turn) -> Option<ClosedPoint> {
    let (rate, recording) = (typical(&turn.passes, |pass| pass.rate), &turn.recording);
    (rate.value > 0.0).then(|| ClosedPoint {
        workers: turn.load.workers,
        rate: rate.value,
        error: rate.error,
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
                    let rate = point.rate * (point.error * normal(&mut rng)).exp();
                    ClosedPoint { rate, ..*point }
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

fn hottest(recording: &Recording) -> Option<(u32, f64, f64, f64)> {
    let all = recording.mean(Phase::Response)?;
    // A key with a few tasks is the slowest one by chance.
    let tasks = recording.tasks() as f64;
    let often = recording.keys.iter().enumerate().filter(|(_, key)| key.tasks as f64 >= (tasks / 100.0).max(10.0));
    let mean = |share: &super::recording::Share| share.response as f64 / share.tasks as f64;
    let (index, key) = often.max_by(|(_, a), (_, b)| mean(a).total_cmp(&mean(b)))?;
    if mean(key) < STANDS_OUT * all {
        return None;
    }
    Some((u32::try_from(index + 1).ok()?, key.tasks as f64 / tasks, mean(key), all))
}

#[cfg(test)]
mod tests;
