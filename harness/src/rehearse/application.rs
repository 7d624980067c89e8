//! The two ages of the application: before its code said ON CONFLICT, and after.
//!
//! Both keep the customer's lock; only the write of events differs. The newer one needs a valid unique index
//! (42P10 without it), so which of the two may run is a matter of the schema's version.

use drift_engine::op::{OnConflict, Op, Reply};
use drift_engine::session::{DbError, Session, SessionId};
use serde::{Deserialize, Serialize};

/// Which code is deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Application {
    /// Inserts what its statement does not see, and updates the rest: needs no index.
    Plain,
    /// INSERT … ON CONFLICT: the engine as it ships.
    OnConflict,
}

impl Application {
    /// The name used in reports and settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::OnConflict => "on-conflict",
        }
    }
}

/// A session of that application's.
pub struct Deployed<S> {
    inner: S,
    application: Application,
}

impl<S> Deployed<S> {
    /// Writes as `application` does.
    pub fn new(inner: S, application: Application) -> Self {
        Self { inner, application }
    }
}

impl<S: Session<Op = Op, Reply = Reply>> Session for Deployed<S> {
    type Op = Op;
    type Reply = Reply;

    fn id(&self) -> SessionId {
        self.inner.id()
    }

    async fn call(&mut self, mut op: Op) -> Result<Reply, DbError> {
        if let (Op::WriteEvents { on_conflict, .. }, Application::Plain) = (&mut op, self.application) {
            *on_conflict = OnConflict::Error;
        }
        self.inner.call(op).await
    }
}
