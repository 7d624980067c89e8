//! A script's actors on PostgreSQL: a session each, and a control connection that asks the server.
//!
//! Whether a step waits is the word of `pg_blocking_pids` and `pg_safe_snapshot_blocking_pids`. What it touched are the
//! locks that its transaction holds.

pub(crate) mod answer;
pub(super) mod beginning;
mod digest;
mod fault;
pub(super) mod hazards;
pub(crate) mod notices;
mod observe;
pub mod overlap;
mod patience;
pub(super) mod printed;
pub(super) mod question;
mod restart;
mod session;
mod settle;
pub mod site;
pub(super) mod state;
pub(crate) mod victim;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use tokio::time::Instant;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, Statement};

pub(crate) use self::answer::{KILLED, came, is_gone, killed, said, send};
use self::answer::{ask_all, cancel, end_prepared};
use self::beginning::{Beginning, Kept};
use self::digest::Shared;
use self::hazards::Hazards;
use self::notices::Notices;
use self::patience::{can_be_chosen, ends, is_lock_timeout};
use self::question::{NAMES, QUESTION, SEEN};
use self::session::Actor;
use self::site::{Site, is_superuser};
use self::state::set_up;
use super::captured::Types;
use super::fault::{Armed, Fault};
use super::footprint::{Footprint, Touch};
use super::statement::{Does, message, outlives_discard};
use super::world::{Choice, Ended, Event, Lost, Taken, What, World};
use crate::scenario::script::{
    ActorState, FaultKind, NamedQuery, Progress, Script, ScriptActor, ScriptCase, fill_queries,
};

/// How long a step may go on without either ending or waiting for another actor.
const STEP_MAX: Duration = Duration::from_secs(30);

/// How long a session that is to end may take to do so.
const KILL_MAX: Duration = Duration::from_millis(100);

type Answer = Result<Vec<SimpleQueryMessage>, tokio_postgres::Error>;

/// What to expect of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Nobody knows: look, and note what it touches.
    New,
    /// It just ended the last time.
    Passes,
    /// It waited the last time, failed, or set others free.
    Meets,
}

impl Pace {
    fn of(last: Option<&Taken>) -> Self {
        match last.map(|last| &last.events[..]) {
            None => Self::New,
            Some([Event { what: What::Done(_), .. }]) => Self::Passes,
            Some(_) => Self::Meets,
        }
    }
}

/// The connection that asks the server about the actors' sessions.
pub(in crate::explore) struct Control {
    pub(in crate::explore) client: Client,
    pub(in crate::explore) ask: Statement,
    names: Statement,
    seen: Statement,
    pub(in crate::explore) hazards: Hazards,
}

impl Control {
    pub(in crate::explore) async fn open(config: &Config) -> Result<Self, Lost> {
        let (client, _) = connect(config, "control").await?;
        let preparing = |error| said("prepare a question", &error);
        let ask = client.prepare(QUESTION).await.map_err(preparing)?;
        let names = client.prepare(NAMES).await.map_err(preparing)?;
        let seen = client.prepare(SEEN).await.map_err(preparing)?;
        let hazards = Hazards::ask(&client).await?;
        Ok(Self { client, ask, names, seen, hazards })
    }
}

/// A script's actors on a database of PostgreSQL.
pub struct PgWorld {
    script: Arc<Script>,
    case: ScriptCase,
    site: Site,
    control: Control,
    superuser: bool,
    actors: Vec<Actor>,
    beginning: Beginning,
    /// What no copy of the database puts back, as it was after the set-up.
    shared: Shared,
    executions: u64,
    /// Steps that have waited, in whatever execution.
    waiters: BTreeSet<(usize, usize)>,
    types: Types,
    /// The schema may have changed in this execution, beyond what the control connection has looked at.
    changed: bool,
    /// What keeps a search from having seen everything.
    bounds: BTreeSet<&'static str>,
    /// A wait has been made to time out.
    chosen_timeouts: bool,
    /// The script can end sessions, as far as its text says.
    kills: bool,
    /// Of each actor: what it leaves in its session may outlive DISCARD ALL, so that each execution needs a new one.
    outlives: Vec<bool>,
    /// What is to fail in each execution.
    fault: Option<Armed>,
}

impl PgWorld {
    /// Makes the state that the site's database is to have at the beginning, and connects the actors.
    ///
    /// # Errors
    /// The set-up fails, or the server cannot be reached.
    pub async fn new(site: Site, script: Arc<Script>, case: ScriptCase) -> Result<Self, Lost> {
        site.drop_roles().await?;
        let (control, superuser, beginning) = begin(&site, &script).await?;
        let shared = Shared::take(&control.client).await?;
        let types = Types::ask(&control.client, &script, &case).await;
        let steps = script.actors.iter().flat_map(|actor| &actor.steps).map(|step| step.sql.as_str());
        let kills = steps.chain([script.setup.as_str()]).any(names_kill);
        let of_all = case.set.values().chain([&case.begin, &script.setup]).any(|text| outlives_discard(text));
        let outlives = |actor: &ScriptActor| of_all || actor.steps.iter().any(|step| outlives_discard(&step.sql));
        let outlives = script.actors.iter().map(outlives).collect();
        let mut world = Self {
            script,
            case,
            site,
            control,
            superuser,
            actors: Vec::new(),
            beginning,
            shared,
            executions: 0,
            waiters: BTreeSet::new(),
            types,
            changed: false,
            bounds: BTreeSet::new(),
            chosen_timeouts: false,
            kills,
            outlives,
            fault: None,
        };
        world.open_actors().await?;
        Ok(world)
    }

    /// Drops the database.
    ///
    /// # Errors
    /// The server refuses; its end tries again.
    pub async fn close(self) -> Result<(), Lost> {
        drop((self.actors, self.control));
        self.site.close().await
    }

    async fn open_actors(&mut self) -> Result<(), Lost> {
        let opened = self.script.actors.iter().map(|actor| Actor::open(self.site.config(), actor, self.superuser));
        self.actors = try_join_all(opened).await?;
        Ok(())
    }

    /// How many sessions are known to have ended.
    fn closed(&self) -> usize {
        self.actors.iter().filter(|one| one.client.is_closed()).count()
    }

    /// A transition, with all that is known of it.
    fn taken(
        &mut self,
        choice: Choice,
        (step, sql): (usize, String),
        mut events: Vec<Event>,
        mut observed: Footprint,
        last: Option<&Taken>,
    ) -> Taken {
        let actor = choice.actor;
        // Which of two answers came first is nobody's doing.
        events.sort_by_key(|event| (event.actor != actor, event.actor, event.step));
        if self.kills && observed.is_empty() {
            // Of a session that may be ended not even BEGIN can be exchanged with what ends it.
            observed = Footprint::everything();
        }
        if self.fault.is_some_and(|armed| armed.fault.kind == FaultKind::Restarted) {
            // Whether it comes before the restart or after it matters to whatever is sent.
            observed.touch_sessions(Touch::Read);
        }
        let footprint = match last {
            None => observed,
            Some(last) => last.remember(self.actors.iter_mut().map(|one| &mut one.note)),
        };
        for one in &mut self.actors {
            one.listen();
            one.note.notices = std::mem::take(&mut one.told);
        }
        let notes = self.actors.iter().map(|one| one.note.clone()).collect();
        Taken { notes, sql, ..Taken::new(choice, step, events, footprint, false) }
    }

    /// Makes the database anew, and connects to it.
    async fn renew(&mut self) -> Result<(), Lost> {
        self.actors.clear();
        self.site.renew().await?;
        self.control = Control::open(self.site.config()).await?;
        self.open_actors().await
    }

    /// Puts the rows back, and looks whether all is as it was at the beginning. If not, each execution gets a
    /// copy of the database from now on; where that does not put everything back either, the set-up is run for each.
    async fn put_back(&mut self) -> Result<(), Lost> {
        if let Beginning::Rows(kept) = &mut self.beginning
            && kept.put_back(&self.control.client).await?
        {
            return Ok(());
        }
        let copies = !matches!(self.beginning, Beginning::SetUps) && self.shared.holds(&self.control.client).await?;
        if copies && matches!(self.beginning, Beginning::Copies) {
            return self.renew().await;
        }
        self.actors.clear();
        self.site.empty().await?;
        self.site.drop_roles().await?;
        let (client, _) = connect(self.site.config(), "control").await?;
        set_up(&client, &self.script).await?;
        if copies {
            // The roles are others, with the same names.
            self.shared = Shared::take(&client).await?;
            drop(client);
            self.site.keep().await?;
            self.beginning = Beginning::Copies;
            return self.renew().await;
        }
        self.beginning = Beginning::SetUps;
        drop(client);
        self.control = Control::open(self.site.config()).await?;
        self.open_actors().await
    }
}

impl World for PgWorld {
    async fn reset(&mut self) -> Result<(), Lost> {
        let began: Vec<bool> = self.actors.iter().map(|one| one.began).collect();
        let ends = self.actors.iter_mut().zip(&self.script.actors).map(|(one, actor)| one.empty(actor));
        let (ended, prepared) = futures_util::future::join(join_all(ends), end_prepared(&self.control.client)).await;
        prepared?;
        for (actor, ended) in ended.into_iter().enumerate() {
            // With a copy of the database come new sessions anyway.
            let anew = self.outlives[actor] && began[actor] && matches!(self.beginning, Beginning::Rows(_));
            let stays = ended? && !anew;
            if !stays {
                self.reconnect(actor).await?;
                self.actors[actor].progress = Progress::of(&self.script.actors[actor]);
            }
        }
        // The set-up has just been run for the first one.
        if self.executions > 0 {
            self.put_back().await?;
        }
        self.executions += 1;
        self.fault.iter_mut().for_each(Armed::again);
        if std::mem::take(&mut self.changed) {
            self.control.hazards.look(&self.control.client).await?;
        }
        Ok(())
    }

    fn actors(&self) -> usize {
        self.actors.len()
    }

    fn leave_out(&mut self, actor: usize) {
        self.actors[actor].progress.state = ActorState::Ended;
    }

    fn types(&self) -> Types {
        self.types.clone()
    }

    fn made(&self) -> u64 {
        self.site.made()
    }

    fn enabled(&self) -> Vec<usize> {
        let state = |at: usize| self.actors[at].progress.state;
        let may_begin = |at: &usize| self.script.may_begin(*at, |other| state(other) == ActorState::Ended);
        (0..self.actors.len()).filter(|at| state(*at) == ActorState::Ready && may_begin(at)).collect()
    }

    async fn take(&mut self, choice: Choice, last: Option<&Taken>) -> Result<Taken, Lost> {
        let (pace, actor) = (Pace::of(last), choice.actor);
        if pace == Pace::New && std::mem::take(&mut self.changed) {
            self.control.hazards.look(&self.control.client).await?;
        }
        for one in &mut self.actors {
            one.forget();
        }
        let step = self.actors[actor].progress.next;
        let sql = self.actors[actor].progress.sql(&self.case, &self.script.actors[actor].steps[step]);
        match self.fault.as_mut().and_then(|armed| armed.strikes(actor, step)) {
            None => {}
            Some(FaultKind::Restarted) => return self.restart(choice, (step, sql), last).await,
            Some(FaultKind::LostAfter) => self.actors[actor].loses_answer = true,
            Some(kind) => {
                if let Some(taken) = self.suffer(choice, kind, last).await? {
                    return Ok(taken);
                }
            }
        }
        if self.actors[actor].is_gone {
            return self.learn(choice, (step, sql), last).await;
        }
        self.actors[actor].began = true;
        // Whose wait times out is nobody's victim.
        let may_close = !choice.times_out && self.actors.iter().any(|one| one.waits_for.contains(&actor));
        let one = &mut self.actors[actor];
        let (settings, message) = (one.note.settings, message(&sql));
        let around = patience::around(&settings, one.note.in_transaction, message.does, choice.times_out);
        // A cached plan is not printed again. But DISCARD takes a snapshot, which must not be older than what locks first,
        // or than what sets the isolation level. So it is left out before what takes none itself, unless that may run code
        // and there is a snapshot; and where plans may have been kept of what is run, it is not known what was done.
        let note = &mut one.note;
        note.has_snapshot &= note.in_transaction && message.does != Does::Mixed;
        let keeps_plans =
            note.in_transaction && message.begins_without_snapshot && !(message.goes_on && note.has_snapshot);
        let may_run = message.statements > 1 || note.touched.everything || !note.touched.relations.is_empty();
        one.is_unprinted = keeps_plans && message.goes_on && may_run;
        note.has_snapshot |= note.in_transaction && !message.begins_without_snapshot && message.does != Does::Mixed;
        let anew = (pace != Pace::Passes && !keeps_plans).then(|| "DISCARD PLANS".to_owned());
        let preludes: Vec<String> = one.victim.before(may_close).into_iter().chain(around.before).chain(anew).collect();
        (one.preludes, one.trees, one.give_back) = (preludes.len(), Vec::new(), around.after);
        let (client, sent) = (self.actors[actor].client.clone(), sql.clone());
        let stdin = self.script.actors[actor].steps[step].stdin.clone();
        self.actors[actor].reply = Some(Box::pin(async move {
            // One message after the other, without a wait between them. In a failed transaction the first ones
            // fail, and nothing can wait.
            let before = join_all(preludes.iter().map(|prelude| client.simple_query(prelude)));
            futures_util::future::join(before, send(&client, &sql, stdin.as_deref())).await.1
        }));
        let closed = self.closed();
        let (mut events, mut observed) = self.settle(actor, pace).await?;
        if self.kills && names_kill(&sent) {
            // The server says that it has sent a signal; what comes of it comes a little later.
            let begin = Instant::now();
            while begin.elapsed() < KILL_MAX && self.closed() == closed {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let (more, touched) = self.settle(actor, pace).await?;
            events.extend(more);
            observed.add(&touched);
        }
        // A wait for a snapshot goes on whatever `lock_timeout` says.
        if choice.times_out && self.wait_times_out(actor, &settings) {
            self.chosen_timeouts = true;
            let for_lock = is_lock_timeout(&settings) && !self.actors[actor].for_snapshot;
            if self.actors[actor].progress.state == ActorState::Waiting && !for_lock {
                cancel(&self.control.client, self.actors[actor].pid).await?;
            }
            let begin = Instant::now();
            while self.actors[actor].progress.state == ActorState::Waiting {
                if begin.elapsed() > STEP_MAX {
                    return Err(Lost::new(format!("a wait did not time out within {} s", STEP_MAX.as_secs())));
                }
                let (more, touched) = self.settle(actor, pace).await?;
                events.extend(more);
                observed.add(&touched);
            }
            // Whether the wait was seen before its end is nobody's doing.
            events.retain(|event| event.actor != actor || !matches!(event.what, What::Waits { .. }));
        }
        if ends(&settings) && !can_be_chosen(message.does) {
            self.bounds.insert("what times out within a message of several statements does so when it does");
        }
        if ends(&settings) && self.script.never_times_out {
            self.bounds.insert("no wait times out, for the file says so");
        }
        self.forbid_idle_timeouts().await?;
        let taken = self.taken(choice, (step, sent), events, observed, last);
        let may_time_out = taken.waits() && self.wait_times_out(actor, &settings) && can_be_chosen(message.does);
        Ok(Taken { may_time_out, ..taken })
    }

    fn may_time_out(&self, actor: usize) -> bool {
        self.lets_time_out(&self.actors[actor].note.settings)
    }

    fn inject(&mut self, fault: Option<Fault>) -> Option<Fault> {
        std::mem::replace(&mut self.fault, fault.map(Armed::new)).map(|armed| armed.fault)
    }

    async fn tables(&mut self) -> Result<Vec<NamedQuery>, Lost> {
        self.ask_tables().await
    }

    fn bounds(&self) -> Vec<String> {
        let mut bounds = self.bounds.clone();
        // A wait that goes on for a while can keep a third one waiting behind it.
        if self.chosen_timeouts && self.actors.len() > 2 {
            bounds.insert("a wait that times out does so before anybody else moves");
        }
        bounds.into_iter().map(str::to_owned).collect()
    }

    async fn finish(&mut self, queries: &[String]) -> Result<Ended, Lost> {
        let stuck: Vec<usize> =
            (0..self.actors.len()).filter(|actor| self.actors[*actor].progress.state == ActorState::Waiting).collect();
        // A lock of the session outlives its transaction, and a wait for it would too.
        let end = "ROLLBACK; SELECT pg_catalog.pg_advisory_unlock_all()";
        for actor in &stuck {
            cancel(&self.control.client, self.actors[*actor].pid).await?;
        }
        let ends = self.actors.iter_mut().map(|actor| {
            let (reply, client) = (actor.reply.take(), actor.client.clone());
            async move {
                if let Some(reply) = reply {
                    // What comes of it is of no interest any more.
                    drop(reply.await);
                }
                match client.batch_execute(end).await {
                    // Whoever's session was ended has nothing left.
                    Err(error) if is_gone(&error) => Ok(()),
                    ended => ended,
                }
            }
        });
        let ended = tokio::time::timeout(STEP_MAX, join_all(ends)).await;
        for ended in ended.map_err(|_| Lost::new("a step waits on, though everybody else has ended"))? {
            ended.map_err(|error| said("end a session's transaction", &error))?;
        }
        let progress: Vec<&Progress> = self.actors.iter().map(|one| &one.progress).collect();
        let queries = fill_queries(queries, &self.script, &progress);
        let answers = ask_all(&self.control.client, &queries).await?;
        Ok(Ended { stuck, answers })
    }
}

/// Whether a text names what ends a session.
fn names_kill(sql: &str) -> bool {
    sql.to_ascii_lowercase().contains("pg_terminate_backend")
}

/// Runs the set-up in an empty database, and keeps what it has made.
async fn begin(site: &Site, script: &Script) -> Result<(Control, bool, Beginning), Lost> {
    let mut control = Control::open(site.config()).await?;
    let superuser = is_superuser(&control.client).await?;
    set_up(&control.client, script).await?;
    let kept = Kept::keep(&control.client).await?;
    control.hazards.look(&control.client).await?;
    Ok((control, superuser, Beginning::Rows(kept)))
}

/// A session of our own.
///
/// # Errors
/// The server cannot be reached.
pub(crate) async fn control(config: &Config) -> Result<Client, Lost> {
    connect(config, "control").await.map(|(client, _)| client)
}

pub(crate) async fn connect(config: &Config, name: &str) -> Result<(Client, Notices), Lost> {
    connect_with(config, name, "").await
}

/// Connects with further options of the session.
async fn connect_with(config: &Config, name: &str, options: &str) -> Result<(Client, Notices), Lost> {
    let mut config = config.clone();
    config.options(format!("{} {options}", config.get_options().unwrap_or_default()));
    config.application_name(format!("driftlock/{name}"));
    let (client, connection) = tokio::time::timeout(STEP_MAX, config.connect(NoTls))
        .await
        .map_err(|_| Lost::during("connect", "no answer"))?
        .map_err(|error| said("connect", &error))?;
    // It ends when the client is dropped.
    let notices = Notices::default();
    tokio::spawn(notices.clone().listen(connection));
    Ok((client, notices))
}
