//! Whether two runs were measured on one machine: what was calibrated beside each of them, and what others took meanwhile.
//!
//! Where there are several runs a side, how far they are apart shows it. One run a side does not. A flush that takes a third
//! longer makes each task that holds a lock over it longer, and no version is to blame: so one run a side is taken to be as
//! far off by chance as the server's own times are apart. What a task takes alone is not used: the version may be the reason.

use serde::{Deserialize, Serialize};

/// The part of the processors that others may take beside a run that is the only one of its side.
const OTHERS_MAX: f64 = 0.25;
/// How far that may be apart between two such runs.
const OTHERS_APART_MAX: f64 = 0.15;

/// What was measured beside a run of `bench`, of what is not the version's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// A statement that does nothing, in nanoseconds; only a server has it.
    pub round_trip: Option<f64>,
    /// The flush of a COMMIT, in nanoseconds.
    pub flush: Option<f64>,
    /// What a task took alone, in nanoseconds.
    pub alone: Option<f64>,
    /// The part of the processors that others took.
    pub others: Option<f64>,
    /// Whether a server that this program did not start is one of these others.
    pub counts_server: bool,
}

/// How far the server's own times are apart between two runs, on a logarithmic scale; 0 where nothing is known.
pub fn shift(base: &Machine, new: &Machine) -> f64 {
    let apart = |of: fn(&Machine) -> Option<f64>| {
        let (base, new) = (of(base).filter(|time| *time > 0.0)?, of(new).filter(|time| *time > 0.0)?);
        Some((new / base).ln().abs())
    };
    let times: [fn(&Machine) -> Option<f64>; 2] = [|machine| machine.round_trip, |machine| machine.flush];
    times.into_iter().filter_map(apart).fold(0.0, f64::max)
}

/// Why one run a side says nothing here, in words; nothing if it may.
pub fn disturbed(base: &Machine, new: &Machine) -> Option<String> {
    let (before, after) = (base.others?, new.others?);
    let most = |machine: &Machine, part: f64| !machine.counts_server && part > OTHERS_MAX;
    let is_disturbed = most(base, before) || most(new, after) || (after - before).abs() > OTHERS_APART_MAX;
    is_disturbed.then(|| {
        format!(
            "others took {:.0} % of the processors beside base and {:.0} % beside new: one run a side says nothing on such a \
             machine; --run-base and --run-new take turns",
            before * 100.0,
            after * 100.0
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Machine =
        Machine { round_trip: Some(1e5), flush: Some(1e6), alone: Some(8e6), others: Some(0.02), counts_server: false };

    #[test]
    fn only_the_server_s_own_times_tell_the_machines_apart() {
        assert_eq!(shift(&QUIET, &QUIET), 0.0);
        assert_eq!(shift(&QUIET, &Machine { alone: Some(2e7), ..QUIET }), 0.0);
        let slower = Machine { flush: Some(1.3e6), round_trip: Some(1.1e5), ..QUIET };
        assert!((shift(&QUIET, &slower) - 1.3_f64.ln()).abs() < 1e-9);
        assert!((shift(&slower, &QUIET) - shift(&QUIET, &slower)).abs() < 1e-9);
        assert_eq!(shift(&Machine::default(), &slower), 0.0);
        assert_eq!(shift(&Machine { flush: Some(0.0), round_trip: None, ..QUIET }, &slower), 0.0);
    }

    #[test]
    fn a_machine_that_others_use_is_disturbed() {
        let used = |others| Machine { others: Some(others), ..QUIET };
        assert_eq!(disturbed(&QUIET, &used(0.1)), None);
        assert!(disturbed(&used(0.63), &used(0.66)).is_some_and(|why| why.contains("63 %") && why.contains("66 %")));
        assert!(disturbed(&QUIET, &used(0.2)).is_some(), "one of them was used more");
        // A server of the user's own counts as another, in both runs alike.
        let given = |others| Machine { counts_server: true, ..used(others) };
        assert_eq!(disturbed(&given(0.5), &given(0.55)), None);
        assert!(disturbed(&given(0.5), &given(0.8)).is_some());
        assert_eq!(disturbed(&Machine::default(), &used(0.9)), None, "nothing is known of one");
    }
}
