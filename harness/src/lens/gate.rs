//! Lets operations through when somebody says so.

use std::future::Future;

use drift_engine::claim::CustomerId;
use drift_engine::session::{DbError, Kind, Operation, Session, SessionId};

use crate::history::{ActorId, TaskId};

/// Who stands at the gate, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Who.
    pub actor: ActorId,
    /// For which task.
    pub task: Option<TaskId>,
    /// Whose data the task is about.
    pub key: CustomerId,
    /// On which server session.
    pub session: SessionId,
    /// What it is about to send, or has sent.
    pub kind: Kind,
}

/// Whoever decides when an operation may be sent.
pub trait Gatekeeper: Send + Sync {
    /// Returns when the operation may be sent.
    fn admit(&self, arrival: Arrival) -> impl Future<Output = ()> + Send;

    /// Hears how it ended.
    fn left(&self, arrival: Arrival, error: Option<&DbError>);
}

/// A session whose operations pass a gate.
pub struct Gated<'a, S, G> {
    inner: S,
    keeper: &'a G,
    actor: ActorId,
    task: Option<TaskId>,
    key: CustomerId,
}

impl<'a, S, G> Gated<'a, S, G> {
    /// Puts the gate before `inner`.
    pub fn new(inner: S, keeper: &'a G, actor: ActorId, task: Option<TaskId>, key: CustomerId) -> Self {
        Self { inner, keeper, actor, task, key }
    }
}

impl<S: Session, G: Gatekeeper> Session for Gated<'_, S, G> {
    type Op = S::Op;
    type Reply = S::Reply;

    fn id(&self) -> SessionId {
        self.inner.id()
    }

    async fn call(&mut self, op: S::Op) -> Result<S::Reply, DbError> {
        let Self { actor, task, key, .. } = *self;
        let arrival = Arrival { actor, task, key, session: self.inner.id(), kind: op.kind() };
        self.keeper.admit(arrival).await;
        let result = self.inner.call(op).await;
        self.keeper.left(arrival, result.as_ref().err());
        result
    }
}
