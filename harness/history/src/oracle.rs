//! What a recompute should find, computed naively: sorted lists and fractions, and nothing of the
//! engine's code, so that a mistake would have to be made twice.
//!
//! [`signals`] starts from raw claims; [`signals_of_cells`] from counts, which is what a task reads.

use std::cmp::Ordering;

use drift_engine::claim::{Claim, Outcome};
use drift_engine::drift::{Cell, DriftType, Signal};
use drift_engine::policy::Window;
use drift_engine::run::Identity;
use jiff::civil::Date;

/// Counts raw claims one by one, in the order in which cells first occur.
pub fn cells<'a>(claims: impl IntoIterator<Item = &'a Claim>, identity: &Identity) -> Vec<Cell> {
    let mut found: Vec<Cell> = claims.into_iter().filter_map(|claim| cell_of(claim, identity)).collect();
    found.sort();
    found.chunk_by(|a, b| a == b).map(|same| Cell { count: same.len() as u64, ..same[0].clone() }).collect()
}

/// The cell that one claim counts in, if it counts at all.
pub fn cell_of(claim: &Claim, identity: &Identity) -> Option<Cell> {
    let outcome = match &*claim.outcome {
        "PAID" => Outcome::Paid,
        "DENIED" => Outcome::Denied,
        _ => return None,
    };
    let age = day(identity.as_of) - day(claim.submitted_on);
    let current = i64::from(identity.policy.current_days());
    let window = match age {
        _ if age <= 0 => return None,
        _ if age <= current => Window::Current,
        _ if age <= current + i64::from(identity.policy.baseline_days()) => Window::Baseline,
        _ => return None,
    };
    let decision_days = claim.decided_on.map(|decided| day(decided) - day(claim.submitted_on));
    Some(Cell {
        payer: claim.payer.clone(),
        cpt_group: claim.cpt_group.clone(),
        window,
        outcome,
        decision_days,
        count: 1,
    })
}

/// The number of a day, counted from the first of the year 0 in the proleptic Gregorian calendar
/// (Hinnant, "chrono-Compatible Low-Level Date Algorithms": years begin in March, so that the leap
/// day comes last).
fn day(date: Date) -> i64 {
    let (month, day) = (i64::from(date.month()), i64::from(date.day()));
    let year = i64::from(date.year()) - i64::from(month <= 2);
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + (153 * ((month + 9) % 12) + 2) / 5 + day - 1
}

/// The signals of raw claims, ordered by business key.
pub fn signals<'a>(claims: impl IntoIterator<Item = &'a Claim>, identity: &Identity) -> Vec<Signal> {
    signals_of_cells(&cells(claims, identity), identity.policy.min_volume())
}

/// The signals of counted claims, ordered by business key; `min_volume` is in claims for each window.
pub fn signals_of_cells(cells: &[Cell], min_volume: u32) -> Vec<Signal> {
    let mut ordered: Vec<&Cell> = cells.iter().collect();
    ordered.sort_by(|a, b| (&a.payer, &a.cpt_group).cmp(&(&b.payer, &b.cpt_group)));
    ordered
        .chunk_by(|a, b| (&a.payer, &a.cpt_group) == (&b.payer, &b.cpt_group))
        .flat_map(|group| signals_of_group(group, u64::from(min_volume)))
        .collect()
}

/// The signals of one payer and procedure group.
fn signals_of_group(group: &[&Cell], min_volume: u64) -> Vec<Signal> {
    let count = |window, denied_only: bool| -> u64 {
        let counts = |cell: &&&Cell| cell.window == window && (!denied_only || cell.outcome == Outcome::Denied);
        group.iter().filter(counts).map(|cell| cell.count).sum()
    };
    let (before, now) = (count(Window::Baseline, false), count(Window::Current, false));
    if before < min_volume || now < min_volume {
        return Vec::new();
    }
    let confidence = ((before + now) as f64 / (4 * min_volume) as f64).min(1.0);
    let signal = |drift_type, baseline: Fraction, current: Fraction, severity: fn(f64) -> f64| {
        let (baseline_value, current_value) = (baseline.value(), current.value());
        let delta = current_value - baseline_value;
        Signal {
            payer: group[0].payer.clone(),
            cpt_group: group[0].cpt_group.clone(),
            drift_type,
            baseline_value,
            current_value,
            delta,
            severity: severity(delta.abs()).min(1.0),
            confidence,
        }
    };
    let mut found = Vec::new();
    let rates = (Fraction::of(count(Window::Baseline, true), before), Fraction::of(count(Window::Current, true), now));
    if drifted(rates.0, rates.1, Fraction { over: 1, under: 20 }) {
        found.push(signal(DriftType::DenialRate, rates.0, rates.1, |delta| 2.0 * delta));
    }
    if let (Some(before), Some(now)) = (median(group, Window::Baseline), median(group, Window::Current))
        && drifted(before, now, Fraction { over: 3, under: 1 })
    {
        found.push(signal(DriftType::DecisionTime, before, now, |delta| delta / 10.0));
    }
    found
}

/// The median of the days to decision in one window; of an even number, halfway between the middle two.
fn median(group: &[&Cell], window: Window) -> Option<Fraction> {
    let mut days: Vec<(i64, u64)> = group
        .iter()
        .filter(|cell| cell.window == window)
        .filter_map(|cell| cell.decision_days.map(|days| (days, cell.count)))
        .filter(|&(_, count)| count > 0)
        .collect();
    days.sort_unstable();
    let decided: u64 = days.iter().map(|&(_, count)| count).sum();
    let nth = |n: u64| {
        let mut passed = 0;
        days.iter().find_map(|&(days, count)| {
            passed += count;
            (passed > n).then_some(i128::from(days))
        })
    };
    match (nth(decided.checked_sub(1)? / 2), nth(decided / 2)) {
        (Some(low), Some(high)) => Some(Fraction { over: low + high, under: 2 }),
        _ => None,
    }
}

/// Whether a value moved by at least `least`, or by at least half of a baseline above zero.
fn drifted(baseline: Fraction, current: Fraction, least: Fraction) -> bool {
    let moved = current.minus(baseline).size();
    let half = Fraction { over: baseline.over, under: 2 * baseline.under };
    moved.compare(least) != Ordering::Less || (baseline.over > 0 && moved.compare(half) != Ordering::Less)
}

/// An exact number; the denominator is positive.
#[derive(Clone, Copy)]
struct Fraction {
    over: i128,
    under: i128,
}

impl Fraction {
    fn of(over: u64, under: u64) -> Self {
        Self { over: i128::from(over), under: i128::from(under) }
    }

    fn minus(self, other: Self) -> Self {
        Self { over: self.over * other.under - other.over * self.under, under: self.under * other.under }
    }

    fn size(self) -> Self {
        Self { over: self.over.abs(), ..self }
    }

    fn compare(self, other: Self) -> Ordering {
        (self.over * other.under).cmp(&(other.over * self.under))
    }

    fn value(self) -> f64 {
        self.over as f64 / self.under as f64
    }
}

#[cfg(test)]
mod tests;
