//! What follows from single operations: where a transaction ends, what it leaves, what it still holds.

use drift_engine::lock::LockStrategy;
use drift_engine::op::{Lock, Op, Reply, Scope};
use drift_engine::session::ErrorClass;

use super::*;
use crate::history::build::Build;
use crate::history::view::View;

/// One task, followed up to its last operation; BEGIN is entry 0, the lock entry 1 on PostgreSQL.
fn follow(strategy: LockStrategy, steps: impl FnOnce(&mut Build, TaskId)) -> Ledger {
    let mut b = Build::new(strategy, 1, 0);
    let task = b.task(0, 1);
    b.enter(task);
    steps(&mut b, task);
    View::of(&b.finish()).ledger
}

fn refuse(b: &mut Build, task: TaskId, op: Op, class: ErrorClass) {
    let entry = b.send(task, op);
    b.refuse(entry, class);
}

#[test]
fn a_hold_lasts_from_the_grant_to_the_last_success() {
    let ledger = follow(LockStrategy::RowNoKey, |b, task| {
        b.open(task);
        b.call(task, Op::Commit, Reply::Committed);
    });
    let hold = ledger.holds[0];
    assert_eq!((hold.grant, hold.last, hold.end), (1, 3, Some(3)));
    assert!(hold.lasts());
    assert_eq!(ledger.transactions[0].end, End::Committed);
    assert_eq!(ledger.hold_at(3), Some(0), "still held when COMMIT was sent");
    assert_eq!(ledger.hold_at(1), None, "not yet when it was asked for");
}

#[test]
fn an_error_ends_the_hold_on_postgresql_and_a_constraints_does_not_on_sqlite() {
    let steps = |b: &mut Build, task| {
        refuse(b, task, Op::Savepoint, ErrorClass::Unique);
        b.call(task, Op::Rollback, Reply::RolledBack);
    };
    let hold = follow(LockStrategy::RowNoKey, steps).holds[0];
    assert_eq!((hold.last, hold.end), (1, Some(2)));
    let hold = follow(LockStrategy::Immediate, steps).holds[0];
    assert_eq!((hold.last, hold.end), (2, Some(2)));
}

#[test]
fn after_another_error_on_sqlite_the_lock_may_be_there_but_is_not_certain() {
    let ledger = follow(LockStrategy::Immediate, |b, task| {
        refuse(b, task, Op::Savepoint, ErrorClass::Busy);
        b.open(task);
    });
    assert_eq!(ledger.holds[0].last, 0);
    assert_eq!(ledger.hold_at(2), Some(0));
}

#[test]
fn an_error_after_a_savepoint_spares_the_lock_that_is_older() {
    let ledger = follow(LockStrategy::RowNoKey, |b, task| {
        b.call(task, Op::Savepoint, Reply::Done);
        refuse(b, task, Op::Commit, ErrorClass::Injected);
        let write = b.open(task);
        b.refuse(write, ErrorClass::Unique);
        b.call(task, Op::RollbackTo, Reply::Done);
        b.open(task);
    });
    assert_eq!(ledger.holds[0].end, None);
    assert_eq!(ledger.holds[0].last, 6);
    assert_eq!(ledger.transactions[0].end, End::Open);
}

#[test]
fn what_is_rolled_back_to_a_savepoint_leaves_nothing() {
    let ledger = follow(LockStrategy::RowNoKey, |b, task| {
        b.call(task, Op::Savepoint, Reply::Done);
        b.read(task);
        b.write(task);
        b.call(task, Op::RollbackTo, Reply::Done);
        b.call(task, Op::Commit, Reply::Committed);
    });
    assert!(ledger.transactions[0].committed());
    assert_eq!((ledger.transactions[0].change, ledger.transactions[0].write), (None, None));
}

#[test]
fn a_commit_answered_with_rollback_neither_commits_nor_confirms_the_lock() {
    let ledger = follow(LockStrategy::RowNoKey, |b, task| {
        b.open(task);
        b.call(task, Op::Commit, Reply::RolledBack);
    });
    assert_eq!(ledger.transactions[0].end, End::RolledBack);
    assert_eq!((ledger.holds[0].last, ledger.holds[0].end), (2, Some(3)));
}

#[test]
fn a_commit_without_an_answer_is_unknown_and_any_other_loss_a_rollback() {
    for (op, end) in [(Op::Commit, End::Unknown), (Op::Savepoint, End::RolledBack)] {
        let ledger = follow(LockStrategy::Advisory, |b, task| refuse(b, task, op, ErrorClass::Lost));
        assert_eq!(ledger.transactions[0].end, end);
        assert_eq!(ledger.holds[0].end, Some(2));
    }
}

#[test]
fn a_session_lock_outlives_the_transaction_until_it_is_given_back_as_often_as_taken() {
    let mut b = Build::new(LockStrategy::Advisory, 1, 0);
    let task = b.task(0, 1);
    let customer = b.customer(task);
    let lock = Op::Lock(Lock::Advisory { customer, scope: Scope::Session });
    b.call(task, LockStrategy::Advisory.begin(), Reply::Done);
    b.call(task, lock.clone(), Reply::Locked(true));
    b.call(task, lock, Reply::Locked(true));
    b.call(task, Op::Unlock { customer }, Reply::Done);
    b.call(task, Op::Commit, Reply::Committed);
    b.call(task, Op::Unlock { customer }, Reply::Done);
    let ledger = View::of(&b.finish()).ledger;
    assert_eq!(ledger.holds.len(), 1);
    assert_eq!((ledger.holds[0].grant, ledger.holds[0].end), (1, Some(5)));
}

#[test]
fn a_write_outside_a_transaction_is_one_of_its_own() {
    let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
    let task = b.task(0, 1);
    let lock = LockStrategy::RowNoKey.lock(b.customer(task)).unwrap();
    b.call(task, lock, Reply::Locked(true));
    b.read(task);
    b.write(task);
    let ledger = View::of(&b.finish()).ledger;
    assert!(ledger.holds.is_empty(), "the lock went with its statement");
    let [transaction] = &ledger.transactions[..] else { panic!("{:?}", ledger.transactions) };
    assert!(transaction.implicit && transaction.committed());
    assert_eq!((transaction.write, transaction.basis), (Some(2), Some(1)));
}
