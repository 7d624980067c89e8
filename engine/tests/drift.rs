//! The engine's drift detection against a second definition of it: over raw claims, in fractions,
//! with nothing aggregated and nothing multiplied out.

use std::collections::BTreeSet;

use drift_engine::claim::Claim;
use drift_engine::drift::{DriftType, Signal, aggregate, signals};
use drift_engine::policy::Policy;
use jiff::civil::{Date, date};
use jiff::{Span, ToSpan};
use proptest::prelude::*;

const AS_OF: Date = date(2026, 3, 2);

/// A fraction whose denominator is above zero.
#[derive(Clone, Copy, Debug)]
struct Fraction(i128, i128);

impl Fraction {
    fn minus(self, other: Self) -> Self {
        Self(self.0 * other.1 - other.0 * self.1, self.1 * other.1)
    }

    fn abs(self) -> Self {
        Self(self.0.abs(), self.1)
    }

    /// Divides by a fraction above zero.
    fn over(self, other: Self) -> Self {
        Self(self.0 * other.1, self.1 * other.0)
    }

    fn is_at_least(self, other: Self) -> bool {
        self.minus(other).0 >= 0
    }

    fn to_f64(self) -> f64 {
        self.0 as f64 / self.1 as f64
    }
}

/// The specification, sentence by sentence.
fn oracle(claims: &[Claim], policy: &Policy, as_of: Date) -> Vec<Signal> {
    let days = |n: u32| -> Span { i64::from(n).days() };
    let current_start = as_of - days(policy.current_days());
    let baseline_start = current_start - days(policy.baseline_days());
    let groups: BTreeSet<_> = claims.iter().map(|c| (c.payer.clone(), c.cpt_group.clone())).collect();
    let mut found = Vec::new();
    for (payer, cpt_group) in groups {
        let within = |from: Date, until: Date| -> Vec<&Claim> {
            claims
                .iter()
                .filter(|c| c.payer == payer && c.cpt_group == cpt_group)
                .filter(|c| from <= c.submitted_on && c.submitted_on < until)
                .filter(|c| *c.outcome == *"PAID" || *c.outcome == *"DENIED")
                .collect()
        };
        let (baseline, current) = (within(baseline_start, current_start), within(current_start, as_of));
        let needed = policy.min_volume() as usize;
        if baseline.len() < needed || current.len() < needed {
            continue;
        }
        let confidence = ((baseline.len() + current.len()) as f64 / (4.0 * needed as f64)).min(1.0);
        let mut compare = |drift_type, before: Fraction, now: Fraction, absolute: Fraction, per_unit: f64| {
            let change = now.minus(before).abs();
            let relative = before.0 > 0 && change.over(before).is_at_least(Fraction(1, 2));
            if change.is_at_least(absolute) || relative {
                found.push(Signal {
                    payer: payer.clone(),
                    cpt_group: cpt_group.clone(),
                    drift_type,
                    baseline_value: before.to_f64(),
                    current_value: now.to_f64(),
                    delta: now.minus(before).to_f64(),
                    severity: (change.to_f64() * per_unit).min(1.0),
                    confidence,
                });
            }
        };
        compare(DriftType::DenialRate, rate(&baseline), rate(&current), Fraction(5, 100), 2.0);
        if let (Some(before), Some(now)) = (median(&baseline), median(&current)) {
            compare(DriftType::DecisionTime, before, now, Fraction(3, 1), 0.1);
        }
    }
    found
}

fn rate(claims: &[&Claim]) -> Fraction {
    let denied = claims.iter().filter(|c| *c.outcome == *"DENIED").count();
    Fraction(denied as i128, claims.len() as i128)
}

fn median(claims: &[&Claim]) -> Option<Fraction> {
    let mut days: Vec<i128> =
        claims.iter().filter_map(|c| Some(i128::from((c.decided_on? - c.submitted_on).get_days()))).collect();
    days.sort_unstable();
    let middle = days.len() / 2;
    match days.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(Fraction(days[middle], 1)),
        _ => Some(Fraction(days[middle - 1] + days[middle], 2)),
    }
}

fn engine(claims: &[Claim], policy: &Policy, as_of: Date) -> Vec<Signal> {
    let windows = policy.windows(as_of).expect("in the calendar");
    signals(&aggregate(claims, &windows), policy)
}

/// The values are quotients of small integers, and so the same to the last bit; what is computed
/// from them may differ by rounding.
fn assert_same(engine: &[Signal], oracle: &[Signal], why: &dyn std::fmt::Debug) {
    let keys = |signals: &[Signal]| signals.iter().map(Signal::key).collect::<Vec<_>>();
    assert_eq!(keys(engine), keys(oracle), "{why:?}");
    for (ours, theirs) in engine.iter().zip(oracle) {
        assert_eq!((ours.baseline_value, ours.current_value), (theirs.baseline_value, theirs.current_value), "{why:?}");
        assert_eq!(ours.confidence, theirs.confidence, "{why:?}");
        assert!((ours.delta - theirs.delta).abs() < 1e-12, "{ours:?} {theirs:?}");
        assert!((ours.severity - theirs.severity).abs() < 1e-12, "{ours:?} {theirs:?}");
        assert_eq!(ours.delta, ours.current_value - ours.baseline_value);
    }
}

fn claim(outcome: &str, submitted_on: Date, decision_days: Option<i64>) -> Claim {
    let decided_on = decision_days.map(|n| submitted_on + n.days());
    Claim { payer: "p".into(), cpt_group: "g".into(), outcome: outcome.into(), submitted_on, decided_on }
}

fn claims() -> impl Strategy<Value = Vec<Claim>> {
    let outcome = prop_oneof![4 => Just("PAID"), 3 => Just("DENIED"), 1 => Just("PENDING"), 1 => Just("paid")];
    let one = (0..2_u8, 0..2_u8, outcome, -2..=14_i64, proptest::option::weighted(0.7, 0..12_i64)).prop_map(
        |(payer, group, outcome, age_days, decision_days)| Claim {
            payer: format!("payer {payer}").into(),
            cpt_group: format!("group {group}").into(),
            ..claim(outcome, AS_OF - age_days.days(), decision_days)
        },
    );
    proptest::collection::vec(one, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_finds_what_the_definition_says_in_any_claims(
        claims in claims(), baseline_days in 1..9_u32, current_days in 1..6_u32, min_volume in 1..7_u32,
    ) {
        let policy = Policy::new(baseline_days, current_days, min_volume).expect("a policy");
        assert_same(&engine(&claims, &policy, AS_OF), &oracle(&claims, &policy, AS_OF), &(claims, policy));
    }

    #[test]
    fn neither_the_order_of_the_claims_nor_splitting_the_counts_changes_anything(
        claims in claims(), rotation in 0..120_usize,
    ) {
        let policy = Policy::new(8, 5, 2).expect("a policy");
        let windows = policy.windows(AS_OF).expect("in the calendar");
        let mut rotated = claims.clone();
        rotated.rotate_left(rotation.min(claims.len()));
        let (one, other) = rotated.split_at(rotated.len() / 2);
        let parts = [aggregate(other, &windows), aggregate(one, &windows)].concat();
        prop_assert_eq!(signals(&parts, &policy), engine(&claims, &policy, AS_OF));
    }
}

#[test]
fn every_pair_of_denial_rates_of_few_claims_is_compared_exactly() {
    let policy = Policy::new(3, 2, 1).expect("a policy");
    let windows = policy.windows(AS_OF).expect("in the calendar");
    let (before, now) = (windows.baseline_start, windows.current_start);
    let window = |day, denied: usize, total: usize| {
        (0..total).map(move |n| claim(if n < denied { "DENIED" } else { "PAID" }, day, None))
    };
    let (mut at_five_points, mut at_one_half) = (0, 0);
    // 20 claims allow steps of exactly 0.05, and so do mixtures such as 1/4 against 1/5. A change by
    // half of the baseline counts on its own only below 0.1: 2/40 to 1/40, 2/25 to 2/50.
    for (baseline, current) in [(20, 20), (20, 4), (5, 4), (10, 20), (12, 15), (3, 20), (7, 9), (40, 40), (25, 50)] {
        for baseline_denied in 0..=baseline {
            for current_denied in 0..=current {
                let claims: Vec<_> =
                    window(before, baseline_denied, baseline).chain(window(now, current_denied, current)).collect();
                let expected = oracle(&claims, &policy, AS_OF);
                assert_same(&engine(&claims, &policy, AS_OF), &expected, &(baseline_denied, current_denied));
                let difference = (baseline_denied * current).abs_diff(current_denied * baseline);
                let five_points = difference * 20 == baseline * current;
                let one_half = baseline_denied > 0 && difference * 2 == baseline_denied * current;
                assert!(!(five_points || one_half) || expected.len() == 1, "a change equal to a threshold is a drift");
                at_five_points += u32::from(five_points);
                at_one_half += u32::from(one_half && difference * 20 < baseline * current);
            }
        }
    }
    assert!(at_five_points >= 40 && at_one_half >= 4, "the boundaries were met: {at_five_points}, {at_one_half}");
}

#[test]
fn every_pair_of_medians_of_few_claims_is_compared_exactly() {
    let policy = Policy::new(3, 2, 1).expect("a policy");
    let windows = policy.windows(AS_OF).expect("in the calendar");
    // One decision (odd), or two (even, with halves); pairs only in order, for the median has none.
    let mut samples: Vec<Vec<i64>> = (0..9).map(|day| vec![day]).collect();
    samples.extend((0..9).flat_map(|a| (a..9).map(move |b| vec![a, b])));
    let mut at_three_days = 0;
    for before in &samples {
        for now in &samples {
            let on = |day, days: &[i64]| days.iter().map(move |n| claim("PAID", day, Some(*n))).collect::<Vec<_>>();
            let claims = [on(windows.baseline_start, before), on(windows.current_start, now)].concat();
            let expected = oracle(&claims, &policy, AS_OF);
            assert_same(&engine(&claims, &policy, AS_OF), &expected, &(before, now));
            let doubled = |days: &[i64]| days[0] + days[days.len() - 1];
            if doubled(before).abs_diff(doubled(now)) == 6 {
                at_three_days += 1;
                assert_eq!(expected.len(), 1, "{before:?} {now:?}");
            }
        }
    }
    assert!(at_three_days >= 100, "the boundary was met {at_three_days} times");
}

#[test]
fn the_minimum_volume_is_needed_in_both_windows_and_is_enough() {
    let policy = Policy::default();
    let windows = policy.windows(AS_OF).expect("in the calendar");
    for (baseline, current, drifts) in [(30, 30, true), (29, 30, false), (30, 29, false)] {
        let mut claims = vec![claim("PAID", windows.baseline_start, None); baseline];
        claims.extend(vec![claim("DENIED", windows.current_start, None); current]);
        // Claims that do not count do not fill a window.
        claims.extend(vec![claim("PENDING", windows.baseline_start, None); 5]);
        claims.extend(vec![claim("PAID", AS_OF, None); 5]);
        let found = engine(&claims, &policy, AS_OF);
        assert_eq!(!found.is_empty(), drifts, "{baseline} {current}");
        assert_same(&found, &oracle(&claims, &policy, AS_OF), &(baseline, current));
    }
}
