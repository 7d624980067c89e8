//! Which task comes when, and whose it is: a function of the seed alone.

use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::load::{Arrivals, KeyChoice, Load};
use crate::scenario::data::fork;

/// Draws keys.
#[derive(Debug)]
pub struct Keys {
    rng: ChaCha8Rng,
    /// The probability of each key or a smaller one; empty where there is no choice.
    up_to: Vec<f64>,
}

impl Keys {
    /// The keys of a load, for the worker (or the schedule) of this name.
    pub fn new(load: &Load, name: &str) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(fork(load.seed, &format!("keys of {name}")));
        let mut up_to = Vec::new();
        if load.keys != KeyChoice::One && load.key_count > 1 {
            let mut total = 0.0;
            up_to.extend(load.keys.shares(load.key_count).into_iter().map(|share| {
                total += share;
                total
            }));
        }
        Self { rng, up_to }
    }

    /// The next one, from 1.
    pub fn draw(&mut self) -> u32 {
        if self.up_to.is_empty() {
            return 1;
        }
        let drawn: f64 = self.rng.random();
        // The shares may add up to a little less than one.
        let key = self.up_to.partition_point(|up_to| *up_to <= drawn).min(self.up_to.len() - 1);
        u32::try_from(key + 1).expect("there are as many keys as a u32 counts")
    }
}

/// A task that is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When, from the start of the load.
    pub intended: Duration,
    /// Whose it is.
    pub key: u32,
    /// Its number, from 0.
    pub number: u64,
}

/// The arrivals of an open loop, in order, up to the end of the load.
#[derive(Debug)]
pub struct Schedule {
    arrivals: Arrivals,
    rng: ChaCha8Rng,
    keys: Keys,
    due: Duration,
    end: Duration,
    number: u64,
}

impl Schedule {
    /// The arrivals of a load; none of a closed loop.
    pub fn new(load: &Load) -> Self {
        Self {
            arrivals: load.arrivals,
            rng: ChaCha8Rng::seed_from_u64(fork(load.seed, "arrivals")),
            keys: Keys::new(load, "the schedule"),
            due: Duration::ZERO,
            end: load.warm_up + load.duration,
            number: 0,
        }
    }
}

impl Iterator for Schedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        self.due = match self.arrivals {
            Arrivals::Closed => return None,
            // The n-th one from its number, so that rounding does not add up.
            Arrivals::Constant(rate) => Duration::try_from_secs_f64(self.number as f64 / rate).ok()?,
            // The gaps of a Poisson process are exponential.
            Arrivals::Poisson(rate) => {
                let gap = -(1.0 - self.rng.random::<f64>()).ln() / rate;
                self.due.checked_add(Duration::try_from_secs_f64(gap).ok()?)?
            }
        };
        if self.due >= self.end {
            return None;
        }
        let number = self.number;
        self.number += 1;
        Some(Arrival { intended: self.due, key: self.keys.draw(), number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(arrivals: Arrivals, keys: KeyChoice, seed: u64) -> Load {
        Load {
            arrivals,
            workers: 4,
            pool: None,
            keys,
            key_count: 10,
            round_trip_added: Duration::ZERO,
            warm_up: Duration::from_secs(5),
            duration: Duration::from_secs(95),
            drain: Duration::ZERO,
            seed,
        }
    }

    #[test]
    fn one_seed_gives_one_schedule_and_another_seed_another() {
        let of = |seed| -> Vec<Arrival> {
            Schedule::new(&load(Arrivals::Poisson(50.0), KeyChoice::Zipf(1.0), seed)).collect()
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        let keys = |seed, name: &str| -> Vec<u32> {
            let mut keys = Keys::new(&load(Arrivals::Closed, KeyChoice::Uniform, seed), name);
            (0..50).map(|_| keys.draw()).collect()
        };
        assert_eq!(keys(1, "worker 1"), keys(1, "worker 1"));
        assert_ne!(keys(1, "worker 1"), keys(1, "worker 2"));
        assert_ne!(keys(1, "worker 1"), keys(2, "worker 1"));
    }

    #[test]
    fn the_rate_is_the_one_that_was_asked_for() {
        let poisson = Schedule::new(&load(Arrivals::Poisson(200.0), KeyChoice::One, 1)).count();
        // 20,000 expected, with a standard deviation of 141.
        assert!((19_400..20_600).contains(&poisson), "{poisson}");
        let constant: Vec<_> = Schedule::new(&load(Arrivals::Constant(200.0), KeyChoice::One, 1)).collect();
        assert_eq!(constant.len(), 20_000);
        assert_eq!(constant[19_999].intended, Duration::from_millis(99_995));
    }

    #[test]
    fn the_gaps_of_a_poisson_schedule_are_as_spread_as_they_are_long() {
        let due: Vec<f64> = Schedule::new(&load(Arrivals::Poisson(200.0), KeyChoice::One, 3))
            .map(|arrival| arrival.intended.as_secs_f64())
            .collect();
        let gaps: Vec<f64> = due.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "{}", variance.sqrt() / mean);
    }

    #[test]
    fn keys_come_as_often_as_their_shares_say() {
        for choice in [KeyChoice::One, KeyChoice::Uniform, KeyChoice::Zipf(1.2)] {
            let load = load(Arrivals::Closed, choice, 7);
            let mut keys = Keys::new(&load, "worker 0");
            let mut counts = [0_u32; 10];
            (0..100_000).for_each(|_| counts[keys.draw() as usize - 1] += 1);
            for (count, share) in counts.into_iter().zip(choice.shares(10)) {
                assert!((f64::from(count) / 100_000.0 - share).abs() < 0.01, "{choice}: {counts:?}");
            }
        }
    }

    #[test]
    fn a_rate_that_never_comes_to_an_arrival_ends() {
        assert_eq!(Schedule::new(&load(Arrivals::Poisson(1e-300), KeyChoice::One, 1)).count(), 0);
    }
}
