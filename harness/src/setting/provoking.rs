//! The mutants of `driftlock mutate`, each with the least that provokes it where every order is tried.

use crate::check::CheckName;
use crate::mutant::{Mutant, SchemaChange, Stance};
use drift_engine::lock::{Backend, LockStrategy};

use super::Setting;

/// What is to be done with a mutant on a backend.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Explore.
    Explore {
        /// In this order: the fewest tasks first.
        settings: Vec<Setting>,
        /// The check that must notice.
        by: CheckName,
    },
    /// Nothing: it is about time, which no order of operations shows.
    LeaveOut {
        /// Why, as a sentence.
        reason: &'static str,
    },
}

/// The plan for a mutant, where it exists.
///
/// # Panics
/// Nothing stands for the mutant's scenario.
pub fn plan(mutant: &Mutant, backend: Backend) -> Option<Plan> {
    let Stance::Runs { scenario, strategy, schema, by } = mutant.on(backend) else { return None };
    if scenario == "lock-timeouts" && backend == Backend::Sqlite {
        return Some(Plan::LeaveOut {
            reason: "the model knows no time, so nobody's wait times out; and BEGIN IMMEDIATE fails in no other way",
        });
    }
    let settings = provoking(scenario, strategy).into_iter().map(|setting| Setting {
        rewrite: Some(mutant.rewrite),
        constrained: schema != Some(SchemaChange::DropConstraint),
        ..setting
    });
    Some(Plan::Explore { settings: settings.collect(), by })
}

/// What stands for a scenario.
fn provoking(scenario: &str, strategy: LockStrategy) -> Vec<Setting> {
    let plain = || vec![Setting::same_run(strategy, 2), Setting::same_run(strategy, 3)];
    match scenario {
        "same-run" | "same-window" | "waiting-room" => plain(),
        "arrivals" => vec![Setting::arrivals(strategy)],
        "many-customers" => vec![Setting::two_customers(strategy)],
        "failed-run" => vec![Setting::failed_run(strategy)],
        "failing-task" => vec![Setting::failing_task(strategy)],
        "failure-recorded" => vec![Setting::only_failing_task(strategy), Setting::failing_task(strategy)],
        // A lock timeout is not in the model, a deadlock is: both are for a second try to mend.
        "lock-timeouts" => vec![Setting::deadlocks(strategy, 1), Setting::deadlocks(strategy, 2)],
        other => panic!("nothing stands for the scenario {other}"),
    }
}
