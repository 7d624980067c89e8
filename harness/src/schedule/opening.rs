//! Contention is arranged, not hoped for: the first task is held inside its critical section until
//! the server reports that the others wait, and then everybody runs free.
//!
//! The [`Opening`] is the gatekeeper of all actors. [`Opening::conduct`] asks the server who waits,
//! never how long something took; its own waits are bounded by [`HOLD_MAX`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use drift_engine::claim::CustomerId;
use drift_engine::session::{DbError, ErrorClass, Kind, SessionId};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::history::{ActorId, Role, Seen, Tick};
use crate::lens::gate::{Arrival, Gatekeeper};

/// How long the holder is held at the most. Reaching it is reported, and whatever was to be shown
/// by the hold is then inconclusive.
pub const HOLD_MAX: Duration = Duration::from_secs(10);

/// How long to rest between two questions to the server.
const SAMPLE_EVERY: Duration = Duration::from_millis(2);

/// Where the holder is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldPoint {
    /// Before its first operation after BEGIN and the lock.
    AfterLock,
    /// Before its first write after a read: it has read, and has written no event.
    BeforeWriting,
    /// Before whatever follows its first write after a read: its events are written, its run is not closed.
    AfterWriting,
    /// Before its COMMIT.
    BeforeCommit,
}

/// When the holder is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Each other worker waits, or has nothing left to do.
    OthersWait,
    /// Each other worker has seen a lock timeout, or has nothing left to do.
    OthersTimedOut,
}

/// How a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where the first worker is held; `None`: nowhere.
    pub hold: Option<HoldPoint>,
    /// When it is let go.
    pub release: Release,
    /// Whether the bystanders start before the other workers (who then read what they wrote), or after.
    pub bystanders_first: bool,
}

/// The server's word.
pub trait Watch: Send {
    /// Which of these sessions wait for a lock, each with the sessions that block it.
    ///
    /// # Errors
    /// The server cannot be asked.
    fn waits(
        &mut self,
        sessions: &[SessionId],
    ) -> impl Future<Output = Result<Vec<(SessionId, Vec<SessionId>)>, DbError>> + Send;

    /// Whether somebody holds the lock that serialises the tasks of `key`: tries to take it, without
    /// waiting. `None` where the strategy has no lock.
    ///
    /// # Errors
    /// The server cannot be asked.
    fn is_locked(&mut self, key: CustomerId) -> impl Future<Output = Result<Option<bool>, DbError>> + Send;
}

#[derive(Debug, Default)]
struct ActorState {
    session: Option<SessionId>,
    /// The operation that is under way, by its number.
    calling: Option<u64>,
    calls: u64,
    has_read: bool,
    has_written: bool,
    timeouts: u32,
    writes: u32,
    finished: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Only the holder runs, and the antagonist.
    Holder,
    /// The holder is held; these roles run.
    Held { workers: bool, bystanders: bool },
    /// The holder is let go. No worker begins a transaction before each bystander has got a claim in,
    /// so that claims do arrive while tasks run, also where whoever waits is not woken in turn (SQLite).
    Landing,
    /// Everybody runs.
    Free,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    /// Where the holder stands, once it does.
    held: Option<(CustomerId, Kind, Tick)>,
    actors: BTreeMap<ActorId, ActorState>,
}

/// The gatekeeper of a run that begins with one arranged contention.
#[derive(Debug)]
pub struct Opening {
    plan: Plan,
    holder: ActorId,
    roles: BTreeMap<ActorId, Role>,
    clock: Clock,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

/// What came of the opening.
#[derive(Debug)]
pub struct Conducted {
    /// What was seen, in order.
    pub seen: Vec<Seen>,
    /// When everybody was let run free.
    pub released: Tick,
    /// Why the holder was let go without having seen what was waited for.
    pub gave_up: Option<String>,
}

impl Opening {
    /// A gate for these actors; the first worker will be the holder.
    ///
    /// # Panics
    /// There is no worker.
    pub fn new(plan: Plan, roles: BTreeMap<ActorId, Role>, clock: Clock) -> Self {
        let holder = roles.iter().find(|(_, role)| **role == Role::Worker).map(|(actor, _)| *actor);
        let holder = holder.expect("a run has a worker");
        let actors = roles.keys().map(|actor| (*actor, ActorState::default())).collect();
        let stage = if plan.hold.is_some() { Stage::Holder } else { Stage::Free };
        let state = Mutex::new(State { stage, held: None, actors });
        Self { plan, holder, roles, clock, state, changed: watch::Sender::new(()) }
    }

    /// Hears that an actor has nothing more to do.
    pub fn finished(&self, actor: ActorId) {
        self.update(|state| {
            state.actors.entry(actor).or_default().finished = true;
        });
    }

    /// Returns when the holder stands where it is held, or has finished without getting there.
    pub async fn holder_stands(&self) {
        self.until(|state| state.held.is_some() || state.stage == Stage::Free || state.actor(self.holder).finished)
            .await;
    }

    /// Conducts the opening, then goes on sampling who waits until every actor has finished.
    ///
    /// Cancellation: dropping the future leaves the actors at the gate.
    ///
    /// # Errors
    /// The server cannot be asked; everybody is let run free first.
    pub async fn conduct<W: Watch>(&self, watch: &mut W) -> Result<Conducted, DbError> {
        let mut seen = Vec::new();
        let gave_up = match tokio::time::timeout(HOLD_MAX, self.open(watch, &mut seen)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                self.release(&mut seen);
                return Err(error);
            }
            Err(_) => Some(self.missing()),
        };
        let released = self.release(&mut seen);
        let landed = self.until(|state| self.all_landed(state));
        let (landed, sampled) = tokio::join!(
            async {
                let landed = tokio::time::timeout(HOLD_MAX, landed).await;
                self.update(|state| state.stage = Stage::Free);
                landed
            },
            self.sample_to_the_end(watch, &mut seen)
        );
        sampled?;
        let late = || format!("not every bystander got a claim in within {} s of the release", HOLD_MAX.as_secs());
        let gave_up = gave_up.or_else(|| landed.is_err().then(late));
        Ok(Conducted { seen, released, gave_up })
    }

    /// Samples who waits until every actor has finished.
    async fn sample_to_the_end<W: Watch>(&self, watch: &mut W, seen: &mut Vec<Seen>) -> Result<(), DbError> {
        while !self.read(State::all_finished) {
            let deadline = tokio::time::sleep(SAMPLE_EVERY);
            self.sample(watch, seen).await?;
            deadline.await;
        }
        Ok(())
    }

    fn all_landed(&self, state: &State) -> bool {
        let bystanders = self.roles.iter().filter(|(_, role)| **role == Role::Bystander);
        bystanders.map(|(actor, _)| state.actor(*actor)).all(|one| one.writes > 0 || one.finished)
    }

    async fn open<W: Watch>(&self, watch: &mut W, seen: &mut Vec<Seen>) -> Result<(), DbError> {
        if self.plan.hold.is_none() {
            return Ok(());
        }
        self.holder_stands().await;
        let Some((key, ..)) = self.read(|state| state.held) else {
            return Ok(());
        };
        let [first, second] =
            if self.plan.bystanders_first { [Role::Bystander, Role::Worker] } else { [Role::Worker, Role::Bystander] };
        for roles in [vec![Role::Antagonist], vec![Role::Antagonist, first], vec![Role::Antagonist, first, second]] {
            self.update(|state| {
                state.stage = Stage::Held {
                    workers: roles.contains(&Role::Worker),
                    bystanders: roles.contains(&Role::Bystander),
                };
            });
            loop {
                let waiting = self.sample(watch, seen).await?;
                if self.read(|state| roles.iter().all(|role| self.is_settled(state, *role, &waiting))) {
                    break;
                }
                tokio::time::sleep(SAMPLE_EVERY).await;
            }
        }
        let from = self.clock.now();
        if let Some(held) = watch.is_locked(key).await? {
            seen.push(Seen::Probe { from, until: self.clock.now(), key, holder: self.holder, held });
        }
        Ok(())
    }

    /// Whether all actors of a role are where the holder may be let go.
    fn is_settled(&self, state: &State, role: Role, waiting: &BTreeSet<ActorId>) -> bool {
        let others = self.roles.iter().filter(|(actor, r)| **r == role && **actor != self.holder);
        others.map(|(actor, _)| (actor, state.actor(*actor))).all(|(actor, one)| {
            let there = match (role, self.plan.release) {
                (Role::Bystander, _) => one.writes > 0 || waiting.contains(actor),
                (Role::Antagonist, _) | (Role::Worker, Release::OthersWait) => waiting.contains(actor),
                (Role::Worker, Release::OthersTimedOut) => one.timeouts > 0,
            };
            there || one.finished
        })
    }

    /// Asks the server once; returns who waited during the whole question.
    async fn sample<W: Watch>(&self, watch: &mut W, seen: &mut Vec<Seen>) -> Result<BTreeSet<ActorId>, DbError> {
        let calling = |state: &State| -> BTreeMap<SessionId, (ActorId, u64)> {
            let actors = state.actors.iter();
            actors.filter_map(|(actor, one)| Some((one.session?, (*actor, one.calling?)))).collect()
        };
        let before = self.read(calling);
        if before.is_empty() {
            return Ok(BTreeSet::new());
        }
        let from = self.clock.now();
        let sessions: Vec<SessionId> = before.keys().copied().collect();
        let waits = watch.waits(&sessions).await?;
        let until = self.clock.now();
        let (after, named) = self.read(|state| (calling(state), state.sessions()));
        // Who has gone on meanwhile may have waited at the beginning only: not counted.
        let waits: Vec<(ActorId, Vec<ActorId>)> = waits
            .into_iter()
            .filter_map(|(session, blockers)| {
                let (actor, call) = before.get(&session)?;
                (after.get(&session) == Some(&(*actor, *call)))
                    .then(|| (*actor, blockers.iter().filter_map(|b| named.get(b).copied()).collect()))
            })
            .collect();
        let waiting = waits.iter().map(|(actor, _)| *actor).collect();
        if !waits.is_empty() {
            seen.push(Seen::Waits { from, until, waits });
        }
        Ok(waiting)
    }

    fn release(&self, seen: &mut Vec<Seen>) -> Tick {
        let until = self.clock.now();
        self.update(|state| {
            state.stage = Stage::Landing;
            if let Some((key, before, from)) = state.held {
                seen.push(Seen::Hold { actor: self.holder, key, before, from, until });
            }
        });
        until
    }

    fn missing(&self) -> String {
        let bound = HOLD_MAX.as_secs();
        self.read(|state| {
            if state.held.is_none() {
                return format!("worker {} did not come to where it should be held within {bound} s", self.holder);
            }
            let unsettled = state.actors.iter().filter(|(actor, one)| **actor != self.holder && !one.finished);
            let names: Vec<String> = unsettled.map(|(actor, _)| actor.to_string()).collect();
            format!("not all of actors {} were seen to wait within {bound} s", names.join(", "))
        })
    }

    fn read<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        f(&self.state.lock().expect("no actor panics while it holds the state"))
    }

    fn update(&self, f: impl FnOnce(&mut State)) {
        f(&mut self.state.lock().expect("no actor panics while it holds the state"));
        self.changed.send_replace(());
    }

    async fn until(&self, mut condition: impl FnMut(&State) -> bool) {
        let mut changes = self.changed.subscribe();
        while !self.read(&mut condition) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whether the holder, about to send this, has come to where it is held.
    fn is_hold_point(&self, one: &ActorState, kind: Kind) -> bool {
        match self.plan.hold {
            None => false,
            Some(HoldPoint::AfterLock) => !matches!(kind, Kind::Begin | Kind::Lock),
            Some(HoldPoint::BeforeWriting) => kind == Kind::Write && one.has_read,
            Some(HoldPoint::AfterWriting) => one.has_written,
            Some(HoldPoint::BeforeCommit) => kind == Kind::Commit,
        }
    }

    /// Whether an actor may go on.
    fn may_pass(&self, state: &mut State, arrival: Arrival) -> bool {
        let one = state.actor(arrival.actor);
        let (writes, stands) = (one.writes, self.is_hold_point(one, arrival.kind));
        match state.stage {
            Stage::Free => true,
            Stage::Landing => arrival.kind != Kind::Begin || self.roles.get(&arrival.actor) != Some(&Role::Worker),
            _ if arrival.actor == self.holder => {
                if stands && state.held.is_none() {
                    state.held = Some((arrival.key, arrival.kind, self.clock.now()));
                }
                !stands
            }
            stage => match (self.roles.get(&arrival.actor), stage) {
                (Some(Role::Antagonist), _) => true,
                (Some(Role::Worker), Stage::Held { workers, .. }) => workers,
                // One claim each; more would leave none to arrive while all run free.
                (Some(Role::Bystander), Stage::Held { bystanders, .. }) => bystanders && writes == 0,
                _ => false,
            },
        }
    }
}

impl State {
    fn actor(&self, actor: ActorId) -> &ActorState {
        self.actors.get(&actor).expect("every actor was named when the gate was made")
    }

    fn all_finished(&self) -> bool {
        self.actors.values().all(|one| one.finished)
    }

    fn sessions(&self) -> BTreeMap<SessionId, ActorId> {
        self.actors.iter().filter_map(|(actor, one)| Some((one.session?, *actor))).collect()
    }
}

impl Gatekeeper for Opening {
    async fn admit(&self, arrival: Arrival) {
        let mut changes = self.changed.subscribe();
        loop {
            let mut stood = false;
            let passes = {
                let mut state = self.state.lock().expect("no actor panics while it holds the state");
                let held_before = state.held.is_some();
                let passes = self.may_pass(&mut state, arrival);
                stood |= state.held.is_some() && !held_before;
                if passes && arrival.kind != Kind::Pause {
                    let one = state.actors.entry(arrival.actor).or_default();
                    one.session = Some(arrival.session);
                    one.calls += 1;
                    one.calling = Some(one.calls);
                }
                passes
            };
            if stood {
                self.changed.send_replace(());
            }
            if passes || changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn left(&self, arrival: Arrival, error: Option<&DbError>) {
        let mut state = self.state.lock().expect("no actor panics while it holds the state");
        let one = state.actors.entry(arrival.actor).or_default();
        one.calling = None;
        match (error.map(|e| e.class), arrival.kind) {
            (Some(ErrorClass::LockTimeout | ErrorClass::Busy), _) => one.timeouts += 1,
            (None, Kind::Begin) => (one.has_read, one.has_written) = (false, false),
            (None, Kind::Read) => one.has_read = true,
            (None, Kind::Write) => {
                one.writes += 1;
                one.has_written = one.has_read;
            }
            _ => {}
        }
        let free = state.stage == Stage::Free;
        drop(state);
        if !free {
            self.changed.send_replace(());
        }
    }
}
