//! Whose a time is, or what of a script it was: the finer histograms beside those of the phases.
//!
//! There are so many at most: two for each worker, two for each of the [`KEYS_APART`] keys that the load
//! draws most often and for the others together, and one for each step of a script.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::phase::Phase;
use super::recording::LONGEST;

/// The keys that have histograms of their own. Lower ones are never drawn less often than higher ones.
pub const KEYS_APART: u32 = 32;
/// What is recorded of each worker and key.
pub const PHASES: [Phase; 2] = [Phase::Response, Phase::LockWait];

/// Whose, or what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A worker's, from 0.
    Worker(u32, Phase),
    /// A key's, from 1.
    Key(u32, Phase),
    /// Those of all keys above [`KEYS_APART`].
    OtherKeys(Phase),
    /// A script's step's.
    Step {
        /// The actor's number, from 1.
        actor: u32,
        /// The step's number, from 1.
        step: u32,
        /// `ACTOR.STEP`.
        name: String,
    },
}

impl Part {
    /// The part of this tag.
    pub fn parse(tag: &str) -> Option<Self> {
        let (whose, rest) = tag.split_once('/')?;
        if let Some(numbers) = whose.strip_prefix("step-") {
            let (actor, step) = numbers.split_once('-')?;
            return Some(Self::Step { actor: actor.parse().ok()?, step: step.parse().ok()?, name: rest.to_owned() });
        }
        let phase = Phase::parse(rest).filter(|phase| PHASES.contains(phase))?;
        match whose.split_once('-')? {
            ("worker", number) => Some(Self::Worker(number.parse().ok()?, phase)),
            ("key", number) => Some(Self::Key(number.parse().ok()?, phase)),
            ("other", "keys") => Some(Self::OtherKeys(phase)),
            _ => None,
        }
    }

    /// The same of another generator, whose workers come after so many.
    pub fn after(self, workers: u32) -> Self {
        match self {
            Self::Worker(worker, phase) => Self::Worker(worker.saturating_add(workers), phase),
            other => other,
        }
    }

    /// A step, whose name is made such that a log can hold it.
    pub fn step(actor: usize, step: usize, name: &str) -> Self {
        let fits = |c: char| if c == ',' || c.is_whitespace() || c.is_control() { '_' } else { c };
        let number = |at: usize| u32::try_from(at + 1).unwrap_or(u32::MAX);
        Self::Step { actor: number(actor), step: number(step), name: name.chars().map(fits).collect() }
    }
}

/// The tag in a log.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker(worker, phase) => write!(f, "worker-{worker}/{}", phase.as_str()),
            Self::Key(key, phase) => write!(f, "key-{key}/{}", phase.as_str()),
            Self::OtherKeys(phase) => write!(f, "other-keys/{}", phase.as_str()),
            Self::Step { actor, step, name } => write!(f, "step-{actor}-{step}/{name}"),
        }
    }
}

/// An empty histogram of nanoseconds: as [`histogram`](super::recording::histogram), with two
/// significant digits, which takes an eighth of the memory.
pub fn coarse() -> Histogram<u64> {
    Histogram::new_with_bounds(512, LONGEST, 2).expect("the bounds are far enough apart")
}

/// What a part's histogram says, in nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
pub struct PartRow {
    /// The part's tag.
    pub part: String,
    /// How many tasks it occurred in.
    pub tasks: u64,
    /// Its mean.
    pub mean: f64,
    /// Half of the tasks needed at most this.
    pub p50: u64,
    /// 99 in a hundred needed at most this.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

impl PartRow {
    /// Of a part's histogram.
    pub fn new(part: &Part, histogram: &Histogram<u64>) -> Self {
        Self {
            part: part.to_string(),
            tasks: histogram.len(),
            mean: histogram.mean(),
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            max: histogram.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_as_it_is_written() {
        let step = Part::step(0, 11, "a b,c.Lock");
        assert_eq!(step.to_string(), "step-1-12/a_b_c.Lock");
        for part in [
            Part::Worker(255, Phase::LockWait),
            Part::Key(32, Phase::Response),
            Part::OtherKeys(Phase::Response),
            step.clone(),
        ] {
            assert_eq!(Part::parse(&part.to_string()), Some(part));
        }
        for wrong in ["", "response", "worker-x/response", "worker-1/commit", "all-keys/response", "step-1/a", "key-1"]
        {
            assert_eq!(Part::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Part::Worker(1, Phase::Response).after(3), Part::Worker(4, Phase::Response));
        assert_eq!(step.clone().after(3), step);
    }
}
