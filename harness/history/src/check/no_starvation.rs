//! No-starvation: no task waited for the lock out of all proportion to the others.
//!
//! A wait lasts from the first request of a task to the grant, over refused requests and pauses:
//! SQLite's busy handler has no queue, and a request that times out has waited too. Waits count from
//! the release of the actors that were held at the opening, since those before were arranged.

use std::collections::BTreeMap;

use crate::history::view::{View, asks_for_lock, grants_lock};
use crate::history::{ActorId, TaskId, Tick};
use crate::verdict::Verdict;

use super::wording::{count, entries, millis};

/// How many times the median the longest wait may be.
pub const LONGEST_TO_MEDIAN_MAX: u64 = 100;
/// A wait up to this long is nobody's starvation, whatever the median: 2 s, in ticks of a free-running history.
pub const WAIT_TICKS_TOLERATED: u64 = 2_000_000_000;
/// The number of waits below which a median means nothing.
pub const WAITS_MIN: usize = 8;

/// One wait.
struct Waited {
    task: TaskId,
    ticks: u64,
    asked: u32,
    /// The last request, granted or not.
    last: u32,
}

pub(super) fn check(view: &View<'_>) -> Verdict {
    let mut waits = waits(view);
    if waits.len() < WAITS_MIN {
        return Verdict::inconclusive(format!(
            "{} for the lock after the opening are too few to compare: {WAITS_MIN} are needed",
            count(waits.len(), "wait")
        ));
    }
    let middle = waits.len() / 2;
    let (_, median, _) = waits.select_nth_unstable_by_key(middle, |wait| wait.ticks);
    let median = median.ticks;
    let all = waits.len();
    let Some(longest) = waits.into_iter().max_by_key(|wait| (wait.ticks, wait.task)) else {
        return Verdict::inconclusive("nobody waited");
    };
    let compared = format!("{} against a median of {} over {all} waits", millis(longest.ticks), millis(median));
    if longest.ticks > WAIT_TICKS_TOLERATED && longest.ticks > median.saturating_mul(LONGEST_TO_MEDIAN_MAX) {
        return Verdict::violation(
            format!("task {} waited {compared} for the lock", longest.task),
            entries([longest.asked, longest.last]),
        );
    }
    Verdict::pass(format!("the longest wait for the lock was {compared}"))
}

fn waits(view: &View<'_>) -> Vec<Waited> {
    let backend = view.history.meta.backend;
    let released = view.history.meta.released;
    // Of each actor: the task that has asked and has not been granted, its first and its last request.
    let mut asking: BTreeMap<ActorId, (TaskId, u32, u32)> = BTreeMap::new();
    let mut waits = Vec::new();
    let mut ended = |(task, asked, last): (TaskId, u32, u32)| {
        let (from, until): (Tick, Tick) = (view.entry(asked).invoked.max(released), view.entry(last).returned);
        if from < until {
            waits.push(Waited { task, ticks: until.0 - from.0, asked, last });
        }
    };
    for (index, entry) in view.history.entries.iter().enumerate() {
        let (Some(task), true) = (entry.task, asks_for_lock(&entry.op, backend)) else { continue };
        if !view.is_worker(entry.actor) {
            continue;
        }
        let index = index as u32;
        let first = match asking.remove(&entry.actor) {
            Some((before, first, _)) if before == task => first,
            Some(unmet) => {
                ended(unmet);
                index
            }
            None => index,
        };
        if entry.outcome.ok().is_some_and(grants_lock) {
            ended((task, first, index));
        } else {
            asking.insert(entry.actor, (task, first, index));
        }
    }
    asking.into_values().for_each(ended);
    waits
}

#[cfg(test)]
mod tests {
    use drift_engine::lock::LockStrategy;
    use drift_engine::op::{Op, Reply};
    use drift_engine::session::ErrorClass;

    use super::WAIT_TICKS_TOLERATED;
    use crate::check::CheckName::NoStarvation;
    use crate::check::twins::{assert_inconclusive, assert_pass, assert_violation};
    use crate::history::build::Build;
    use crate::history::{History, Tick};

    const LONG: u64 = WAIT_TICKS_TOLERATED + 1;

    /// Nine tasks one after another, the fifth of which waits this long, over one refusal.
    fn nine(strategy: LockStrategy, fifth_waits: u64) -> History {
        let mut b = Build::new(strategy, 1, 0);
        for n in 0..9 {
            let task = b.task(0, 1);
            let asked = b.ask(task);
            if n == 4 {
                b.wait(fifth_waits / 2);
                b.refuse(asked.unwrap(), ErrorClass::LockTimeout);
                b.call(task, Op::Rollback, Reply::RolledBack);
                let asked = b.ask(task);
                b.wait(fifth_waits / 2);
                b.grant(asked);
            } else {
                b.grant(asked);
            }
            b.work(task);
            b.commit(task);
        }
        b.finish()
    }

    #[test]
    fn like_waits_and_short_ones_pass() {
        for strategy in [LockStrategy::RowNoKey, LockStrategy::Immediate] {
            assert_pass(NoStarvation, &nine(strategy, 0));
            assert_pass(NoStarvation, &nine(strategy, LONG / 2));
        }
    }

    #[test]
    fn a_wait_out_of_all_proportion_is_a_violation() {
        for strategy in [LockStrategy::RowNoKey, LockStrategy::Immediate] {
            assert_violation(NoStarvation, &nine(strategy, LONG), "task 4 waited 2000");
        }
    }

    #[test]
    fn arranged_waits_and_too_few_do_not_count() {
        let mut history = nine(LockStrategy::RowNoKey, LONG);
        history.meta.released = Tick(u64::MAX);
        assert_inconclusive(NoStarvation, &history, "too few");
        history.entries.clear();
        assert_inconclusive(NoStarvation, &history, "too few");
    }
}
