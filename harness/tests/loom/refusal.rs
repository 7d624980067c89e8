//! Records what a lens below refused to send: under loom the record is written by the database's shell,
//! which never hears of it.

use std::sync::Arc;

use drift_engine::op::{Op, Reply};
use drift_engine::session::{DbError, ErrorClass, Session, SessionId};
use driftlock::lens::fault::Terminate;

use super::shell::{Seat, Shared};

/// A session that records injected failures.
pub struct Refusals<S> {
    inner: S,
    shared: Arc<Shared>,
    seat: Seat,
}

impl<S> Refusals<S> {
    pub fn new(inner: S, shared: Arc<Shared>, seat: Seat) -> Self {
        Self { inner, shared, seat }
    }
}

impl<S: Session<Op = Op, Reply = Reply>> Session for Refusals<S> {
    type Op = Op;
    type Reply = Reply;

    fn id(&self) -> SessionId {
        self.inner.id()
    }

    async fn call(&mut self, op: Op) -> Result<Reply, DbError> {
        let result = self.inner.call(op.clone()).await;
        if let Err(error) = &result
            && error.class == ErrorClass::Injected
        {
            self.shared.refused(&self.seat, op, error);
        }
        result
    }
}

/// The model has no sessions to end from outside.
pub struct Nobody;

impl Terminate for Nobody {
    async fn terminate(&self, session: SessionId) -> Result<(), DbError> {
        unreachable!("no setting ends a session, and {session} neither")
    }
}
