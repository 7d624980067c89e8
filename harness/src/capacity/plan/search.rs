//! The search for the largest rate that keeps the objective: between the grid's rates; beyond them up by half, or
//! down, until there is one on each side; then in between. What is found has to keep it once more: of several that are
//! tried, the one that had luck is the one that is found.

use super::grid::{Spot, open};
use super::passes::{Paces, typical};
use super::{CLOSE, Measure, once};
use crate::capacity::drive::Driven;
use crate::capacity::load::Load;
use crate::capacity::model::OpenPoint;
use crate::capacity::phase::Phase;
use crate::capacity::recording::Recording;
use crate::capacity::slo::{Kept, Slo};

/// The most open loops that the search runs, the grid's aside.
const RUNS_MAX: usize = 12;
/// The most that it runs besides to ask once more.
const ASKED_MAX: usize = 4;
/// How many times smaller than the highest rate of a closed loop the smallest one is that is tried.
const LEAST: f64 = 100.0;
/// How often a run that is too short to say is prolonged.
const PROLONGED_MAX: u64 = 4;

/// What an open loop came to.
pub(super) struct Ran {
    pub(super) recording: Recording,
    /// Whether it met the objective.
    pub(super) kept: Kept,
    /// The tasks that came to their end in a second, by the clock of the usual pace.
    pub(super) done: f64,
}

/// What was tried so far.
pub(super) struct Search {
    tried: Vec<(OpenPoint, Recording)>,
    runs: usize,
    /// The rates that kept it twice.
    confirmed: Vec<f64>,
}

impl Search {
    /// Begins with what the grid knows.
    pub(super) fn of(spots: Vec<Spot>) -> Self {
        // The grid's have been measured again and again.
        let confirmed = spots.iter().map(|spot| spot.rate).collect();
        let mut search = Self { tried: Vec::new(), runs: 0, confirmed };
        for Spot { rate, recording, kept, passes, .. } in spots {
            let done = typical(&passes, |pass| pass.rate).value;
            search.insert(rate, Ran { recording, kept, done: if done.is_finite() { done } else { 0.0 } });
        }
        search
    }

    /// The smallest rate that did not keep it.
    pub(super) fn broken(&self) -> Option<&(OpenPoint, Recording)> {
        self.tried.iter().find(|(point, _)| !point.met && !point.unsure)
    }

    /// The largest rate that kept it, below all that did not. A run that was too short to say is neither.
    pub(super) fn best(&self) -> Option<&(OpenPoint, Recording)> {
        self.tried.iter().take_while(|(point, _)| point.met || point.unsure).filter(|(point, _)| point.met).last()
    }

    /// The smallest rate above the best one that is not known to keep it.
    fn above(&self) -> Option<&OpenPoint> {
        let best = self.best().map_or(0.0, |(point, _)| point.rate);
        self.tried.iter().map(|(point, _)| point).find(|point| !point.met && point.rate > best)
    }

    /// All that was tried, by the rate.
    pub(super) fn points(&self) -> Vec<OpenPoint> {
        self.tried.iter().map(|(point, _)| point.clone()).collect()
    }

    /// The rate to try next, or once more, if it is not yet close enough and sure enough.
    pub(super) fn next(&self, highest: f64) -> Option<f64> {
        if highest <= 0.0 {
            return None;
        }
        let closer = if self.runs < RUNS_MAX { self.closer(highest) } else { None };
        let unconfirmed = || {
            let best = self.best().map(|(point, _)| point.rate);
            best.filter(|rate| self.runs < RUNS_MAX + ASKED_MAX && !self.confirmed.contains(rate))
        };
        closer.or_else(unconfirmed)
    }

    fn closer(&self, highest: f64) -> Option<f64> {
        match (self.best().map(|(point, _)| point.rate), self.above()) {
            (None, None) => Some(highest * 0.4),
            (Some(kept), None) => Some(kept * 1.5).filter(|_| kept < highest * 1.5),
            // Where even the lowest rate is too short to say, a lower one says less.
            (None, Some(above)) => Some(above.rate / 2.0).filter(|rate| !above.unsure && *rate > highest / LEAST),
            (Some(kept), Some(above)) => Some((kept * above.rate).sqrt()).filter(|_| above.rate / kept > CLOSE),
        }
    }

    /// Whether the rate was tried.
    pub(super) fn is_tried(&self, rate: f64) -> bool {
        self.tried.iter().any(|(point, _)| point.rate == rate)
    }

    /// Adds what was measured. Of a rate that kept it before both runs count, and the later one decides.
    pub(super) fn add(&mut self, rate: f64, mut ran: Ran) {
        self.runs += 1;
        if let Some(at) = self.tried.iter().position(|(point, _)| point.rate == rate) {
            let (before, mut whole) = self.tried.remove(at);
            whole.follow(&ran.recording);
            ran = Ran { recording: whole, done: (before.done + ran.done) / 2.0, ..ran };
            self.confirmed.push(rate);
        }
        self.insert(rate, ran);
    }

    fn insert(&mut self, rate: f64, ran: Ran) {
        self.tried.push((point(rate, &ran), ran.recording));
        self.tried.sort_by(|(a, _), (b, _)| a.rate.total_cmp(&b.rate));
    }
}

/// What was measured at a rate.
pub(super) fn point(rate: f64, Ran { recording, kept, done }: &Ran) -> OpenPoint {
    let quantile = |quantile| recording.quantile(Phase::Response, quantile).unwrap_or(0);
    OpenPoint {
        rate,
        mean: recording.mean(Phase::Response).unwrap_or(0.0),
        quantiles: [0.5, 0.9, 0.99, 0.999].map(quantile),
        longest: quantile(1.0),
        met: *kept == Kept::Yes,
        unsure: *kept == Kept::Unsure,
        tasks: recording.tasks(),
        done: *done,
    }
}

/// Runs an open loop at this rate of a machine that comes to `usual`, in proportion to what it comes to just now; and again
/// while it is too short to say. `doubt` is told of each run.
pub(super) async fn open_loop<M: Measure>(
    measure: &mut M,
    load: &Load,
    workers: u32,
    rate: f64,
    (paces, usual): (&mut Paces, f64),
    slo: &Slo,
    doubt: &mut impl FnMut(&Driven, &str),
) -> Result<Ran, M::Error> {
    let what = format!("open loop, {rate:.1}/s");
    measure.announce(&what);
    paces.measure(measure).await?;
    let fast = paces.now(usual);
    let rate = rate * fast;
    let (mut whole, mut kept) = (Recording::empty(), Kept::Unsure);
    let load = once(load);
    for round in 0..=PROLONGED_MAX {
        let seed = load.seed.wrapping_add(round);
        let driven = measure.measure(&open(&load, workers, rate, seed, slo.tasks_min())).await?;
        doubt(&driven, &what);
        whole.follow(&driven.recording);
        kept = slo.kept(&whole);
        if kept != Kept::Unsure {
            break;
        }
    }
    Ok(Ran { done: whole.throughput() / fast, recording: whole, kept })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(kept: Kept) -> Ran {
        Ran { recording: Recording::empty(), kept, done: 1.0 }
    }

    fn search(tried: &[(f64, Kept)]) -> Search {
        let mut search = Search { tried: Vec::new(), runs: 0, confirmed: Vec::new() };
        tried.iter().for_each(|(rate, kept)| search.insert(*rate, ran(*kept)));
        search
    }

    fn rates(search: &Search) -> (Option<f64>, Option<f64>) {
        (search.best().map(|(point, _)| point.rate), search.broken().map(|(point, _)| point.rate))
    }

    #[test]
    fn a_run_that_is_too_short_to_say_is_neither_kept_nor_broken() {
        let low = search(&[(10.0, Kept::Unsure), (20.0, Kept::Yes), (40.0, Kept::No)]);
        assert_eq!((rates(&low), low.next(50.0)), ((Some(20.0), Some(40.0)), Some(800.0_f64.sqrt())));
        let between = search(&[(20.0, Kept::Yes), (30.0, Kept::Unsure), (40.0, Kept::No)]);
        assert_eq!((rates(&between), between.next(50.0)), ((Some(20.0), Some(40.0)), Some(600.0_f64.sqrt())));
        // Nobody walks down from rates at which nothing could be said.
        let nothing = search(&[(10.0, Kept::Unsure), (20.0, Kept::Unsure)]);
        assert_eq!((rates(&nothing), nothing.next(50.0)), ((None, None), None));
        let broken = search(&[(10.0, Kept::No), (20.0, Kept::Yes)]);
        assert_eq!((rates(&broken), broken.next(50.0)), ((None, Some(10.0)), Some(5.0)));
    }

    /// What was found by luck is not kept the second time, and the search goes on below it.
    #[test]
    fn what_is_found_has_to_be_kept_once_more() {
        let mut search = search(&[(10.0, Kept::Yes), (19.0, Kept::Yes), (20.0, Kept::No)]);
        assert_eq!((search.next(50.0), search.is_tried(19.0), search.is_tried(15.0)), (Some(19.0), true, false));
        let mut lucky = Search { tried: search.tried.clone(), ..Search::of(Vec::new()) };
        lucky.add(19.0, ran(Kept::No));
        assert_eq!((rates(&lucky), lucky.next(50.0)), ((Some(10.0), Some(19.0)), Some(190.0_f64.sqrt())));
        search.add(19.0, ran(Kept::Yes));
        assert_eq!((rates(&search), search.next(50.0)), ((Some(19.0), Some(20.0)), None));
        assert_eq!(search.points().len(), 3);
    }
}
