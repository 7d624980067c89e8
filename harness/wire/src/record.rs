//! Keeps what happened, within a bound, around a gate that decides.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::answer::Answer;
use crate::gate::{Connected, Ending, Gate, Ticket, Watch};
use crate::unit::{ConnectionId, EndpointId, Unit};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A client signed in.
    Connected(ConnectionId, Connected),
    /// A unit arrived.
    Arrived(ConnectionId, Arc<Unit>),
    /// A unit was answered.
    Answered(ConnectionId, Arc<Unit>, Answer),
    /// A cancel request was passed on.
    Cancelled(ConnectionId),
    /// A connection ended.
    Closed(ConnectionId, Ending),
}

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Event>,
    forgotten: u64,
}

/// Keeps the newest events. Its clones keep the same ones, so one can be given away and another be asked.
#[derive(Debug)]
pub struct Record<G> {
    gate: Arc<G>,
    events_max: usize,
    kept: Arc<Mutex<Kept>>,
}

impl<G> Clone for Record<G> {
    fn clone(&self) -> Record<G> {
        Record { gate: Arc::clone(&self.gate), events_max: self.events_max, kept: Arc::clone(&self.kept) }
    }
}

impl<G> Record<G> {
    /// Keeps at most so many events of what a gate sees. The gate decides as before, but everything is watched.
    pub fn around(gate: G, events_max: usize) -> Record<G> {
        Record { gate: Arc::new(gate), events_max, kept: Arc::default() }
    }

    /// What is kept, oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).events.iter().cloned().collect()
    }

    /// Takes out what is kept, oldest first.
    #[must_use]
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner).events).into()
    }

    /// How many events are no longer kept.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).forgotten
    }

    fn keep(&self, event: Event) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.events.push_back(event);
        if kept.events.len() > self.events_max {
            kept.events.pop_front();
            kept.forgotten += 1;
        }
    }
}

impl<G: Gate> Gate for Record<G> {
    fn watch(&self) -> Watch {
        match self.gate.watch() {
            Watch::Nothing => Watch::Units,
            watch => watch,
        }
    }

    fn enters(&self, endpoint: EndpointId) -> Ticket {
        self.gate.enters(endpoint)
    }

    fn connected(&self, connection: ConnectionId, client: &Connected) {
        self.keep(Event::Connected(connection, client.clone()));
        self.gate.connected(connection, client);
    }

    fn rewritten(&self, connection: ConnectionId, text: &str) -> Option<String> {
        self.gate.rewritten(connection, text)
    }

    fn followed(&self, connection: ConnectionId, text: &str) -> Option<String> {
        self.gate.followed(connection, text)
    }

    fn admit(&self, connection: ConnectionId, unit: &Arc<Unit>) -> Ticket {
        self.keep(Event::Arrived(connection, Arc::clone(unit)));
        self.gate.admit(connection, unit)
    }

    fn answered(&self, connection: ConnectionId, unit: &Arc<Unit>, answer: &Answer) {
        self.keep(Event::Answered(connection, Arc::clone(unit), answer.clone()));
        self.gate.answered(connection, unit, answer);
    }

    fn logged(&self, connection: ConnectionId, detail: &str, cut: bool) {
        self.gate.logged(connection, detail, cut);
    }

    fn cancelled(&self, connection: ConnectionId) {
        self.keep(Event::Cancelled(connection));
        self.gate.cancelled(connection);
    }

    fn closed(&self, connection: ConnectionId, ending: &Ending) {
        self.keep(Event::Closed(connection, ending.clone()));
        self.gate.closed(connection, ending);
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, Record};
    use crate::gate::{Gate, Open};
    use crate::unit::ConnectionId;

    #[test]
    fn the_newest_events_are_kept_and_the_others_counted() {
        let record = Record::around(Open, 2);
        let asked = record.clone();
        (1..=3).for_each(|id| record.cancelled(ConnectionId(id)));
        assert_eq!(asked.events(), [2, 3].map(|id| Event::Cancelled(ConnectionId(id))));
        assert_eq!(asked.forgotten(), 1);
    }
}
