//! A script's actors, or an application's, run freely in a database of their own: what `driftlock verify FILE` does.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use drift_engine::lock::Backend;

use super::applications;
use super::rounds::{Options, Rounds, run};
use crate::actor::script::postgres::PgSession;
use crate::actor::script::sqlite::SqliteSession;
use crate::explore::application::Looking;
use crate::explore::hosts::{HostError, Hosts};
use crate::explore::postgres::PgWorld;
use crate::explore::sqlite::SqliteWorld;
use crate::scenario::application::Application;
use crate::scenario::script::{Script, ScriptCase};

/// Runs the actors of a case round after round. The backend must have been made [ready](Hosts::ready), and the script be
/// [that of the case](Script::of_case).
///
/// Cancellation: the database goes with the hosts.
///
/// # Errors
/// There is no database, the set-up fails, or a query of the script does.
pub async fn verify_script(
    hosts: &mut Hosts,
    script: &Arc<Script>,
    case: &ScriptCase,
    options: Options,
) -> Result<Rounds, HostError> {
    match case.backend {
        Backend::Postgres => {
            let site = hosts.postgres_site().await?;
            let config = site.config().clone();
            let mut world = PgWorld::new(site, script.clone(), case.clone()).await?;
            let control = PgSession::control(&config).await?;
            let mut sessions = Vec::new();
            for actor in &script.actors {
                sessions.push(PgSession::open(&config, control.clone(), &actor.name).await?);
            }
            let ran = run(&mut world, &mut sessions, script, case, options).await;
            Ok(world.close().await.and(ran)?)
        }
        Backend::Sqlite => {
            let (file, keep) = hosts.sqlite_options().await?;
            let mut world = SqliteWorld::new(file.clone(), &keep, script.clone(), case.clone()).await?;
            let mut sessions = Vec::new();
            for _ in &script.actors {
                sessions.push(SqliteSession::open(&file).await?);
            }
            Ok(run(&mut world, &mut sessions, script, case, options).await?)
        }
    }
}

/// Runs an application's actors round after round; `counted` is how many rounds there were so far.
///
/// Cancellation: its programs are killed; the database goes with the hosts.
///
/// # Errors
/// There is no database, the set-up fails, or a query of the application's does.
pub async fn verify_application(
    hosts: &mut Hosts,
    app: &Arc<Application>,
    options: Options,
    counted: &AtomicU64,
) -> Result<Rounds, HostError> {
    let mut world = hosts.application(app.clone(), Looking::Answers).await?;
    let ran = applications::run(&mut world, app, options, counted).await;
    Ok(world.close().await.and(ran)?)
}
