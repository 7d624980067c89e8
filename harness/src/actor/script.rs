//! A script's actor that nobody holds back: its steps once, one after the other, on an open session.
//!
//! What [`crate::explore`] lets through step by step runs freely here: as one actor of a round of
//! `verify`, or as traffic beside something else.

pub mod postgres;
pub mod sqlite;

use std::future::Future;
use std::time::Duration;

use crate::clock::Clock;
use crate::explore::captured::Types;
use crate::explore::postgres::overlap::Flight;
use crate::explore::world::{Lost, What};
use crate::scenario::script::{ActorState, AfterError, Progress, Returned, Script, ScriptCase, Value};

/// A session that carries out messages of SQL.
pub trait Session: Send {
    /// Carries out one message, for at most this long. `stdin` is what is to be copied into a table.
    ///
    /// Cancellation: the session must then be dropped.
    fn send(
        &mut self,
        sql: &str,
        stdin: Option<&str>,
        at_most: Duration,
    ) -> impl Future<Output = Result<Answer, Lost>> + Send;

    /// Ends the transaction that was left open, if there is one, as the end of a program does. When the
    /// server worked on the last message, if it says.
    fn close(&mut self) -> impl Future<Output = Result<Option<Flight>, Lost>> + Send;

    /// Forgets whatever earlier messages have left in the session; on a file, it is closed until it is reopened.
    fn renew(&mut self) -> impl Future<Output = Result<(), Lost>> + Send;

    /// Opens it again, on a database that was made anew.
    fn reopen(&mut self) -> impl Future<Output = Result<(), Lost>> + Send;

    /// The number by which the server says who waits for it, if it does.
    fn number(&self) -> Option<i32>;
}

/// What came of a message.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The rows, or why it was refused.
    pub what: What,
    /// What of it can be captured.
    pub returned: Returned,
    /// What the server said beside it.
    pub notices: Vec<String>,
    /// Whether it was seen to wait, by the server's word, and for which sessions, by their numbers.
    pub waited: Option<Vec<i32>>,
}

/// A step that was carried out.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Which one, from 0.
    pub step: usize,
    /// As it was sent, captured values filled in.
    pub sql: String,
    /// When it was sent, since the clock was started.
    pub begun: Duration,
    /// When it was answered.
    pub ended: Duration,
    /// What came of it.
    pub answer: Answer,
}

/// One pass through an actor's steps.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// The steps, up to the end or to the failure with which the actor gave up.
    pub ran: Vec<Ran>,
    /// When the server worked on the last one, by its own clock.
    pub flight: Option<Flight>,
    /// How far the actor has come, with what it has captured.
    pub progress: Progress,
}

impl Pass {
    /// Whether it and another one were under way at the same time for certain: both had an answer and
    /// were still to send something, or the server worked on the last message of both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let within = |pass: &Self| Some((pass.ran.first()?.ended, pass.ran.last()?.begun));
        let between = match (within(self), within(other)) {
            (Some((from, until)), Some((other_from, other_until))) => from.max(other_from) < until.min(other_until),
            _ => false,
        };
        let in_flight = self.flight.zip(other.flight).is_some_and(|(one, other)| one.meets(&other));
        between || in_flight
    }
}

/// Runs the steps of the actor with this number once, with these pauses before them (none where there is none), and closes.
///
/// Cancellation: the session must then be dropped.
///
/// # Errors
/// The session is lost, or a step does not come to an end.
pub async fn run<S: Session>(
    session: &mut S,
    (script, case, types): (&Script, &ScriptCase, &Types),
    who: usize,
    pauses: &[Duration],
    clock: &Clock,
) -> Result<Pass, Lost> {
    let actor = &script.actors[who];
    let (mut progress, mut ran) = (Progress::of(actor), Vec::new());
    while progress.state != ActorState::Ended {
        let number = progress.next;
        let step = &actor.steps[number];
        if let Some(pause) = pauses.get(number).filter(|pause| !pause.is_zero()) {
            tokio::time::sleep(*pause).await;
        }
        let sql = progress.sql(case, step);
        let begun = clock.elapsed();
        let answer = session.send(&sql, step.stdin.as_deref(), script.step_max()).await;
        let about = |lost: Lost| Lost { why: format!("step {} of {}: {}", step.name, actor.name, lost.why), ..lost };
        let answer = answer.map_err(about)?;
        let ended = clock.elapsed();
        let after = match &answer.what {
            What::Failed { code, .. } => progress.refused(actor, code),
            _ => {
                let literal = |column, value: &Value| types.literal(who, number, column, value);
                progress.answered(actor, &answer.returned, literal);
                AfterError::GoesOn
            }
        };
        ran.push(Ran { step: number, sql, begun, ended, answer });
        if after == AfterError::RollsBack && progress.state != ActorState::Ended {
            session.close().await?;
        }
    }
    Ok(Pass { ran, flight: session.close().await?, progress })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::world::Done;

    fn pass(times: &[(u64, u64)], flight: Option<(i64, i64)>) -> Pass {
        let answer = Answer {
            what: What::Done(Done::default()),
            returned: Returned::default(),
            notices: Vec::new(),
            waited: None,
        };
        let ran = |(step, (begun, ended)): (usize, &(u64, u64))| Ran {
            step,
            sql: String::new(),
            begun: Duration::from_micros(*begun),
            ended: Duration::from_micros(*ended),
            answer: answer.clone(),
        };
        let flight = flight.map(|(begun, ended)| Flight { begun, ended });
        Pass { ran: times.iter().enumerate().map(ran).collect(), flight, progress: Progress::default() }
    }

    #[test]
    fn passes_overlap_where_nothing_else_is_possible() {
        let long = pass(&[(0, 10), (20, 30), (100, 110)], None);
        assert!(long.overlaps(&pass(&[(40, 50), (60, 70)], None)));
        assert!(pass(&[(40, 50), (60, 70)], None).overlaps(&long));
        // The last message of one may have been done before the first of the other was begun.
        assert!(!long.overlaps(&pass(&[(90, 120), (130, 140)], None)));
        assert!(!pass(&[(0, 10)], None).overlaps(&pass(&[(0, 10)], None)));
        assert!(!pass(&[], None).overlaps(&long));
        assert!(pass(&[(0, 10)], Some((5, 9))).overlaps(&pass(&[(0, 10)], Some((8, 12)))));
        assert!(!pass(&[(0, 10)], Some((5, 8))).overlaps(&pass(&[(0, 10)], Some((8, 12)))));
    }
}
