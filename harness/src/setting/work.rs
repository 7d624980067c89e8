//! What the actors of a setting do: the tasks, on few claims and with a policy that few satisfy, and the
//! antagonist.

use drift_engine::claim::{Claim, CustomerId};
use drift_engine::lock::LockStrategy;
use drift_engine::op::{Isolation, Op, Reply};
use drift_engine::policy::{Policy, Windows};
use drift_engine::protocol::{Retry, Task};
use drift_engine::run::{Identity, RunChoice};
use drift_engine::session::{DbError, Session};
use jiff::civil::date;

use super::ATTEMPTS_MAX;

/// What a customer's tasks compute.
///
/// # Panics
/// Never: the policy makes sense.
pub fn identity(customer: CustomerId) -> Identity {
    let policy = Policy::new(90, 14, 1).expect("a policy that makes sense");
    Identity { customer, as_of: date(2026, 4, 15), policy }
}

/// The windows of every task.
///
/// # Panics
/// Never: they are in the calendar.
pub fn windows() -> Windows {
    identity(CustomerId(1)).windows().expect("in the calendar")
}

/// A customer's task. Its pauses are empty: no time is to go by.
pub fn task(customer: CustomerId, strategy: LockStrategy) -> Task {
    let none = std::time::Duration::ZERO;
    let retry = Retry { max_attempts: ATTEMPTS_MAX, base: none, cap: none, seed: 0 };
    Task { identity: identity(customer), run: RunChoice::Shared, strategy, retry }
}

/// Two groups of which half of the current claims are denied, and none of the earlier ones.
pub fn claims() -> Vec<Claim> {
    let claim = |payer: &str, cpt_group: &str, outcome: &str, month| Claim {
        payer: payer.into(),
        cpt_group: cpt_group.into(),
        outcome: outcome.into(),
        submitted_on: date(2026, month, 10),
        decided_on: Some(date(2026, month, 20)),
    };
    let of_group = |(payer, cpt_group)| {
        [("PAID", 2), ("PAID", 4), ("DENIED", 4)].map(|(outcome, month)| claim(payer, cpt_group, outcome, month))
    };
    [("acme", "imaging"), ("northwind", "surgery")].into_iter().flat_map(of_group).collect()
}

/// Takes the run first, then the lock: the wrong order, which makes deadlocks.
///
/// # Errors
/// What the database refuses.
pub async fn in_the_wrong_order<S>(session: &mut S, task: &Task) -> Result<(), DbError>
where
    S: Session<Op = Op, Reply = Reply>,
{
    session.call(Op::Begin { isolation: Isolation::ReadCommitted, immediate: false }).await?;
    let (id, fresh) = (task.run.id_for(&task.identity), task.run.is_fresh());
    session.call(Op::OpenRun { identity: task.identity, id, fresh }).await?;
    if let Some(lock) = task.strategy.lock(task.identity.customer) {
        session.call(lock).await?;
    }
    Ok(())
}
