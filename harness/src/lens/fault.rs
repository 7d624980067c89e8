//! Puts one failure into a task, at a chosen operation.

use std::future::Future;

use drift_engine::session::{DbError, ErrorClass, Kind, Operation, Session, SessionId};

use crate::history::Fault;

/// Ends a server session from outside.
pub trait Terminate: Send + Sync {
    /// Ends `session`, and returns when the server has let go of it.
    ///
    /// # Errors
    /// The server refuses, or does not do it in time.
    fn terminate(&self, session: SessionId) -> impl Future<Output = Result<(), DbError>> + Send;
}

/// Which failure, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Before the first operation of this kind that follows a read in its transaction.
    pub before: Kind,
    /// What happens there.
    pub fault: Fault,
}

/// A session in which the planned failure happens.
pub struct Faulty<'a, S, T> {
    inner: S,
    plan: Option<Plan>,
    terminator: &'a T,
    has_read: bool,
}

impl<'a, S, T> Faulty<'a, S, T> {
    /// Puts `plan` into `inner`; without a plan nothing happens.
    pub fn new(inner: S, plan: Option<Plan>, terminator: &'a T) -> Self {
        Self { inner, plan, terminator, has_read: false }
    }
}

impl<S: Session, T: Terminate> Session for Faulty<'_, S, T> {
    type Op = S::Op;
    type Reply = S::Reply;

    fn id(&self) -> SessionId {
        self.inner.id()
    }

    async fn call(&mut self, op: S::Op) -> Result<S::Reply, DbError> {
        let kind = op.kind();
        let due = self.plan.take_if(|plan| plan.before == kind && self.has_read);
        if let Some(plan) = due {
            match plan.fault {
                Fault::Fail => {
                    return Err(DbError {
                        class: ErrorClass::Injected,
                        code: None,
                        message: format!("the scenario fails the task before its {kind}"),
                        during: kind,
                    });
                }
                Fault::Terminate => self.terminator.terminate(self.inner.id()).await?,
            }
        }
        match kind {
            Kind::Begin => self.has_read = false,
            Kind::Read => self.has_read = true,
            _ => {}
        }
        self.inner.call(op).await
    }
}
