//! Each mutant has what it needs to be killed, and no check counts that has not been seen to fail.

use std::collections::{BTreeMap, BTreeSet};

use drift_engine::lock::Backend;
use driftlock::check::CheckName;
use driftlock::mutant::{self, Stance};
use driftlock::scenario::Scenario;
use driftlock::scenario::shipped::{SHIPPED, Shipped};

/// The checks that no mutant must be killed by, and the file whose twins show that each can fail.
const SHOWN_BY_TWINS: [(CheckName, &str); 3] = [
    // A mutant that leaves something to be changed is noticed by the serial oracle first.
    (CheckName::Settled, include_str!("../../history/src/check/settled.rs")),
    // Whoever does not wait is also found in another's critical section, or without the lock.
    (CheckName::WaitersWait, include_str!("../../history/src/check/waiters_wait.rs")),
    // The databases' own queues are fair, or are polled by all alike.
    (CheckName::NoStarvation, include_str!("../../history/src/check/no_starvation.rs")),
];

#[test]
fn every_mutant_runs_somewhere_in_a_scenario_that_asks_what_it_breaks() {
    let scenarios: BTreeMap<String, Scenario> =
        SHIPPED.iter().map(Shipped::scenario).map(|scenario| (scenario.name.clone(), scenario)).collect();
    for mutant in mutant::ALL.iter().chain([&mutant::SOUND]) {
        let mut runs = 0;
        for backend in Backend::ALL {
            let Stance::Runs { scenario, strategy, by, .. } = mutant.on(backend) else { continue };
            let name = format!("{} on {backend}", mutant.name);
            let scenario = scenarios.get(scenario).unwrap_or_else(|| panic!("{name}: there is no {scenario}"));
            assert!(scenario.backends.contains(&backend), "{name}: {} does not run there", scenario.name);
            assert!(scenario.checks.contains(&by), "{name}: {} does not ask {by}", scenario.name);
            assert_eq!(strategy.backend(), backend, "{name}: {strategy} does not exist there");
            runs += 1;
        }
        assert!(runs > 0, "{} runs nowhere", mutant.name);
    }
    let names: BTreeSet<&str> = mutant::ALL.iter().map(|mutant| mutant.name).collect();
    assert_eq!(names.len(), mutant::ALL.len(), "reports and --filter tell mutants apart by their names");
}

#[test]
fn every_check_must_kill_a_mutant_or_has_twins_that_show_it_fail() {
    let killing: BTreeSet<CheckName> = mutant::ALL
        .iter()
        .flat_map(|mutant| Backend::ALL.map(|backend| mutant.on(backend)))
        .filter_map(|stance| match stance {
            Stance::Runs { by, .. } => Some(by),
            Stance::NotApplicable { .. } => None,
        })
        .collect();
    for (check, source) in SHOWN_BY_TWINS {
        assert!(!killing.contains(&check), "{check} must kill a mutant: it need not be listed here");
        let tests = source.split("#[cfg(test)]").nth(1).unwrap_or_default();
        assert!(tests.contains("assert_violation(") && tests.contains("assert_pass("), "{check} has no twins");
    }
    let shown: BTreeSet<CheckName> = SHOWN_BY_TWINS.iter().map(|(check, _)| *check).chain(killing).collect();
    assert_eq!(shown, CheckName::ALL.into_iter().collect());
}
