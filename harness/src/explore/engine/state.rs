//! What the engine has left at the end of an execution, as a query would answer it.

use crate::explore::world::Rows;
use crate::history::FinalState;

/// What is asked, in the order of the answers.
pub const QUERIES: [&str; 2] = ["runs", "events"];

/// The answers.
pub(super) fn answers(end: &FinalState) -> Vec<Result<Rows, String>> {
    let runs = end.runs.iter().map(|run| {
        let identity = &run.identity;
        let fresh = if run.fresh { " fresh" } else { "" };
        vec![
            run.id.to_string(),
            format!("customer {} as of {}", identity.customer, identity.as_of),
            format!("{}{fresh}", run.status.as_str()),
        ]
    });
    let events = end.events.iter().map(|event| {
        let signal = &event.signal;
        vec![
            event.run.to_string(),
            format!("customer {}", event.customer),
            format!("{}/{} {}", signal.payer, signal.cpt_group, signal.drift_type),
            format!("{} to {}", signal.baseline_value, signal.current_value),
            format!("severity {}, confidence {}", signal.severity, signal.confidence),
        ]
    });
    vec![Ok(runs.collect()), Ok(events.collect())]
}
