//! Whose operations go on while the migrations run: the engine's, or a script's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drift_engine::claim::CustomerId;
use drift_engine::drift::Cell;
use drift_engine::session::DbError;

use super::application::Application;
use super::course::ScriptEnd;
use super::flight::Flight;
use super::observer;
use super::operation::Operation;
use super::scripted::Scripted;
use super::traffic::{Cast, Traffic};
use crate::clock::Clock;
use crate::database::Database;
use crate::history::{ActorId, History};
use crate::scenario::script::Script;

/// Whose operations go on meanwhile.
#[derive(Clone, Debug)]
pub enum Crowd {
    /// The engine's: needs its tables.
    Engine(Cast, Application),
    /// A script's.
    Script(Arc<Script>),
}

impl Crowd {
    /// How the application is called for people.
    pub fn application(&self) -> &str {
        match self {
            Self::Engine(_, application) => application.as_str(),
            Self::Script(script) => &script.name,
        }
    }
}

/// What it has left.
pub(super) struct Ended {
    pub(super) operations: Vec<Operation>,
    pub(super) history: Option<History>,
    pub(super) script: Option<ScriptEnd>,
    pub(super) sessions: BTreeMap<i64, ActorId>,
    pub(super) full: bool,
    /// How the database refused to tell what was left.
    pub(super) unread: Option<DbError>,
    /// How long it took to record an operation.
    pub(super) recording: Duration,
}

/// The traffic, running.
pub(super) enum Running {
    Engine(Traffic),
    Script(Scripted),
}

impl Running {
    pub(super) async fn start(crowd: &Crowd, database: Database, seed: u64, clock: Clock) -> Result<Self, DbError> {
        Ok(match crowd {
            Crowd::Engine(cast, application) => {
                Self::Engine(Traffic::start(database, *cast, *application, seed, clock).await?)
            }
            Crowd::Script(script) => Self::Script(Scripted::start(database, script.clone(), clock).await?),
        })
    }

    /// Its operations under way.
    pub(super) fn flight(&self) -> Arc<Flight> {
        match self {
            Self::Engine(traffic) => traffic.flight(),
            Self::Script(traffic) => traffic.flight(),
        }
    }

    /// Ends it; `base` is the claims at the start, counted.
    pub(super) async fn stop(self, base: Vec<(CustomerId, Vec<Cell>)>, clock: &Clock) -> Result<Ended, DbError> {
        Ok(match self {
            Self::Engine(traffic) => {
                let ended = traffic.stop(base).await?;
                Ended {
                    operations: ended.history.entries.iter().map(Operation::of).collect(),
                    recording: observer::recording(&ended.history.entries, clock).await,
                    history: ended.unread.is_none().then_some(ended.history),
                    unread: ended.unread,
                    script: None,
                    sessions: ended.sessions,
                    full: ended.full,
                }
            }
            Self::Script(traffic) => {
                let ended = traffic.stop().await?;
                Ended {
                    recording: observer::recording_of_script(&ended.operations, clock),
                    operations: ended.operations,
                    history: None,
                    unread: None,
                    script: Some(ScriptEnd { rounds: ended.rounds, invariants: ended.invariants }),
                    sessions: ended.sessions,
                    full: ended.full,
                }
            }
        })
    }

    /// Waits until each actor has come round once more, or `at_most` has passed.
    pub(super) async fn come_round(&self, at_most: Duration) {
        match self {
            Self::Engine(traffic) => traffic.come_round(at_most).await,
            Self::Script(traffic) => traffic.come_round(at_most).await,
        };
    }
}
