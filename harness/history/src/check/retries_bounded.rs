//! Retries-bounded: a task tries again only what a retry can mend, after a pause, at most as often
//! as it may, and does not give up before.
//!
//! An attempt begins with BEGIN. One that follows a COMMIT goes on with the task and is no retry;
//! the transactions that record a failure are a sequence of their own, which begins without a pause.

use std::collections::BTreeMap;
use std::mem;

use drift_engine::op::{Op, Reply};
use drift_engine::protocol::TaskError;
use drift_engine::session::ErrorClass;

use crate::history::view::View;
use crate::history::{ActorId, Entry, Outcome, TaskId};
use crate::verdict::Verdict;

use super::wording::{count, entries};

pub(super) fn check(view: &View<'_>) -> Verdict {
    let mut actors: BTreeMap<ActorId, Attempts> = BTreeMap::new();
    let mut tally = Tally::default();
    for (index, entry) in view.history.entries.iter().enumerate() {
        if !view.is_worker(entry.actor) {
            continue;
        }
        let attempts = actors.entry(entry.actor).or_default();
        if attempts.task != entry.task {
            let before = mem::replace(attempts, Attempts { task: entry.task, ..Attempts::default() });
            if let Some(violation) = before.judge(view, &mut tally) {
                return violation;
            }
        }
        attempts.step(view, index as u32, entry);
    }
    for attempts in actors.into_values() {
        if let Some(violation) = attempts.judge(view, &mut tally) {
            return violation;
        }
    }
    if tally.retries == 0 {
        return Verdict::inconclusive("nothing was tried again");
    }
    Verdict::pass(format!(
        "{} tried again {}, each time after a pause and an error that a retry can mend; the most tries of one was {} of {}",
        count(tally.tasks, "task"),
        count(tally.retries, "time"),
        tally.most,
        view.history.meta.max_attempts.max(1)
    ))
}

#[derive(Default)]
struct Tally {
    tasks: usize,
    retries: usize,
    most: usize,
}

/// The attempts of one task.
#[derive(Default)]
struct Attempts {
    task: Option<TaskId>,
    tries: Vec<Attempt>,
    paused: bool,
}

struct Attempt {
    begin: u32,
    /// Whether there was a pause before it.
    paused: bool,
    /// Whether it recorded a failure.
    records: bool,
    /// The refusal that ended it, or lost its answer.
    failure: Option<(u32, ErrorClass)>,
    /// Whether it ended with ROLLBACK, asked for or not.
    rolled_back: bool,
}

impl Attempts {
    fn step(&mut self, view: &View<'_>, index: u32, entry: &Entry) {
        match (&entry.op, &entry.outcome) {
            (Op::Pause(_), _) => self.paused = true,
            (Op::Begin { .. }, _) => {
                // Unless something went wrong the task only goes on, in another transaction.
                let goes_on =
                    self.tries.last().is_some_and(|attempt| attempt.failure.is_none() && !attempt.rolled_back);
                if !goes_on {
                    let transaction = view.ledger.transaction_of(index as usize);
                    let records = transaction.is_some_and(|at| view.ledger.transactions[at].records_failure);
                    let (begin, paused) = (index, mem::take(&mut self.paused));
                    self.tries.push(Attempt { begin, paused, records, failure: None, rolled_back: false });
                }
            }
            _ => {}
        }
        let Some(attempt) = self.tries.last_mut() else { return };
        match (&entry.op, &entry.outcome) {
            (Op::Pause(_), _) => {}
            (Op::Rollback, _) => attempt.rolled_back = true,
            (_, Outcome::Failed(error) | Outcome::Unknown(error)) => {
                attempt.failure.get_or_insert((index, error.class));
            }
            (Op::Commit, Outcome::Ok(Reply::RolledBack)) => attempt.rolled_back = true,
            // Whatever had failed was dealt with, and the transaction went on.
            (_, Outcome::Ok(_)) => attempt.failure = None,
        }
    }

    /// The attempts at the task itself, without those at recording its failure.
    fn own(&self, unrecorded: bool) -> &[Attempt] {
        let unpaused = |until: usize| self.tries[..until].iter().rposition(|attempt| !attempt.paused);
        let first = match self.tries.iter().position(|attempt| attempt.records) {
            Some(recording) => unpaused(recording + 1),
            // Not even the BEGIN of the recording need have succeeded.
            None if unrecorded => unpaused(self.tries.len()).filter(|&first| first > 0),
            None => None,
        };
        &self.tries[..first.unwrap_or(self.tries.len())]
    }

    fn judge(self, view: &View<'_>, tally: &mut Tally) -> Option<Verdict> {
        let task = self.task?;
        let result = view.record(task).map(|record| &record.result);
        let unrecorded = matches!(result, Some(Err(TaskError::Database { unrecorded: Some(_), .. })));
        let own = self.own(unrecorded);
        let allowed = view.history.meta.max_attempts.max(1) as usize;
        for pair in own.windows(2) {
            let (before, again) = (&pair[0], &pair[1]);
            let shown =
                entries([Some(before.begin), before.failure.map(|f| f.0), Some(again.begin)].into_iter().flatten());
            if let Some((_, class)) = before.failure.filter(|failure| !failure.1.is_retryable()) {
                return Some(Verdict::violation(
                    format!("task {task} tried again after: {class}, which no retry can mend"),
                    shown,
                ));
            }
            if !again.paused {
                return Some(Verdict::violation(format!("task {task} tried again at once, without a pause"), shown));
            }
        }
        if let Some(beyond) = own.get(allowed) {
            return Some(Verdict::violation(
                format!("task {task} made {} of {allowed} allowed", count(own.len(), "attempt")),
                entries([own[0].begin, beyond.begin]),
            ));
        }
        let last = own.last()?;
        if let Some((entry, class)) = last.failure.filter(|failure| failure.1.is_retryable())
            && own.len() < allowed
            && matches!(result, Some(Err(_)))
        {
            return Some(Verdict::violation(
                format!(
                    "task {task} gave up after {} of {allowed}, on an error that a retry can mend: {class}",
                    count(own.len(), "attempt")
                ),
                entries([last.begin, entry]),
            ));
        }
        tally.tasks += usize::from(own.len() > 1);
        tally.retries += own.len() - 1;
        tally.most = tally.most.max(own.len());
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use drift_engine::lock::LockStrategy;
    use drift_engine::op::{Op, Reply};
    use drift_engine::session::ErrorClass;

    use crate::check::CheckName::RetriesBounded;
    use crate::check::twins::{assert_inconclusive, assert_pass, assert_violation, contended};
    use crate::history::TaskId;
    use crate::history::build::Build;

    /// One attempt that is refused and rolled back.
    fn attempt(b: &mut Build, task: TaskId, class: ErrorClass) -> drift_engine::session::DbError {
        let asked = b.ask(task).expect("a lock");
        let error = b.refuse(asked, class);
        b.call(task, Op::Rollback, Reply::RolledBack);
        error
    }

    fn pause(b: &mut Build, task: TaskId) {
        b.call(task, Op::Pause(Duration::from_millis(1)), Reply::Done);
    }

    /// The transaction that records a failure.
    fn record_failure(b: &mut Build, task: TaskId) {
        let identity = b.record(task).identity;
        let id = identity.default_run_id();
        b.call(task, LockStrategy::RowNoKey.begin(), Reply::Done);
        b.call(task, Op::FailRun { identity, id, fresh: false, reason: "by hand".into() }, Reply::Done);
        b.call(task, Op::Commit, Reply::Committed);
    }

    #[test]
    fn paused_and_bounded_retries_pass() {
        for strategy in [LockStrategy::RowNoKey, LockStrategy::Immediate] {
            let mut b = Build::new(strategy, 1, 0);
            let task = b.task(0, 1);
            for _ in 0..2 {
                attempt(&mut b, task, ErrorClass::Deadlock);
                pause(&mut b, task);
            }
            b.run(task);
            assert_pass(RetriesBounded, &b.finish());
        }
    }

    #[test]
    fn giving_up_when_all_tries_are_used_passes_and_recording_it_is_no_try() {
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        let task = b.task(0, 1);
        for _ in 0..2 {
            attempt(&mut b, task, ErrorClass::LockTimeout);
            pause(&mut b, task);
        }
        let error = attempt(&mut b, task, ErrorClass::LockTimeout);
        record_failure(&mut b, task);
        b.fail(task, error);
        assert_pass(RetriesBounded, &b.finish());
    }

    #[test]
    fn one_try_too_many_is_a_violation() {
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        let task = b.task(0, 1);
        for _ in 0..3 {
            attempt(&mut b, task, ErrorClass::Serialization);
            pause(&mut b, task);
        }
        b.run(task);
        assert_violation(RetriesBounded, &b.finish(), "4 attempts of 3 allowed");
    }

    #[test]
    fn a_retry_without_a_pause_or_of_the_wrong_error_is_a_violation() {
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        let task = b.task(0, 1);
        attempt(&mut b, task, ErrorClass::Deadlock);
        b.run(task);
        assert_violation(RetriesBounded, &b.finish(), "without a pause");
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        let task = b.task(0, 1);
        attempt(&mut b, task, ErrorClass::Unique);
        pause(&mut b, task);
        b.run(task);
        assert_violation(RetriesBounded, &b.finish(), "no retry can mend");
    }

    #[test]
    fn giving_up_too_early_is_a_violation() {
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        let task = b.task(0, 1);
        let error = attempt(&mut b, task, ErrorClass::Deadlock);
        record_failure(&mut b, task);
        b.fail(task, error);
        assert_violation(RetriesBounded, &b.finish(), "gave up after 1 attempt of 3");
    }

    #[test]
    fn going_on_after_a_commit_is_no_retry_and_no_retry_is_inconclusive() {
        let mut b = contended(LockStrategy::RowNoKey);
        let task = b.task(0, 1);
        b.enter(task);
        b.open(task);
        b.call(task, Op::Commit, Reply::Committed);
        b.run(task);
        assert_inconclusive(RetriesBounded, &b.finish(), "nothing was tried again");
    }
}
