//! Open loops at set rates, in turn and in several passes: to the first half models are fitted, at the others
//! they are checked. What drifts while they are measured is spread over all of them.

use std::time::Duration;

use super::Measure;
use crate::capacity::certain::mean_error;
use crate::capacity::drive::Driven;
use crate::capacity::load::{Arrivals, DURATION_MAX, Load};
use crate::capacity::recording::Recording;
use crate::capacity::slo::{Kept, Slo};

/// The parts of the highest rate that models are fitted to.
const FITTED: [f64; 5] = [0.2, 0.4, 0.6, 0.75, 0.88];
/// The parts of it at which they are checked.
const CHECKED: [f64; 4] = [0.3, 0.5, 0.68, 0.8];
/// The passes that each rate is measured in.
const PASSES: u32 = 2;
/// The passes that a rate may be measured in whose mean is not sure before.
const PASSES_MAX: u32 = 4;
/// The standard error of the mean's logarithm that is sure enough.
const SURE: f64 = 0.04;

/// One rate.
pub(super) struct Spot {
    /// Tasks a second.
    pub(super) rate: f64,
    /// Whether it is kept from the fits.
    pub(super) is_check: bool,
    /// All its passes, one after the other.
    pub(super) recording: Recording,
    /// Whether it meets the objective.
    pub(super) kept: Kept,
}

/// The tasks that a run should have, so that its 99th percentile can be told.
const TASKS: f64 = 600.0;
/// How many times longer than others a run may be that would have fewer.
const LONGER_MAX: u32 = 5;

/// An open loop; of a low rate it takes longer.
pub(super) fn open(load: &Load, workers: u32, rate: f64, seed: u64) -> Load {
    let pool = load.pool.filter(|pool| *pool <= workers);
    let wanted = Duration::try_from_secs_f64(TASKS / rate).unwrap_or(Duration::MAX);
    let duration = wanted.clamp(load.duration, (load.duration * LONGER_MAX).clamp(load.duration, DURATION_MAX));
    Load { arrivals: Arrivals::Poisson(rate), workers, pool, seed, duration, ..load.clone() }
}

/// Measures the grid; nothing where no task came to an end. `doubt` is told of each run.
pub(super) async fn measure<M: Measure>(
    measure: &mut M,
    load: &Load,
    workers: u32,
    highest: f64,
    slo: &Slo,
    doubt: &mut impl FnMut(&Driven, &str),
) -> Result<Vec<Spot>, M::Error> {
    let parts = FITTED.map(|part| (part, false)).into_iter().chain(CHECKED.map(|part| (part, true)));
    let mut spots: Vec<Spot> = parts
        .filter(|(part, _)| part * highest > 0.0)
        .map(|(part, is_check)| Spot {
            rate: part * highest,
            is_check,
            recording: Recording::empty(),
            kept: Kept::Unsure,
        })
        .collect();
    spots.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    for pass in 0..PASSES_MAX {
        // Up, then down: what drifts evenly then adds the same to all.
        let upward = pass % 2 == 0;
        for place in 0..spots.len() {
            let index = if upward { place } else { spots.len() - 1 - place };
            let spot = &mut spots[index];
            if pass >= PASSES && mean_error(&spot.recording) < SURE {
                continue;
            }
            let role = if spot.is_check { "check" } else { "open loop" };
            let what = format!("{role}, {:.1}/s, pass {}", spot.rate, pass + 1);
            measure.announce(&what);
            let seed = load.seed.wrapping_add(u64::from(pass) << 32).wrapping_add(index as u64);
            let driven = measure.measure(&open(load, workers, spot.rate, seed)).await?;
            doubt(&driven, &what);
            spot.recording.follow(&driven.recording);
        }
    }
    for spot in &mut spots {
        spot.kept = slo.kept(&spot.recording);
    }
    Ok(spots)
}
