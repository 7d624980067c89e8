//! Lock-held: whatever a task does to its run, it does in a transaction that has its customer's
//! lock, from before the first read until COMMIT.
//!
//! The history alone shows that the lock was taken, and in the right place; that the database kept
//! it until COMMIT is shown by somebody else trying to take it ([`Seen::Probe`]). Recording a failure
//! needs no lock and is exempt.

use drift_engine::op::Op;

use crate::history::transactions::{Hold, Transaction};
use crate::history::view::{View, is_critical};
use crate::history::{Entry, Seen};
use crate::verdict::Verdict;

use super::wording::{count, entries, performer, sender, sent};

pub(super) fn check(view: &View<'_>) -> Verdict {
    for (index, entry) in view.history.entries.iter().enumerate() {
        if let Some(violation) = unprotected(view, index as u32, entry) {
            return violation;
        }
    }
    let mut committed = 0;
    for transaction in view.ledger.transactions.iter().filter(|t| t.write.is_some() && view.is_worker(t.actor)) {
        if let Some(violation) = split(view, transaction) {
            return violation;
        }
        committed += usize::from(transaction.committed());
    }
    let mut probes = 0;
    for seen in &view.history.seen {
        let Seen::Probe { from, until, key, holder, held } = *seen else { continue };
        let Some(transaction) = view.transaction_throughout(holder, from, until) else { continue };
        // An answer to a question asked too early or too late says nothing.
        if transaction.change.is_none_or(|change| from < view.entry(change).returned) {
            continue;
        }
        if !held && transaction.maybe_committed() && until <= view.sent_at(transaction.last) {
            return Verdict::violation(
                format!(
                    "{} had not yet committed when another connection could take the lock of customer {key}",
                    performer(transaction.task, holder)
                ),
                entries([Some(transaction.begin), transaction.write, Some(transaction.last)].into_iter().flatten()),
            );
        }
        probes += usize::from(held);
    }
    match (committed, probes) {
        (0, _) => Verdict::inconclusive("no task committed a write"),
        (_, 0) => Verdict::inconclusive(format!(
            "{} took the lock in the right place, but nobody tried to take it before COMMIT, so whether it was kept is not known",
            count(committed, "committed task")
        )),
        _ => Verdict::pass(format!(
            "{} worked under the lock from before the first read, and {} to take it before COMMIT found it taken",
            count(committed, "committed task"),
            count(probes, "attempt")
        )),
    }
}

/// An operation of a task's critical section, or its COMMIT, that was carried out without the lock.
fn unprotected(view: &View<'_>, index: u32, entry: &Entry) -> Option<Verdict> {
    let commits = |entry: &Entry| {
        matches!(entry.op, Op::Commit)
            && (view.ledger.transaction_of(index as usize))
                .map(|at| &view.ledger.transactions[at])
                .is_some_and(|transaction| transaction.committed() && transaction.change.is_some())
    };
    let record = view.record(entry.task?)?;
    if entry.outcome.ok().is_none() || !view.is_worker(entry.actor) || !(is_critical(&entry.op) || commits(entry)) {
        return None;
    }
    let customer = record.identity.customer;
    match view.hold_at(index) {
        None => Some(without(view, index, entry)),
        Some(hold) if !hold.exclusive => Some(Verdict::violation(
            format!(
                "{} locked customer {customer} with `{}`, which does not exclude its like",
                sender(entry),
                view.entry(hold.grant).op
            ),
            entries([hold.grant, index]),
        )),
        Some(_) => None,
    }
}

/// Says that the lock was not there, and where it was instead.
fn without(view: &View<'_>, index: u32, entry: &Entry) -> Verdict {
    let task = entry.task;
    let of_task = |hold: &&Hold| hold.task == task && hold.actor == entry.actor;
    let earlier =
        view.ledger.holds[..view.ledger.holds.partition_point(|hold| hold.grant < index)].iter().rev().find(of_task);
    let (why, lock) = match earlier {
        None => ("had not been granted".to_owned(), None),
        Some(hold) if hold.end.is_some_and(|end| end <= index) => (
            hold.end.map_or_else(String::new, |end| format!("had been given up at `{}`", view.entry(end).op)),
            Some(hold),
        ),
        Some(hold) => (format!("was not the one that it had: that was of {}", hold.key), Some(hold)),
    };
    let shown = lock.map(|hold| [Some(hold.grant), hold.end.filter(|&end| end <= index)]).unwrap_or_default();
    Verdict::violation(
        format!("{} was carried out although the customer's lock {why}", sent(view, index)),
        entries(shown.into_iter().flatten().chain([index])),
    )
}

/// A write whose read was in another transaction, or before the lock was given up once.
fn split(view: &View<'_>, transaction: &Transaction) -> Option<Verdict> {
    let write = transaction.write?;
    let Some(read) = transaction.basis else {
        return Some(Verdict::violation(
            format!("{} was sent without a read of the claims", sent(view, write)),
            entries([transaction.begin, write]),
        ));
    };
    let same = view.ledger.transaction_of(read as usize) == view.ledger.transaction_of(write as usize);
    let given_up = view.hold_at(read).and_then(|hold| hold.end).filter(|&end| end < write);
    if same && given_up.is_none() {
        return None;
    }
    let between = if same { "the lock was given up between" } else { "another transaction began between" };
    Some(Verdict::violation(
        format!("{between} {} and {}, which is based on it", sent(view, read), sent(view, write)),
        entries([Some(read), given_up, Some(transaction.begin), Some(write)].into_iter().flatten()),
    ))
}

#[cfg(test)]
mod tests {
    use drift_engine::claim::CustomerId;
    use drift_engine::lock::LockStrategy;
    use drift_engine::op::{Lock, Op, Reply, Scope, Strength, Wait};
    use drift_engine::session::ErrorClass;

    use crate::check::CheckName::LockHeld;
    use crate::check::twins::{assert_inconclusive, assert_pass, assert_violation, contended, opening};
    use crate::history::build::Build;
    use crate::history::{ActorId, History, Seen};

    /// One task that takes this lock, works, and commits.
    fn locking(lock: Lock) -> History {
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        let task = b.task(0, 1);
        b.call(task, LockStrategy::RowNoKey.begin(), Reply::Done);
        b.call(task, Op::Lock(lock), Reply::Locked(true));
        b.work(task);
        b.commit(task);
        b.finish()
    }

    fn row(customer: i64, strength: Strength) -> Lock {
        Lock::Row { customer: CustomerId(customer), strength, wait: Wait::Block }
    }

    #[test]
    fn a_lock_from_the_first_read_to_commit_passes() {
        for strategy in [LockStrategy::Row, LockStrategy::Advisory, LockStrategy::Immediate] {
            assert_pass(LockHeld, &contended(strategy).finish());
        }
    }

    #[test]
    fn no_lock_or_a_weak_one_or_that_of_another_row_is_a_violation() {
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        let task = b.task(0, 1);
        b.call(task, LockStrategy::RowNoKey.begin(), Reply::Done);
        b.work(task);
        b.commit(task);
        assert_violation(LockHeld, &b.finish(), "had not been granted");
        assert_violation(LockHeld, &locking(row(1, Strength::Share)), "does not exclude its like");
        assert_violation(LockHeld, &locking(row(1, Strength::KeyShare)), "does not exclude its like");
        assert_violation(LockHeld, &locking(row(2, Strength::Update)), "that was of customer 2");
    }

    #[test]
    fn a_deferred_transaction_on_sqlite_has_no_lock() {
        let mut b = Build::new(LockStrategy::Immediate, 1, 0);
        let task = b.task(0, 1);
        b.call(task, LockStrategy::RowNoKey.begin(), Reply::Done);
        b.work(task);
        b.commit(task);
        assert_violation(LockHeld, &b.finish(), "had not been granted");
    }

    #[test]
    fn a_lock_after_the_read_is_a_violation() {
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        let task = b.task(0, 1);
        b.call(task, LockStrategy::RowNoKey.begin(), Reply::Done);
        b.read(task);
        b.call(task, Op::Lock(row(1, Strength::Update)), Reply::Locked(true));
        b.write(task);
        b.commit(task);
        assert_violation(LockHeld, &b.finish(), "read claims");
    }

    #[test]
    fn a_commit_between_read_and_write_is_a_violation() {
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        let task = b.task(0, 1);
        b.enter(task);
        b.open(task);
        b.read(task);
        b.call(task, Op::Commit, Reply::Committed);
        let mut without = b.clone();
        without.call(task, LockStrategy::RowNoKey.begin(), Reply::Done);
        without.write(task);
        without.commit(task);
        assert_violation(LockHeld, &without.finish(), "given up at `COMMIT`");
        b.enter(task);
        b.write(task);
        b.commit(task);
        assert_violation(LockHeld, &b.finish(), "another transaction began between");
    }

    #[test]
    fn a_session_lock_given_back_before_commit_is_a_violation() {
        let mut b = Build::new(LockStrategy::Advisory, 1, 0);
        let task = b.task(0, 1);
        let customer = b.customer(task);
        b.call(task, LockStrategy::Advisory.begin(), Reply::Done);
        b.call(task, Op::Lock(Lock::Advisory { customer, scope: Scope::Session }), Reply::Locked(true));
        b.work(task);
        b.call(task, Op::Unlock { customer }, Reply::Done);
        b.commit(task);
        assert_violation(LockHeld, &b.finish(), "given up at `unlock customer 1`");
    }

    #[test]
    fn a_rollback_to_a_savepoint_older_than_the_lock_gives_it_up() {
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        let task = b.task(0, 1);
        b.call(task, LockStrategy::RowNoKey.begin(), Reply::Done);
        b.call(task, Op::Savepoint, Reply::Done);
        b.call(task, Op::Lock(row(1, Strength::Update)), Reply::Locked(true));
        let failing = b.send(task, Op::Savepoint);
        b.refuse(failing, ErrorClass::Unique);
        b.call(task, Op::RollbackTo, Reply::Done);
        b.work(task);
        b.commit(task);
        assert_violation(LockHeld, &b.finish(), "had been given up");
    }

    #[test]
    fn a_lock_that_another_could_take_before_commit_is_a_violation() {
        let history = opening(LockStrategy::RowNoKey, |b, _| {
            let (from, until) = (b.tick(), b.tick());
            b.see(Seen::Probe { from, until, key: CustomerId(1), holder: ActorId(0), held: false });
        });
        assert_violation(LockHeld, &history.finish(), "another connection could take the lock");
    }

    #[test]
    fn a_commit_that_is_held_at_the_gate_has_not_been_sent() {
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        let task = b.task(0, 1);
        b.enter(task);
        b.work(task);
        let commit = b.send(task, Op::Commit);
        let gated = b.tick();
        let (from, until) = (b.tick(), b.tick());
        b.see(Seen::Probe { from, until, key: CustomerId(1), holder: ActorId(0), held: false });
        let mut open = b.clone();
        open.answer(commit, Reply::Committed);
        assert_inconclusive(LockHeld, &open.finish(), "nobody tried to take it");
        b.see_hold(task, gated);
        b.answer(commit, Reply::Committed);
        assert_violation(LockHeld, &b.finish(), "another connection could take the lock");
    }

    #[test]
    fn without_a_probe_or_a_commit_it_is_inconclusive() {
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        assert_inconclusive(LockHeld, &b.clone().finish(), "no task committed");
        let task = b.task(0, 1);
        b.run(task);
        assert_inconclusive(LockHeld, &b.finish(), "nobody tried to take it");
    }
}
