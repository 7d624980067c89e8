//! A script's actors on PostgreSQL: a session each, and a control connection that asks the server.
//!
//! Whether a step waits is `pg_blocking_pids`' word. What it touched are the locks that its
//! transaction holds.

pub(crate) mod notices;
pub mod overlap;
pub(super) mod question;
pub(super) mod state;
pub(crate) mod victim;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, select_all};
use tokio::time::Instant;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, Statement};

use self::notices::Notices;
use self::question::{QUESTION, Said, Sort, all_wait, ask, ask_ended, observe, with_flags};
use self::state::{keep_rows, set_up};
use super::footprint::Footprint;
use super::statement::{self, Class};
use super::world::{Cautions, Ended, Event, Lost, Note, Place, Progress, Rows, Taken, What, World};
use crate::scenario::script::{Script, ScriptCase};

/// How long a step may go on without either ending or waiting for another actor.
const STEP_MAX: Duration = Duration::from_secs(30);

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
    victim: victim::Setting,
    waits_for: Vec<usize>,
    note: Note,
    snapshot: bool,
    serializable: bool,
    notices: Notices,
    /// What the server said in the course of this transition.
    told: Vec<String>,
}

impl Actor {
    /// What each of its transactions is like.
    fn flags(&self) -> Footprint {
        Footprint { snapshot: self.snapshot, serializable: self.serializable, ..Footprint::default() }
    }
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
    /// Steps that have waited, in whatever execution.
    waiters: BTreeSet<(usize, usize)>,
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
        let restore = match cautions.rebuild {
            true => None,
            false => Some(keep_rows(&control).await?).filter(|kept| kept.unchecked).map(|kept| kept.sql),
        };
        let ask = control.prepare(QUESTION).await.map_err(|error| said("prepare a question", &error))?;
        let mut actors = Vec::new();
        for actor in &script.actors {
            let (client, notices) = connect(config, &actor.name).await?;
            let allowed = client.batch_execute(&victim::setting(false)).await.is_ok();
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
                victim: victim::Setting::late(allowed),
                waits_for: Vec::new(),
                note: Note::default(),
                snapshot: serializable || mentions("REPEATABLE"),
                serializable,
                notices,
                told: Vec::new(),
            });
        }
        Ok(Self {
            script,
            case,
            cautions,
            control,
            ask,
            actors,
            restore,
            executions: 0,
            waiters: BTreeSet::new(),
            at_rest: true,
        })
    }

    /// Waits until each step that was sent has ended or waits for another actor in a way that lasts.
    /// `started` was sent just now.
    async fn settle(&mut self, started: usize, pace: Pace) -> Result<(Vec<Event>, Footprint), Lost> {
        let (mut events, mut touched) = (Vec::new(), Footprint::default());
        let begin = Instant::now();
        // Whom nothing was heard of yet is not asked about at once: most steps just end.
        let step = (started, self.actors[started].progress.next);
        let known_to_wait = pace == Pace::Meets || pace == Pace::New && self.waiters.contains(&step);
        let mut patience = if known_to_wait { Duration::ZERO } else { Duration::from_millis(1) };
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
            let known: Vec<i32> = self.actors.iter().map(|one| one.pid).collect();
            if all_wait(&self.pids(&pending), &said, &known) {
                for (actor, said) in pending.iter().zip(&said) {
                    let by: Vec<usize> =
                        (0..self.actors.len()).filter(|a| said.waits_for.contains(&self.actors[*a].pid)).collect();
                    let one = &mut self.actors[*actor];
                    one.waits_for.clone_from(&by);
                    one.progress.place = Place::Waiting;
                    if *actor == started {
                        self.waiters.insert(step);
                        touched.add(&with_flags(said.locks.clone(), &one.flags()));
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
        let (what, first) = came(answer)
            .map_err(|error| said(&format!("get an answer to step {} of {}", step.name, of.name), &error))?;
        let failed = matches!(what, What::Failed { .. });
        let one = &mut self.actors[actor];
        one.waits_for.clear();
        one.told.extend(one.notices.take());
        let mut footprint = Footprint::default();
        if pace == Pace::New || failed {
            let said = ask_ended(&self.control, &self.ask, one.pid).await?;
            if pace == Pace::New {
                footprint = self.observed(actor, failed, said);
            }
        }
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
    fn observed(&mut self, actor: usize, failed: bool, said: Said) -> Footprint {
        let step = &self.script.actors[actor].steps[self.actors[actor].progress.next];
        let class = statement::class(&self.actors[actor].progress.sql(&self.case, step));
        let advisory = self.cautions.advisory_hidden || statement::mentions(&step.sql, "ADVISORY");
        let one = &mut self.actors[actor];
        let (flags, in_transaction) = (one.flags(), said.in_transaction);
        let sort = match class {
            _ if failed => Sort::Failed,
            Class::Begin => Sort::Begin,
            Class::End => Sort::End,
            Class::Select | Class::Other => Sort::Other,
        };
        let mut footprint = observe(&mut one.note, said, sort, &flags);
        if advisory && class != Class::Begin {
            footprint.advisory = true;
            one.note.touched.advisory |= in_transaction;
        }
        footprint
    }
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
            }
            let anew = actor.victim.allowed.then(|| victim::setting(false)).filter(|_| discard || rebuild);
            if let Some(set) = actor.victim.between().or(anew) {
                actor.client.batch_execute(&set).await?;
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
        let may_close = self.actors.iter().any(|one| one.waits_for.contains(&actor));
        let set = self.actors[actor].victim.before(may_close);
        let step = self.actors[actor].progress.next;
        let sql = self.actors[actor].progress.sql(&self.case, &self.script.actors[actor].steps[step]);
        let client = self.actors[actor].client.clone();
        self.actors[actor].reply = Some(Box::pin(async move {
            let Some(set) = set else { return client.simple_query(&sql).await };
            // One message after the other, without a wait between them. In a failed transaction the first
            // fails, and nothing can wait.
            futures_util::future::join(client.simple_query(&set), client.simple_query(&sql)).await.1
        }));
        let (mut events, observed) = self.settle(actor, pace).await?;
        // Which of two answers came first is nobody's doing.
        events.sort_by_key(|event| (event.actor != actor, event.actor, event.step));
        let footprint = match last {
            None => observed,
            Some(last) => last.remember(self.actors.iter_mut().map(|one| &mut one.note)),
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

/// What came of a step, and the first value of its first row; an error if the session is lost.
pub(crate) fn came(answer: Answer) -> Result<(What, Option<String>), tokio_postgres::Error> {
    match answer {
        Ok(messages) => {
            let (rows, first) = rows(&messages);
            Ok((What::Done(rows), first))
        }
        Err(error) => match error.as_db_error() {
            Some(refused) => {
                let (code, message) = (refused.code().code().to_owned(), refused.message().to_owned());
                Ok((What::Failed { code, message }, None))
            }
            None => Err(error),
        },
    }
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
