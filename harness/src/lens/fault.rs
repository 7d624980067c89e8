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
    /// Before the first operation of this kind that is not preceded by a read.
    pub before: Kind,
    /// What happens there.
    pub fault: Fault,
    /// How many times, one an attempt.
    pub times: u32,
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
        let due = self.plan.as_mut().filter(|plan| plan.times > 0 && plan.before == kind && self.has_read);
        if let Some(plan) = due {
            plan.times -= 1;
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
