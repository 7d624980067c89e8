//! Freshness: a committed task read every claim that had been acknowledged before it was told that
//! it had the lock, none that had not been sent, and never fewer than a predecessor in its run.
//!
//! The bound is the return of the reply that granted the lock, when the read came after it. Every
//! protocol whose snapshot is younger than its lock keeps it: with READ COMMITTED each statement has
//! a snapshot of its own, taken when it begins (PostgreSQL manual, 13.2.1). One whose snapshot is older
//! than its lock, as with REPEATABLE READ (13.2.2), misses what was acknowledged while it waited. A
//! lock that came after the read binds what was acknowledged before it was asked for. Without a lock
//! the bound is the first read: of a transaction with one snapshot, its first statement.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use drift_engine::claim::CustomerId;
use drift_engine::lock::Backend;
use drift_engine::op::{Isolation, Op, Reply};
use drift_engine::run::RunId;

use crate::history::Tick;
use crate::history::arrivals::{Claims, name};
use crate::history::transactions::Transaction;
use crate::history::view::View;
use crate::verdict::Verdict;

use super::serial_oracle::written;
use super::wording::{count, entries, sent};

/// What each distinct read showed, by customer and number of the read.
type Memo = HashMap<(CustomerId, u32), Vec<u64>>;

/// One task's read, as far as order goes.
struct Read<'v> {
    transaction: &'v Transaction,
    read: u32,
    run: &'v RunId,
    shown: (CustomerId, u32),
    /// Up to when acknowledged claims must have been read.
    bound: Tick,
    /// When its COMMIT was answered.
    committed: Tick,
    /// Whoever committed before this is a predecessor: normally its COMMIT. Where nothing excludes
    /// others, a task that changed nothing may stand anywhere after its snapshot in a serial order.
    follows: Tick,
}

/// The time between a customer's first BEGIN and the last bound.
type Spans = BTreeMap<CustomerId, (Tick, Tick)>;

pub(super) fn check(view: &View<'_>) -> Verdict {
    let mut memo = Memo::new();
    let mut runs: BTreeMap<&RunId, Vec<Read<'_>>> = BTreeMap::new();
    let mut spans = Spans::new();
    let mut judged = 0;
    for transaction in written(view).filter(|transaction| transaction.committed()) {
        let read = match judge(view, &mut memo, transaction) {
            Ok(Some(read)) => read,
            Ok(None) => continue,
            Err(violation) => return violation,
        };
        let begun = view.entry(transaction.begin).invoked;
        let span = spans.entry(read.shown.0).or_insert((begun, read.bound));
        *span = (span.0.min(begun), span.1.max(read.bound));
        runs.entry(read.run).or_default().push(read);
        judged += 1;
    }
    for reads in runs.values() {
        if let Some(violation) = fewer_than_a_predecessor(view, &memo, reads) {
            return violation;
        }
    }
    let meanwhile = acknowledged_within(view, &spans);
    match (judged, meanwhile) {
        (0, _) => Verdict::inconclusive("no task committed what it had read"),
        (_, 0) => Verdict::inconclusive(
            "no claim was acknowledged between the first task's BEGIN and the last one's lock, so none could be missed",
        ),
        _ => Verdict::pass(format!(
            "{} read every claim promised to them, and never fewer than a predecessor, while {} arrived",
            count(judged, "committed task"),
            count(meanwhile, "claim")
        )),
    }
}

/// Judges one committed task's read by its bounds; `None` if it is not known what it should show.
///
/// # Errors
/// The violation.
fn judge<'v>(view: &'v View<'_>, memo: &mut Memo, transaction: &'v Transaction) -> Result<Option<Read<'v>>, Verdict> {
    let (Some(read), Some(write)) = (transaction.basis, transaction.write) else { return Ok(None) };
    let (Op::ReadClaims { customer, windows }, Op::WriteEvents { run, .. }) =
        (&view.entry(read).op, &view.entry(write).op)
    else {
        return Ok(None);
    };
    let claims = view.arrivals().of_customer(*customer).filter(|claims| claims.windows == *windows);
    let Some(claims) = claims else { return Ok(None) };
    let (number, cells) = view.claims_read(read);
    let shown = (*customer, number);
    let counts = match memo.entry(shown) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(new) => new.insert(claims.counts(cells).map_err(|place| {
            let sentence = format!("{} showed claims that nobody sent: {}", sent(view, read), name(place));
            Verdict::violation(sentence, entries([read]))
        })?),
    };
    let bound = promised_before(view, transaction, read);
    if let Some(violation) = out_of_bounds(view, claims, counts, read, bound) {
        return Err(violation);
    }
    let commit = view.entry(transaction.last);
    let changed = matches!(view.entry(write).outcome.ok(), Some(Reply::Written(changes)) if !changes.is_none());
    let ordered = changed || view.history.meta.strategy.promises().exclusion;
    let follows = if ordered { commit.invoked } else { bound };
    Ok(Some(Read { transaction, read, run, shown, bound, committed: commit.returned, follows }))
}

fn acknowledged_within(view: &View<'_>, spans: &Spans) -> usize {
    let within = |(customer, &(begun, bound)): (&CustomerId, &(Tick, Tick))| {
        let claims = view.arrivals().of_customer(*customer);
        claims
            .map_or(0, |claims| claims.acknowledged().filter(|arrival| begun < arrival.0 && arrival.0 < bound).count())
    };
    spans.iter().map(within).sum()
}

/// Up to when acknowledged claims must have been read.
pub(super) fn promised_before(view: &View<'_>, transaction: &Transaction, read: u32) -> Tick {
    if let Some(hold) = view.hold_at(read) {
        return hold.from;
    }
    if let Some(late) = view.hold_at(transaction.last).filter(|hold| hold.grant > read) {
        return view.entry(late.grant).invoked;
    }
    let around = view.ledger.transaction_of(read as usize).map(|index| &view.ledger.transactions[index]);
    let one_snapshot = |around: &&Transaction| {
        view.history.meta.backend == Backend::Sqlite || around.isolation != Isolation::ReadCommitted
    };
    let first = around.filter(one_snapshot).and_then(|around| first_statement(view, around));
    view.entry(first.unwrap_or(read)).invoked
}

/// The first statement of a transaction that can have taken a snapshot.
fn first_statement(view: &View<'_>, transaction: &Transaction) -> Option<u32> {
    let entries = view.entries_of(transaction.actor);
    let after = entries.partition_point(|&index| index <= transaction.begin);
    let takes_none = |&&index: &&u32| matches!(view.entry(index).op, Op::Savepoint | Op::Pause(_));
    entries[after..].iter().find(|index| !takes_none(index)).copied()
}

/// A read that missed a claim that it was promised, or showed one too many.
fn out_of_bounds(view: &View<'_>, claims: &Claims<'_>, shown: &[u64], read: u32, bound: Tick) -> Option<Verdict> {
    let ended = view.entry(read).returned;
    claims.cells.iter().zip(shown).find_map(|(cell, &found)| {
        let (least, most) = (cell.least(bound), cell.most(ended));
        if (least..=most).contains(&found) {
            return None;
        }
        let place = name(cell.place);
        if found > most {
            return Some(Verdict::violation(
                format!("{} showed {found} claims in {place}, and at most {most} had been sent", sent(view, read)),
                entries([read]),
            ));
        }
        let missed = (found.checked_sub(cell.base)).and_then(|seen| cell.acknowledged.get(seen as usize));
        let lock = view.hold_at(read).map(|hold| hold.grant);
        Some(Verdict::violation(
            format!(
                "{} showed {found} claims in {place}, although {least} had been acknowledged before {}",
                sent(view, read),
                if lock.is_some() { "its lock was granted" } else { "its transaction's first read, or its lock" }
            ),
            entries(missed.map(|arrival| arrival.1).into_iter().chain(lock).chain([read])),
        ))
    })
}

/// Two committed tasks of one run of which the later, for certain, read fewer claims.
fn fewer_than_a_predecessor(view: &View<'_>, memo: &Memo, reads: &[Read<'_>]) -> Option<Verdict> {
    let mut by_commit: Vec<&Read<'_>> = reads.iter().collect();
    by_commit.sort_by_key(|read| read.committed);
    let mut by_order: Vec<&Read<'_>> = reads.iter().collect();
    by_order.sort_by_key(|read| read.follows);
    let mut predecessors = by_commit.into_iter().peekable();
    // For each cell the most that a predecessor has read, and which.
    let mut most: Vec<(u64, Option<&Read<'_>>)> = Vec::new();
    for read in by_order {
        while let Some(earlier) = predecessors.next_if(|earlier| earlier.committed < read.follows) {
            let shown = &memo[&earlier.shown];
            most.resize(shown.len(), (0, None));
            for (most, &found) in most.iter_mut().zip(shown) {
                if found > most.0 {
                    *most = (found, Some(earlier));
                }
            }
        }
        let fewer = most.iter().zip(&memo[&read.shown]).enumerate().find(|(_, (most, found))| most.0 > **found);
        if let Some((cell, (&(before, Some(earlier)), found))) = fewer {
            let claims = view.arrivals().of_customer(read.shown.0);
            let place = claims.and_then(|claims| claims.cells.get(cell)).map(|cell| name(cell.place));
            return Some(Verdict::violation(
                format!(
                    "{} showed {found} claims in {}, where {}, whose task committed before, had shown {before}",
                    sent(view, read.read),
                    place.as_deref().unwrap_or("a cell"),
                    sent(view, earlier.read)
                ),
                entries([earlier.read, earlier.transaction.last, read.read, read.transaction.last]),
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests;
