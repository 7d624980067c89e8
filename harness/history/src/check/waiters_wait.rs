//! Waiters-wait: while one task was held inside its critical section, the server reported the
//! others of its key as waiting, for it, and none of them went on.
//!
//! That nobody got past is read from the operations; that they waited is the server's word, never
//! an inference from elapsed time.

use std::collections::BTreeSet;

use drift_engine::lock::Backend;
use drift_engine::op::{Lock, Op, Reply, Wait};
use drift_engine::session::ErrorClass;

use crate::history::view::{View, asks_for_lock, is_critical};
use crate::history::{ActorId, Outcome, Role};
use crate::verdict::Verdict;

use super::sections::{self, Section};
use super::waits::{Sample, samples};
use super::wording::{count, entries, sent};

pub(super) fn check(view: &View<'_>) -> Verdict {
    let holds: Vec<Section> = sections::gated(view).collect();
    let samples: Vec<Sample<'_>> = samples(view).collect();
    let (mut taken, mut contended, mut most) = (0, 0, 0);
    let mut silent = None;
    for hold in &holds {
        if let Some(violation) = went_on(view, hold) {
            return violation;
        }
        let (mut contending, mut waiting) = (BTreeSet::new(), BTreeSet::new());
        for sample in samples.iter().filter(|sample| hold.from <= sample.from && sample.until <= hold.until) {
            taken += 1;
            let of_key: BTreeSet<ActorId> = contenders(view, hold, sample).collect();
            waiting.extend(of_key.iter().copied().filter(|&actor| waits_for(view, sample, actor, hold.actor)));
            contending.extend(of_key);
        }
        contended += usize::from(!waiting.is_empty());
        most = most.max(waiting.len());
        if let Some(actor) = contending.difference(&waiting).next() {
            silent = Some((*actor, hold.actor));
        }
    }
    match silent {
        _ if holds.is_empty() => Verdict::inconclusive("no task was held inside its critical section"),
        Some((actor, holder)) => Verdict::inconclusive(format!(
            "worker {actor} asked for the lock while worker {holder} was held with it, but the server was not seen to report that it waits for it"
        )),
        None if contended == 0 => Verdict::inconclusive("nobody asked for the lock while another was held with it"),
        None => Verdict::pass(format!(
            "in {} of {} while a task was held before COMMIT the server reported up to {} of its key waiting for it, and none went on",
            count(taken, "sample"),
            count(contended, "contention"),
            count(most, "other worker")
        )),
    }
}

/// The other workers of the same key that had asked for the lock before the sample and had no answer after it.
fn contenders<'v>(view: &'v View<'_>, hold: &'v Section, sample: &'v Sample<'_>) -> impl Iterator<Item = ActorId> {
    others(view, hold.actor).filter(move |&actor| {
        view.in_flight_throughout(actor, sample.from, sample.until).is_some_and(|index| {
            let op = &view.entry(index).op;
            let sent = view.sent_at(index) <= sample.from;
            sent && asks_for_lock(op, view.history.meta.backend)
                && locks_own_key(view, index)
                && same_key(view, hold, index)
        })
    })
}

fn others(view: &View<'_>, holder: ActorId) -> impl Iterator<Item = ActorId> {
    let actors = view.history.meta.actors.iter();
    actors.filter(move |&(&actor, &role)| role == Role::Worker && actor != holder).map(|(&actor, _)| actor)
}

/// Whether the server said that an actor waited for the holder. SQLite names no blocker, and has one lock.
fn waits_for(view: &View<'_>, sample: &Sample<'_>, actor: ActorId, holder: ActorId) -> bool {
    match view.history.meta.backend {
        Backend::Sqlite => sample.waits(actor),
        Backend::Postgres => sample.waited_for(view, actor).contains(&holder),
    }
}

/// Whether an entry's task has the holder's key.
fn same_key(view: &View<'_>, hold: &Section, index: u32) -> bool {
    let record = view.entry(index).task.and_then(|task| view.record(task));
    record.is_some_and(|record| view.key_of(record.identity.customer) == view.key_of(hold.customer))
}

/// Whether the lock that an entry asks for is that of its own task's customer.
fn locks_own_key(view: &View<'_>, index: u32) -> bool {
    let entry = view.entry(index);
    let own = entry.task.and_then(|task| view.record(task)).map(|record| record.identity.customer);
    match &entry.op {
        Op::Lock(lock) => Some(lock.customer()) == own,
        _ => true,
    }
}

/// An operation by which another task of the key got past the holder while it was held.
fn went_on(view: &View<'_>, hold: &Section) -> Option<Verdict> {
    for actor in others(view, hold.actor) {
        let all = view.entries_of(actor);
        // The one in flight at the beginning, and those sent during the hold.
        let first = all.partition_point(|&index| view.entry(index).invoked <= hold.from).saturating_sub(1);
        let during = all[first..].iter().take_while(|&&index| view.entry(index).invoked < hold.until);
        for &index in during.filter(|&&index| same_key(view, hold, index)) {
            if let Some(how) = got_past(view, hold, index) {
                let holder = hold.task;
                return Some(Verdict::violation(
                    format!(
                        "{} {how} while task {holder} of the same key was held in its critical section",
                        sent(view, index)
                    ),
                    entries(hold.entries.into_iter().chain([index])),
                ));
            }
        }
    }
    None
}

fn got_past(view: &View<'_>, hold: &Section, index: u32) -> Option<&'static str> {
    let entry = view.entry(index);
    let sent_during = hold.from < entry.invoked;
    let answered_during = hold.from < entry.returned && entry.returned < hold.until;
    let wait = match &entry.op {
        Op::Lock(Lock::Row { wait, .. }) => *wait,
        _ => Wait::Block,
    };
    let asks = asks_for_lock(&entry.op, view.history.meta.backend);
    match &entry.outcome {
        Outcome::Failed(error) if error.class == ErrorClass::Injected => None,
        _ if is_critical(&entry.op) && sent_during => Some("was sent"),
        Outcome::Ok(Reply::Locked(false)) if asks && sent_during && answered_during => {
            Some("found no row to lock instead of waiting")
        }
        Outcome::Ok(_) if asks && answered_during && still_there(view, index) => Some("was granted"),
        Outcome::Failed(error)
            if wait == Wait::NoWait && error.class == ErrorClass::LockTimeout && sent_during && answered_during =>
        {
            Some("was refused at once instead of waiting")
        }
        _ => None,
    }
}

/// Whether what an entry was granted, on its own key, was still there when the answer came: it is
/// inside a transaction.
fn still_there(view: &View<'_>, index: u32) -> bool {
    locks_own_key(view, index) && view.ledger.transaction_of(index as usize).is_some()
}

#[cfg(test)]
mod tests {
    use drift_engine::claim::CustomerId;
    use drift_engine::lock::LockStrategy;
    use drift_engine::op::{Lock, Op, Reply, Strength, Wait};
    use drift_engine::session::ErrorClass;

    use crate::check::CheckName::WaitersWait;
    use crate::check::twins::{assert_inconclusive, assert_pass, assert_violation, contended, opening};
    use crate::history::{History, Seen};

    #[test]
    fn waiters_that_the_server_reports_pass() {
        for strategy in [LockStrategy::Row, LockStrategy::Advisory, LockStrategy::Immediate] {
            assert_pass(WaitersWait, &contended(strategy).finish());
        }
    }

    /// A fourth worker that asks for the lock in this way, and gets this answer, during the hold.
    fn with_fourth(wait: Wait, answer: Result<Reply, ErrorClass>) -> History {
        let mut b = opening(LockStrategy::RowNoKey, |b, _| {
            let fourth = b.task(3, 1);
            b.call(fourth, LockStrategy::RowNoKey.begin(), Reply::Done);
            let lock = Lock::Row { customer: CustomerId(1), strength: Strength::NoKeyUpdate, wait };
            let asked = b.send(fourth, Op::Lock(lock));
            match answer {
                Ok(reply) => b.answer(asked, reply),
                Err(class) => drop(b.refuse(asked, class)),
            }
        });
        b.tick();
        b.finish()
    }

    #[test]
    fn one_that_does_not_wait_is_a_violation() {
        assert_violation(WaitersWait, &with_fourth(Wait::Block, Ok(Reply::Locked(true))), "was granted");
        assert_violation(WaitersWait, &with_fourth(Wait::SkipLocked, Ok(Reply::Locked(false))), "no row to lock");
        assert_violation(WaitersWait, &with_fourth(Wait::NoWait, Err(ErrorClass::LockTimeout)), "refused at once");
    }

    #[test]
    fn one_that_works_without_asking_is_a_violation() {
        let history = opening(LockStrategy::RowNoKey, |b, _| {
            let fourth = b.task(3, 1);
            b.call(fourth, LockStrategy::RowNoKey.begin(), Reply::Done);
            b.read(fourth);
        });
        assert_violation(WaitersWait, &history.finish(), "was sent");
    }

    #[test]
    fn a_lock_timeout_after_a_wait_is_no_violation() {
        assert_pass(WaitersWait, &with_fourth(Wait::Block, Err(ErrorClass::LockTimeout)));
    }

    #[test]
    fn without_waiters_or_the_servers_word_it_is_inconclusive() {
        let mut history = contended(LockStrategy::RowNoKey).finish();
        for seen in &mut history.seen {
            if let Seen::Waits { waits, .. } = seen {
                waits.retain(|(waiter, _)| waiter.0 == 1);
            }
        }
        assert_inconclusive(WaitersWait, &history, "not seen to report");
        history.seen.retain(|seen| !matches!(seen, Seen::Waits { .. }));
        assert_inconclusive(WaitersWait, &history, "nobody asked for the lock");
        history.seen.clear();
        assert_inconclusive(WaitersWait, &history, "no task was held");
    }
}
