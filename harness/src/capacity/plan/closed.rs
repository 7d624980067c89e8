//! What more and more workers come to: closed loops, laws fitted to some of them, and how far these are off at the
//! others.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::passes::{self, Pass, Turn, typical};
use super::{Extent, Measure};
use crate::capacity::drive::Driven;
use crate::capacity::load::{Arrivals, Load};
use crate::capacity::model::queue::Queues;
use crate::capacity::model::response::normal;
use crate::capacity::model::usl::{Usl, UslError};
use crate::capacity::model::{ClosedPoint, between, error};
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
    let (points, held) = divided(&closed);
    let mut rng = ChaCha8Rng::seed_from_u64(fork(seed, "refits"));
    let moved: Vec<Vec<ClosedPoint>> =
        (0..REFITS).map(|_| points.iter().map(|point| moved(point, &mut rng)).collect()).collect();
    let machine = Machine { shares, alone };
    let mut laws = [Kind::Queues, Kind::Usl].map(|kind| Fitted::to(kind, machine, &points, &moved));
    let queues = machine.queues(&points);
    let refits = || laws.iter().flat_map(|fitted| &fitted.refits);
    let limits =
        refits().filter_map(|law| if let Law::Queues(queues) = law { Some(queues.limit(shares)) } else { None });
    let limit = parts(limits.collect(), [0.05, 0.5, 0.95]).unwrap_or([queues.limit(shares); 3]);
    let usl = Usl::fit(&points).ok();
    let of = |parameter: fn(&Usl) -> f64| {
        let refitted = refits().filter_map(|law| if let Law::Usl(usl) = law { Some(parameter(usl)) } else { None });
        parts(refitted.collect(), [0.05, 0.95])
    };
    let usl_between = of(|usl| usl.lambda).zip(of(|usl| usl.sigma)).zip(of(|usl| usl.kappa));
    let usl_between = usl_between.map(|((lambda, sigma), kappa)| [lambda, sigma, kappa]).filter(|_| usl.is_some());
    let off = |fitted: &Fitted<'_>| fitted.candidate(&held).error.unwrap_or(f64::INFINITY);
    laws.sort_by(|a, b| off(a).total_cmp(&off(b)));
    let most = closed.last().map_or(0, |point| point.workers);
    let foreseen = (1..=most).filter_map(|workers| laws[0].foreseen(workers)).collect();
    let candidates = laws.iter().map(|law| law.candidate(&held)).collect();
    Found { queues, usl, usl_between, limit, candidates, foreseen, closed }
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

/// These parts of the values are below what is returned; none of none.
fn parts<const N: usize>(mut values: Vec<f64>, parts: [f64; N]) -> Option<[f64; N]> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some(parts.map(|part| values[(last as f64 * part).round() as usize]))
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

/// What laws are fitted with.
#[derive(Clone, Copy)]
struct Machine<'a> {
    /// The part of the tasks that each key has.
    shares: &'a [f64],
    alone: Alone,
}

impl Machine<'_> {
    fn queues(&self, points: &[ClosedPoint]) -> Queues {
        Queues::fit(points, self.shares, self.alone.task, self.alone.lock, self.alone.spread)
    }
}

/// A kind of law.
#[derive(Clone, Copy)]
enum Kind {
    Queues,
    Usl,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Queues => "queues (MVA)",
            Self::Usl => "universal scalability law",
        }
    }

    fn fit(self, machine: Machine<'_>, points: &[ClosedPoint]) -> Result<Law, UslError> {
        match self {
            Self::Queues => Ok(Law::Queues(machine.queues(points))),
            Self::Usl => Usl::fit(points).map(Law::Usl),
        }
    }
}

/// A law with its parameters.
#[derive(Clone, Copy)]
enum Law {
    Queues(Queues),
    Usl(Usl),
}

impl Law {
    fn rate(&self, shares: &[f64], workers: u32) -> f64 {
        match self {
            Self::Queues(queues) => queues.closed_rate(shares, workers),
            Self::Usl(usl) => usl.rate(f64::from(workers)),
        }
    }
}

/// A law, fitted.
struct Fitted<'a> {
    kind: Kind,
    machine: Machine<'a>,
    law: Result<Law, UslError>,
    /// The same, fitted to points that are off by chance (the parametric bootstrap).
    refits: Vec<Law>,
    /// The mean of its errors at points that are left out.
    left_out: Option<f64>,
}

impl<'a> Fitted<'a> {
    fn to(kind: Kind, machine: Machine<'a>, points: &[ClosedPoint], moved: &[Vec<ClosedPoint>]) -> Self {
        // Those between others: it is to say what lies between.
        let left_out = (1..points.len().saturating_sub(1)).map(|index| {
            let mut others = points.to_vec();
            let point = others.remove(index);
            let law = kind.fit(machine, &others).ok()?;
            Some((law.rate(machine.shares, point.workers), point.rate))
        });
        let left_out: Option<Vec<(f64, f64)>> = left_out.collect();
        Self {
            kind,
            machine,
            law: kind.fit(machine, points),
            refits: moved.iter().filter_map(|points| kind.fit(machine, points).ok()).collect(),
            left_out: left_out.and_then(|left_out| error(left_out.into_iter())),
        }
    }

    /// What so many workers come to, and between what a run lies whose own logarithm is off by `error` by chance. The
    /// latter is not known of a law that does not fit where a point is left out.
    fn rate(&self, workers: u32, error: f64) -> Option<(f64, Option<[f64; 2]>)> {
        let of = |law: &Law| law.rate(self.machine.shares, workers);
        let rate = of(self.law.as_ref().ok()?);
        let refits = || self.refits.iter().map(of).collect();
        Some((rate, self.left_out.map(|left_out| between(rate, refits(), error, left_out))))
    }

    fn foreseen(&self, workers: u32) -> Option<RateForeseen> {
        let (rate, between) = self.rate(workers, 0.0)?;
        Some(RateForeseen { workers, rate, between: between? })
    }

    fn candidate(&self, held: &[ClosedPoint]) -> Candidate {
        let check = |point: &ClosedPoint| {
            let (predicted, between) = self.rate(point.workers, point.error)?;
            Some(Checked { at: f64::from(point.workers), predicted, between, measured: point.rate })
        };
        let checked: Vec<Checked> = held.iter().filter_map(check).collect();
        Candidate {
            name: self.kind.name().to_owned(),
            refused: self.law.as_ref().err().map(ToString::to_string),
            left_out: self.left_out.filter(|_| self.law.is_ok()),
            error: error(checked.iter().map(|one| (one.predicted, one.measured))),
            checked,
        }
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
