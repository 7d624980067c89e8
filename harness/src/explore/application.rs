//! An application's actors on PostgreSQL: programs behind the proxy, each of whose units is a step.
//!
//! What a step is, is not known beforehand: it is what arrives. A choice is made only when nobody runs or computes: every
//! actor is held at the gate, is reported to wait, or has ended. Whoever waits for something outside of the database is
//! not waited for as long as others can go on; if it then speaks, the search is bounded.

mod begin;
pub mod case;
mod fault;
mod free;
mod leftover;
mod observe;
mod restart;
mod retries;
pub mod rules;
pub mod sent;
mod settle;
mod transcript;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use driftlock_wire::{Config, ConnectionId, Listen, Names, Proxy};
use tokio::time::Instant;
use tokio_postgres::Statement;

pub use self::begin::{BeginError, upstream, upstream_of};
use self::fault::{Hit, Struck};
use self::free::Free;
pub use self::free::{FreeRun, Opening, Passed};
use self::leftover::Leftover;
use self::retries::Retries;
use self::sent::{Alteration, Sent};
use self::settle::Moved;
use super::fault::{Armed, Fault};
use super::footprint::Touch;
use super::postgres::Control;
use super::postgres::answer::ask_all;
use super::postgres::beginning::Beginning;
use super::postgres::printed::{NOT_LOGGED, PRINTS};
use super::postgres::site::Site;
use super::statement;
use super::world::{Choice, Ended, Lost, Note, Taken, World};
use crate::app::gate::Holding;
use crate::app::quiet::Quiet;
use crate::app::work::{Outcome, Worker, said};
use crate::scenario::application::Application;
use crate::scenario::script::{FaultKind, NamedQuery};

/// How long an answer of the server's may take, to a unit that does not wait or to a question of ours.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// What timeouts do to a search.
const TIMEOUTS: &str = "a timeout that an application sets comes when it comes";
/// How soon sessions look for a deadlock. Nobody is let through before whoever waits has looked in vain: so the victim is
/// who closes the circle.
const DEADLOCK: Duration = Duration::from_millis(5);

/// An actor, as the search sees it.
struct Actor {
    name: String,
    worker: Worker,
    /// How many of its units were let through in this execution.
    step: usize,
    /// The most of them in an execution in which nothing was let fail for it.
    steps_max: usize,
    /// How many of its transactions with changed rows were committed in this execution.
    commits: usize,
    /// What its job came to; nothing as long as it goes on.
    outcome: Option<Outcome>,
    /// It takes no part in this execution.
    left_out: bool,
    /// Since when it computes.
    computes_since: Option<Instant>,
    quiet: Quiet,
    /// It waits for something outside of the database, and others go on meanwhile.
    is_outside: bool,
    leftover: Leftover,
    retries: Retries,
    /// It was begun once.
    began: bool,
    /// It was ended by us, and not by itself.
    is_killed: bool,
    /// Its program stays, and was ended: the next one has done nothing yet.
    is_cold: bool,
}

/// A session of an actor's.
struct Session {
    actor: usize,
    pid: Option<i32>,
    note: Note,
    /// Its transactions may be SERIALIZABLE, as far as its texts say.
    serializable: bool,
    /// Its transactions may be others than READ COMMITTED.
    may_isolate: bool,
    /// Which of its actor's steps is under way in it.
    step: Option<usize>,
    /// Its transaction has changed a row.
    wrote: bool,
    /// The server has reported that this step waits.
    waits: bool,
    /// It had an advisory lock after its last answer: perhaps one that no transaction ends.
    keeps: bool,
}

/// A unit, as people are shown it.
#[derive(Clone, Debug, Default)]
struct Shown {
    sql: String,
    rows: Vec<Vec<String>>,
}

/// An application's actors on a database of PostgreSQL.
pub struct AppWorld {
    app: Arc<Application>,
    site: Site,
    control: Control,
    beginning: Beginning,
    /// What the tables hold beyond the beginning: a query each.
    differences: Vec<NamedQuery>,
    superuser: bool,
    /// Ends with the world, and with it every session behind it.
    proxy: Proxy,
    gate: Holding,
    actors: Vec<Actor>,
    sessions: BTreeMap<ConnectionId, Session>,
    /// Sessions at the server whose clients have left.
    leaving: Vec<i32>,
    /// Where the database is for whoever is held by nobody.
    database: Vec<(&'static str, String)>,
    executions: u64,
    /// The next execution generates other values.
    varies: bool,
    /// When a wait was reported last.
    waited_at: Option<Instant>,
    /// Steps that have waited, in whatever execution.
    waiters: BTreeSet<(usize, usize)>,
    /// What keeps a search from having seen everything.
    bounds: BTreeSet<String>,
    transcript: BTreeMap<(usize, usize), Shown>,
    /// The COMMITs of this execution that were answered with ROLLBACK, and with which something is lost.
    lost: Vec<(usize, usize)>,
    /// What new sessions' transactions are.
    default_isolation: String,
    /// The question that is asked of sessions.
    isolation: Statement,
    /// Tables with triggers of the user's own.
    triggered: BTreeSet<String>,
    /// The schema may have another shape than when it was looked at.
    schema_changed: bool,
    /// A function of the user's own may leave something in its session.
    leaky: bool,
    /// The actors of this execution go one after the other.
    serially: bool,
    /// The most transactions with changed rows that an actor has committed in one execution.
    commits_max: usize,
    /// The actors run freely just now.
    free: Option<Free>,
    /// What is to fail in each execution.
    fault: Option<Armed>,
    /// What has failed in this one.
    struck: Option<Struck>,
    /// Whom that has met.
    hits: BTreeMap<usize, Hit>,
    /// Where actors were seen to ask for a session where nothing failed: after how many of their steps.
    connects: BTreeSet<(usize, usize)>,
    /// Nobody's other attempt succeeds.
    keeps_from_retrying: bool,
    /// The steps that were refused for that in this execution.
    kept_back: BTreeSet<(usize, usize)>,
    /// Something is checked at COMMIT alone.
    defers: bool,
    /// What was sent, and what it touched.
    sent: Sent,
}

/// How closely an application's sessions are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looking {
    /// The server prints what each statement does, and plans it anew: that says which steps may be exchanged.
    Footprints,
    /// What is asked and answered alone.
    Answers,
}

impl AppWorld {
    /// Makes the state in which everything begins, in the site's database.
    ///
    /// Cancellation: everything that was started is ended.
    ///
    /// # Errors
    /// The set-up fails, or the server cannot be used.
    pub async fn new(site: Site, app: Arc<Application>, looking: Looking) -> Result<Self, BeginError> {
        Self::altered(site, app, looking, &Alteration::default()).await
    }

    /// The same, with something changed of what the programs send and of what the set-up makes.
    ///
    /// # Errors
    /// See [`AppWorld::new`].
    pub async fn altered(
        site: Site,
        app: Arc<Application>,
        looking: Looking,
        alteration: &Alteration,
    ) -> Result<Self, BeginError> {
        let lost = |error: driftlock_wire::Error| Lost::during("start the proxy", error);
        let superuser = begin::is_superuser(&site).await?;
        let mut config = Config::new(begin::upstream(&site)?);
        config.names = Names::Any;
        if looking == Looking::Footprints {
            config.keeps_logs = true;
            config.session = format!("{PRINTS} -c plan_cache_mode=force_custom_plan");
        }
        if superuser {
            config.session.push_str(&format!(" {NOT_LOGGED} -c deadlock_timeout={}", DEADLOCK.as_millis()));
        }
        config.session.push_str(&alteration.session);
        let gate = Holding::rewriting(alteration.rewriter.clone());
        let proxy = Proxy::new(config, gate.clone()).map_err(lost)?;
        let database = proxy.open(Listen::Tcp).await.map_err(lost)?.environment();
        let mut actors = Vec::new();
        for (number, actor) in app.actors.iter().enumerate() {
            let endpoint = proxy.open(Listen::Tcp).await.map_err(lost)?;
            gate.bind(endpoint.id, number);
            let worker = Worker::new(&app, number, endpoint.environment(), gate.clone());
            actors.push(Actor::new(actor.name.clone(), worker));
        }
        let mut site = site;
        let begun = begin::begin(&mut site, &app, &database, &alteration.after_setup).await?;
        Ok(Self {
            app,
            site,
            control: begun.control,
            beginning: begun.beginning,
            differences: begun.differences,
            superuser,
            proxy,
            gate,
            actors,
            sessions: BTreeMap::new(),
            leaving: Vec::new(),
            database,
            executions: 0,
            varies: false,
            waited_at: None,
            waiters: BTreeSet::new(),
            bounds: begun.bounds,
            transcript: BTreeMap::new(),
            lost: Vec::new(),
            default_isolation: begun.default_isolation,
            isolation: begun.isolation,
            triggered: BTreeSet::new(),
            schema_changed: true,
            leaky: false,
            serially: false,
            commits_max: 0,
            free: None,
            fault: None,
            struck: None,
            hits: BTreeMap::new(),
            connects: BTreeSet::new(),
            keeps_from_retrying: alteration.keeps_from_retrying,
            kept_back: BTreeSet::new(),
            defers: false,
            sent: Sent::default(),
        })
    }

    /// Ends every program, and drops the database.
    ///
    /// # Errors
    /// The server refuses; its end tries again.
    pub async fn close(mut self) -> Result<(), Lost> {
        for actor in &mut self.actors {
            actor.worker.kill().await;
        }
        drop((self.proxy, self.control));
        self.site.close().await
    }

    /// The queries by which final states are compared with those of serial orders.
    pub fn differences(&self) -> &[NamedQuery] {
        &self.differences
    }

    /// What an actor's job came to in this execution; nothing if it was not done.
    fn outcome(&self, actor: usize) -> Option<&Outcome> {
        self.actors[actor].outcome.as_ref()
    }

    /// What each actor has printed in this execution.
    pub fn outputs(&self) -> Vec<(String, String)> {
        let printed = self.actors.iter().map(|actor| (actor.name.clone(), actor.worker.output.text()));
        printed.filter(|(_, text)| !text.trim().is_empty()).collect()
    }

    /// The last lines that an actor has printed.
    fn last_lines(&self, actor: usize) -> String {
        self.actors[actor].worker.output.last_lines(3)
    }

    /// The same, for the end of a message.
    fn said(&self, actor: usize) -> String {
        said(&self.actors[actor].worker.output)
    }

    /// Whether an actor takes part in this execution.
    fn takes_part(&self, actor: usize) -> bool {
        !self.actors[actor].left_out
    }

    /// The actors whose unit is at the gate.
    fn held(&self) -> BTreeSet<usize> {
        let held = self.gate.look(|_, seat| seat.held.is_some().then_some(seat.actor));
        held.into_iter().flatten().chain(self.gate.asks_for_session()).collect()
    }
}

impl Actor {
    fn new(name: String, worker: Worker) -> Self {
        Self {
            name,
            worker,
            step: 0,
            steps_max: 0,
            commits: 0,
            outcome: None,
            left_out: false,
            computes_since: None,
            quiet: Quiet::new(),
            is_outside: false,
            leftover: Leftover::default(),
            retries: Retries::default(),
            began: false,
            is_killed: false,
            is_cold: false,
        }
    }
}

impl World for AppWorld {
    async fn reset(&mut self) -> Result<(), Lost> {
        self.end_all().await?;
        if self.executions > 0 {
            self.put_back().await?;
        }
        self.executions += 1;
        if std::mem::take(&mut self.schema_changed) {
            self.look_at_schema().await?;
        }
        self.struck = None;
        let hits = std::mem::take(&mut self.hits);
        self.fault.as_mut().into_iter().for_each(Armed::again);
        self.transcript.clear();
        self.lost.clear();
        self.kept_back.clear();
        for session in self.sessions.values_mut() {
            // What ran out with nothing held was not looked at; its transactions have ended, or their sessions.
            (session.note, session.step) = (Note::default(), None);
            (session.wrote, session.waits) = (false, false);
        }
        for number in 0..self.actors.len() {
            let actor = &mut self.actors[number];
            if !hits.contains_key(&number) {
                actor.steps_max = actor.steps_max.max(actor.step);
            }
            (actor.step, actor.commits, actor.outcome) = (0, 0, None);
            (actor.left_out, actor.is_outside) = (false, false);
            actor.retries = Retries::default();
            (actor.computes_since, actor.quiet) = (None, Quiet::new());
            (actor.began, actor.is_cold, actor.is_killed) = (true, false, false);
        }
        self.await_entry();
        for actor in &mut self.actors {
            actor.worker.begin(self.executions).await.map_err(|error| Lost::by_script(error.to_string()))?;
        }
        self.settle(None).await.map(drop)
    }

    fn actors(&self) -> usize {
        self.actors.len()
    }

    fn leave_out(&mut self, actor: usize) {
        self.actors[actor].left_out = true;
    }

    fn made(&self) -> u64 {
        self.site.made()
    }

    fn go_serially(&mut self, serially: bool) {
        self.serially = serially;
    }

    fn vary(&mut self) {
        self.varies = true;
    }

    fn enabled(&self) -> Vec<usize> {
        let can = |actor: &usize| !self.actors[*actor].left_out && !self.circles(*actor);
        self.held().into_iter().filter(can).collect()
    }

    async fn take(&mut self, choice: Choice, last: Option<&Taken>) -> Result<Taken, Lost> {
        let actor = choice.actor;
        if self.gate.asks_for_session() == Some(actor) {
            return self.refuse_session(choice).await;
        }
        let (connection, unit) = self.gate.next(actor).expect("only who is held can be let through");
        // Whoever waits has looked for a deadlock by then.
        if let Some(waited_at) = self.waited_at.filter(|_| self.superuser) {
            tokio::time::sleep_until(waited_at + DEADLOCK + Duration::from_millis(1)).await;
        }
        let session = self.sessions.get_mut(&connection).expect("who is held has signed in");
        let step = self.actors[actor].step;
        self.actors[actor].step += 1;
        session.step = Some(step);
        self.await_entry();
        let (sql, shape) = (transcript::shown(&unit), transcript::shape(&unit));
        // Parameters are looked at too: a setting's name may be one.
        self.actors[actor].leftover.sent(&sql, &shape);
        self.transcript.insert((actor, step), Shown { sql: sql.clone(), rows: Vec::new() });
        if unit.unknown {
            self.bounds.insert(format!("{} sent a message that is not known", self.actors[actor].name));
        }
        if statement::sets_timeout(&sql) {
            self.bounds.insert(TIMEOUTS.to_owned());
        }
        self.sent.note(&self.actors[actor].name, step, &unit, self.gate.has_rewritten(&unit));
        let mut moved = Moved::default();
        match self.fault.as_mut().and_then(|armed| armed.strikes(actor, step)) {
            Some(kind) => self.suffer(Fault { actor, step, kind }, connection, &unit, &mut moved).await?,
            None => {
                let admission = self.attempted(actor, step, connection, &unit, &shape);
                self.gate.admit(connection, admission);
            }
        }
        let waits = last.is_some_and(Taken::waits) || self.waiters.contains(&(actor, step));
        let (events, touched) = self.settle(Some((connection, waits))).await?;
        moved.0.extend(events);
        moved.1.add(&touched);
        let (mut events, mut observed) = moved;
        if self.fault.is_some_and(|armed| armed.fault.kind == FaultKind::Restarted) {
            // Whether it comes before the restart or after it matters to whatever is sent.
            observed.touch_sessions(Touch::Read);
        }
        // Which of two answers came first is nobody's doing.
        events.sort_by_key(|event| (event.actor != actor, event.actor, event.step));
        let footprint = last.map_or(observed, |last| last.footprint.clone());
        self.sent.touch(&footprint);
        Ok(Taken { sql, shape, ..Taken::new(choice, step, events, footprint, false) })
    }

    fn inject(&mut self, fault: Option<Fault>) -> Option<Fault> {
        std::mem::replace(&mut self.fault, fault.map(Armed::new)).map(|armed| armed.fault)
    }

    fn bounds(&self) -> Vec<String> {
        self.bounds.iter().cloned().collect()
    }

    async fn finish(&mut self, queries: &[String]) -> Result<Ended, Lost> {
        let is_stuck = |actor: &Actor| actor.outcome.is_none() && !actor.left_out;
        let stuck: Vec<usize> = (0..self.actors.len()).filter(|number| is_stuck(&self.actors[*number])).collect();
        self.end_stuck(&stuck).await?;
        let mut answers = ask_all(&self.control.client, queries).await?;
        // What the actors answered is part of the final state.
        let told = self.actors.iter().filter_map(|actor| {
            let outcome = actor.outcome.as_ref()?;
            Some(vec![actor.name.clone(), outcome.code.to_string(), outcome.answer.clone()])
        });
        answers.push(Ok(told.collect()));
        Ok(Ended { stuck, answers })
    }
}
