//! Twins of freshness, and the definition to compare it with.

use drift_engine::lock::LockStrategy;
use drift_engine::op::{Isolation, Op, Reply};
use proptest::prelude::*;

use crate::check::CheckName::Freshness;
use crate::check::twins::{assert_inconclusive, assert_pass, assert_violation, contended, verdict};
use crate::history::build::{Build, STEP_TICKS};
use crate::history::{Entry, History};

#[test]
fn fresh_reads_pass() {
    for strategy in [LockStrategy::RowNoKey, LockStrategy::Advisory, LockStrategy::Serializable] {
        assert_pass(Freshness, &contended(strategy).finish());
    }
}

/// A task that reads the claims as they were before one arrived that it should have seen.
fn stale(strategy: LockStrategy, begin: Op) -> Build {
    let mut b = Build::new(strategy, 2, 1);
    let task = b.task(0, 1);
    b.call(task, begin, Reply::Done);
    let old = b.claims(1);
    let lock = strategy.lock(b.customer(task)).map(|lock| b.send(task, lock));
    b.insert(0, 1);
    b.grant(lock);
    b.open(task);
    b.read_of(task, old);
    b.write(task);
    b.commit(task);
    b
}

#[test]
fn a_snapshot_older_than_the_lock_is_a_violation() {
    let begin = Op::Begin { isolation: Isolation::RepeatableRead, immediate: false };
    let history = stale(LockStrategy::RowNoKey, begin).finish();
    assert_violation(Freshness, &history, "before its lock was granted");
}

#[test]
fn without_a_lock_the_first_statement_of_a_snapshot_is_the_bound() {
    let history = stale(LockStrategy::Serializable, LockStrategy::Serializable.begin()).finish();
    assert_violation(Freshness, &history, "before its transaction's first read");
    // Acknowledged after the first statement: not promised.
    let mut b = Build::new(LockStrategy::Serializable, 1, 1);
    let task = b.task(0, 1);
    b.enter(task);
    let old = b.claims(1);
    b.open(task);
    b.insert(0, 1);
    b.read_of(task, old);
    b.write(task);
    b.commit(task);
    let later = b.task(0, 1);
    b.run(later);
    assert_pass(Freshness, &b.finish());
}

#[test]
fn a_read_before_the_lock_misses_what_was_acknowledged_between() {
    let mut b = Build::new(LockStrategy::RowNoKey, 1, 1);
    let task = b.task(0, 1);
    b.call(task, LockStrategy::RowNoKey.begin(), Reply::Done);
    b.read(task);
    b.insert(0, 1);
    b.call(task, LockStrategy::RowNoKey.lock(b.customer(task)).unwrap(), Reply::Locked(true));
    b.write(task);
    b.commit(task);
    assert_violation(Freshness, &b.finish(), "before its transaction's first read, or its lock");
}

#[test]
fn claims_that_nobody_sent_are_a_violation() {
    let mut b = contended(LockStrategy::RowNoKey);
    let mut cells = b.claims(1).to_vec();
    cells[0].count += 1;
    let task = b.task(0, 1);
    b.enter(task);
    b.read_of(task, cells.clone().into());
    b.write(task);
    b.commit(task);
    assert_violation(Freshness, &b.clone().finish(), "at most 40 had been sent");
    let mut b = contended(LockStrategy::RowNoKey);
    cells[0].payer = "nobody".into();
    let task = b.task(0, 1);
    b.enter(task);
    b.read_of(task, cells.into());
    b.write(task);
    b.commit(task);
    assert_violation(Freshness, &b.finish(), "that nobody sent");
}

#[test]
fn fewer_claims_than_a_predecessor_are_a_violation() {
    let mut b = Build::new(LockStrategy::RowNoKey, 2, 1);
    let [first, second] = [b.task(0, 1), b.task(1, 1)];
    let old = b.claims(1);
    // Sent but not yet acknowledged when either reads; the first has seen it.
    b.enter(first);
    let claim = b.send_claim(0, 1);
    let mut seen = b.clone();
    seen.answer(claim, Reply::Done);
    b.read_of(first, seen.claims(1));
    b.write(first);
    b.commit(first);
    b.enter(second);
    b.read_of(second, old);
    b.write(second);
    b.commit(second);
    b.answer(claim, Reply::Done);
    assert_violation(Freshness, &b.finish(), "whose task committed before");
}

#[test]
fn without_arrivals_meanwhile_it_is_inconclusive() {
    let mut b = Build::new(LockStrategy::RowNoKey, 1, 1);
    b.claims(1);
    b.insert(0, 1);
    let task = b.task(0, 1);
    b.run(task);
    b.insert(0, 1);
    assert_inconclusive(Freshness, &b.clone().finish(), "no claim was acknowledged between");
    assert_inconclusive(Freshness, &Build::new(LockStrategy::RowNoKey, 1, 1).finish(), "no task committed");
}

/// The definition, by comparing every read with every claim and every other read.
fn is_stale(history: &History) -> bool {
    let arrivals: Vec<&Entry> = history.entries.iter().filter(|e| matches!(e.op, Op::InsertClaim { .. })).collect();
    let shown = |entry: &Entry| match entry.outcome.ok() {
        Some(Reply::Claims(cells)) => cells.iter().filter(|c| c.payer.starts_with("bystander")).map(|c| c.count).sum(),
        _ => 0_u64,
    };
    let of = |entry: &Entry, wanted: fn(&Op) -> bool| {
        history.entries.iter().find(|other| other.task == entry.task && wanted(&other.op)).cloned().unwrap()
    };
    let reads: Vec<(u64, Entry, Entry, &Entry)> = (history.entries.iter())
        .filter(|entry| matches!(entry.op, Op::ReadClaims { .. }))
        .map(|read| (shown(read), of(read, |op| matches!(op, Op::Lock(_))), of(read, |op| *op == Op::Commit), read))
        .collect();
    let out_of_bounds = reads.iter().any(|(found, lock, _, read)| {
        let least = arrivals.iter().filter(|a| a.returned < lock.returned).count() as u64;
        let most = arrivals.iter().filter(|a| a.invoked < read.returned).count() as u64;
        *found < least || *found > most
    });
    let fewer =
        |a: &(u64, Entry, Entry, &Entry), b: &(u64, Entry, Entry, &Entry)| a.2.returned < b.2.invoked && a.0 > b.0;
    out_of_bounds || reads.iter().any(|a| reads.iter().any(|b| fewer(a, b)))
}

/// Tasks of one customer, one after another, whose reads show `early` claims fewer or more than are there.
fn sequence(steps: &[(bool, bool, i8)]) -> History {
    let mut b = Build::new(LockStrategy::RowNoKey, 1, 1);
    b.claims(1);
    for &(during_lock, in_flight, off) in steps {
        let task = b.task(0, 1);
        let asked = b.ask(task);
        if during_lock {
            b.insert(0, 1);
        }
        b.grant(asked);
        let claim = in_flight.then(|| b.send_claim(0, 1));
        let mut cells = b.claims(1).to_vec();
        if let Some(cell) = cells.iter_mut().find(|cell| cell.payer.starts_with("bystander")) {
            cell.count = cell.count.saturating_add_signed(i64::from(off));
        }
        b.read_of(task, cells.into());
        b.write(task);
        b.wait(STEP_TICKS);
        b.commit(task);
        if let Some(claim) = claim {
            b.answer(claim, Reply::Done);
        }
    }
    b.finish()
}

proptest! {
    #[test]
    fn counting_finds_what_comparing_everything_finds(
        steps in prop::collection::vec((any::<bool>(), any::<bool>(), prop_oneof![5 => Just(0_i8), 1 => -1_i8..=1]), 0..8),
    ) {
        let history = sequence(&steps);
        let stale = verdict(Freshness, &history).word() == "violation";
        prop_assert_eq!(stale, is_stale(&history));
    }
}
