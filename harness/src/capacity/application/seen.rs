//! What the proxy sees of a task under load: it records by statement what all send, and times for each worker what its
//! programs ask of the server. Nothing is held.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use driftlock_wire::{Answer, Connected, ConnectionId, Ending, EndpointId, Gate, Ticket, Transaction, Unit, Watch};
use tokio::time::Instant;

use crate::app::record::Recorder;
use crate::capacity::phase::{Phase, Times};

/// The statements that say that they change rows, or may.
const WRITES: [&str; 8] = ["INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "CALL", "DO", "TRUNCATE"];
/// Those that read.
const READS: [&str; 5] = ["SELECT", "VALUES", "TABLE", "FETCH", "WITH"];

/// A session of a worker's.
#[derive(Debug)]
struct Conversation {
    endpoint: EndpointId,
    /// The unit under way: what it is, and since when.
    sent: Option<(Phase, Instant)>,
    /// Since when its transaction is open.
    open: Option<Instant>,
}

#[derive(Debug, Default)]
struct State {
    conversations: BTreeMap<ConnectionId, Conversation>,
    /// What each worker's programs have spent since they were asked last.
    times: BTreeMap<EndpointId, Times>,
    /// How many sessions each of them has opened.
    sessions: BTreeMap<EndpointId, u64>,
}

/// A gate that its clones share.
#[derive(Clone, Debug)]
pub struct Seen {
    recorder: Recorder,
    state: Arc<Mutex<State>>,
}

impl Seen {
    /// Looks on, and has `recorder` do so too.
    pub fn new(recorder: Recorder) -> Self {
        Self { recorder, state: Arc::default() }
    }

    /// What is recorded of all.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Whoever comes in by this endpoint is a worker of the load.
    pub fn sees(&self, endpoint: EndpointId) {
        self.recorder.records(endpoint);
        self.state().times.insert(endpoint, Times::default());
    }

    /// What a worker's programs have spent since the last time, by what they did.
    pub fn take(&self, endpoint: EndpointId) -> Times {
        self.state().times.get_mut(&endpoint).map(std::mem::take).unwrap_or_default()
    }

    /// How many sessions a worker's programs have opened.
    pub fn sessions(&self, endpoint: EndpointId) -> u64 {
        self.state().sessions.get(&endpoint).copied().unwrap_or(0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a text is, of several statements the one that takes longest as a rule.
fn phase(unit: &Unit) -> Phase {
    let statements = unit.statements().flat_map(|text| crate::sql::split(text).unwrap_or_default());
    let first = statements.filter_map(|statement| statement.words.first().cloned());
    let of = |word: String| match word.as_str() {
        word if WRITES.contains(&word) => Phase::Write,
        word if READS.contains(&word) => Phase::Read,
        "COMMIT" | "END" => Phase::Commit,
        "BEGIN" | "START" => Phase::Begin,
        _ => Phase::Other,
    };
    let rank =
        |phase: &Phase| [Phase::Begin, Phase::Commit, Phase::Read, Phase::Write].iter().position(|one| one == phase);
    first.map(of).max_by_key(rank).unwrap_or(Phase::Other)
}

impl Gate for Seen {
    fn watch(&self) -> Watch {
        self.recorder.watch()
    }

    fn connected(&self, connection: ConnectionId, client: &Connected) {
        self.recorder.connected(connection, client);
        let mut state = self.state();
        if state.times.contains_key(&client.endpoint) {
            *state.sessions.entry(client.endpoint).or_default() += 1;
            let conversation = Conversation { endpoint: client.endpoint, sent: None, open: None };
            state.conversations.insert(connection, conversation);
        }
    }

    fn admit(&self, connection: ConnectionId, unit: &Arc<Unit>) -> Ticket {
        let ticket = self.recorder.admit(connection, unit);
        let phase = phase(unit);
        if let Some(conversation) = self.state().conversations.get_mut(&connection) {
            conversation.sent = Some((phase, Instant::now()));
        }
        ticket
    }

    fn answered(&self, connection: ConnectionId, unit: &Arc<Unit>, answer: &Answer) {
        self.recorder.answered(connection, unit, answer);
        let now = Instant::now();
        let mut state = self.state();
        let State { conversations, times, .. } = &mut *state;
        let Some(conversation) = conversations.get_mut(&connection) else { return };
        let Some(times) = times.get_mut(&conversation.endpoint) else { return };
        let nanos = |since: Instant| u64::try_from(now.duration_since(since).as_nanos()).unwrap_or(u64::MAX);
        let Some((phase, since)) = conversation.sent.take() else { return };
        times.add(phase, nanos(since));
        match answer.transaction {
            Some(Transaction::Open | Transaction::Failed) => {
                conversation.open.get_or_insert(since);
            }
            Some(Transaction::Idle) => {
                if let Some(open) = conversation.open.take() {
                    times.add(Phase::InTransaction, nanos(open));
                }
            }
            None => {}
        }
    }

    fn closed(&self, connection: ConnectionId, ending: &Ending) {
        self.recorder.closed(connection, ending);
        self.state().conversations.remove(&connection);
    }
}
