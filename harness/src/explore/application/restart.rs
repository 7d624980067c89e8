//! The server is restarted in place of a unit: every program loses its sessions. Whoever connects again meanwhile waits until
//! the server is back.

use driftlock_wire::ConnectionId;
use tokio::time::Instant;

use super::begin::question;
use super::settle::{DEPARTURE_MAX, LOOK_EVERY, Moved};
use super::{AppWorld, Shown, transcript};
use crate::explore::fault::{Fault, Injected};
use crate::explore::footprint::{Footprint, Touch};
use crate::explore::postgres::Control;
use crate::explore::postgres::beginning::Beginning;
use crate::explore::world::{Event, Lost};

impl AppWorld {
    /// Restarts the server in place of the unit that this connection is held with.
    pub(super) async fn restart(
        &mut self,
        fault: Fault,
        connection: ConnectionId,
        moved: &mut Moved,
    ) -> Result<(), Lost> {
        let Fault { actor, step, kind } = fault;
        self.strike(fault, Some(connection));
        let last = self.sessions.keys().next_back().copied();
        self.struck.iter_mut().for_each(|struck| struck.all_until = last);
        let injected = Injected { kind, kept: false };
        moved.0.push(Event::failed(actor, step, injected));
        for other in (0..self.actors.len()).filter(|other| *other != actor) {
            if self.connections(other) > 0 {
                let step = self.loses_session(other);
                self.hit(other, step);
                if self.is_struck(other) {
                    moved.0.push(Event::failed(other, step, injected));
                }
            }
        }
        for session in self.sessions.values_mut() {
            session.step = None;
        }
        moved.1.add(&Footprint::everything());
        moved.1.touch_sessions(Touch::Exclusive);
        self.gate.server_is_away(true);
        self.site.restart().await?;
        self.control = Control::open(self.site.config()).await?;
        self.isolation = question(&self.control).await?;
        if let Beginning::Rows(kept) = &mut self.beginning {
            kept.move_to(&self.control.client).await;
        }
        self.look_at_schema().await?;
        let begin = Instant::now();
        loop {
            self.hear(moved).await?;
            if self.sessions.keys().all(|one| Some(*one) > last) {
                break;
            }
            if begin.elapsed() > DEPARTURE_MAX {
                return Err(Lost::new("a connection is still open, though the server was restarted"));
            }
            let _ = tokio::time::timeout(LOOK_EVERY, self.gate.changes()).await;
        }
        self.gate.server_is_away(false);
        Ok(())
    }

    /// The step of an actor with which it learns that its session has ended: the one that is under way, or the next one,
    /// which is never sent.
    fn loses_session(&mut self, actor: usize) -> usize {
        let is_done = self.actors[actor].outcome.is_some();
        let under_way = self.sessions.values().find_map(|session| session.step.filter(|_| session.actor == actor));
        if let Some(step) = under_way {
            return step;
        }
        let step = self.actors[actor].step;
        if !is_done {
            self.actors[actor].step += 1;
            let held = self.gate.next(actor).map(|(_, unit)| transcript::shown(&unit));
            let sql = held.unwrap_or_else(|| "-- waits for something outside of the database".to_owned());
            self.transcript.insert((actor, step), Shown { sql, rows: Vec::new() });
        }
        step
    }
}
