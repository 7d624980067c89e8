//! The flow-equivalent server, corrected by what it misses at the points around.
//!
//! A model of three parameters does not bend where flushes begin to be shared or processors to be full, and what it misses
//! at one rate it misses at the next: its discrepancy (Kennedy and O'Hagan, 2001). That is known at the points it was
//! fitted to, as far as these are sure, and lies on straight lines between them.

use serde::{Deserialize, Serialize};

use super::flow::Flow;
use super::response::Measured;

/// How far the server is expected to be off where nobody has looked: the standard deviation of the logarithm. A point that
/// is as unsure itself shows a half of what is missed.
const OFF: f64 = 0.07;

/// The fitted server, and what it misses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Corrected {
    /// The server.
    pub flow: Flow,
    /// By the rate, the logarithm of the response that is thought to be there over the one that the server says.
    pub missed: Vec<(f64, f64)>,
}

impl Corrected {
    /// Fits it to points in the order of their rates; `closed` are the rates of 1, 2, … workers.
    pub fn fit(points: &[Measured], closed: &[f64]) -> Self {
        let flow = Flow::fit(points, closed);
        let missed = |point: &Measured| {
            let missed = (point.response / flow.at(closed, point.rate)).ln();
            let part = OFF.powi(2) / (OFF.powi(2) + point.error.powi(2));
            (point.rate, if missed.is_finite() { missed * part } else { 0.0 })
        };
        Self { flow, missed: points.iter().map(missed).collect() }
    }

    /// The response at a rate, in nanoseconds; infinite where a queue only grows.
    pub fn at(&self, closed: &[f64], rate: f64) -> f64 {
        self.flow.at(closed, rate) * self.missed_at(rate).exp()
    }

    /// Before the first point and after the last one, what is missed there.
    fn missed_at(&self, rate: f64) -> f64 {
        let after = self.missed.partition_point(|(at, _)| *at < rate);
        match (after.checked_sub(1).map(|before| self.missed[before]), self.missed.get(after)) {
            (Some((low, below)), Some((high, above))) => below + (above - below) * (rate - low) / (high - low),
            (Some((_, missed)), None) | (None, Some(&(_, missed))) => missed,
            (None, None) => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: [f64; 4] = [799.0, 1_115.0, 1_501.0, 1_652.0];

    /// A real run: from half to two thirds of the rate tasks take no longer, since flushes are shared more and more. The
    /// server says less at 819/s and more at 1,138/s than is measured.
    #[test]
    fn what_is_missed_at_the_points_around_is_added_in_between() {
        let point = |(rate, millis, error): (f64, f64, f64)| Measured { rate, response: millis * 1e6, error };
        let points = [
            (330.0, 1.71, 0.022),
            (661.0, 2.20, 0.027),
            (991.0, 2.53, 0.047),
            (1_222.0, 2.81, 0.039),
            (1_404.0, 3.92, 0.06),
        ];
        let points = points.map(point);
        let corrected = Corrected::fit(&points, &CLOSED);
        let off = |response: f64, measured: f64| (response / measured - 1.0).abs();
        let checks = [(504.7, 1.85e6), (818.9, 2.54e6), (1_137.9, 2.54e6), (1_295.1, 3.29e6)];
        let [with, without] = [true, false].map(|is_corrected| {
            checks.map(|(rate, measured)| {
                let alone = corrected.flow.at(&CLOSED, rate);
                off(if is_corrected { corrected.at(&CLOSED, rate) } else { alone }, measured)
            })
        });
        assert!(with.iter().all(|off| *off < 0.11), "{with:?}");
        assert!(without.iter().any(|off| *off > 0.13), "the server alone is further off: {without:?}");
    }

    #[test]
    fn a_point_that_is_not_sure_corrects_little_and_ends_correct_as_their_point_does() {
        let flow = Flow { base: 1e6, weight: 1.0, scale: 1.0 };
        let corrected = Corrected { flow, missed: vec![(100.0, 0.1), (300.0, 0.3)] };
        let missed = [50.0, 100.0, 200.0, 300.0, 900.0].map(|rate| corrected.missed_at(rate));
        let expected = [0.1, 0.1, 0.2, 0.3, 0.3];
        assert!(missed.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{missed:?}");
        assert_eq!(Corrected { flow, missed: Vec::new() }.missed_at(5.0), 0.0);
        let point = |error| Measured { rate: 500.0, response: 4e6, error };
        let others = [200.0, 800.0].map(|rate| Measured { rate, response: flow.at(&CLOSED, rate), error: 0.01 });
        let of = |error| {
            let points = [others[0], point(error), others[1]];
            Corrected::fit(&points, &CLOSED).missed[1].1
        };
        assert!(of(0.01) > 5.0 * of(0.3) && of(0.3) > 0.0, "{} and {}", of(0.01), of(0.3));
        // Where the server has no end, nothing is known to be missed.
        let beyond = Measured { rate: 9_000.0, ..point(0.01) };
        assert!(Corrected::fit(&[others[0], beyond], &CLOSED).missed.iter().all(|(_, missed)| missed.is_finite()));
    }
}
