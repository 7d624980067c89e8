//! What load is put on: how tasks arrive, whose they are, for how long.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest that a run may take, warm-up aside.
pub const DURATION_MAX: Duration = Duration::from_secs(3_600);
/// The most workers.
pub const WORKERS_MAX: u32 = 256;
/// The most tasks a second that an open loop may ask for.
pub const RATE_MAX: f64 = 1_000_000.0;

/// When tasks begin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// Closed loop: each worker begins one as soon as its last one has ended.
    Closed,
    /// Open loop: at random, this many a second.
    Poisson(f64),
    /// Open loop: at equal intervals, this many a second.
    Constant(f64),
}

impl Arrivals {
    /// The tasks that should begin in a second; a closed loop has no such number.
    pub fn rate(self) -> Option<f64> {
        match self {
            Self::Closed => None,
            Self::Poisson(rate) | Self::Constant(rate) => Some(rate),
        }
    }

    /// The same with another rate; a closed loop stays one.
    pub fn at(self, rate: f64) -> Self {
        match self {
            Self::Closed => Self::Closed,
            Self::Poisson(_) => Self::Poisson(rate),
            Self::Constant(_) => Self::Constant(rate),
        }
    }
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed loop"),
            Self::Poisson(rate) => write!(f, "open loop, Poisson {rate:.1}/s"),
            Self::Constant(rate) => write!(f, "open loop, constant {rate:.1}/s"),
        }
    }
}

/// Whose the tasks are. A key is a customer, or a row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyChoice {
    /// All are of key 1.
    One,
    /// Each key is as likely as any other.
    Uniform,
    /// Key n is drawn with a probability proportional to `1 / n ^ exponent`.
    Zipf(f64),
}

impl KeyChoice {
    /// The probability of each of `count` keys.
    pub fn shares(self, count: u32) -> Vec<f64> {
        let weight = |key: u32| match self {
            Self::One => f64::from(u8::from(key == 1)),
            Self::Uniform => 1.0,
            Self::Zipf(exponent) => f64::from(key).powf(-exponent),
        };
        let total: f64 = (1..=count).map(weight).sum();
        (1..=count).map(|key| weight(key) / total).collect()
    }
}

impl fmt::Display for KeyChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One => f.write_str("one"),
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf(exponent) => write!(f, "zipf:{exponent}"),
        }
    }
}

impl FromStr for KeyChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "one" => Ok(Self::One),
            "uniform" => Ok(Self::Uniform),
            _ => {
                let exponent = text.strip_prefix("zipf:").and_then(|number| number.parse().ok());
                let exponent = exponent.filter(|exponent| *exponent > 0.0 && *exponent <= 10.0);
                let known = "keys are one, uniform, or zipf:S with S above 0 and at most 10";
                exponent.map(Self::Zipf).ok_or_else(|| known.to_owned())
            }
        }
    }
}

/// A load, whatever it is put on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// When tasks begin.
    pub arrivals: Arrivals,
    /// How many tasks at a time, 1 to [`WORKERS_MAX`].
    pub workers: u32,
    /// The connections that the workers share; `None`: each has its own.
    pub pool: Option<u32>,
    /// Whose the tasks are.
    pub keys: KeyChoice,
    /// How many keys there are.
    pub key_count: u32,
    /// What is added to each round trip.
    pub round_trip_added: Duration,
    /// How long the load is put on before anything is recorded.
    pub warm_up: Duration,
    /// How long it is recorded, at most [`DURATION_MAX`].
    pub duration: Duration,
    /// After the last arrival: how long tasks that are late may still begin.
    pub drain: Duration,
    /// The root of arrivals and keys.
    pub seed: u64,
}

impl Load {
    /// The part of the tasks that each lock serves: that of each key, or all of them where one lock serves all keys.
    pub fn lock_shares(&self, one_lock: bool) -> Vec<f64> {
        if one_lock { vec![1.0] } else { self.keys.shares(self.key_count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_choice_is_read_as_it_is_written() {
        for choice in [KeyChoice::One, KeyChoice::Uniform, KeyChoice::Zipf(1.25)] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        for wrong in ["two", "zipf", "zipf:", "zipf:-1", "zipf:nan", "zipf:inf", "zipf:0", "zipf:11"] {
            assert!(wrong.parse::<KeyChoice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_add_up_and_fall_with_the_key() {
        for choice in [KeyChoice::One, KeyChoice::Uniform, KeyChoice::Zipf(1.0)] {
            let shares = choice.shares(12);
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!(shares.is_sorted_by(|a, b| a >= b));
        }
        assert_eq!(KeyChoice::One.shares(3), [1.0, 0.0, 0.0]);
    }
}
