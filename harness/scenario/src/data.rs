//! The claims of a scenario: the generated ones, and those that arrive while the tasks run.
//!
//! Everything is a function of the scenario's data: the same seed gives the same claims, one
//! customer's do not depend on another's, and none are held in memory.

use std::sync::Arc;

use drift_engine::claim::{Claim, CustomerId};
use drift_engine::policy::Windows;
use jiff::ToSpan;
use jiff::civil::Date;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// The most claims that a scenario may start with, over all customers.
pub const CLAIMS_MAX: u32 = 1_000_000;
/// Arriving claims take at least this many days to be decided; generated ones take fewer.
pub const ARRIVING_DAYS_MIN: u32 = 60;

/// Payer, procedure group, share in twentieths of a customer's claims, and how the group behaves.
const GROUPS: [(&str, &str, u32, Shape); 6] = [
    ("northwind", "imaging", 4, Shape { denied: [0.15, 0.30], days: [12, 12], undecided: 0.1, current: 8 }),
    ("northwind", "surgery", 4, Shape { denied: [0.20, 0.20], days: [15, 15], undecided: 0.1, current: 8 }),
    ("acme", "imaging", 3, Shape { denied: [0.20, 0.20], days: [10, 18], undecided: 0.1, current: 8 }),
    ("acme", "therapy", 3, Shape { denied: [0.30, 0.10], days: [14, 14], undecided: 1.0, current: 8 }),
    ("harbour", "surgery", 3, Shape { denied: [0.10, 0.25], days: [24, 15], undecided: 0.2, current: 8 }),
    // Of the usual 600 claims too few are current to be compared, until more arrive.
    ("harbour", "therapy", 3, Shape { denied: [0.10, 0.60], days: [10, 20], undecided: 0.2, current: 3 }),
];
/// Outcomes that do not count. Of each twenty claims of a group one has such an outcome, one lies
/// before the windows and one after.
const IGNORED: [&str; 2] = ["PENDING", "VOIDED"];
/// The days of a decision vary by this much around the typical ones, either way.
const SPREAD_DAYS: u32 = 3;

/// What happens to the claims of one payer and procedure group; pairs are baseline, then current.
#[derive(Clone, Copy)]
struct Shape {
    /// The denied share of the claims that count.
    denied: [f64; 2],
    /// The typical days to a decision.
    days: [u32; 2],
    /// The share of claims without a decision date.
    undecided: f64,
    /// How many of each twenty claims are submitted in the current window.
    current: u32,
}

impl Shape {
    /// The same behaviour with somewhat other numbers: the denied shares up to a tenth off, together.
    fn varied(self, rng: &mut ChaCha8Rng) -> Self {
        let factor = rng.random_range(0.9..=1.1);
        Self { denied: self.denied.map(|share| share * factor), ..self }
    }
}

/// The claims of one payer and procedure group, in the making.
struct Group {
    payer: Arc<str>,
    cpt_group: Arc<str>,
    share: u32,
    shape: Shape,
    made: u32,
    counted: [u32; 2],
}

impl Group {
    fn next(&mut self, rng: &mut ChaCha8Rng, windows: Windows) -> Claim {
        let place = self.made % 20;
        self.made += 1;
        let side = usize::from(place >= 20 - self.shape.current);
        let (start, end) =
            [(windows.baseline_start, windows.current_start), (windows.current_start, windows.current_end)][side];
        let within = add(start, rng.random_range(0..days(start, end)));
        let (submitted_on, outcome) = match place {
            0 => (add_signed(windows.baseline_start, -rng.random_range(1..=30)), "DENIED"),
            1 => (add(windows.current_end, rng.random_range(0..7)), "DENIED"),
            2 => (within, IGNORED[rng.random_range(0..IGNORED.len())]),
            _ => (within, if self.is_denied(side) { "DENIED" } else { "PAID" }),
        };
        let takes = self.shape.days[side] + rng.random_range(0..=2 * SPREAD_DAYS) - SPREAD_DAYS;
        let undecided = rng.random_bool(self.shape.undecided);
        Claim {
            payer: self.payer.clone(),
            cpt_group: self.cpt_group.clone(),
            outcome: outcome.into(),
            submitted_on,
            decided_on: (!undecided).then(|| add(submitted_on, takes)),
        }
    }

    /// Spreads the denied ones evenly, so that small groups too have the share that is meant.
    fn is_denied(&mut self, side: usize) -> bool {
        let share = self.shape.denied[side];
        let nth = f64::from(self.counted[side]);
        self.counted[side] += 1;
        ((nth + 1.0) * share).floor() > (nth * share).floor()
    }
}

/// A seed of its own for one named part of what `seed` decides: FNV-1a over the name, then the
/// finaliser of SplitMix64.
pub fn fork(seed: u64, name: &str) -> u64 {
    let named = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mut mixed = (seed ^ named).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Streams the generated claims of one customer: groups that drift in one way or the other, stable
/// ones and one too small to be compared; undecided claims, ignored outcomes, and claims outside
/// both windows.
pub fn claims(
    seed: u64,
    windows: Windows,
    customer: CustomerId,
    count: u32,
) -> impl Iterator<Item = Claim> + Send + use<> {
    let mut rng = ChaCha8Rng::seed_from_u64(fork(seed, &format!("claims of customer {customer}")));
    let mut groups = GROUPS.map(|(payer, cpt_group, share, shape)| Group {
        payer: payer.into(),
        cpt_group: cpt_group.into(),
        share,
        shape: shape.varied(&mut rng),
        made: 0,
        counted: [0; 2],
    });
    (0..count).map(move |n| {
        let mut slot = n % 20;
        let group = groups.iter_mut().find(|group| {
            let here = slot < group.share;
            slot = slot.saturating_sub(group.share);
            here
        });
        group.expect("the shares add up to twenty").next(&mut rng, windows)
    })
}

/// The `n`th claim, from 0, that bystander `writer`, from 0, inserts.
///
/// A writer's claims are alike in everything that the drift engine counts, and unlike every other
/// claim: they are submitted in the current window and take [`ARRIVING_DAYS_MIN`]` + writer` days,
/// so that the count of that one cell says how many of them a task has read. Writers take turns at
/// making a stable group drift, a drifting group more like its baseline, and a small group large
/// enough to be compared, so that events are inserted, updated and withdrawn while they write.
pub fn arriving(windows: Windows, writer: u32, n: u32) -> Claim {
    let (payer, cpt_group, outcome) = match writer % 3 {
        0 => ("northwind", "surgery", "DENIED"),
        1 => ("northwind", "imaging", "PAID"),
        _ => ("harbour", "therapy", "DENIED"),
    };
    let submitted_on = add(windows.current_start, n % days(windows.current_start, windows.current_end));
    Claim {
        payer: payer.into(),
        cpt_group: cpt_group.into(),
        outcome: outcome.into(),
        submitted_on,
        decided_on: Some(add(submitted_on, ARRIVING_DAYS_MIN.saturating_add(writer))),
    }
}

/// The length of a window, in days; a window of a policy is never empty.
fn days(start: Date, end: Date) -> u32 {
    let days = (end - start).get_days();
    u32::try_from(days).expect("a window ends after it starts")
}

fn add(day: Date, days: u32) -> Date {
    add_signed(day, i64::from(days))
}

fn add_signed(day: Date, days: i64) -> Date {
    day.saturating_add(days.days())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use drift_engine::drift::{DriftType, Signal, aggregate, signals};
    use drift_engine::policy::Policy;
    use jiff::civil::date;

    use super::*;
    use crate::shipped::{SHIPPED, Shipped};

    fn windows() -> Windows {
        Policy::default().windows(date(2026, 4, 15)).expect("in the calendar")
    }

    fn usual(seed: u64) -> Vec<Claim> {
        claims(seed, windows(), CustomerId(1), 600).collect()
    }

    fn drifts(claims: &[Claim]) -> BTreeSet<(String, String, DriftType)> {
        let cells = aggregate(claims, &windows());
        let found = signals(&cells, &Policy::default());
        found.into_iter().map(|s| (s.payer.to_string(), s.cpt_group.to_string(), s.drift_type)).collect()
    }

    #[test]
    fn one_seed_gives_one_set_of_claims_and_another_seed_another() {
        assert_eq!(usual(1), usual(1));
        assert_ne!(usual(1), usual(2));
        let other: Vec<_> = claims(1, windows(), CustomerId(2), 600).collect();
        assert_ne!(usual(1), other);
    }

    #[test]
    fn fewer_claims_are_the_beginning_of_more() {
        let few: Vec<_> = claims(1, windows(), CustomerId(1), 77).collect();
        assert_eq!(few, usual(1)[..77]);
    }

    #[test]
    fn forks_differ_by_name_and_by_seed() {
        let seeds = BTreeSet::from([fork(1, "a"), fork(1, "b"), fork(2, "a"), fork(2, "b"), fork(1, ""), 1, 2]);
        assert_eq!(seeds.len(), 7);
        // Saved seeds must keep their meaning.
        assert_eq!(fork(0, ""), 14_087_677_454_934_409_008);
    }

    #[test]
    fn some_groups_drift_in_either_measure_and_some_do_not() {
        let drift = |payer: &str, cpt_group: &str, drift_type| (payer.to_owned(), cpt_group.to_owned(), drift_type);
        for seed in 0..200 {
            let found = drifts(&usual(seed));
            let expected = BTreeSet::from([
                drift("northwind", "imaging", DriftType::DenialRate),
                drift("acme", "imaging", DriftType::DecisionTime),
                drift("acme", "therapy", DriftType::DenialRate),
                drift("harbour", "surgery", DriftType::DenialRate),
                drift("harbour", "surgery", DriftType::DecisionTime),
            ]);
            assert_eq!(found, expected, "seed {seed}");
        }
    }

    #[test]
    fn the_data_holds_every_kind_of_claim_that_the_engine_tells_apart() {
        let claims = usual(1);
        let windows = windows();
        assert!(claims.iter().any(|c| c.submitted_on < windows.baseline_start));
        assert!(claims.iter().any(|c| c.submitted_on >= windows.current_end));
        assert!(claims.iter().any(|c| c.decided_on.is_none()));
        assert!(claims.iter().any(|c| &*c.outcome == "PENDING"));
        assert!(claims.iter().all(|c| c.decided_on.is_none_or(|decided| decided >= c.submitted_on)));
    }

    #[test]
    fn the_claims_of_a_writer_share_a_cell_that_nobody_else_uses() {
        let mut all = usual(1);
        let cells_before = aggregate(&all, &windows()).len();
        let longest = all.iter().filter_map(|c| Some((c.decided_on? - c.submitted_on).get_days())).max();
        assert!(longest < Some(ARRIVING_DAYS_MIN as i32));
        for writer in 0..64 {
            all.extend((0..100).map(|n| arriving(windows(), writer, n)));
        }
        let cells = aggregate(&all, &windows());
        assert_eq!(cells.len(), cells_before + 64);
        let counts: BTreeMap<_, _> = cells.iter().map(|cell| (cell.decision_days, cell.count)).collect();
        for writer in 0..64 {
            assert_eq!(counts[&Some(i64::from(ARRIVING_DAYS_MIN + writer))], 100);
        }
    }

    #[test]
    fn arriving_claims_bring_events_change_them_and_take_them_away() {
        let before = usual(1);
        let after = |writer| {
            let mut all = before.clone();
            all.extend((0..40).map(|n| arriving(windows(), writer, n)));
            drifts(&all)
        };
        let before = drifts(&before);
        assert!(after(0).is_superset(&before) && after(0) != before);
        assert!(after(1) != before);
        assert!(after(2).is_superset(&before) && after(2) != before);
    }

    /// Else an event that nobody brought up to date is right by coincidence, once it is withdrawn.
    #[test]
    fn what_arrives_in_the_scenario_of_that_name_brings_and_changes_events_and_takes_none_away() {
        let arrivals = SHIPPED.iter().map(Shipped::scenario).find(|scenario| scenario.name == "arrivals");
        let arrivals = arrivals.and_then(|scenario| scenario.arrivals).expect("it is shipped");
        for seed in 0..200 {
            let mut all = usual(seed);
            let before = signals(&aggregate(&all, &windows()), &Policy::default());
            for writer in 0..arrivals.writers {
                all.extend((0..arrivals.claims_per_writer).map(|n| arriving(windows(), writer, n)));
            }
            let after = signals(&aggregate(&all, &windows()), &Policy::default());
            let still = |event: &Signal| after.iter().find(|other| other.key() == event.key());
            assert!(before.iter().all(|event| still(event).is_some()), "seed {seed}: one is withdrawn");
            assert!(before.iter().any(|event| still(event) != Some(event)), "seed {seed}: none is changed");
            assert!(after.len() > before.len(), "seed {seed}: none is brought");
        }
    }
}
