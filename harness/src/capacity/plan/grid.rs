//! Open loops at set rates: to one half models are fitted, at the others they are checked.

use std::time::Duration;

use super::passes::{Paces, Pass, Turn, typical};
use super::{Measure, passes};
use crate::capacity::drive::Driven;
use crate::capacity::load::{Arrivals, DURATION_MAX, Load};
use crate::capacity::recording::Recording;
use crate::capacity::slo::{Kept, Slo};

/// The parts of the rate that the workers come to in a closed loop that models are fitted to.
const FITTED: [f64; 5] = [0.2, 0.4, 0.6, 0.74, 0.85];
/// The parts of it at which they are checked.
const CHECKED: [f64; 4] = [0.3, 0.5, 0.68, 0.8];

/// One rate.
pub(super) struct Spot {
    /// Arrivals a second of the median pass, by the clock of the usual pace.
    pub(super) rate: f64,
    /// Whether it is kept from the fits.
    pub(super) is_check: bool,
    /// What it came to, all passes together.
    pub(super) recording: Recording,
    /// What each pass came to.
    pub(super) passes: Vec<Pass>,
    /// Whether it meets the objective.
    pub(super) kept: Kept,
}

/// The tasks that a run should have, so that its 99th percentile can be told.
const TASKS: f64 = 600.0;
/// How many times longer than others a run may be that would have fewer.
const LONGER_MAX: u32 = 10;

/// An open loop; of a low rate it takes longer, so that it has the tasks that are wanted.
pub(super) fn open(load: &Load, workers: u32, rate: f64, seed: u64, tasks: f64) -> Load {
    let pool = load.pool.filter(|pool| *pool <= workers);
    let wanted = Duration::try_from_secs_f64(tasks.max(TASKS) / rate).unwrap_or(Duration::MAX);
    let duration = wanted.clamp(load.duration, (load.duration * LONGER_MAX).clamp(load.duration, DURATION_MAX));
    Load { arrivals: Arrivals::Poisson(rate), workers, pool, seed, duration, ..load.clone() }
}

/// Measures the grid; nothing where no task came to an end. `doubt` is told of each run.
pub(super) async fn measure<M: Measure>(
    measure: &mut M,
    load: &Load,
    (workers, passes_max): (u32, u32),
    reached: f64,
    paces: &mut Paces,
    slo: &Slo,
    doubt: &mut impl FnMut(&Driven, &str),
) -> Result<Vec<Spot>, M::Error> {
    let parts = FITTED.map(|part| (part, false)).into_iter().chain(CHECKED.map(|part| (part, true)));
    let mut parts: Vec<(f64, bool)> = parts.filter(|(part, _)| part * reached > 0.0).collect();
    parts.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let turn = |(part, is_check): &(f64, bool)| {
        let rate = part * reached;
        let what = format!("{}, {rate:.1}/s", if *is_check { "check" } else { "open loop" });
        Turn::of(what, open(load, workers, rate, load.seed, TASKS))
    };
    let mut turns: Vec<Turn> = parts.iter().map(turn).collect();
    passes::measure(measure, &mut turns, passes_max, Some((paces, reached)), |pass| pass.mean, doubt).await?;
    let spots = parts.into_iter().zip(turns).map(|((_, is_check), Turn { recording, passes, .. })| {
        let (kept, rate) = (slo.kept(&recording), typical(&passes, |pass| pass.offered).value);
        Spot { rate, is_check, recording, passes, kept }
    });
    Ok(spots.collect())
}
