//! Serial-oracle: each committed task wrote what the naive oracle computes from the claims that it
//! read, and each run holds what it computes from the claims of the run's last committed task.
//!
//! Which task was last is read from the certain holds of the lock, and without one from commits that
//! do not overlap. Where that leaves several, the events of any of them will do.

use std::collections::BTreeMap;

use drift_engine::claim::CustomerId;
use drift_engine::drift::Signal;
use drift_engine::op::{Op, Reply};
use drift_engine::run::RunId;

use crate::history::Tick;
use crate::history::transactions::{Hold, Transaction};
use crate::history::view::View;
use crate::oracle;
use crate::verdict::Verdict;

use super::freshness::promised_before;
use super::wording::{count, entries, sent};

/// What the oracle last said of each customer. Reads that show the same mostly follow each other,
/// and to keep the answers to all of them would take more memory than the history.
#[derive(Default)]
struct Memo {
    of_customer: BTreeMap<CustomerId, Said>,
    computed: usize,
}

struct Said {
    /// The number of the read.
    read: u32,
    min_volume: u32,
    signals: Vec<Signal>,
}

pub(super) fn check(view: &View<'_>) -> Verdict {
    let mut memo = Memo::default();
    let (mut committed, mut signals) = (0, 0);
    for transaction in written(view) {
        let (Some(write), Some(read)) = (transaction.write, transaction.basis) else {
            let write = transaction.write.unwrap_or(transaction.begin);
            let sentence = format!("{} was committed without a read of the claims", sent(view, write));
            return Verdict::violation(sentence, entries([transaction.begin, write, transaction.last]));
        };
        let Op::WriteEvents { signals: wrote, .. } = &view.entry(write).op else { continue };
        let Some(expected) = expected(view, &mut memo, transaction, read) else { continue };
        if let Some(difference) = difference(expected, wrote.iter()) {
            let sentence = format!(
                "{} does not follow from the claims that the task read: the oracle finds {difference}",
                sent(view, write)
            );
            return Verdict::violation(sentence, entries([read, write, transaction.last]));
        }
        committed += usize::from(transaction.committed());
        signals += wrote.len();
    }
    let runs = candidates(view);
    for (run, last) in &runs {
        if let Some(violation) = not_the_last(view, &mut memo, run, last) {
            return violation;
        }
    }
    let events = view.history.end.events.len();
    match (committed, signals + events) {
        (0, _) => Verdict::inconclusive("no task committed a write"),
        (_, 0) => Verdict::inconclusive("no claims drifted, so there was nothing to get wrong"),
        _ => Verdict::pass(format!(
            "{} wrote what the oracle finds in the claims they read (computed {} times), and {} hold the {} of their last task",
            count(committed, "committed task"),
            memo.computed,
            count(runs.len(), "run"),
            count(events, "event")
        )),
    }
}

/// The transactions in which tasks wrote events, and which took effect, or may have.
pub(super) fn written<'v>(view: &'v View<'_>) -> impl Iterator<Item = &'v Transaction> {
    let of_task = |t: &&Transaction| t.task.is_some() && t.write.is_some() && t.maybe_committed();
    view.ledger.transactions.iter().filter(of_task)
}

fn expected<'m>(view: &View<'_>, memo: &'m mut Memo, transaction: &Transaction, read: u32) -> Option<&'m [Signal]> {
    let identity = view.record(transaction.task?)?.identity;
    let min_volume = identity.policy.min_volume();
    let (number, cells) = view.claims_read(read);
    let said =
        memo.of_customer.entry(identity.customer).or_insert(Said { read: u32::MAX, min_volume, signals: Vec::new() });
    if (said.read, said.min_volume) != (number, min_volume) {
        *said = Said { read: number, min_volume, signals: oracle::signals_of_cells(cells, min_volume) };
        memo.computed += 1;
    }
    Some(&said.signals)
}

/// In what a list of signals differs from what the oracle found, which is ordered by key.
fn difference<'s>(expected: &[Signal], found: impl Iterator<Item = &'s Signal>) -> Option<String> {
    let mut found: Vec<&Signal> = found.collect();
    if expected.len() == found.len() && expected.iter().zip(&found).all(|(a, b)| same(a, b)) {
        return None;
    }
    let key = |signal: &Signal| (signal.payer.clone(), signal.cpt_group.clone(), signal.drift_type);
    found.sort_by_key(|signal| key(signal));
    if expected.len() == found.len() && expected.iter().zip(&found).all(|(a, b)| same(a, b)) {
        return None;
    }
    let (expected_not_found, found_not_expected) = (
        expected.iter().find(|signal| !found.iter().any(|other| same(signal, other))),
        found.iter().find(|signal| !expected.iter().any(|other| same(signal, other))),
    );
    let say = |signal: Option<&Signal>| {
        signal.map_or("none beyond".to_owned(), |s| {
            format!("{} of {}/{} from {} to {}", s.drift_type, s.payer, s.cpt_group, s.baseline_value, s.current_value)
        })
    };
    Some(format!(
        "{} where there were {}: it has {} where there was {}",
        count(expected.len(), "event"),
        found.len(),
        say(expected_not_found),
        say(found_not_expected.copied())
    ))
}

/// Equality to the last bit.
fn same(a: &Signal, b: &Signal) -> bool {
    let bits = |s: &Signal| [s.baseline_value, s.current_value, s.delta, s.severity, s.confidence].map(f64::to_bits);
    a.drift_type == b.drift_type && a.payer == b.payer && a.cpt_group == b.cpt_group && bits(a) == bits(b)
}

/// For each run the transactions of which any may have been the last to commit.
pub(super) fn candidates<'v>(view: &'v View<'_>) -> BTreeMap<&'v RunId, Vec<&'v Transaction>> {
    let mut runs: BTreeMap<&RunId, Vec<&Transaction>> = BTreeMap::new();
    for transaction in written(view) {
        if let Some(Op::WriteEvents { run, .. }) = transaction.write.map(|write| &view.entry(write).op) {
            runs.entry(run).or_default().push(transaction);
        }
    }
    for transactions in runs.values_mut() {
        let certain = || transactions.iter().filter(|transaction| transaction.committed());
        let last_sent = certain().map(|transaction| follows(view, transaction)).max();
        let last_granted = certain().filter_map(|transaction| lock_of(view, transaction)).map(|hold| hold.from).max();
        transactions.retain(|transaction| !before(view, transaction, last_sent, last_granted));
    }
    runs
}

/// Whoever committed before this came before the transaction: normally its COMMIT. Where nothing
/// excludes others, one that changed nothing may stand anywhere after its snapshot in a serial order.
fn follows(view: &View<'_>, transaction: &Transaction) -> Tick {
    let written = transaction.write.and_then(|write| view.entry(write).outcome.ok());
    let unchanged = matches!(written, Some(Reply::Written(changes)) if changes.is_none());
    match transaction.basis {
        Some(read) if unchanged && !view.history.meta.strategy.promises().exclusion => {
            promised_before(view, transaction, read)
        }
        _ => view.entry(transaction.last).invoked,
    }
}

/// The lock that excludes its like, under which a transaction sent its COMMIT.
fn lock_of<'v>(view: &'v View<'_>, transaction: &Transaction) -> Option<&'v Hold> {
    view.hold_at(transaction.last).filter(|hold| hold.exclusive && hold.lasts())
}

/// Whether a transaction certainly came before another that committed: its COMMIT was answered
/// before the other's was sent, or its lock was certainly held before the other's was.
fn before(view: &View<'_>, transaction: &Transaction, last_sent: Option<Tick>, last_granted: Option<Tick>) -> bool {
    let answered = transaction.committed().then(|| view.entry(transaction.last).returned);
    let let_go = lock_of(view, transaction).map(|hold| hold.until);
    answered.zip(last_sent).is_some_and(|(answered, sent)| answered < sent)
        || let_go.zip(last_granted).is_some_and(|(let_go, granted)| let_go <= granted)
}

/// A run whose events are those of none of the transactions that may have been its last.
fn not_the_last(view: &View<'_>, memo: &mut Memo, run: &RunId, last: &[&Transaction]) -> Option<Verdict> {
    // If even the only candidate's COMMIT is unknown, what it replaced may be there as well.
    if !last.iter().any(|transaction| transaction.committed()) {
        return None;
    }
    let mut first_difference = None;
    for transaction in last {
        let expected = expected(view, memo, transaction, transaction.basis?)?;
        let events = view.history.end.events.iter().filter(|event| event.run == *run);
        match difference(expected, events.map(|event| &event.signal)) {
            None => return None,
            Some(difference) => drop(first_difference.get_or_insert(difference)),
        }
    }
    let shown = last.iter().take(2).flat_map(|t| [t.basis, t.write, Some(t.last)]).flatten();
    let tasks: Vec<String> = last.iter().filter_map(|t| t.task).map(|task| task.to_string()).collect();
    Some(Verdict::violation(
        format!(
            "the events of run {run} do not follow from the claims that its last committed task read (task {}): the oracle finds {}",
            tasks.join(" or "),
            first_difference.unwrap_or_default()
        ),
        entries(shown),
    ))
}

#[cfg(test)]
mod tests {
    use drift_engine::lock::LockStrategy;
    use drift_engine::op::{Op, Reply};
    use drift_engine::session::ErrorClass;

    use crate::check::CheckName::SerialOracle;
    use crate::check::twins::{assert_inconclusive, assert_pass, assert_violation, contended};
    use crate::history::build::Build;

    #[test]
    fn events_of_the_last_task_pass() {
        for strategy in LockStrategy::ALL {
            assert_pass(SerialOracle, &contended(strategy).finish());
        }
    }

    #[test]
    fn a_write_that_does_not_follow_from_the_read_is_a_violation() {
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        let task = b.task(0, 1);
        b.enter(task);
        b.read(task);
        b.write_of(task, Vec::new().into());
        b.commit(task);
        assert_violation(SerialOracle, &b.finish(), "1 event where there were 0");
    }

    #[test]
    fn a_write_without_a_read_is_a_violation() {
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        let task = b.task(0, 1);
        b.enter(task);
        b.write(task);
        b.commit(task);
        assert_violation(SerialOracle, &b.finish(), "without a read");
    }

    #[test]
    fn events_of_an_earlier_task_are_a_violation() {
        let mut b = Build::new(LockStrategy::RowNoKey, 2, 0);
        let first = b.task(0, 1);
        b.run(first);
        let old = b.clone().finish().end.events;
        // The drift is over when the second task reads.
        let quiet: Vec<_> = b.claims(1).iter().filter(|cell| &*cell.cpt_group == "lab").cloned().collect();
        let second = b.task(1, 1);
        b.enter(second);
        b.read_of(second, quiet.into());
        b.write(second);
        b.commit(second);
        let mut history = b.finish();
        history.end.events.extend(old);
        assert_violation(SerialOracle, &history, "its last committed task read (task 1)");
    }

    /// Two commits without a lock whose order is open; the second to be sent saw no drift.
    fn overlapping() -> Build {
        let mut b = Build::new(LockStrategy::Constraint, 2, 0);
        let [first, second] = [b.task(0, 1), b.task(1, 1)];
        let quiet: Vec<_> = b.claims(1).iter().filter(|cell| &*cell.cpt_group == "lab").cloned().collect();
        b.enter(first);
        b.work(first);
        b.enter(second);
        b.open(second);
        b.read_of(second, quiet.into());
        b.write(second);
        let commits = [first, second].map(|task| b.send(task, Op::Commit));
        commits.into_iter().for_each(|commit| b.answer(commit, Reply::Committed));
        [first, second].into_iter().for_each(|task| b.succeed(task));
        b.publish(first);
        b
    }

    #[test]
    fn of_overlapping_commits_either_may_have_been_the_last() {
        let mut history = overlapping().finish();
        assert_pass(SerialOracle, &history);
        history.end.events.clear();
        assert_pass(SerialOracle, &history);
        history.end.events = overlapping().finish().end.events;
        history.end.events.push(history.end.events[0].clone());
        assert_violation(SerialOracle, &history, "task 0 or 1");
    }

    #[test]
    fn a_commit_of_unknown_outcome_may_have_been_the_last() {
        let mut b = Build::new(LockStrategy::RowNoKey, 2, 0);
        let [first, second] = [b.task(0, 1), b.task(1, 1)];
        b.run(first);
        let quiet: Vec<_> = b.claims(1).iter().filter(|cell| &*cell.cpt_group == "lab").cloned().collect();
        b.enter(second);
        b.read_of(second, quiet.into());
        b.write(second);
        let commit = b.send(second, Op::Commit);
        b.refuse(commit, ErrorClass::Lost);
        let mut history = b.finish();
        assert_pass(SerialOracle, &history);
        history.end.events.clear();
        assert_pass(SerialOracle, &history);
    }

    #[test]
    fn no_commit_or_no_drift_is_inconclusive() {
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        assert_inconclusive(SerialOracle, &b.clone().finish(), "no task committed");
        let task = b.task(0, 1);
        b.enter(task);
        b.read_of(task, Vec::new().into());
        b.write(task);
        b.commit(task);
        assert_inconclusive(SerialOracle, &b.finish(), "no claims drifted");
    }
}
