//! How a failure is brought about on a real server: a session is really gone, a transaction is really aborted, before
//! anybody goes on.

use std::time::Duration;

use tokio::time::Instant;

use super::question::ask_ended;
use super::session::Actor;
use super::{Answer, Pace, PgWorld, STEP_MAX, said};
use crate::explore::fault::{Injected, refused_part, server_says};
use crate::explore::footprint::Footprint;
use crate::explore::world::{Choice, Event, Lost, Taken, What};
use crate::scenario::script::{FaultKind, NamedQuery};

/// What of each table any transaction of the same course gives alike: no column that is filled from a sequence, and none
/// that refers to one. A try that failed leaves the sequence advanced, which is no mistake of anybody's.
const TABLES: &str = "\
    WITH columns AS ( \
        SELECT a.attrelid, a.attnum, a.attname, \
               a.attidentity <> '' OR pg_catalog.pg_get_expr(d.adbin, d.adrelid) LIKE '%nextval(%' AS drawn \
        FROM pg_catalog.pg_attribute a \
        LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
        WHERE a.attnum > 0 AND NOT a.attisdropped), \
    refers AS ( \
        SELECT k.conrelid, k.conkey[n] AS attnum FROM pg_catalog.pg_constraint k, \
               pg_catalog.generate_subscripts(k.conkey, 1) AS n, columns c \
        WHERE k.contype = 'f' AND c.attrelid = k.confrelid AND c.attnum = k.confkey[n] AND c.drawn) \
    SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), \
           (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(o.attname), ', ' ORDER BY o.attnum) FROM columns o \
            WHERE o.attrelid = c.oid AND o.drawn IS NOT TRUE \
              AND NOT EXISTS (SELECT FROM refers r WHERE r.conrelid = o.attrelid AND r.attnum = o.attnum)) \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' \
      AND n.nspname NOT IN ('information_schema', 'driftlock_start') ORDER BY 1";

impl PgWorld {
    /// Has a failure come in place of a step that is about to be sent. Nothing, if this one cannot come as things are:
    /// the step is then to be sent.
    pub(super) async fn suffer(
        &mut self,
        choice: Choice,
        kind: FaultKind,
        last: Option<&Taken>,
    ) -> Result<Option<Taken>, Lost> {
        let (pace, actor) = (Pace::of(last), choice.actor);
        let script = self.script.clone();
        let (of, step) = (&script.actors[actor], self.actors[actor].progress.next);
        let sql = self.actors[actor].progress.sql(&self.case, &of.steps[step]);
        let (event, mut touched) = match kind {
            FaultKind::Serialization | FaultKind::Deadlock | FaultKind::LockNotAvailable | FaultKind::Cancelled => {
                match self.refused(actor, kind, &sql, pace).await? {
                    Some(refused) => refused,
                    None => return Ok(None),
                }
            }
            _ => {
                let touched = match kind {
                    // There never was a session.
                    FaultKind::TooMany => Footprint::default(),
                    _ => self.lose(actor, kind == FaultKind::Terminated).await?.0,
                };
                let progress = &mut self.actors[actor].progress;
                match kind {
                    FaultKind::Killed => progress.gone(),
                    // What was open is gone, or there never was anything.
                    _ => drop(progress.refused(of, kind.code())),
                }
                (Event::failed(actor, step, Injected { kind, kept: false }), touched)
            }
        };
        let (mut events, freed) = self.settle(actor, pace).await?;
        events.insert(0, event);
        touched.add(&freed);
        Ok(Some(self.taken(choice, (step, sql), events, touched, last)))
    }

    /// Has the server refuse a step: a block that raises the error is sent in its place, so that the transaction is
    /// really aborted; where the step is a COMMIT, it is really rolled back.
    async fn refused(
        &mut self,
        actor: usize,
        kind: FaultKind,
        sql: &str,
        pace: Pace,
    ) -> Result<Option<(Event, Footprint)>, Lost> {
        let one = &mut self.actors[actor];
        let Some((before, commits)) = refused_part(sql).filter(|_| !one.note.aborted) else { return Ok(None) };
        (one.preludes, one.trees, one.give_back) = (0, Vec::new(), None);
        let (code, says, client) = (kind.code(), server_says(kind), one.client.clone());
        let raises =
            format!("DO $driftlock$BEGIN RAISE EXCEPTION USING ERRCODE = '{code}', MESSAGE = '{says}'; END$driftlock$");
        let message = if before.is_empty() { raises } else { format!("{before}; {raises}") };
        let touched = one.note.touched.clone();
        let sent = async {
            let answer: Answer = client.simple_query(&message).await;
            if commits {
                client.batch_execute("ROLLBACK").await?;
            }
            answer
        };
        let answer = tokio::time::timeout(STEP_MAX, sent).await;
        let answer = answer.map_err(|_| Lost::during("have the server refuse a step", "no answer"))?;
        let (mut event, observed) = self.completed(actor, answer, pace).await?;
        match &event.what {
            What::Failed { code: came, .. } if came == code => {}
            other => {
                return Err(Lost::new(format!("the server was to refuse a step with {code}, and it came to {other}")));
            }
        }
        event = Event::failed(actor, event.step, Injected { kind, kept: false });
        // Nothing is read by what is sent, and at most all is let go that the transaction had touched.
        let ended = Footprint { ends: touched.writes() || touched.advisory, ..touched };
        Ok(Some((event, if before.is_empty() { ended } else { observed })))
    }

    /// Has an actor's session end, by the client's loss of the connection or by the server, and opens a new one. Waits
    /// until the server has let go of all that it held. Answers what it had touched, and whether a transaction was open.
    pub(super) async fn lose(&mut self, actor: usize, terminated: bool) -> Result<(Footprint, bool), Lost> {
        let pid = self.actors[actor].pid;
        let before = ask_ended(&self.control.client, &self.control.ask, pid).await?;
        let opened = Actor::open(self.site.config(), &self.script.actors[actor], self.superuser).await?;
        let gone = std::mem::replace(&mut self.actors[actor], opened);
        let one = &mut self.actors[actor];
        (one.progress, one.told) = (gone.progress, gone.told);
        let ending = |error| said("end a session", &error);
        if terminated {
            let terminate = format!("SELECT pg_catalog.pg_terminate_backend({pid})");
            self.control.client.batch_execute(&terminate).await.map_err(ending)?;
        }
        drop(gone.client);
        let is_there = format!("SELECT 1 FROM pg_catalog.pg_stat_get_activity({pid})");
        let begin = Instant::now();
        while !self.control.client.query(&is_there, &[]).await.map_err(ending)?.is_empty() {
            if begin.elapsed() > STEP_MAX {
                return Err(Lost::new(format!("a session is still there {} s after its end", STEP_MAX.as_secs())));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Locks of the session are let go too, which no transaction of it may have to do with.
        let mut touched = gone.note.touched;
        touched.add(&before.locks);
        let ends = touched.writes() || touched.advisory;
        Ok((Footprint { ends, ..touched }, before.in_transaction))
    }

    /// A query for the rows of each table.
    pub(super) async fn ask_tables(&mut self) -> Result<Vec<NamedQuery>, Lost> {
        let tables = self.control.client.query(TABLES, &[]).await;
        let tables = tables.map_err(|error| said("ask which tables there are", &error))?;
        let query = |row: &tokio_postgres::Row| {
            let (name, columns): (String, Option<String>) = (row.get(0), row.get(1));
            // Of a table of which nothing is compared the number of rows is.
            let columns = columns.unwrap_or_else(|| "1".to_owned());
            NamedQuery { sql: format!("SELECT {columns} FROM {name}"), name }
        };
        Ok(tables.iter().map(query).collect())
    }
}
