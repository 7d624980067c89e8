//! Waits until nobody moves: every actor is held at the gate, is reported to wait, or has ended.

use std::time::Duration;

use driftlock_wire::{Answer, ConnectionId, Transaction};
use tokio::time::Instant;

use super::{ANSWER_MAX, Actor, AppWorld, Session, TIMEOUTS, transcript};
use crate::app::gate::Happened;
use crate::app::quiet::Quiet;
use crate::app::work::said as printed;
use crate::explore::footprint::Footprint;
use crate::explore::postgres::printed::Printed;
use crate::explore::postgres::question::{Said, all_wait, ask};
use crate::explore::postgres::said;
use crate::explore::world::{Event, Lost, Note, What, World};
use crate::scenario::script::FaultKind;

/// After how long it is looked whether a program that says nothing still computes, and how often then.
const LOOK_AFTER: Duration = Duration::from_millis(200);
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long all threads of a program must sleep before it is said to wait for something outside of the database.
const ASLEEP_MIN: Duration = Duration::from_secs(2);
/// How long a session may take to end at the server, once its client has left.
pub(super) const DEPARTURE_MAX: Duration = Duration::from_secs(10);

/// What came of a transition.
pub(super) type Moved = (Vec<Event>, Footprint);

impl AppWorld {
    /// Waits until nobody moves. `started` is whose unit was let through just now, and whether it is known to wait.
    pub(super) async fn settle(&mut self, started: Option<(ConnectionId, bool)>) -> Result<Moved, Lost> {
        let mut moved = Moved::default();
        let mut patience =
            if started.is_some_and(|(_, waits)| waits) { Duration::ZERO } else { Duration::from_millis(1) };
        let mut sent_since = None;
        loop {
            self.hear(&mut moved).await?;
            if self.awaits_end()? {
                let _ = tokio::time::timeout(LOOK_EVERY, self.gate.changes()).await;
                continue;
            }
            let (computing, sent) = (self.computing(), self.sent());
            if self.gate.has_news() {
                // What was just seen is newer than what was heard.
                continue;
            }
            if !computing.is_empty() {
                for actor in computing {
                    self.look_at(actor)?;
                }
                let _ = tokio::time::timeout(LOOK_EVERY, self.gate.changes()).await;
                continue;
            }
            let may_rest = !self.awaits_outsiders()?;
            if sent.is_empty() {
                if may_rest {
                    return Ok(moved);
                }
                let _ = tokio::time::timeout(LOOK_EVERY, self.gate.changes()).await;
                continue;
            }
            if !patience.is_zero() && tokio::time::timeout(patience, self.gate.changes()).await.is_ok() {
                continue;
            }
            let said = self.ask(&sent).await?;
            if self.gate.has_news() {
                continue;
            }
            if self.all_wait(&sent, &said) {
                self.note_waits(&sent, &said, started.map(|(connection, _)| connection), &mut moved).await?;
                if may_rest {
                    return Ok(moved);
                }
            }
            if sent_since.get_or_insert_with(Instant::now).elapsed() > self.app.silent_max.max(ANSWER_MAX) {
                let names: Vec<&str> = sent.iter().map(|id| self.name_of(*id)).collect();
                let why = format!("the server neither answered {} nor reported a wait", names.join(", "));
                return Err(Lost::new(why));
            }
            patience = (patience * 2).clamp(Duration::from_millis(1), Duration::from_millis(8));
        }
    }

    fn name_of(&self, connection: ConnectionId) -> &str {
        self.sessions.get(&connection).map_or("a session", |session| &self.actors[session.actor].name)
    }

    /// The connections whose unit is under way.
    pub(super) fn sent(&self) -> Vec<ConnectionId> {
        self.gate.look(|id, seat| seat.sent.is_some().then_some(id)).into_iter().flatten().collect()
    }

    /// The actors of which something is to come soon: they compute, or have ended and still hold a connection.
    pub(super) fn computing(&self) -> Vec<usize> {
        let speaks = self.gate.look(|_, seat| (seat.held.is_some() || seat.sent.is_some()).then_some(seat.actor));
        let asks = self.gate.asks_for_session();
        let speaks = [speaks, vec![asks]].concat();
        let connected = |number: usize| self.sessions.values().any(|session| session.actor == number);
        let computes = |number: &usize| {
            let actor = &self.actors[*number];
            !actor.is_outside
                && match actor.outcome {
                    // Whoever has left its process group may hold it for ever.
                    Some(_) => !actor.worker.stays() && connected(*number) && !speaks.contains(&Some(*number)),
                    None => !speaks.contains(&Some(*number)),
                }
        };
        (0..self.actors.len()).filter(computes).collect()
    }

    /// Looks whether an actor that says nothing still computes.
    pub(super) fn look_at(&mut self, number: usize) -> Result<(), Lost> {
        let held = self.enabled();
        let (serially, is_struck) = (self.serially, self.is_struck(number));
        let (silent_max, actor) = (self.app.silent_max, &mut self.actors[number]);
        let since = actor.computes_since.get_or_insert_with(Instant::now).elapsed();
        if since < LOOK_AFTER {
            return Ok(());
        }
        let asleep = actor.quiet.look(actor.worker.watched());
        let others_can = held.iter().any(|other| *other != number);
        // Where one goes after the other, who only sleeps for a while is not to be overtaken.
        let asleep_min = if serially { ASLEEP_MIN.max(silent_max / 3) } else { ASLEEP_MIN };
        if asleep >= asleep_min && (others_can || since > silent_max) {
            actor.is_outside = true;
        } else if since > silent_max && is_struck {
            // That it neither ends nor goes on is what the failure has come to.
            actor.is_outside = true;
        } else if since > silent_max {
            let (name, most) = (&actor.name, silent_max.as_secs());
            let why =
                format!("{name} neither spoke to the database nor ended for {most} s, and computes (`silent-seconds`)");
            return Err(Lost::by_script(why + &printed(&actor.worker.output)));
        }
        Ok(())
    }

    /// Whether those that wait outside of the database are to be waited for: nobody else can go on. After their bound
    /// they are taken for stuck, if somebody waits in the database, or for whoever waits outside.
    pub(super) fn awaits_outsiders(&mut self) -> Result<bool, Lost> {
        let outside: Vec<usize> = (0..self.actors.len()).filter(|number| self.actors[*number].is_outside).collect();
        let Some(first) = outside.first() else { return Ok(false) };
        if !self.enabled().is_empty() {
            return Ok(false);
        }
        let is_over = |number: &usize| {
            self.actors[*number].computes_since.is_some_and(|since| since.elapsed() > self.app.silent_max)
        };
        if !outside.iter().all(is_over) {
            return Ok(true);
        }
        if outside.len() == 1 && self.sent().is_empty() && !self.is_struck(*first) {
            let (actor, most) = (&self.actors[*first], self.app.silent_max.as_secs());
            let why = format!(
                "{} neither spoke to the database nor ended for {most} s, and sleeps (`silent-seconds`)",
                actor.name
            );
            return Err(Lost::by_script(why + &printed(&actor.worker.output)));
        }
        Ok(false)
    }

    /// Notes that an actor has spoken, or has ended.
    pub(super) fn spoke(&mut self, number: usize) {
        let actor = &mut self.actors[number];
        (actor.computes_since, actor.quiet) = (None, Quiet::new());
        if std::mem::take(&mut actor.is_outside) {
            let after = actor.step;
            self.bounds.insert(format!(
                "{} waited for something outside of the database after its step {after}, while others went on",
                self.actors[number].name
            ));
        }
    }

    /// Notes what has happened since.
    pub(super) async fn hear(&mut self, moved: &mut Moved) -> Result<(), Lost> {
        for (actor, at, happened) in self.gate.take() {
            match happened {
                Happened::Connected { connection, pid, isolates, times_out, held } => {
                    if held && self.fault.is_none() {
                        self.connects.insert((actor, self.actors[actor].step));
                    }
                    if times_out {
                        self.bounds.insert(TIMEOUTS.to_owned());
                    }
                    self.sent.asks_at_connection |= isolates;
                    let (note, step, wrote, waits, keeps) = (Note::default(), None, false, false, false);
                    // What a client asks for at its start-up is not looked at more closely.
                    let serializable = isolates || self.default_isolation == "serializable";
                    let may_isolate = isolates || self.default_isolation != "read committed";
                    let session = Session { actor, pid, note, serializable, may_isolate, step, wrote, waits, keeps };
                    self.sessions.insert(connection, session);
                    self.actors[actor].leftover.connected();
                }
                Happened::Arrived => {
                    self.spoke(actor);
                    if self.actors[actor].outcome.is_some() {
                        let name = &self.actors[actor].name;
                        self.bounds.insert(format!("{name} spoke to the database after its job was done"));
                    }
                }
                Happened::Passed(connection, unit) => self.passed(actor, connection, &unit, at)?,
                Happened::Cancelled => {
                    let name = &self.actors[actor].name;
                    self.bounds.insert(format!("{name} had a statement cancelled: when is its own choice"));
                }
                Happened::Answered(connection, unit, answer, logs) => {
                    // Not as soon as one connects: that an earlier one was closed may be heard after that.
                    if self.sessions.iter().any(|(other, one)| one.actor == actor && *other != connection) {
                        self.bounds.insert(format!(
                            "{} has several connections: in which order it uses them was not varied",
                            self.actors[actor].name
                        ));
                    }
                    let Some(step) = self.sessions.get_mut(&connection).and_then(|session| {
                        session.waits = false;
                        session.step.take()
                    }) else {
                        // Nobody held it: what it leaves is its session's all the same.
                        let (text, shape) = (transcript::shown(&unit), transcript::shape(&unit));
                        self.actors[actor].leftover.sent(&text, &shape);
                        if let Some(session) = self.sessions.get_mut(&connection) {
                            session.note_isolation(&unit);
                            // Where it has come to an end, whoever leaves then leaves nothing open.
                            session.note.in_transaction &= answer.transaction != Some(Transaction::Idle);
                        }
                        continue;
                    };
                    let what = transcript::came(&unit, &answer);
                    if self.writes(connection, &answer, &what) {
                        self.lost.push((actor, step));
                    }
                    if let Some(shown) = self.transcript.get_mut(&(actor, step)) {
                        shown.rows = transcript::rows(&answer);
                    }
                    if answer.unknown {
                        self.bounds.insert("the server sent a message that is not known".to_owned());
                    }
                    if let Some(free) = &mut self.free {
                        free.answered((actor, step), at, what, &answer);
                        continue;
                    }
                    let failed = matches!(what, What::Failed { .. });
                    let printed = logs.map(|trees| Printed::of(&trees));
                    self.actors[actor].retries.came(&what);
                    if self.kept_back.contains(&(actor, step)) {
                        moved.1.add(&self.observed_refusal(connection, &unit).await?);
                        moved.0.push(Event::new(actor, step, what));
                        continue;
                    }
                    let Some(fault) = self.suffered((actor, step), &unit, &answer, &what) else {
                        moved.1.add(&self.observed(connection, &unit, &answer, printed, failed).await?);
                        moved.0.push(Event::new(actor, step, what));
                        continue;
                    };
                    moved.1.add(&match (fault.kind, answer.transaction) {
                        (FaultKind::LostAfter, Some(Transaction::Idle)) => {
                            self.observed(connection, &unit, &answer, printed, failed).await?
                        }
                        // Its session may have gone before anybody could ask what it has locked.
                        (FaultKind::LostAfter, _) => Footprint::everything(),
                        _ => self.observed_refusal(connection, &unit).await?,
                    });
                    moved.0.push(Event::failed(actor, step, fault));
                }
                Happened::Closed(connection) => self.closed(connection, at, moved),
                Happened::Ended(job) if job != self.actors[actor].worker.job() => {}
                Happened::Ended(_) => {
                    let outcome = self.actors[actor].worker.ended().await;
                    self.actors[actor].outcome = Some(outcome);
                    self.spoke(actor);
                }
            }
        }
        if self.leaving.is_empty() { Ok(()) } else { self.await_departures().await }
    }

    /// Notes whether a transaction has changed rows; answers whether that is lost now with a COMMIT.
    fn writes(&mut self, connection: ConnectionId, answer: &Answer, what: &What) -> bool {
        let Some(session) = self.sessions.get_mut(&connection) else { return false };
        let is_lost = session.wrote && matches!(what, What::Done(done) if done.rolled_back);
        // What a statement commits by itself was written by it alone.
        let commits = session.wrote && answer.outcomes.iter().any(|outcome| outcome.tag == "COMMIT");
        self.actors[session.actor].commits += usize::from(commits);
        self.commits_max = self.commits_max.max(self.actors[session.actor].commits);
        session.wrote |= answer.outcomes.iter().any(|outcome| transcript::changes(&outcome.tag));
        if answer.transaction == Some(Transaction::Idle) {
            session.wrote = false;
        }
        is_lost
    }

    /// A connection has ended: what its session held is let go, and what it had not committed is gone.
    fn closed(&mut self, connection: ConnectionId, at: Instant, moved: &mut Moved) {
        let Some(session) = self.sessions.remove(&connection) else { return };
        self.leaving.extend(session.pid);
        let Actor { name, is_killed, .. } = &self.actors[session.actor];
        if *is_killed || self.struck.is_some_and(|struck| struck.ends(connection)) {
            // Nobody asks what that means for others.
        } else if session.step.is_some() {
            self.bounds.insert(format!("{name} left while its statement was under way: when is its own choice"));
        } else if session.note.in_transaction || session.note.touched.advisory {
            self.bounds.insert(format!(
                "{name} left with a transaction open, or a lock held: nobody else moved between its last statement and that"
            ));
        }
        if let Some(step) = session.step {
            let (code, message) = ("08006".to_owned(), "the connection ended before the answer".to_owned());
            let (actor, what) = (session.actor, What::Failed { code, message });
            // Of whom we have ended, it is shown that it still waited.
            if let Some(free) = self.free.as_mut().filter(|_| !self.actors[actor].is_killed) {
                free.ended((actor, step), at, what.clone());
            }
            moved.0.push(Event::new(actor, step, what));
            moved.1.add(&Footprint::everything());
        }
        if session.note.in_transaction || session.note.touched.advisory || session.keeps {
            let touched = session.note.touched;
            moved.1.add(&Footprint { ends: true, advisory: touched.advisory || session.keeps, ..touched });
        }
    }

    /// Waits until the sessions of clients that have left have ended at the server: only then are their locks free.
    pub(super) async fn await_departures(&mut self) -> Result<(), Lost> {
        let begin = Instant::now();
        while !self.leaving.is_empty() {
            let asked = "SELECT pid FROM pg_catalog.pg_stat_activity WHERE pid = ANY($1)";
            let rows = tokio::time::timeout(ANSWER_MAX, self.control.client.query(asked, &[&self.leaving])).await;
            let rows = rows.map_err(|_| Lost::during("ask which sessions have ended", "no answer"))?;
            let rows = rows.map_err(|error| said("ask which sessions have ended", &error))?;
            self.leaving = rows.iter().map(|row| row.get(0)).collect();
            if begin.elapsed() > DEPARTURE_MAX {
                return Err(Lost::new("a session is still at the server, though its client has left"));
            }
        }
        Ok(())
    }

    pub(super) async fn ask(&self, sent: &[ConnectionId]) -> Result<Vec<Said>, Lost> {
        ask(&self.control.client, &self.isolation, self.pids(sent)).await
    }

    fn pids(&self, sent: &[ConnectionId]) -> Vec<i32> {
        sent.iter().filter_map(|id| self.sessions.get(id).and_then(|session| session.pid)).collect()
    }

    pub(super) fn all_wait(&self, sent: &[ConnectionId], said: &[Said]) -> bool {
        let known: Vec<i32> = self.sessions.values().filter_map(|session| session.pid).collect();
        let pids = self.pids(sent);
        pids.len() == sent.len() && all_wait(&pids, said, &known)
    }

    /// Notes who waits for whom, by the server's word.
    async fn note_waits(
        &mut self,
        sent: &[ConnectionId],
        said: &[Said],
        started: Option<ConnectionId>,
        moved: &mut Moved,
    ) -> Result<(), Lost> {
        for (connection, said) in sent.iter().zip(said) {
            let by = |session: &&Session| session.pid.is_some_and(|pid| said.waits_for.contains(&pid));
            let mut by: Vec<usize> = self.sessions.values().filter(by).map(|session| session.actor).collect();
            by.sort_unstable();
            by.dedup();
            let Some(session) = self.sessions.get_mut(connection) else { continue };
            let is_news = !std::mem::replace(&mut session.waits, true);
            if is_news {
                self.waited_at = Some(Instant::now());
            }
            let (actor, step) = (session.actor, session.step);
            if let Some(step) = step
                && started == Some(*connection)
                && is_news
            {
                self.waiters.insert((actor, step));
                moved.0.push(Event::new(actor, step, What::Waits { by }));
                moved.1.add(&self.touched_waiting(*connection, said.locks.clone()).await?);
            }
        }
        Ok(())
    }

    /// The actors of which a session is in a transaction, holds a lock of its own, or works.
    pub(super) async fn busy(&self) -> Result<Vec<usize>, Lost> {
        let ids: Vec<ConnectionId> = self.sessions.keys().copied().collect();
        let said = self.ask(&ids).await?;
        let is_busy = |said: &Said| said.active || said.in_transaction || said.locks.advisory;
        let known = ids.iter().filter(|id| self.sessions[id].pid.is_some());
        let busy = known.zip(&said).filter(|(_, said)| is_busy(said));
        Ok(busy.map(|(id, _)| self.sessions[id].actor).collect())
    }
}
