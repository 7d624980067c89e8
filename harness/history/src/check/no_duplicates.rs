//! No-duplicates: a customer is alerted once about a payer, a procedure group and a kind of drift.
//!
//! Within a run a unique constraint sees to it; across runs nothing does but the rule that an
//! identity has one run. So two runs of one identity are looked at together: if each was opened by a
//! task of its own, the customer is alerted as often as there are runs.

use std::collections::BTreeMap;

use drift_engine::drift::DriftType;
use drift_engine::op::Op;
use drift_engine::run::{Identity, RunId};

use crate::history::view::View;
use crate::history::{StoredEvent, StoredRun, TaskRecord};
use crate::verdict::Verdict;

use super::wording::{count, entries};

type EventKey<'h> = (&'h str, &'h str, DriftType);

fn key(event: &StoredEvent) -> EventKey<'_> {
    (&event.signal.payer, &event.signal.cpt_group, event.signal.drift_type)
}

pub(super) fn check(view: &View<'_>) -> Verdict {
    let end = &view.history.end;
    let runs: BTreeMap<&RunId, &StoredRun> = end.runs.iter().map(|run| (&run.id, run)).collect();
    let mut shared: BTreeMap<Identity, &RunId> = BTreeMap::new();
    for run in end.runs.iter().filter(|run| !run.fresh) {
        if let Some(other) = shared.insert(run.identity, &run.id) {
            return Verdict::violation(
                format!("runs {other} and {} are of the same customer, date and policy", run.id),
                opened_by(view, &[other, &run.id]),
            );
        }
    }
    let mut alerts: BTreeMap<(Option<Identity>, Option<&RunId>, EventKey<'_>), &RunId> = BTreeMap::new();
    for event in &end.events {
        // An event of a run that is not stored can only be compared within that run.
        let identity = runs.get(&event.run).map(|run| run.identity);
        let (payer, cpt_group, drift) = key(event);
        let alone = identity.is_none().then_some(&event.run);
        if let Some(other) = alerts.insert((identity, alone, key(event)), &event.run) {
            let whose = format!("customer {} is alerted twice about {drift} of {payer}/{cpt_group}", event.customer);
            let where_ = if *other == event.run {
                format!("run {other} has two events of that key")
            } else {
                format!("runs {other} and {} of the same customer, date and policy each have that event", event.run)
            };
            return Verdict::violation(
                format!("{whose}: {where_}"),
                written_by(view, &[other, &event.run], key(event)),
            );
        }
    }
    let mut successes: BTreeMap<Identity, Vec<&TaskRecord>> = BTreeMap::new();
    for record in view.history.tasks.iter().filter(|record| record.result.is_ok()) {
        successes.entry(record.identity).or_default().push(record);
    }
    let most = successes.values().map(Vec::len).max().unwrap_or(0);
    if end.events.is_empty() {
        return Verdict::inconclusive("no event was left, so none could be there twice");
    }
    if most < 2 {
        return Verdict::inconclusive("no two tasks of the same customer, date and policy succeeded");
    }
    if !successes.into_values().any(overlapped) {
        return Verdict::inconclusive("no two tasks of the same customer, date and policy ran at the same time");
    }
    Verdict::pass(format!(
        "{} of {} have different keys, after up to {} succeeded for the same customer, date and policy",
        count(end.events.len(), "event"),
        count(end.runs.len(), "run"),
        count(most, "task")
    ))
}

/// Whether two of these tasks ran at the same time.
fn overlapped(mut tasks: Vec<&TaskRecord>) -> bool {
    tasks.sort_by_key(|record| record.started);
    tasks.windows(2).any(|pair| pair[1].started < pair[0].finished)
}

/// The first two answered writes of an event to one of these runs.
fn written_by(view: &View<'_>, runs: &[&RunId], key: EventKey<'_>) -> Vec<usize> {
    let writes = view.ledger.transactions.iter().filter(|t| t.maybe_committed()).filter_map(|t| t.write);
    let of_key = writes.filter(|&write| match &view.entry(write).op {
        Op::WriteEvents { run, signals, .. } => {
            let same = |s: &drift_engine::drift::Signal| (&*s.payer, &*s.cpt_group, s.drift_type) == key;
            runs.contains(&run) && signals.iter().any(same)
        }
        _ => false,
    });
    let mut found: Vec<u32> = of_key.collect();
    // Of two runs, one write each; of one run, the first two.
    let run_of = |write: u32| match &view.entry(write).op {
        Op::WriteEvents { run, .. } => Some(run),
        _ => None,
    };
    if let Some(&first) = found.first()
        && let Some(other) = found.iter().position(|&write| run_of(write) != run_of(first))
    {
        found.swap(1, other);
    }
    entries(found.into_iter().take(2))
}

/// The first answered opening of each of these runs.
fn opened_by(view: &View<'_>, runs: &[&RunId]) -> Vec<usize> {
    let opens = |wanted: &RunId| {
        let same = |op: &Op| matches!(op, Op::OpenRun { id, .. } if id == wanted);
        view.history.entries.iter().position(|entry| same(&entry.op) && entry.outcome.ok().is_some())
    };
    runs.iter().filter_map(|run| opens(run)).collect()
}

#[cfg(test)]
mod tests {
    use drift_engine::lock::LockStrategy;
    use drift_engine::run::RunId;

    use crate::check::CheckName::NoDuplicates;
    use crate::check::twins::{assert_inconclusive, assert_pass, assert_violation, contended};
    use crate::history::build::Build;

    #[test]
    fn one_event_a_key_passes() {
        for strategy in LockStrategy::ALL {
            assert_pass(NoDuplicates, &contended(strategy).finish());
        }
    }

    #[test]
    fn the_same_event_twice_in_a_run_is_a_violation() {
        let mut history = contended(LockStrategy::Constraint).finish();
        history.end.events.push(history.end.events[0].clone());
        assert_violation(NoDuplicates, &history, "two events of that key");
    }

    #[test]
    fn a_run_for_each_task_alerts_twice() {
        let mut b = Build::new(LockStrategy::RowNoKey, 2, 0);
        for worker in [0, 1] {
            let task = b.task(worker, 1);
            b.fresh(task);
            b.run(task);
        }
        assert_violation(NoDuplicates, &b.finish(), "each have that event");
    }

    #[test]
    fn two_shared_runs_of_one_identity_are_a_violation_even_without_events() {
        let mut history = contended(LockStrategy::RowNoKey).finish();
        let mut second = history.end.runs[0].clone();
        second.id = RunId::new("another").unwrap();
        history.end.runs.push(second);
        assert_violation(NoDuplicates, &history, "of the same customer, date and policy");
    }

    #[test]
    fn no_event_or_a_single_task_is_inconclusive() {
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        let task = b.task(0, 1);
        b.run(task);
        let mut history = b.finish();
        assert_inconclusive(NoDuplicates, &history, "no two tasks");
        history.end.events.clear();
        assert_inconclusive(NoDuplicates, &history, "no event was left");
    }
}
