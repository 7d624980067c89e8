//! Waits until nobody moves: each step that was sent has ended, or is reported to wait.

use std::time::Duration;

use futures_util::future::select_all;
use tokio::time::Instant;

use super::patience::ends;
use super::question::{all_wait, ask, ask_ended};
use super::session::{Actor, Reply};
use super::{Answer, KILLED, Pace, PgWorld, came, killed, said};
use crate::explore::fault::{Injected, keeps};
use crate::explore::footprint::Footprint;
use crate::explore::statement::message;
use crate::explore::world::{Event, Lost, Note, Settings, What};
use crate::scenario::script::{ActorState, AfterError, FaultKind, Returned, ScriptActor, ScriptStep, Value};

impl PgWorld {
    /// Waits until each step that was sent has ended or waits for another actor in a way that lasts.
    /// `started` was sent just now.
    pub(super) async fn settle(&mut self, started: usize, pace: Pace) -> Result<(Vec<Event>, Footprint), Lost> {
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
            let said = ask(&self.control.client, &self.control.ask, self.pids(&pending)).await?;
            let known: Vec<i32> = self.actors.iter().map(|one| one.pid).collect();
            if all_wait(&self.pids(&pending), &said, &known) {
                let mut waits = None;
                for (actor, said) in pending.iter().zip(&said) {
                    let by: Vec<usize> =
                        (0..self.actors.len()).filter(|a| said.waits_for.contains(&self.actors[*a].pid)).collect();
                    let one = &mut self.actors[*actor];
                    one.waits_for.clone_from(&by);
                    one.for_snapshot = said.for_snapshot;
                    one.progress.state = ActorState::Waiting;
                    if *actor == started {
                        self.waiters.insert(step);
                        waits = Some((*actor, said.locks.clone()));
                        events.push(Event::new(started, one.progress.next, What::Waits { by }));
                    }
                }
                if let Some((actor, locks)) = waits
                    && pace == Pace::New
                {
                    touched.add(&self.touched_waiting(actor, locks).await?);
                }
                return Ok((events, touched));
            }
            if begin.elapsed() > self.script.step_max() {
                let (name, most) = (&self.script.actors[started].name, self.script.step_max().as_secs());
                let why = format!("it neither ended nor waited for another actor within {most} s (`step-seconds`)");
                return Err(Lost::new(format!("step {} of {name}: {why}", self.actors[started].progress.next + 1)));
            }
            patience = (patience * 2).clamp(Duration::from_millis(1), Duration::from_millis(8));
        }
    }

    /// Whether a wait under these settings may end by itself.
    pub(super) fn lets_time_out(&self, settings: &Settings) -> bool {
        ends(settings) && !self.script.never_times_out
    }

    /// Whether the wait of this actor's step, if it waits, may end by itself under the settings that it was sent with.
    pub(super) fn wait_times_out(&self, actor: usize, settings: &Settings) -> bool {
        self.lets_time_out(settings) && (!self.actors[actor].for_snapshot || settings.statement_timeout_ms > 0)
    }

    pub(super) fn pids(&self, actors: &[usize]) -> Vec<i32> {
        actors.iter().map(|actor| self.actors[*actor].pid).collect()
    }

    pub(super) fn pending(&self) -> Vec<usize> {
        (0..self.actors.len()).filter(|actor| self.actors[*actor].reply.is_some()).collect()
    }

    /// The next reply of these actors, if one comes in time.
    pub(super) async fn next_reply(&mut self, pending: &[usize], within: Duration) -> Option<(usize, Answer)> {
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

    /// Sees to it that no session is ended because it does nothing: the search may be long elsewhere.
    pub(super) async fn forbid_idle_timeouts(&mut self) -> Result<(), Lost> {
        for one in self.actors.iter_mut().filter(|one| one.note.settings.idle_timeout_ms > 0 && one.reply.is_none()) {
            self.bounds.insert("idle_in_transaction_session_timeout never ends a session");
            let set = if one.note.in_transaction { "SET LOCAL" } else { "SET" };
            let forbid = format!("{set} idle_in_transaction_session_timeout = 0");
            // In a transaction that has failed it stays as it is.
            let _ = one.client.batch_execute(&forbid).await;
            drop(one.notices.take());
        }
        Ok(())
    }

    /// Opens a session anew that somebody has ended. Its actor goes on where it was.
    pub(super) async fn reconnect(&mut self, actor: usize) -> Result<(), Lost> {
        let opened = Actor::open(self.site.config(), &self.script.actors[actor], self.superuser).await?;
        let before = std::mem::replace(&mut self.actors[actor], opened);
        self.actors[actor].progress = before.progress;
        self.actors[actor].told = before.told;
        Ok(())
    }

    /// Notes what became of an actor's step.
    pub(super) async fn completed(
        &mut self,
        actor: usize,
        answer: Answer,
        pace: Pace,
    ) -> Result<(Event, Footprint), Lost> {
        let script = self.script.clone();
        let (of, number) = (&script.actors[actor], self.actors[actor].progress.next);
        let step = &of.steps[number];
        let (mut what, returned) = match answer {
            Err(error) if error.is_closed() => (killed(), Returned::default()),
            answer => came(answer).map_err(|error| unanswered(of, step, &error))?,
        };
        if matches!(&what, What::Failed { code, .. } if code == KILLED) {
            self.reconnect(actor).await?;
        }
        let failed = matches!(what, What::Failed { .. });
        let one = &mut self.actors[actor];
        one.waits_for.clear();
        one.for_snapshot = false;
        one.listen();
        if let What::Done(done) = &mut what
            && one.note.aborted
        {
            // The server says that it is well, and has rolled back.
            done.rolled_back = message(&one.progress.sql(&self.case, step)).keeps;
        }
        let mut footprint = Footprint::default();
        if pace == Pace::New {
            footprint = self.observed(actor, failed).await?;
        } else if failed {
            ask_ended(&self.control.client, &self.control.ask, one.pid).await?;
        }
        let mut fault = None;
        if self.actors[actor].loses_answer {
            let is_done = matches!(&what, What::Done(done) if !done.rolled_back);
            let sql = self.actors[actor].progress.sql(&self.case, step);
            let (lost, open) = self.lose(actor, false).await?;
            footprint.add(&lost);
            let injected = Injected { kind: FaultKind::LostAfter, kept: is_done && !open && keeps(&sql) };
            (what, fault) = (injected.refusal(), Some(injected));
        }
        let one = &mut self.actors[actor];
        one.trees.clear();
        if let Some(give_back) = one.give_back.take() {
            // In a transaction that has failed there is nothing to be given back.
            let _ = one.client.batch_execute(&give_back).await;
            drop(one.notices.take());
        }
        let after = match &what {
            What::Failed { code, .. } => one.progress.refused(of, code),
            _ => {
                let literal = |column, value: &Value| self.types.literal(actor, number, column, value);
                one.progress.answered(of, &returned, literal);
                AfterError::GoesOn
            }
        };
        if after == AfterError::RollsBack {
            // What a program does that gives up: its transaction is rolled back.
            let rolled_back = one.client.batch_execute("ROLLBACK").await;
            rolled_back.map_err(|error| said("roll back", &error))?;
            // A warning that there was nothing to roll back is our own doing.
            drop(one.notices.take());
            one.note = Note { settings: one.note.settings, ..Note::default() };
            if fault.is_none() {
                footprint = Footprint::everything();
            }
        }
        Ok((Event { fault, ..Event::new(actor, number, what) }, footprint))
    }
}

/// Why a step has no answer though its session has not ended.
fn unanswered(actor: &ScriptActor, step: &ScriptStep, error: &tokio_postgres::Error) -> Lost {
    let what = format!("get an answer to step {} of {}", step.name, actor.name);
    let copies = step.sql.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("copy"));
    if !copies {
        return said(&what, error);
    }
    // The driver expects no data there.
    let why = format!("failed to {what}: COPY FROM STDIN needs a `stdin`, and COPY TO STDOUT has to be a SELECT here");
    Lost { at: (step.place.0 > 0).then_some(step.place), ..Lost::by_script(why) }
}
