//! Accounted: every task took effect exactly once, or failed because the scenario made it and left
//! nothing; and the runs say so.

use std::collections::BTreeMap;

use drift_engine::drift::Signal;
use drift_engine::op::{Op, Reply};
use drift_engine::protocol::TaskError;
use drift_engine::run::{RunId, Status};
use drift_engine::session::ErrorClass;

use crate::history::transactions::{End, Transaction};
use crate::history::view::View;
use crate::history::{Entry, Outcome, TaskId, TaskRecord};
use crate::verdict::Verdict;

use super::wording::{count, entries};

pub(super) fn check(view: &View<'_>) -> Verdict {
    if let Some(violation) = unrecorded(view) {
        return violation;
    }
    let (mut succeeded, mut found, mut failed, mut open) = (0, 0, 0, None);
    for record in &view.history.tasks {
        match judge(view, record) {
            Fate::Succeeded => succeeded += 1,
            Fate::FoundThere => found += 1,
            Fate::FailedAsIntended => failed += 1,
            Fate::Open(why) => open = Some(why),
            Fate::Wrong(violation) => return violation,
        }
    }
    if let Some(violation) = wrong_status(view).or_else(|| failure_not_recorded(view)) {
        return violation;
    }
    let elsewhere = if found > 0 { format!(", {found} found the same events there") } else { String::new() };
    match open {
        _ if view.history.tasks.is_empty() => Verdict::inconclusive("there was no task"),
        Some(why) => Verdict::inconclusive(why),
        None => Verdict::pass(format!(
            "of {} {succeeded} succeeded with one committed write each{elsewhere}, and {failed} failed as the scenario made them and left nothing",
            count(view.history.tasks.len(), "task")
        )),
    }
}

/// A task that is not in the record, or is there twice.
fn unrecorded(view: &View<'_>) -> Option<Verdict> {
    let tasks = &view.history.tasks;
    for (index, record) in tasks.iter().enumerate() {
        let expected = TaskId(index as u32);
        if record.id != expected {
            let sentence = format!("task {} stands in the record where task {expected} should", record.id);
            return Some(Verdict::violation(sentence, Vec::new()));
        }
    }
    let unknown = |task: TaskId| view.record(task).is_none();
    let entry = view.history.entries.iter().position(|entry| entry.task.is_some_and(unknown))?;
    let task = view.history.entries[entry].task?;
    Some(Verdict::violation(format!("nothing is recorded of what became of task {task}"), vec![entry]))
}

enum Fate {
    Succeeded,
    /// It succeeded without a write: the same events were there already.
    FoundThere,
    FailedAsIntended,
    /// Nothing of the protocol follows from what became of it.
    Open(String),
    Wrong(Verdict),
}

fn judge(view: &View<'_>, record: &TaskRecord) -> Fate {
    let task = record.id;
    let all = || view.transactions_of(task).iter().map(|&index| &view.ledger.transactions[index as usize]);
    let committed = |wanted: fn(&Transaction) -> Option<u32>| {
        all().filter(move |transaction| transaction.committed() && wanted(transaction).is_some())
    };
    let writes: Vec<&Transaction> = committed(|transaction| transaction.write).take(2).collect();
    if let [first, second] = writes[..] {
        return Fate::Wrong(Verdict::violation(
            format!("task {task} committed its events twice"),
            entries([first, second].into_iter().flat_map(|t| [t.write, Some(t.last)]).flatten()),
        ));
    }
    match &record.result {
        Ok(_) if record.fault.is_some() && writes.len() == 1 => {
            Fate::Open(format!("task {task} succeeded: the failure that was to be put into it never happened"))
        }
        Ok(_) if writes.len() == 1 => Fate::Succeeded,
        Ok(_) if all().any(|transaction| found_there(view, transaction)) => Fate::FoundThere,
        Ok(_) => Fate::Wrong(lost_write(view, task, all().last())),
        Err(error) => {
            if !matches!(error, TaskError::CommitUnknown(_))
                && let Some(left) = committed(|transaction| transaction.change).next()
            {
                let shown = [left.change, Some(left.last)].into_iter().flatten();
                return Fate::Wrong(Verdict::violation(
                    format!("task {task} failed ({error}), but what it did before was committed"),
                    entries(shown),
                ));
            }
            failure(view, record, error)
        }
    }
}

/// Whether a transaction was committed whose write was refused because another task had written the
/// same events before: a unique violation that a savepoint has undone. That a transaction goes on
/// after one without a savepoint, on PostgreSQL, shows in the answer to its COMMIT.
fn found_there(view: &View<'_>, transaction: &Transaction) -> bool {
    let is_unique = |outcome: &Outcome| matches!(outcome, Outcome::Failed(error) if error.class == ErrorClass::Unique);
    let wanted = within(view, transaction).find_map(|index| match view.entry(index) {
        Entry { op: Op::WriteEvents { run, signals, .. }, outcome, .. } if is_unique(outcome) => Some((run, signals)),
        _ => None,
    });
    let Some((run, wanted)) = wanted.filter(|_| transaction.committed()) else { return false };
    let same = |found: &[&Signal]| found.len() == wanted.len() && found.iter().all(|one| wanted.contains(one));
    let by_another = |write: u32| match &view.entry(write).op {
        Op::WriteEvents { run: other, signals, .. } => other == run && same(&signals.iter().collect::<Vec<_>>()),
        _ => false,
    };
    let of_run = view.history.end.events.iter().filter(|event| event.run == *run);
    view.ledger.transactions.iter().any(|other| other.committed() && other.write.is_some_and(by_another))
        || same(&of_run.map(|event| &event.signal).collect::<Vec<_>>())
}

/// The operations of a transaction.
fn within(view: &View<'_>, transaction: &Transaction) -> impl Iterator<Item = u32> {
    let all = view.entries_of(transaction.actor).iter().copied();
    let (begin, last) = (transaction.begin, transaction.last);
    all.filter(move |index| (begin..=last).contains(index))
}

/// A task that says that it succeeded, and of which nothing is there.
fn lost_write(view: &View<'_>, task: TaskId, last: Option<&Transaction>) -> Verdict {
    let rolled_back = last.is_some_and(|transaction| {
        let last = view.entry(transaction.last);
        matches!((&last.op, last.outcome.ok()), (Op::Commit, Some(Reply::RolledBack)))
    });
    let why = match last {
        _ if rolled_back => "its COMMIT was answered with ROLLBACK",
        Some(transaction) if transaction.end == End::Unknown => "the answer to its COMMIT was lost",
        Some(transaction) if transaction.committed() => "what it committed holds no write of events",
        Some(_) => "it never committed",
        None => "it sent no transaction",
    };
    Verdict::violation(
        format!("task {task} reports success and is lost: {why}"),
        entries(last.into_iter().flat_map(|t| [t.write, first_refusal(view, t), Some(t.last)]).flatten()),
    )
}

/// The first operation of a transaction that the database refused: on PostgreSQL, what aborted it.
fn first_refusal(view: &View<'_>, transaction: &Transaction) -> Option<u32> {
    within(view, transaction).find(|&index| matches!(view.entry(index).outcome, Outcome::Failed(_)))
}

/// Whether a failure is what the scenario put into the task.
fn failure(view: &View<'_>, record: &TaskRecord, error: &TaskError) -> Fate {
    let class = match error {
        TaskError::CommitUnknown(_) => Some(ErrorClass::Lost),
        TaskError::Database { error, .. } => Some(error.class),
        _ => None,
    };
    match (class, record.fault) {
        (Some(ErrorClass::Lost | ErrorClass::Injected), Some(_)) => Fate::FailedAsIntended,
        (Some(ErrorClass::Lost), None) => Fate::Open(format!(
            "task {} lost its connection, which the scenario did not ask for: that says nothing of the protocol",
            record.id
        )),
        // A failure for a classified reason, after everything that was allowed: reported, not lost.
        (Some(class), None) if class.is_retryable() && used_up(view, error) => {
            Fate::Open(format!("task {} used up its tries: {error}", record.id))
        }
        _ => {
            let last = view.transactions_of(record.id).last().map(|&index| &view.ledger.transactions[index as usize]);
            let refused = refused(view, record);
            Fate::Wrong(Verdict::violation(
                format!("task {} is lost: {error}", record.id),
                entries(refused.into_iter().chain(last.map(|transaction| transaction.last))),
            ))
        }
    }
}

/// Whether a task gave up only after as many tries as it may make.
fn used_up(view: &View<'_>, error: &TaskError) -> bool {
    matches!(error, TaskError::Database { attempts, .. } if *attempts >= view.history.meta.max_attempts)
}

/// The first refusal among the operations of a task's last attempt.
fn refused(view: &View<'_>, record: &TaskRecord) -> Option<u32> {
    let of_task = || view.entries_of(record.actor).iter().rev().filter(|&&i| view.entry(i).task == Some(record.id));
    of_task().copied().find(|&index| view.entry(index).outcome.ok().is_none())
}

/// A run whose status is not what became of its tasks.
fn wrong_status(view: &View<'_>) -> Option<Verdict> {
    let mut successes: BTreeMap<&RunId, &TaskRecord> = BTreeMap::new();
    for record in &view.history.tasks {
        if let Ok(done) = &record.result {
            successes.entry(&done.run).or_insert(record);
        }
    }
    let last_entry = |task: TaskId| {
        let last = view.transactions_of(task).last()?;
        Some(view.ledger.transactions[*last as usize].last)
    };
    for run in &view.history.end.runs {
        let sentence = match (successes.remove(&run.id), run.status) {
            (Some(record), Status::Running | Status::Failed) => {
                let sentence =
                    format!("run {} is {} although task {} of it succeeded", run.id, run.status.as_str(), record.id);
                return Some(Verdict::violation(sentence, entries(last_entry(record.id))));
            }
            (None, Status::Running) => format!("run {} was opened, committed and never closed", run.id),
            _ => continue,
        };
        if let Some(opened) = opened(view, &run.id) {
            return Some(Verdict::violation(sentence, entries([opened.begin, opened.last])));
        }
    }
    let (run, record) = successes.pop_first()?;
    let sentence = format!("task {} succeeded, but its run {run} is not there", record.id);
    Some(Verdict::violation(sentence, entries(last_entry(record.id))))
}

/// A task that was made to fail, whose run, of which no task succeeded, does not say so.
fn failure_not_recorded(view: &View<'_>) -> Option<Verdict> {
    let records = || view.history.tasks.iter();
    let record = records().find(|record| {
        let failed =
            matches!(&record.result, Err(TaskError::Database { error, .. }) if error.class == ErrorClass::Injected);
        let succeeded = |other: &TaskRecord| other.identity == record.identity && other.result.is_ok();
        let said =
            view.history.end.runs.iter().any(|run| run.identity == record.identity && run.status == Status::Failed);
        // What succeeded before the tasks is not in the record.
        let before = view.history.end.events.iter().any(|event| event.customer == record.identity.customer);
        failed && !records().any(succeeded) && !said && !before
    })?;
    let last = view.transactions_of(record.id).last().map(|&index| view.ledger.transactions[index as usize].last);
    let sentence = format!("task {} failed, no task of its run succeeded, and no run says failed", record.id);
    Some(Verdict::violation(sentence, entries(last)))
}

/// The transaction that created a run, or may have.
fn opened<'v>(view: &'v View<'_>, run: &RunId) -> Option<&'v Transaction> {
    view.ledger.transactions.iter().filter(|transaction| transaction.maybe_committed()).find(|transaction| {
        let change = transaction.change.map(|change| &view.entry(change).op);
        matches!(change, Some(Op::OpenRun { id, .. }) if id == run)
    })
}

#[cfg(test)]
mod tests {
    use drift_engine::lock::LockStrategy;
    use drift_engine::op::{Op, Reply};
    use drift_engine::protocol::TaskError;
    use drift_engine::run::Status;
    use drift_engine::session::ErrorClass;

    use crate::check::CheckName::Accounted;
    use crate::check::twins::{assert_inconclusive, assert_pass, assert_violation, contended};
    use crate::history::build::Build;
    use crate::history::{Fault, History, StoredRun, TaskId};

    #[test]
    fn one_commit_a_task_passes() {
        for strategy in LockStrategy::ALL {
            assert_pass(Accounted, &contended(strategy).finish());
        }
    }

    /// A task that is refused with this class, and rolls back.
    fn refused(class: ErrorClass, fault: Option<Fault>) -> Build {
        let mut b = contended(LockStrategy::RowNoKey);
        let task = b.task(0, 1);
        b.record(task).fault = fault;
        b.enter(task);
        let open = b.open(task);
        let error = b.refuse(open, class);
        if class != ErrorClass::Lost {
            b.call(task, Op::Rollback, Reply::RolledBack);
        }
        b.fail(task, error);
        b
    }

    #[test]
    fn failures_that_were_asked_for_pass() {
        assert_pass(Accounted, &refused(ErrorClass::Injected, Some(Fault::Fail)).finish());
        assert_pass(Accounted, &refused(ErrorClass::Lost, Some(Fault::Terminate)).finish());
    }

    #[test]
    fn any_other_failure_is_a_lost_task() {
        assert_violation(Accounted, &refused(ErrorClass::Unique, None).finish(), "unique violation");
        assert_violation(Accounted, &refused(ErrorClass::Aborted, Some(Fault::Fail)).finish(), "already aborted");
        assert_inconclusive(Accounted, &refused(ErrorClass::Lost, None).finish(), "lost its connection");
    }

    #[test]
    fn a_task_that_used_up_its_tries_says_nothing_of_the_protocol() {
        let mut history = refused(ErrorClass::LockTimeout, None).finish();
        assert_violation(Accounted, &history, "is lost: lock timeout");
        let last = history.tasks.last_mut().unwrap();
        if let Err(TaskError::Database { attempts, .. }) = &mut last.result {
            *attempts = history.meta.max_attempts;
        }
        assert_inconclusive(Accounted, &history, "used up its tries");
    }

    #[test]
    fn a_fault_that_never_fired_is_inconclusive() {
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        let task = b.task(0, 1);
        b.run(task);
        b.record(task).fault = Some(Fault::Fail);
        assert_inconclusive(Accounted, &b.finish(), "never happened");
    }

    #[test]
    fn a_failure_that_no_run_says_is_a_violation() {
        let alone = |status: Option<Status>| {
            let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
            let task = b.task(0, 1);
            b.enter(task);
            let commit = b.send(task, Op::Commit);
            let error = b.refuse(commit, ErrorClass::Injected);
            b.call(task, Op::Rollback, Reply::RolledBack);
            b.record(task).fault = Some(Fault::Fail);
            b.fail(task, error);
            let mut history = b.finish();
            history.end.events.clear();
            let identity = history.tasks[0].identity;
            let id = identity.default_run_id();
            history.end.runs =
                status.map(|status| StoredRun { id, identity, fresh: false, status }).into_iter().collect();
            history
        };
        assert_violation(Accounted, &alone(None), "no run says failed");
        assert_pass(Accounted, &alone(Some(Status::Failed)));
    }

    #[test]
    fn a_success_whose_commit_was_answered_with_rollback_is_lost() {
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        let task = b.task(0, 1);
        b.enter(task);
        b.work(task);
        b.call(task, Op::Commit, Reply::RolledBack);
        b.succeed(task);
        assert_violation(Accounted, &b.finish(), "answered with ROLLBACK");
    }

    /// A task whose write is refused since another's events are there, and which commits without it.
    fn caught(strategy: LockStrategy, by_savepoint: bool, same: bool) -> History {
        let mut b = Build::new(strategy, 2, 0);
        let [first, second] = [b.task(0, 1), b.task(1, 1)];
        b.run(first);
        b.enter(second);
        b.open(second);
        b.read(second);
        if by_savepoint {
            b.call(second, Op::Savepoint, Reply::Done);
        }
        let write = if same { b.write(second) } else { b.write_of(second, [].into()) };
        b.refuse(write, ErrorClass::Unique);
        if by_savepoint {
            b.call(second, Op::RollbackTo, Reply::Done);
        }
        b.call(second, Op::Commit, if by_savepoint { Reply::Committed } else { Reply::RolledBack });
        b.succeed(second);
        b.finish()
    }

    #[test]
    fn a_unique_violation_that_a_savepoint_undid_passes_where_the_events_are_the_same() {
        for strategy in [LockStrategy::RowNoKey, LockStrategy::Constraint] {
            assert_pass(Accounted, &caught(strategy, true, true));
            assert_violation(Accounted, &caught(strategy, true, false), "holds no write of events");
            assert_violation(Accounted, &caught(strategy, false, true), "answered with ROLLBACK");
        }
    }

    #[test]
    fn a_task_done_twice_is_a_violation() {
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        let task = b.task(0, 1);
        b.run(task);
        b.run(task);
        assert_violation(Accounted, &b.finish(), "twice");
    }

    #[test]
    fn a_failed_task_that_left_something_is_a_violation() {
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        let task = b.task(0, 1);
        b.record(task).fault = Some(Fault::Fail);
        b.enter(task);
        b.open(task);
        b.call(task, Op::Commit, Reply::Committed);
        b.enter(task);
        let read = b.read(task);
        let error = b.refuse(read, ErrorClass::Injected);
        b.call(task, Op::Rollback, Reply::RolledBack);
        b.fail(task, error);
        assert_violation(Accounted, &b.finish(), "what it did before was committed");
    }

    #[test]
    fn a_commit_of_unknown_outcome_that_was_asked_for_passes() {
        let mut b = contended(LockStrategy::RowNoKey);
        let task = b.task(0, 1);
        b.record(task).fault = Some(Fault::Terminate);
        b.enter(task);
        b.work(task);
        let commit = b.send(task, Op::Commit);
        let error = b.refuse(commit, ErrorClass::Lost);
        b.record(task).result = Err(TaskError::CommitUnknown(error));
        assert_pass(Accounted, &b.finish());
    }

    #[test]
    fn a_task_without_a_record_is_a_violation() {
        let mut history = contended(LockStrategy::RowNoKey).finish();
        history.tasks.pop();
        assert_violation(Accounted, &history, "nothing is recorded");
        history.tasks.remove(0);
        assert_violation(Accounted, &history, "where task 0 should");
    }

    /// A sound run whose first stored run has this status.
    fn with_status(status: Status) -> History {
        let mut history = contended(LockStrategy::RowNoKey).finish();
        history.end.runs[0].status = status;
        history
    }

    #[test]
    fn a_run_must_say_what_became_of_its_tasks() {
        assert_violation(Accounted, &with_status(Status::Failed), "is failed although");
        assert_violation(Accounted, &with_status(Status::Running), "is running although");
        let mut gone = contended(LockStrategy::RowNoKey).finish();
        gone.end.runs.clear();
        assert_violation(Accounted, &gone, "is not there");
        assert_eq!(gone.tasks[0].id, TaskId(0));
    }

    #[test]
    fn a_run_that_was_committed_too_early_is_a_violation() {
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        let task = b.task(0, 1);
        b.record(task).fault = Some(Fault::Terminate);
        b.enter(task);
        b.open(task);
        b.publish(task);
        let commit = b.send(task, Op::Commit);
        let error = b.refuse(commit, ErrorClass::Lost);
        b.fail(task, error);
        let mut history = b.finish();
        history.end.runs[0].status = Status::Running;
        assert_violation(Accounted, &history, "never closed");
    }

    #[test]
    fn no_task_is_inconclusive() {
        assert_inconclusive(Accounted, &Build::new(LockStrategy::RowNoKey, 1, 0).finish(), "no task");
    }
}
