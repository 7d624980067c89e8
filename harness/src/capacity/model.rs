//! Models of what a load comes to, fitted to measured points; each says at points that it has not
//! seen how far off it is.
//!
//! [`usl`] knows nothing of locks; [`queue`] is the lock's own queues, with the machine as one more;
//! [`response`] is what an open loop's tasks take, [`flow`] what that has to do with closed loops, and [`corrected`] what
//! is missed by that.

pub mod corrected;
pub mod flow;
pub mod queue;
pub mod response;
pub mod search;
pub mod usl;

use serde::{Deserialize, Serialize};

/// The parts of the refits between which a prediction is said to lie: 90 % of them.
pub const BETWEEN: [f64; 2] = [0.05, 0.95];
/// What 90 % of a normal distribution keep within, in standard deviations.
const NINETY: f64 = 1.645;
/// The standard deviation of normal numbers by the mean of their distances from zero.
const DEVIATION: f64 = 1.2533;

/// A closed loop that was measured: how many workers, and how many tasks a second they came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClosedPoint {
    /// The workers.
    pub workers: u32,
    /// Tasks a second.
    pub rate: f64,
    /// The standard error of the rate's logarithm.
    pub error: f64,
    /// The mean response, in nanoseconds.
    pub response: f64,
    /// The longest response, in nanoseconds.
    pub longest: u64,
    /// How evenly the workers were served: 1 is evenly.
    pub fairness: f64,
}

/// An open loop that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenPoint {
    /// The tasks that arrived in a second.
    pub rate: f64,
    /// The mean response, in nanoseconds.
    pub mean: f64,
    /// Half, 90 %, 99 % and 99.9 % of the responses took at most this, in nanoseconds.
    pub quantiles: [u64; 4],
    /// The longest response, in nanoseconds.
    pub longest: u64,
    /// Whether it met the objective, for sure.
    pub met: bool,
    /// Whether it was too short to say.
    #[serde(default)]
    pub unsure: bool,
    /// The tasks that were recorded.
    pub tasks: u64,
    /// The tasks that came to their end in a second.
    #[serde(default)]
    pub done: f64,
}

/// The mean of the relative errors of predictions; `None` of none.
pub fn error(predicted_and_measured: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for (predicted, measured) in predicted_and_measured {
        sum += (predicted / measured - 1.0).abs();
        count += 1.0;
    }
    (count > 0.0).then(|| sum / count)
}

/// The values below which these parts of all lie; none of none.
pub fn quantiles<const N: usize>(mut values: Vec<f64>, parts: [f64; N]) -> Option<[f64; N]> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some(parts.map(|part| values[(last as f64 * part).round() as usize]))
}

/// Between which values a run lies in 90 of 100 cases of which a model says `said`, and refits to points that are off by
/// chance say `refits`; the run's own logarithm is off by `error`, and the model by `left_out` on average at points that it
/// has not seen. Errors of which none knows of the others add up as squares do.
pub fn between(said: f64, refits: Vec<f64>, error: f64, left_out: f64) -> [f64; 2] {
    // The mean of the distances is known, and a standard deviation is wanted.
    let own = left_out * DEVIATION;
    let wide = |edge: f64| {
        let fit = (edge / said).ln();
        (fit.powi(2) + NINETY.powi(2) * (error.powi(2) + own.powi(2))).sqrt()
    };
    let [low, high] = quantiles(refits, BETWEEN).unwrap_or([said; 2]).map(wide);
    [said * (-low).exp(), said * high.exp()]
}
