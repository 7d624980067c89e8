//! The database of a setting: what executions begin with, its sessions, and what looks at it from outside.

use std::sync::Arc;

use drift_engine::claim::CustomerId;
use drift_engine::op::Op;
use drift_engine::protocol::recompute;
use drift_engine::session::{Connect, DbError, Kind, Session};
use sqlx::{AssertSqlSafe, SqliteConnection, raw_sql};
use tokio::sync::watch;
use tokio_postgres::{Client, Statement};

use super::super::postgres::question::QUESTION;
use super::super::postgres::{connect, said, state::keep_rows, victim};
use super::super::sqlite;
use super::super::world::Lost;
use super::MakeError;
use super::looking::Closing;
use crate::database::{Database, Driver};
use crate::fixture::{Copy, Databases};
use crate::scenario::Before;
use crate::setting::Setting;
use crate::setting::work::task;
use crate::sqlite_busy::Busy;

/// A connection's busy handler, and its news.
pub(super) type Parked = (Arc<Busy>, watch::Receiver<u64>);

/// What looks at the database from outside.
pub(super) enum Eyes {
    Postgres { control: Box<Client>, question: Statement, restore: String },
    Sqlite { control: Box<SqliteConnection>, restore: String },
}

/// Opens a session for an actor.
pub(super) async fn open(database: &Database) -> Result<(Driver, Arc<Closing>, Option<Parked>), DbError> {
    match database {
        Database::Postgres(postgres) => {
            let mut session = postgres.connect().await?;
            let set = raw_sql(AssertSqlSafe(victim::setting(false))).execute(session.connection()).await;
            Ok((Driver::Postgres(session), Closing::new(set.is_ok()).into(), None))
        }
        Database::Sqlite(sqlite) => {
            let (session, busy) = sqlite.connect_parked().await?;
            let parkings = busy.parkings();
            Ok((Driver::Sqlite(session, busy.clone()), Arc::default(), Some((busy, parkings))))
        }
    }
}

/// Brings the runs into the state in which the setting finds them.
pub(super) async fn prepare(database: &Database, setting: &Setting, customers: &[i64]) -> Result<(), DbError> {
    let mut session = database.connect().await?;
    for customer in customers {
        let task = task(CustomerId(*customer), setting.strategy.backend().default_strategy());
        let (id, fresh) = (task.run.id_for(&task.identity), task.run.is_fresh());
        match setting.before {
            Before::Nothing => {}
            Before::Failed => {
                let reason = "an earlier task failed".into();
                session.call(Op::FailRun { identity: task.identity, id, fresh, reason }).await?;
            }
            Before::Recomputed => {
                recompute(&mut session, &task).await.map_err(|error| DbError {
                    class: drift_engine::session::ErrorClass::Other,
                    code: None,
                    message: error.to_string(),
                    during: Kind::Write,
                })?;
            }
        }
    }
    Ok(())
}

/// Connects what looks at a database from outside, and keeps the rows of the beginning.
pub(super) async fn eyes(databases: &Databases, copy: &Copy, spare: Option<String>) -> Result<Eyes, MakeError> {
    match (&copy.database, spare) {
        (Database::Sqlite(database), Some(spare)) => {
            let mut control = database.plain().await.map_err(Lost::from)?;
            let restore = sqlite::keep_rows(&mut control, &spare).await?;
            Ok(Eyes::Sqlite { control: Box::new(control), restore })
        }
        _ => {
            let config = databases.config(copy).map_err(|error| Lost::new(error.to_string()))?;
            let config = config.expect("a copy on PostgreSQL has an address");
            let (control, _) = connect(&config, "control").await?;
            // Nothing is triggered by the engine's rows, and its foreign keys are heeded.
            let restore = keep_rows(&control).await?;
            let question = control.prepare(QUESTION).await.map_err(|error| said("prepare a question", &error))?;
            Ok(Eyes::Postgres { control: Box::new(control), question, restore })
        }
    }
}
