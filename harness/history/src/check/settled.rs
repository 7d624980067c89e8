//! Settled: when everything was quiet, one more recompute succeeded, read exactly the claims that
//! were there, and changed nothing.
//!
//! That it changed nothing is only due where a task had already committed what these claims come
//! to: one that was bound to read all of them, or whose read shows the same.

use drift_engine::protocol::TaskError;
use drift_engine::session::ErrorClass;

use crate::history::arrivals::{Claims, name};
use crate::history::transactions::Transaction;
use crate::history::view::View;
use crate::history::{Recheck, Tick};
use crate::verdict::Verdict;

use super::freshness::promised_before;
use super::serial_oracle::candidates;
use super::wording::{count, entries};

pub(super) fn check(view: &View<'_>) -> Verdict {
    let last = candidates(view);
    let (mut settled, mut open) = (0, None);
    for recheck in &view.history.end.rechecks {
        let customer = recheck.identity.customer;
        let claims = view.arrivals().of_customer(customer);
        let claims = claims.filter(|claims| recheck.identity.windows().ok() == Some(claims.windows));
        if let Some(violation) = claims.and_then(|claims| misread(recheck, claims)) {
            return violation;
        }
        let run = view.history.end.runs.iter().find(|run| !run.fresh && run.identity == recheck.identity);
        let before: &[&Transaction] = run.and_then(|run| last.get(&run.id)).map_or(&[], Vec::as_slice);
        let changes = match &recheck.result {
            Ok(changes) => changes,
            Err(error) if is_lost(error) => {
                open = Some(format!("the connection was lost in the recheck of customer {customer}"));
                continue;
            }
            Err(error) => {
                let sentence = format!("one more recompute of customer {customer} failed: {error}");
                return Verdict::violation(sentence, entries(before.iter().take(2).map(|t| t.last)));
            }
        };
        if let Some(why) = not_due(view, recheck, claims, before) {
            open = Some(format!("customer {customer}: {why}"));
        } else if changes.is_none() {
            settled += 1;
        } else {
            return Verdict::violation(
                format!(
                    "one more recompute of customer {customer}, with nothing new to read, inserted {}, updated {} and withdrew {} events",
                    changes.inserted, changes.updated, changes.withdrawn
                ),
                entries(before.iter().take(2).flat_map(|t| [t.basis, t.write, Some(t.last)]).flatten()),
            );
        }
    }
    match open {
        Some(why) => Verdict::inconclusive(why),
        None if settled == 0 => Verdict::inconclusive("nothing was recomputed when everything was quiet"),
        None => Verdict::pass(format!(
            "one more recompute of each of {} read every one of {} and changed nothing",
            count(settled, "identity").replace("identitys", "identities"),
            count(view.arrivals().acknowledged, "acknowledged claim")
        )),
    }
}

fn is_lost(error: &TaskError) -> bool {
    match error {
        TaskError::CommitUnknown(_) => true,
        TaskError::Database { error, .. } => error.class == ErrorClass::Lost,
        _ => false,
    }
}

/// A recheck that did not read what was there: every acknowledged claim, and of those whose fate is
/// unknown any number.
fn misread(recheck: &Recheck, claims: &Claims<'_>) -> Option<Verdict> {
    if recheck.cells.is_empty() && recheck.result.is_err() {
        return None;
    }
    let customer = recheck.identity.customer;
    let counts = match claims.counts(&recheck.cells) {
        Ok(counts) => counts,
        Err(place) => {
            let sentence = format!("customer {customer} has claims that nobody sent: {}", name(place));
            return Some(Verdict::violation(sentence, Vec::new()));
        }
    };
    claims.cells.iter().zip(counts).find_map(|(cell, found)| {
        let (least, most) = (cell.least(Tick(u64::MAX)), cell.most(Tick(u64::MAX)));
        (found < least || found > most).then(|| {
            let shown = if found < least { cell.acknowledged.last() } else { cell.sent.last() };
            Verdict::violation(
                format!(
                    "customer {customer} should have {least} to {most} claims in {}, and one more recompute read {found}",
                    name(cell.place)
                ),
                entries(shown.map(|arrival| arrival.1)),
            )
        })
    })
}

/// Why the recheck may rightly have changed something, if it may.
fn not_due(
    view: &View<'_>,
    recheck: &Recheck,
    claims: Option<&Claims<'_>>,
    last: &[&Transaction],
) -> Option<&'static str> {
    let committed = || last.iter().filter(|transaction| transaction.committed());
    if committed().next().is_none() {
        return Some("no task had committed before the recheck");
    }
    let Some(claims) = claims else { return Some("the claims at the start are not known") };
    let quiet_from = claims.acknowledged().map(|arrival| arrival.0).max();
    let read_all = |transaction: &&&Transaction| {
        let read = transaction.basis.map(|read| promised_before(view, transaction, read));
        read.is_some_and(|bound| quiet_from.is_none_or(|last| last < bound))
    };
    if !claims.has_unknown() && committed().any(|transaction| read_all(&transaction)) {
        return None;
    }
    let shown = claims.counts(&recheck.cells).ok();
    let same = |transaction: &&Transaction| {
        transaction.basis.is_some_and(|read| claims.counts(view.claims_read(read).1).ok() == shown)
    };
    (!last.iter().all(same)).then_some("claims arrived after the last task's lock was granted")
}

#[cfg(test)]
mod tests {
    use drift_engine::lock::LockStrategy;
    use drift_engine::op::Changes;
    use drift_engine::protocol::TaskError;

    use crate::check::CheckName::Settled;
    use crate::check::twins::{assert_inconclusive, assert_pass, assert_violation, contended, one_less};
    use crate::history::build::Build;

    const CHANGED: Changes = Changes { inserted: 0, updated: 1, withdrawn: 0 };

    #[test]
    fn a_recheck_that_changes_nothing_passes() {
        for strategy in LockStrategy::ALL {
            assert_pass(Settled, &contended(strategy).finish());
        }
    }

    #[test]
    fn a_recheck_that_changes_something_is_a_violation() {
        let mut history = contended(LockStrategy::RowNoKey).finish();
        history.end.rechecks[0].result = Ok(CHANGED);
        assert_violation(Settled, &history, "updated 1");
    }

    #[test]
    fn a_recheck_that_fails_is_a_violation() {
        let mut history = contended(LockStrategy::RowNoKey).finish();
        history.end.rechecks[0].result = Err(TaskError::RolledBack);
        assert_violation(Settled, &history, "failed");
    }

    #[test]
    fn a_claim_lost_or_invented_is_a_violation() {
        let mut history = contended(LockStrategy::RowNoKey).finish();
        let cells = history.end.rechecks[0].cells.clone();
        history.end.rechecks[0].cells = one_less(&cells).to_vec();
        assert_violation(Settled, &history, "should have");
        history.end.rechecks[0].cells = cells;
        history.end.rechecks[0].cells[0].count += 1;
        assert_violation(Settled, &history, "should have");
    }

    #[test]
    fn claims_that_arrive_after_the_last_task_leave_it_open() {
        let mut b = contended(LockStrategy::RowNoKey);
        b.insert(0, 1);
        let mut history = b.finish();
        history.end.rechecks[0].result = Ok(CHANGED);
        assert_inconclusive(Settled, &history, "claims arrived after");
    }

    #[test]
    fn without_a_recheck_or_a_commit_it_is_inconclusive() {
        let mut history = contended(LockStrategy::RowNoKey).finish();
        history.end.rechecks.clear();
        assert_inconclusive(Settled, &history, "nothing was recomputed");
        let mut b = Build::new(LockStrategy::RowNoKey, 1, 0);
        b.task(0, 1);
        assert_inconclusive(Settled, &b.finish(), "no task had committed");
    }
}
