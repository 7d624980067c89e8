//! Intervals in which a task was certainly inside its critical section, and how to ask which of
//! them cover something: the certain holds of its lock, where there is no lock the time from the
//! first change to its run until COMMIT was sent, and the time for which it was held at the gate
//! between the two.

use drift_engine::claim::CustomerId;

use crate::history::transactions::Transaction;
use crate::history::view::View;
use crate::history::{ActorId, Seen, TaskId, Tick};

/// One interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    pub(super) customer: CustomerId,
    pub(super) actor: ActorId,
    pub(super) task: TaskId,
    pub(super) from: Tick,
    pub(super) until: Tick,
    /// The entries that began and last confirmed it.
    pub(super) entries: [u32; 2],
}

/// Every section, so ordered that one that covers an interval is found at once.
pub(super) struct Sections {
    /// Ordered by beginning.
    all: Vec<Section>,
    /// For each, among it and its predecessors: the one that lasts longest, and the one of another
    /// customer that does.
    longest: Vec<(u32, Option<u32>)>,
    /// The positions of each customer's sections, ordered by customer, then beginning.
    by_customer: Vec<u32>,
    /// For each position in `by_customer`, among it and its predecessors of the same customer: the
    /// one that lasts longest.
    longest_of_customer: Vec<u32>,
}

impl Sections {
    pub(super) fn of(view: &View<'_>) -> Self {
        let mut all: Vec<Section> = holds(view).chain(unlocked(view)).chain(gated(view)).collect();
        all.sort_by_key(|section| section.from);
        let mut longest: Vec<(u32, Option<u32>)> = Vec::with_capacity(all.len());
        for (index, section) in all.iter().enumerate() {
            let until = |at: u32| all[at as usize].until;
            let index = index as u32;
            longest.push(match longest.last().copied() {
                None => (index, None),
                Some((best, other)) if all[best as usize].customer == section.customer => {
                    (if section.until > until(best) { index } else { best }, other)
                }
                Some((best, _)) if section.until > until(best) => (index, Some(best)),
                Some((best, other)) if other.is_none_or(|other| section.until > until(other)) => (best, Some(index)),
                Some(same) => same,
            });
        }
        let mut by_customer: Vec<u32> = (0..all.len() as u32).collect();
        by_customer.sort_by_key(|&at| (all[at as usize].customer, all[at as usize].from));
        let mut longest_of_customer: Vec<u32> = Vec::with_capacity(all.len());
        for &at in &by_customer {
            let section = &all[at as usize];
            let kept = longest_of_customer.last().copied().filter(|&best| {
                all[best as usize].customer == section.customer && all[best as usize].until >= section.until
            });
            longest_of_customer.push(kept.unwrap_or(at));
        }
        Self { all, longest, by_customer, longest_of_customer }
    }

    /// A section of this customer that covers the interval.
    pub(super) fn covering(&self, customer: CustomerId, from: Tick, until: Tick) -> Option<&Section> {
        let begun = self.by_customer.partition_point(|&at| {
            let section = &self.all[at as usize];
            (section.customer, section.from) <= (customer, from)
        });
        let best = &self.all[*self.longest_of_customer.get(begun.checked_sub(1)?)? as usize];
        (best.customer == customer && best.until >= until).then_some(best)
    }

    /// A section of any customer that covers the interval.
    pub(super) fn covering_any(&self, from: Tick, until: Tick) -> Option<&Section> {
        let begun = self.all.partition_point(|section| section.from <= from);
        let (best, _) = *self.longest.get(begun.checked_sub(1)?)?;
        Some(&self.all[best as usize]).filter(|section| section.until >= until)
    }

    /// A section of another customer that covers the interval.
    pub(super) fn covering_of_another(&self, customer: CustomerId, from: Tick, until: Tick) -> Option<&Section> {
        let begun = self.all.partition_point(|section| section.from <= from);
        let (best, other) = *self.longest.get(begun.checked_sub(1)?)?;
        [Some(best), other]
            .into_iter()
            .flatten()
            .map(|at| &self.all[at as usize])
            .find(|section| section.customer != customer && section.until >= until)
    }
}

fn holds(view: &View<'_>) -> impl Iterator<Item = Section> {
    view.ledger.holds.iter().filter(|hold| hold.lasts() && view.is_worker(hold.actor)).filter_map(|hold| {
        let task = hold.task?;
        let customer = view.record(task)?.identity.customer;
        let entries = [hold.grant, hold.last];
        Some(Section { customer, actor: hold.actor, task, from: hold.from, until: hold.until, entries })
    })
}

/// The committed transactions of tasks that took no lock.
fn unlocked(view: &View<'_>) -> impl Iterator<Item = Section> {
    let took_none = |t: &&Transaction| t.committed() && !t.implicit && view.hold_at(t.last).is_none();
    view.ledger.transactions.iter().filter(took_none).filter_map(|transaction| {
        let (task, change) = (transaction.task?, transaction.change?);
        let customer = view.record(task)?.identity.customer;
        let (from, until) = (view.entry(change).returned, view.sent_at(transaction.last));
        Some(Section { customer, actor: transaction.actor, task, from, until, entries: [change, transaction.last] })
    })
}

/// The tasks that were held at the gate inside their critical sections.
pub(super) fn gated(view: &View<'_>) -> impl Iterator<Item = Section> {
    view.history.seen.iter().filter_map(|seen| {
        let Seen::Hold { actor, from, until, .. } = *seen else { return None };
        let transaction = view.transaction_throughout(actor, from, until)?;
        let task = transaction.task?;
        let change = transaction.change.filter(|&change| view.entry(change).returned <= from)?;
        let customer = view.record(task)?.identity.customer;
        Some(Section { customer, actor, task, from, until, entries: [change, transaction.last] })
    })
}
