//! A script's actors on PostgreSQL: a session each, and a control connection that asks the server.
//!
//! Whether a step waits is `pg_blocking_pids`' word. What it touched are the locks that its
//! transaction holds. The victim of a deadlock is whoever closes the circle: before a step that could
//! close one is sent, those that wait have looked for a deadlock, and found none.

pub(crate) mod notices;
pub mod overlap;
mod question;
mod state;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, select_all};
use tokio::time::Instant;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, Statement};

use self::notices::Notices;
use self::question::{QUESTION, Said, ask};
use self::state::{keep_rows, set_up};
use super::footprint::Footprint;
use super::statement::{self, Class};
use super::world::{Cautions, Ended, Event, Lost, Note, Place, Progress, Rows, Taken, What, World};
use crate::scenario::script::{Script, ScriptCase};

/// How long a step may go on without either ending or waiting for another actor.
const STEP_MAX: Duration = Duration::from_secs(30);

/// After how long a session that waits looks for a deadlock.
const DEADLOCK_MS: u64 = 1;

/// How long after its beginning a wait has certainly looked for a deadlock.
const HAS_LOOKED: Duration = Duration::from_millis(DEADLOCK_MS * 3);

/// After how many executions the tables are vacuumed: each leaves dead rows behind.
const VACUUM_EVERY: u64 = 500;

type Answer = Result<Vec<SimpleQueryMessage>, tokio_postgres::Error>;
type Reply = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What to expect of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Nobody knows: look, and note what it touches.
    New,
    /// It just ended the last time.
    Passes,
    /// It waited the last time, failed, or set others free.
    Meets,
}

impl Pace {
    fn of(last: Option<&Taken>) -> Self {
        match last.map(|last| &last.events[..]) {
            None => Self::New,
            Some([Event { what: What::Done(_), .. }]) => Self::Passes,
            Some(_) => Self::Meets,
        }
    }
}

struct Actor {
    client: Arc<Client>,
    pid: i32,
    progress: Progress,
    reply: Option<Reply>,
    since: Instant,
    waits_for: Vec<usize>,
    note: Note,
    snapshot: bool,
    serializable: bool,
    notices: Notices,
    /// What the server said in the course of this transition.
    told: Vec<String>,
}

/// A script's actors on a database of PostgreSQL.
pub struct PgWorld {
    script: Arc<Script>,
    case: ScriptCase,
    cautions: Cautions,
    control: Client,
    ask: Statement,
    actors: Vec<Actor>,
    /// What puts the rows back, where rows are all that changes.
    restore: Option<String>,
    executions: u64,
    /// No session is in a transaction: the last execution came to its end.
    at_rest: bool,
}

impl PgWorld {
    /// Makes the state that `config`'s database is to have at the beginning, and connects the actors.
    ///
    /// # Errors
    /// The set-up fails, or the server cannot be reached.
    pub async fn new(config: &Config, script: Arc<Script>, case: ScriptCase) -> Result<Self, Lost> {
        let (control, _) = connect(config, "control").await?;
        let cautions = Cautions::of(&script);
        set_up(&control, &script).await?;
        let restore = if cautions.rebuild { None } else { keep_rows(&control).await? };
        let ask = control.prepare(QUESTION).await.map_err(|error| said("prepare a question", &error))?;
        let mut actors = Vec::new();
        for actor in &script.actors {
            let (client, notices) = connect(config, &actor.name).await?;
            look_for_deadlocks(&client).await;
            let row = client.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await;
            let pid = row.and_then(|row| row.try_get(0)).map_err(|error| said("ask a session's name", &error))?;
            let texts = || actor.steps.iter().map(|step| step.sql.as_str()).chain([case.begin.as_str()]);
            let mentions =
                |word| texts().any(|sql| statement::mentions(sql, word)) || statement::holds(&script.setup, word);
            let serializable = mentions("SERIALIZABLE");
            actors.push(Actor {
                client: Arc::new(client),
                pid,
                progress: Progress::default(),
                reply: None,
                since: Instant::now(),
                waits_for: Vec::new(),
                note: Note::default(),
                snapshot: serializable || mentions("REPEATABLE"),
                serializable,
                notices,
                told: Vec::new(),
            });
        }
        Ok(Self { script, case, cautions, control, ask, actors, restore, executions: 0, at_rest: true })
    }

    /// Waits until each step that was sent has ended or waits for another actor in a way that lasts.
    /// `started` was sent just now.
    async fn settle(&mut self, started: usize, pace: Pace) -> Result<(Vec<Event>, Footprint), Lost> {
        let (mut events, mut touched) = (Vec::new(), Footprint::default());
        let begin = Instant::now();
        // Whom nothing was heard of yet is not asked about at once: most steps just end.
        let mut patience = if pace == Pace::Meets { Duration::ZERO } else { Duration::from_millis(1) };
        loop {
            let pending = self.pending();
            if pending.is_empty() {
                return Ok((events, touched));
            }
            if let Some((actor, answer)) = self.next_reply(&pending, patience).await {
                let (event, footprint) = self.completed(actor, answer, pace).await?;
                events.push(event);
                touched.add(&footprint);
                if actor == started {
                    // Those that it sets free are asked about at once.
                    patience = Duration::ZERO;
                }
                continue;
            }
            let said = ask(&self.control, &self.ask, self.pids(&pending)).await?;
            if self.all_wait(&pending, &said) {
                for (actor, said) in pending.iter().zip(&said) {
                    let by: Vec<usize> =
                        (0..self.actors.len()).filter(|a| said.waits_for.contains(&self.actors[*a].pid)).collect();
                    let one = &mut self.actors[*actor];
                    one.waits_for.clone_from(&by);
                    if one.progress.place != Place::Waiting {
                        (one.progress.place, one.since) = (Place::Waiting, Instant::now());
                    }
                    if *actor == started {
                        touched.add(&with_flags(said.locks.clone(), one));
                        events.push(Event { actor: started, step: one.progress.next, what: What::Waits { by } });
                    }
                }
                return Ok((events, touched));
            }
            if begin.elapsed() > STEP_MAX {
                let name = &self.script.actors[started].name;
                let why = format!("it neither ended nor waited for another actor within {} s", STEP_MAX.as_secs());
                return Err(Lost::new(format!("step {} of {name}: {why}", self.actors[started].progress.next + 1)));
            }
            patience = (patience * 2).clamp(Duration::from_millis(1), Duration::from_millis(8));
        }
    }

    fn pids(&self, actors: &[usize]) -> Vec<i32> {
        actors.iter().map(|actor| self.actors[*actor].pid).collect()
    }

    fn pending(&self) -> Vec<usize> {
        (0..self.actors.len()).filter(|actor| self.actors[*actor].reply.is_some()).collect()
    }

    /// Whether each of these waits for another actor, and not in a circle: of a circle one will be freed.
    fn all_wait(&self, pending: &[usize], said: &[Said]) -> bool {
        let waits_for = |pid: i32| {
            let at = pending.iter().position(|actor| self.actors[*actor].pid == pid)?;
            Some(&said[at].waits_for)
        };
        let in_circle = |start: i32| {
            let (mut open, mut seen) = (vec![start], Vec::new());
            while let Some(pid) = open.pop() {
                for by in waits_for(pid).into_iter().flatten() {
                    if *by == start {
                        return true;
                    }
                    if !seen.contains(by) {
                        seen.push(*by);
                        open.push(*by);
                    }
                }
            }
            false
        };
        let known = |pid: &i32| self.actors.iter().any(|actor| actor.pid == *pid);
        said.iter().all(|said| said.waits_for.iter().any(known))
            && pending.iter().all(|actor| !in_circle(self.actors[*actor].pid))
    }

    /// The next reply of these actors, if one comes in time.
    async fn next_reply(&mut self, pending: &[usize], within: Duration) -> Option<(usize, Answer)> {
        let replies = self.actors.iter_mut().enumerate().filter(|(actor, _)| pending.contains(actor));
        let (numbers, replies): (Vec<usize>, Vec<&mut Reply>) =
            replies.filter_map(|(actor, one)| one.reply.as_mut().map(|reply| (actor, reply))).unzip();
        let first = select_all(replies);
        let (answer, at) = if within.is_zero() {
            // What has come already, and no more.
            let (answer, at, _) = futures_util::FutureExt::now_or_never(first)?;
            (answer, at)
        } else {
            let (answer, at, _) = tokio::time::timeout(within, first).await.ok()?;
            (answer, at)
        };
        let actor = numbers[at];
        self.actors[actor].reply = None;
        Some((actor, answer))
    }

    /// Notes what became of an actor's step.
    async fn completed(&mut self, actor: usize, answer: Answer, pace: Pace) -> Result<(Event, Footprint), Lost> {
        let script = self.script.clone();
        let (of, number) = (&script.actors[actor], self.actors[actor].progress.next);
        let step = &of.steps[number];
        let (what, first) = match answer {
            Ok(messages) => {
                let (rows, first) = rows(&messages);
                (What::Done(rows), first)
            }
            Err(error) => match error.as_db_error() {
                Some(refused) => {
                    let (code, message) = (refused.code().code().to_owned(), refused.message().to_owned());
                    (What::Failed { code, message }, None)
                }
                None => return Err(said(&format!("get an answer to step {} of {}", step.name, of.name), &error)),
            },
        };
        let failed = matches!(what, What::Failed { .. });
        let one = &mut self.actors[actor];
        one.waits_for.clear();
        one.told.extend(one.notices.take());
        let mut footprint = if pace == Pace::New { self.observed(actor, failed).await? } else { Footprint::default() };
        let one = &mut self.actors[actor];
        one.progress.capture(step, first);
        one.progress.step_done(of.steps.len());
        if failed && !of.goes_on {
            // What a program does that gives up: its transaction is rolled back.
            let rolled_back = one.client.batch_execute("ROLLBACK").await;
            rolled_back.map_err(|error| said("roll back", &error))?;
            // A warning that there was nothing to roll back is our own doing.
            drop(one.notices.take());
            (one.progress.place, one.note) = (Place::Ended, Note::default());
            footprint = Footprint::everything();
        }
        Ok((Event { actor, step: number, what }, footprint))
    }

    /// What a step touched that has just ended.
    async fn observed(&mut self, actor: usize, failed: bool) -> Result<Footprint, Lost> {
        let said = ask(&self.control, &self.ask, self.pids(&[actor])).await?.remove(0);
        let step = &self.script.actors[actor].steps[self.actors[actor].progress.next];
        let class = statement::class(&self.actors[actor].progress.sql(&self.case, step));
        let one = &mut self.actors[actor];
        let (before, was_aborted) = (one.note.in_transaction, one.note.aborted);
        one.note.in_transaction = said.in_transaction;
        // The server's word: ROLLBACK TO a savepoint lets a failed transaction go on.
        one.note.aborted = said.aborted;
        let advisory = self.cautions.advisory_hidden || statement::mentions(&step.sql, "ADVISORY");
        let mut footprint = match (before, said.in_transaction, class) {
            // Nothing is done in an aborted transaction, and nothing is left to be ended.
            _ if was_aborted && (said.aborted || !said.in_transaction) => Footprint::default(),
            _ if failed => {
                one.note.touched = Footprint::default();
                Footprint::everything()
            }
            (false, true, Class::Begin) => Footprint::default(),
            (_, true, _) => {
                // Locks of subtransactions that were rolled back are gone, what they touched is not.
                one.note.touched.add(&said.locks);
                with_flags(one.note.touched.clone(), one)
            }
            (true, false, Class::End) => {
                let touched = std::mem::take(&mut one.note.touched);
                let ends = touched.writes() || touched.advisory;
                let ended = Footprint { ends, ..touched };
                if ended.is_empty() { ended } else { with_flags(ended, one) }
            }
            _ => {
                one.note.touched = Footprint::default();
                Footprint::everything()
            }
        };
        if advisory && class != Class::Begin {
            footprint.advisory = true;
            one.note.touched.advisory |= said.in_transaction;
        }
        Ok(footprint)
    }
}

fn with_flags(footprint: Footprint, actor: &Actor) -> Footprint {
    Footprint { snapshot: actor.snapshot, serializable: actor.serializable, ..footprint }
}

impl World for PgWorld {
    async fn reset(&mut self) -> Result<(), Lost> {
        let rebuild = self.restore.is_none();
        let (discard, at_rest) = (self.cautions.discard, self.at_rest);
        self.at_rest = false;
        let ends = self.actors.iter_mut().map(|actor| async move {
            actor.reply = None;
            if !at_rest {
                actor.client.batch_execute("ROLLBACK").await?;
            }
            if discard || rebuild {
                actor.client.batch_execute("DISCARD ALL").await?;
                look_for_deadlocks(&actor.client).await;
            }
            Ok::<_, tokio_postgres::Error>(())
        });
        for ended in join_all(ends).await {
            ended.map_err(|error| said("end a session's transaction", &error))?;
        }
        match &self.restore {
            Some(sql) => {
                self.control.batch_execute(sql).await.map_err(|error| said("put the rows back", &error))?;
                if self.executions % VACUUM_EVERY == VACUUM_EVERY - 1 {
                    self.control.batch_execute("VACUUM").await.map_err(|error| said("vacuum", &error))?;
                }
            }
            // The set-up has just been run for the first one.
            None if self.executions == 0 => {}
            None => {
                let clear = "DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public";
                self.control.batch_execute(clear).await.map_err(|error| said("clear the schema", &error))?;
                set_up(&self.control, &self.script).await?;
            }
        }
        self.executions += 1;
        for actor in &mut self.actors {
            (actor.progress, actor.note) = (Progress::default(), Note::default());
            actor.waits_for.clear();
        }
        Ok(())
    }

    fn enabled(&self) -> Vec<usize> {
        (0..self.actors.len()).filter(|actor| self.actors[*actor].progress.place == Place::Ready).collect()
    }

    async fn take(&mut self, actor: usize, last: Option<&Taken>) -> Result<Taken, Lost> {
        let pace = Pace::of(last);
        for one in &mut self.actors {
            drop(one.notices.take());
            one.told.clear();
        }
        if last.is_none_or(Taken::deadlocked) {
            // It might close a circle: those that wait for it are to have looked for one before.
            let waiting = self.actors.iter().filter(|one| one.waits_for.contains(&actor)).map(|one| one.since).max();
            if let Some(since) = waiting {
                tokio::time::sleep_until(since + HAS_LOOKED).await;
            }
        }
        let step = self.actors[actor].progress.next;
        let sql = self.actors[actor].progress.sql(&self.case, &self.script.actors[actor].steps[step]);
        let client = self.actors[actor].client.clone();
        self.actors[actor].reply = Some(Box::pin(async move { client.simple_query(&sql).await }));
        let (mut events, observed) = self.settle(actor, pace).await?;
        // Which of two answers came first is nobody's doing.
        events.sort_by_key(|event| (event.actor != actor, event.actor, event.step));
        let footprint = match last {
            None => observed,
            Some(last) => {
                for (one, note) in self.actors.iter_mut().zip(&last.notes) {
                    one.note.clone_from(note);
                }
                last.footprint.clone()
            }
        };
        for one in &mut self.actors {
            one.told.extend(one.notices.take());
            one.note.notices = std::mem::take(&mut one.told);
        }
        let notes = self.actors.iter().map(|one| one.note.clone()).collect();
        Ok(Taken { actor, step, events, footprint, futile: false, notes })
    }

    async fn finish(&mut self, queries: &[String]) -> Result<Ended, Lost> {
        let stuck: Vec<usize> =
            (0..self.actors.len()).filter(|actor| self.actors[*actor].progress.place == Place::Waiting).collect();
        // Those that wait for ever are set free by the end of those that they wait for.
        let idle = self.actors.iter().filter(|actor| actor.reply.is_none());
        // A lock of the session outlives its transaction.
        let may_keep = self.cautions.discard || self.cautions.advisory_hidden;
        let end = if may_keep { "ROLLBACK; SELECT pg_catalog.pg_advisory_unlock_all()" } else { "ROLLBACK" };
        for ended in join_all(idle.map(|actor| actor.client.batch_execute(end))).await {
            ended.map_err(|error| said("end a session's transaction", &error))?;
        }
        // Whoever is set free may keep another one waiting.
        let freed: Vec<_> = stuck
            .iter()
            .map(|actor| {
                let (reply, client) = (self.actors[*actor].reply.take(), self.actors[*actor].client.clone());
                async move {
                    if let Some(reply) = reply {
                        // What comes of it is of no interest any more.
                        drop(reply.await);
                    }
                    client.batch_execute(end).await
                }
            })
            .collect();
        let freed = tokio::time::timeout(STEP_MAX, join_all(freed)).await;
        for ended in freed.map_err(|_| Lost::new("a step waits on, though everybody else has ended"))? {
            ended.map_err(|error| said("end a session's transaction", &error))?;
        }
        self.at_rest = true;
        let mut answers = Vec::new();
        for query in queries {
            let answer = tokio::time::timeout(STEP_MAX, self.control.simple_query(query)).await;
            let answer = answer.map_err(|_| Lost::during("ask for the final state", "no answer"))?;
            answers.push(match answer {
                Ok(messages) => Ok(rows(&messages).0),
                Err(error) => {
                    Err(error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned()))
                }
            });
        }
        Ok(Ended { stuck, answers })
    }
}

/// Has a session look for deadlocks early. Only superusers may; on a given server its own setting holds.
pub(crate) async fn look_for_deadlocks(client: &Client) {
    let _ = client.batch_execute(&format!("SET deadlock_timeout = '{DEADLOCK_MS}ms'")).await;
}

pub(crate) async fn connect(config: &Config, name: &str) -> Result<(Client, Notices), Lost> {
    let mut config = config.clone();
    config.application_name(format!("driftlock/{name}"));
    let (client, connection) = tokio::time::timeout(STEP_MAX, config.connect(NoTls))
        .await
        .map_err(|_| Lost::during("connect", "no answer"))?
        .map_err(|error| said("connect", &error))?;
    // It ends when the client is dropped.
    let notices = Notices::default();
    tokio::spawn(notices.clone().listen(connection));
    Ok((client, notices))
}

/// The rows of all results, and the first value of the first row.
pub(crate) fn rows(messages: &[SimpleQueryMessage]) -> (Rows, Option<String>) {
    let (mut rows, mut first, mut any) = (Vec::new(), None, false);
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            let values = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL"));
            if !any {
                (first, any) = ((!row.is_empty()).then(|| row.get(0).map(str::to_owned)).flatten(), true);
            }
            rows.push(values.collect::<Vec<_>>().join(", "));
        }
    }
    rows.sort_unstable();
    (rows, first)
}

/// An error with what the server said, in one line.
pub(crate) fn said(what: &str, error: &tokio_postgres::Error) -> Lost {
    match error.as_db_error() {
        Some(refused) => Lost::during(what, format_args!("{} ({})", refused.message(), refused.code().code())),
        None => Lost::during(what, error),
    }
}
