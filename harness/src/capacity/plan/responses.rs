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
/// How many times a response may become longer or shorter where a pass is led to its spot's rate.
const LED_MAX: f64 = 2.0;
/// How often models are fitted to passes that are led along the best of the models before.
const LED_TIMES: usize = 3;

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

/// What the median pass of a spot came to at the spot's rate. Its passes had rates around that one: each is led to it
/// along `curve`, as far as that says.
fn measured(spot: &Spot, of: fn(&Pass) -> Outcome, curve: impl Fn(f64) -> f64) -> Measured {
    let at_the_rate = |pass: &Pass| {
        let along = curve(spot.rate) / curve(pass.offered.value);
        let along = if along.is_finite() { along.clamp(1.0 / LED_MAX, LED_MAX) } else { 1.0 };
        let outcome = of(pass);
        Outcome { value: outcome.value * along, ..outcome }
    };
    let Outcome { value, error } = typical(&spot.passes, at_the_rate);
    Measured { rate: spot.rate, response: value, error: error.min(UNSURE) }
}

/// The models fitted to what these spots came to. The passes are led to their spots' rates along the model that was best
/// before, so it is done again until that changes little.
fn fitted_along(
    kind: Of,
    of: fn(&Pass) -> Outcome,
    spots: &[&Spot],
    known: &Known<'_>,
    rng: &mut ChaCha8Rng,
) -> Vec<Fitted> {
    let mut models: Vec<Fitted> = Vec::new();
    for _ in 0..LED_TIMES {
        let curve = |rate: f64| models.first().map_or(1.0, |best| best.model.at(known, rate));
        let points: Vec<Measured> = spots.iter().map(|spot| measured(spot, of, curve)).collect();
        models = fitted(kind, &points, known, rng);
    }
    models
}

/// Fits the models to the spots that are not checks and at which every arrival was served, and holds them to the
/// others.
pub(super) fn find(spots: &[Spot], known: &Known<'_>, seed: u64) -> Found {
    let mut rng = ChaCha8Rng::seed_from_u64(fork(seed, "responses"));
    let is_whole = |spot: &&Spot| spot.recording.unfinished == 0 && spot.recording.tasks() > 0;
    let mut whole: Vec<&Spot> = spots.iter().filter(is_whole).collect();
    // The pace has moved them a little.
    whole.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let mean: fn(&Pass) -> Outcome = |pass| pass.mean;
    let p99: fn(&Pass) -> Outcome = |pass| pass.p99;
    let to_fit: Vec<&Spot> = whole.iter().copied().filter(|spot| !spot.is_check).collect();
    let means = fitted_along(Of::Mean, mean, &to_fit, known, &mut rng);
    let p99s = fitted_along(Of::Quantile, p99, &to_fit, known, &mut rng);
    let (Some(best), Some(best_p99)) = (means.first(), p99s.first()) else { return Found::default() };
    let seen = |model: &Fitted, measured: Measured| Seen {
        prediction: model.predict(known, measured.rate, measured.error),
        measured: measured.response,
        error: measured.error,
    };
    let checks = spots.iter().filter(|spot| spot.is_check && spot.recording.tasks() > 0);
    let checks = checks.map(|spot| Response {
        rate: spot.rate,
        mean: seen(best, measured(spot, mean, |rate| best.model.at(known, rate))),
        p99: seen(best_p99, measured(spot, p99, |rate| best_p99.model.at(known, rate))),
    });
    let rates = whole.iter().map(|spot| spot.rate);
    let (least, most) = rates.fold((f64::INFINITY, 0.0_f64), |(least, most), rate| (least.min(rate), most.max(rate)));
    let foreseen = (0..=DRAWN).map(|n| {
        let rate = least + (most - least) * f64::from(n) / f64::from(DRAWN);
        Foreseen { rate, mean: best.predict(known, rate, 0.0), p99: best_p99.predict(known, rate, 0.0) }
    });
    Found { checks: checks.collect(), foreseen: foreseen.collect(), mean: means, p99: p99s }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::recording::Recording;
    use crate::capacity::slo::Kept;

    /// Passes at other rates than their spot's say what they would have come to at the spot's, and not their own median.
    #[test]
    fn passes_are_led_to_the_rate_of_their_spot_along_the_curve() {
        let curve = |rate: f64| 1e6 / (1.0 - rate / 500.0);
        let pass = |rate: f64| Pass {
            offered: Outcome { value: rate, error: 0.0 },
            mean: Outcome { value: curve(rate), error: 0.02 },
            ..Pass::default()
        };
        let passes: Vec<Pass> = [380.0, 390.0, 400.0, 450.0, 460.0].map(pass).to_vec();
        let spot = |rate| Spot {
            rate,
            is_check: true,
            recording: Recording::empty(),
            passes: passes.clone(),
            kept: Kept::Yes,
        };
        let mean: fn(&Pass) -> Outcome = |pass| pass.mean;
        for rate in [400.0, 420.0] {
            let led = measured(&spot(rate), mean, curve);
            assert!((led.response / curve(rate) - 1.0).abs() < 1e-9 && led.error < 0.02, "{led:?}");
        }
        // Without a curve, the middle one; beyond the end of a curve a pass is led as far as any.
        assert_eq!(measured(&spot(420.0), mean, |_| 1.0).response, curve(400.0));
        let ends = measured(&spot(420.0), mean, |rate| if rate > 430.0 { f64::INFINITY } else { curve(rate) });
        assert!(ends.response.is_finite() && ends.response > curve(420.0) * 0.99, "{ends:?}");
    }
}
