//! Whether an actor begins anew after the server has refused it for concurrency's sake, and how it is kept from that: what it
//! sends again is refused again, with the same code, as a server may that has as much to do as before.

use std::collections::BTreeSet;

use driftlock_wire::{Admission, ConnectionId, Unit};

use super::AppWorld;
use super::fault::refusal;
use crate::explore::world::What;
use crate::scenario::script::FaultKind;

/// What an actor has sent in this execution, and whether it was refused.
#[derive(Clone, Debug, Default)]
pub(super) struct Retries {
    /// The shapes of its units.
    sent: BTreeSet<String>,
    /// With what it was refused first.
    refused: Option<FaultKind>,
}

impl Retries {
    /// A unit is sent: if it was sent before a refusal, which that was; it is a part of another attempt then.
    pub fn sends(&mut self, shape: &str, unit: &Unit) -> Option<FaultKind> {
        let is_known = !self.sent.insert(shape.to_owned());
        // BEGIN and ROLLBACK alone are no attempt.
        self.refused.filter(|kind| is_known && refusal(*kind, unit).is_some())
    }

    /// What came of a unit.
    pub fn came(&mut self, what: &What) {
        let What::Failed { code, .. } = what else { return };
        let kinds = [FaultKind::Serialization, FaultKind::Deadlock];
        self.refused = self.refused.or(kinds.into_iter().find(|kind| kind.code() == code));
    }
}

impl AppWorld {
    /// What becomes of a unit in which nothing is let fail: it may be part of another attempt, that is not to succeed.
    pub(super) fn attempted(
        &mut self,
        actor: usize,
        step: usize,
        connection: ConnectionId,
        unit: &Unit,
        shape: &str,
    ) -> Admission {
        let Some(kind) = self.actors[actor].retries.sends(shape, unit) else { return Admission::Forward };
        let name = self.actors[actor].name.clone();
        self.sent.retried.entry(kind.code().to_owned()).or_default().insert(name);
        let aborted = self.sessions.get(&connection).is_some_and(|session| session.note.aborted);
        let refused = refusal(kind, unit).filter(|_| !aborted && self.keeps_from_retrying);
        if refused.is_some() {
            self.sent.rewritten += 1;
            self.kept_back.insert((actor, step));
            if !self.hits.contains_key(&actor) {
                self.hit(actor, step);
            }
        }
        refused.unwrap_or(Admission::Forward)
    }
}

#[cfg(test)]
mod tests {
    use driftlock_wire::{Kind, Step, Text};

    use super::*;

    #[test]
    fn what_was_sent_before_a_refusal_and_is_sent_again_is_another_attempt() {
        let mut retries = Retries::default();
        let sends = |retries: &mut Retries, sql: &str| {
            let steps = vec![Step::Query { text: Text { text: sql.into(), cut: false } }];
            let (number, kind, steps_left_out, bytes) = (1, Kind::Query, 0, 0);
            let unit = Unit { number, kind, steps, steps_left_out, bytes, whole: true, unknown: false };
            retries.sends(sql, &unit)
        };
        let failed = |code: &str| What::Failed { code: code.to_owned(), message: String::new() };
        for sql in ["BEGIN", "SELECT v FROM t", "SELECT v FROM t", "UPDATE t SET v = 1"] {
            assert_eq!(sends(&mut retries, sql), None, "{sql}");
        }
        retries.came(&failed("23505"));
        assert_eq!(sends(&mut retries, "SELECT v FROM t"), None);
        retries.came(&failed("40001"));
        retries.came(&failed("40P01"));
        assert_eq!(sends(&mut retries, "BEGIN"), None);
        assert_eq!(sends(&mut retries, "SELECT v FROM t"), Some(FaultKind::Serialization));
        assert_eq!(sends(&mut retries, "INSERT INTO failures VALUES (1)"), None);
    }
}
