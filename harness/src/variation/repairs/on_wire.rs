//! Repairs of what programs send, where there is no script to put steps into.

use super::Job;
use crate::explore::statement::{Does, message};
use crate::variation::Variation;
use crate::variation::rule::TextRule;

/// Whether a text begins a transaction, and does nothing else.
pub(in crate::variation) fn begins(text: &str) -> bool {
    let of = message(text);
    of.statements == 1 && of.does == Does::Begin
}

impl Job<'_> {
    /// A stricter isolation level where transactions begin. Whoever is refused for it has to begin anew by itself.
    pub(super) fn begun_at(&self, level: &str) -> Option<Variation> {
        let mut draft = self.draft();
        let rule = TextRule::Isolation(level.to_owned());
        let mut changed = false;
        for actor in 0..draft.script.actors.len() {
            for step in 0..draft.script.actors[actor].steps.len() {
                changed |= draft.applies(&rule, (actor, step));
            }
        }
        draft.on_wire.rules.push(rule);
        changed.then(|| draft.named(format!("{level}, retries left to the program")))
    }

    /// An advisory lock of the transaction, as the first thing in each. By what rows it could be told apart is in
    /// parameters that come later, so that there is one for the tables.
    pub(super) fn lock_after_begin(&self) -> Option<Variation> {
        let tables = self.shared.join(", ");
        let key = tables.replace('\'', "''");
        let lock = format!("SELECT pg_advisory_xact_lock(hashtextextended('{key}', 0))");
        let mut draft = self.draft();
        for actor in 0..draft.script.actors.len() {
            for step in 0..draft.script.actors[actor].steps.len() {
                let begin = draft.script.actors[actor].steps[step].sql.clone();
                if begins(&begin) {
                    let begin = begin.trim_end().trim_end_matches(';').to_owned();
                    draft.rewrite((actor, step), format!("{begin}; {lock}"));
                }
            }
        }
        let is_any = !self.shared.is_empty() && !draft.altered.is_empty();
        draft.on_wire.first = Some(lock);
        is_any.then(|| draft.named(format!("pg_advisory_xact_lock on {tables}, first of all")))
    }
}
