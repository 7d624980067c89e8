//! What a load came to: histograms and counts, all of which add up exactly.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::parts::{Part, coarse};
use super::phase::Phase;

/// The tries that are told apart; more count as these.
pub const ATTEMPTS_MAX: usize = 100;
/// How long an interval of the series is.
pub const SERIES_INTERVAL: Duration = Duration::from_millis(100);
/// The longest time that a histogram tells from a longer one, in nanoseconds.
pub(super) const LONGEST: u64 = 3_600_000_000_000;

/// An empty histogram of nanoseconds: three significant digits above half a millisecond, half a
/// microsecond below, up to an hour. All are alike, so that they can be added without loss.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(512, LONGEST, 3).expect("the bounds are far enough apart")
}

/// What one worker, or one key, had of the tasks. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Its tasks.
    pub tasks: u64,
    /// Their responses, added up.
    pub response: u64,
    /// The longest response.
    pub response_max: u64,
    /// Their waits for the lock, added up.
    pub lock_wait: u64,
    /// The longest wait for the lock.
    pub lock_wait_max: u64,
    /// The time for which they held it, added up.
    pub in_lock: u64,
}

impl Share {
    /// Counts one task.
    pub fn add(&mut self, response: u64, lock_wait: u64, in_lock: u64) {
        let one = Self { tasks: 1, response, response_max: response, lock_wait, lock_wait_max: lock_wait, in_lock };
        self.merge(&one);
    }

    /// Adds another one.
    pub fn merge(&mut self, other: &Self) {
        self.tasks += other.tasks;
        self.response = self.response.saturating_add(other.response);
        self.response_max = self.response_max.max(other.response_max);
        self.lock_wait = self.lock_wait.saturating_add(other.lock_wait);
        self.lock_wait_max = self.lock_wait_max.max(other.lock_wait_max);
        self.in_lock = self.in_lock.saturating_add(other.in_lock);
    }
}

/// The tasks that were done in one interval of the run. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// How many.
    pub done: u64,
    /// Their responses, added up.
    pub response: u64,
    /// Their waits for the lock, added up.
    pub lock_wait: u64,
    /// The time for which they held it, added up.
    pub in_lock: u64,
}

impl Interval {
    /// Counts one task.
    pub fn add(&mut self, response: u64, lock_wait: u64, in_lock: u64) {
        self.merge(&Self { done: 1, response, lock_wait, in_lock });
    }

    /// Adds another one.
    pub fn merge(&mut self, other: &Self) {
        self.done += other.done;
        self.response = self.response.saturating_add(other.response);
        self.lock_wait = self.lock_wait.saturating_add(other.lock_wait);
        self.in_lock = self.in_lock.saturating_add(other.in_lock);
    }
}

/// The tasks that should have begun in one interval of the run, whenever they ended. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intended {
    /// Those that somebody came to, those that were given up included.
    pub performed: Interval,
    /// Those that nobody came to before the end.
    pub unfinished: u64,
    /// How long these had waited by then, added up.
    pub waited: u64,
}

impl Intended {
    /// Counts an arrival that nobody came to.
    pub fn leave(&mut self, waited: u64) {
        self.merge(&Self { performed: Interval::default(), unfinished: 1, waited });
    }

    /// Adds another one.
    pub fn merge(&mut self, other: &Self) {
        self.performed.merge(&other.performed);
        self.unfinished += other.unfinished;
        self.waited = self.waited.saturating_add(other.waited);
    }
}

/// What a load came to. The histograms are written as a log beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// The time spent on each phase that occurred, in nanoseconds a task.
    #[serde(skip)]
    pub histograms: BTreeMap<Phase, Histogram<u64>>,
    /// The same by worker, by key and by a script's step, in nanoseconds a task.
    #[serde(skip)]
    pub parts: BTreeMap<Part, Histogram<u64>>,
    /// How many tasks tried this often.
    pub attempts: Vec<u64>,
    /// What each worker had.
    pub workers: Vec<Share>,
    /// What each key had.
    pub keys: Vec<Share>,
    /// What was done in each [`SERIES_INTERVAL`] after the warm-up.
    pub series: Vec<Interval>,
    /// What should have begun in each [`SERIES_INTERVAL`] after the warm-up; empty in reports of versions that did
    /// not record it.
    #[serde(default)]
    pub intended: Vec<Intended>,
    /// How long it was recorded, of which the last interval may be a part only; zero in reports of versions that
    /// did not say it.
    #[serde(default)]
    pub measured: Duration,
    /// The tasks that were given up, or whose connection was lost.
    pub failed: u64,
    /// The arrivals that nobody came to before the end.
    pub unfinished: u64,
    /// The errors of operations, by SQLSTATE, SQLite's code or class.
    pub errors: BTreeMap<String, u64>,
}

impl Recording {
    /// Of nothing.
    pub fn empty() -> Self {
        Self {
            histograms: BTreeMap::new(),
            parts: BTreeMap::new(),
            attempts: vec![0; ATTEMPTS_MAX + 1],
            workers: Vec::new(),
            keys: Vec::new(),
            series: Vec::new(),
            intended: Vec::new(),
            measured: Duration::ZERO,
            failed: 0,
            unfinished: 0,
            errors: BTreeMap::new(),
        }
    }

    /// Adds what another generator recorded at the same time: its workers are others.
    pub fn merge(&mut self, other: &Self) {
        let mut apart = other.clone();
        let mut workers = vec![Share::default(); self.workers.len()];
        let before = u32::try_from(workers.len()).unwrap_or(u32::MAX);
        workers.append(&mut apart.workers);
        apart.workers = workers;
        apart.parts = apart.parts.into_iter().map(|(part, histogram)| (part.after(before), histogram)).collect();
        self.add_shard(&apart);
    }

    /// Adds what the same workers did after it: the intervals of `later` follow.
    pub fn follow(&mut self, later: &Self) {
        let (mut series, mut intended) = (std::mem::take(&mut self.series), std::mem::take(&mut self.intended));
        series.extend(&later.series);
        intended.extend(&later.intended);
        let measured = self.measured + later.measured;
        self.add_shard(later);
        self.series = series;
        self.intended = intended;
        self.measured = measured;
    }

    /// Adds what another thread recorded of the same workers.
    pub(super) fn add_shard(&mut self, other: &Self) {
        for (phase, added) in &other.histograms {
            let total = self.histograms.entry(*phase).or_insert_with(histogram);
            total.add(added).expect("all histograms have the same bounds");
        }
        for (part, added) in &other.parts {
            let total = self.parts.entry(part.clone()).or_insert_with(coarse);
            total.add(added).expect("all of them have the same bounds");
        }
        merge_lists(&mut self.attempts, &other.attempts, |total, added| *total += *added);
        merge_lists(&mut self.workers, &other.workers, Share::merge);
        merge_lists(&mut self.keys, &other.keys, Share::merge);
        merge_lists(&mut self.series, &other.series, Interval::merge);
        merge_lists(&mut self.intended, &other.intended, Intended::merge);
        self.measured = self.measured.max(other.measured);
        self.failed += other.failed;
        self.unfinished += other.unfinished;
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
    }

    /// The tasks that are recorded, those given up included.
    pub fn tasks(&self) -> u64 {
        self.workers.iter().map(|share| share.tasks).sum()
    }

    /// The arrivals that are recorded, those that nobody came to included.
    pub fn arrivals(&self) -> u64 {
        self.tasks() + self.unfinished
    }

    /// The tasks that were done in a second, over the whole time that was recorded.
    pub fn throughput(&self) -> f64 {
        let done: u64 = self.series.iter().map(|interval| interval.done).sum();
        done as f64 / self.seconds()
    }

    /// How long it was recorded; by the intervals where nothing else says it.
    fn seconds(&self) -> f64 {
        let intervals = self.series.len().max(1) as f64 * SERIES_INTERVAL.as_secs_f64();
        if self.measured.is_zero() { intervals } else { self.measured.as_secs_f64() }
    }

    /// How much of the last interval was recorded, 1 if all of it.
    pub fn last_interval(&self) -> f64 {
        let before = self.series.len().saturating_sub(1) as f64;
        let rest = self.seconds() / SERIES_INTERVAL.as_secs_f64() - before;
        // A recording of several runs in a row has parts of intervals within it.
        if rest > 0.0 { rest.min(1.0) } else { 1.0 }
    }

    /// The mean of a phase over the tasks in which it occurred, in nanoseconds.
    pub fn mean(&self, phase: Phase) -> Option<f64> {
        let histogram = self.histograms.get(&phase)?;
        // The histogram's own mean is of its buckets' middles; the exact sums are known for these.
        let sum = |of: fn(&Share) -> u64| self.workers.iter().map(of).sum::<u64>() as f64 / self.tasks().max(1) as f64;
        Some(match phase {
            Phase::LockWait if histogram.len() == self.tasks() => sum(|share| share.lock_wait),
            Phase::InLock if histogram.len() == self.tasks() => sum(|share| share.in_lock),
            Phase::Response if self.unfinished == 0 => sum(|share| share.response),
            _ => histogram.mean(),
        })
    }

    /// A quantile of a phase, in nanoseconds: 0.99 is the 99th percentile.
    pub fn quantile(&self, phase: Phase, quantile: f64) -> Option<u64> {
        self.histograms.get(&phase).map(|histogram| histogram.value_at_quantile(quantile))
    }
}

fn merge_lists<T: Copy + Default>(total: &mut Vec<T>, added: &[T], mut merge: impl FnMut(&mut T, &T)) {
    if total.len() < added.len() {
        total.resize(added.len(), T::default());
    }
    total.iter_mut().zip(added).for_each(|(total, added)| merge(total, added));
}

/// The fairness of equal parts: Jain's index of the tasks' numbers, 1 for equal shares, 1/n where one
/// of n has all (Jain, Chiu and Hawe, 1984). `None` of nobody.
pub fn fairness(shares: &[Share]) -> Option<f64> {
    let sum: f64 = shares.iter().map(|share| share.tasks as f64).sum();
    let squares: f64 = shares.iter().map(|share| (share.tasks as f64).powi(2)).sum();
    (squares > 0.0).then(|| sum * sum / (shares.len() as f64 * squares))
}

/// How evenly the workers got on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The fairness of their numbers of tasks, see [`fairness`].
    pub index: f64,
    /// The tasks of who had the fewest.
    pub tasks_min: u64,
    /// The tasks of who had the most.
    pub tasks_max: u64,
    /// Who waited longest for the lock once, from 0.
    pub waited_longest: usize,
    /// How long that was, in nanoseconds; 0 where no lock was waited for.
    pub wait_max: u64,
}

impl Spread {
    /// Of workers; `None` if nobody did anything.
    pub fn of(workers: &[Share]) -> Option<Self> {
        let index = fairness(workers)?;
        let tasks = || workers.iter().map(|share| share.tasks);
        let longest = workers.iter().enumerate().max_by_key(|(_, share)| share.lock_wait_max)?;
        Some(Self {
            index,
            tasks_min: tasks().min()?,
            tasks_max: tasks().max()?,
            waited_longest: longest.0,
            wait_max: longest.1.lock_wait_max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fairness_tells_equal_parts_from_one_that_has_all() {
        let of = |tasks: &[u64]| {
            let share = |tasks: &u64| Share { tasks: *tasks, ..Share::default() };
            fairness(&tasks.iter().map(share).collect::<Vec<_>>())
        };
        assert_eq!(of(&[5, 5, 5, 5]), Some(1.0));
        assert_eq!(of(&[20, 0, 0, 0]), Some(0.25));
        assert_eq!(of(&[0, 0]), None);
    }

    #[test]
    fn the_spread_names_who_waited_longest() {
        let share = |tasks, lock_wait_max| Share { tasks, lock_wait_max, ..Share::default() };
        let spread = Spread::of(&[share(3, 5), share(9, 70), share(6, 7)]).unwrap();
        assert_eq!((spread.tasks_min, spread.tasks_max), (3, 9));
        assert_eq!((spread.waited_longest, spread.wait_max), (1, 70));
        assert_eq!(Spread::of(&[]), None);
    }
}
