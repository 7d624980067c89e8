//! Traffic of the user's own: the actors of a script, over and over, each on a connection of its own.
//!
//! A script is the same file that `explore` takes. Its set-up is run once the migrations stand at the version to
//! begin at; its invariants are asked at the end. An actor whose step is refused rolls back and begins again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use drift_engine::lock::Backend;
use drift_engine::postgres::classify;
use drift_engine::session::{DbError, ErrorClass, Kind};
use sqlx::{AssertSqlSafe, PgConnection, Row, ValueRef};
use tokio::task::JoinSet;

use super::flight::Flight;
use super::operation::{Class, Operation};
use super::rounds::Rounds;
use super::traffic::{OPERATIONS_MAX, REST, WARM_UP_MAX};
use crate::clock::Clock;
use crate::database::postgres::PgDatabase;
use crate::explore::statement::{self, Class as Words};
use crate::history::ActorId;
use crate::scenario::script::{Script, ScriptActor, ScriptStep, holes};

/// How long a statement of the traffic may take.
const STATEMENT_MAX_MS: u64 = 30_000;

/// The traffic, running.
#[derive(Debug)]
pub struct Scripted {
    shared: Arc<Shared>,
    actors: JoinSet<Result<Vec<Operation>, DbError>>,
}

#[derive(Debug)]
struct Shared {
    database: PgDatabase,
    clock: Clock,
    script: Arc<Script>,
    begin: String,
    stop: AtomicBool,
    operations: AtomicU64,
    rounds: Rounds,
    flight: Arc<Flight>,
    sessions: Mutex<BTreeMap<i64, ActorId>>,
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed) && self.operations.load(Ordering::Relaxed) < OPERATIONS_MAX
    }

    async fn connect(&self, actor: ActorId) -> Result<PgConnection, DbError> {
        let failed = |error| classify(error, Kind::Begin);
        let mut connection = self.database.plain().await?;
        let bound = format!("SET statement_timeout = {STATEMENT_MAX_MS}");
        sqlx::raw_sql(AssertSqlSafe(bound)).execute(&mut connection).await.map_err(failed)?;
        let pid: i32 =
            sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await.map_err(failed)?;
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(i64::from(pid), actor);
        Ok(connection)
    }
}

/// What the traffic has left.
#[derive(Debug)]
pub struct Ended {
    /// Everything that it did, ordered by invocation.
    pub operations: Vec<Operation>,
    /// Which session was whose.
    pub sessions: BTreeMap<i64, ActorId>,
    /// Whether the record was full before the end.
    pub full: bool,
    /// How many rounds the actors made.
    pub rounds: u64,
    /// Each invariant with what is wrong, which should be nothing.
    pub invariants: Vec<(String, Option<String>)>,
}

/// What `{begin}` stands for: that of the script's first case on PostgreSQL.
fn begin(script: &Script) -> String {
    let case = script.cases.iter().find(|case| case.backend == Backend::Postgres);
    case.map_or_else(|| "BEGIN".to_owned(), |case| case.begin.clone())
}

/// Runs a script's set-up.
///
/// # Errors
/// The database refuses it.
pub async fn set_up(script: &Script, database: &PgDatabase) -> Result<(), DbError> {
    let mut connection = database.plain().await?;
    let sent = sqlx::raw_sql(AssertSqlSafe(script.setup.clone())).execute(&mut connection).await;
    sent.map_err(|error| classify(error, Kind::Write))?;
    let sent = sqlx::raw_sql("VACUUM ANALYZE").execute(&mut connection).await;
    sent.map(drop).map_err(|error| classify(error, Kind::Write))
}

impl Scripted {
    /// Starts the actors, and waits until each has come round twice.
    ///
    /// Cancellation: dropping the future, or the traffic, ends every actor.
    ///
    /// # Errors
    /// The database cannot be reached, or the actors do not get going.
    pub async fn start(database: PgDatabase, script: Arc<Script>, clock: Clock) -> Result<Self, DbError> {
        let shared = Arc::new(Shared {
            database,
            clock,
            begin: begin(&script),
            stop: AtomicBool::new(false),
            operations: AtomicU64::new(0),
            rounds: Rounds::of(script.actors.len()),
            flight: Arc::default(),
            sessions: Mutex::default(),
            script,
        });
        let mut actors = JoinSet::new();
        for number in (0..).take(shared.script.actors.len()) {
            let connection = shared.connect(ActorId(number)).await?;
            actors.spawn(act(shared.clone(), ActorId(number), connection));
        }
        let traffic = Self { shared, actors };
        if !traffic.come_round(WARM_UP_MAX).await || !traffic.come_round(WARM_UP_MAX).await {
            let message = format!("not every actor got going within {} s", WARM_UP_MAX.as_secs());
            return Err(DbError { class: ErrorClass::Other, code: None, message, during: Kind::Begin });
        }
        Ok(traffic)
    }

    /// Waits until each actor has come round once more, or `at_most` has passed; answers which.
    pub async fn come_round(&self, at_most: Duration) -> bool {
        self.shared.rounds.one_more(|| self.shared.goes_on(), at_most).await
    }

    /// Its operations under way.
    pub fn flight(&self) -> Arc<Flight> {
        self.shared.flight.clone()
    }

    /// Lets each actor finish its round, and hands over what they did, ordered by invocation.
    ///
    /// # Errors
    /// The database was lost.
    ///
    /// # Panics
    /// An actor panicked.
    pub async fn halt(&mut self) -> Result<Vec<Operation>, DbError> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut operations = Vec::new();
        while let Some(ended) = self.actors.join_next().await {
            operations.extend(ended.expect("an actor neither panics nor is aborted")?);
        }
        operations.sort_by_key(|one: &Operation| (one.invoked, one.returned, one.actor));
        Ok(operations)
    }

    /// Lets each actor finish its round, and asks the invariants.
    ///
    /// # Errors
    /// The database was lost.
    ///
    /// # Panics
    /// An actor panicked.
    pub async fn stop(mut self) -> Result<Ended, DbError> {
        let full = !self.shared.goes_on();
        let operations = self.halt().await?;
        let mut connection = self.shared.database.plain().await?;
        let mut invariants = Vec::new();
        for query in &self.shared.script.invariants {
            let asked = first(&mut connection, &query.sql).await.map_err(|error| classify(error, Kind::Read));
            let found = match asked {
                Ok(found) => {
                    found.map(|value| format!("its query returned a row ({})", value.as_deref().unwrap_or("NULL")))
                }
                Err(error) if error.class == ErrorClass::Lost => return Err(error),
                // The schema is not what the query was written for.
                Err(error) => Some(format!("its query was refused: {error}")),
            };
            invariants.push((query.name.clone(), found));
        }
        let rounds = self.shared.rounds.total();
        let sessions = self.shared.sessions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Ended { operations, sessions, full, rounds, invariants })
    }
}

/// The first value of a query's first row, if there is a row.
async fn first(connection: &mut PgConnection, sql: &str) -> Result<Option<Option<String>>, sqlx::Error> {
    let row = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_optional(connection).await?;
    let Some(row) = row.filter(|row| !row.is_empty()) else { return Ok(None) };
    let value = row.try_get_raw(0)?;
    if value.is_null() {
        return Ok(Some(None));
    }
    value.as_str().map(|text| Some(Some(text.to_owned()))).map_err(sqlx::Error::Decode)
}

async fn act(shared: Arc<Shared>, actor: ActorId, mut connection: PgConnection) -> Result<Vec<Operation>, DbError> {
    let script = shared.script.clone();
    let who: &ScriptActor = &script.actors[actor.0 as usize];
    let steps: Vec<(&ScriptStep, Option<Class>, Arc<str>)> =
        who.steps.iter().map(|step| (step, class(&step.sql), what(who, step).into())).collect();
    let mut operations = Vec::new();
    while shared.goes_on() {
        let mut captured: BTreeMap<&str, Option<String>> = BTreeMap::new();
        for (step, class, what) in &steps {
            let sql = filled(&step.sql, &shared.begin, &captured);
            let invoked = shared.clock.now();
            let under_way = class.map(|_| shared.flight.depart());
            let answer = first(&mut connection, &sql).await.map_err(|error| classify(error, Kind::Write));
            drop(under_way);
            let returned = shared.clock.now();
            let refused = answer.as_ref().err().map(|error| {
                let code = error.code.clone().unwrap_or_else(|| error.class.to_string());
                (Arc::from(code), Arc::from(error.message.as_str()))
            });
            let (class, what) = (*class, what.clone());
            // What the script allows its step to fail with is an answer like any other.
            let refused =
                refused.filter(|(code, _): &(Arc<str>, Arc<str>)| !step.errors.iter().any(|one| **one == **code));
            operations.push(Operation { actor, invoked, returned, class, what, refused });
            shared.operations.fetch_add(1, Ordering::Relaxed);
            match answer {
                Ok(value) => {
                    if let (Some(name), Some(value)) = (&step.capture, value) {
                        captured.insert(name, value);
                    }
                }
                Err(error) if error.class == ErrorClass::Lost => {
                    connection = shared.connect(actor).await?;
                    break;
                }
                Err(_) if who.goes_on => {}
                Err(_) => {
                    let _ = sqlx::raw_sql("ROLLBACK").execute(&mut connection).await;
                    break;
                }
            }
        }
        // Whatever a round has left open, the next one begins anew.
        if who.goes_on {
            let _ = sqlx::raw_sql("ROLLBACK").execute(&mut connection).await;
        }
        shared.rounds.done(actor);
        tokio::time::sleep(REST).await;
    }
    Ok(operations)
}

/// What a step's operation is called.
pub(super) fn what(actor: &ScriptActor, step: &ScriptStep) -> String {
    format!("{}, step {}", actor.name, step.name)
}

pub(super) fn class(sql: &str) -> Option<Class> {
    match statement::class(sql) {
        Words::Select => Some(Class::Read),
        Words::Begin => None,
        Words::End if sql.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("commit")) => {
            Some(Class::Write)
        }
        Words::End => None,
        Words::Other if sql.contains("{begin}") => None,
        Words::Other => Some(Class::Write),
    }
}

/// A step's SQL with what stands in braces put in: `{begin}` as it is, captured values as literals.
pub(super) fn filled(sql: &str, begin: &str, captured: &BTreeMap<&str, Option<String>>) -> String {
    let mut text = sql.replace("{begin}", begin);
    for name in holes(sql).into_iter().filter(|name| *name != "begin") {
        let literal = match captured.get(name) {
            Some(Some(value)) => format!("'{}'", value.replace('\'', "''")),
            Some(None) | None => "NULL".to_owned(),
        };
        text = text.replace(&format!("{{{name}}}"), &literal);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captured_values_are_literals_and_cannot_break_out() {
        let captured = BTreeMap::from([("a", Some("it's".to_owned())), ("b", None)]);
        assert_eq!(
            filled("{begin}; SELECT {a}, {b}, '{c d}'", "BEGIN", &captured),
            "BEGIN; SELECT 'it''s', NULL, '{c d}'"
        );
    }

    #[test]
    fn steps_are_told_apart_by_their_words() {
        for (sql, expected) in [
            ("{begin}", None),
            ("BEGIN", None),
            ("ROLLBACK", None),
            ("COMMIT", Some(Class::Write)),
            ("SELECT 1", Some(Class::Read)),
            ("SELECT 1 FROM t FOR UPDATE", Some(Class::Write)),
            ("INSERT INTO t VALUES (1)", Some(Class::Write)),
        ] {
            assert_eq!(class(sql), expected, "{sql}");
        }
    }
}
