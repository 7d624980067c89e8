//! Drift detection: counts of claims in, signals out; no database, no clock.
//!
//! The database aggregates claims into [`Cell`]s; [`signals`] computes exact medians and compares
//! thresholds in integers, so that a change of 0.05 is 0.05 and not 0.049999.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::claim::{Claim, Outcome};
use crate::policy::{DECISION_ABS_DAYS, DENIAL_ABS, Policy, RELATIVE, Window, Windows};

/// How many claims of a customer share payer, group, window, outcome and decision time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cell {
    /// Who was asked to pay.
    pub payer: Arc<str>,
    /// The procedure group.
    pub cpt_group: Arc<str>,
    /// The window of the submission date.
    pub window: Window,
    /// Paid or denied.
    pub outcome: Outcome,
    /// Days from submission to decision; `None` while undecided.
    pub decision_days: Option<i64>,
    /// The number of such claims.
    pub count: u64,
}

/// What has drifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DriftType {
    /// The share of denied claims.
    DenialRate,
    /// The median number of days from submission to decision.
    DecisionTime,
}

impl DriftType {
    /// The stored spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DenialRate => "DENIAL_RATE",
            Self::DecisionTime => "DECISION_TIME",
        }
    }

    /// Parses the stored spelling.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::DenialRate, Self::DecisionTime].into_iter().find(|t| t.as_str() == text)
    }
}

impl fmt::Display for DriftType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A drift of one payer and procedure group: what an event records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// Who was asked to pay.
    pub payer: Arc<str>,
    /// The procedure group.
    pub cpt_group: Arc<str>,
    /// What drifted.
    pub drift_type: DriftType,
    /// The value in the baseline window: a rate from 0 to 1, or days.
    pub baseline_value: f64,
    /// The value in the current window, in the same unit.
    pub current_value: f64,
    /// Current minus baseline.
    pub delta: f64,
    /// From 0 to 1.
    pub severity: f64,
    /// From 0 to 1.
    pub confidence: f64,
}

/// The business key of a signal within a run.
pub type SignalKey = (Arc<str>, Arc<str>, DriftType);

impl Signal {
    /// The business key: one event a run may have it.
    pub fn key(&self) -> SignalKey {
        (self.payer.clone(), self.cpt_group.clone(), self.drift_type)
    }
}

/// Counts claims the way the database's aggregate query does; claims outside the windows, and
/// outcomes other than paid and denied, do not count.
pub fn aggregate<'a>(claims: impl IntoIterator<Item = &'a Claim>, windows: &Windows) -> Vec<Cell> {
    let mut counts = BTreeMap::new();
    for claim in claims {
        let (Some(window), Some(outcome)) = (windows.of(claim.submitted_on), Outcome::parse(&claim.outcome)) else {
            continue;
        };
        let decision_days = claim.decided_on.map(|decided| days_between(claim, decided));
        let key = (claim.payer.clone(), claim.cpt_group.clone(), window, outcome, decision_days);
        *counts.entry(key).or_insert(0) += 1;
    }
    counts
        .into_iter()
        .map(|((payer, cpt_group, window, outcome, decision_days), count)| Cell {
            payer,
            cpt_group,
            window,
            outcome,
            decision_days,
            count,
        })
        .collect()
}

fn days_between(claim: &Claim, decided: jiff::civil::Date) -> i64 {
    i64::from((decided - claim.submitted_on).get_days())
}

/// Computes the signals of one customer, ordered by business key.
///
/// Cells may come in any order and a cell may appear in several parts.
pub fn signals(cells: &[Cell], policy: &Policy) -> Vec<Signal> {
    let mut groups: BTreeMap<(&Arc<str>, &Arc<str>), [Side; 2]> = BTreeMap::new();
    for cell in cells {
        let sides = groups.entry((&cell.payer, &cell.cpt_group)).or_default();
        let side = &mut sides[usize::from(cell.window == Window::Current)];
        side.total += cell.count;
        if cell.outcome == Outcome::Denied {
            side.denied += cell.count;
        }
        if let Some(days) = cell.decision_days {
            *side.days.entry(days).or_default() += cell.count;
        }
    }
    let mut found = Vec::new();
    for ((payer, cpt_group), [baseline, current]) in groups {
        let needed = u64::from(policy.min_volume());
        if baseline.total < needed || current.total < needed {
            continue;
        }
        let confidence = ((baseline.total + current.total) as f64 / (4 * needed) as f64).min(1.0);
        let signal = |drift_type, baseline_value: f64, current_value: f64, severity: fn(f64) -> f64| {
            let delta = current_value - baseline_value;
            Signal {
                payer: payer.clone(),
                cpt_group: cpt_group.clone(),
                drift_type,
                baseline_value,
                current_value,
                delta,
                severity: severity(delta.abs()).min(1.0),
                confidence,
            }
        };
        if denial_drifted(&baseline, &current) {
            found.push(signal(DriftType::DenialRate, baseline.rate(), current.rate(), |delta| 2.0 * delta));
        }
        if let (Some(before), Some(now)) = (baseline.median_doubled(), current.median_doubled())
            && decision_drifted(before, now)
        {
            let days = |doubled: i128| doubled as f64 / 2.0;
            found.push(signal(DriftType::DecisionTime, days(before), days(now), |delta| delta / 10.0));
        }
    }
    found
}

/// One payer and group in one window.
#[derive(Default)]
struct Side {
    total: u64,
    denied: u64,
    /// Claims by days to decision.
    days: BTreeMap<i64, u64>,
}

impl Side {
    fn rate(&self) -> f64 {
        self.denied as f64 / self.total as f64
    }

    /// Twice the median, which is an integer also for an even number of claims.
    fn median_doubled(&self) -> Option<i128> {
        let decided: u64 = self.days.values().sum();
        if decided == 0 {
            return None;
        }
        let at = |rank: u64| {
            let mut below = 0;
            let day = self.days.iter().find(|(_, count)| {
                below += **count;
                below > rank
            });
            i128::from(*day.expect("the rank is below the number of decided claims").0)
        };
        Some(at((decided - 1) / 2) + at(decided / 2))
    }
}

/// |Δ| ≥ 0.05, or |Δ| ≥ half of a baseline above zero; multiplied out.
fn denial_drifted(baseline: &Side, current: &Side) -> bool {
    let (baseline_total, current_total) = (i128::from(baseline.total), i128::from(current.total));
    let (baseline_denied, current_denied) = (i128::from(baseline.denied), i128::from(current.denied));
    let difference = (current_denied * baseline_total - baseline_denied * current_total).abs();
    difference * DENIAL_ABS.1 >= baseline_total * current_total * DENIAL_ABS.0
        || (baseline_denied > 0 && difference * RELATIVE.1 >= baseline_denied * current_total * RELATIVE.0)
}

/// |Δ| ≥ 3 days, or |Δ| ≥ half of a baseline above zero; on doubled medians.
fn decision_drifted(before: i128, now: i128) -> bool {
    let difference = (now - before).abs();
    difference >= 2 * DECISION_ABS_DAYS || (before > 0 && difference * RELATIVE.1 >= before * RELATIVE.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(window: Window, outcome: Outcome, decision_days: Option<i64>, count: u64) -> Cell {
        Cell { payer: "acme".into(), cpt_group: "mri".into(), window, outcome, decision_days, count }
    }

    fn types(cells: &[Cell]) -> Vec<DriftType> {
        signals(cells, &Policy::default()).iter().map(|s| s.drift_type).collect()
    }

    #[test]
    fn five_points_are_a_drift_and_one_claim_less_is_not() {
        let at = |denied| {
            [
                cell(Window::Baseline, Outcome::Denied, None, 20),
                cell(Window::Baseline, Outcome::Paid, None, 80),
                cell(Window::Current, Outcome::Denied, None, denied),
                cell(Window::Current, Outcome::Paid, None, 100 - denied),
            ]
        };
        assert_eq!(types(&at(25)), [DriftType::DenialRate]);
        assert_eq!(types(&at(24)), []);
        let found = &signals(&at(25), &Policy::default())[0];
        assert_eq!((found.baseline_value, found.current_value), (0.2, 0.25));
        assert_eq!(found.confidence, 1.0);
    }

    #[test]
    fn a_small_rate_that_halves_is_a_drift() {
        let cells = [
            cell(Window::Baseline, Outcome::Denied, None, 4),
            cell(Window::Baseline, Outcome::Paid, None, 96),
            cell(Window::Current, Outcome::Denied, None, 2),
            cell(Window::Current, Outcome::Paid, None, 98),
        ];
        assert_eq!(types(&cells), [DriftType::DenialRate]);
    }

    #[test]
    fn the_median_of_an_even_number_is_halfway() {
        let cells = [
            cell(Window::Baseline, Outcome::Paid, Some(10), 15),
            cell(Window::Baseline, Outcome::Paid, Some(11), 15),
            cell(Window::Current, Outcome::Paid, Some(13), 15),
            cell(Window::Current, Outcome::Paid, Some(14), 15),
        ];
        let found = signals(&cells, &Policy::default());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].baseline_value, found[0].current_value), (10.5, 13.5));
        assert_eq!((found[0].delta, found[0].severity), (3.0, 0.3));
        assert_eq!(found[0].confidence, 0.5);
    }

    #[test]
    fn undecided_claims_count_for_the_rate_and_not_for_the_median() {
        let cells =
            [cell(Window::Baseline, Outcome::Paid, Some(1), 30), cell(Window::Current, Outcome::Denied, None, 30)];
        assert_eq!(types(&cells), [DriftType::DenialRate]);
    }

    #[test]
    fn a_window_below_the_minimum_volume_gives_nothing() {
        let cells =
            [cell(Window::Baseline, Outcome::Paid, None, 29), cell(Window::Current, Outcome::Denied, None, 1_000)];
        assert_eq!(types(&cells), []);
    }
}
