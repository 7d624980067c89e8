//! Loads that are put on in turn, in several passes up and down their list: what drifts meanwhile is spread evenly
//! over all of them, and a load whose outcome is not sure yet gets another turn.

use super::Measure;
use crate::capacity::drive::Driven;
use crate::capacity::load::Load;
use crate::capacity::recording::Recording;

/// The passes that each load is measured in.
const PASSES: u32 = 2;
/// The passes that a load may be measured in whose outcome is not sure before.
const PASSES_MAX: u32 = 4;
/// The standard error of an outcome's logarithm that is sure enough.
const SURE: f64 = 0.04;

/// One load.
pub(super) struct Turn {
    /// What it is, for whoever waits.
    pub(super) what: String,
    /// Its seed is another one in each pass.
    pub(super) load: Load,
    /// All its passes, one after the other.
    pub(super) recording: Recording,
}

impl Turn {
    /// One that has not been measured.
    pub(super) fn of(what: String, load: Load) -> Self {
        Self { what, load, recording: Recording::empty() }
    }
}

/// Measures all loads; `error` is the standard error of the logarithm of what is asked of a recording. `doubt` is
/// told of each run.
pub(super) async fn measure<M: Measure>(
    measure: &mut M,
    turns: &mut [Turn],
    error: impl Fn(&Recording) -> f64,
    doubt: &mut impl FnMut(&Driven, &str),
) -> Result<(), M::Error> {
    for pass in 0..PASSES_MAX {
        for place in 0..turns.len() {
            let index = if pass % 2 == 0 { place } else { turns.len() - 1 - place };
            let turn = &mut turns[index];
            if pass >= PASSES && error(&turn.recording) < SURE {
                continue;
            }
            let what = format!("{}, pass {}", turn.what, pass + 1);
            measure.announce(&what);
            let seed = turn.load.seed.wrapping_add(u64::from(pass) << 32).wrapping_add(index as u64);
            let driven = measure.measure(&Load { seed, ..turn.load.clone() }).await?;
            doubt(&driven, &what);
            turn.recording.follow(&driven.recording);
        }
    }
    Ok(())
}
