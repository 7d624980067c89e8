//! Whether a step waits for another session: the server's word.
//!
//! isolationtester asks after 10 ms without news. Asking sooner may meet a wait that is about to end
//! by itself, because the session that it waits for is just going on. Such an answer counts at once
//! only when no session is going on: each that has not ended waits too. Otherwise the answer counts
//! once those 10 ms are over.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::run::RunError;
use super::session::Outcome;
use super::steps::Steps;
use super::transcript::Merged;

/// When to ask.
pub(super) struct Pace {
    begin: Instant,
    news: Instant,
    pause: Duration,
}

impl Pace {
    /// The shortest pause between two questions.
    pub const SHORT: Duration = Duration::from_millis(1);
    /// The longest, and how long a session must have been silent for any wait to count.
    const LONG: Duration = Duration::from_millis(10);

    /// `at_once` asks the first time without a pause.
    pub fn new(at_once: bool) -> Self {
        let now = Instant::now();
        Self { begin: now, news: now, pause: if at_once { Duration::ZERO } else { Self::SHORT } }
    }

    /// How long to wait for news before the next question.
    pub fn pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).clamp(Self::SHORT, Self::LONG);
        pause
    }

    /// The session has sent something.
    pub fn moved(&mut self) {
        self.news = Instant::now();
        self.pause = Self::SHORT;
    }

    /// Whether it has been silent for long enough.
    pub fn is_patient(&self) -> bool {
        self.news.elapsed() >= Self::LONG
    }

    /// The time since the first look.
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }
}

impl Steps<'_, '_> {
    /// Waits for news of a session; what comes from the others is kept. Whether there is any.
    pub(super) async fn arrives(&mut self, session: usize, within: Duration) -> bool {
        let sessions = &mut self.run.sessions;
        let news = poll_fn(|cx| {
            let mut any = false;
            for (number, one) in sessions.iter_mut().enumerate() {
                any |= one.poll_arrivals(cx) && number == session;
            }
            if any { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::time::timeout(within, news).await.is_ok()
    }

    /// Takes what has come for any session.
    pub(super) async fn take_arrivals(&mut self) {
        let sessions = &mut self.run.sessions;
        poll_fn(|cx| {
            for session in sessions.iter_mut() {
                session.poll_arrivals(cx);
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Asks the server whether a session waits for one of the others, in a way that lasts. `patient`:
    /// whether it counts even though another one is going on.
    pub(super) async fn waits(&mut self, session: usize, patient: bool) -> Result<bool, RunError> {
        let at_work = |number: &usize| self.active[*number].is_some() && self.run.sessions[*number].is_at_work();
        let others = (0..self.run.sessions.len()).filter(|number| *number != session && at_work(number));
        let mut asked: Vec<usize> = others.collect();
        asked.push(session);
        let answers = self.ask(&asked).await?;
        Ok(if patient { answers.last() == Some(&true) } else { answers.iter().all(|waits| *waits) })
    }

    /// Whether each of some sessions waits. Each is asked about twice, for the answers to hold at one
    /// moment: the one between the two rounds.
    async fn ask(&mut self, sessions: &[usize]) -> Result<Vec<bool>, RunError> {
        let list = |pids: Vec<String>| pids.join(",");
        let all = list(self.run.sessions.iter().map(|session| session.pid.to_string()).collect());
        let asked = list(sessions.iter().chain(sessions).map(|n| self.run.sessions[*n].pid.to_string()).collect());
        let question = format!(
            "SELECT pg_catalog.pg_isolation_test_session_is_blocked(pid, '{{{all}}}') \
             FROM pg_catalog.unnest('{{{asked}}}'::pg_catalog.int4[]) AS pid"
        );
        let mut silent = Merged(std::io::sink());
        let answer = self.run.control.execute(&question, &mut silent);
        let answer = tokio::time::timeout(self.run.step_max, answer).await;
        let rows = match answer {
            Ok(Ok(Some(Outcome::Rows(table)))) if table.rows.len() == 2 * sessions.len() => table.rows,
            Ok(Err(error)) => return Err(error),
            _ => {
                self.run.transcript.err("lock wait query failed\n")?;
                return Err(RunError::Lost { session: self.run.control.name.clone() });
            }
        };
        let waits = |number: usize| rows[number][0].as_deref() == Some("t");
        Ok((0..sessions.len()).map(|number| waits(number) && waits(number + sessions.len())).collect())
    }
}
