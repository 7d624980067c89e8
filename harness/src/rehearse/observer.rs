//! What the rehearsal's own looking costs the traffic, measured in the same run.
//!
//! Before the first file the traffic runs on its own in short windows, without the sampler and with it in turns, so that
//! whatever else changes meanwhile changes both. What recording costs cannot be switched off, since the checks need the
//! whole record: the operations that were recorded are recorded once more, and timed.

use std::time::Duration;

use drift_engine::op::{Op, Reply};
use drift_engine::session::{DbError, Session, SessionId};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::course::Stretch;
use super::flight::Flight;
use super::operation::Operation;
use super::rate::{Rate, rate, rate_over};
use crate::clock::Clock;
use crate::history::{Entry, Outcome};
use crate::lens::trace::{Log, Trace};

/// How many pairs of windows there are.
const PAIRS: usize = 8;
/// How long a window is, at the least.
const WINDOW: Duration = Duration::from_millis(120);
/// How many operations come back in a window without the sampler: of fewer, chance alone makes more or less of them. On a
/// slow machine the window is as long as that takes,
const OPERATIONS_MIN: u64 = 24;
/// and at most this long.
const WINDOW_MAX: Duration = Duration::from_secs(3);
/// By how much it is made longer at a time.
const LONGER: Duration = Duration::from_millis(20);
/// How often recording is timed.
const TIMES: usize = 5;
/// How certain the interval is.
const CONFIDENCE: f64 = 0.95;
/// The share of the throughput that looking may cost.
pub const SHARE_MAX: f64 = 0.05;
/// How many operations are recorded once more.
const RECORDED_AGAIN: usize = 2_000;

/// The windows before the first file, pair by pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// Without the sampler.
    pub unobserved: Vec<Stretch>,
    /// With it.
    pub observed: Vec<Stretch>,
}

/// What looking costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// In how many pairs of windows it was measured.
    pub pairs: usize,
    /// The share of the throughput that the sampler takes; below zero, where there was more with it than without.
    pub share: f64,
    /// Between this share, at 95 %,
    pub at_least: f64,
    /// and this one.
    pub at_most: f64,
    /// What recording one operation takes, in microseconds.
    pub recording_us: f64,
    /// The share of one processor that recording takes at the rate before the first file.
    pub recording_share: f64,
}

impl Cost {
    /// Whether the sampler certainly takes more than it may.
    pub fn is_heavy(&self) -> bool {
        self.at_least > SHARE_MAX || self.recording_share > SHARE_MAX
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the sampler takes {:.1} % of the throughput ({:.1} to {:.1} % at {:.0} % confidence, {} pairs of windows); \
             recording takes {:.1} µs an operation, {:.2} % of a processor",
            self.share * 100.0,
            self.at_least * 100.0,
            self.at_most * 100.0,
            CONFIDENCE * 100.0,
            self.pairs,
            self.recording_us,
            self.recording_share * 100.0
        )
    }
}

/// Lets the traffic run on its own, without the sampler and with it in turns; at the end the sampler is there. `watch`
/// tells the sampler whether to look, and waits until it heeds that. A window with the sampler is as long as the last one
/// without it.
pub(super) async fn windows(watch: impl AsyncFn(bool), flight: &Flight, clock: &Clock) -> Windows {
    let mut windows = Windows::default();
    let mut length = WINDOW;
    for pair in 0..PAIRS {
        // Neither is always the first.
        for observed in [pair % 2 == 1, pair % 2 == 0] {
            watch(observed).await;
            let (from, returned) = (clock.now(), flight.returned());
            if observed {
                tokio::time::sleep(length).await;
            } else {
                length = WINDOW;
                tokio::time::sleep(length).await;
                while flight.returned() - returned < OPERATIONS_MIN && length < WINDOW_MAX {
                    tokio::time::sleep(LONGER).await;
                    length += LONGER;
                }
            }
            let of = if observed { &mut windows.observed } else { &mut windows.unobserved };
            of.push((from, clock.now()));
        }
    }
    watch(true).await;
    windows
}

impl Windows {
    /// What the traffic did without the sampler, and with it.
    pub fn rates(&self, operations: &[Operation]) -> [Rate; 2] {
        [rate_over(operations, &self.unobserved), rate_over(operations, &self.observed)]
    }

    /// What looking cost; nothing where nothing went on.
    pub fn cost(&self, operations: &[Operation], recording: Duration) -> Option<Cost> {
        let per_second = |stretch: &Stretch| rate(operations, *stretch).per_second;
        let pairs = self.unobserved.iter().zip(&self.observed).map(|(off, on)| (per_second(off), per_second(on)));
        // Under an observer that lets nothing through there is as good as nothing, and not no answer.
        let ratio = |(off, on): (f64, f64)| (on.max(1.0) / off).ln();
        let ratios: Vec<f64> = pairs.filter(|(off, _)| *off > 0.0).map(ratio).collect();
        let count = ratios.len() as f64;
        if ratios.len() < 2 {
            return None;
        }
        let mean = ratios.iter().sum::<f64>() / count;
        let variance = ratios.iter().map(|ratio| (ratio - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let student = StudentsT::new(0.0, 1.0, count - 1.0).ok()?;
        let reach = student.inverse_cdf(0.5 + CONFIDENCE / 2.0) * (variance / count).sqrt();
        let share = |log: f64| 1.0 - log.exp();
        Some(Cost {
            pairs: ratios.len(),
            share: share(mean),
            at_least: share(mean + reach),
            at_most: share(mean - reach),
            recording_us: recording.as_secs_f64() * 1e6,
            recording_share: recording.as_secs_f64() * rate_over(operations, &self.observed).per_second,
        })
    }
}

/// How long it takes to record one of these, as it was when the traffic did it.
pub(super) async fn recording(entries: &[Entry], clock: &Clock) -> Duration {
    let again = &entries[entries.len().saturating_sub(RECORDED_AGAIN)..];
    let Some(first) = again.first() else { return Duration::ZERO };
    let (mut recorded, mut answered) = (Duration::MAX, Duration::MAX);
    // Whatever else the machine does meanwhile only makes it longer.
    for _ in 0..TIMES {
        let mut log = Log::new(first.actor, clock.clone());
        let begun = clock.elapsed();
        for entry in again {
            let _ = Trace::new(Replayed(entry), &mut log, entry.task).call(entry.op.clone()).await;
        }
        recorded = recorded.min(clock.elapsed() - begun);
        let begun = clock.elapsed();
        for entry in again {
            let _ = Replayed(entry).call(entry.op.clone()).await;
        }
        answered = answered.min(clock.elapsed() - begun);
    }
    each(recorded.saturating_sub(answered), again.len())
}

/// The same of a script's operations.
pub(super) fn recording_of_script(operations: &[Operation], clock: &Clock) -> Duration {
    let again = &operations[operations.len().saturating_sub(RECORDED_AGAIN)..];
    let mut recorded = Duration::MAX;
    for _ in 0..TIMES {
        let mut log = Vec::new();
        let begun = clock.elapsed();
        for operation in again {
            let (invoked, returned) = (clock.now(), clock.now());
            log.push(Operation { invoked, returned, ..operation.clone() });
        }
        recorded = recorded.min(clock.elapsed() - begun);
    }
    each(recorded, again.len())
}

fn each(took: Duration, count: usize) -> Duration {
    u32::try_from(count).ok().filter(|count| *count > 0).map_or(Duration::ZERO, |count| took / count)
}

/// A session that gives the answer that there was.
struct Replayed<'e>(&'e Entry);

impl Session for Replayed<'_> {
    type Op = Op;
    type Reply = Reply;

    fn id(&self) -> SessionId {
        self.0.session
    }

    async fn call(&mut self, _: Op) -> Result<Reply, DbError> {
        match &self.0.outcome {
            Outcome::Ok(reply) => Ok(reply.clone()),
            Outcome::Failed(error) | Outcome::Unknown(error) => Err((**error).clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{ActorId, Tick};
    use crate::rehearse::operation::Class;

    fn ms(n: u64) -> Tick {
        Tick(n * 1_000_000)
    }

    /// Pairs of windows of 100 ms with so many operations each.
    fn cost(pairs: &[(u64, u64)], recording: Duration) -> Option<Cost> {
        let (mut windows, mut operations) = (Windows::default(), Vec::new());
        for (at, (off, on)) in (0..).step_by(200).zip(pairs) {
            windows.unobserved.push((ms(at), ms(at + 100)));
            windows.observed.push((ms(at + 100), ms(at + 200)));
            for (from, count) in [(at, *off), (at + 100, *on)] {
                operations.extend((0..count).map(|n| Operation {
                    actor: ActorId(0),
                    invoked: ms(from),
                    returned: Tick(ms(from).0 + n),
                    class: Some(Class::Read),
                    what: "a read".into(),
                    refused: None,
                    sql: None,
                }));
            }
        }
        windows.cost(&operations, recording)
    }

    #[test]
    fn a_heavy_observer_is_told_from_a_light_one_and_from_noise() {
        let heavy = cost(&[(200, 160), (210, 166), (190, 150), (200, 158)], Duration::ZERO).unwrap();
        assert!(heavy.is_heavy() && (heavy.share - 0.207).abs() < 0.01, "{heavy}");
        let light = cost(&[(200, 197), (210, 206), (190, 187), (200, 198)], Duration::ZERO).unwrap();
        assert!(!light.is_heavy() && light.at_most < SHARE_MAX, "{light}");
        let stifling = cost(&[(200, 0), (210, 0), (190, 0)], Duration::ZERO).unwrap();
        assert!(stifling.is_heavy() && stifling.share > 0.99, "{stifling}");
        // Ten per cent on average, which may as well be none.
        let noise = cost(&[(200, 130), (200, 240), (200, 150), (200, 220)], Duration::ZERO).unwrap();
        assert!(!noise.is_heavy() && noise.at_least < 0.0 && noise.at_most > SHARE_MAX, "{noise}");
        // 2,000 operations a second, each of which is recorded for 50 µs.
        let recorded = cost(&[(200, 200), (200, 200), (200, 200)], Duration::from_micros(50)).unwrap();
        assert!(recorded.is_heavy() && (recorded.recording_share - 0.1).abs() < 0.001, "{recorded}");
        assert_eq!((cost(&[], Duration::ZERO), cost(&[(0, 9), (0, 9), (0, 9)], Duration::ZERO)), (None, None));
    }
}
