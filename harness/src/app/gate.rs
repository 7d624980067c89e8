//! What the proxy asks and tells: holds units until somebody admits them, and keeps what happened, in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use driftlock_wire::{
    Admission, Answer, Connected, ConnectionId, Ending, EndpointId, Gate, Ticket, Transaction, Unit, Watch,
};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::entries::Entries;
use super::rewriting::Rewriter;
use super::units::keeps;

/// How many bytes of an answer's rows are kept, for people to look at.
const ROW_BYTES_MAX: usize = 4_000;
/// How many bytes of what the server logs are kept between two looks.
const LOG_BYTES_MAX: usize = 16 << 20;

/// Something that happened on an actor's connection.
#[derive(Clone, Debug)]
pub enum Happened {
    /// It has signed in.
    Connected {
        /// Which one.
        connection: ConnectionId,
        /// The number of its session's process at the server.
        pid: Option<i32>,
        /// It asked at once for an isolation of its transactions.
        isolates: bool,
        /// It asked at once for timeouts.
        times_out: bool,
        /// Its units are held.
        held: bool,
    },
    /// A unit has arrived, or somebody asks for a session, and that is held.
    Arrived,
    /// A unit has gone to the server, and nobody chose it.
    Passed(ConnectionId, Arc<Unit>),
    /// The server has answered a unit; and what it has logged for it, if that was not too much to keep.
    Answered(ConnectionId, Arc<Unit>, Box<Answer>, Option<Vec<String>>),
    /// The connection has ended.
    Closed(ConnectionId),
    /// What the actor was to do is done, or has failed: which of its jobs, from 1.
    Ended(u64),
    /// It has had a statement of its cancelled.
    Cancelled,
}

/// What an actor's connection is at.
#[derive(Debug)]
pub struct Seat {
    /// Whose it is.
    pub actor: usize,
    /// The unit that waits to be admitted.
    pub held: Option<Arc<Unit>>,
    /// The unit that was admitted, and is not answered.
    pub sent: Option<Arc<Unit>>,
    /// It is in a transaction that has not failed.
    in_transaction: bool,
    /// What the server logged since its last unit was admitted; `None` once it was too much.
    logs: Option<Vec<String>>,
    log_bytes: usize,
    admit: Option<oneshot::Sender<Admission>>,
    /// When its held unit arrived, among all.
    arrived: u64,
}

/// Which units are held.
#[derive(Debug, Default)]
enum Holds {
    /// All of them.
    #[default]
    All,
    /// None, and nobody is told of them.
    Nothing,
    /// Of actors that run freely none, or those that are to keep what their transaction did. Each unit is told of, and the
    /// next ones of each actor are kept back for a moment.
    Free {
        /// Those that are to keep something are held.
        commits: bool,
        /// How long the next units of each actor are kept back.
        pauses: Vec<VecDeque<Duration>>,
    },
}

#[derive(Debug, Default)]
struct State {
    actors: BTreeMap<EndpointId, usize>,
    seats: BTreeMap<ConnectionId, Seat>,
    happened: Vec<(usize, Instant, Happened)>,
    arrivals: u64,
    holds: Holds,
    /// Whose units are not held.
    free: BTreeSet<usize>,
    entries: Entries,
}

/// A gate that its clones share.
#[derive(Clone, Debug, Default)]
pub struct Holding {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    /// What actors' texts become before anything is said of them.
    rewriter: Option<Rewriter>,
}

impl Holding {
    /// One by which actors' texts are written anew.
    pub fn rewriting(rewriter: Option<Rewriter>) -> Self {
        Self { rewriter, ..Self::default() }
    }

    /// Whether a unit runs something that was written anew.
    pub fn has_rewritten(&self, unit: &Unit) -> bool {
        self.rewriter.as_ref().is_some_and(|rewriter| rewriter.has_rewritten(unit))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever comes in by this endpoint is this actor. Units of others are not held.
    pub fn bind(&self, endpoint: EndpointId, actor: usize) {
        self.state().actors.insert(endpoint, actor);
    }

    /// Takes what has happened since, oldest first, with whose connection it was, and when.
    pub fn take(&self) -> Vec<(usize, Instant, Happened)> {
        std::mem::take(&mut self.state().happened)
    }

    /// Whether something has happened that nobody has taken.
    pub fn has_news(&self) -> bool {
        !self.state().happened.is_empty()
    }

    /// Waits until something happens, unless it has already.
    pub async fn changes(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.state().happened.is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Looks at the actors' connections, in the order in which they signed in.
    pub fn look<T>(&self, mut at: impl FnMut(ConnectionId, &Seat) -> T) -> Vec<T> {
        self.state().seats.iter().map(|(id, seat)| at(*id, seat)).collect()
    }

    /// The held unit of an actor that arrived first.
    pub fn next(&self, actor: usize) -> Option<(ConnectionId, Arc<Unit>)> {
        let state = self.state();
        let held = state.seats.iter().filter(|(_, seat)| seat.actor == actor && seat.held.is_some());
        let (id, seat) = held.min_by_key(|(_, seat)| seat.arrived)?;
        seat.held.clone().map(|unit| (*id, unit))
    }

    /// From now on the next session that this actor asks for is held.
    pub fn hold_entry(&self, of: Option<usize>) {
        self.state().entries.hold_next(of);
    }

    /// The actor whose session is held before it begins.
    pub fn asks_for_session(&self) -> Option<usize> {
        self.state().entries.held()
    }

    /// Decides on the session that is held.
    pub fn admit_session(&self, admission: Admission) {
        self.state().entries.decide(admission);
    }

    /// As long as the server is away nobody gets a session, and then everybody who has asked for one.
    pub fn server_is_away(&self, is_away: bool) {
        self.state().entries.close(is_away);
    }

    /// Decides on the unit that a connection is held with.
    pub fn admit(&self, connection: ConnectionId, admission: Admission) {
        let mut state = self.state();
        let Some(seat) = state.seats.get_mut(&connection) else { return };
        let (unit, sender) = (seat.held.take(), seat.admit.take());
        (seat.logs, seat.log_bytes) = (Some(Vec::new()), 0);
        if admission != Admission::Drop {
            seat.sent = unit;
        }
        // Whose client has left in the meantime needs no decision.
        let _ = sender.map(|sender| sender.send(admission));
    }

    /// What the server has logged for a connection since its last unit was admitted; `None` if it was too much to keep.
    pub fn logs(&self, connection: ConnectionId) -> Option<Vec<String>> {
        self.state().seats.get(&connection).and_then(|seat| seat.logs.clone())
    }

    /// From now on nothing is held; what is held goes through.
    pub fn open(&self) {
        let mut state = self.state();
        state.holds = Holds::Nothing;
        state.entries.decide(Admission::Forward);
        drop(state);
        let held = self.look(|connection, seat| seat.held.is_some().then_some(connection));
        held.into_iter().flatten().for_each(|connection| self.admit(connection, Admission::Forward));
    }

    /// From now on actors run freely, each with these pauses before its next units; what is held goes through. A unit is
    /// held only if it is to keep what an open transaction did.
    pub fn run_freely(&self, pauses: Vec<VecDeque<Duration>>, first: usize) {
        let actors = pauses.len().max(1);
        self.state().holds = Holds::Free { commits: true, pauses };
        let mut held: Vec<(usize, ConnectionId)> = self
            .look(|connection, seat| seat.held.is_some().then_some((seat.actor, connection)))
            .into_iter()
            .flatten()
            .collect();
        held.sort_by_key(|(actor, _)| (actor + actors - first % actors) % actors);
        held.into_iter().for_each(|(_, connection)| self.pass(connection));
    }

    /// Whoever runs freely is not held any more; who is held now stays so.
    pub fn hold_no_commits(&self) {
        if let Holds::Free { commits, .. } = &mut self.state().holds {
            *commits = false;
        }
    }

    /// Lets the unit that a connection is held with through, and tells of it.
    pub fn pass(&self, connection: ConnectionId) {
        let Some((actor, unit)) = self.state().seats.get(&connection).and_then(|s| Some((s.actor, s.held.clone()?)))
        else {
            return;
        };
        // Told first: its answer must not be heard of before it.
        self.tell(actor, Happened::Passed(connection, unit));
        self.admit(connection, Admission::Forward);
    }

    /// The connections that are held, in the order in which their units arrived.
    pub fn held(&self) -> Vec<ConnectionId> {
        let held = self.look(|connection, seat| seat.held.is_some().then_some((seat.arrived, connection)));
        let mut held: Vec<(u64, ConnectionId)> = held.into_iter().flatten().collect();
        held.sort_unstable();
        held.into_iter().map(|(_, connection)| connection).collect()
    }

    /// Sends a unit that was not held.
    fn send(&self, connection: ConnectionId, unit: &Arc<Unit>) {
        let mut state = self.state();
        let Some(seat) = state.seats.get_mut(&connection) else { return };
        seat.sent = Some(unit.clone());
        let actor = seat.actor;
        self.note(state, actor, Happened::Passed(connection, unit.clone()));
    }

    /// Nothing of this actor's is held as long as that is so.
    pub fn free(&self, actor: usize, is_free: bool) {
        let mut state = self.state();
        let _ = if is_free { state.free.insert(actor) } else { state.free.remove(&actor) };
    }

    /// From now on everything is held.
    pub fn close(&self) {
        self.state().holds = Holds::All;
    }

    /// Adds what has happened to an actor elsewhere.
    pub fn tell(&self, actor: usize, happened: Happened) {
        self.note(self.state(), actor, happened);
    }

    fn note(&self, mut state: MutexGuard<'_, State>, actor: usize, happened: Happened) {
        state.happened.push((actor, Instant::now(), happened));
        drop(state);
        self.changed.notify_waiters();
    }
}

impl Gate for Holding {
    fn watch(&self) -> Watch {
        Watch::Rows { bytes_max: ROW_BYTES_MAX }
    }

    fn enters(&self, endpoint: EndpointId) -> Ticket {
        let mut state = self.state();
        let actor = state.actors.get(&endpoint).copied();
        let is_held = matches!(state.holds, Holds::All) && !actor.is_some_and(|actor| state.free.contains(&actor));
        let before = state.entries.held();
        let Some(ticket) = state.entries.asked(actor.filter(|_| is_held)) else {
            return Ticket::Now(Admission::Forward);
        };
        if let Some(actor) = state.entries.held().filter(|held| before != Some(*held)) {
            self.note(state, actor, Happened::Arrived);
        }
        ticket
    }

    fn connected(&self, connection: ConnectionId, client: &Connected) {
        let mut state = self.state();
        let Some(actor) = state.actors.get(&client.endpoint).copied() else { return };
        let pid = client.server_pid;
        let (sent, admit, arrived, logs) = (None, None, 0, Some(Vec::new()));
        let seat = Seat { actor, held: None, sent, in_transaction: false, logs, log_bytes: 0, admit, arrived };
        state.seats.insert(connection, seat);
        let asks_for =
            |word: &str| client.parameters.iter().any(|(name, value)| name.contains(word) || value.contains(word));
        let (isolates, times_out) = (asks_for("isolation"), asks_for("timeout"));
        let held = matches!(state.holds, Holds::All) && !state.free.contains(&actor);
        self.note(state, actor, Happened::Connected { connection, pid, isolates, times_out, held });
    }

    fn rewritten(&self, connection: ConnectionId, text: &str) -> Option<String> {
        let rewriter = self.rewriter.as_ref()?;
        // A set-up makes what there is, and protects nothing.
        let is_of_actor = self.state().seats.contains_key(&connection);
        is_of_actor.then(|| rewriter.rewritten(text)).flatten()
    }

    fn followed(&self, connection: ConnectionId, text: &str) -> Option<String> {
        let rewriter = self.rewriter.as_ref()?;
        let is_of_actor = self.state().seats.contains_key(&connection);
        is_of_actor.then(|| rewriter.followed(text)).flatten()
    }

    fn admit(&self, connection: ConnectionId, unit: &Arc<Unit>) -> Ticket {
        let mut state = self.state();
        let State { seats, arrivals, holds, free, .. } = &mut *state;
        let Some(seat) = seats.get_mut(&connection) else { return Ticket::Now(Admission::Forward) };
        let actor = seat.actor;
        if matches!(holds, Holds::Nothing) || free.contains(&actor) {
            seat.sent = Some(unit.clone());
            return Ticket::Now(Admission::Forward);
        }
        if let Holds::Free { commits, pauses } = holds
            && !(*commits && seat.in_transaction && keeps(unit))
        {
            let pause = pauses.get_mut(actor).and_then(VecDeque::pop_front).unwrap_or_default();
            drop(state);
            if pause.is_zero() {
                self.send(connection, unit);
                return Ticket::Now(Admission::Forward);
            }
            let (gate, unit) = (self.clone(), unit.clone());
            return Ticket::later(async move {
                tokio::time::sleep(pause).await;
                gate.send(connection, &unit);
                Admission::Forward
            });
        }
        let (sender, admitted) = oneshot::channel();
        (seat.held, seat.admit, seat.arrived) = (Some(unit.clone()), Some(sender), *arrivals);
        *arrivals += 1;
        self.note(state, actor, Happened::Arrived);
        // A gate that is gone lets nothing through.
        Ticket::later(async move { admitted.await.unwrap_or(Admission::Drop) })
    }

    fn answered(&self, connection: ConnectionId, unit: &Arc<Unit>, answer: &Answer) {
        let mut state = self.state();
        let Some(seat) = state.seats.get_mut(&connection) else { return };
        seat.sent = None;
        // A batch whose end is not there yet leaves open how it stands.
        seat.in_transaction = answer.transaction.map_or(seat.in_transaction, |now| now == Transaction::Open);
        let (actor, logs) = (seat.actor, seat.logs.replace(Vec::new()));
        self.note(state, actor, Happened::Answered(connection, unit.clone(), Box::new(answer.clone()), logs));
    }

    fn logged(&self, connection: ConnectionId, detail: &str, cut: bool) {
        let mut state = self.state();
        let Some(seat) = state.seats.get_mut(&connection) else { return };
        seat.log_bytes += detail.len();
        if cut || seat.log_bytes > LOG_BYTES_MAX {
            seat.logs = None;
        } else if let Some(logs) = &mut seat.logs {
            logs.push(detail.to_owned());
        }
    }

    fn cancelled(&self, connection: ConnectionId) {
        let state = self.state();
        let Some(actor) = state.seats.get(&connection).map(|seat| seat.actor) else { return };
        self.note(state, actor, Happened::Cancelled);
    }

    fn closed(&self, connection: ConnectionId, _: &Ending) {
        let mut state = self.state();
        let Some(seat) = state.seats.remove(&connection) else { return };
        self.note(state, seat.actor, Happened::Closed(connection));
    }
}
