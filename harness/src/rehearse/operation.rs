//! One operation of the traffic, whoever's it is: what the measurements look at.

use std::sync::Arc;

use drift_engine::op::Op;
use drift_engine::session::{Kind, Operation as _};

use crate::history::{ActorId, Entry, Outcome, Tick};

/// The sorts of operations, as a budget tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Reads.
    Read,
    /// Writes, commits, and the lock that a task begins with.
    Write,
}

impl Class {
    /// The class of an operation of the engine's; a pause has none.
    pub fn of(op: &Op) -> Option<Self> {
        match op.kind() {
            Kind::Read => Some(Self::Read),
            Kind::Write | Kind::Lock | Kind::Commit => Some(Self::Write),
            // SQLite's lock comes with BEGIN.
            Kind::Begin if matches!(op, Op::Begin { immediate: true, .. }) => Some(Self::Write),
            _ => None,
        }
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Whose.
    pub actor: ActorId,
    /// Before it was sent.
    pub invoked: Tick,
    /// After it was answered.
    pub returned: Tick,
    /// What sort it is; what neither reads nor writes has none, and is not measured.
    pub class: Option<Class>,
    /// What it is, for people.
    pub what: Arc<str>,
    /// How the database refused it: the SQLSTATE, or what stands for it, and what it said.
    pub refused: Option<(Arc<str>, Arc<str>)>,
    /// What was sent, where it was refused and is a statement that can be sent again.
    pub sql: Option<Arc<str>>,
}

impl Operation {
    /// An operation of the engine's.
    pub fn of(entry: &Entry) -> Self {
        let refused = match &entry.outcome {
            Outcome::Ok(_) => None,
            Outcome::Failed(error) | Outcome::Unknown(error) => {
                let code = error.code.clone().unwrap_or_else(|| error.class.to_string());
                Some((code.into(), error.message.as_str().into()))
            }
        };
        Self {
            actor: entry.actor,
            invoked: entry.invoked,
            returned: entry.returned,
            class: Class::of(&entry.op),
            what: entry.op.to_string().into(),
            refused,
            sql: None,
        }
    }
}
