//! The oracle and the engine agree, on claims that neither has seen before.

use std::sync::Arc;

use drift_engine::claim::{Claim, CustomerId};
use drift_engine::drift;
use drift_engine::policy::Policy;
use drift_engine::run::Identity;
use jiff::ToSpan;
use jiff::civil::{Date, date};
use proptest::prelude::*;

use super::*;

const AS_OF: Date = date(2024, 3, 10);

fn identity(baseline_days: u32, current_days: u32, min_volume: u32) -> Identity {
    let policy = Policy::new(baseline_days, current_days, min_volume).unwrap();
    Identity { customer: CustomerId(1), as_of: AS_OF, policy }
}

fn claim() -> impl Strategy<Value = Claim> {
    let name = |names: &'static [&'static str]| proptest::sample::select(names).prop_map(Arc::<str>::from);
    // Days on both sides of every edge of the windows; decisions also before the submission.
    let days = (-3_i64..50, proptest::option::weighted(0.8, -2_i64..12));
    (name(&["acme", "best"]), name(&["lab", "mri"]), name(&["PAID", "DENIED", "PENDING"]), days).prop_map(
        |(payer, cpt_group, outcome, (age, wait))| {
            let submitted_on = AS_OF.checked_sub(age.days()).unwrap();
            let decided_on = wait.map(|wait| submitted_on.checked_add(wait.days()).unwrap());
            Claim { payer, cpt_group, outcome, submitted_on, decided_on }
        },
    )
}

fn bits(signals: &[Signal]) -> Vec<[u64; 5]> {
    let of = |s: &Signal| [s.baseline_value, s.current_value, s.delta, s.severity, s.confidence].map(f64::to_bits);
    signals.iter().map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_oracle_and_the_engine_agree_on_any_claims(
        claims in prop::collection::vec(claim(), 0..250),
        (baseline, current, volume) in (1_u32..40, 1_u32..12, 1_u32..12),
    ) {
        let identity = identity(baseline, current, volume);
        let counted = drift::aggregate(&claims, &identity.windows().unwrap());
        let mut naive = cells(&claims, &identity);
        naive.sort();
        prop_assert_eq!(&naive, &counted);
        let (engine, oracle) = (drift::signals(&counted, &identity.policy), signals(&claims, &identity));
        prop_assert_eq!(&engine, &oracle);
        prop_assert_eq!(bits(&engine), bits(&oracle));
    }

    #[test]
    fn a_cell_may_come_in_parts_and_in_any_order(
        claims in prop::collection::vec(claim(), 0..80).prop_shuffle(),
    ) {
        let identity = identity(30, 10, 2);
        let parts: Vec<Cell> = claims.iter().filter_map(|claim| cell_of(claim, &identity)).collect();
        prop_assert_eq!(signals_of_cells(&parts, 2), signals(&claims, &identity));
        prop_assert_eq!(signals_of_cells(&parts, 2), drift::signals(&parts, &identity.policy));
    }

    #[test]
    fn days_are_numbered_as_the_calendar_counts_them(from in -1_000_i64..1_000_000, step in 0_i64..100_000) {
        let epoch = date(0, 3, 1);
        let (start, end) = (epoch + from.days(), epoch + (from + step).days());
        prop_assert_eq!(day(end) - day(start), step);
    }
}
