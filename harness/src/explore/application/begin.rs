//! The state in which executions begin: how it is made, and how it is put back.

use std::collections::BTreeSet;
use std::time::Duration;

use driftlock_wire::{Address, Upstream};
use tokio::time::Instant;
use tokio_postgres::config::Host;
use tokio_postgres::{Config, Statement};

use super::settle::{DEPARTURE_MAX, Moved};
use super::{Actor, AppWorld, TIMEOUTS};
use crate::app::output::Output;
use crate::app::work::{Preparation, WorkError, prepare, set_up};
use crate::explore::postgres::answer::end_prepared;
use crate::explore::postgres::beginning::{Beginning, Kept};
use crate::explore::postgres::question::QUESTION_WITH_ISOLATION;
use crate::explore::postgres::site::{self, Site};
use crate::explore::postgres::state::{differences, shift_sequences};
use crate::explore::postgres::{Control, connect, said};
use crate::explore::world::Lost;
use crate::scenario::application::Application;
use crate::scenario::script::NamedQuery;

/// How soon the sessions of killed programs are ended at the server: one that waits there does not see that its client has
/// left.
const TERMINATED_AFTER: Duration = Duration::from_millis(100);
pub(super) const TERMINATE: &str =
    "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.unnest($1::pg_catalog.int4[]) AS p(pid)";
/// How long whoever is left of an execution may go on, with nothing held.
const RUN_OUT_MAX: Duration = Duration::from_secs(5);

/// Whether sessions begin with a timeout, for their role or their database has one.
const DEFAULT_TIMEOUTS: &str = "\
    SELECT pg_catalog.bool_or(setting::pg_catalog.int8 > 0) FROM pg_catalog.pg_settings \
    WHERE name IN ('lock_timeout', 'statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')";

/// Why nothing can begin.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// A command of the file's failed.
    #[error("the set-up failed: {0}")]
    Setup(#[from] WorkError),
    /// The database cannot be used.
    #[error(transparent)]
    Lost(#[from] Lost),
}

/// What was begun.
pub(super) struct Begun {
    pub control: Control,
    pub beginning: Beginning,
    pub differences: Vec<NamedQuery>,
    pub default_isolation: String,
    pub isolation: Statement,
    pub bounds: BTreeSet<String>,
}

/// Whether the site's role is a superuser.
pub(super) async fn is_superuser(site: &Site) -> Result<bool, Lost> {
    let (client, _) = connect(site.config(), "control").await?;
    site::is_superuser(&client).await
}

/// Where the site's database is, for the proxy.
///
/// # Errors
/// Its address cannot be used.
pub fn upstream(site: &Site) -> Result<Upstream, Lost> {
    upstream_of(site.config())
}

/// Where a database is, for the proxy.
///
/// # Errors
/// Its address cannot be used.
pub fn upstream_of(config: &Config) -> Result<Upstream, Lost> {
    let none = |what: &str| Lost::new(format!("the server's address has no {what}"));
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let address = match config.get_hosts().first().ok_or_else(|| none("host"))? {
        Host::Tcp(host) => Address::Tcp { host: host.clone(), port },
        Host::Unix(directory) => Address::Unix(directory.join(format!(".s.PGSQL.{port}"))),
    };
    let password = config.get_password().map(|password| String::from_utf8_lossy(password).into_owned());
    let user = config.get_user().ok_or_else(|| none("user"))?.to_owned();
    let database = config.get_dbname().ok_or_else(|| none("database"))?.to_owned();
    Ok(Upstream { address, user, password, database })
}

/// Runs the set-up, and keeps what it has made.
pub(super) async fn begin(
    site: &mut Site,
    app: &Application,
    database: &[(&'static str, String)],
    after_setup: &[String],
) -> Result<Begun, BeginError> {
    if let Some(by) = &app.setup {
        set_up(by, &preparation(app, database)).await?;
    }
    let asking = |error| said("ask how sessions begin", &error);
    let control = Control::open(site.config()).await?;
    for statement in after_setup {
        let done = control.client.batch_execute(statement).await;
        done.map_err(|error| Lost::by_script(said(&format!("run {statement}"), &error).why))?;
    }
    let isolation = control.client.query_one("SHOW default_transaction_isolation", &[]).await.map_err(asking)?;
    let default_isolation = isolation.get(0);
    let asked = control.client.query_one(DEFAULT_TIMEOUTS, &[]).await.map_err(asking)?;
    let bounds = Some(TIMEOUTS.to_owned()).filter(|_| asked.get(0)).into_iter().collect();
    let kept = Kept::keep(&control.client).await?;
    let differences = differences(&control.client).await?;
    // Nobody may be in a database that is copied.
    drop(control);
    site.keep().await?;
    let control = Control::open(site.config()).await?;
    let kept = kept.again(&control.client).await?;
    let isolation = question(&control).await?;
    Ok(Begun { control, beginning: Beginning::Rows(kept), differences, default_isolation, isolation, bounds })
}

/// How a command of the application's file prepares something.
fn preparation<'p>(app: &'p Application, database: &'p [(&'static str, String)]) -> Preparation<'p> {
    Preparation { directory: &app.directory, database, most: app.setup_max }
}

/// What is asked of sessions.
pub(super) async fn question(control: &Control) -> Result<Statement, Lost> {
    let prepared = control.client.prepare(QUESTION_WITH_ISOLATION).await;
    prepared.map_err(|error| said("prepare a question", &error))
}

impl AppWorld {
    /// Ends what the last execution has left. Programs that stay do their job to its end, with nothing held: whatever they
    /// change is put back, and they are as warm as before.
    pub(super) async fn end_all(&mut self) -> Result<(), Lost> {
        if self.actors.iter().any(|actor| actor.worker.stays() && actor.outcome.is_none() && actor.began) {
            self.run_out().await?;
        }
        let leaky = self.leaky;
        let leaves = |(number, actor): (usize, &mut Actor)| {
            let leaves = actor.began && actor.worker.stays() && (!actor.leftover.is_clean() || leaky);
            leaves.then_some(number)
        };
        // Whoever leaves something in its session each time is started anew each time, and never warm.
        let leaving: Vec<usize> = self.actors.iter_mut().enumerate().filter_map(leaves).collect();
        self.kill(&leaving).await?;
        let lost: Vec<usize> = self.disabled().into_iter().filter(|it| self.actors[*it].worker.stays()).collect();
        self.kill(&lost).await?;
        for number in leaving {
            self.actors[number].is_cold = false;
        }
        self.gate.hold_entry(None);
        if let Some(number) = self.is_to_be_turned_away() {
            // Who stays would not connect again.
            self.kill(&[number]).await?;
            self.actors[number].is_cold = false;
        }
        let going: Vec<usize> = (0..self.actors.len()).filter(|number| !self.actors[*number].worker.stays()).collect();
        self.kill(&going).await?;
        self.end_busy().await?;
        let cold: Vec<usize> = (0..self.actors.len()).filter(|number| self.actors[*number].is_cold).collect();
        if !cold.is_empty() {
            self.warm_up(&cold).await?;
        }
        end_prepared(&self.control.client).await
    }

    /// Ends whoever cannot go on, and whoever has left a transaction open, which then is not part of the final state.
    pub(super) async fn end_stuck(&mut self, stuck: &[usize]) -> Result<(), Lost> {
        self.kill(stuck).await?;
        let busy = self.busy().await?;
        let done: Vec<usize> = busy.into_iter().filter(|number| self.actors[*number].outcome.is_some()).collect();
        self.kill(&done).await
    }

    /// Ends whoever has a session that is not idle.
    async fn end_busy(&mut self) -> Result<(), Lost> {
        let busy = self.busy().await?;
        self.kill(&busy).await
    }

    /// Has programs that were started anew do their job once, with nothing held, so that they take the course of those that
    /// have done it before.
    async fn warm_up(&mut self, cold: &[usize]) -> Result<(), Lost> {
        for number in cold {
            let actor = &mut self.actors[*number];
            (actor.outcome, actor.is_cold, actor.is_killed) = (None, false, false);
            actor.worker.begin(0).await.map_err(|error| Lost::by_script(error.to_string()))?;
        }
        self.run_out().await?;
        self.end_busy().await
    }

    /// Holds nothing until every job is done, or for so long; then whoever goes on is ended.
    async fn run_out(&mut self) -> Result<(), Lost> {
        self.gate.open();
        // It is part of no execution: what would make one bounded says nothing here.
        let bounds = self.bounds.clone();
        let begin = Instant::now();
        let goes_on = |actor: &Actor| actor.worker.stays() && actor.outcome.is_none() && actor.worker.is_at_work();
        while self.actors.iter().any(goes_on) && begin.elapsed() < RUN_OUT_MAX {
            let _ = tokio::time::timeout(RUN_OUT_MAX, self.gate.changes()).await;
            self.hear(&mut Moved::default()).await?;
        }
        self.gate.close();
        self.bounds = bounds;
        let late: Vec<usize> = (0..self.actors.len()).filter(|number| goes_on(&self.actors[*number])).collect();
        self.kill(&late).await
    }

    /// Ends the programs of these actors, and their sessions.
    async fn kill(&mut self, actors: &[usize]) -> Result<(), Lost> {
        self.kill_hearing(actors, &mut Moved::default()).await
    }

    /// The same; whatever comes of that is added.
    pub(super) async fn kill_hearing(&mut self, actors: &[usize], moved: &mut Moved) -> Result<(), Lost> {
        for number in actors {
            let actor = &mut self.actors[*number];
            (actor.is_outside, actor.is_killed) = (false, true);
            actor.is_cold = actor.worker.stays() && actor.began;
            actor.worker.kill().await;
        }
        let begin = Instant::now();
        let of_these = |world: &Self| {
            let sessions = world.sessions.values().filter(|session| actors.contains(&session.actor));
            sessions.map(|session| session.pid).collect::<Vec<_>>()
        };
        // Killed programs are heard of by their connections.
        loop {
            let left = of_these(self);
            if left.is_empty() {
                break;
            }
            if begin.elapsed() > DEPARTURE_MAX {
                return Err(Lost::new("a connection is still open, though its program was killed"));
            }
            if tokio::time::timeout(TERMINATED_AFTER, self.gate.changes()).await.is_err() {
                let pids: Vec<i32> = left.into_iter().flatten().collect();
                let asked = self.control.client.query(TERMINATE, &[&pids]).await;
                asked.map_err(|error| said("end the sessions of a killed program", &error))?;
            }
            self.hear(moved).await?;
        }
        self.await_departures().await
    }

    /// Puts the rows back; or makes the database anew, where rows are not all that changes.
    pub(super) async fn put_back(&mut self) -> Result<(), Lost> {
        let holds = match &mut self.beginning {
            Beginning::Rows(kept) => kept.put_back(&self.control.client).await?,
            Beginning::Copies | Beginning::SetUps => false,
        };
        if !holds {
            self.beginning = Beginning::Copies;
            let all: Vec<usize> = (0..self.actors.len()).collect();
            self.kill(&all).await?;
            self.site.renew().await?;
            self.control = Control::open(self.site.config()).await?;
            (self.isolation, self.schema_changed) = (question(&self.control).await?, true);
        }
        if std::mem::take(&mut self.varies) {
            shift_sequences(&self.control.client).await?;
        }
        if let Some(reset) = &self.app.reset {
            let reset = prepare(reset, &preparation(&self.app, &self.database), &Output::default()).await;
            reset.map_err(|error| Lost::by_script(format!("the reset failed: {error}")))?;
        }
        Ok(())
    }
}
