//! What a step of a script was seen to touch: the locks that its transaction holds, and what the server
//! printed of every statement that was run.

use futures_util::future::try_join;

use super::printed::Printed;
use super::question::{Did, Sort, ask_ended, observe, touch, with_locks_by_name, with_settings};
use super::{Control, PgWorld, said};
use crate::explore::footprint::{Footprint, Touch};
use crate::explore::statement::{Does, Message, message, sets_timeout};
use crate::explore::world::Lost;
use crate::scenario::script::ActorState;

impl PgWorld {
    /// What a step touched that has just ended.
    pub(super) async fn observed(&mut self, actor: usize, failed: bool) -> Result<Footprint, Lost> {
        let of = self.message(actor);
        let printed = self.actors[actor].printed();
        if self.actors[actor].progress.state == ActorState::Waiting {
            // Not all that it ran was known when it began to wait.
            self.tell_of_timeout(actor, &printed);
        }
        let (control, one) = (&self.control, &mut self.actors[actor]);
        let (before, looks) = (one.note.in_transaction, !failed && !one.note.aborted);
        // What only works with rows changes no setting, unless it does what nobody sees.
        let plain = looks && of.does == Does::Works && !control.hazards.other(&printed.functions);
        let asked = ask_ended(&control.client, &control.ask, one.pid);
        let own = async {
            match looks && !one.is_unprinted {
                true => control.own(&printed, of, before).await,
                false => Ok(None),
            }
        };
        let (said, own) = try_join(asked, own).await?;
        let names_all = of.locks || control.hazards.hides_sequence(&printed);
        let own = if names_all { with_locks_by_name(own, &said) } else { own };
        // The schema may have another shape now.
        self.changed |=
            !failed && (printed.utilities != of.utilities || of.does == Does::Mixed || printed.analysed == 0);
        let keeps_settings = plain && own.is_some();
        if !said.aborted && !keeps_settings {
            one.note.settings = one.ask_settings().await?;
        }
        let unclear = own.as_ref().is_none_or(|own| own.everything);
        let sort = match of.does {
            _ if failed && of.does != Does::Mixed => Sort::Failed,
            Does::Begin => Sort::Begin,
            Does::Commit | Does::RollBack => Sort::End,
            Does::TakesBack => Sort::TakesBack,
            Does::Session => Sort::Session,
            Does::Code | Does::Works | Does::Mixed => Sort::Other,
        };
        let own = own.or_else(|| Some(Footprint::everything()).filter(|_| sort != Sort::Begin));
        let settings = one.note.settings;
        let goes_on = said.in_transaction;
        let footprint = observe(&mut one.note, said, Did { sort, own, settings });
        if unclear && goes_on && sort == Sort::Other {
            // What was done without being seen is part of the transaction up to its end.
            one.note.touched.everything = true;
        }
        Ok(footprint)
    }

    /// What a waiting step has touched so far, beside the locks that it has or wants.
    pub(super) async fn touched_waiting(&mut self, actor: usize, mut locks: Footprint) -> Result<Footprint, Lost> {
        let one = &self.actors[actor];
        let (settings, in_transaction, printed) = (one.note.settings, one.note.in_transaction, one.printed());
        let message = self.message(actor);
        self.tell_of_timeout(actor, &printed);
        let own = match self.actors[actor].is_unprinted {
            true => None,
            false => self.control.own(&printed, message, in_transaction).await?,
        };
        locks.add(&own.unwrap_or_else(Footprint::everything));
        Ok(with_settings(locks, settings))
    }

    fn message(&self, actor: usize) -> Message {
        message(&self.sql(actor))
    }

    /// Tells of a step that waits or has waited under other settings, perhaps, than those that its session is asked for
    /// before and after it.
    fn tell_of_timeout(&mut self, actor: usize, printed: &Printed) {
        if self.control.hazards.may_set_timeout(printed) || sets_timeout(&self.sql(actor)) {
            self.bounds.insert("a timeout that a step sets while it is run does not end its waits");
        }
    }

    fn sql(&self, actor: usize) -> String {
        let step = &self.script.actors[actor].steps[self.actors[actor].progress.next];
        self.actors[actor].progress.sql(&self.case, step)
    }
}

impl Control {
    /// What the statements of a message touched by themselves; nothing if that is not certain.
    async fn own(&self, printed: &Printed, message: Message, in_transaction: bool) -> Result<Option<Footprint>, Lost> {
        let hazards = &self.hazards;
        // `DO` and `CALL` can end transactions, without a word, where they are in none.
        let code = message.does == Does::Code;
        // The arguments of `CALL`, and the defaults of a procedure, are computed without being planned.
        let unplanned = message.calls || message.does == Does::Mixed;
        let unseen = hazards.unseen || unplanned || code && !in_transaction;
        let other = printed.analysed == 0 || printed.utilities != message.utilities || printed.unclear;
        if unseen || other || hazards.other(&printed.functions) {
            return Ok(None);
        }
        let functions: Vec<u32> = printed.functions.iter().copied().filter(|oid| *oid >= 16_384).collect();
        if !functions.is_empty() && !self.all_seen(&functions).await? {
            return Ok(None);
        }
        self.named(printed, in_transaction).await
    }

    /// What printed statements touched by themselves, by name; nothing if that is not certain.
    pub(in crate::explore) async fn named(
        &self,
        printed: &Printed,
        in_transaction: bool,
    ) -> Result<Option<Footprint>, Lost> {
        let hazards = &self.hazards;
        let mut own = Footprint { advisory: hazards.advisory(&printed.functions), ..Footprint::of_statement() };
        let relations: Vec<u32> = printed.relations.keys().copied().collect();
        if !relations.is_empty() {
            let asking = |error| said("ask for the names of relations", &error);
            for row in self.client.query(&self.names, &[&relations]).await.map_err(asking)? {
                let (oid, kind, name, temporary): (u32, &str, &str, bool) =
                    (row.get(0), row.get(1), row.get(2), row.get(3));
                let how = printed.relations[&oid];
                if oid < 16_384 && how >= Touch::Write {
                    // Somebody writes to the catalog itself.
                    own.everything = true;
                } else if oid >= 16_384 && !temporary {
                    touch(&mut own, kind, name, how);
                }
            }
        }
        // A sequence that is computed is in no plan. Its lock is in `pg_locks` as long as the transaction lasts, even if a
        // savepoint is gone back to; of a statement by itself nothing is left to be seen.
        if hazards.hides_sequence(printed) && !in_transaction {
            return Ok(None);
        }
        Ok(Some(own).filter(|own| !own.everything))
    }

    /// Whether what these functions of the script's own do is printed.
    async fn all_seen(&self, functions: &[u32]) -> Result<bool, Lost> {
        let asked = self.client.query_one(&self.seen, &[&functions]).await;
        let seen: i64 = asked.map_err(|error| said("ask about functions", &error))?.get(0);
        Ok(usize::try_from(seen) == Ok(functions.len()))
    }
}
