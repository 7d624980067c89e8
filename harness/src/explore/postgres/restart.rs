//! The server is restarted in place of a step: every session ends, and whoever had one learns of it with what it waits for,
//! or with what it sends next.

use super::beginning::Beginning;
use super::session::Actor;
use super::{Control, Pace, PgWorld};
use crate::explore::fault::Injected;
use crate::explore::footprint::{Footprint, Touch};
use crate::explore::world::{Choice, Event, Lost, Taken};
use crate::scenario::script::{ActorState, FaultKind};

const RESTARTED: Injected = Injected { kind: FaultKind::Restarted, kept: false };

impl PgWorld {
    /// Restarts the server in place of this step.
    pub(super) async fn restart(
        &mut self,
        choice: Choice,
        sent: (usize, String),
        last: Option<&Taken>,
    ) -> Result<Taken, Lost> {
        self.site.restart().await?;
        self.control = Control::open(self.site.config()).await?;
        self.control.hazards.look(&self.control.client).await?;
        if let Beginning::Rows(kept) = &mut self.beginning {
            kept.move_to(&self.control.client).await;
        }
        let (script, mut events) = (self.script.clone(), Vec::new());
        for (number, of) in script.actors.iter().enumerate() {
            let opened = Actor::open(self.site.config(), of, self.superuser).await?;
            let gone = std::mem::replace(&mut self.actors[number], opened);
            let one = &mut self.actors[number];
            (one.progress, one.told, one.began) = (gone.progress, gone.told, gone.began);
            let step = one.progress.next;
            if number == choice.actor || one.progress.state == ActorState::Waiting {
                events.push(Event::failed(number, step, RESTARTED));
                let _ = one.progress.refused(of, FaultKind::Restarted.code());
            } else {
                one.is_gone = gone.began && one.progress.state == ActorState::Ready;
            }
        }
        let mut touched = Footprint::everything();
        touched.touch_sessions(Touch::Exclusive);
        Ok(self.taken(choice, sent, events, touched, last))
    }

    /// What comes of a step of whom has no session any more, and is about to learn it.
    pub(super) async fn learn(
        &mut self,
        choice: Choice,
        sent: (usize, String),
        last: Option<&Taken>,
    ) -> Result<Taken, Lost> {
        let (actor, script) = (choice.actor, self.script.clone());
        let one = &mut self.actors[actor];
        one.is_gone = false;
        let mut events = vec![Event::failed(actor, one.progress.next, RESTARTED)];
        // Its new session has nothing open.
        let _ = one.progress.refused(&script.actors[actor], FaultKind::Restarted.code());
        let (more, touched) = self.settle(actor, Pace::of(last)).await?;
        events.extend(more);
        Ok(self.taken(choice, sent, events, touched, last))
    }
}
