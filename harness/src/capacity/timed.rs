//! Measures what a task's operations take. Nothing is kept of an operation but sums: recording one
//! allocates nothing.

use drift_engine::session::{DbError, Kind, Operation, Session, SessionId};

use crate::capacity::phase::{Phase, Times};
use crate::capacity::recorder::Errors;
use crate::clock::Clock;
use crate::history::Tick;

/// A session that measures what passes through it, for one task.
pub struct Timed<'a, S> {
    inner: S,
    clock: &'a Clock,
    grants: Option<Kind>,
    errors: &'a Errors,
    times: &'a mut Times,
    granted: Option<Tick>,
}

impl<'a, S> Timed<'a, S> {
    /// Measures `inner`'s operations into `times`. An operation of the kind `grants` takes the lock;
    /// without one the section that counts as locked starts with the transaction.
    pub fn new(inner: S, clock: &'a Clock, grants: Option<Kind>, errors: &'a Errors, times: &'a mut Times) -> Self {
        Self { inner, clock, grants, errors, times, granted: None }
    }
}

impl<S: Session> Session for Timed<'_, S> {
    type Op = S::Op;
    type Reply = S::Reply;

    fn id(&self) -> SessionId {
        self.inner.id()
    }

    async fn call(&mut self, op: S::Op) -> Result<S::Reply, DbError> {
        let kind = op.kind();
        let invoked = self.clock.now();
        let result = self.inner.call(op).await;
        let returned = self.clock.now();
        let taken = returned.0.saturating_sub(invoked.0);
        if kind == Kind::Begin {
            self.times.attempts += 1;
        }
        if self.grants == Some(kind) {
            self.times.add(Phase::LockWait, taken);
        } else {
            self.times.add(phase_of(kind), taken);
        }
        match &result {
            Ok(_) if kind == self.grants.unwrap_or(Kind::Begin) => self.granted = Some(returned),
            Err(error) => self.errors.count(error),
            Ok(_) => {}
        }
        if matches!(kind, Kind::Commit | Kind::Rollback)
            && let Some(granted) = self.granted.take()
        {
            self.times.add(Phase::InLock, returned.0.saturating_sub(granted.0));
        }
        result
    }
}

fn phase_of(kind: Kind) -> Phase {
    match kind {
        Kind::Begin => Phase::Begin,
        // A lock that does not guard the section is still waited for.
        Kind::Lock => Phase::LockWait,
        Kind::Read => Phase::Read,
        Kind::Write => Phase::Write,
        Kind::Commit => Phase::Commit,
        Kind::Pause => Phase::Backoff,
        Kind::Unlock | Kind::Savepoint | Kind::RollbackTo | Kind::Rollback => Phase::Other,
    }
}

#[cfg(test)]
mod tests {
    use drift_engine::lock::LockStrategy;
    use drift_engine::op::{Op, Reply};
    use drift_engine::session::ErrorClass;

    use super::*;

    /// Answers everything after a millisecond, and BEGIN and locks after twenty; the first COMMIT fails.
    struct Slow {
        clock: Clock,
        commits: u32,
    }

    impl Session for Slow {
        type Op = Op;
        type Reply = Reply;

        fn id(&self) -> SessionId {
            SessionId(1)
        }

        async fn call(&mut self, op: Op) -> Result<Reply, DbError> {
            let during = op.kind();
            let takes = if matches!(during, Kind::Begin | Kind::Lock) { 20_000_000 } else { 1_000_000 };
            let until = self.clock.now().0 + takes;
            while self.clock.now().0 < until {}
            self.commits += u32::from(during == Kind::Commit);
            if during == Kind::Commit && self.commits == 1 {
                let code = Some("40001".to_owned());
                return Err(DbError { class: ErrorClass::Serialization, code, message: String::new(), during });
            }
            Ok(Reply::Done)
        }
    }

    #[tokio::test]
    async fn the_section_lasts_from_the_grant_to_the_end_of_the_transaction() {
        let (clock, errors, customer) = (Clock::start(), Errors::default(), drift_engine::claim::CustomerId(1));
        let strategy = LockStrategy::RowNoKey;
        let lock = || strategy.lock(customer).unwrap();
        let mut times = Times::default();
        let slow = Slow { clock: clock.clone(), commits: 0 };
        let mut session = Timed::new(slow, &clock, Some(Kind::Lock), &errors, &mut times);
        for op in
            [strategy.begin(), lock(), Op::Commit, Op::Rollback, strategy.begin(), lock(), Op::Savepoint, Op::Commit]
        {
            let _ = session.call(op).await;
        }
        let at_least = |phase, nanos| times.get(phase).is_some_and(|taken| taken >= nanos);
        assert_eq!(times.attempts, 2);
        assert!(at_least(Phase::Begin, 40_000_000) && at_least(Phase::LockWait, 40_000_000), "{times:?}");
        assert!(at_least(Phase::Commit, 2_000_000) && at_least(Phase::Other, 2_000_000), "{times:?}");
        // One operation of the first try, two of the second, and neither BEGIN nor the wait.
        assert!(at_least(Phase::InLock, 3_000_000) && !at_least(Phase::InLock, 40_000_000), "{times:?}");
        assert_eq!(times.get(Phase::Read), None);

        // Without a lock the section begins with the transaction.
        let mut times = Times::default();
        let slow = Slow { clock: clock.clone(), commits: 1 };
        let mut session = Timed::new(slow, &clock, None, &errors, &mut times);
        for op in [strategy.begin(), Op::Savepoint, Op::Commit] {
            session.call(op).await.unwrap();
        }
        assert_eq!(times.get(Phase::LockWait), None);
        assert!(times.get(Phase::InLock).unwrap() >= 2_000_000);
    }
}
