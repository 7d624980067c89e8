//! Traffic of the user's own: the actors of a script, over and over, each on a connection of its own.
//!
//! A script is the same file that `explore` takes. Its set-up is run once the migrations stand at the version to
//! begin at; its invariants are asked at the end. An actor whose step is refused rolls back and begins again.

mod line;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use drift_engine::lock::Backend;
use drift_engine::session::{DbError, ErrorClass, Kind};
use tokio::task::JoinSet;

use self::line::Line;
use super::flight::Flight;
use super::operation::{Class, Operation};
use super::rounds::Rounds;
use super::traffic::{OPERATIONS_MAX, WARM_UP_MAX};
use crate::clock::Clock;
use crate::database::Database;
use crate::explore::captured::by_looks;
use crate::explore::statement::{self, Class as Words};
use crate::history::ActorId;
use crate::scenario::script::{ActorState, AfterError, Progress, Script, ScriptActor, ScriptCase, ScriptStep, answers};

/// The traffic, running.
#[derive(Debug)]
pub struct Scripted {
    shared: Arc<Shared>,
    actors: JoinSet<Result<Vec<Operation>, DbError>>,
}

#[derive(Debug)]
struct Shared {
    database: Database,
    backend: Backend,
    clock: Clock,
    script: Arc<Script>,
    case: ScriptCase,
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

    async fn connect(&self, actor: ActorId) -> Result<Line, DbError> {
        let (session, line) = Line::open(&self.database).await?;
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(session, actor);
        Ok(line)
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

/// The script's first case on the backend, or one of our own.
fn case(script: &Script, backend: Backend) -> ScriptCase {
    let case = script.cases.iter().find(|case| case.backend == backend);
    case.cloned().unwrap_or_else(|| ScriptCase {
        name: backend.as_str().to_owned(),
        backend,
        begin: line::begin(backend).to_owned(),
        violates: None,
        set: BTreeMap::new(),
    })
}

/// Runs a script's set-up.
///
/// # Errors
/// The database refuses it.
pub async fn set_up(script: &Script, database: &Database) -> Result<(), DbError> {
    let case = case(script, line::backend(database));
    line::set_up(&script.of_case(&case).setup, database).await
}

impl Scripted {
    /// Starts the actors, and waits until each has come round twice.
    ///
    /// Cancellation: dropping the future, or the traffic, ends every actor.
    ///
    /// # Errors
    /// The database cannot be reached, or the actors do not get going.
    pub async fn start(database: Database, script: Arc<Script>, clock: Clock) -> Result<Self, DbError> {
        let backend = line::backend(&database);
        if let Some(query) = script.invariants.iter().find(|query| !answers(&query.sql).is_empty()) {
            let why = "asks what an actor has captured, and here each captures over and over";
            let message = format!("invariant {} {why}: leave it out of this file", query.name);
            return Err(DbError { class: ErrorClass::Other, code: None, message, during: Kind::Begin });
        }
        if script.actors.iter().flat_map(|actor| &actor.steps).any(|step| step.stdin.is_some()) {
            let message = "a step copies data (`stdin`), which only explore and verify send".to_owned();
            return Err(DbError { class: ErrorClass::Other, code: None, message, during: Kind::Begin });
        }
        let case = case(&script, backend);
        let script = Arc::new(script.of_case(&case));
        let shared = Arc::new(Shared {
            database,
            backend,
            clock,
            case,
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
        let (_, mut line) = Line::open(&self.shared.database).await?;
        let mut invariants = Vec::new();
        for query in &self.shared.script.invariants {
            let found = match line.send(&query.sql, Kind::Read).await {
                Ok(found) => {
                    let row = || found.first.first().and_then(|value| value.text.clone());
                    let returned = || row().unwrap_or_else(|| "NULL".to_owned());
                    (!found.first.is_empty()).then(|| format!("its query returned a row ({})", returned()))
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

async fn act(shared: Arc<Shared>, actor: ActorId, mut line: Line) -> Result<Vec<Operation>, DbError> {
    let script = shared.script.clone();
    let who: &ScriptActor = &script.actors[actor.0 as usize];
    let steps: Vec<(&ScriptStep, Option<Class>, Arc<str>)> = who
        .steps
        .iter()
        .map(|step| (step, class(shared.backend, &step.sql, &shared.case.begin), what(who, step).into()))
        .collect();
    let mut operations = Vec::new();
    while shared.goes_on() {
        // Whoever branches may have left its transaction open.
        let mut went_well = !who.goes_on && who.is_straight();
        let mut progress = Progress::of(who);
        while progress.state == ActorState::Ready {
            let (step, class, what) = &steps[progress.next];
            let sql = progress.sql(&shared.case, step);
            let invoked = shared.clock.now();
            let under_way = class.map(|_| shared.flight.depart());
            let answer = line.send(&sql, Kind::Write).await;
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
            if let (Some(_), Err(error)) = (&refused, &answer) {
                shared.flight.refuse(&what, error);
            }
            let sql = refused.as_ref().map(|_| Arc::from(sql.as_str()));
            operations.push(Operation { actor, invoked, returned, class, what, refused, sql });
            shared.operations.fetch_add(1, Ordering::Relaxed);
            match answer {
                Ok(returned) => {
                    progress.answered(who, &returned, |_, value| {
                        value.literal.clone().unwrap_or_else(|| by_looks(value.text.as_deref()))
                    });
                }
                Err(error) if error.class == ErrorClass::Lost => {
                    line = shared.connect(actor).await?;
                    break;
                }
                Err(error) => {
                    let after = progress.refused(who, error.code.as_deref().unwrap_or_default());
                    if after == AfterError::RollsBack {
                        went_well = false;
                        if progress.state == ActorState::Ready {
                            line.clear(false).await;
                        }
                    }
                }
            }
        }
        // Whatever a round has left open, the next one begins anew.
        line.clear(went_well).await;
        shared.rounds.done(actor);
        tokio::time::sleep(line::rest(shared.backend)).await;
    }
    Ok(operations)
}

/// What a step's operation is called.
pub(super) fn what(actor: &ScriptActor, step: &ScriptStep) -> String {
    format!("{}, step {}", actor.name, step.name)
}

/// What sort of operation a step is. Whoever begins with SQLite's write lock waits for it like a writer.
fn class(backend: Backend, sql: &str, begin: &str) -> Option<Class> {
    let text = sql.replace("{begin}", begin).to_ascii_uppercase();
    let locks = backend == Backend::Sqlite && ["IMMEDIATE", "EXCLUSIVE"].iter().any(|word| text.contains(word));
    if locks && text.trim_start().starts_with("BEGIN") {
        return Some(Class::Write);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(class(Backend::Postgres, sql, "BEGIN"), expected, "{sql}");
        }
    }

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
            assert_eq!(class(Backend::Sqlite, sql, begin), expected, "{sql} {begin}");
        }
    }
}
