//! The engine's own protocol, every order of its operations on a real database: the function that
//! ships, behind the gate, with the same mutants and the same checks as everywhere.
//!
//! The actors are those of a [`Setting`]. Each execution leaves a history, and every check is put to it.

pub mod case;
mod gate;
mod looking;
mod perform;
pub mod rules;
mod set_up;
pub mod state;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use drift_engine::claim::CustomerId;
use drift_engine::drift::Cell;
use drift_engine::lock::{Backend, LockStrategy};
use drift_engine::session::{Connect, DbError, Kind, Session};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::gate::{Gate, Left, Standing};
use self::looking::Closing;
use self::perform::Performed;
use self::set_up::{Eyes, Parked, eyes, open, prepare};
use super::footprint::{Footprint, Touch};
use super::postgres::question::{Did, Said, Sort, all_wait, ask, ask_ended, observe, with_settings};
use super::postgres::said;
use super::sqlite;
use super::world::{Choice, Done, Ended, Event, Lost, Note, Settings, Taken, What, World};
use crate::clock::Clock;
use crate::database::{Database, Driver};
use crate::fixture::{Databases, PrepareError};
use crate::history::{ActorId, History, Role, Seen};
use crate::lens::mutant::Rewrite;
use crate::load::row::Row;
use crate::oracle;
use crate::scenario::script::ActorState;
use crate::scenario::{Journal, SessionSettings};
use crate::setting::Setting;
use crate::setting::work::{claims, identity};

/// How long an operation may go on without either ending or waiting for another actor.
const STEP_MAX: Duration = Duration::from_secs(30);

/// How long what is left of an execution may take to run to its end.
const LEFT_MAX: Duration = Duration::from_secs(10);

struct Actor {
    id: ActorId,
    role: Role,
    /// Its session, while no execution is under way.
    driver: Option<Driver>,
    running: Option<JoinHandle<(Driver, Performed)>>,
    /// What SQLite's busy handler tells.
    busy: Option<Parked>,
    pid: i32,
    place: ActorState,
    standing: Standing,
    step: usize,
    closing: Arc<Closing>,
    waits_for: Vec<usize>,
    note: Note,
    may_try: bool,
}

/// A setting's actors on a real database.
pub struct EngineWorld {
    setting: Setting,
    database: Database,
    eyes: Eyes,
    actors: Vec<Actor>,
    gate: Arc<Gate>,
    clock: Clock,
    seen: Vec<Seen>,
    /// Operations that have waited, in whatever execution.
    waiters: BTreeSet<(usize, usize)>,
    checker: Driver,
    base: Vec<(CustomerId, Vec<Cell>)>,
    /// What the last complete execution leaves.
    pub history: Option<History>,
    /// How many operations the mutant altered, over all executions.
    pub altered: u64,
}

/// Why a setting's database could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// It could not be prepared.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// It could not be used.
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl From<DbError> for Lost {
    fn from(error: DbError) -> Self {
        Self::new(error.to_string())
    }
}

impl EngineWorld {
    /// Makes a setting's database, and connects its actors.
    ///
    /// # Errors
    /// See [`MakeError`].
    pub async fn new(databases: &mut Databases, setting: Setting) -> Result<Self, MakeError> {
        let session =
            SessionSettings { lock_timeout: None, busy_timeout: Duration::from_secs(20), journal: Journal::Wal };
        let row = |customer: &str| {
            let customer: Arc<str> = customer.into();
            claims().into_iter().map(move |claim| Row { customer: customer.clone(), claim })
        };
        let copy = databases.with_claims(&session, row("customer-1").chain(row("customer-2")).collect()).await?;
        let spare = databases.spare_file().await?;
        let mut customers: Vec<i64> = setting.customers.to_vec();
        customers.sort_unstable();
        customers.dedup();
        prepare(&copy.database, &setting, &customers).await.map_err(Lost::from)?;
        if !setting.constrained {
            copy.database.drop_constraint().await.map_err(Lost::from)?;
        }
        let eyes = eyes(databases, &copy, spare).await?;
        let mut actors = Vec::new();
        for (id, role) in setting.roles() {
            let (driver, closing, busy) = open(&copy.database).await.map_err(Lost::from)?;
            actors.push(Actor {
                id,
                role,
                pid: i32::try_from(driver.id().0).unwrap_or(0),
                driver: Some(driver),
                running: None,
                busy,
                place: ActorState::Ready,
                standing: Standing::Away,
                step: 0,
                closing,
                waits_for: Vec::new(),
                note: Note::default(),
                may_try: false,
            });
        }
        let counted = |id: &i64| {
            let customer = CustomerId(*id);
            (customer, oracle::cells(&claims(), &identity(customer)))
        };
        let base = customers.iter().map(counted).collect();
        let checker = copy.database.connect().await.map_err(Lost::from)?;
        let ids: Vec<ActorId> = actors.iter().map(|actor| actor.id).collect();
        Ok(Self {
            setting,
            database: copy.database,
            eyes,
            gate: Arc::new(Gate::new(&ids)),
            actors,
            clock: Clock::start(),
            seen: Vec::new(),
            waiters: BTreeSet::new(),
            checker,
            base,
            history: None,
            altered: 0,
        })
    }

    /// On which database.
    pub fn backend(&self) -> Backend {
        self.setting.strategy.backend()
    }

    /// What every transaction of the setting has in common.
    fn settings(&self) -> Settings {
        let serializable = self.setting.strategy == LockStrategy::Serializable;
        let snapshot = serializable || self.setting.rewrite == Some(Rewrite::EarlySnapshot);
        Settings { snapshot, serializable, ..Settings::default() }
    }

    /// The actors whose operation is under way.
    fn sent(&self) -> Vec<usize> {
        (0..self.actors.len()).filter(|actor| self.actors[*actor].standing == Standing::Sent).collect()
    }

    /// Waits until nobody is on the way to the gate; then notes what has ended since the last look:
    /// events, and what was touched.
    async fn note_ended(&mut self, look: bool) -> Result<(Vec<Event>, Footprint), Lost> {
        let (mut events, mut touched) = (Vec::new(), Footprint::default());
        let Some(mut seen) = self.gate.look(STEP_MAX).await else {
            return Err(Lost::new(format!("an actor did not come to its next operation in {} s", STEP_MAX.as_secs())));
        };
        for at in 0..self.actors.len() {
            let actor = &mut self.actors[at];
            actor.standing = seen.standing[&actor.id];
            actor.place = match actor.standing {
                Standing::Sent | Standing::Away => actor.place,
                Standing::Gate => ActorState::Ready,
                Standing::Ended => ActorState::Ended,
            };
            for left in seen.left.remove(&self.actors[at].id).unwrap_or_default() {
                let step = self.actors[at].step;
                self.actors[at].step += 1;
                self.actors[at].waits_for.clear();
                let what = match &left.error {
                    None => What::Done(Done::default()),
                    Some(error) => What::Failed {
                        code: error.code.clone().unwrap_or_else(|| error.class.to_string()),
                        message: error.message.clone(),
                    },
                };
                events.push(Event::new(at, step, what));
                if look || left.error.is_some() {
                    let its = self.touched(at, &left).await?;
                    if look {
                        touched.add(&its);
                    }
                }
            }
        }
        Ok((events, touched))
    }

    /// What an operation touched.
    async fn touched(&mut self, at: usize, left: &Left) -> Result<Footprint, Lost> {
        let settings = self.settings();
        let sort = match left.kind {
            _ if left.error.is_some() => Sort::Failed,
            Kind::Begin => Sort::Begin,
            Kind::Commit | Kind::Rollback => Sort::End,
            _ => Sort::Other,
        };
        match &self.eyes {
            Eyes::Sqlite { .. } => Ok(of_sqlite(left.kind)),
            Eyes::Postgres { control, question, .. } => {
                let said = ask_ended(control, question, self.actors[at].pid).await?;
                // A rollback outside of a transaction does nothing.
                if left.kind == Kind::Rollback && !self.actors[at].note.in_transaction && !said.in_transaction {
                    return Ok(Footprint::default());
                }
                Ok(observe(&mut self.actors[at].note, said, Did { sort, own: None, settings }))
            }
        }
    }

    /// Waits until each operation has ended or waits for another actor in a way that lasts.
    async fn settle(&mut self, started: usize, last: Option<&Taken>) -> Result<(Vec<Event>, Footprint), Lost> {
        let (mut events, mut touched) = (Vec::new(), Footprint::default());
        let (begin, look) = (Instant::now(), last.is_none());
        let step = (started, self.actors[started].step);
        let (mut patience, mut first) = (Duration::from_millis(1), true);
        loop {
            if begin.elapsed() > STEP_MAX {
                let why = format!("it neither ended nor waited within {} s", STEP_MAX.as_secs());
                return Err(Lost::new(format!("operation {} of actor {started}: {why}", self.actors[started].step)));
            }
            let (more, its) = self.note_ended(look).await?;
            let news = !more.is_empty();
            events.extend(more);
            touched.add(&its);
            let sent = self.sent();
            if sent.is_empty() {
                return Ok((events, touched));
            }
            if news {
                continue;
            }
            let asked = match &self.eyes {
                Eyes::Postgres { control, question, .. } => {
                    // Most operations just end; who has waited before, or waits already, is asked about at once.
                    let known = self.waiters.contains(&step) || last.is_some_and(Taken::waits);
                    if sent.contains(&started) && !(known && first) && self.gate.changes(patience).await {
                        continue;
                    }
                    first = false;
                    let pids = sent.iter().map(|actor| self.actors[*actor].pid).collect();
                    let from = self.clock.now();
                    let said = ask(control, question, pids).await?;
                    self.waiting(&sent, &said, from)
                }
                Eyes::Sqlite { .. } => {
                    let one = &mut self.actors[started];
                    let (_, parkings) = one.busy.as_mut().expect("each has one on SQLite");
                    if one.standing == Standing::Sent {
                        tokio::select! {
                            biased;
                            _ = self.gate.changes(STEP_MAX) => continue,
                            _ = parkings.changed() => {}
                        }
                    }
                    let (from, until) = (self.clock.now(), self.clock.now());
                    let waits = sent.iter().map(|at| (self.actors[*at].id, Vec::new())).collect();
                    self.seen.push(Seen::Waits { from, until, waits });
                    true
                }
            };
            if asked {
                for at in sent {
                    self.actors[at].place = ActorState::Waiting;
                    if at == started {
                        self.waiters.insert(step);
                        let by = self.actors[at].waits_for.clone();
                        events.push(Event::new(at, self.actors[at].step, What::Waits { by }));
                        touched.add(&self.waiting_touch(at, look).await?);
                    }
                }
                return Ok((events, touched));
            }
            patience = (patience * 2).min(Duration::from_millis(8));
            self.gate.changes(patience).await;
        }
    }

    /// What a waiting operation has touched so far.
    async fn waiting_touch(&self, at: usize, look: bool) -> Result<Footprint, Lost> {
        match &self.eyes {
            _ if !look => Ok(Footprint::default()),
            Eyes::Sqlite { .. } => Ok(of_sqlite(Kind::Write)),
            Eyes::Postgres { control, question, .. } => {
                let said = ask(control, question, vec![self.actors[at].pid]).await?.remove(0);
                Ok(with_settings(said.locks, self.settings()))
            }
        }
    }

    /// Whether all of these wait for others, by the server's word; then it is noted who for whom.
    fn waiting(&mut self, sent: &[usize], said: &[Said], from: crate::history::Tick) -> bool {
        let pids: Vec<i32> = sent.iter().map(|actor| self.actors[*actor].pid).collect();
        let known: Vec<i32> = self.actors.iter().map(|actor| actor.pid).collect();
        if !all_wait(&pids, said, &known) {
            return false;
        }
        let mut waits = Vec::new();
        for (at, said) in sent.iter().zip(said) {
            let by: Vec<usize> =
                (0..self.actors.len()).filter(|other| said.waits_for.contains(&self.actors[*other].pid)).collect();
            waits.push((self.actors[*at].id, by.iter().map(|at| self.actors[*at].id).collect()));
            self.actors[*at].waits_for = by;
        }
        self.seen.push(Seen::Waits { from, until: self.clock.now(), waits });
        true
    }

    /// Lets what is left of an execution run to its end, and takes the sessions back.
    async fn run_out(&mut self) -> Result<(), Lost> {
        self.gate.open();
        for at in 0..self.actors.len() {
            let Some(mut running) = self.actors[at].running.take() else { continue };
            if let Some((busy, _)) = &self.actors[at].busy {
                busy.give_up();
            }
            match tokio::time::timeout(LEFT_MAX, &mut running).await {
                Ok(Ok((driver, _))) if self.actors[at].busy.is_none() => self.actors[at].driver = Some(driver),
                _ => running.abort(),
            }
        }
        self.reopen().await
    }

    /// Opens a session for each actor that has none.
    async fn reopen(&mut self) -> Result<(), Lost> {
        for actor in self.actors.iter_mut().filter(|actor| actor.driver.is_none()) {
            let (driver, closing, busy) = open(&self.database).await?;
            actor.pid = i32::try_from(driver.id().0).unwrap_or(0);
            (actor.driver, actor.closing, actor.busy) = (Some(driver), closing, busy);
        }
        Ok(())
    }
}

/// What an operation touches on SQLite, which locks nothing smaller than the file.
fn of_sqlite(kind: Kind) -> Footprint {
    let (touch, ends) = match kind {
        Kind::Read => (Touch::Read, false),
        _ => (Touch::Write, true),
    };
    sqlite::file(touch, ends)
}

impl World for EngineWorld {
    async fn reset(&mut self) -> Result<(), Lost> {
        if self.actors.iter().any(|actor| actor.running.is_some()) {
            self.run_out().await?;
        }
        match &mut self.eyes {
            Eyes::Postgres { control, restore, .. } => {
                control.batch_execute(restore).await.map_err(|error| said("put the rows back", &error))?;
            }
            Eyes::Sqlite { control, restore } => sqlite::execute(control, restore, "put the rows back").await?,
        }
        (self.clock, self.history) = (Clock::start(), None);
        self.seen.clear();
        self.gate.close();
        for at in 0..self.actors.len() {
            let actor = &mut self.actors[at];
            (actor.place, actor.step, actor.may_try) = (ActorState::Ready, 0, false);
            actor.waits_for.clear();
            actor.note = Note::default();
            let driver = actor.driver.take().expect("no execution is under way");
            let (gate, clock, setting, id, role) =
                (self.gate.clone(), self.clock.clone(), self.setting.clone(), actor.id, actor.role);
            let closing = actor.closing.clone();
            actor.running = Some(tokio::spawn(perform::perform(gate, clock, setting, id, role, driver, closing)));
        }
        self.note_ended(false).await.map(drop)
    }

    fn enabled(&self) -> Vec<usize> {
        let can = |at: &usize| match self.actors[*at].place {
            ActorState::Ready => true,
            ActorState::Waiting => self.actors[*at].may_try && self.actors[*at].busy.is_some(),
            ActorState::Ended => false,
        };
        (0..self.actors.len()).filter(can).collect()
    }

    async fn take(&mut self, choice: Choice, last: Option<&Taken>) -> Result<Taken, Lost> {
        let actor = choice.actor;
        let may_close = self.actors.iter().any(|one| one.waits_for.contains(&actor));
        self.actors[actor].closing.tell(may_close);
        let (step, again) = (self.actors[actor].step, self.actors[actor].place == ActorState::Waiting);
        match &self.actors[actor].busy {
            Some((busy, _)) if again => busy.try_again(),
            _ => {
                self.gate.permit(self.actors[actor].id);
                self.actors[actor].standing = Standing::Sent;
            }
        }
        self.actors[actor].may_try = false;
        let (mut events, observed) = self.settle(actor, last).await?;
        events.sort_by_key(|event| (event.actor != actor, event.actor, event.step));
        let waits = events.iter().any(|event| matches!(event.what, What::Waits { .. }));
        if !waits || !again {
            for (at, other) in self.actors.iter_mut().enumerate() {
                other.may_try |= at != actor && other.place == ActorState::Waiting && !waits;
            }
        }
        let footprint = match last {
            None => observed,
            Some(last) => last.remember(self.actors.iter_mut().map(|one| &mut one.note)),
        };
        let notes = self.actors.iter().map(|one| one.note.clone()).collect();
        Ok(Taken { notes, ..Taken::new(choice, step, events, footprint, again && waits) })
    }

    async fn finish(&mut self, _queries: &[String]) -> Result<Ended, Lost> {
        let stuck: Vec<usize> =
            (0..self.actors.len()).filter(|at| self.actors[*at].place == ActorState::Waiting).collect();
        if !stuck.is_empty() {
            self.run_out().await?;
            return Ok(Ended { stuck, answers: Vec::new() });
        }
        let mut performed = Vec::new();
        for actor in &mut self.actors {
            let running = actor.running.take().expect("an execution is under way");
            if actor.place == ActorState::Ready {
                // It has no part in this execution.
                running.abort();
                continue;
            }
            let (driver, done) = running.await.map_err(|error| Lost::during("hear of an actor's end", error))?;
            self.altered += done.altered;
            performed.push((actor.id, actor.role, done));
            actor.driver = Some(driver);
        }
        let seen = std::mem::take(&mut self.seen);
        self.reopen().await?;
        let history =
            perform::history(&self.setting, &self.base, &self.database, &mut self.checker, seen, performed).await?;
        let answers = state::answers(&history.end);
        self.history = Some(history);
        Ok(Ended { stuck, answers })
    }
}
