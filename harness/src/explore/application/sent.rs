//! What an application has sent, as it was asked of the server, and what may be changed of it.

use std::collections::{BTreeMap, BTreeSet};

use driftlock_wire::{Source, Step, Unit};

use super::AppWorld;
use crate::app::rewriting::Rewriter;
use crate::explore::captured::with_schema;
use crate::explore::footprint::{Footprint, Touch};
use crate::explore::postgres::answer::ask_all;
use crate::explore::world::{Lost, Rows};

/// The most bytes of texts that are kept.
const TEXT_BYTES_MAX: usize = 4 << 20;

/// What is changed of an application and its database, before anything of it runs.
#[derive(Clone, Debug, Default)]
pub struct Alteration {
    /// What the actors' texts become.
    pub rewriter: Option<Rewriter>,
    /// Statements that follow the set-up.
    pub after_setup: Vec<String>,
    /// Options that sessions begin with, each after a space; those that a client asks for come later, and prevail.
    pub session: String,
    /// Whoever was refused with 40001 or 40P01 is refused again, whenever it sends again what it sent before.
    pub keeps_from_retrying: bool,
}

/// What was sent, over all executions.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// Each text that was run, with who did: an actor's name, and the number of its first such unit, from 1. A program
    /// that stays sends less than in its first execution, so that numbers are those of an execution that follows.
    pub texts: BTreeMap<String, BTreeMap<String, usize>>,
    /// There were more texts than are kept, longer ones than are looked at, more in a unit than were described, or
    /// something was run of which no text was seen.
    pub is_cut: bool,
    /// The relations that were written to, as far as the server said, by schema and name.
    pub written: BTreeSet<String>,
    /// Something was done of which the server did not say what it touches.
    pub is_unclear: bool,
    /// A client asked for an isolation level when it connected.
    pub asks_at_connection: bool,
    /// The codes with which an actor was refused that then sent again what it had sent before, each with who did.
    pub retried: BTreeMap<String, BTreeSet<String>>,
    /// How many units ran something that was written anew, or were refused as another attempt.
    pub rewritten: u64,
    /// The bytes of the texts.
    bytes: usize,
}

impl Sent {
    /// Notes a unit that was let through.
    pub(super) fn note(&mut self, actor: &str, step: usize, unit: &Unit, is_rewritten: bool) {
        self.rewritten += u64::from(is_rewritten);
        let is_unseen = |step: &Step| match step {
            Step::Query { text } => text.cut,
            Step::Execute { statement: Source::Known(text), .. } => text.cut,
            Step::Execute { .. } => true,
            _ => false,
        };
        self.is_cut |= unit.steps_left_out > 0 || !unit.whole || unit.steps.iter().any(is_unseen);
        for text in unit.statements() {
            if !self.texts.contains_key(text) {
                if self.bytes + text.len() > TEXT_BYTES_MAX {
                    self.is_cut = true;
                    continue;
                }
                self.bytes += text.len();
                self.texts.insert(text.to_owned(), BTreeMap::new());
            }
            if let Some(places) = self.texts.get_mut(text) {
                let first = places.entry(actor.to_owned()).or_insert(step + 1);
                *first = (*first).min(step + 1);
            }
        }
    }

    /// Notes what was touched.
    pub(super) fn touch(&mut self, footprint: &Footprint) {
        self.is_unclear |= footprint.everything;
        let written = footprint.relations.iter().filter(|(_, touch)| **touch >= Touch::Write);
        self.written.extend(written.map(|(name, _)| name.clone()));
    }
}

impl AppWorld {
    /// What was sent so far.
    pub fn sent_so_far(&self) -> &Sent {
        &self.sent
    }

    /// What new sessions' transactions are, where nobody asks for anything else.
    pub fn default_isolation(&self) -> &str {
        &self.default_isolation
    }

    /// Asks the database, beside the actors.
    ///
    /// # Errors
    /// The database is lost.
    pub async fn ask_beside(&self, queries: &[String]) -> Result<Vec<Result<Rows, String>>, Lost> {
        ask_all(&self.control.client, queries).await
    }

    /// The types of a statement's parameters as casts name them; nothing where the server does not take it.
    pub async fn types_of(&self, text: &str) -> Option<Vec<String>> {
        let prepared = self.control.client.prepare(text).await.ok()?;
        Some(prepared.params().iter().map(with_schema).collect())
    }
}

#[cfg(test)]
mod tests {
    use driftlock_wire::{Kind, Text};

    use super::*;

    #[test]
    fn what_is_run_and_was_not_read_to_its_end_is_noted() {
        let text = |cut| Text { text: "SELECT 1".into(), cut };
        let run = |statement| Step::Execute { portal: text(false), statement, rows_max: 0 };
        for (step, is_cut) in [
            (Step::Query { text: text(false) }, false),
            (Step::Query { text: text(true) }, true),
            (run(Source::Known(text(false))), false),
            (run(Source::Known(text(true))), true),
            (run(Source::Forgotten), true),
            (run(Source::NotSeen), true),
            (Step::Sync, false),
        ] {
            let steps = vec![step.clone()];
            let unit =
                Unit { number: 1, kind: Kind::Query, steps, steps_left_out: 0, bytes: 1, whole: true, unknown: false };
            let mut sent = Sent::default();
            sent.note("ann", 0, &unit, false);
            assert_eq!(sent.is_cut, is_cut, "{step:?}");
        }
    }
}
