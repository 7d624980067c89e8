//! The same traffic of the user's own as on PostgreSQL: the actors of a script, over and over, each on a connection of
//! its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use drift_engine::lock::Backend;
use drift_engine::session::{DbError, ErrorClass, Kind, Session};
use drift_engine::sqlite::classify;
use sqlx::{AssertSqlSafe, SqliteConnection};
use tokio::task::JoinSet;

use super::super::operation::{Class, Operation};
use super::super::rounds::Rounds;
use super::super::scripted::{Ended, class, filled};
use super::super::traffic::{OPERATIONS_MAX, WARM_UP_MAX};
use crate::clock::Clock;
use crate::database::sqlite::SqliteDatabase;
use crate::explore::sqlite::{came, fetch, roll_back, rows};
use crate::explore::world::What;
use crate::history::ActorId;
use crate::scenario::script::Script;
use crate::sqlite_busy::Busy;

/// How long to rest between two rounds: whoever writes keeps every other writer out.
const REST: Duration = Duration::from_millis(25);

/// The traffic, running.
#[derive(Debug)]
pub struct Scripted {
    shared: Arc<Shared>,
    actors: JoinSet<Result<Vec<Operation>, DbError>>,
}

#[derive(Debug)]
struct Shared {
    database: SqliteDatabase,
    clock: Clock,
    script: Arc<Script>,
    begin: String,
    stop: AtomicBool,
    operations: AtomicU64,
    rounds: Rounds,
    sessions: Mutex<BTreeMap<i64, ActorId>>,
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed) && self.operations.load(Ordering::Relaxed) < OPERATIONS_MAX
    }

    async fn connect(&self, actor: ActorId) -> Result<(SqliteConnection, Arc<Busy>), DbError> {
        let (session, busy) = self.database.connect().await?;
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(session.id().0, actor);
        Ok((session.into_inner(), busy))
    }
}

/// What `{begin}` stands for: that of the script's first case on SQLite.
fn begin(script: &Script) -> String {
    let case = script.cases.iter().find(|case| case.backend == Backend::Sqlite);
    case.map_or_else(|| "BEGIN IMMEDIATE".to_owned(), |case| case.begin.clone())
}

/// Runs a script's set-up.
///
/// # Errors
/// SQLite refuses it.
pub async fn set_up(script: &Script, database: &SqliteDatabase) -> Result<(), DbError> {
    let mut connection = database.plain().await?;
    let sent = sqlx::raw_sql(AssertSqlSafe(script.setup.clone())).execute(&mut connection).await;
    sent.map(drop).map_err(|error| classify(error, Kind::Write))
}

impl Scripted {
    /// Starts the actors, and waits until each has come round twice.
    ///
    /// Cancellation: dropping the future, or the traffic, ends every actor.
    ///
    /// # Errors
    /// The file cannot be opened, or the actors do not get going.
    pub async fn start(database: SqliteDatabase, script: Arc<Script>, clock: Clock) -> Result<Self, DbError> {
        let shared = Arc::new(Shared {
            database,
            clock,
            begin: begin(&script),
            stop: AtomicBool::new(false),
            operations: AtomicU64::new(0),
            rounds: Rounds::of(script.actors.len()),
            sessions: Mutex::default(),
            script,
        });
        let mut actors = JoinSet::new();
        for number in (0..).take(shared.script.actors.len()) {
            let (connection, busy) = shared.connect(ActorId(number)).await?;
            actors.spawn(act(shared.clone(), ActorId(number), connection, busy));
        }
        let traffic = Self { shared, actors };
        if !traffic.shared.rounds.come_to(2, WARM_UP_MAX).await {
            let message = format!("not every actor got going within {} s", WARM_UP_MAX.as_secs());
            return Err(DbError { class: ErrorClass::Other, code: None, message, during: Kind::Begin });
        }
        Ok(traffic)
    }

    /// Waits until each actor has come round once more, or `at_most` has passed; answers which.
    pub async fn come_round(&self, at_most: Duration) -> bool {
        self.shared.rounds.one_more(|| self.shared.goes_on(), at_most).await
    }

    /// Lets each actor finish its round, and asks the invariants.
    ///
    /// # Errors
    /// The file is lost, or an invariant's query is refused.
    ///
    /// # Panics
    /// An actor panicked.
    pub async fn stop(mut self) -> Result<Ended, DbError> {
        let full = !self.shared.goes_on();
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut operations = Vec::new();
        while let Some(ended) = self.actors.join_next().await {
            operations.extend(ended.expect("an actor neither panics nor is aborted")?);
        }
        operations.sort_by_key(|one: &Operation| (one.invoked, one.returned, one.actor));
        let mut connection = self.shared.database.plain().await?;
        let mut invariants = Vec::new();
        for query in &self.shared.script.invariants {
            let found = fetch(&mut connection, &query.sql).await.map_err(|error| classify(error, Kind::Read))?;
            let (found, (_, first)) = (!found.is_empty(), rows(&found));
            invariants.push((query.name.clone(), found.then(|| first.unwrap_or_else(|| "NULL".to_owned()))));
        }
        let rounds = self.shared.rounds.total();
        let sessions = self.shared.sessions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Ended { operations, sessions, full, rounds, invariants })
    }
}

async fn act(
    shared: Arc<Shared>,
    actor: ActorId,
    mut connection: SqliteConnection,
    busy: Arc<Busy>,
) -> Result<Vec<Operation>, DbError> {
    let script = shared.script.clone();
    let who = &script.actors[actor.0 as usize];
    let about: Vec<(Option<Class>, Arc<str>)> = who
        .steps
        .iter()
        .map(|step| (class_of(&step.sql, &shared.begin), format!("{}, step {}", who.name, step.name).into()))
        .collect();
    let mut operations = Vec::new();
    while shared.goes_on() {
        let mut captured: BTreeMap<&str, Option<String>> = BTreeMap::new();
        for (step, (class, what)) in who.steps.iter().zip(about.clone()) {
            let sql = filled(&step.sql, &shared.begin, &captured);
            let invoked = shared.clock.now();
            busy.begun();
            let answer = fetch(&mut connection, &sql).await;
            busy.ended();
            let returned = shared.clock.now();
            let (came, first) = came(answer).map_err(|error| classify(error, Kind::Write))?;
            let failed = match &came {
                What::Failed { code, message } => Some((Arc::from(code.as_str()), Arc::from(message.as_str()))),
                _ => None,
            };
            let gives_up = failed.is_some() && !who.goes_on;
            // What the script allows its step to fail with is an answer like any other.
            let refused =
                failed.filter(|(code, _): &(Arc<str>, Arc<str>)| !step.errors.iter().any(|one| **one == **code));
            operations.push(Operation { actor, invoked, returned, class, what, refused });
            shared.operations.fetch_add(1, Ordering::Relaxed);
            if let (Some(name), Some(value)) = (&step.capture, first) {
                captured.insert(name, Some(value));
            }
            if gives_up {
                break;
            }
        }
        // Whatever a round has left open, the next one begins anew.
        roll_back(&mut connection).await;
        busy.ended();
        shared.rounds.done(actor);
        tokio::time::sleep(REST).await;
    }
    Ok(operations)
}

/// What sort of operation a step is: whoever begins with the write lock waits for it like a writer.
fn class_of(sql: &str, begin: &str) -> Option<Class> {
    let text = sql.replace("{begin}", begin).to_ascii_uppercase();
    let locks = ["IMMEDIATE", "EXCLUSIVE"].iter().any(|word| text.contains(word));
    if text.trim_start().starts_with("BEGIN") && locks { Some(Class::Write) } else { class(sql) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_begin_that_takes_the_write_lock_is_a_write() {
        for (sql, begin, expected) in [
            ("{begin}", "BEGIN IMMEDIATE", Some(Class::Write)),
            ("{begin}", "BEGIN DEFERRED", None),
            ("begin exclusive", "BEGIN", Some(Class::Write)),
            ("BEGIN", "BEGIN IMMEDIATE", None),
            ("SELECT 1", "BEGIN IMMEDIATE", Some(Class::Read)),
            ("COMMIT", "BEGIN IMMEDIATE", Some(Class::Write)),
        ] {
            assert_eq!(class_of(sql, begin), expected, "{sql} {begin}");
        }
    }
}
