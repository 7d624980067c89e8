//! The protocol against a session that answers from a script: what it sends, and what it makes of the answers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use drift_engine::claim::{CustomerId, Outcome};
use drift_engine::drift::Cell;
use drift_engine::lock::LockStrategy;
use drift_engine::op::{Changes, Op, Opened, Reply};
use drift_engine::policy::{Policy, Window};
use drift_engine::protocol::{Retry, Task, TaskError, recompute};
use drift_engine::run::{Identity, Run, RunChoice, RunId, Status};
use drift_engine::session::{DbError, ErrorClass, Kind, Operation, Session, SessionId};
use jiff::civil::date;

/// Answers as a database would, but for the failures it was given: each hits the next operation of its kind.
#[derive(Default)]
struct Scripted {
    sent: Vec<Op>,
    failures: VecDeque<(Kind, ErrorClass)>,
    status: Option<Status>,
    same: bool,
    run: Option<RunId>,
    locked: bool,
    commit: Option<Reply>,
}

impl Scripted {
    fn new() -> Self {
        Self { same: true, locked: true, ..Self::default() }
    }

    fn failing(failures: impl IntoIterator<Item = (Kind, ErrorClass)>) -> Self {
        Self { failures: failures.into_iter().collect(), ..Self::new() }
    }

    fn kinds(&self) -> Vec<Kind> {
        self.sent.iter().map(Operation::kind).collect()
    }

    fn pauses(&self) -> Vec<Duration> {
        self.sent.iter().filter_map(|op| if let Op::Pause(delay) = op { Some(*delay) } else { None }).collect()
    }
}

impl Session for Scripted {
    type Op = Op;
    type Reply = Reply;

    fn id(&self) -> SessionId {
        SessionId(1)
    }

    async fn call(&mut self, op: Op) -> Result<Reply, DbError> {
        let kind = op.kind();
        self.sent.push(op.clone());
        if let Some((_, class)) = self.failures.pop_front_if(|(due, _)| *due == kind) {
            return Err(DbError { class, code: None, message: "scripted".to_owned(), during: kind });
        }
        Ok(match op {
            Op::Lock(_) => Reply::Locked(self.locked),
            Op::OpenRun { id, .. } => {
                let status = self.status.unwrap_or(Status::Running);
                let run = Run { id: self.run.clone().unwrap_or(id), status };
                Reply::Opened(Some(Opened { run, same: self.same }))
            }
            Op::ReadClaims { .. } => Reply::Claims(cells()),
            Op::WriteEvents { signals, .. } => {
                Reply::Written(Changes { inserted: signals.len() as u64, ..Changes::default() })
            }
            Op::Commit => self.commit.clone().unwrap_or(Reply::Committed),
            Op::Rollback => Reply::RolledBack,
            _ => Reply::Done,
        })
    }
}

/// Forty groups, each of which drifts in both ways.
fn cells() -> Arc<[Cell]> {
    let sides = [(Window::Baseline, Outcome::Paid, 5), (Window::Current, Outcome::Denied, 20)];
    let of_group = |group: u32| {
        sides.map(|(window, outcome, days)| Cell {
            payer: "acme".into(),
            cpt_group: format!("group-{group}").into(),
            window,
            outcome,
            decision_days: Some(days),
            count: 30,
        })
    };
    (0..40).flat_map(of_group).collect()
}

fn task(strategy: LockStrategy) -> Task {
    let identity = Identity { customer: CustomerId(7), as_of: date(2026, 4, 15), policy: Policy::default() };
    Task { identity, run: RunChoice::Shared, strategy, retry: Retry { max_attempts: 4, ..Retry::seeded(0) } }
}

#[tokio::test]
async fn between_the_grant_and_commit_there_are_four_statements_however_many_signals() {
    let mut session = Scripted::new();
    let done = recompute(&mut session, &task(LockStrategy::RowNoKey)).await.unwrap();
    assert_eq!((done.events, done.attempts), (80, 1));
    use Kind::{Begin, Commit, Lock, Read, Write};
    assert_eq!(session.kinds(), [Begin, Lock, Write, Read, Write, Write, Commit]);
}

#[tokio::test]
async fn a_later_task_of_a_run_does_not_close_it_again() {
    let mut session = Scripted { status: Some(Status::Succeeded), ..Scripted::new() };
    recompute(&mut session, &task(LockStrategy::Constraint)).await.unwrap();
    assert!(!session.sent.iter().any(|op| matches!(op, Op::CloseRun { .. })));
}

#[tokio::test]
async fn what_a_second_try_can_mend_is_tried_again_after_a_pause() {
    for class in [ErrorClass::Serialization, ErrorClass::Deadlock, ErrorClass::LockTimeout, ErrorClass::Busy] {
        let mut session = Scripted::failing([(Kind::Lock, class), (Kind::Read, class), (Kind::Commit, class)]);
        let done = recompute(&mut session, &task(LockStrategy::Row)).await.unwrap();
        assert_eq!(done.attempts, 4, "{class}");
        assert_eq!(session.pauses().len(), 3);
        let rollbacks = session.sent.iter().filter(|op| **op == Op::Rollback).count();
        assert_eq!(rollbacks, 3, "each failed try is rolled back before its pause");
    }
}

#[tokio::test]
async fn tries_are_bounded_and_the_failure_is_recorded_in_a_transaction_of_its_own() {
    let mut session = Scripted::failing([(Kind::Lock, ErrorClass::LockTimeout); 4]);
    let error = recompute(&mut session, &task(LockStrategy::Row)).await.unwrap_err();
    let TaskError::Database { error, attempts: 4, unrecorded: None } = error else { panic!("{error:?}") };
    assert_eq!(error.class, ErrorClass::LockTimeout);
    let last: Vec<&Op> = session.sent.iter().rev().take(5).collect();
    assert!(
        matches!(last[..], [Op::Commit, Op::FailRun { .. }, Op::Lock(_), Op::Begin { .. }, Op::Rollback]),
        "the record follows the rollback: {last:?}"
    );
}

#[tokio::test]
async fn other_failures_are_final() {
    for class in [ErrorClass::Other, ErrorClass::Unique, ErrorClass::Aborted, ErrorClass::Injected] {
        let mut session = Scripted::failing([(Kind::Write, class)]);
        let error = recompute(&mut session, &task(LockStrategy::Row)).await.unwrap_err();
        assert!(matches!(error, TaskError::Database { attempts: 1, .. }), "{error:?}");
        assert_eq!(session.pauses(), []);
    }
}

#[tokio::test]
async fn pauses_grow_are_capped_and_come_from_the_seed() {
    let pauses = |seed| async move {
        let mut session = Scripted::failing([(Kind::Lock, ErrorClass::Deadlock); 30]);
        let mut task = task(LockStrategy::Row);
        let (base, cap) = (Duration::from_millis(4), Duration::from_millis(100));
        task.retry = Retry { max_attempts: 31, base, cap, seed };
        recompute(&mut session, &task).await.unwrap();
        session.pauses()
    };
    let first = pauses(1).await;
    assert_eq!(first, pauses(1).await);
    assert_ne!(first, pauses(2).await);
    assert!(first[0] <= Duration::from_millis(4) && first[1] <= Duration::from_millis(8), "{first:?}");
    assert!(first.iter().all(|pause| *pause <= Duration::from_millis(100)), "{first:?}");
    assert!(first.iter().any(|pause| *pause > Duration::from_millis(50)), "{first:?}");
}

#[tokio::test]
async fn a_lost_commit_is_unknown_and_never_a_failure() {
    let mut session = Scripted::failing([(Kind::Commit, ErrorClass::Lost)]);
    let error = recompute(&mut session, &task(LockStrategy::Row)).await.unwrap_err();
    assert!(matches!(error, TaskError::CommitUnknown(_)), "{error:?}");
    assert_eq!(session.sent.last(), Some(&Op::Commit), "nothing is sent on a lost connection");
}

#[tokio::test]
async fn a_commit_that_is_answered_with_rollback_is_no_success() {
    let mut session = Scripted { commit: Some(Reply::RolledBack), ..Scripted::new() };
    let error = recompute(&mut session, &task(LockStrategy::Row)).await.unwrap_err();
    assert_eq!(error, TaskError::RolledBack);
}

#[tokio::test]
async fn another_run_is_never_touched() {
    let other = RunId::new("other").unwrap();
    let named = |run| Task { run, ..task(LockStrategy::Row) };
    let asked = RunId::new("asked").unwrap();
    let cases = [
        (named(RunChoice::Named(asked.clone())), true, TaskError::RunConflict { asked, existing: other.clone() }),
        (named(RunChoice::Shared), false, TaskError::RunIdTaken(other.clone())),
    ];
    for (task, same, expected) in cases {
        let mut session = Scripted { run: Some(other.clone()), same, ..Scripted::new() };
        assert_eq!(recompute(&mut session, &task).await, Err(expected));
        assert_eq!(session.sent.last(), Some(&Op::Rollback));
        assert!(!session.sent.iter().any(|op| matches!(op, Op::FailRun { .. } | Op::WriteEvents { .. })));
    }
}

#[tokio::test]
async fn a_customer_that_is_not_there_is_no_silent_success() {
    let mut session = Scripted { locked: false, ..Scripted::new() };
    let error = recompute(&mut session, &task(LockStrategy::Row)).await.unwrap_err();
    assert_eq!(error, TaskError::UnknownCustomer(CustomerId(7)));
}
