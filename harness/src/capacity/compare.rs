//! Whether a new version is slower than an old one: several metrics, held to one error rate.
//!
//! What is compared are ratios of sums (nanoseconds in the lock to tasks), on a logarithmic scale. How
//! far off one is by chance comes from [`series`], which knows that neighbouring intervals are alike,
//! and from how far a side's own runs differ. Significance is Student's, corrected after Holm (1979).

pub mod series;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::recording::{Interval, Recording};
use series::{Estimate, estimate};

/// How often a suite of metrics may call a regression where there is none.
pub const ERROR_RATE: f64 = 0.01;
/// How sure one must be that a metric is not worse by the threshold, to say that it is fine.
const FINE_RATE: f64 = 0.05;
/// The fewest intervals of a run that say anything about chance.
const INTERVALS_MIN: usize = 20;
/// The most rounds that are ever asked for.
const ROUNDS_MAX: f64 = 10_000.0;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The time in the lock, a task.
    InLock,
    /// The wait for the lock, a task.
    LockWait,
    /// The tasks a second that a closed loop comes to.
    Rate,
    /// The response of an open loop's tasks, from their intended start.
    Response,
}

impl Metric {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InLock => "time in the lock",
            Self::LockWait => "wait for the lock",
            Self::Rate => "maximum rate",
            Self::Response => "response",
        }
    }

    /// The numerator and the denominator in an interval: their ratio grows where it becomes worse.
    fn of(self, interval: &Interval) -> (f64, f64) {
        match self {
            Self::InLock => (interval.in_lock as f64, interval.done as f64),
            Self::LockWait => (interval.lock_wait as f64, interval.done as f64),
            Self::Rate => (1.0, interval.done as f64),
            Self::Response => (interval.response as f64, interval.done as f64),
        }
    }
}

/// What is to be said of a metric, or of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// It is not worse by the threshold.
    Fine,
    /// It is worse, by more than the threshold, and not by chance.
    Regression,
    /// The noise allows no answer.
    Inconclusive,
}

/// One metric of both sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Which one.
    pub metric: Metric,
    /// Before: nanoseconds, or tasks a second.
    pub base: f64,
    /// After.
    pub new: f64,
    /// How much worse it is: 0.1 is a tenth.
    pub change: f64,
    /// The change is at least this, but for one case in twenty.
    pub low: f64,
    /// The change is at most this, but for one case in twenty.
    pub high: f64,
    /// The probability of such a change, or a greater one, by chance alone, corrected for the number of metrics.
    pub p: f64,
    /// What is to be said.
    pub finding: Finding,
    /// How many rounds on each side should allow an answer, where these do not.
    pub rounds_needed: Option<u32>,
}

/// Why two sides cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// A side has no run.
    #[error("{side} has no run")]
    Empty {
        /// `the base` or `the new version`.
        side: &'static str,
    },
    /// A run is too short.
    #[error("{side} has a run of {intervals} intervals; at least {INTERVALS_MIN} are needed (2 s)")]
    Short {
        /// Whose.
        side: &'static str,
        /// How long it is.
        intervals: usize,
    },
    /// Nothing was done.
    #[error("{side} has a run in which no task came to its end")]
    Nothing {
        /// Whose.
        side: &'static str,
    },
}

/// The metrics that a load has.
pub fn metrics(closed: bool, locks: bool) -> Vec<Metric> {
    let mut metrics = vec![Metric::InLock];
    metrics.extend(locks.then_some(Metric::LockWait));
    metrics.push(if closed { Metric::Rate } else { Metric::Response });
    metrics
}

/// Compares the runs of two sides; `threshold` 0.05 is five per cent.
///
/// # Errors
/// See [`CompareError`].
pub fn compare(
    base: &[&Recording],
    new: &[&Recording],
    metrics: &[Metric],
    threshold: f64,
) -> Result<Vec<Compared>, CompareError> {
    sound("the base", base)?;
    sound("the new version", new)?;
    let mut compared: Vec<(Compared, Change)> = metrics.iter().map(|metric| one(*metric, base, new)).collect();
    // Holm: the smallest probability against all, the next one against one fewer, and so on.
    compared.sort_by(|(a, _), (b, _)| a.p.total_cmp(&b.p));
    let (count, mut least) = (compared.len(), 0.0_f64);
    for (index, (metric, _)) in compared.iter_mut().enumerate() {
        least = least.max(metric.p * (count - index) as f64).min(1.0);
        metric.p = least;
    }
    for (metric, change) in &mut compared {
        let significant = metric.p <= ERROR_RATE;
        metric.finding = if significant && metric.change > threshold {
            Finding::Regression
        } else if metric.high < threshold {
            Finding::Fine
        } else {
            Finding::Inconclusive
        };
        if metric.finding == Finding::Inconclusive {
            metric.rounds_needed = Some(change.rounds_needed(threshold, base.len().min(new.len())));
        }
    }
    compared.sort_by_key(|(metric, _)| metric.metric);
    Ok(compared.into_iter().map(|(metric, _)| metric).collect())
}

/// What follows from the metrics: one regression is one, and nothing is fine that has no answer.
pub fn overall(compared: &[Compared]) -> Finding {
    let any = |finding| compared.iter().any(|metric| metric.finding == finding);
    if any(Finding::Regression) {
        Finding::Regression
    } else if any(Finding::Inconclusive) || compared.is_empty() {
        Finding::Inconclusive
    } else {
        Finding::Fine
    }
}

fn sound(side: &'static str, runs: &[&Recording]) -> Result<(), CompareError> {
    if runs.is_empty() {
        return Err(CompareError::Empty { side });
    }
    for run in runs {
        if run.series.len() < INTERVALS_MIN {
            return Err(CompareError::Short { side, intervals: run.series.len() });
        }
        if run.series.iter().all(|interval| interval.done == 0) {
            return Err(CompareError::Nothing { side });
        }
    }
    Ok(())
}

/// The change of a metric on a logarithmic scale, and how far it may be off.
struct Change {
    log: f64,
    error: f64,
    freedom: f64,
}

impl Change {
    fn student(&self) -> StudentsT {
        StudentsT::new(0.0, 1.0, self.freedom).expect("the degrees of freedom are above zero")
    }

    /// How many rounds bring the error down to what tells this change from the threshold, or from none
    /// where it is above the threshold.
    fn rounds_needed(&self, threshold: f64, rounds: usize) -> u32 {
        let threshold = threshold.ln_1p();
        let (distance, rate) =
            if self.log > threshold { (self.log, ERROR_RATE / 2.0) } else { (threshold - self.log, FINE_RATE) };
        let wanted = distance / self.student().inverse_cdf(1.0 - rate);
        let factor = (self.error / wanted.max(f64::MIN_POSITIVE)).powi(2);
        let needed = (rounds as f64 * factor).ceil().clamp(rounds as f64 + 1.0, ROUNDS_MAX);
        needed as u32
    }
}

fn one(metric: Metric, base: &[&Recording], new: &[&Recording]) -> (Compared, Change) {
    let [before, after] = [base, new].map(|runs| Side::of(metric, runs));
    let change = difference(&before, &after);
    let shown = |log: f64| match metric {
        Metric::Rate => 1.0 / (log.exp() * super::recording::SERIES_INTERVAL.as_secs_f64()),
        _ => log.exp(),
    };
    let student = change.student();
    let (p, reach) = if change.error > 0.0 {
        (student.sf(change.log / change.error), change.error * student.inverse_cdf(1.0 - FINE_RATE))
    } else {
        // Nothing varies at all: two constants are alike or are not.
        (if change.log > 0.0 { 0.0 } else { 1.0 }, 0.0)
    };
    let compared = Compared {
        metric,
        base: shown(before.log),
        new: shown(after.log),
        change: change.log.exp_m1(),
        low: (change.log - reach).exp_m1(),
        high: (change.log + reach).exp_m1(),
        p,
        finding: Finding::Inconclusive,
        rounds_needed: None,
    };
    (compared, change)
}

/// One side's runs together.
struct Side {
    log: f64,
    /// How far the mean of the runs may be off, by what varies within them.
    within: f64,
    freedom_within: f64,
    /// The squared differences of the runs from their mean.
    squares: f64,
    runs: f64,
}

impl Side {
    fn of(metric: Metric, runs: &[&Recording]) -> Self {
        let estimates: Vec<Estimate> = runs
            .iter()
            .map(|run| estimate(&run.series.iter().map(|interval| metric.of(interval)).collect::<Vec<_>>()))
            .collect();
        let count = estimates.len() as f64;
        let log = estimates.iter().map(|one| one.log).sum::<f64>() / count;
        let variance = estimates.iter().map(|one| one.error.powi(2)).sum::<f64>() / count.powi(2);
        Self {
            log,
            within: variance,
            freedom_within: estimates.iter().map(|one| one.freedom).sum(),
            squares: estimates.iter().map(|one| (one.log - log).powi(2)).sum(),
            runs: count,
        }
    }
}

/// The difference of two sides. Of what varies within runs and what varies between them the greater
/// one counts: the former is part of the latter, but seen through more numbers.
fn difference(base: &Side, new: &Side) -> Change {
    let log = new.log - base.log;
    let within = base.within + new.within;
    let freedom_within = base.freedom_within + new.freedom_within;
    let freedom_between = base.runs + new.runs - 2.0;
    let between = if freedom_between > 0.0 {
        (base.squares + new.squares) / freedom_between * (1.0 / base.runs + 1.0 / new.runs)
    } else {
        0.0
    };
    if between > within {
        Change { log, error: between.sqrt(), freedom: freedom_between }
    } else {
        Change { log, error: within.sqrt(), freedom: freedom_within }
    }
}

#[cfg(test)]
mod tests;
