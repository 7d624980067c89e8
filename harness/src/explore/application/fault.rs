//! A failure in place of a unit that an actor is about to send: its connection is lost, the server refuses, its session or
//! its program is ended. Whatever the program does then, to connect again or to try once more, is held as any unit is.

use std::sync::Arc;

use driftlock_wire::{Admission, Answer, ConnectionId, Kind, Step, Transaction, Unit};
use tokio::time::Instant;

use super::begin::TERMINATE;
use super::observe::texts;
use super::settle::{DEPARTURE_MAX, Moved};
use super::{AppWorld, Shown, transcript};
use crate::app::work::Outcome;
use crate::explore::fault::{Fault, Injected, keeps, refused_part, server_says};
use crate::explore::postgres::said;
use crate::explore::world::{Choice, Event, Lost, Taken, What};
use crate::scenario::script::FaultKind;

/// How many units an actor may send after something has failed for it, beside twice those that it sends where nothing does.
/// Who sends more goes round in circles.
const AFTER_MAX: usize = 300;
/// The exit code of a program that was killed, as a shell tells it.
const KILLED: u32 = 137;

/// A failure that has come in this execution, or comes with the answer that is awaited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Struck {
    pub fault: Fault,
    /// The connection that it met, if there was one yet.
    pub connection: Option<ConnectionId>,
    /// All connections end by it up to this one.
    pub all_until: Option<ConnectionId>,
    /// Since when the end of that connection is awaited.
    pub ending: Option<Instant>,
}

/// An actor that a failure has met in this execution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    /// At which of its steps.
    pub step: usize,
    /// How many connections it had then.
    pub connections: usize,
    /// Its job was not done yet.
    pub at_work: bool,
}

impl Struck {
    /// Whether this connection ends by it.
    pub fn ends(&self, connection: ConnectionId) -> bool {
        let is_its = self.connection == Some(connection) && self.fault.kind.ends_session();
        is_its || self.all_until.is_some_and(|last| connection <= last)
    }
}

impl AppWorld {
    /// Has a failure come in place of a unit that is held. One that cannot come as things are does not: the unit is then
    /// let through.
    pub(super) async fn suffer(
        &mut self,
        fault: Fault,
        connection: ConnectionId,
        unit: &Arc<Unit>,
        moved: &mut Moved,
    ) -> Result<(), Lost> {
        let Fault { actor, step, kind } = fault;
        if kind == FaultKind::Restarted {
            return self.restart(fault, connection, moved).await;
        }
        let session = self.sessions.get(&connection).expect("who is held has signed in");
        let (pid, aborted) = (session.pid, session.note.aborted);
        let admission = match kind {
            FaultKind::LostBefore | FaultKind::Killed => Some(Admission::Drop),
            FaultKind::Terminated => pid.map(|_| Admission::Drop),
            FaultKind::LostAfter => Some(Admission::SendThenDrop),
            FaultKind::Serialization | FaultKind::Deadlock | FaultKind::LockNotAvailable | FaultKind::Cancelled => {
                refusal(kind, unit).filter(|_| !aborted)
            }
            FaultKind::TooMany | FaultKind::Restarted | FaultKind::Busy => None,
        };
        let Some(admission) = admission else {
            self.gate.admit(connection, Admission::Forward);
            return Ok(());
        };
        self.strike(fault, Some(connection));
        if admission != Admission::Drop {
            self.gate.admit(connection, admission);
            return Ok(());
        }
        self.session_ends(connection);
        moved.0.push(Event::failed(actor, step, Injected { kind, kept: false }));
        match kind {
            FaultKind::Terminated => {
                let asked = self.control.client.query(TERMINATE, &[&Vec::from_iter(pid)]).await;
                asked.map_err(|error| said("end a session", &error))?;
            }
            FaultKind::Killed => {
                self.kill_hearing(&[actor], moved).await?;
                // Nothing else is expected of who is killed.
                self.actors[actor].outcome =
                    Some(Outcome { met: true, ..Outcome::gone(KILLED, "it was killed".to_owned()) });
            }
            _ => self.gate.admit(connection, Admission::Drop),
        }
        Ok(())
    }

    /// Whose next session is to be refused in each execution, whenever that is.
    pub(super) fn is_to_be_turned_away(&self) -> Option<usize> {
        let fault = self.fault.as_ref().map(|armed| armed.fault);
        fault.filter(|fault| fault.kind == FaultKind::TooMany).map(|fault| fault.actor)
    }

    /// Sees to it that the session is held that an actor asks for next, if that is the one that is to be refused.
    pub(super) fn await_entry(&self) {
        let Some(actor) = self.is_to_be_turned_away() else { return };
        let is_here = self.struck.is_none() && self.fault.is_some_and(|of| of.fault.step == self.actors[actor].step);
        if self.gate.asks_for_session().is_none() {
            self.gate.hold_entry(Some(actor).filter(|_| is_here));
        }
    }

    /// Refuses the session that an actor asks for, as a server does that takes no more. That touches nothing.
    pub(super) async fn refuse_session(&mut self, choice: Choice) -> Result<Taken, Lost> {
        let actor = choice.actor;
        let step = self.actors[actor].step;
        self.actors[actor].step += 1;
        let sql = "-- asks for a session".to_owned();
        self.transcript.insert((actor, step), Shown { sql: sql.clone(), rows: Vec::new() });
        let kind = self.fault.as_mut().and_then(|armed| armed.strikes(actor, step)).unwrap_or(FaultKind::TooMany);
        let fault = Fault { actor, step, kind };
        self.strike(fault, None);
        let (sqlstate, message) = (kind.code().to_owned(), server_says(kind).to_owned());
        self.gate.admit_session(Admission::Refuse { sqlstate, message, first: None });
        let (mut events, touched) = self.settle(None).await?;
        events.insert(0, Event::failed(actor, step, Injected { kind, kept: false }));
        let shape = "asks for a session".to_owned();
        Ok(Taken { sql, shape, ..Taken::new(choice, step, events, touched, false) })
    }

    /// What a step that was answered has suffered, if that was to come with its answer.
    pub(super) fn suffered(
        &mut self,
        (actor, step): (usize, usize),
        unit: &Unit,
        answer: &Answer,
        what: &What,
    ) -> Option<Injected> {
        let Struck { fault: Fault { kind, .. }, .. } =
            self.struck.filter(|of| (of.fault.actor, of.fault.step) == (actor, step))?;
        if kind != FaultKind::LostAfter {
            // A server that was skipping what it got has refused nothing.
            let is_refused = matches!(what, What::Failed { code, .. } if code == kind.code());
            return is_refused.then_some(Injected { kind, kept: false });
        }
        if matches!(what, What::Failed { code, .. } if code == "40P01") {
            self.bounds.insert("of a deadlock, the victim is always who closes the circle".to_owned());
        }
        self.struck.and_then(|of| of.connection).into_iter().for_each(|connection| self.session_ends(connection));
        let is_over = answer.transaction == Some(Transaction::Idle);
        let is_done = matches!(what, What::Done(done) if !done.rolled_back);
        Some(Injected { kind, kept: is_over && is_done && transcript::runs(unit) && keeps(&texts(unit)) })
    }

    /// Notes that a failure comes.
    pub(super) fn strike(&mut self, fault: Fault, connection: Option<ConnectionId>) {
        self.struck = Some(Struck { fault, connection, all_until: None, ending: None });
        self.hit(fault.actor, fault.step);
    }

    /// Notes that it meets this actor, at this step.
    pub(super) fn hit(&mut self, actor: usize, step: usize) {
        let at_work = self.actors[actor].outcome.is_none();
        self.hits.insert(actor, Hit { step, connections: self.connections(actor), at_work });
    }

    /// The step of a session is over, and its connection ends.
    pub(super) fn session_ends(&mut self, connection: ConnectionId) {
        if let Some(session) = self.sessions.get_mut(&connection) {
            session.step = None;
        }
        if let Some(struck) = &mut self.struck {
            struck.ending = Some(Instant::now());
        }
    }

    /// Whether a connection is still there that a failure ends.
    ///
    /// # Errors
    /// It has been there for too long.
    pub(super) fn awaits_end(&self) -> Result<bool, Lost> {
        let Some(Struck { connection: Some(connection), ending: Some(since), .. }) = &self.struck else {
            return Ok(false);
        };
        if !self.sessions.contains_key(connection) {
            return Ok(false);
        }
        match since.elapsed() > DEPARTURE_MAX {
            true => Err(Lost::new("a connection is still open, though it was to be lost")),
            false => Ok(true),
        }
    }

    /// Whose programs may be in another state after this execution than before, for they have lost a connection. One that
    /// has connected again, and has done its job to the end, is as warm as before.
    pub(super) fn disabled(&self) -> Vec<usize> {
        let disables = |kind: FaultKind| kind.ends_session() || kind == FaultKind::TooMany;
        let Some(kind) = self.struck.map(|struck| struck.fault.kind).filter(|kind| disables(*kind)) else {
            return Vec::new();
        };
        let is_disabled = |actor: usize, hit: &Hit| {
            let is_done = self.outcome(actor).is_some_and(|outcome| outcome.met && [0, 200].contains(&outcome.code));
            kind == FaultKind::Killed || !is_done || self.connections(actor) != hit.connections
        };
        self.hits.iter().filter(|(actor, hit)| is_disabled(**actor, hit)).map(|(actor, _)| *actor).collect()
    }

    pub(super) fn connections(&self, actor: usize) -> usize {
        self.sessions.values().filter(|session| session.actor == actor).count()
    }

    /// Whether a failure has come for this actor.
    pub(super) fn is_struck(&self, actor: usize) -> bool {
        self.hits.get(&actor).is_some_and(|hit| hit.at_work)
    }

    /// Whether an actor goes round in circles since something has failed for it.
    pub(super) fn circles(&self, actor: usize) -> bool {
        // Who repeats all that it does is not going round in circles yet.
        let most = |hit: &Hit| hit.step + AFTER_MAX + 2 * self.actors[actor].steps_max;
        self.hits.get(&actor).is_some_and(|hit| self.actors[actor].step > most(hit))
    }
}

/// How the server is had to refuse a unit with a code, if it could.
pub(super) fn refusal(kind: FaultKind, unit: &Unit) -> Option<Admission> {
    let is_answered_to_the_end = unit.kind == Kind::Query || unit.steps.last() == Some(&Step::Sync);
    let plain = matches!(unit.kind, Kind::Query | Kind::Extended) && unit.whole && unit.steps_left_out == 0;
    let first = match refused_part(&texts(unit)) {
        // What is not known to do anything else works.
        None if unit.kind == Kind::Copy => None,
        Some((before, false)) if before.is_empty() => None,
        Some((before, false)) if plain && is_answered_to_the_end => Some(before),
        Some((_, true)) if plain && is_answered_to_the_end => Some("ROLLBACK".to_owned()),
        _ => return None,
    };
    Some(Admission::Refuse { sqlstate: kind.code().to_owned(), message: server_says(kind).to_owned(), first })
}

#[cfg(test)]
mod tests {
    use driftlock_wire::Text;

    use super::*;

    fn first(sql: &str) -> Option<Option<String>> {
        let text = Text { text: sql.into(), cut: false };
        let (kind, steps) = (Kind::Query, vec![Step::Query { text }]);
        let unit = Unit { number: 1, kind, steps, steps_left_out: 0, bytes: 0, whole: true, unknown: false };
        match refusal(FaultKind::Serialization, &unit)? {
            Admission::Refuse { first, .. } => Some(first),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_commit_is_rolled_back_and_what_begins_a_transaction_is_not_refused() {
        assert_eq!(first("UPDATE t SET v = 1"), Some(None));
        assert_eq!(first("COMMIT"), Some(Some("ROLLBACK".to_owned())));
        assert_eq!(first("BEGIN; UPDATE t SET v = 1"), Some(Some("BEGIN".to_owned())));
        for sql in ["BEGIN", "ROLLBACK", "SET x.y = 1", "PREPARE TRANSACTION 'x'"] {
            assert_eq!(first(sql), None, "{sql}");
        }
    }
}
