//! Loads that are put on in turn, in several passes up and down their list: what drifts meanwhile is spread evenly
//! over all of them.
//!
//! What a load comes to is told by the *median* pass. Now and then a machine or its disk stands still for as long as
//! a hundred tasks take; a pass that has met one says more about that than about the load. Three of ten may have, and all
//! to the same side, which is more than surer estimates bear. A pass during which a flush stood still, or others used the
//! machine's processors, does not count, as long as there are enough others.
//!
//! On a machine that is shared, everything takes a tenth or a fifth longer for a minute, and near the knee a queue makes
//! a half of that. So the *pace* is measured beside each open loop: what a closed loop comes to before and after it. On a
//! machine that is slower by a part and has that part fewer arrivals, everything takes so much longer and nothing
//! else differs, as if its clock were slow. The arrivals are put on so, and what they come to is
//! told by the clock of the median pace.

use std::fmt;
use std::time::Duration;

use super::Measure;
use crate::capacity::certain::{mean_error, quantile_error, rate_error};
use crate::capacity::drive::Driven;
use crate::capacity::load::{Arrivals, Load};
use crate::capacity::phase::Phase;
use crate::capacity::recording::Recording;

/// The passes that all loads are measured in, if that many are allowed. One pass differs from the next by more than its own
/// length explains, so many short ones say more than a few long ones.
pub(super) const PASSES: u32 = 6;
/// The standard error of an outcome's logarithm that is sure enough.
const SURE: f64 = 0.04;
/// The part of the machine's processors, 0 to 1, that others may use during a pass that counts.
const OTHERS_MAX: f64 = 0.05;
/// A commit that took so many nanoseconds, and so many times as long as half of them take, has waited for a disk that
/// stood still.
const STILL_NANOS: u64 = 10_000_000;
const STILL_TIMES: u64 = 20;
/// The fewest passes that say something; with fewer, those that were disturbed count as well.
const COUNTED_MIN: usize = 3;
/// By how much the median of normal numbers is less sure than their mean.
const MEDIAN: f64 = 1.2533;
/// The standard deviation of normal numbers by the median of their distances from the median.
const DEVIATION: f64 = 1.4826;

/// How many times shorter than a load the closed loop beside it is, and the least that it takes.
const PACE_SHORTER: u32 = 3;
const PACE_MIN: Duration = Duration::from_millis(500);
/// How far from the rate that is wanted the arrivals may be put on.
const PACED_MAX: f64 = 1.5;

/// What one pass came to, and the standard error of its logarithm within the pass.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    pub(super) value: f64,
    pub(super) error: f64,
}

/// One pass of a load.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pass {
    /// Tasks a second.
    pub(super) rate: Outcome,
    /// Arrivals a second as they were put on.
    pub(super) offered: Outcome,
    /// The mean response, in nanoseconds.
    pub(super) mean: Outcome,
    /// The 99th percentile, in nanoseconds.
    pub(super) p99: Outcome,
    /// Whether others used too much of the machine meanwhile, or its disk stood still.
    pub(super) is_disturbed: bool,
}

impl Pass {
    fn of(driven: &Driven, load: &Load) -> Self {
        let recording = &driven.recording;
        let offered = match load.arrivals {
            Arrivals::Closed => 0.0,
            Arrivals::Poisson(rate) | Arrivals::Constant(rate) => rate,
        };
        let p99 = recording.quantile(Phase::Response, 0.99).map_or(f64::NAN, |nanos| nanos as f64);
        Self {
            rate: Outcome { value: recording.throughput(), error: rate_error(recording) },
            offered: Outcome { value: offered, error: 0.0 },
            mean: Outcome { value: recording.mean(Phase::Response).unwrap_or(f64::NAN), error: mean_error(recording) },
            p99: Outcome { value: p99, error: quantile_error(recording, 0.99) },
            is_disturbed: driven.generator.others.is_some_and(|others| others > OTHERS_MAX) || stood_still(recording),
        }
    }

    /// The same by a clock that is so many times as fast.
    fn by_clock(&self, fast: f64) -> Self {
        let times = |outcome: Outcome, by: f64| Outcome { value: outcome.value * by, ..outcome };
        Self {
            rate: times(self.rate, 1.0 / fast),
            offered: times(self.offered, 1.0 / fast),
            mean: times(self.mean, fast),
            p99: times(self.p99, fast),
            ..*self
        }
    }
}

/// Whether a flush took far longer than flushes take.
fn stood_still(recording: &Recording) -> bool {
    let commit = |quantile| recording.quantile(Phase::Commit, quantile).unwrap_or(0);
    let longest = commit(1.0);
    longest > STILL_NANOS && longest > STILL_TIMES * commit(0.5)
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disturbed = if self.is_disturbed { ", disturbed" } else { "" };
        let (rate, mean, p99) = (self.rate.value, self.mean.value / 1e6, self.p99.value / 1e6);
        write!(f, "{rate:.1}/s, mean {mean:.2} ms, p99 {p99:.2} ms{disturbed}")
    }
}

/// One load.
pub(super) struct Turn {
    /// What it is, for whoever waits.
    pub(super) what: String,
    /// Its seed is another one in each pass.
    pub(super) load: Load,
    /// All its passes, one after the other.
    pub(super) recording: Recording,
    /// The same one by one.
    pub(super) passes: Vec<Pass>,
}

impl Turn {
    /// One that has not been measured.
    pub(super) fn of(what: String, load: Load) -> Self {
        Self { what, load, recording: Recording::empty(), passes: Vec::new() }
    }
}

/// What the median pass came to, and the standard error of its logarithm: by how passes differ, and at least by what
/// they do not know each.
pub(super) fn typical(passes: &[Pass], of: impl Fn(&Pass) -> Outcome) -> Outcome {
    let came = |all: bool| -> Vec<Outcome> {
        let counted = passes.iter().filter(|pass| all || !pass.is_disturbed);
        counted.map(&of).filter(|outcome| outcome.value > 0.0).collect()
    };
    let calm = came(false);
    let outcomes = if calm.len() < COUNTED_MIN { came(true) } else { calm };
    let Some(value) = median(outcomes.iter().map(|outcome| outcome.value)) else {
        return Outcome { value: f64::NAN, error: f64::INFINITY };
    };
    let between = median(outcomes.iter().map(|outcome| (outcome.value / value).ln().abs())).unwrap_or(0.0) * DEVIATION;
    let within = median(outcomes.iter().map(|outcome| outcome.error)).unwrap_or(f64::INFINITY);
    Outcome { value, error: MEDIAN * between.max(within) / (outcomes.len() as f64).sqrt() }
}

/// How many nothing disturbed.
pub(super) fn calm(passes: &[Pass]) -> usize {
    passes.iter().filter(|pass| !pass.is_disturbed).count()
}

/// The middle one; of an even number, the mean of the two.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let high = *values.get(values.len() / 2)?;
    Some(if values.len().is_multiple_of(2) { (values[values.len() / 2 - 1] + high) / 2.0 } else { high })
}

/// What the machine came to beside open loops, in the order in which these were measured: before the first of a grid's
/// passes and after each, and before each of the search.
pub(super) struct Paces {
    load: Load,
    rates: Vec<f64>,
}

impl Paces {
    /// The closed loop of the workers of `load`.
    pub(super) fn of(load: &Load) -> Self {
        let duration = (load.duration / PACE_SHORTER).max(PACE_MIN).min(load.duration);
        let load = Load { arrivals: Arrivals::Closed, warm_up: load.warm_up.min(PACE_MIN), duration, ..load.clone() };
        Self { load, rates: Vec::new() }
    }

    /// Measures it anew, in tasks a second.
    pub(super) async fn measure<M: Measure>(&mut self, measure: &mut M) -> Result<f64, M::Error> {
        let seed = self.load.seed.wrapping_add(self.rates.len() as u64);
        let driven = measure.measure(&Load { seed, ..self.load.clone() }).await?;
        // Where nothing came to an end, nothing is known of the pace.
        let rate = Some(driven.recording.throughput()).filter(|rate| *rate > 0.0);
        let rate = rate.or_else(|| self.usual()).unwrap_or(1.0);
        self.rates.push(rate);
        Ok(rate)
    }

    fn usual(&self) -> Option<f64> {
        median(self.rates.iter().copied())
    }

    /// How many times as fast the machine was just now as where it came to `reached`.
    pub(super) fn now(&self, reached: f64) -> f64 {
        self.rates.last().map_or(1.0, |last| (last / reached).clamp(1.0 / PACED_MAX, PACED_MAX))
    }

    /// How many times as fast as usual it was before and after a pass.
    fn beside(&self, pass: usize) -> f64 {
        let around = self.rates.get(pass..=pass + 1).map(|around| (around[0] * around[1]).sqrt());
        around.zip(self.usual()).map_or(1.0, |(around, usual)| around / usual)
    }

    /// The slowest, the usual and the fastest one, in tasks a second.
    pub(super) fn range(&self) -> Option<[f64; 3]> {
        let least = self.rates.iter().copied().reduce(f64::min)?;
        Some([least, self.usual()?, self.rates.iter().copied().reduce(f64::max)?])
    }
}

/// Measures all loads, each in as many passes as the others, until `of` is sure of all, and enough passes of each were not
/// disturbed; but in `passes_max` at most. `doubt` is told of each run.
///
/// With `pace` they are open loops whose rates are meant for a machine that comes to so many tasks a second: the pace is
/// measured beside each pass, the arrivals are put on in proportion to it, and the passes are told by the clock of the
/// median pace.
pub(super) async fn measure<M: Measure>(
    measure: &mut M,
    turns: &mut [Turn],
    passes_max: u32,
    mut pace: Option<(&mut Paces, f64)>,
    of: impl Fn(&Pass) -> Outcome,
    doubt: &mut impl FnMut(&Driven, &str),
) -> Result<(), M::Error> {
    if let Some((paces, _)) = pace.as_mut().filter(|_| !turns.is_empty()) {
        paces.measure(measure).await?;
    }
    // Which load each pass was of.
    let mut measured: Vec<usize> = Vec::new();
    for pass in 0..passes_max {
        let paces = pace.as_ref().map(|(paces, _)| &**paces);
        if pass >= PASSES && by_usual(turns, &measured, paces).iter().all(|passes| is_sure(passes, &of)) {
            break;
        }
        for index in order(pass, turns.len()) {
            let mut load = turns[index].load.clone();
            if let (Arrivals::Poisson(rate) | Arrivals::Constant(rate), Some((paces, reached))) =
                (&mut load.arrivals, &pace)
            {
                *rate *= paces.now(*reached);
            }
            let mut came = turns[index].measure(measure, pass, index, load, doubt).await?;
            measured.push(index);
            if let Some((paces, _)) = &mut pace {
                let beside = paces.measure(measure).await?;
                came.push_str(&format!("; a closed loop beside it, {beside:.1}/s"));
            }
            measure.announce(&came);
        }
    }
    let by_usual = by_usual(turns, &measured, pace.as_ref().map(|(paces, _)| &**paces));
    turns.iter_mut().zip(by_usual).for_each(|(turn, passes)| turn.passes = passes);
    Ok(())
}

/// The passes of each load by the clock of the usual pace, if there is one.
fn by_usual(turns: &[Turn], measured: &[usize], paces: Option<&Paces>) -> Vec<Vec<Pass>> {
    let mut by_usual: Vec<Vec<Pass>> = vec![Vec::new(); turns.len()];
    for (place, index) in measured.iter().enumerate() {
        let passes = &mut by_usual[*index];
        let fast = paces.map_or(1.0, |paces| paces.beside(place));
        passes.push(turns[*index].passes[passes.len()].by_clock(fast));
    }
    by_usual
}

fn is_sure(passes: &[Pass], of: impl Fn(&Pass) -> Outcome) -> bool {
    calm(passes) >= PASSES as usize && typical(passes, of).error < SURE
}

/// The places of a pass: up the list, and down it in the next.
fn order(pass: u32, places: usize) -> impl Iterator<Item = usize> {
    (0..places).map(move |place| if pass.is_multiple_of(2) { place } else { places - 1 - place })
}

impl Turn {
    /// One more pass, and what it came to in words.
    async fn measure<M: Measure>(
        &mut self,
        measure: &mut M,
        pass: u32,
        index: usize,
        load: Load,
        doubt: &mut impl FnMut(&Driven, &str),
    ) -> Result<String, M::Error> {
        let what = format!("{}, pass {}", self.what, pass + 1);
        let seed = load.seed.wrapping_add(u64::from(pass) << 32).wrapping_add(index as u64);
        let load = Load { seed, ..load };
        let driven = measure.measure(&load).await?;
        let came = Pass::of(&driven, &load);
        self.passes.push(came);
        self.recording.follow(&driven.recording);
        // A short pass of a low rate may have no task. That none had any by now is another matter.
        if driven.recording.tasks() > 0 || (self.recording.tasks() == 0 && self.passes.len() == COUNTED_MIN) {
            doubt(&driven, &what);
        }
        Ok(format!("{what}: {came}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::recording::histogram;

    fn passes(means: &[f64]) -> Vec<Pass> {
        let outcome = |value| Outcome { value, error: 0.02 };
        let pass = |mean: &f64| Pass { mean: outcome(*mean), rate: outcome(1.0), p99: outcome(1.0), ..Pass::default() };
        means.iter().map(pass).collect()
    }

    #[test]
    fn a_pass_in_which_the_machine_stood_still_changes_nothing() {
        let calm = typical(&passes(&[2.0, 2.1, 1.9, 2.05, 1.95]), |pass| pass.mean);
        let stood = typical(&passes(&[2.0, 2.1, 1.9, 60.0, 1.95]), |pass| pass.mean);
        assert!((calm.value - 2.0).abs() < 1e-9 && (stood.value - 2.0).abs() < 0.051, "{stood:?}");
        assert!(stood.error < 2.0 * calm.error + 0.02, "{calm:?} {stood:?}");
        // One that mostly stands still is another matter.
        assert!(typical(&passes(&[2.0, 50.0, 60.0, 40.0, 2.0]), |pass| pass.mean).value > 30.0);
    }

    #[test]
    fn a_pass_that_others_disturbed_counts_only_where_there_are_few() {
        let mut passes = passes(&[2.0, 2.1, 1.9, 30.0, 40.0, 50.0]);
        passes[3..].iter_mut().for_each(|pass| pass.is_disturbed = true);
        assert!((typical(&passes, |pass| pass.mean).value - 2.0).abs() < 1e-9);
        passes[2].is_disturbed = true;
        assert!(typical(&passes, |pass| pass.mean).value > 15.0);
    }

    #[test]
    fn a_flush_that_takes_far_longer_than_others_is_a_disk_that_stood_still() {
        let recording = |usual: u64, longest: u64| {
            let mut commits = histogram();
            (0..100).for_each(|_| commits.record(usual).unwrap());
            commits.record(longest).unwrap();
            let mut recording = Recording::empty();
            recording.histograms.insert(Phase::Commit, commits);
            stood_still(&recording)
        };
        assert!(recording(250_000, 37_000_000));
        assert!(!recording(250_000, 5_000_000) && !recording(4_000_000, 37_000_000));
        assert!(!stood_still(&Recording::empty()));
    }

    #[test]
    fn passes_that_differ_are_less_sure_and_none_are_not_sure_at_all() {
        let alike = typical(&passes(&[2.0; 5]), |pass| pass.mean).error;
        let apart = typical(&passes(&[1.0, 1.5, 2.0, 3.0, 4.0]), |pass| pass.mean).error;
        // Of five that agree, what each does not know remains.
        assert!((alike - MEDIAN * 0.02 / 5.0_f64.sqrt()).abs() < 1e-12 && apart > 5.0 * alike, "{alike} {apart}");
        assert!(typical(&[], |pass| pass.mean).error.is_infinite());
        assert_eq!(median([3.0, 1.0].into_iter()), Some(2.0));
    }
}
