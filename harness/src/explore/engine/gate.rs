//! The gate that lets one operation through when it is told, and says where each actor stands.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use drift_engine::session::{DbError, Kind};
use tokio::sync::watch;

use crate::history::ActorId;
use crate::lens::gate::{Arrival, Gatekeeper};

/// Where an actor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// On its way to the gate.
    Away,
    /// At the gate.
    Gate,
    /// Its operation is under way.
    Sent,
    /// It has nothing left to do.
    Ended,
}

/// An operation that has ended.
#[derive(Clone, Debug)]
pub(super) struct Left {
    pub kind: Kind,
    pub error: Option<DbError>,
}

/// Where everybody stands at one moment.
#[derive(Debug)]
pub(super) struct Look {
    pub standing: BTreeMap<ActorId, Standing>,
    /// What has ended of each.
    pub left: BTreeMap<ActorId, Vec<Left>>,
}

#[derive(Debug)]
struct State {
    open: bool,
    standing: BTreeMap<ActorId, Standing>,
    permitted: BTreeMap<ActorId, bool>,
    left: BTreeMap<ActorId, Vec<Left>>,
}

/// The gate.
#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

impl Gate {
    pub(super) fn new(actors: &[ActorId]) -> Self {
        let standing = actors.iter().map(|actor| (*actor, Standing::Away)).collect();
        let state = State { open: false, standing, permitted: BTreeMap::new(), left: BTreeMap::new() };
        Self { state: Mutex::new(state), changed: watch::Sender::new(0) }
    }

    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state.lock().expect("nobody panics at the gate"));
        self.changed.send_modify(|count| *count += 1);
        changed
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().expect("nobody panics at the gate"))
    }

    /// Holds everybody from now on, who are all on their way.
    pub(super) fn close(&self) {
        self.update(|state| {
            state.open = false;
            state.permitted.clear();
            state.left.clear();
            for standing in state.standing.values_mut() {
                *standing = Standing::Away;
            }
        });
    }

    /// Lets everybody through from now on.
    pub(super) fn open(&self) {
        self.update(|state| state.open = true);
    }

    /// Lets one operation of an actor through that stands at the gate.
    pub(super) fn permit(&self, actor: ActorId) {
        self.update(|state| {
            state.permitted.insert(actor, true);
            state.standing.insert(actor, Standing::Sent);
        });
    }

    /// Hears that an actor has nothing left to do.
    pub(super) fn ended(&self, actor: ActorId) {
        self.update(|state| state.standing.insert(actor, Standing::Ended));
    }

    /// Where everybody stands as soon as nobody is on the way, with what has ended since this was last
    /// asked; all of one moment. `None` if somebody is on the way for longer than `within`.
    pub(super) async fn look(&self, within: Duration) -> Option<Look> {
        let mut changes = self.changed.subscribe();
        let mut looked = None;
        let settled = |_: &u64| {
            let mut state = self.state.lock().expect("nobody panics at the gate");
            if state.standing.values().all(|standing| *standing != Standing::Away) {
                looked = Some(Look { standing: state.standing.clone(), left: std::mem::take(&mut state.left) });
            }
            looked.is_some()
        };
        // The sender lives as long as the gate.
        let _ = tokio::time::timeout(within, changes.wait_for(settled)).await;
        looked
    }

    /// Whether an operation ends within this time.
    pub(super) async fn changes(&self, within: Duration) -> bool {
        let mut changes = self.changed.subscribe();
        let any = |_: &u64| self.read(|state| state.left.values().any(|left| !left.is_empty()));
        let ended = changes.wait_for(any);
        tokio::time::timeout(within, ended).await.is_ok()
    }
}

impl Gatekeeper for Gate {
    async fn admit(&self, arrival: Arrival) {
        // Pauses are empty, and nobody else notices them.
        if arrival.kind == Kind::Pause || self.read(|state| state.open) {
            return;
        }
        self.update(|state| state.standing.insert(arrival.actor, Standing::Gate));
        let mut changes = self.changed.subscribe();
        let admitted =
            |_: &u64| self.read(|state| state.open || state.permitted.get(&arrival.actor).copied().unwrap_or(false));
        let _ = changes.wait_for(admitted).await;
        self.update(|state| {
            state.permitted.remove(&arrival.actor);
            state.standing.insert(arrival.actor, Standing::Sent)
        });
    }

    fn left(&self, arrival: Arrival, error: Option<&DbError>) {
        if arrival.kind == Kind::Pause {
            return;
        }
        self.update(|state| {
            state.standing.insert(arrival.actor, Standing::Away);
            state.left.entry(arrival.actor).or_default().push(Left { kind: arrival.kind, error: error.cloned() });
        });
    }
}
