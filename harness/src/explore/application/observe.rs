//! What a unit was seen to touch: the locks that its transaction holds, and what the server printed of its statements.
//!
//! A script's statements are planned anew before they are looked at. An application's session is its own, so that is not
//! done: what it has planned before is not printed again, and what was not printed counts as everything. `plan_cache_mode`
//! has the server plan each statement with parameters anew (postgresql.org/docs/15/runtime-config-query.html).

use std::time::Duration;

use driftlock_wire::{Answer, ConnectionId, Kind, Source, Step, Text, Unit};

use tokio::time::Instant;

use super::{AppWorld, Session, TIMEOUTS, transcript};
use crate::explore::footprint::{Footprint, Touch};
use crate::explore::postgres::printed::Printed;
use crate::explore::postgres::question::{Did, Sort, ask_ended, kept, observe, with_locks_by_name, with_settings};
use crate::explore::postgres::said;
use crate::explore::statement::{Does, Message, message};
use crate::explore::world::{Lost, Settings};

/// How long it may take until what a waiting unit has printed has come through the proxy.
const PRINTED_WITHIN: Duration = Duration::from_millis(20);

/// The relations with a trigger of the user's own: what it does is printed once a session only.
const TRIGGERED: &str = "\
    SELECT DISTINCT pg_catalog.concat(n.nspname, '.', c.relname) FROM pg_catalog.pg_trigger t \
    JOIN pg_catalog.pg_class c ON c.oid = COALESCE(pg_catalog.pg_partition_root(t.tgrelid), t.tgrelid) \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal";

/// Whether a function of the user's own may leave something in its session, as far as its text says; or a sequence, of
/// which sessions keep several values at once.
const LEAKY: &str = "\
    SELECT EXISTS (SELECT FROM pg_catalog.pg_sequences WHERE cache_size > 1) OR EXISTS ( \
    SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
    LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid \
        AND d.deptype = 'e' \
    WHERE p.oid >= 16384 AND d.objid IS NULL AND (l.lanname NOT IN ('sql', 'plpgsql') OR p.prosrc ~* \
    '(set_config|advisory_lock|advisory_unlock|currval|lastval|\\m(temp|temporary|listen|prepare|execute|load|reset)\\M)' \
    OR p.prosrc ~* '(^|;|\\mbegin|\\mthen|\\melse)\\s*set\\s'))";

/// Whether something may be checked at COMMIT alone.
const DEFERS: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE condeferrable)";

impl AppWorld {
    /// Looks again at what the schema may do unseen.
    pub(super) async fn look_at_schema(&mut self) -> Result<(), Lost> {
        self.control.hazards.look(&self.control.client).await?;
        let asked = self.control.client.query(TRIGGERED, &[]).await;
        let rows = asked.map_err(|error| said("ask which tables have triggers", &error))?;
        self.triggered = rows.iter().map(|row| row.get(0)).collect();
        let asked = self.control.client.query_one(LEAKY, &[]).await;
        let defers = self.control.client.query_one(DEFERS, &[]).await;
        self.defers = defers.map_err(|error| said("ask what is checked at COMMIT", &error))?.get(0);
        self.leaky = asked.map_err(|error| said("ask what functions do", &error))?.get(0);
        Ok(())
    }

    /// What a unit touched that was just answered.
    pub(super) async fn observed(
        &mut self,
        connection: ConnectionId,
        unit: &Unit,
        answer: &Answer,
        printed: Option<Printed>,
        failed: bool,
    ) -> Result<Footprint, Lost> {
        let Some(session) = self.sessions.get_mut(&connection) else { return Ok(Footprint::everything()) };
        let (Some(pid), Some(_)) = (session.pid, answer.transaction) else {
            // The server has not said how its transaction stands: more of the batch is to come.
            session.note.touched.everything = true;
            return Ok(Footprint::everything());
        };
        let printed_of = printed.as_ref();
        let said = ask_ended(&self.control.client, &self.isolation, pid).await?;
        let (before, was_aborted) = (session.note.in_transaction, session.note.aborted);
        // Who has left since lets go of what it had before, too.
        session.keeps = said.locks.advisory || session.keeps && self.struck.is_some_and(|of| of.ends(connection));
        session.note_isolation(unit);
        let settings = Settings {
            snapshot: said.snapshot && session.may_isolate,
            serializable: session.serializable || said.serializable,
            ..Settings::default()
        };
        session.note.settings = settings;
        let of = message(&texts(unit));
        let runs = transcript::runs(unit);
        if !runs && !before && !said.in_transaction {
            return Ok(Footprint::of_statement());
        }
        let own = match (failed || was_aborted, runs) {
            (true, _) => None,
            (false, false) => Some(Footprint::of_statement()),
            (false, true) => self.own(printed_of, unit, of, before).await?,
        };
        let hides = printed_of.is_some_and(|printed| self.control.hazards.hides_sequence(printed));
        let own = if of.locks || hides { with_locks_by_name(own, &said) } else { own };
        let sort = match of.does {
            _ if failed && of.does != Does::Mixed => Sort::Failed,
            _ if !runs => Sort::Other,
            Does::Begin => Sort::Begin,
            Does::Commit | Does::RollBack => Sort::End,
            Does::TakesBack => Sort::TakesBack,
            Does::Session => Sort::Session,
            Does::Code | Does::Works | Does::Mixed => Sort::Other,
        };
        if runs && own.is_none() && !failed {
            // What nobody saw may have set the isolation of what follows.
            self.sessions.get_mut(&connection).expect("it was there").may_isolate = true;
        }
        let unclear = own.as_ref().is_none_or(|own| own.everything);
        self.schema_changed |= unclear && !failed;
        let own = own.or_else(|| Some(Footprint::everything()).filter(|_| sort != Sort::Begin));
        let (goes_on, session) = (said.in_transaction, self.sessions.get_mut(&connection).expect("it was there"));
        let footprint = observe(&mut session.note, said, Did { sort, own, settings });
        if unclear && goes_on && sort == Sort::Other {
            // What was done without being seen is part of the transaction up to its end.
            session.note.touched.everything = true;
        }
        Ok(footprint)
    }

    /// What was touched where the server has refused a unit in our name: nothing was read for it, and at most all is let go
    /// that its transaction had touched.
    pub(super) async fn observed_refusal(&mut self, connection: ConnectionId, unit: &Unit) -> Result<Footprint, Lost> {
        let Some(session) = self.sessions.get_mut(&connection) else { return Ok(Footprint::everything()) };
        // What of it was carried out before may have begun the transaction.
        session.note_isolation(unit);
        let Some(pid) = session.pid else { return Ok(Footprint::everything()) };
        let said = ask_ended(&self.control.client, &self.isolation, pid).await?;
        let note = &mut session.note;
        (note.in_transaction, note.aborted) = (said.in_transaction, said.aborted);
        let touched = note.touched.clone();
        note.touched = kept(std::mem::take(&mut note.touched), &said);
        Ok(Footprint { ends: touched.writes() || touched.advisory, ..touched })
    }

    /// What a waiting unit has touched so far, beside the locks that it has or wants. Which state it sees is not known
    /// before it ends.
    pub(super) async fn touched_waiting(
        &mut self,
        connection: ConnectionId,
        mut locks: Footprint,
    ) -> Result<Footprint, Lost> {
        let unit =
            self.gate.look(|id, seat| (id == connection).then(|| seat.sent.clone())).into_iter().flatten().next();
        let (Some(session), Some(Some(unit))) = (self.sessions.get(&connection), unit) else {
            return Ok(Footprint::everything());
        };
        let names = names(&unit, "isolation");
        let settings = Settings {
            snapshot: session.may_isolate || names,
            serializable: session.serializable || names,
            ..Settings::default()
        };
        let (of, begin) = (message(&texts(&unit)), Instant::now());
        let own = loop {
            let printed = self.gate.logs(connection).map(|trees| Printed::of(&trees));
            let own = self.own(printed.as_ref(), &unit, of, session.note.in_transaction).await?;
            // It printed before it waited; that may still be on its way, since the server is asked in another session.
            if own.is_some() || begin.elapsed() > PRINTED_WITHIN {
                break own;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        let printed = self.gate.logs(connection).map(|trees| Printed::of(&trees)).unwrap_or_default();
        if self.control.hazards.may_set_timeout(&printed) {
            self.bounds.insert(TIMEOUTS.to_owned());
        }
        locks.add(&own.unwrap_or_else(Footprint::everything));
        Ok(with_settings(locks, settings))
    }

    /// What the statements of a unit touched by themselves; nothing if that is not certain.
    async fn own(
        &self,
        printed: Option<&Printed>,
        unit: &Unit,
        of: Message,
        in_transaction: bool,
    ) -> Result<Option<Footprint>, Lost> {
        let Some(printed) = printed.filter(|printed| is_accounted(printed, unit, of, in_transaction)) else {
            return Ok(None);
        };
        let hazards = &self.control.hazards;
        // What an expression of a constraint calls is printed once a session only.
        if hazards.unseen || hazards.expressions_call || hazards.other_than_settings(&printed.functions) {
            return Ok(None);
        }
        let own = self.control.named(printed, in_transaction).await?;
        let runs_unseen = |(name, touch): (&String, &Touch)| *touch >= Touch::Write && self.triggered.contains(name);
        Ok(own.filter(|own| !own.relations.iter().any(runs_unseen)))
    }
}

impl Session {
    /// Notes what a unit says of isolation. An idle session that holds a snapshot may only have a portal open, so that it
    /// is asked only of one whose transactions may be others than READ COMMITTED: there is no way to them that does not
    /// name them, in a text, a parameter, or a function of the user's.
    pub(super) fn note_isolation(&mut self, unit: &Unit) {
        self.may_isolate |= names(unit, "isolation");
        self.serializable |= names(unit, "serializable");
    }
}

/// Whether a unit has a word in its texts and parameters, or may have it in what was not kept of them.
fn names(unit: &Unit, word: &str) -> bool {
    let has = |text: &Text| text.cut || text.text.to_ascii_lowercase().contains(word);
    unit.steps_left_out > 0
        || !unit.whole
        || unit.steps.iter().any(|step| match step {
            Step::Query { text } | Step::Parse { text, .. } => has(text),
            Step::Bind { parameters, cut, .. } => {
                *cut || parameters.iter().filter_map(|one| one.value.as_ref()).any(has)
            }
            Step::Execute { statement: Source::Known(text), .. } => has(text),
            Step::Execute { .. } | Step::Unknown { .. } | Step::FunctionCall { .. } => true,
            _ => false,
        })
}

/// Whether all that a unit has the server do was printed.
fn is_accounted(printed: &Printed, unit: &Unit, of: Message, in_transaction: bool) -> bool {
    let plain = matches!(unit.kind, Kind::Query | Kind::Extended) && unit.whole && unit.steps_left_out == 0;
    let unseen = of.does == Does::Mixed || of.does == Does::Code && !in_transaction || printed.unclear;
    // What a function of the user's does is printed once a session only.
    let calls = printed.functions.iter().any(|oid| *oid >= 16_384);
    let planned = of.statements.saturating_sub(of.utilities);
    plain
        && all_are_planned(unit)
        && !of.calls
        && !unseen
        && !calls
        && printed.planned >= planned
        && printed.utilities <= of.utilities
}

/// Whether the server plans anew, and so prints, whatever a unit runs: what is parsed in it, and what is bound in it with
/// parameters. A statement without any keeps its first plan, and a plan that is printed then is another one's: that of a
/// foreign key, say.
fn all_are_planned(unit: &Unit) -> bool {
    let (mut parsed, mut bound) = (Vec::new(), Vec::new());
    unit.steps.iter().all(|step| match step {
        Step::Query { text } => !text.cut,
        Step::Parse { text, .. } => {
            parsed.push(&text.text);
            true
        }
        Step::Bind { portal, statement, parameters, .. } => {
            bound.push((&portal.text, statement, !parameters.is_empty()));
            true
        }
        Step::Execute { portal, statement: Source::Known(text), .. } if !text.cut => {
            let bind = bound.iter().rev().find(|(of, ..)| *of == &portal.text);
            bind.is_some_and(|(_, statement, has_parameters)| {
                *has_parameters || matches!(statement, Source::Known(of) if parsed.contains(&&of.text))
            })
        }
        Step::Execute { .. } => false,
        _ => true,
    })
}

/// The texts that a unit runs, as one message.
pub(super) fn texts(unit: &Unit) -> String {
    unit.statements().collect::<Vec<_>>().join(";\n")
}
