//! The Universal Scalability Law (Gunther, 1993): what N workers come to, by a rate for one, a part σ
//! that is done one at a time, and a part κ that each pair of workers costs.

use serde::{Deserialize, Serialize};

use super::ClosedPoint;
use super::search::least;

/// The smallest value that a parameter is searched down to.
const LEAST: f64 = 1e-9;

/// A fitted law.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Usl {
    /// Tasks a second of one worker.
    pub lambda: f64,
    /// The part that is done one at a time, 0 to 1.
    pub sigma: f64,
    /// What each pair costs.
    pub kappa: f64,
}

/// Why the law does not apply.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum UslError {
    /// There are fewer points than parameters.
    #[error("the law has three parameters, and there are {0} points")]
    Points(usize),
    /// More than everything would be done one at a time.
    #[error("it would need σ = {sigma:.2}, and above 1 that means nothing")]
    Sigma {
        /// The fitted value.
        sigma: f64,
    },
}

impl Usl {
    /// Fits the law.
    ///
    /// # Errors
    /// See [`UslError`].
    pub fn fit(points: &[ClosedPoint]) -> Result<Self, UslError> {
        let first = points.iter().min_by_key(|point| point.workers).filter(|_| points.len() >= 3);
        let first = first.ok_or(UslError::Points(points.len()))?;
        let start = [(first.rate / f64::from(first.workers)).ln(), 0.1_f64.ln(), 0.001_f64.ln()];
        let law = |[lambda, sigma, kappa]: &[f64; 3]| Self {
            lambda: lambda.exp(),
            sigma: sigma.exp().max(LEAST),
            kappa: kappa.exp().max(LEAST),
        };
        let squares = |place: &[f64; 3]| {
            let law = law(place);
            points.iter().map(|point| (law.rate(f64::from(point.workers)) / point.rate).ln().powi(2)).sum()
        };
        let fitted = law(&least(start, squares));
        if fitted.sigma > 1.0 { Err(UslError::Sigma { sigma: fitted.sigma }) } else { Ok(fitted) }
    }

    /// What this many workers come to.
    pub fn rate(&self, workers: f64) -> f64 {
        self.lambda * workers / (1.0 + self.sigma * (workers - 1.0) + self.kappa * workers * (workers - 1.0))
    }

    /// The workers beyond which more hurt; infinite where none do.
    pub fn peak(&self) -> f64 {
        if self.kappa <= 2.0 * LEAST { f64::INFINITY } else { ((1.0 - self.sigma) / self.kappa).sqrt().max(1.0) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Points of a law, without noise.
    pub(crate) fn points(rate: impl Fn(f64) -> f64) -> Vec<ClosedPoint> {
        let point = |workers: u32| {
            let rate = rate(f64::from(workers));
            let response = f64::from(workers) * 1e9 / rate;
            ClosedPoint { workers, rate, error: 0.01, response, longest: 0, fairness: 1.0 }
        };
        [1, 2, 4, 8, 16, 32].map(point).into()
    }

    #[test]
    fn the_parameters_of_a_law_are_found_again() {
        let law = Usl { lambda: 500.0, sigma: 0.08, kappa: 0.002 };
        let found = Usl::fit(&points(|workers| law.rate(workers))).unwrap();
        assert!((found.lambda / law.lambda - 1.0).abs() < 0.02, "{found:?}");
        assert!((found.sigma - law.sigma).abs() < 0.01 && (found.kappa - law.kappa).abs() < 0.0005, "{found:?}");
        assert!((found.peak() - law.peak()).abs() < 3.0, "{}", found.peak());
    }

    #[test]
    fn a_law_that_would_mean_nothing_is_refused() {
        // Two workers come to less than one: that is no serial part.
        let falling = |workers: f64| 500.0 * workers / (1.0 + 1.96 * (workers - 1.0));
        let refused = Usl::fit(&points(falling)).unwrap_err();
        assert!(matches!(refused, UslError::Sigma { sigma } if (1.8..2.1).contains(&sigma)), "{refused:?}");
        assert_eq!(Usl::fit(&points(falling)[..2]), Err(UslError::Points(2)));
    }
}
