//! What more and more workers come to: closed loops, laws fitted to some of them, and how far these are off at the
//! others.

use std::convert::Infallible;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::passes::{self, Pass, Turn, typical};
use super::{Extent, Measure};
use crate::capacity::drive::Driven;
use crate::capacity::load::{Arrivals, Load};
use crate::capacity::model::queue::Queues;
use crate::capacity::model::response::normal;
use crate::capacity::model::usl::Usl;
use crate::capacity::model::{BETWEEN, ClosedPoint, between, error, quantiles};
use crate::capacity::phase::Phase;
use crate::capacity::recording::{Recording, fairness};
use crate::scenario::data::fork;

/// The numbers of workers that are tried, up to a largest one.
const SIZES: [u32; 13] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96];
/// How often a law is fitted again, to rates that are off by chance.
const REFITS: usize = 60;
/// The part of the highest rate with which workers are enough.
const ENOUGH: f64 = 0.97;

/// What a law says that so many workers come to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateForeseen {
    /// The workers.
    pub workers: u32,
    /// Tasks a second.
    pub rate: f64,
    /// What would be measured lies between these in 90 of 100 cases.
    pub between: [f64; 2],
}

/// A prediction of a closed loop's rate, at a number of workers that its law had not seen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// The workers.
    pub at: f64,
    /// Tasks a second.
    pub predicted: f64,
    /// Between which it was to be with 90 %.
    #[serde(default)]
    pub between: Option<[f64; 2]>,
    /// What it really was.
    pub measured: f64,
}

impl Checked {
    /// How far off it was: 0.1 is a tenth.
    pub fn error(&self) -> f64 {
        (self.predicted / self.measured - 1.0).abs()
    }
}

/// A fitted law of closed loops, and how it did where it had not looked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Why it does not apply, if it does not.
    pub refused: Option<String>,
    /// How far it is off on average at points that are left out of its fit in turn.
    #[serde(default)]
    pub left_out: Option<f64>,
    /// Its predictions at points that the fit had not seen.
    pub checked: Vec<Checked>,
    /// The mean of their errors: it is chosen by that.
    pub error: Option<f64>,
}

/// Closed loops of more and more workers, the most among them.
pub(super) async fn measure<M: Measure>(
    measure: &mut M,
    load: &Load,
    Extent { workers: workers_max, passes: passes_max }: Extent,
    doubt: &mut impl FnMut(&Driven, &str),
) -> Result<Vec<Turn>, M::Error> {
    let sizes = SIZES.into_iter().filter(|size| *size < workers_max).chain([workers_max]);
    let turn = |workers: u32| {
        let pool = load.pool.filter(|pool| *pool <= workers);
        let load = Load { arrivals: Arrivals::Closed, workers, pool, ..load.clone() };
        Turn::of(format!("closed loop, {workers} workers"), load)
    };
    let mut turns: Vec<Turn> = sizes.map(turn).collect();
    passes::measure(measure, &mut turns, passes_max, None, |pass: &Pass| pass.rate, doubt).await?;
    Ok(turns)
}

/// Closed loops, and what follows from them.
pub(super) struct Found {
    pub(super) closed: Vec<ClosedPoint>,
    /// The fitted queues.
    pub(super) queues: Queues,
    /// The fitted scalability law, where it applies.
    pub(super) usl: Option<Usl>,
    /// Between which its λ, σ and κ lie in 90 % of the refits.
    pub(super) usl_between: Option<[[f64; 2]; 3]>,
    /// The tasks a second that no number of workers exceeds, by the queues: 5 %, 50 % and 95 % of the refits.
    pub(super) limit: [f64; 3],
    /// The chosen one first.
    pub(super) candidates: Vec<Candidate>,
    /// What the chosen one says of each number of workers.
    pub(super) foreseen: Vec<RateForeseen>,
}

/// Fits the laws to what the loops came to, and holds them to those that no fit has seen.
pub(super) fn find(turns: &[Turn], shares: &[f64], seed: u64) -> Found {
    let closed: Vec<ClosedPoint> = turns.iter().filter_map(closed_point).collect();
    let alone = turns.first().map_or(Alone { task: 1.0, lock: 1.0, spread: 1.0 }, |turn| Alone::of(&turn.recording));
    let (fitted, held) = divided(&closed);
    let mut rng = ChaCha8Rng::seed_from_u64(fork(seed, "refits"));
    let moved = (0..REFITS).map(|_| fitted.iter().map(|point| moved(point, &mut rng)).collect()).collect();
    let points = Points { fitted, moved, held };
    let queues = points.fit(
        "queues (MVA)",
        |points| Ok::<_, Infallible>(Queues::fit(points, shares, alone.task, alone.lock, alone.spread)),
        |queues, workers| queues.closed_rate(shares, workers),
    );
    let usl = points.fit("universal scalability law", Usl::fit, |usl, workers| usl.rate(f64::from(workers)));
    let Ok(law) = queues.law;
    let limits = queues.refits.iter().map(|queues| queues.limit(shares)).collect();
    let parameters: [fn(&Usl) -> f64; 3] = [|usl| usl.lambda, |usl| usl.sigma, |usl| usl.kappa];
    let usl_between = match parameters.map(|of| quantiles(usl.refits.iter().map(of).collect(), BETWEEN)) {
        [Some(lambda), Some(sigma), Some(kappa)] if usl.law.is_ok() => Some([lambda, sigma, kappa]),
        _ => None,
    };
    let off = |candidate: &Candidate| candidate.error.unwrap_or(f64::INFINITY);
    let is_usl = off(&usl.candidate) < off(&queues.candidate);
    let mut candidates = vec![queues.candidate, usl.candidate];
    candidates.sort_by(|a, b| off(a).total_cmp(&off(b)));
    Found {
        queues: law,
        usl: usl.law.ok(),
        usl_between,
        limit: quantiles(limits, [0.05, 0.5, 0.95]).unwrap_or([law.limit(shares); 3]),
        candidates,
        foreseen: if is_usl { usl.foreseen } else { queues.foreseen },
        closed,
    }
}

impl Found {
    /// The highest rate.
    pub(super) fn highest(&self) -> f64 {
        self.closed.iter().map(|point| point.rate).fold(0.0, f64::max)
    }

    /// The fewest workers that come close to the highest rate.
    pub(super) fn enough(&self) -> u32 {
        let highest = self.highest();
        self.closed.iter().find(|point| point.rate >= ENOUGH * highest).map_or(1, |point| point.workers)
    }
}

/// The point, off by what it may be off.
fn moved(point: &ClosedPoint, rng: &mut ChaCha8Rng) -> ClosedPoint {
    ClosedPoint { rate: point.rate * (point.error * normal(rng)).exp(), ..*point }
}

/// What so many workers come to in a closed loop.
pub(super) fn rate_of(closed: &[ClosedPoint], workers: u32) -> f64 {
    closed.iter().find(|point| point.workers == workers).map_or(0.0, |point| point.rate)
}

/// What 1, 2, … workers come to; between those that were measured, on a straight line of logarithms.
pub(super) fn up_to(closed: &[ClosedPoint], workers: u32) -> Vec<f64> {
    let at = |workers: u32| {
        let above = closed.iter().find(|point| point.workers >= workers)?;
        let below = closed.iter().rev().find(|point| point.workers <= workers)?;
        let (low, high) = (f64::from(below.workers).ln(), f64::from(above.workers).ln());
        let part = if high > low { (f64::from(workers).ln() - low) / (high - low) } else { 0.0 };
        Some((below.rate.ln() * (1.0 - part) + above.rate.ln() * part).exp())
    };
    (1..=workers).map_while(at).collect()
}

/// What laws are fitted to, and held to.
struct Points {
    fitted: Vec<ClosedPoint>,
    /// The same, off by chance again and again (the parametric bootstrap).
    moved: Vec<Vec<ClosedPoint>>,
    held: Vec<ClosedPoint>,
}

/// A law, fitted.
struct Fitted<L, E> {
    law: Result<L, E>,
    /// The same, fitted to points that are off by chance.
    refits: Vec<L>,
    candidate: Candidate,
    foreseen: Vec<RateForeseen>,
}

impl Points {
    fn fit<L, E: ToString>(
        &self,
        name: &str,
        fit: impl Fn(&[ClosedPoint]) -> Result<L, E>,
        rate: impl Fn(&L, u32) -> f64,
    ) -> Fitted<L, E> {
        let law = fit(&self.fitted);
        let refits: Vec<L> = self.moved.iter().filter_map(|points| fit(points).ok()).collect();
        // Those between others: it is to say what lies between.
        let left_out = (1..self.fitted.len().saturating_sub(1)).map(|index| {
            let mut others = self.fitted.clone();
            let point = others.remove(index);
            Some((rate(&fit(&others).ok()?, point.workers), point.rate))
        });
        let left_out: Option<Vec<(f64, f64)>> = left_out.collect();
        let left_out = left_out.filter(|_| law.is_ok()).and_then(|left_out| error(left_out.into_iter()));
        // Between what a run lies is not known of a law that does not fit where a point is left out.
        let said = |workers: u32, error: f64| {
            let said = rate(law.as_ref().ok()?, workers);
            let refits = || refits.iter().map(|law| rate(law, workers)).collect();
            Some((said, left_out.map(|left_out| between(said, refits(), error, left_out))))
        };
        let check = |point: &ClosedPoint| {
            let (predicted, between) = said(point.workers, point.error)?;
            Some(Checked { at: f64::from(point.workers), predicted, between, measured: point.rate })
        };
        let checked: Vec<Checked> = self.held.iter().filter_map(check).collect();
        let foreseen = |workers: u32| {
            let (rate, between) = said(workers, 0.0)?;
            Some(RateForeseen { workers, rate, between: between? })
        };
        let most = self.fitted.last().map_or(0, |point| point.workers);
        let foreseen = (1..=most).filter_map(foreseen).collect();
        let candidate = Candidate {
            name: name.to_owned(),
            refused: law.as_ref().err().map(ToString::to_string),
            left_out,
            error: error(checked.iter().map(|one| (one.predicted, one.measured))),
            checked,
        };
        Fitted { law, refits, candidate, foreseen }
    }
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
