//! Tasks that were given up, and arrivals that nobody came to: more of them is a regression in itself,
//! for what is not done has no time in the lock that could be longer.
//!
//! They come in bursts, so within a run they are not independent: each run is one observation of their
//! share. The error is Student's over the runs, and never less than that of two proportions. One run a
//! side has nothing but the latter, so there a regression must be larger.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{FINE_RATE, Finding};
use crate::capacity::recording::Recording;

/// How much more of the arrivals may fail: one in a hundred, as in `bench`, whatever the threshold of times is.
pub const MORE_MAX: f64 = 0.01;
/// How much more than that it takes with one run a side.
pub(super) const LONE_MARGIN: f64 = 0.02;

/// The tasks of both sides that were given up or that nobody came to, as a part of the arrivals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failures {
    /// Before.
    pub base: f64,
    /// After.
    pub new: f64,
    /// How many more there are: 0.1 is one more of ten arrivals.
    pub change: f64,
    /// The change is at least this, but for one case in twenty.
    pub low: f64,
    /// The change is at most this, but for one case in twenty.
    pub high: f64,
    /// The probability of such a change, or a greater one, by chance alone, corrected for the number of metrics.
    pub p: f64,
    /// What is to be said.
    pub finding: Finding,
}

/// What failed of the runs of one side.
struct Side {
    arrivals: f64,
    share: f64,
    /// The squared differences of the runs' shares from that of all.
    squares: f64,
    runs: f64,
}

impl Side {
    fn of(runs: &[&Recording]) -> Self {
        let counts = || runs.iter().map(|run| (run.failed + run.unfinished, run.arrivals()));
        let (failed, arrivals) = counts().fold((0, 0), |sum, run| (sum.0 + run.0, sum.1 + run.1));
        let share = part(failed, arrivals);
        let squares = counts().map(|(failed, arrivals)| (part(failed, arrivals) - share).powi(2)).sum();
        Self { arrivals: arrivals.max(1) as f64, share, squares, runs: runs.len() as f64 }
    }
}

fn part(failed: u64, arrivals: u64) -> f64 {
    failed as f64 / arrivals.max(1) as f64
}

/// Compares the failures of two sides; neither corrected for other metrics nor judged.
pub(super) fn failures(base: &[&Recording], new: &[&Recording]) -> Failures {
    let [base, new] = [base, new].map(Side::of);
    let change = new.share - base.share;
    let (error, freedom) = error(&base, &new);
    let student = StudentsT::new(0.0, 1.0, freedom).expect("the degrees of freedom are above zero");
    let (p, reach) = if error > 0.0 {
        (student.sf(change / error), error * student.inverse_cdf(1.0 - FINE_RATE))
    } else {
        // None failed, or all did.
        (if change > 0.0 { 0.0 } else { 1.0 }, 0.0)
    };
    let (low, high) = (change - reach, change + reach);
    Failures { base: base.share, new: new.share, change, low, high, p, finding: Finding::Inconclusive }
}

/// The standard error of the change, and the degrees of freedom with which it is known.
fn error(base: &Side, new: &Side) -> (f64, f64) {
    let share = (base.share * base.arrivals + new.share * new.arrivals) / (base.arrivals + new.arrivals);
    let counted = share * (1.0 - share) * (1.0 / base.arrivals + 1.0 / new.arrivals);
    let freedom = base.runs + new.runs - 2.0;
    if freedom > 0.0 {
        let between = (base.squares + new.squares) / freedom * (1.0 / base.runs + 1.0 / new.runs);
        (between.max(counted).sqrt(), freedom)
    } else {
        (counted.sqrt(), (base.arrivals + new.arrivals - 2.0).max(1.0))
    }
}
