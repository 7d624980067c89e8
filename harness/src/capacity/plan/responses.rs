//! What responses of open loops come to, by models fitted to one half of the grid, held to the other.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::grid::Spot;
use super::passes::{Outcome, Pass, typical};
use crate::capacity::model::response::{Fitted, Known, Measured, Of, Prediction, fitted};
use crate::scenario::data::fork;

/// At how many rates the chosen models are drawn.
const DRAWN: u32 = 60;
/// How often an error may be at most what a run that knows little counts with.
const UNSURE: f64 = 1.0;

/// What a model said, and what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Said before.
    pub prediction: Prediction,
    /// Measured, in nanoseconds.
    pub measured: f64,
    /// The standard error of its logarithm.
    pub error: f64,
}

impl Seen {
    /// How far off the prediction was: 0.1 is a tenth.
    pub fn off(&self) -> f64 {
        (self.prediction.response / self.measured - 1.0).abs()
    }

    /// Whether what was measured lies where it was said to.
    pub fn is_within(&self) -> bool {
        let [low, high] = self.prediction.between;
        (low..=high).contains(&self.measured)
    }
}

/// The responses at a rate that no fit has seen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Tasks a second.
    pub rate: f64,
    /// The mean.
    pub mean: Seen,
    /// The 99th percentile.
    pub p99: Seen,
}

/// What the chosen models say of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Foreseen {
    /// Tasks a second.
    pub rate: f64,
    /// The mean.
    pub mean: Prediction,
    /// The 99th percentile.
    pub p99: Prediction,
}

/// The models, and how they did.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) mean: Vec<Fitted>,
    pub(super) p99: Vec<Fitted>,
    pub(super) checks: Vec<Response>,
    pub(super) foreseen: Vec<Foreseen>,
}

/// What the median pass of a spot came to.
fn measured(spot: &Spot, of: fn(&Pass) -> Outcome) -> Measured {
    let Outcome { value, error } = typical(&spot.passes, of);
    Measured { rate: spot.rate, response: value, error: error.min(UNSURE) }
}

/// Fits the models to the spots that are not checks and at which every arrival was served, and holds them to the
/// others.
pub(super) fn find(spots: &[Spot], known: &Known<'_>, seed: u64) -> Found {
    let mut rng = ChaCha8Rng::seed_from_u64(fork(seed, "responses"));
    let is_whole = |spot: &&Spot| spot.recording.unfinished == 0 && spot.recording.tasks() > 0;
    let whole: Vec<&Spot> = spots.iter().filter(is_whole).collect();
    let mean: fn(&Pass) -> Outcome = |pass| pass.mean;
    let p99: fn(&Pass) -> Outcome = |pass| pass.p99;
    let points =
        |of| -> Vec<Measured> { whole.iter().filter(|spot| !spot.is_check).map(|spot| measured(spot, of)).collect() };
    let means = fitted(Of::Mean, &points(mean), known, &mut rng);
    let p99s = fitted(Of::Quantile, &points(p99), known, &mut rng);
    let (Some(best), Some(best_p99)) = (means.first(), p99s.first()) else { return Found::default() };
    let seen = |model: &Fitted, measured: Measured| Seen {
        prediction: model.predict(known, measured.rate, measured.error),
        measured: measured.response,
        error: measured.error,
    };
    let checks = spots.iter().filter(|spot| spot.is_check && spot.recording.tasks() > 0);
    let checks = checks.map(|spot| Response {
        rate: spot.rate,
        mean: seen(best, measured(spot, mean)),
        p99: seen(best_p99, measured(spot, p99)),
    });
    let rates = whole.iter().map(|spot| spot.rate);
    let (least, most) = rates.fold((f64::INFINITY, 0.0_f64), |(least, most), rate| (least.min(rate), most.max(rate)));
    let foreseen = (0..=DRAWN).map(|n| {
        let rate = least + (most - least) * f64::from(n) / f64::from(DRAWN);
        Foreseen { rate, mean: best.predict(known, rate, 0.0), p99: best_p99.predict(known, rate, 0.0) }
    });
    Found { checks: checks.collect(), foreseen: foreseen.collect(), mean: means, p99: p99s }
}
