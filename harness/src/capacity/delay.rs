//! Adds to each round trip what a network would: half before the operation is sent, half after it was
//! answered. A Unix socket is not how production reaches its database.

use std::time::Duration;

use drift_engine::session::{DbError, Kind, Operation, Session, SessionId};

use crate::capacity::alarm::Alarm;

/// A session whose round trips take longer.
pub struct Delayed<'a, S> {
    inner: S,
    alarm: &'a Alarm,
    round_trip: Duration,
}

impl<'a, S> Delayed<'a, S> {
    /// Adds `round_trip` to each of `inner`'s operations that is sent to the database.
    pub fn new(inner: S, alarm: &'a Alarm, round_trip: Duration) -> Self {
        Self { inner, alarm, round_trip }
    }
}

impl<S: Session> Session for Delayed<'_, S> {
    type Op = S::Op;
    type Reply = S::Reply;

    fn id(&self) -> SessionId {
        self.inner.id()
    }

    async fn call(&mut self, op: S::Op) -> Result<S::Reply, DbError> {
        // A pause is the client's own.
        let added = if op.kind() == Kind::Pause { Duration::ZERO } else { self.round_trip };
        let (there, back) = (added / 2, added - added / 2);
        self.alarm.pass(there).await;
        let result = self.inner.call(op).await;
        self.alarm.pass(back).await;
        result
    }
}
