//! The mutants of `driftlock mutate`, each with the least that provokes it under loom.

use drift_engine::lock::{Backend, LockStrategy};
use driftlock::check::CheckName;
use driftlock::mutant::{Mutant, SchemaChange, Stance};

use super::setting::Setting;

/// What loom is to do with a mutant on a backend.
pub enum Plan {
    /// Explore these, in this order: the fewest tasks first.
    Explore { settings: Vec<Setting>, by: CheckName },
    /// Nothing: the model cannot express it.
    LeaveOut { reason: &'static str },
}

/// The plan for a mutant, where it exists.
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

/// What stands for a scenario under loom.
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
        other => panic!("nothing stands for the scenario {other} under loom"),
    }
}
