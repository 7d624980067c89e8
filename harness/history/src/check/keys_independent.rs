//! Keys-independent: no task waits for a task of another customer, and tasks of other customers
//! commit while one is in its critical section.

use std::collections::BTreeSet;

use crate::history::view::View;
use crate::verdict::Verdict;

use super::sections::Sections;
use super::waits::{Sample, latest, samples};
use super::wording::{count, entries};

pub(super) fn check(view: &View<'_>) -> Verdict {
    let mut taken = 0;
    for sample in samples(view) {
        if let Some(violation) = crossed(view, &sample) {
            return violation;
        }
        taken += 1;
    }
    let customers: BTreeSet<_> = view.history.tasks.iter().map(|record| record.identity.customer).collect();
    if customers.len() < 2 {
        return Verdict::inconclusive("every task was of the same customer");
    }
    let sections = Sections::of(view);
    let during = (view.ledger.transactions.iter())
        .filter(|transaction| transaction.committed() && transaction.write.is_some())
        .filter(|transaction| {
            let commit = view.entry(transaction.last);
            let customer = transaction.task.and_then(|task| view.record(task)).map(|record| record.identity.customer);
            customer.is_some_and(|customer| {
                sections.covering_of_another(customer, commit.invoked, commit.returned).is_some()
            })
        })
        .count();
    if during == 0 {
        return Verdict::inconclusive("no task committed while one of another customer was in its critical section");
    }
    Verdict::pass(format!(
        "{} committed while one of another customer was in its critical section, and in {} nobody waited across {}",
        count(during, "task"),
        count(taken, "sample"),
        count(customers.len(), "customer")
    ))
}

/// A worker that waits for a worker whose task is of another customer.
fn crossed(view: &View<'_>, sample: &Sample<'_>) -> Option<Verdict> {
    for (waiter, _) in sample.waits {
        let Some(waiting) = view.in_flight_throughout(*waiter, sample.from, sample.until) else { continue };
        let Some(own) = view.entry(waiting).task.and_then(|task| view.record(task)) else { continue };
        for blocker in sample.waited_for(view, *waiter) {
            let task = view.is_worker(blocker).then(|| sample.task_of(view, blocker)).flatten();
            let Some(other) = task.and_then(|task| view.record(task)) else { continue };
            if other.identity.customer != own.identity.customer {
                let sentence = format!(
                    "task {} of customer {} waited for task {} of customer {}, by the server's own word",
                    own.id, own.identity.customer, other.id, other.identity.customer
                );
                let shown = [latest(view, blocker, sample.from), Some(waiting)];
                return Some(Verdict::violation(sentence, entries(shown.into_iter().flatten())));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use drift_engine::lock::LockStrategy;

    use crate::check::CheckName::KeysIndependent;
    use crate::check::twins::{assert_inconclusive, assert_pass, assert_violation, contended};
    use crate::history::build::Build;

    #[test]
    fn tasks_of_another_customer_that_go_on_pass() {
        for strategy in [LockStrategy::RowNoKey, LockStrategy::Serializable] {
            assert_pass(KeysIndependent, &contended(strategy).finish());
        }
    }

    /// Task 1 of customer 2 waits while task 0 of customer 1 is in its critical section.
    fn across(waits: &[(u32, &[u32])]) -> Build {
        let mut b = Build::new(LockStrategy::RowNoKey, 3, 0);
        let (first, second, third) = (b.task(0, 1), b.task(1, 2), b.task(2, 1));
        b.enter(first);
        b.work(first);
        let asked = [b.ask(second), b.ask(third)];
        b.see_waits(waits);
        b.commit(first);
        for (task, asked) in [second, third].into_iter().zip(asked) {
            b.grant(asked);
            b.work(task);
            b.commit(task);
        }
        b
    }

    #[test]
    fn waiting_for_another_customer_is_a_violation_also_through_a_third() {
        assert_violation(KeysIndependent, &across(&[(1, &[0])]).finish(), "task 1 of customer 2 waited for task 0");
        let through = across(&[(1, &[2]), (2, &[0])]).finish();
        assert_violation(KeysIndependent, &through, "task 1 of customer 2 waited for task");
    }

    #[test]
    fn one_customer_or_no_commit_meanwhile_is_inconclusive() {
        assert_inconclusive(KeysIndependent, &across(&[(2, &[0])]).finish(), "no task committed while");
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        let task = b.task(0, 1);
        b.run(task);
        assert_inconclusive(KeysIndependent, &b.finish(), "the same customer");
    }
}
