//! Whether a new version is slower than an old one: several metrics, held to one error rate.
//!
//! What is compared are ratios of sums (nanoseconds in the lock to tasks), on a logarithmic scale. How
//! far off one is by chance comes from [`series`], which knows that neighbouring intervals are alike,
//! and from how far a side's own runs differ; where the sides took turns, from how far the differences of runs that
//! were beside each other do, since whatever the machine was like then, both had it. Significance is Student's,
//! corrected after Holm (1979).
//!
//! A closed loop is seen by when its tasks ended, which makes its rate. An open loop is seen by when they
//! should have begun: those that ended too late to be within the run count, and those that never began.

pub mod failures;
pub mod machine;
pub mod series;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::recording::{Intended, Interval, Recording};
use failures::{Failures, failures};
use series::{Estimate, estimate};

/// How often a suite of metrics may call a regression where there is none.
pub const ERROR_RATE: f64 = 0.01;
/// How sure one must be that a metric is not worse by the threshold, to say that it is fine.
const FINE_RATE: f64 = 0.05;
/// The fewest intervals of a run that say anything about chance.
const INTERVALS_MIN: usize = 20;
/// How far runs of one version are taken to be apart, as a standard deviation, where one run a side does not show it.
const APART_ASSUMED: f64 = 0.01;
/// How much more than the threshold a regression must be with one run a side: chance is only assumed there. Alike
/// versions whose runs are 2 % apart come to this in fewer than one of a hundred suites.
pub const LONE_MARGIN: f64 = 0.10;
/// The fewest rounds that are recommended to who has one.
const ROUNDS_MIN: u32 = 5;
/// The most rounds that are ever asked for.
const ROUNDS_MAX: u32 = 10_000;

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
    fn of(self, sums: &Sums) -> (f64, f64) {
        match self {
            Self::InLock => (sums.in_lock, sums.tasks),
            Self::LockWait => (sums.lock_wait, sums.tasks),
            Self::Rate => (sums.length, sums.tasks),
            Self::Response => (sums.response, sums.arrivals),
        }
    }
}

/// An interval of a run, as it is seen. Times are in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Sums {
    /// How much of the interval was recorded.
    length: f64,
    tasks: f64,
    in_lock: f64,
    lock_wait: f64,
    /// The tasks, and who nobody came to.
    arrivals: f64,
    response: f64,
}

impl Sums {
    fn of_tasks(interval: &Interval) -> Self {
        Self {
            length: 1.0,
            tasks: interval.done as f64,
            in_lock: interval.in_lock as f64,
            lock_wait: interval.lock_wait as f64,
            arrivals: interval.done as f64,
            response: interval.response as f64,
        }
    }

    fn of_arrivals(interval: &Intended) -> Self {
        let performed = Self::of_tasks(&interval.performed);
        let arrivals = performed.arrivals + interval.unfinished as f64;
        Self { arrivals, response: performed.response + interval.waited as f64, ..performed }
    }
}

/// What the runs are, and so what can be asked of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suite {
    /// They are closed loops.
    pub closed: bool,
    /// Their tasks have a section in the lock.
    pub sections: bool,
    /// Their tasks wait for a lock.
    pub locks: bool,
    /// How far the machines are apart, on a logarithmic scale: see [`machine::shift`].
    pub shift: f64,
    /// The sides took turns: each run of one was right before or after that run of the other.
    pub in_turns: bool,
}

impl Suite {
    fn metrics(self) -> Vec<Metric> {
        let mut metrics = Vec::new();
        metrics.extend(self.sections.then_some(Metric::InLock));
        metrics.extend(self.locks.then_some(Metric::LockWait));
        metrics.push(if self.closed { Metric::Rate } else { Metric::Response });
        metrics
    }

    /// The intervals of a run.
    fn seen(self, run: &Recording) -> Vec<Sums> {
        if !self.closed {
            return run.intended.iter().map(Sums::of_arrivals).collect();
        }
        let mut seen: Vec<Sums> = run.series.iter().map(Sums::of_tasks).collect();
        seen.iter_mut().rev().take(1).for_each(|last| last.length = run.last_interval());
        seen
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
    /// The same of each run, before and after; reports of earlier versions do not say it.
    #[serde(default)]
    pub runs: [Vec<f64>; 2],
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

/// All that is to be said of both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What tasks took, and how many there were.
    pub metrics: Vec<Compared>,
    /// What was not done.
    pub failures: Failures,
}

impl Comparison {
    /// What follows from it.
    pub fn overall(&self) -> Finding {
        overall(self.metrics.iter().map(|metric| metric.finding).chain([self.failures.finding]))
    }
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
    /// A run does not say what is asked.
    #[error(
        "{side} has a run of an open loop that does not say when its tasks should have begun: an earlier version \
         recorded it; record it again"
    )]
    Unsaid {
        /// Whose.
        side: &'static str,
    },
    /// Nothing was done.
    #[error("{side} has a run in which no task came to its end")]
    Nothing {
        /// Whose.
        side: &'static str,
    },
}

/// Compares the runs of two sides; `threshold` 0.05 is five per cent.
///
/// # Errors
/// See [`CompareError`].
pub fn compare(
    base: &[&Recording],
    new: &[&Recording],
    suite: Suite,
    threshold: f64,
) -> Result<Comparison, CompareError> {
    sound("the base", base, suite)?;
    sound("the new version", new, suite)?;
    let lone = base.len() == 1 && new.len() == 1;
    let compared = suite.metrics().into_iter().map(|metric| one(metric, suite, [base, new]));
    let (mut metrics, changes): (Vec<Compared>, Vec<Change>) = compared.unzip();
    let mut failures = failures(base, new);
    // Where nothing failed there was nothing to be wrong about, and nothing to be corrected for (Tarone, 1990).
    let failed = (failures.base + failures.new > 0.0).then_some(&mut failures.p);
    correct(metrics.iter_mut().map(|metric| &mut metric.p).chain(failed).collect());
    for (metric, change) in metrics.iter_mut().zip(changes) {
        let margin = if lone { LONE_MARGIN } else { 0.0 };
        metric.finding = finding(metric.p, metric.change, metric.high, [threshold, margin]);
        if metric.finding == Finding::Inconclusive {
            metric.rounds_needed = Some(change.rounds_needed(threshold, base.len().min(new.len())));
        }
    }
    let margin = if lone { failures::LONE_MARGIN } else { 0.0 };
    failures.finding = finding(failures.p, failures.change, failures.high, [failures::MORE_MAX, margin]);
    Ok(Comparison { metrics, failures })
}

/// Corrects probabilities for their number (Holm): the smallest against all, the next one against one fewer, and so on.
fn correct(mut probabilities: Vec<&mut f64>) {
    probabilities.sort_by(|a, b| a.total_cmp(b));
    let (count, mut least) = (probabilities.len(), 0.0_f64);
    for (index, p) in probabilities.into_iter().enumerate() {
        least = least.max(*p * (count - index) as f64).min(1.0);
        *p = least;
    }
}

/// What is to be said of a change that may be `threshold`, and that is a regression from `margin` above that on.
fn finding(p: f64, change: f64, high: f64, [threshold, margin]: [f64; 2]) -> Finding {
    if p <= ERROR_RATE && change > threshold + margin {
        Finding::Regression
    } else if high < threshold {
        Finding::Fine
    } else {
        Finding::Inconclusive
    }
}

/// What follows from several findings: one regression is one, and nothing is fine that has no answer.
pub fn overall(findings: impl IntoIterator<Item = Finding>) -> Finding {
    let worse = |a, b| match (a, b) {
        (Finding::Regression, _) | (_, Finding::Regression) => Finding::Regression,
        (Finding::Inconclusive, _) | (_, Finding::Inconclusive) => Finding::Inconclusive,
        (Finding::Fine, Finding::Fine) => Finding::Fine,
    };
    findings.into_iter().reduce(worse).unwrap_or(Finding::Inconclusive)
}

fn sound(side: &'static str, runs: &[&Recording], suite: Suite) -> Result<(), CompareError> {
    if runs.is_empty() {
        return Err(CompareError::Empty { side });
    }
    for run in runs {
        if run.series.len() < INTERVALS_MIN {
            return Err(CompareError::Short { side, intervals: run.series.len() });
        }
        if !suite.closed && run.intended.is_empty() {
            return Err(CompareError::Unsaid { side });
        }
        if suite.seen(run).iter().all(|sums| sums.tasks <= 0.0) {
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
        let tells = |more: u32| {
            let error = self.error * (rounds as f64 / f64::from(more)).sqrt();
            // More rounds also know better how far apart runs are.
            let freedom = self.freedom * f64::from(more - 1) / (rounds as f64 - 1.0).max(1.0);
            error * Self { freedom, ..*self }.student().inverse_cdf(1.0 - rate) <= distance
        };
        // Who has one run a side has an error that was assumed.
        let least = if rounds == 1 { ROUNDS_MIN } else { u32::try_from(rounds).unwrap_or(u32::MAX).saturating_add(1) };
        let (mut low, mut high) = (least, ROUNDS_MAX.max(least));
        while low < high {
            let middle = low + (high - low) / 2;
            if tells(middle) { high = middle } else { low = middle + 1 }
        }
        low
    }
}

fn one(metric: Metric, suite: Suite, sides: [&[&Recording]; 2]) -> (Compared, Change) {
    let [before, after] = sides.map(|runs| Side::of(metric, suite, runs));
    let change = difference(&before, &after, suite);
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
        runs: [&before, &after].map(|side| side.runs.iter().map(|log| shown(*log)).collect()),
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
    /// Each run's own.
    runs: Vec<f64>,
}

impl Side {
    fn of(metric: Metric, suite: Suite, runs: &[&Recording]) -> Self {
        let pairs = |run: &Recording| suite.seen(run).iter().map(|sums| metric.of(sums)).collect::<Vec<_>>();
        let estimates: Vec<Estimate> = runs.iter().map(|run| estimate(&pairs(run))).collect();
        let runs: Vec<f64> = estimates.iter().map(|one| one.log).collect();
        Self {
            log: mean(&runs),
            within: estimates.iter().map(|one| one.error.powi(2)).sum::<f64>() / (runs.len() as f64).powi(2),
            freedom_within: estimates.iter().map(|one| one.freedom).sum(),
            runs,
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The squared differences of values from their mean.
fn squares(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

/// How far the difference of the sides' means may be off by what varies from run to run, squared, and the degrees of
/// freedom with which that is known: none where there is one run a side.
fn between(base: &[f64], new: &[f64], in_turns: bool) -> (f64, f64) {
    let (before, after) = (base.len() as f64, new.len() as f64);
    if in_turns && base.len() == new.len() {
        let differences: Vec<f64> = base.iter().zip(new).map(|(base, new)| new - base).collect();
        return (squares(&differences) / (before - 1.0) / before, before - 1.0);
    }
    let freedom = before + after - 2.0;
    ((squares(base) + squares(new)) / freedom * (1.0 / before + 1.0 / after), freedom)
}

/// The difference of two sides. Of what varies within runs and what varies between them the greater
/// one counts: the former is part of the latter, but seen through more numbers. What varies between runs
/// is assumed where there is one a side, with what the machines are apart, and comes on top of what varies within.
fn difference(base: &Side, new: &Side, Suite { in_turns, shift, .. }: Suite) -> Change {
    let log = new.log - base.log;
    let within = base.within + new.within;
    let freedom_within = base.freedom_within + new.freedom_within;
    let (between, freedom) = between(&base.runs, &new.runs, in_turns);
    if freedom <= 0.0 {
        let assumed = APART_ASSUMED.powi(2) * 2.0 + shift.powi(2);
        return Change { log, error: (within + assumed).sqrt(), freedom: freedom_within };
    }
    if between > within {
        Change { log, error: between.sqrt(), freedom }
    } else {
        // Of few pairs the differences may be small by chance, and then nobody knows how far apart runs are.
        Change { log, error: within.sqrt(), freedom: if in_turns { freedom } else { freedom_within } }
    }
}

#[cfg(test)]
mod tests;
