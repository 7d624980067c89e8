//! Bystanders-free: claims of a customer can be inserted while one of its tasks is in its critical
//! section.
//!
//! An insert takes `FOR KEY SHARE` on the customer's row, which `FOR UPDATE` blocks and
//! `FOR NO KEY UPDATE` does not (PostgreSQL manual, 13.3.2, table 13.3). SQLite names no blocker; but
//! its one write lock has one holder (sqlite.org/lockingv3.html), so whoever waits while a task
//! certainly has it, waits for that task.

use drift_engine::lock::Backend;
use drift_engine::op::Op;
use drift_engine::session::ErrorClass;

use crate::history::view::View;
use crate::history::{Entry, Outcome, Role};
use crate::verdict::Verdict;

use super::sections::{Section, Sections};
use super::waits::{Sample, latest, samples};
use super::wording::{count, entries, performer};

pub(super) fn check(view: &View<'_>) -> Verdict {
    let sections = Sections::of(view);
    let mut taken = 0;
    for sample in samples(view) {
        if let Some(violation) = blocked(view, &sections, &sample) {
            return violation;
        }
        taken += 1;
    }
    let antagonists = view.history.meta.actors.values().any(|role| *role == Role::Antagonist);
    let mut free = 0;
    for (index, entry) in view.history.entries.iter().enumerate() {
        let Entry { invoked, returned, .. } = *entry;
        let Op::InsertClaim { customer, .. } = entry.op else { continue };
        let Some(section) = sections.covering(customer, invoked, returned) else { continue };
        match &entry.outcome {
            Outcome::Ok(_) => free += 1,
            // Nobody but tasks takes locks that an insert could wait for.
            Outcome::Failed(error) if error.class == ErrorClass::LockTimeout && !antagonists => {
                return Verdict::violation(
                    format!(
                        "{} could not insert a claim of customer {customer} within the lock timeout while task {} was in its critical section",
                        performer(entry.task, entry.actor),
                        section.task
                    ),
                    entries(section.entries.into_iter().chain([index as u32])),
                );
            }
            Outcome::Failed(_) | Outcome::Unknown(_) => {}
        }
    }
    if free == 0 {
        return Verdict::inconclusive("no claim was inserted while a task of its customer was in its critical section");
    }
    Verdict::pass(format!(
        "{} acknowledged while a task of the same customer was in its critical section, and in {} no bystander waited for a task",
        count(free, "insert") + if free == 1 { " was" } else { " were" },
        count(taken, "sample")
    ))
}

/// A bystander that waits for a worker.
fn blocked(view: &View<'_>, sections: &Sections, sample: &Sample<'_>) -> Option<Verdict> {
    let one_writer = view.history.meta.backend == Backend::Sqlite;
    for (waiter, blockers) in sample.waits.iter().filter(|(waiter, _)| view.role(*waiter) == Some(Role::Bystander)) {
        let waiting = latest(view, *waiter, sample.until);
        // An insert that was answered before the section ended had been done before it began.
        let outlasted = |section: &&Section| waiting.is_some_and(|entry| view.entry(entry).returned >= section.until);
        if one_writer && let Some(section) = sections.covering_any(sample.from, sample.until).filter(outlasted) {
            return Some(Verdict::violation(
                format!(
                    "bystander {waiter} waited, by SQLite's own word, while task {} held the write lock",
                    section.task
                ),
                entries(section.entries.into_iter().chain(waiting)),
            ));
        }
        let through = sample.waited_for(view, *waiter);
        if let Some(&worker) = blockers.iter().chain(&through).find(|actor| view.is_worker(**actor)) {
            let blocking = latest(view, worker, sample.from);
            let task = blocking.and_then(|entry| view.entry(entry).task);
            return Some(Verdict::violation(
                format!("bystander {waiter} waited for {}, by the server's own word", performer(task, worker)),
                entries([blocking, waiting].into_iter().flatten()),
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use drift_engine::lock::LockStrategy;
    use drift_engine::op::Reply;
    use drift_engine::session::ErrorClass;

    use crate::check::CheckName::BystandersFree;
    use crate::check::twins::{assert_inconclusive, assert_pass, assert_violation, contended, opening};
    use crate::history::build::Build;

    #[test]
    fn inserts_during_the_critical_section_pass() {
        for strategy in [LockStrategy::RowNoKey, LockStrategy::Advisory, LockStrategy::Constraint] {
            assert_pass(BystandersFree, &contended(strategy).finish());
        }
    }

    #[test]
    fn a_bystander_that_waits_for_a_task_is_a_violation() {
        let mut claim = 0;
        let mut b = opening(LockStrategy::Row, |b, _| {
            claim = b.send_claim(0, 1);
            b.see_waits(&[(1, &[0]), (4, &[0])]);
        });
        b.answer(claim, Reply::Done);
        assert_violation(BystandersFree, &b.finish(), "bystander 4 waited for task 0");
    }

    #[test]
    fn a_bystander_that_waits_for_sqlites_one_writer_is_a_violation() {
        let mut claim = 0;
        let mut b = opening(LockStrategy::Immediate, |b, _| {
            claim = b.send_claim(0, 1);
            b.see_waits(&[(1, &[]), (4, &[])]);
        });
        b.answer(claim, Reply::Done);
        assert_violation(BystandersFree, &b.finish(), "while task 0 held the write lock");
    }

    #[test]
    fn an_insert_that_times_out_is_a_violation() {
        let history = opening(LockStrategy::Row, |b, _| {
            let claim = b.send_claim(0, 1);
            b.refuse(claim, ErrorClass::LockTimeout);
        });
        assert_violation(BystandersFree, &history.finish(), "within the lock timeout");
    }

    #[test]
    fn without_inserts_meanwhile_it_is_inconclusive() {
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 1);
        let task = b.task(0, 1);
        b.insert(0, 1);
        b.run(task);
        assert_inconclusive(BystandersFree, &b.finish(), "no claim was inserted while");
    }
}
