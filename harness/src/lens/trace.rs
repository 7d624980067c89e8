//! Records every operation that is really sent, from its invocation to its end.

use drift_engine::session::{DbError, ErrorClass, Kind, Operation, Session, SessionId};

use crate::clock::Clock;
use crate::history::{ActorId, Entry, Outcome, TaskId};

/// One actor's part of a history. Each actor writes its own: nobody waits for another.
#[derive(Debug)]
pub struct Log<O, R> {
    actor: ActorId,
    clock: Clock,
    entries: Vec<Entry<O, R>>,
}

impl<O, R> Log<O, R> {
    /// An empty log.
    pub fn new(actor: ActorId, clock: Clock) -> Self {
        Self { actor, clock, entries: Vec::new() }
    }

    /// Whose log it is.
    pub fn actor(&self) -> ActorId {
        self.actor
    }

    /// The clock that it is written by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// How many operations were recorded.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What was recorded, in order.
    pub fn into_entries(self) -> Vec<Entry<O, R>> {
        self.entries
    }
}

/// A session that records what passes through it.
pub struct Trace<'a, S: Session> {
    inner: S,
    log: &'a mut Log<S::Op, S::Reply>,
    task: Option<TaskId>,
}

impl<'a, S: Session> Trace<'a, S> {
    /// Records `inner`'s operations into `log`, as those of `task`.
    pub fn new(inner: S, log: &'a mut Log<S::Op, S::Reply>, task: Option<TaskId>) -> Self {
        Self { inner, log, task }
    }
}

impl<S: Session> Session for Trace<'_, S> {
    type Op = S::Op;
    type Reply = S::Reply;

    fn id(&self) -> SessionId {
        self.inner.id()
    }

    async fn call(&mut self, op: S::Op) -> Result<S::Reply, DbError> {
        let invoked = self.log.clock.now();
        let result = self.inner.call(op.clone()).await;
        let returned = self.log.clock.now();
        let outcome = match &result {
            Ok(reply) => Outcome::Ok(reply.clone()),
            // Only what may have taken effect is unknown: a commit, or a statement outside a
            // transaction. Which one it was, the entries before it say.
            Err(error) if error.class == ErrorClass::Lost && matches!(op.kind(), Kind::Commit | Kind::Write) => {
                Outcome::Unknown(Box::new(error.clone()))
            }
            Err(error) => Outcome::Failed(Box::new(error.clone())),
        };
        self.log.entries.push(Entry {
            actor: self.log.actor,
            session: self.inner.id(),
            task: self.task,
            invoked,
            returned,
            op,
            outcome,
        });
        result
    }
}
