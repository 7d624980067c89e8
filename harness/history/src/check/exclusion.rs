//! Exclusion: the certain hold intervals of one key are pairwise disjoint.
//!
//! The interval begins when the grant was answered and ends when the last successful operation was
//! sent, so two that overlap were both inside the lock, whatever happened on the way
//! ([`crate::history::transactions`]). Tasks that took no lock have no interval: `lock-held` finds them.

use crate::history::transactions::Hold;
use crate::history::view::View;
use crate::verdict::Verdict;

use super::wording::{count, entries, performer};

pub(super) fn check(view: &View<'_>) -> Verdict {
    let of_tasks = |hold: &&Hold| hold.task.is_some() && view.is_worker(hold.actor) && hold.lasts();
    let mut holds: Vec<&Hold> = view.ledger.holds.iter().filter(of_tasks).collect();
    holds.sort_by_key(|hold| (hold.key, hold.from));
    let (mut shared, mut contended, mut keys) = (0, 0, 0);
    for of_key in holds.chunk_by(|a, b| a.key == b.key) {
        if let Some((first, second)) = overlap(view, of_key) {
            return Verdict::violation(
                format!(
                    "{} held the lock of {} when {} was granted it: both were in their critical sections from tick {} to {}",
                    performer(first.task, first.actor),
                    first.key,
                    performer(second.task, second.actor),
                    second.from.0,
                    first.until.min(second.until).0
                ),
                // Once one of them has ended, it is certain.
                entries([first.grant, second.grant, if first.until <= second.until { first } else { second }.last]),
            );
        }
        keys += 1;
        shared += usize::from(of_key.len() > 1);
        // In disjoint sections, whoever waited for anybody also waited for its predecessor.
        let waited = |pair: &&[&Hold]| {
            session(view, pair[0]) != session(view, pair[1]) && view.sent_at(pair[1].grant) < pair[0].until
        };
        contended += of_key.windows(2).filter(waited).count();
    }
    if shared == 0 {
        return Verdict::inconclusive("no key's lock was held by two tasks");
    }
    if contended == 0 {
        return Verdict::inconclusive("the lock was never contended: nobody asked for it while another held it");
    }
    Verdict::pass(format!(
        "{} of {} were disjoint, and {contended} of them began after a wait for another",
        count(holds.len(), "critical section"),
        count(keys, "key")
    ))
}

fn session(view: &View<'_>, hold: &Hold) -> i64 {
    view.entry(hold.grant).session.0
}

/// Two overlapping intervals of different sessions; the intervals are those of one key, by beginning.
fn overlap<'v>(view: &View<'_>, holds: &[&'v Hold]) -> Option<(&'v Hold, &'v Hold)> {
    // Of those begun so far: the one that lasts longest, and the longest of another session.
    let (mut longest, mut other): (Option<&Hold>, Option<&Hold>) = (None, None);
    for &hold in holds {
        let elsewhere = |earlier: &&Hold| session(view, earlier) != session(view, hold);
        if let Some(earlier) = longest.filter(elsewhere).or(other.filter(elsewhere))
            && hold.from < earlier.until
        {
            return Some((earlier, hold));
        }
        let lasts_longer = |than: Option<&Hold>| than.is_none_or(|than| hold.until > than.until);
        match longest {
            Some(earlier) if session(view, earlier) != session(view, hold) => {
                if lasts_longer(longest) {
                    (longest, other) = (Some(hold), longest);
                } else if lasts_longer(other) {
                    other = Some(hold);
                }
            }
            _ if lasts_longer(longest) => longest = Some(hold),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use drift_engine::claim::CustomerId;
    use drift_engine::lock::LockStrategy;
    use drift_engine::op::{Isolation, Lock, Op, Reply, Scope, Strength, Wait};
    use drift_engine::session::{ErrorClass, SessionId};
    use proptest::prelude::*;

    use crate::check::CheckName::Exclusion;
    use crate::check::twins::{assert_inconclusive, assert_pass, assert_violation, contended};
    use crate::history::build::Build;
    use crate::history::view::View;
    use crate::history::{ActorId, Entry, History, Outcome, TaskId, Tick};

    /// Two tasks whose second has the lock before the first commits.
    fn both_inside(lock: Option<Op>) -> Build {
        let mut b = Build::new(LockStrategy::RowNoKey, 2, 0);
        let (first, second) = (b.task(0, 1), b.task(1, 1));
        for task in [first, second] {
            let begin = Op::Begin { isolation: Isolation::ReadCommitted, immediate: false };
            b.call(task, begin, Reply::Done);
            let lock = lock.clone().unwrap_or_else(|| LockStrategy::RowNoKey.lock(b.customer(task)).unwrap());
            b.call(task, lock, Reply::Locked(true));
            b.open(task);
        }
        b.read(first);
        b.read(second);
        b
    }

    #[test]
    fn disjoint_sections_pass_on_both_databases() {
        for strategy in [LockStrategy::RowNoKey, LockStrategy::Advisory, LockStrategy::Immediate] {
            assert_pass(Exclusion, &contended(strategy).finish());
        }
    }

    #[test]
    fn overlapping_sections_are_a_violation() {
        let share = Lock::Row { customer: CustomerId(1), strength: Strength::Share, wait: Wait::Block };
        for lock in [None, Some(Op::Lock(share))] {
            assert_violation(Exclusion, &both_inside(lock).finish(), "both were in their critical sections");
        }
    }

    #[test]
    fn a_section_lasts_while_its_commit_is_held_at_the_gate() {
        let mut b = Build::new(LockStrategy::RowNoKey, 2, 0);
        let (first, second) = (b.task(0, 1), b.task(1, 1));
        b.enter(first);
        b.work(first);
        let commit = b.send(first, Op::Commit);
        let from = b.tick();
        b.enter(second);
        b.open(second);
        b.see_hold(first, from);
        b.answer(commit, Reply::Committed);
        assert_violation(Exclusion, &b.finish(), "both were in their critical sections");
    }

    #[test]
    fn a_lock_that_an_error_or_a_savepoint_let_go_does_not_overlap() {
        for by_savepoint in [false, true] {
            let mut b = Build::new(LockStrategy::RowNoKey, 2, 0);
            let (first, second) = (b.task(0, 1), b.task(1, 1));
            b.call(first, LockStrategy::RowNoKey.begin(), Reply::Done);
            if by_savepoint {
                b.call(first, Op::Savepoint, Reply::Done);
            }
            b.call(first, LockStrategy::RowNoKey.lock(b.customer(first)).unwrap(), Reply::Locked(true));
            let asked = b.ask(second);
            if by_savepoint {
                b.call(first, Op::RollbackTo, Reply::Done);
            } else {
                let failing = b.send(first, Op::Savepoint);
                b.refuse(failing, ErrorClass::Other);
            }
            b.grant(asked);
            b.open(second);
            b.call(first, Op::Rollback, Reply::RolledBack);
            b.work(second);
            b.commit(second);
            let history = b.finish();
            assert!(view_overlaps(&history).is_none(), "savepoint: {by_savepoint}");
        }
    }

    fn view_overlaps(history: &History) -> Option<String> {
        match super::check(&View::of(history)) {
            crate::verdict::Verdict::Violation { counterexample } => Some(counterexample.sentence),
            _ => None,
        }
    }

    #[test]
    fn a_session_lock_given_back_before_commit_ends_there() {
        let mut b = Build::new(LockStrategy::Advisory, 2, 0);
        let (first, second) = (b.task(0, 1), b.task(1, 1));
        for task in [first, second] {
            b.call(task, LockStrategy::Advisory.begin(), Reply::Done);
            let customer = b.customer(task);
            b.call(task, Op::Lock(Lock::Advisory { customer, scope: Scope::Session }), Reply::Locked(true));
            b.work(task);
            b.call(task, Op::Unlock { customer }, Reply::Done);
        }
        b.commit(first);
        b.commit(second);
        assert_eq!(view_overlaps(&b.finish()), None);
    }

    #[test]
    fn one_holder_or_no_waiting_is_inconclusive() {
        let mut b = Build::new(LockStrategy::RowNoKey, 2, 0);
        let alone = b.task(0, 1);
        b.run(alone);
        assert_inconclusive(Exclusion, &b.clone().finish(), "held by two tasks");
        let later = b.task(1, 1);
        b.run(later);
        assert_inconclusive(Exclusion, &b.finish(), "never contended");
    }

    /// One hold: worker, customer, and the lengths of its pauses.
    type Plan = (u32, i64, [u64; 4]);

    /// Lays out each worker's holds one after another, at random times.
    fn laid_out(plans: &[Plan]) -> History {
        let mut history = Build::new(LockStrategy::RowNoKey, 4, 0).finish();
        let mut now = [0; 4];
        for (index, (worker, customer, lengths)) in plans.iter().enumerate() {
            let mut template = Build::new(LockStrategy::RowNoKey, 4, 0);
            let task = template.task(*worker, *customer);
            template.enter(task);
            template.commit(task);
            let mut one = template.finish();
            let clock = &mut now[*worker as usize];
            for (entry, length) in one.entries.iter_mut().zip(lengths) {
                let (actor, session) = (ActorId(*worker), SessionId(i64::from(*worker)));
                let (invoked, returned) = (Tick(*clock + 1), Tick(*clock + 1 + length));
                *entry = Entry { actor, session, task: Some(TaskId(index as u32)), invoked, returned, ..entry.clone() };
                *clock = returned.0 + lengths[3];
            }
            one.tasks[0].id = TaskId(index as u32);
            history.entries.append(&mut one.entries);
            history.tasks.append(&mut one.tasks);
        }
        history.entries.sort_by_key(|entry| entry.invoked);
        history
    }

    /// The definition: every pair of holds, from the raw entries.
    fn overlaps(history: &History) -> bool {
        let of = |task: TaskId, wanted: fn(&Op) -> bool| {
            history.entries.iter().find(|entry| entry.task == Some(task) && wanted(&entry.op)).unwrap()
        };
        let holds: Vec<_> = (history.tasks.iter())
            .map(|record| {
                let lock = of(record.id, |op| matches!(op, Op::Lock(_)));
                let commit = of(record.id, |op| matches!(op, Op::Commit));
                assert!(matches!(commit.outcome, Outcome::Ok(_)));
                (record.identity.customer, record.actor, lock.returned, commit.invoked)
            })
            .collect();
        let pairs = holds.iter().enumerate().flat_map(|(n, a)| holds[n + 1..].iter().map(move |b| (a, b)));
        pairs.into_iter().any(|(a, b)| a.0 == b.0 && a.1 != b.1 && a.2 < b.3 && b.2 < a.3)
    }

    proptest! {
        #[test]
        fn the_sweep_finds_what_comparing_every_pair_finds(
            plans in prop::collection::vec((0_u32..4, 0_i64..3, prop::array::uniform4(0_u64..6)), 0..12),
        ) {
            let history = laid_out(&plans);
            prop_assert_eq!(view_overlaps(&history).is_some(), overlaps(&history));
        }
    }
}
