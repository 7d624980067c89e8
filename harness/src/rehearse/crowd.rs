//! Whose operations go on while the migrations run: the engine's, or a script's.

use std::sync::Arc;
use std::time::Duration;

use drift_engine::session::DbError;

use super::application::Application;
use super::flight::Flight;
use super::scripted::Scripted;
use super::traffic::{Cast, Traffic};
use crate::clock::Clock;
use crate::database::Database;
use crate::database::postgres::PgDatabase;
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

/// The traffic, running.
pub(super) enum Running {
    Engine(Traffic),
    Script(Scripted),
}

impl Running {
    pub(super) async fn start(crowd: &Crowd, database: PgDatabase, seed: u64, clock: Clock) -> Result<Self, DbError> {
        Ok(match crowd {
            Crowd::Engine(cast, application) => {
                let on = Database::Postgres(database);
                Self::Engine(Traffic::start(on, *cast, *application, seed, clock).await?)
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

    pub(super) async fn come_round(&self, at_most: Duration) {
        match self {
            Self::Engine(traffic) => traffic.come_round(at_most).await,
            Self::Script(traffic) => traffic.come_round(at_most).await,
        };
    }
}
