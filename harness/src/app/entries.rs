//! Programs that ask for a session: whose next one is held until somebody decides on it, and that all wait while the server
//! is away.

use driftlock_wire::{Admission, Ticket};
use tokio::sync::oneshot;

/// Who asks for a session.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// Whose next session is held.
    next_of: Option<usize>,
    /// The one that is held.
    held: Option<(usize, oneshot::Sender<Admission>)>,
    /// The server is away.
    closed: bool,
    waiting: Vec<oneshot::Sender<Admission>>,
}

impl Entries {
    /// From now on the next session of this actor is held. One that is held already is dropped.
    pub fn hold_next(&mut self, of: Option<usize>) {
        (self.next_of, self.held) = (of, None);
    }

    /// Somebody asks for a session; if it is to be held, that is the answer to give out.
    pub fn asked(&mut self, actor: Option<usize>) -> Option<Ticket> {
        if self.closed {
            let (sender, decided) = oneshot::channel();
            self.waiting.push(sender);
            return Some(later(decided));
        }
        let actor = self.next_of.filter(|of| Some(*of) == actor)?;
        let (sender, decided) = oneshot::channel();
        (self.next_of, self.held) = (None, Some((actor, sender)));
        Some(later(decided))
    }

    /// Whose session is held.
    pub fn held(&self) -> Option<usize> {
        self.held.as_ref().map(|(actor, _)| *actor)
    }

    /// Decides on the session that is held.
    pub fn decide(&mut self, admission: Admission) {
        // Whose client has left in the meantime needs no decision.
        let _ = self.held.take().map(|(_, sender)| sender.send(admission));
    }

    /// Nobody gets a session as long as this is so; then all that have asked for one do.
    pub fn close(&mut self, closed: bool) {
        self.closed = closed;
        if !closed {
            std::mem::take(&mut self.waiting).into_iter().for_each(|sender| drop(sender.send(Admission::Forward)));
        }
    }
}

/// A gate that is gone lets nobody in.
fn later(decided: oneshot::Receiver<Admission>) -> Ticket {
    Ticket::later(async move { decided.await.unwrap_or(Admission::Drop) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_held(ticket: Option<Ticket>) -> bool {
        matches!(ticket, Some(Ticket::Later(_)))
    }

    #[test]
    fn one_session_of_one_actor_is_held() {
        let mut entries = Entries::default();
        assert!(!is_held(entries.asked(Some(0))));
        entries.hold_next(Some(1));
        assert!(!is_held(entries.asked(Some(0))) && !is_held(entries.asked(None)));
        assert!(is_held(entries.asked(Some(1))));
        assert_eq!(entries.held(), Some(1));
        assert!(!is_held(entries.asked(Some(1))));
        entries.decide(Admission::Forward);
        assert_eq!(entries.held(), None);
    }

    #[tokio::test]
    async fn whoever_asks_while_the_server_is_away_is_let_in_when_it_is_back() {
        let mut entries = Entries::default();
        entries.close(true);
        let Some(Ticket::Later(decided)) = entries.asked(None) else { panic!("nobody is let in") };
        entries.close(false);
        assert_eq!(decided.await, Admission::Forward);
        assert!(!is_held(entries.asked(None)));
    }
}
