//! How sure a run is of its responses: neighbours are alike, so a run knows less than its number of tasks says.

use super::compare::series::estimate;
use super::phase::Phase;
use super::recording::{Interval, Recording};

/// The standard error of the mean response's logarithm; infinite of a run without tasks.
pub fn mean_error(recording: &Recording) -> f64 {
    let pair = |interval: &Interval| (interval.response as f64, interval.done as f64);
    // By when tasks should have begun, as the histogram counts them; by when they ended where nothing else is known.
    let pairs: Vec<(f64, f64)> = if recording.intended.is_empty() {
        recording.series.iter().map(pair).collect()
    } else {
        recording.intended.iter().map(|interval| pair(&interval.performed)).collect()
    };
    let is_empty = recording.histograms.get(&Phase::Response).is_none_or(|responses| responses.is_empty());
    if is_empty { f64::INFINITY } else { estimate(&pairs).error }
}

/// The standard error of the rate's logarithm.
pub fn rate_error(recording: &Recording) -> f64 {
    let pairs: Vec<(f64, f64)> = recording.series.iter().map(|interval| (interval.done as f64, 1.0)).collect();
    estimate(&pairs).error
}

/// The number of tasks that, each on its own, would know the mean response as well (the effective sample size).
fn effective(recording: &Recording) -> Option<f64> {
    let responses = recording.histograms.get(&Phase::Response).filter(|responses| !responses.is_empty())?;
    let tasks = responses.len() as f64;
    let (spread, error) = (responses.stdev() / responses.mean(), mean_error(recording));
    let known = if error > 0.0 && spread > 0.0 { (spread / error).powi(2) } else { tasks };
    Some(known.clamp(1.0, tasks))
}

/// Between which responses, in nanoseconds, a quantile lies: `sure` standard errors to each side. The upper one is
/// the longest response where the effective number of tasks is too small for one, and infinite where their number
/// is; `None` of a run without tasks.
pub fn quantile_between(recording: &Recording, quantile: f64, sure: f64) -> Option<(f64, f64)> {
    let responses = recording.histograms.get(&Phase::Response)?;
    let effective = effective(recording)?;
    // How many tasks lie below the quantile is binomial.
    let off = |tasks: f64| sure * (quantile * (1.0 - quantile) / tasks).sqrt();
    let at = |quantile: f64| responses.value_at_quantile(quantile.clamp(0.0, 1.0)) as f64;
    let is_reached = |tasks: f64| quantile + off(tasks) < 1.0;
    let high = if is_reached(effective) {
        at(quantile + off(effective))
    } else if is_reached(responses.len() as f64) {
        responses.max() as f64
    } else {
        f64::INFINITY
    };
    Some((at(quantile - off(effective)), high))
}

/// The standard error of a quantile's logarithm; that of the longest response where the run is too short to say.
pub fn quantile_error(recording: &Recording, quantile: f64) -> f64 {
    let Some((low, high)) = quantile_between(recording, quantile, 1.0) else { return f64::INFINITY };
    let longest = recording.quantile(Phase::Response, 1.0).unwrap_or(0) as f64;
    (high.min(longest).max(1.0) / low.max(1.0)).ln() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::recording::{Share, histogram};

    /// `count` intervals of ten tasks; the mean of each stays the same for `alike` intervals.
    fn recording(count: u64, alike: u64) -> Recording {
        let mut responses = histogram();
        let mut recording = Recording::empty();
        let mut all = Share::default();
        for interval in 0..count {
            // Some order that no neighbour knows of.
            let level = (interval / alike * 7_919 % 101) * 100_000;
            let mut seen = Interval::default();
            for task in 0..10 {
                let response = level + task * 1_000_000 + 1;
                responses.record(response).unwrap();
                seen.add(response, 0, 0);
                all.add(response, 0, 0);
            }
            recording.series.push(seen);
        }
        recording.histograms.insert(Phase::Response, responses);
        recording.workers.push(all);
        recording
    }

    #[test]
    fn a_run_whose_neighbours_are_alike_is_less_sure() {
        let (apart, alike) = (recording(200, 1), recording(200, 20));
        assert!(mean_error(&alike) > 2.0 * mean_error(&apart));
        assert!(quantile_error(&alike, 0.9) > 1.5 * quantile_error(&apart, 0.9));
        let (low, high) = quantile_between(&apart, 0.5, 2.0).unwrap();
        let middle = apart.quantile(Phase::Response, 0.5).unwrap() as f64;
        assert!(low < middle && middle < high);
    }

    #[test]
    fn a_run_that_is_too_short_is_not_sure() {
        let short = recording(3, 1);
        assert!(quantile_between(&short, 0.99, 1.96).unwrap().1.is_infinite());
        assert!(quantile_error(&short, 0.99).is_finite());
        assert!(quantile_between(&Recording::empty(), 0.5, 1.0).is_none());
        assert!(
            mean_error(&Recording::empty()).is_infinite() && quantile_error(&Recording::empty(), 0.5).is_infinite()
        );
    }
}
