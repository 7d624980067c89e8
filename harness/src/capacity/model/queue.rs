//! Queues: each key's lock is one, at which tasks are served in turn; the machine (processors, disk) is
//! another, which all tasks share; the rest of a task nobody waits for.
//!
//! Closed loops: exact mean value analysis (Reiser and Lavenberg, 1980); with one lock that is the
//! machine-repairman model. Open loops: a queue M/G/1 for each key (Pollaczek and Khinchine), with the
//! spread of the time in the lock as it was measured, and the machine as a shared processor.

use serde::{Deserialize, Serialize};

use super::ClosedPoint;
use super::response::Measured;
use super::search::least;

/// The hottest keys that have a queue of their own; the others are alike.
const OWN_QUEUES: usize = 64;
/// The least part of a task that a parameter may be.
const LEAST: f64 = 1e-6;

/// By how much an open loop's times may differ from a closed loop's.
const SCALE_MAX: f64 = 2.0;

/// Some keys of which each has the same share of the tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Group {
    share: f64,
    keys: f64,
}

/// The queues of a load, with times in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queues {
    /// A task's time in the lock, hand-off included.
    pub lock: f64,
    /// A task's time at the machine.
    pub machine: f64,
    /// The rest of a task.
    pub rest: f64,
    /// The squared coefficient of variation of the time in the lock.
    pub spread: f64,
}

fn groups(shares: &[f64]) -> Vec<Group> {
    let mut shares: Vec<f64> = shares.iter().copied().filter(|share| *share > 0.0).collect();
    shares.sort_by(|a, b| b.total_cmp(a));
    let mut groups: Vec<Group> = Vec::new();
    for (index, share) in shares.iter().enumerate() {
        let like_the_last = groups.last().is_some_and(|last| (last.share / share - 1.0).abs() < 1e-9);
        if groups.len() >= OWN_QUEUES && !like_the_last {
            let rest = &shares[index..];
            let (sum, keys) = (rest.iter().sum::<f64>(), rest.len() as f64);
            groups.push(Group { share: sum / keys, keys });
            break;
        }
        match groups.last_mut().filter(|_| like_the_last) {
            Some(last) => last.keys += 1.0,
            None => groups.push(Group { share: *share, keys: 1.0 }),
        }
    }
    groups
}

impl Queues {
    /// The same by a clock by which everything goes so many times as fast.
    pub fn by_clock(&self, fast: f64) -> Self {
        Self { lock: self.lock / fast, machine: self.machine / fast, rest: self.rest / fast, ..*self }
    }

    /// Fits the queues to closed loops. A task that is alone takes `alone` seconds, of which `lock` in
    /// the lock: there the search begins. `spread` is taken as it was measured.
    pub fn fit(points: &[ClosedPoint], shares: &[f64], alone: f64, lock: f64, spread: f64) -> Self {
        let groups = groups(shares);
        let queues = |[lock, machine, rest]: &[f64; 3]| Self {
            lock: lock.exp().max(alone * LEAST),
            machine: machine.exp().max(alone * LEAST),
            rest: rest.exp().max(alone * LEAST),
            spread,
        };
        let largest = points.iter().map(|point| point.workers).max().unwrap_or(1);
        let squares = |place: &[f64; 3]| {
            let rates = queues(place).closed_rates(&groups, largest);
            let off = |point: &ClosedPoint| (rates[point.workers as usize - 1] / point.rate).ln().powi(2);
            points.iter().map(off).sum()
        };
        let start = [lock.max(alone * LEAST).ln(), (alone * 0.05).ln(), (alone - lock).max(alone * 0.05).ln()];
        queues(&least(start, squares))
    }

    /// What this many workers come to in a second.
    pub fn closed_rate(&self, shares: &[f64], workers: u32) -> f64 {
        self.closed_rates(&groups(shares), workers).last().copied().unwrap_or(0.0)
    }

    /// What 1, 2, … `largest` workers come to in a second.
    fn closed_rates(&self, groups: &[Group], largest: u32) -> Vec<f64> {
        let mut waiting = vec![0.0; groups.len()];
        let mut at_machine = 0.0;
        (1..=largest)
            .map(|workers| {
                let machine = self.machine * (1.0 + at_machine);
                let residences: Vec<f64> = groups
                    .iter()
                    .zip(&waiting)
                    .map(|(group, waiting)| group.share * self.lock * (1.0 + waiting))
                    .collect();
                let locks: f64 = residences.iter().zip(groups).map(|(residence, group)| residence * group.keys).sum();
                let rate = f64::from(workers) / (self.rest + machine + locks);
                at_machine = rate * machine;
                waiting.iter_mut().zip(residences).for_each(|(waiting, residence)| *waiting = rate * residence);
                rate
            })
            .collect()
    }

    /// The tasks a second that no number of workers exceeds.
    pub fn limit(&self, shares: &[f64]) -> f64 {
        let hottest = shares.iter().copied().fold(0.0, f64::max);
        1.0 / (hottest * self.lock).max(self.machine)
    }

    /// The mean response of an open loop, in seconds; infinite where a queue only grows.
    pub fn open_response(&self, shares: &[f64], rate: f64) -> f64 {
        self.response(&groups(shares), rate)
    }

    fn response(&self, groups: &[Group], rate: f64) -> f64 {
        let busy_machine = rate * self.machine;
        let mut response = self.rest + self.machine / (1.0 - busy_machine);
        let mut overloaded = busy_machine >= 1.0;
        for group in groups {
            let busy = rate * group.share * self.lock;
            overloaded |= busy >= 1.0;
            let wait = busy * self.lock * (1.0 + self.spread) / (2.0 * (1.0 - busy));
            response += group.share * group.keys * (self.lock + wait);
        }
        if overloaded { f64::INFINITY } else { response }
    }

    /// Scales the times so that open loops come out best: what a closed loop's workers do to each
    /// other's caches and processors, a few arrivals do not.
    #[must_use]
    pub fn fitted_to_open(&self, points: &[Measured], shares: &[f64]) -> Self {
        let groups = groups(shares);
        let scaled = |[lock, rest]: &[f64; 2]| {
            let (lock, rest) = (lock.exp(), rest.exp());
            Self { lock: self.lock * lock, machine: self.machine * lock, rest: self.rest * rest, ..*self }
        };
        let squares = |place: &[f64; 2]| {
            // Not cut off at the bound: a search does not come back from where nothing changes.
            if place.iter().any(|scale| scale.abs() > SCALE_MAX.ln()) {
                return f64::INFINITY;
            }
            let queues = scaled(place);
            let off = |point: &Measured| {
                let predicted = queues.response(&groups, point.rate) * 1e9;
                let off = if predicted.is_finite() { (predicted / point.response).ln().powi(2) } else { 100.0 };
                off * point.weight()
            };
            points.iter().map(off).sum()
        };
        scaled(&least([0.0, 0.0], squares))
    }
}

#[cfg(test)]
mod tests {
    use super::super::usl::tests::points;
    use super::*;
    use crate::capacity::load::KeyChoice;

    const QUEUES: Queues = Queues { lock: 0.002, machine: 0.0003, rest: 0.001, spread: 0.5 };

    #[test]
    fn one_lock_is_the_machine_repairman() {
        let queues = Queues { machine: 0.0, ..QUEUES };
        assert!((queues.closed_rate(&[1.0], 1) - 1.0 / 0.003).abs() < 1e-9);
        // Two workers: the second one finds the lock taken with probability 2/3 of the first one's time.
        let two = 2.0 / (0.001 + 0.002 * (1.0 + 2.0 / 3.0));
        assert!((queues.closed_rate(&[1.0], 2) - two).abs() < 1e-9);
        assert!((queues.closed_rate(&[1.0], 64) / 500.0 - 1.0).abs() < 1e-6);
        assert!((queues.limit(&[1.0]) - 500.0).abs() < 1e-9);
    }

    #[test]
    fn keys_that_are_lumped_come_to_what_they_come_to_apart() {
        let shares = KeyChoice::Uniform.shares(100);
        assert_eq!(groups(&shares).len(), 1);
        let zipf = KeyChoice::Zipf(1.0).shares(200);
        let total: f64 = groups(&zipf).iter().map(|group| group.share * group.keys).sum();
        assert!((total - 1.0).abs() < 1e-9 && groups(&zipf).len() == OWN_QUEUES + 1);
        let many = QUEUES.closed_rate(&shares, 32);
        assert!(many > 4.0 * QUEUES.closed_rate(&[1.0], 32), "{many}");
    }

    #[test]
    fn an_open_loop_waits_as_pollaczek_and_khinchine_say_and_never_ends_beyond_the_limit() {
        let queues = Queues { machine: 0.0, spread: 0.0, ..QUEUES };
        // Half busy, and always the same time: the wait is half a time in the lock.
        assert!((queues.open_response(&[1.0], 250.0) - 0.004).abs() < 1e-9);
        assert!(queues.open_response(&[1.0], 500.0).is_infinite());
        assert!(QUEUES.open_response(&[0.5, 0.5], 600.0).is_finite());
    }

    #[test]
    fn what_was_measured_is_found_again_and_predicts_what_was_not() {
        let shares = KeyChoice::Zipf(1.1).shares(12);
        let measured = points(|workers| QUEUES.closed_rate(&shares, workers as u32));
        let found = Queues::fit(&measured, &shares, 0.0034, 0.0021, 0.5);
        for workers in [3, 6, 12, 24, 48] {
            let (predicted, truth) = (found.closed_rate(&shares, workers), QUEUES.closed_rate(&shares, workers));
            assert!((predicted / truth - 1.0).abs() < 0.03, "{workers}: {predicted} and {truth}: {found:?}");
        }
        let slower = Queues { lock: 0.0025, machine: 0.000_375, rest: 0.0009, ..QUEUES };
        let open = |rate: f64| Measured { rate, response: slower.open_response(&shares, rate) * 1e9, error: 0.02 };
        let refitted = QUEUES.fitted_to_open(&[100.0, 300.0, 600.0].map(open), &shares);
        let (predicted, truth) = (refitted.open_response(&shares, 450.0), slower.open_response(&shares, 450.0));
        assert!((predicted / truth - 1.0).abs() < 0.02, "{predicted} and {truth}");
    }
}
