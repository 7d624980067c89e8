//! A script under load: a round of one of its actors is a task. Actors take turns.
//!
//! The set-up is run once, before the load. What an actor does is repeated on what its own and the other
//! actors' rounds have left: whatever cannot be repeated is refused beforehand.

pub mod bench;
pub mod connection;
pub mod steps;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use drift_engine::session::{DbError, ErrorClass, Kind};

use self::connection::{Connection, Place};
use self::steps::{StepRow, Steps};
use super::alarm::Alarm;
use super::job::{Job, Turn};
use super::load::Load;
use super::phase::{Phase, Times};
use super::recorder::{Errors, Outcome};
use super::wire::lost;
use crate::clock::Clock;
use crate::database::ANSWER_MAX;
use crate::explore::captured::Types;
use crate::explore::statement::{self, Class};
use crate::history::Tick;
use crate::scenario::data::fork;
use crate::scenario::script::{
    ActorState, AfterError, OnError, Progress, Returned, Script, ScriptActor, ScriptCase, ScriptStep, holes, unfilled,
};

/// How often a round is tried that is refused for reasons of concurrency.
pub const ATTEMPTS_MAX: u32 = 10;
/// The longest pause between two tries of a round, in nanoseconds.
const PAUSE_MAX: u64 = 50_000_000;

/// A script's actors on a database that has its set-up.
#[derive(Debug)]
pub struct ScriptJob {
    place: Place,
    script: Arc<Script>,
    case: ScriptCase,
    types: Types,
    /// What each step of each actor is, once for all.
    steps: Vec<Vec<Known>>,
    /// What the steps came to.
    counted: Steps,
    /// When the load began, not what was measured before it.
    begun: OnceLock<Duration>,
    /// From when on it is recorded, and to when, since then.
    recorded: Range<Duration>,
    round_trip_added: Duration,
    clock: Clock,
    alarm: Arc<Alarm>,
    seed: u64,
}

/// What is known of a step before it is sent.
#[derive(Debug)]
struct Known {
    /// Its SQL, where nothing captured is in it.
    sql: Option<String>,
    phase: Phase,
    kind: Kind,
}

/// How a round ended that is not done.
enum Ended {
    Refused { again: bool },
    Lost,
}

/// Why a script cannot be put under load; nothing if it can. `pooled`: workers share connections.
pub fn unrepeatable(script: &Script, pooled: bool) -> Option<String> {
    let steps = || script.actors.iter().flat_map(|actor| actor.steps.iter().map(move |step| (actor, step)));
    let named = |(actor, step): (&ScriptActor, &ScriptStep)| format!("step {} of actor {}", step.name, actor.name);
    if let Some(found) = steps().find(|(_, step)| statement::changes_schema(&step.sql)) {
        let why = "changes more than rows, and a round must be such that it can be done again and again";
        return Some(format!("{} {why}", named(found)));
    }
    if let Some(found) = steps().find(|(_, step)| step.stdin.is_some()) {
        return Some(format!("{} copies data, which only explore and verify send", named(found)));
    }
    let left = |(_, step): &(&ScriptActor, &ScriptStep)| statement::leaves_in_session(&step.sql);
    let found = steps().find(left).filter(|_| pooled)?;
    Some(format!("{} may leave something in its session, where another worker of the pool would find it", named(found)))
}

impl ScriptJob {
    /// The actors of a script, on a database that has its set-up; the types are those of [`Place::types`].
    pub fn new(
        place: Place,
        (script, case, types): (Arc<Script>, ScriptCase, Types),
        load: &Load,
        (clock, alarm): (Clock, Arc<Alarm>),
    ) -> Self {
        let known = |step: &ScriptStep| {
            let sql = unfilled(&case, step);
            let (phase, kind) = match statement::class(&sql) {
                _ if step.locks => (Phase::LockWait, Kind::Lock),
                Class::Begin => (Phase::Begin, Kind::Begin),
                Class::End => (Phase::Commit, Kind::Commit),
                Class::Select => (Phase::Read, Kind::Read),
                Class::Other => (Phase::Write, Kind::Write),
            };
            let captured = holes(&step.sql).into_iter().any(|name| name != "begin");
            Known { sql: (!captured).then_some(sql), phase, kind }
        };
        let steps = script.actors.iter().map(|actor| actor.steps.iter().map(known).collect()).collect();
        let counted = Steps::new(script.actors.iter().map(|actor| actor.steps.len()));
        let (recorded, begun) = (load.warm_up..load.warm_up + load.duration, OnceLock::new());
        let (round_trip_added, seed) = (load.round_trip_added, load.seed);
        Self { place, script, case, types, steps, counted, begun, recorded, round_trip_added, clock, alarm, seed }
    }

    /// What the steps came to in the time that is recorded.
    pub fn counted(&self) -> Vec<StepRow> {
        self.counted.rows(&self.steps())
    }

    /// Whether a round that begins now is recorded.
    fn is_recorded(&self) -> bool {
        let since = self.begun.get().map(|begun| self.clock.elapsed().saturating_sub(*begun));
        since.is_some_and(|since| self.recorded.contains(&since))
    }

    async fn round(
        &self,
        connection: &mut Connection,
        actor: usize,
        errors: &Errors,
        times: &mut Times,
    ) -> Result<(), Ended> {
        let (who, known, actor) = (actor, &self.steps[actor], &self.script.actors[actor]);
        let (mut progress, mut granted, mut refused) = (Progress::of(actor), None, None);
        let is_recorded = self.is_recorded();
        while progress.state == ActorState::Ready {
            let number = progress.next;
            let (step, known) = (&actor.steps[number], &known[number]);
            let sql = match &known.sql {
                Some(sql) => Cow::Borrowed(sql.as_str()),
                None => Cow::Owned(progress.sql(&self.case, step)),
            };
            let (sent, answer) = self.timed(connection, &sql, known.kind, Some(step)).await;
            let answered = self.clock.now();
            let taken = answered.0.saturating_sub(sent.0);
            times.steps.add(number, taken);
            times.add(known.phase, taken);
            match answer {
                Ok(returned) => {
                    self.counted.answered((who, number), connection.rows, is_recorded);
                    progress.answered(actor, &returned, |column, value| self.types.literal(who, number, column, value));
                    granted = granted.or_else(|| step.locks.then_some(answered));
                }
                Err(error) => {
                    errors.count(&error);
                    if error.class == ErrorClass::Lost {
                        return Err(Ended::Lost);
                    }
                    let code = error.code.as_deref().unwrap_or_default();
                    if is_recorded {
                        self.counted.refused((who, number), code);
                    }
                    if progress.refused(actor, code) == AfterError::RollsBack {
                        // What the script says of its end is as it should be; its retries are rounds begun anew.
                        let is_expected = step.errors.iter().any(|known| known == code)
                            || actor.on_error(number, code) == Some(OnError::End);
                        let again = progress.state == ActorState::Ready || error.class.is_retryable();
                        refused = (!is_expected).then_some(Ended::Refused { again });
                        connection.is_open = true;
                        break;
                    }
                }
            }
        }
        if connection.is_open {
            let (sent, answer) = self.timed(connection, "ROLLBACK", Kind::Rollback, None).await;
            times.add(Phase::Other, self.clock.now().0.saturating_sub(sent.0));
            // SQLite refuses where there is nothing to roll back.
            if answer.is_err_and(|error| error.class == ErrorClass::Lost) {
                return Err(Ended::Lost);
            }
        }
        if let Some(granted) = granted {
            times.add(Phase::InLock, self.clock.now().0.saturating_sub(granted.0));
        }
        refused.map_or(Ok(()), Err)
    }

    /// Sends SQL, with the added round trip; when that began.
    async fn timed(
        &self,
        connection: &mut Connection,
        sql: &str,
        kind: Kind,
        step: Option<&ScriptStep>,
    ) -> (Tick, Result<Returned, DbError>) {
        let (sent, added) = (self.clock.now(), self.round_trip_added);
        self.alarm.pass(added / 2).await;
        let answer = connection.send(sql, kind, step).await;
        self.alarm.pass(added - added / 2).await;
        (sent, answer)
    }

    /// Waits before the next try: twice as long each time, up to a bound, and not as long as others.
    async fn pause(&self, number: u64, attempt: u32, times: &mut Times) {
        let longest = (1_000_000_u64 << attempt.min(16)).min(PAUSE_MAX);
        let drawn = fork(self.seed.wrapping_add(number), "a round's pause").wrapping_add(u64::from(attempt) * 7_919);
        let pause = Duration::from_nanos(longest / 2 + drawn % (longest / 2));
        let began = self.clock.elapsed();
        self.alarm.until(began + pause).await;
        let taken = self.clock.elapsed() - began;
        times.add(Phase::Backoff, u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX));
    }
}

impl Job for ScriptJob {
    type Connection = Connection;

    async fn connect(&self) -> Result<Connection, DbError> {
        self.place.connect().await
    }

    fn key_at(&self, place: u64) -> Option<u32> {
        let actors = self.script.actors.len() as u64;
        Some(u32::try_from(place % actors).unwrap_or(0) + 1)
    }

    fn begins(&self) {
        let _ = self.begun.set(self.clock.elapsed());
    }

    fn steps(&self) -> Vec<Vec<String>> {
        let name = |actor: &ScriptActor, step: &ScriptStep| format!("{}.{}", actor.name, step.name);
        let names = |actor: &ScriptActor| actor.steps.iter().map(|step| name(actor, step)).collect();
        self.script.actors.iter().map(names).collect()
    }

    async fn perform(&self, connection: &mut Connection, turn: Turn, errors: &Errors, times: &mut Times) -> Outcome {
        let actor = turn.key as usize - 1;
        for attempt in 1..=ATTEMPTS_MAX {
            times.attempts += 1;
            let round = tokio::time::timeout(ANSWER_MAX, self.round(connection, actor, errors, times)).await;
            let Ok(round) = round else {
                errors.count(&lost(Kind::Read, "a round did not come to its end in time"));
                return Outcome::Lost;
            };
            match round {
                Ok(()) => return Outcome::Done,
                Err(Ended::Lost) => return Outcome::Lost,
                Err(Ended::Refused { again: true }) if attempt < ATTEMPTS_MAX => {
                    self.pause(turn.number, attempt, times).await;
                }
                Err(Ended::Refused { .. }) => break,
            }
        }
        Outcome::Failed
    }
}

#[cfg(test)]
mod tests;
