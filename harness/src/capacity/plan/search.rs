//! The search for the largest rate that keeps the objective: between the grid's rates; beyond them up by half, or
//! down, until there is one on each side; then in between.

use super::grid::{Spot, open};
use super::{CLOSE, Measure};
use crate::capacity::drive::Driven;
use crate::capacity::load::Load;
use crate::capacity::model::OpenPoint;
use crate::capacity::phase::Phase;
use crate::capacity::recording::Recording;
use crate::capacity::slo::{Kept, Slo};

/// The most open loops that the search runs, the grid's aside.
const RUNS_MAX: usize = 12;
/// How many times smaller than the highest rate of a closed loop the smallest one is that is tried.
const LEAST: f64 = 100.0;
/// How often a run that is too short to say is prolonged.
const PROLONGED_MAX: u32 = 2;

/// What was tried so far.
pub(super) struct Search {
    tried: Vec<(OpenPoint, Recording)>,
    runs: usize,
}

impl Search {
    /// Begins with what the grid knows.
    pub(super) fn of(spots: Vec<Spot>) -> Self {
        let mut search = Self { tried: Vec::new(), runs: 0 };
        spots.into_iter().for_each(|spot| search.insert(spot.rate, spot.recording, spot.kept == Kept::Yes));
        search
    }

    /// The smallest rate that did not keep it.
    pub(super) fn broken(&self) -> Option<f64> {
        self.tried.iter().find(|(point, _)| !point.met).map(|(point, _)| point.rate)
    }

    /// The largest rate that kept it, below all that did not.
    pub(super) fn best(&self) -> Option<&(OpenPoint, Recording)> {
        self.tried.iter().take_while(|(point, _)| point.met).last()
    }

    /// All that was tried, by the rate.
    pub(super) fn points(&self) -> Vec<OpenPoint> {
        self.tried.iter().map(|(point, _)| point.clone()).collect()
    }

    /// The rate to try next, if it is not yet close enough.
    pub(super) fn next(&self, highest: f64) -> Option<f64> {
        if self.runs >= RUNS_MAX || highest <= 0.0 {
            return None;
        }
        match (self.best().map(|(point, _)| point.rate), self.broken()) {
            (None, None) => Some(highest * 0.4),
            (Some(kept), None) => Some(kept * 1.5).filter(|_| kept < highest * 1.5),
            (None, Some(broken)) => Some(broken / 2.0).filter(|rate| *rate > highest / LEAST),
            (Some(kept), Some(broken)) => Some((kept * broken).sqrt()).filter(|_| broken / kept > CLOSE),
        }
    }

    /// Adds what was measured.
    pub(super) fn add(&mut self, rate: f64, recording: Recording, met: bool) {
        self.runs += 1;
        self.insert(rate, recording, met);
    }

    fn insert(&mut self, rate: f64, recording: Recording, met: bool) {
        let quantile = |quantile| recording.quantile(Phase::Response, quantile).unwrap_or(0);
        let point = OpenPoint {
            rate,
            mean: recording.mean(Phase::Response).unwrap_or(0.0),
            quantiles: [0.5, 0.9, 0.99, 0.999].map(quantile),
            longest: quantile(1.0),
            met,
            tasks: recording.tasks(),
        };
        self.tried.push((point, recording));
        self.tried.sort_by(|(a, _), (b, _)| a.rate.total_cmp(&b.rate));
    }
}

/// Runs an open loop, and again while it is too short to say.
pub(super) async fn open_loop<M: Measure>(
    measure: &mut M,
    load: &Load,
    workers: u32,
    rate: f64,
    slo: &Slo,
) -> Result<(Recording, Driven, Kept), M::Error> {
    let mut whole = Recording::empty();
    for round in 0..=PROLONGED_MAX {
        let driven = measure.measure(&open(load, workers, rate, load.seed + u64::from(round))).await?;
        whole.follow(&driven.recording);
        let kept = slo.kept(&whole);
        if kept != Kept::Unsure || round == PROLONGED_MAX {
            return Ok((whole, driven, kept));
        }
    }
    unreachable!("the last round returns")
}
