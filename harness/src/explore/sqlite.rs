//! A script's actors on SQLite: a connection each, whose busy handler parks it.
//!
//! Nothing depends on time: a step has ended, or its connection is parked. Whoever is parked tries
//! again when it is let through, as SQLite's own busy handler would at a moment of its own: who comes
//! first is one of the choices. SQLite has one lock for the whole file, so what a step touches is seen
//! in its text alone: it begins, reads, or counts as writing. Each execution begins with a copy of the file
//! that the set-up made, and with new connections: nothing else is certain to leave nothing behind.

mod answer;
mod fault;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Either, Executor, SqliteConnection};
use tokio::sync::watch;

use self::answer::rows;
pub(crate) use self::answer::{came, literal, returned, unanswered};
use self::fault::Held;
use super::fault::{Armed, Fault};
use super::footprint::{Footprint, Touch};
use super::statement::{self, Class};
use super::world::{Choice, Ended, Event, Lost, Taken, What, World};
use crate::scenario::script::{
    ActorState, AfterError, NamedQuery, Progress, Script, ScriptActor, ScriptCase, fill_queries,
};
use crate::sql::quoted_name;
use crate::sqlite_busy::{self, Busy};

/// What a statement begins with that changes rows; WITH may.
const CHANGES: [&str; 5] = ["INSERT", "UPDATE", "DELETE", "REPLACE", "WITH"];

/// What stands for the file: SQLite locks nothing smaller.
const FILE: &str = "file";

/// How long the driver may take for what waits for no lock.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The rows of a message, and how many rows its last statement has changed.
pub(crate) type Answer = Result<(Vec<SqliteRow>, u64), sqlx::Error>;
type Reply = Pin<Box<dyn Future<Output = (SqliteConnection, Answer)> + Send>>;

struct Actor {
    /// Not there while a step is under way.
    connection: Option<SqliteConnection>,
    reply: Option<Reply>,
    busy: Arc<Busy>,
    parkings: watch::Receiver<u64>,
    progress: Progress,
    /// Somebody's step has ended since it was parked.
    may_try: bool,
    held: Held,
}

impl Drop for Actor {
    fn drop(&mut self) {
        // A parked connection could not be closed.
        self.busy.give_up();
    }
}

/// A script's actors on a SQLite file.
pub struct SqliteWorld {
    script: Arc<Script>,
    case: ScriptCase,
    options: SqliteConnectOptions,
    /// The file as the set-up has made it.
    start: PathBuf,
    control: SqliteConnection,
    actors: Vec<Actor>,
    made: u64,
    /// The file has a write-ahead log.
    wal: bool,
    /// What is to fail in each execution.
    fault: Option<Armed>,
}

impl SqliteWorld {
    /// Makes the state that the file is to have at the beginning, and connects the actors; `start` is the
    /// path of a file that is to keep that state.
    ///
    /// # Errors
    /// The set-up fails, or the file cannot be opened.
    pub async fn new(
        options: SqliteConnectOptions,
        start: &str,
        script: Arc<Script>,
        case: ScriptCase,
    ) -> Result<Self, Lost> {
        let options = options.create_if_missing(false).disable_statement_logging();
        let mut control = open(&options).await?;
        let made = execute(&mut control, &script.setup, "set up").await;
        made.map_err(Lost::of_script)?;
        // What was left open would not be part of the file.
        roll_back(&mut control).await;
        // The last connection writes the log into the file.
        close(control).await?;
        let start = PathBuf::from(start);
        copy(options.get_filename(), &start)?;
        let (mut control, actors) = (open(&options).await?, connect_all(&options, &script.actors).await?);
        let journal: Result<String, _> = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut control).await;
        let wal = journal.map_err(|error| Lost::during("ask for the journal's mode", error))? == "wal";
        Ok(Self { script, case, options, start, control, actors, made: 0, wal, fault: None })
    }

    /// Waits until an actor's step has ended, or its connection is parked.
    async fn settle(&mut self, actor: usize) -> Result<Option<Answer>, Lost> {
        let one = &mut self.actors[actor];
        let reply = one.reply.as_mut().expect("a step has been sent");
        let news = async {
            tokio::select! {
                biased;
                (connection, answer) = reply => Some((connection, answer)),
                _ = one.parkings.changed() => None,
            }
        };
        let name = || format!("step {} of {}", one.progress.next + 1, self.script.actors[actor].name);
        let most = self.script.step_max();
        match tokio::time::timeout(most, news).await {
            Err(_) => {
                Err(Lost::new(format!("{}: it did not end within {} s (`step-seconds`)", name(), most.as_secs())))
            }
            Ok(None) => Ok(None),
            Ok(Some((connection, answer))) => {
                (one.connection, one.reply) = (Some(connection), None);
                one.busy.ended();
                Ok(Some(answer))
            }
        }
    }
}

/// What touches the file in this way. What is seen of it depends on what has ended.
pub(super) fn file(touch: Touch, ends: bool) -> Footprint {
    Footprint { relations: [(FILE.to_owned(), touch)].into(), ends, snapshot: true, ..Footprint::default() }
}

/// What a step touches, by its text.
fn footprint(sql: &str) -> Footprint {
    match statement::class(sql) {
        Class::Begin => Footprint::default(),
        Class::Select => file(Touch::Read, false),
        Class::End | Class::Other => file(Touch::Write, true),
    }
}

impl World for SqliteWorld {
    async fn tables(&mut self) -> Result<Vec<NamedQuery>, Lost> {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY 1",
        )
        .fetch_all(&mut self.control)
        .await
        .map_err(|error| Lost::during("ask which tables there are", error))?;
        let query = |name: String| {
            let sql = format!("SELECT * FROM {}", quoted_name(&name));
            NamedQuery { name, sql }
        };
        Ok(names.into_iter().map(query).collect())
    }

    async fn reset(&mut self) -> Result<(), Lost> {
        for actor in 0..self.actors.len() {
            if self.actors[actor].reply.is_some() {
                // It waits for ever: its wait ends with an error, and so does each one that follows.
                self.actors[actor].busy.give_up();
                let _ = self.settle(actor).await?;
            }
        }
        for actor in self.actors.drain(..) {
            // A connection that is dropped is closed at some later time.
            let Actor { connection, .. } = &mut { actor };
            if let Some(connection) = connection.take() {
                close(connection).await?;
            }
        }
        // Whoever is still connected would go on with the old file.
        let memory = SqliteConnectOptions::new().in_memory(true);
        let control = std::mem::replace(&mut self.control, open(&memory).await?);
        close(control).await?;
        let file = self.options.get_filename();
        for suffix in ["-wal", "-shm", "-journal"] {
            let mut beside = file.as_os_str().to_owned();
            beside.push(suffix);
            match std::fs::remove_file(&beside) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Lost::during("remove what the last execution left", error));
                }
                _ => {}
            }
        }
        copy(&self.start, file)?;
        self.control = open(&self.options).await?;
        self.actors = connect_all(&self.options, &self.script.actors).await?;
        self.made += 1;
        self.fault.iter_mut().for_each(Armed::again);
        Ok(())
    }

    fn actors(&self) -> usize {
        self.actors.len()
    }

    fn leave_out(&mut self, actor: usize) {
        self.actors[actor].progress.state = ActorState::Ended;
    }

    fn made(&self) -> u64 {
        self.made
    }

    fn inject(&mut self, fault: Option<Fault>) -> Option<Fault> {
        std::mem::replace(&mut self.fault, fault.map(Armed::new)).map(|armed| armed.fault)
    }

    fn enabled(&self) -> Vec<usize> {
        let can = |actor: &Actor| match actor.progress.state {
            ActorState::Ready => true,
            ActorState::Waiting => actor.may_try,
            ActorState::Ended => false,
        };
        let ended = |at: usize| self.actors[at].progress.state == ActorState::Ended;
        (0..self.actors.len()).filter(|at| can(&self.actors[*at]) && self.script.may_begin(*at, ended)).collect()
    }

    async fn take(&mut self, choice: Choice, _last: Option<&Taken>) -> Result<Taken, Lost> {
        let (script, actor) = (self.script.clone(), choice.actor);
        let of = &script.actors[actor];
        let number = self.actors[actor].progress.next;
        let (step, again) = (&of.steps[number], self.actors[actor].progress.state == ActorState::Waiting);
        let sql = self.actors[actor].progress.sql(&self.case, step);
        let strikes = if again { None } else { self.fault.as_mut().and_then(|armed| armed.strikes(actor, number)) };
        if let Some(kind) = strikes
            && let Some(taken) = self.suffer(choice, kind, &sql).await?
        {
            return Ok(taken);
        }
        let mut footprint = footprint(&sql);
        let one = &mut self.actors[actor];
        if again {
            one.busy.try_again();
        } else {
            let mut connection = one.connection.take().expect("no step is under way");
            let sql = sql.clone();
            one.reply = Some(Box::pin(async move {
                let answer = fetch_step(&mut connection, &sql).await;
                (connection, answer)
            }));
        }
        let Some(answer) = self.settle(actor).await? else {
            let one = &mut self.actors[actor];
            (one.progress.state, one.may_try) = (ActorState::Waiting, false);
            let events = vec![Event::new(actor, number, What::Waits { by: Vec::new() })];
            return Ok(Taken { sql, ..Taken::new(choice, number, events, footprint, again) });
        };
        let (what, returned) = came(answer).map_err(|error| {
            let at = (step.place.0 > 0).then_some(step.place);
            Lost { at, ..unanswered(&format!("run step {} of {}", step.name, of.name), error) }
        })?;
        let one = &mut self.actors[actor];
        if let What::Failed { code, .. } = &what {
            footprint = Footprint::everything();
            if one.progress.refused(of, code) == AfterError::RollsBack {
                roll_back(one.connection.as_mut().expect("the step has ended")).await;
                one.held = Held::default();
            }
        }
        if !matches!(what, What::Failed { .. }) {
            one.held = one.held.after(&sql);
            one.progress.answered(of, &returned, |_, value| literal(value));
        }
        if sql.to_ascii_lowercase().contains("busy_timeout")
            && let Some(connection) = &mut one.connection
        {
            // SQLite's own handler has taken the place of ours, and would wait by a clock.
            let put_back = sqlite_busy::put_back(connection, &one.busy).await;
            put_back.map_err(|error| Lost::during("install a busy handler", error))?;
        }
        // Whoever's step has ended does not wait.
        for other in &mut self.actors {
            other.may_try |= other.progress.state == ActorState::Waiting;
        }
        let events = vec![Event::new(actor, number, what)];
        Ok(Taken { sql, ..Taken::new(choice, number, events, footprint, false) })
    }

    async fn finish(&mut self, queries: &[String]) -> Result<Ended, Lost> {
        let waits = |actor: &usize| self.actors[*actor].progress.state == ActorState::Waiting;
        let stuck: Vec<usize> = (0..self.actors.len()).filter(waits).collect();
        for actor in &mut self.actors {
            if let Some(connection) = &mut actor.connection {
                roll_back(connection).await;
            }
        }
        for &actor in &stuck {
            self.actors[actor].busy.give_up();
            let _ = self.settle(actor).await?;
        }
        // A connection learns of a changed schema when it reads; and a statement that gets more columns then is one that
        // its driver does not expect.
        fetch(&mut self.control, "SELECT count(*) FROM sqlite_master")
            .await
            .map_err(|error| Lost::during("look at the schema", error))?;
        let progress: Vec<&Progress> = self.actors.iter().map(|one| &one.progress).collect();
        let mut answers = Vec::new();
        for query in fill_queries(queries, &self.script, &progress) {
            answers.push(match fetch(&mut self.control, &query).await {
                Ok((found, _)) => Ok(rows(&found)),
                Err(error) => Err(error.to_string()),
            });
        }
        Ok(Ended { stuck, answers })
    }
}

pub(crate) async fn open(options: &SqliteConnectOptions) -> Result<SqliteConnection, Lost> {
    options.connect().await.map_err(|error| Lost::during("open the file", error))
}

pub(crate) async fn close(connection: SqliteConnection) -> Result<(), Lost> {
    match tokio::time::timeout(ANSWER_MAX, connection.close()).await {
        Ok(closed) => closed.map_err(|error| Lost::during("close the file", error)),
        Err(_) => Err(Lost::new(format!("failed to close the file: no answer within {} s", ANSWER_MAX.as_secs()))),
    }
}

/// Copies a file in which nobody is, over whatever is there.
fn copy(from: &Path, to: &Path) -> Result<(), Lost> {
    std::fs::copy(from, to).map(drop).map_err(|error| Lost::during("copy the file of the beginning", error))
}

async fn connect_all(options: &SqliteConnectOptions, actors: &[ScriptActor]) -> Result<Vec<Actor>, Lost> {
    let mut all = Vec::new();
    for actor in actors {
        all.push(connect(options, actor).await?);
    }
    Ok(all)
}

async fn connect(options: &SqliteConnectOptions, actor: &ScriptActor) -> Result<Actor, Lost> {
    let mut connection = open(options).await?;
    let busy = sqlite_busy::install_parked(&mut connection).await;
    let busy = busy.map_err(|error| Lost::during("install a busy handler", error))?;
    let parkings = busy.parkings();
    let (connection, progress) = (Some(connection), Progress::of(actor));
    Ok(Actor { connection, reply: None, busy, parkings, progress, may_try: false, held: Held::default() })
}

pub(super) async fn execute(connection: &mut SqliteConnection, sql: &str, what: &str) -> Result<(), Lost> {
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    done.map(drop).map_err(|error| refused(what, &error))
}

/// Why a statement that is no actor's failed.
fn refused(what: &str, error: &sqlx::Error) -> Lost {
    let of_machine =
        error.as_database_error().and_then(|refused| Lost::of_machine(what, &refused.code()?, refused.message()));
    of_machine.unwrap_or_else(|| Lost::during(what, error))
}

/// Ends the transaction, if there is one.
pub(crate) async fn roll_back(connection: &mut SqliteConnection) {
    // Where no answer comes, none comes to what is asked next, which says so.
    let _ = tokio::time::timeout(ANSWER_MAX, sqlx::raw_sql("ROLLBACK").execute(connection)).await;
}

pub(crate) async fn fetch(connection: &mut SqliteConnection, sql: &str) -> Answer {
    let (mut rows, mut affected, mut ended) = (Vec::new(), 0, false);
    let mut stream = connection.fetch_many(sqlx::raw_sql(AssertSqlSafe(sql)));
    while let Some(one) = stream.try_next().await? {
        match one {
            Either::Left(done) => (affected, ended) = (done.rows_affected(), true),
            Either::Right(row) => rows.push(row),
        }
    }
    drop(stream);
    if !ended {
        // Nothing but comments, or the driver's thread has died: its answer then looks like one without rows. A message
        // that it no longer reads may wait for ever.
        match tokio::time::timeout(ANSWER_MAX, connection.ping()).await {
            Ok(answer) => answer?,
            Err(_) => return Err(sqlx::Error::WorkerCrashed),
        }
    }
    // SQLite counts what the last statement has changed that changed something, whichever that was.
    let changes = statement::command(sql).is_none_or(|word| CHANGES.contains(&word.as_str()));
    Ok((rows, if changes { affected } else { 0 }))
}

/// Sends a step. A SELECT that names no columns gets as many as the table has, and a connection learns of a schema that
/// another one has changed only when it reads: in the middle of a statement, whose driver does not expect that. So it
/// reads the schema first. The read is one of the step's own transaction, which begins to read anyway.
pub(crate) async fn fetch_step(connection: &mut SqliteConnection, sql: &str) -> Answer {
    if statement::class(sql) == Class::Select && sql.contains('*') {
        // Where it is refused, the step is refused in the same way.
        let _ = fetch(connection, "SELECT count(*) FROM sqlite_master").await;
    }
    fetch(connection, sql).await
}

/// Copies every table's rows into another file, and returns what puts them back.
pub(super) async fn keep_rows(control: &mut SqliteConnection, keep: &str) -> Result<String, Lost> {
    let keeping = |error| Lost::during("copy the rows of the set-up", error);
    let attach = format!("ATTACH '{}' AS driftlock_start", keep.replace('\'', "''"));
    execute(control, &attach, "attach a file for the rows of the set-up").await?;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM main.sqlite_master WHERE type = 'table' \
         AND (name = 'sqlite_sequence' OR name NOT LIKE 'sqlite\\_%' ESCAPE '\\')",
    )
    .fetch_all(&mut *control)
    .await
    .map_err(keeping)?;
    let mut restore = "PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE; ".to_owned();
    for (number, table) in tables.iter().enumerate() {
        let table = format!("main.{}", quoted_name(table));
        let copy = format!("CREATE TABLE driftlock_start.t{number} AS SELECT * FROM {table}");
        execute(control, &copy, "copy the rows of the set-up").await?;
        restore
            .push_str(&format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM driftlock_start.t{number}; "));
    }
    restore.push_str("COMMIT");
    Ok(restore)
}
