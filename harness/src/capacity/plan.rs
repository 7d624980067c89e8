//! How much load the job can take: measures, fits, and checks the fit where it has not looked.

mod closed;
mod grid;
mod passes;
mod responses;
mod search;

use std::future::Future;

use serde::{Deserialize, Serialize};

pub use self::closed::{Candidate, Checked, RateForeseen};
use self::closed::{rate_of, up_to};
use self::grid::open;
use self::passes::{PASSES, Paces};
pub use self::responses::{Foreseen, Response, Seen};
use self::search::{Search, open_loop, point};
use super::drive::Driven;
use super::load::{DURATION_MAX, Load};
use super::model::queue::Queues;
use super::model::response::{Fitted, Known};
use super::model::usl::Usl;
use super::model::{ClosedPoint, OpenPoint};
use super::phase::Phase;
use super::recording::Recording;
use super::slo::Slo;

/// Below this part of the rate that the workers come to predictions are held to what they promise.
pub const TRUSTED: f64 = 0.85;
/// How close the rate that is kept and the one that is not must come.
const CLOSE: f64 = 1.08;
/// How many times longer than everybody's a key's mean response must be for it to be named.
const STANDS_OUT: f64 = 1.1;

/// A load that is put on once, and then as long as one that is put on in passes.
pub fn once(load: &Load) -> Load {
    let duration = (load.duration * PASSES).min(DURATION_MAX);
    Load { duration, ..load.clone() }
}

/// How far it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The most workers.
    pub workers: u32,
    /// The most passes in which a load is measured.
    pub passes: u32,
}

/// Puts loads on, one at a time.
pub trait Measure {
    /// Why it cannot.
    type Error;

    /// Puts one on.
    fn measure(&mut self, load: &Load) -> impl Future<Output = Result<Driven, Self::Error>>;

    /// Is told what comes next, or what a run came to.
    fn announce(&mut self, what: &str);
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
    /// The laws of closed loops, the chosen one first.
    pub candidates: Vec<Candidate>,
    /// What the chosen one says of each number of workers, for a picture.
    #[serde(default)]
    pub rates_foreseen: Vec<RateForeseen>,
    /// The fitted law, where it applies.
    pub usl: Option<Usl>,
    /// Between which its λ, σ and κ lie in 90 % of the refits.
    #[serde(default)]
    pub usl_between: Option<[[f64; 2]; 3]>,
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

/// Measures `load` (its arrivals and workers aside) as far as `extent` says: closed loops to see how many are
/// enough, then open loops of so many. `has_one_lock` says that one lock serves all keys.
///
/// # Errors
/// Those of the measurements.
pub async fn plan<M: Measure>(
    measure: &mut M,
    load: &Load,
    extent: Extent,
    slo: &Slo,
    has_one_lock: bool,
) -> Result<Plan, M::Error> {
    let shares = load.lock_shares(has_one_lock);
    let (mut doubts, mut others) = (Vec::new(), None);
    let mut doubt = |driven: &Driven, what: &str| {
        others = others.into_iter().chain(driven.generator.others).reduce(f64::max);
        // A file's database works within this process.
        let found = driven.generator.doubts(&driven.recording, load.arrivals.rate(), has_one_lock);
        doubts.extend(found.into_iter().map(|doubt| format!("{what}: {doubt}")));
    };
    let turns = closed::measure(measure, load, extent, &mut doubt).await?;
    let loops = closed::find(&turns, &shares, load.seed);
    let (closed, highest, workers) = (&loops.closed, loops.highest(), loops.enough());

    let reached = rate_of(closed, workers);
    let mut paces = Paces::of(&open(load, workers, highest.max(1.0), load.seed, 0.0));
    let grid = grid::measure(measure, load, (workers, extent.passes), reached, &mut paces, slo, &mut doubt).await?;
    let passes = turns.iter().map(|turn| &turn.passes).chain(grid.iter().map(|spot| &spot.passes));
    let disturbed =
        passes.fold([0, 0], |[some, all], passes| [some + passes.len() - passes::calm(passes), all + passes.len()]);
    // The closed loops by the clock of the open ones.
    let usual = paces.range().map_or(reached, |[_, usual, _]| usual);
    let fast = if reached > 0.0 { usual / reached } else { 1.0 };
    let rates: Vec<f64> = up_to(closed, workers).into_iter().map(|rate| rate * fast).collect();
    let known = Known { queues: loops.queues.by_clock(fast), shares: &shares, closed: &rates };
    let found = responses::find(&grid, &known, load.seed);
    let mut search = Search::of(grid);
    while let Some(rate) = search.next(highest) {
        let pace = (&mut paces, usual);
        // Once more is with other arrivals.
        let load = Load { seed: load.seed.wrapping_add(u64::from(search.is_tried(rate)) << 32), ..load.clone() };
        search.add(rate, open_loop(measure, &load, workers, rate, pace, slo, &mut doubt).await?);
    }
    let kept = search.best().map(|(point, _)| point.rate);
    let crowded = match kept.filter(|_| workers < extent.workers) {
        Some(rate) => {
            let pace = (&mut paces, usual);
            Some(point(rate, &open_loop(measure, load, extent.workers, rate, pace, slo, &mut doubt).await?))
        }
        None => None,
    };
    Ok(Plan {
        limit: loops.limit,
        enough_workers: workers,
        crowded,
        usl: loops.usl,
        usl_between: loops.usl_between,
        queues: loops.queues,
        candidates: loops.candidates,
        rates_foreseen: loops.foreseen,
        kept,
        broken: search.broken().map(|(point, _)| point.rate),
        hottest: search.broken().or(search.best()).and_then(|(_, recording)| hottest(recording)),
        open: search.points(),
        closed: loops.closed,
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
