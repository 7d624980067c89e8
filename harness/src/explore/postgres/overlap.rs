//! Two steps at the same time: what no order of whole steps shows.
//!
//! Both messages are sent before either answer is looked for. That they really were under way together
//! is the server's word: when it began the one and ended the other, by its own clock.

use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::question::{all_wait, ask};
use super::{Answer, Duration, Pace, PgWorld, STEP_MAX, said, send};
use crate::explore::footprint::Footprint;
use crate::explore::world::{Event, Lost, Taken};

/// When the server worked on a step, in microseconds of its own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    /// It had the message.
    pub begun: i64,
    /// It was done with it, or still waits.
    pub ended: i64,
}

impl Flight {
    /// No time at all, right after it.
    fn after(self) -> Self {
        Self { begun: self.ended + 1, ended: self.ended + 1 }
    }

    /// Whether the server worked on both at once.
    pub fn meets(&self, other: &Self) -> bool {
        self.begun.max(other.begun) < self.ended.min(other.ended)
    }
}

/// Two steps that were sent at the same time.
#[derive(Clone, Debug)]
pub struct Together {
    /// What came of each; what they set free is with the first.
    pub taken: [Taken; 2],
    /// When each was worked on.
    pub flights: [Flight; 2],
}

impl Together {
    /// Whether the server worked on both at once.
    pub fn in_flight(&self) -> bool {
        self.flights[0].meets(&self.flights[1])
    }
}

impl PgWorld {
    /// Lets the next steps of two actors through at the same time, the message of the first one a
    /// moment before, and waits until nobody moves.
    ///
    /// Cancellation: the world must then be dropped.
    ///
    /// # Errors
    /// The server is lost, or does not come to an end.
    pub async fn take_together(&mut self, pair: [usize; 2]) -> Result<Together, Lost> {
        for one in &mut self.actors {
            one.forget();
        }
        let steps = pair.map(|actor| self.actors[actor].progress.next);
        let mut sent = Vec::new();
        for actor in pair {
            let one = &mut self.actors[actor];
            (one.preludes, one.trees, one.give_back, one.began) = (0, Vec::new(), None, true);
            let sql = one.progress.sql(&self.case, &self.script.actors[actor].steps[one.progress.next]);
            sent.push(sql.clone());
            let (client, stdin) =
                (one.client.clone(), self.script.actors[actor].steps[one.progress.next].stdin.clone());
            one.reply = Some(Box::pin(async move { send(&client, &sql, stdin.as_deref()).await }));
        }
        let mut answers = [None, None];
        for (actor, answer) in pair.into_iter().zip(&mut answers) {
            // Looking for an answer sends the message.
            let one = &mut self.actors[actor];
            *answer = one.reply.as_mut().and_then(FutureExt::now_or_never);
            if answer.is_some() {
                one.reply = None;
            }
        }
        let mut events = self.both(pair, &mut answers).await?;
        let pids = pair.map(|actor| self.actors[actor].pid);
        let answered = [answers[0].is_some(), answers[1].is_some()];
        let of = activity(&self.control.client, &pids, &answered).await?;
        let flights = of.iter().map(|of| of.map(|of| of.flight)).collect::<Vec<_>>();
        // When a session worked that has ended, nobody says: it counts as after the other.
        let after = |at: usize| flights[1 - at].map_or(Flight { begun: 0, ended: 0 }, Flight::after);
        let flights = [0, 1].map(|at| flights[at].unwrap_or_else(|| after(at)));
        for (actor, answer) in pair.into_iter().zip(answers) {
            if let Some(answer) = answer {
                events.push(self.completed(actor, answer, Pace::Meets).await?.0);
            }
        }
        for actor in pair {
            if self.actors[actor].reply.is_some() {
                events.extend(self.settle(actor, Pace::Meets).await?.0);
            }
        }
        events.sort_by_key(|event| (event.actor, event.step));
        let (of_second, of_first): (Vec<Event>, Vec<Event>) =
            events.into_iter().partition(|event| event.actor == pair[1]);
        for one in &mut self.actors {
            one.listen();
            one.note.notices = std::mem::take(&mut one.told);
        }
        let notes: Vec<_> = self.actors.iter().map(|one| one.note.clone()).collect();
        let taken = |at: usize, events: Vec<Event>| Taken {
            actor: pair[at],
            step: steps[at],
            sql: sent[at].clone(),
            shape: String::new(),
            events,
            footprint: Footprint::everything(),
            futile: false,
            notes: notes.clone(),
            times_out: false,
            may_time_out: false,
        };
        Ok(Together { taken: [taken(0, of_first), taken(1, of_second)], flights })
    }

    /// Waits until both have ended, or nobody moves; what became of others in the meantime.
    async fn both(&mut self, pair: [usize; 2], answers: &mut [Option<Answer>; 2]) -> Result<Vec<Event>, Lost> {
        let (mut events, mut patience, begin) = (Vec::new(), Duration::from_millis(1), Instant::now());
        loop {
            let pending = self.pending();
            if !pair.iter().any(|actor| pending.contains(actor)) {
                return Ok(events);
            }
            if let Some((actor, answer)) = self.next_reply(&pending, patience).await {
                match pair.iter().position(|one| *one == actor) {
                    Some(at) => answers[at] = Some(answer),
                    None => events.push(self.completed(actor, answer, Pace::Meets).await?.0),
                }
                continue;
            }
            let said = ask(&self.control.client, &self.control.ask, self.pids(&pending)).await?;
            let known: Vec<i32> = self.actors.iter().map(|one| one.pid).collect();
            if all_wait(&self.pids(&pending), &said, &known) {
                return Ok(events);
            }
            if begin.elapsed() > STEP_MAX {
                let names = pair.map(|actor| self.script.actors[actor].name.as_str()).join(" and ");
                let why = format!("neither ended nor waited for another actor within {} s", STEP_MAX.as_secs());
                return Err(Lost::new(format!("the steps of {names} at the same time: they {why}")));
            }
            patience = (patience * 2).min(Duration::from_millis(8));
        }
    }
}

/// What a session does, and did last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Activity {
    /// It works, or waits.
    active: bool,
    /// It is in a transaction, and does nothing.
    pub in_transaction: bool,
    /// Its transaction has failed.
    pub aborted: bool,
    /// Its last message.
    pub flight: Flight,
}

/// Asks the server about sessions: when it worked on the last message of each; of one that has ended it says nothing. Of
/// those that have answered it is asked again until it is done: it tells of an error before it has ended the transaction.
pub(crate) async fn activity(control: &Client, pids: &[i32], answered: &[bool]) -> Result<Vec<Option<Activity>>, Lost> {
    let begin = Instant::now();
    loop {
        let of = activity_now(control, pids).await?;
        if of.iter().zip(answered).all(|(of, answered)| !(of.is_some_and(|of| of.active) && *answered)) {
            return Ok(of);
        }
        if begin.elapsed() > STEP_MAX {
            let why = format!("the server is not done with a message within {} s of its answer", STEP_MAX.as_secs());
            return Err(Lost::new(why));
        }
    }
}

async fn activity_now(control: &Client, pids: &[i32]) -> Result<Vec<Option<Activity>>, Lost> {
    let since = |time: &str| format!("(EXTRACT(epoch FROM {time}) * 1000000)::pg_catalog.int8");
    let list: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let question = format!(
        "SELECT p.pid, {}, {}, a.state FROM pg_catalog.unnest(ARRAY[{}]) AS p(pid), \
         pg_catalog.pg_stat_get_activity(p.pid) AS a",
        since("a.query_start"),
        since("CASE WHEN a.state = 'active' THEN pg_catalog.clock_timestamp() ELSE a.state_change END"),
        list.join(", ")
    );
    let answer = tokio::time::timeout(STEP_MAX, control.simple_query(&question)).await;
    let answer = answer.map_err(|_| Lost::during("ask the server when it worked", "no answer"))?;
    let answer = answer.map_err(|error| said("ask the server when it worked", &error))?;
    let mut all = vec![None; pids.len()];
    for message in &answer {
        let SimpleQueryMessage::Row(row) = message else { continue };
        let number = |at: usize| row.get(at).and_then(|text| text.parse::<i64>().ok());
        let at = pids.iter().position(|pid| Some(i64::from(*pid)) == number(0));
        let Some(at) = at else { continue };
        let (Some(begun), Some(ended)) = (number(1), number(2)) else {
            let why = "the server does not say when it worked on a session's message: track_activities is off";
            return Err(Lost::new(why));
        };
        all[at] = Some(Activity {
            active: row.get(3) == Some("active"),
            in_transaction: row.get(3).is_some_and(|state| state.starts_with("idle in transaction")),
            aborted: row.get(3).is_some_and(|state| state.ends_with("(aborted)")),
            flight: Flight { begun, ended },
        });
    }
    Ok(all)
}
