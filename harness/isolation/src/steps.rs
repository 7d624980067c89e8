//! The steps of one permutation: begins one after the other, and reports each as it ends.
//!
//! A step that the server says is waiting for another session is left alone until a later step has
//! begun. Steps that wait are looked at in the order in which they began, as isolationtester does,
//! so that the report is the same each time.

use std::time::Duration;

use tokio::time::Instant;

use super::run::{Run, RunError};
use super::session::Outcome;
use super::spec::{Begin, Blocker, Permutation, Step};
use super::waiting::Pace;

/// How a step that goes on is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    /// Come back as soon as it waits for another session.
    leave_waiting: bool,
    /// It has been reported as waiting before.
    again: bool,
}

const FIRST: Look = Look { leave_waiting: true, again: false };
const AGAIN: Look = Look { leave_waiting: true, again: true };
const TO_THE_END: Look = Look { leave_waiting: false, again: true };

/// A permutation that is being run.
pub(super) struct Steps<'r, 'a> {
    pub(super) run: &'r mut Run<'a>,
    order: &'r Permutation,
    /// Of each session: the begin whose step it has not completed.
    pub(super) active: Vec<Option<usize>>,
    /// The begins whose steps wait, in their order.
    waiting: Vec<usize>,
    /// Of each begin and blocker: the number of notices that lets it go.
    wanted: Vec<Vec<u64>>,
}

impl<'r, 'a> Steps<'r, 'a> {
    pub fn new(run: &'r mut Run<'a>, order: &'r Permutation) -> Self {
        let active = vec![None; run.sessions.len()];
        let wanted = order.steps.iter().map(|begin| vec![0; begin.blockers.len()]).collect();
        Self { run, order, active, waiting: Vec::new(), wanted }
    }

    /// Runs all steps to their end.
    pub async fn run(mut self) -> Result<(), RunError> {
        for at in 0..self.order.steps.len() {
            self.free(at).await?;
            self.begin(at).await;
            let waits = !self.look(at, FIRST).await?;
            self.look_at_waiting(AGAIN).await?;
            if waits {
                self.waiting.push(at);
            }
        }
        self.look_at_waiting(TO_THE_END).await?;
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.run.transcript.err("failed to complete permutation due to mutually-blocking steps\n")?;
        Err(RunError::MutuallyBlocked)
    }

    fn step(&self, at: usize) -> &'a Step {
        &self.run.spec.steps[self.order.steps[at].step]
    }

    /// Waits until the session of a step has completed the one before.
    async fn free(&mut self, at: usize) -> Result<(), RunError> {
        let session = self.step(at).session;
        let since = Instant::now();
        while let Some(earlier) = self.active[session] {
            if self.look(earlier, TO_THE_END).await? {
                self.waiting.retain(|waiting| *waiting != earlier);
            }
            self.look_at_waiting(AGAIN).await?;
            if self.active[session].is_some() {
                if since.elapsed() > self.run.step_max * 2 {
                    return self.give_up(earlier, since.elapsed());
                }
                // Only its markers hold it: others must get on first.
                tokio::time::sleep(Pace::SHORT).await;
            }
        }
        Ok(())
    }

    fn give_up(&mut self, at: usize, after: Duration) -> Result<(), RunError> {
        let (name, seconds) = (&self.step(at).name, after.as_secs());
        let active = self.active.iter().flatten().map(|at| format!(" {}", self.step(*at).name));
        let active: String = active.collect();
        let text = format!("step {name} timed out after {seconds} seconds\nactive steps are:{active}\n");
        self.run.transcript.err(&text)?;
        Err(RunError::Endless { step: name.clone(), seconds })
    }

    async fn begin(&mut self, at: usize) {
        let step = self.step(at);
        self.run.sessions[step.session].send(&step.sql).await;
        self.active[step.session] = Some(at);
        for (wanted, blocker) in self.wanted[at].iter_mut().zip(&self.order.steps[at].blockers) {
            if let Blocker::Notices { step, count } = blocker {
                let told = self.run.sessions[self.run.spec.steps[*step].session].notices;
                *wanted = told + u64::from(*count);
            }
        }
    }

    /// Looks at the steps that wait. One that has markers may be let go by one that comes after it:
    /// then all are looked at once more.
    async fn look_at_waiting(&mut self, look: Look) -> Result<(), RunError> {
        loop {
            let (before, told) = (self.waiting.len(), self.notices());
            let mut marked = false;
            let mut next = 0;
            while next < self.waiting.len() {
                let at = self.waiting[next];
                if self.look(at, look).await? {
                    self.waiting.remove(next);
                } else {
                    marked |= !self.order.steps[at].blockers.is_empty();
                    next += 1;
                }
            }
            let moved = self.waiting.len() < before || self.notices() > told;
            if !(marked && moved) {
                return Ok(());
            }
        }
    }

    fn notices(&self) -> u64 {
        self.run.sessions.iter().map(|session| session.notices).sum()
    }

    /// Waits for the end of a step, or for it to wait. Whether it has been completed.
    async fn look(&mut self, at: usize, look: Look) -> Result<bool, RunError> {
        let step = self.step(at);
        if !look.again && self.order.steps[at].blockers.contains(&Blocker::Once) {
            self.report_waiting(step)?;
            return Ok(false);
        }
        let mut pace = Pace::new(look.again && look.leave_waiting);
        let mut cancelled = false;
        while self.run.sessions[step.session].is_busy(self.run.transcript)? {
            if self.arrives(step.session, pace.pause()).await {
                pace.moved();
                continue;
            }
            if look.leave_waiting && self.waits(step.session, pace.is_patient()).await? {
                // A notice may have come while the server was asked.
                self.take_arrivals().await;
                if !self.run.sessions[step.session].is_busy(self.run.transcript)? {
                    break;
                }
                if !look.again {
                    self.report_waiting(step)?;
                }
                return Ok(false);
            }
            let seconds = pace.elapsed().as_secs();
            if pace.elapsed() > self.run.step_max && !cancelled {
                cancelled = true;
                self.cancel(step, seconds).await?;
            }
            if pace.elapsed() > self.run.step_max * 2 {
                self.run.transcript.err(&format!("step {} timed out after {seconds} seconds\n", step.name))?;
                return Err(RunError::Endless { step: step.name.clone(), seconds });
            }
        }
        if self.is_held(at) {
            if !look.again {
                self.report_waiting(step)?;
            }
            return Ok(false);
        }
        self.complete(step, look.again).await?;
        Ok(true)
    }

    fn report_waiting(&mut self, step: &Step) -> Result<(), RunError> {
        Ok(self.run.transcript.out(&format!("step {}: {} <waiting ...>\n", step.name, step.sql))?)
    }

    async fn cancel(&mut self, step: &Step, seconds: u64) -> Result<(), RunError> {
        let text = match self.run.sessions[step.session].cancel().await? {
            Ok(()) => format!("isolationtester: canceling step {} after {seconds} seconds\n", step.name),
            Err(error) => return Ok(self.run.transcript.err(&format!("cancelling failed: {error}\n"))?),
        };
        Ok(self.run.transcript.out(&text)?)
    }

    /// Whether a marker holds a step whose statements have ended.
    fn is_held(&self, at: usize) -> bool {
        let Begin { blockers, .. } = &self.order.steps[at];
        blockers.iter().zip(&self.wanted[at]).any(|(blocker, wanted)| match blocker {
            Blocker::Once => false,
            Blocker::Step(other) => self.active[self.run.spec.steps[*other].session]
                .is_some_and(|active| self.order.steps[active].step == *other),
            Blocker::Notices { step, .. } => self.run.sessions[self.run.spec.steps[*step].session].notices < *wanted,
        })
    }

    /// Reports a step and all that came of it.
    async fn complete(&mut self, step: &Step, again: bool) -> Result<(), RunError> {
        let text = if again { "<... completed>" } else { step.sql.as_str() };
        self.run.transcript.out(&format!("step {}: {text}\n", step.name))?;
        let bound = self.run.step_max * 2;
        loop {
            let session = &mut self.run.sessions[step.session];
            let next = tokio::time::timeout(bound, session.next_outcome(self.run.transcript)).await;
            let Ok(outcome) = next else {
                let seconds = bound.as_secs();
                self.run.transcript.err(&format!("step {} timed out after {seconds} seconds\n", step.name))?;
                return Err(RunError::Endless { step: step.name.clone(), seconds });
            };
            let text = match outcome? {
                None => break,
                Some(Outcome::Done) => continue,
                Some(Outcome::Rows(table)) => table.aligned(),
                Some(Outcome::Failed(error)) => format!("{}:  {}\n", error.severity(), error.message()),
                Some(Outcome::Lost(why)) => format!("{why}\n"),
            };
            self.run.transcript.out(&text)?;
        }
        self.take_arrivals().await;
        self.run.sessions[step.session].is_busy(self.run.transcript)?;
        self.report_notifications(step.session)?;
        self.active[step.session] = None;
        Ok(())
    }

    fn report_notifications(&mut self, session: usize) -> Result<(), RunError> {
        for notification in std::mem::take(&mut self.run.sessions[session].notifications) {
            let sender = self.run.sessions.iter().find(|sender| sender.pid == notification.process_id());
            let sender = sender.map_or_else(|| format!("PID {}", notification.process_id()), |s| s.name.clone());
            let text = format!(
                "{}: NOTIFY \"{}\" with payload \"{}\" from {sender}\n",
                self.run.sessions[session].name,
                notification.channel(),
                notification.payload()
            );
            self.run.transcript.out(&text)?;
        }
        Ok(())
    }
}
