//! Runs a specification: its permutations, one after the other, each between set-up and tear-down.

use std::io;
use std::time::Duration;

use super::permutation::Orders;
use super::session::{Outcome, Session};
use super::spec::{Permutation, Spec};
use super::steps::Steps;
use super::target::Target;
use super::transcript::Transcript;

/// How long a step may take before it is cancelled, unless it is said otherwise.
pub const STEP_MAX: Duration = Duration::from_secs(300);

/// Why a run was given up. What there is to say about it has been said in the transcript; the
/// database has not been cleaned up.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A session cannot connect.
    #[error("failed to connect session {session}")]
    Connect {
        /// The session.
        session: String,
        /// Why.
        source: tokio_postgres::Error,
    },
    /// The server no longer answers a session, or not sensibly.
    #[error("failed to get an answer for {session}")]
    Lost {
        /// The session.
        session: String,
    },
    /// Set-up SQL failed.
    #[error("the set-up failed: {why}")]
    Setup {
        /// What the server said.
        why: String,
    },
    /// A step did not end, not even after it was cancelled.
    #[error("step {step} did not end within {seconds} s")]
    Endless {
        /// The step.
        step: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Steps wait for each other by their markers.
    #[error("some steps wait for each other by their markers")]
    MutuallyBlocked,
    /// The transcript cannot be written.
    #[error("failed to write the output")]
    Output(#[from] io::Error),
}

/// Runs a specification as isolationtester does.
///
/// `name` is what its sessions are called on the server. A step that takes longer than `step_max` is
/// cancelled; after twice that, the run is given up.
///
/// Cancellation: the connections are closed; the server ends what they did.
///
/// # Errors
/// See [`RunError`]. A step's failure is not one: it is part of the transcript.
pub async fn run(
    spec: &Spec,
    name: &str,
    target: &Target,
    step_max: Duration,
    transcript: &mut dyn Transcript,
) -> Result<(), RunError> {
    for step in spec.unused() {
        transcript.err(&format!("unused step name: {step}\n"))?;
    }
    transcript.out(&format!("Parsed test spec with {} sessions\n", spec.sessions.len()))?;
    let control = "control connection";
    let control = Session::open(&target.session(name, control), control, false).await?;
    let mut sessions = Vec::new();
    for session in &spec.sessions {
        sessions.push(Session::open(&target.session(name, &session.name), &session.name, true).await?);
    }
    let mut run = Run { spec, control, sessions, step_max, transcript };
    if spec.permutations.is_empty() {
        for order in Orders::new(spec) {
            run.permutation(&order).await?;
        }
    } else {
        for order in &spec.permutations {
            run.permutation(order).await?;
        }
    }
    Ok(())
}

/// A specification and its open sessions.
pub(super) struct Run<'a> {
    pub spec: &'a Spec,
    pub control: Session,
    pub sessions: Vec<Session>,
    pub step_max: Duration,
    pub transcript: &'a mut dyn Transcript,
}

impl Run<'_> {
    async fn permutation(&mut self, order: &Permutation) -> Result<(), RunError> {
        let names = order.steps.iter().map(|begin| format!(" {}", self.spec.steps[begin.step].name));
        let names: String = names.collect();
        self.transcript.out(&format!("\nstarting permutation:{names}\n"))?;
        let spec = self.spec;
        for sql in &spec.setups {
            self.set_up(None, sql).await?;
        }
        for (number, session) in spec.sessions.iter().enumerate() {
            if let Some(sql) = &session.setup {
                self.set_up(Some(number), sql).await?;
            }
        }
        Steps::new(self, order).run().await?;
        for (number, session) in spec.sessions.iter().enumerate() {
            if let Some(sql) = &session.teardown {
                self.tear_down(Some(number), sql).await?;
            }
        }
        match &spec.teardown {
            Some(sql) => self.tear_down(None, sql).await,
            None => Ok(()),
        }
    }

    async fn set_up(&mut self, session: Option<usize>, sql: &str) -> Result<(), RunError> {
        match self.around(session, "setup", sql).await? {
            None => Ok(()),
            Some(why) => Err(RunError::Setup { why }),
        }
    }

    /// A tear-down that fails is reported, and the run goes on.
    async fn tear_down(&mut self, session: Option<usize>, sql: &str) -> Result<(), RunError> {
        self.around(session, "teardown", sql).await.map(drop)
    }

    /// Runs SQL of a session, or of the specification as a whole: what the server said if it failed.
    async fn around(&mut self, number: Option<usize>, what: &str, sql: &str) -> Result<Option<String>, RunError> {
        let session = match number {
            Some(number) => &mut self.sessions[number],
            None => &mut self.control,
        };
        let of = number.map(|_| format!(" of session {}", session.name)).unwrap_or_default();
        let bound = self.step_max * 2;
        let executed = tokio::time::timeout(bound, session.execute(sql, self.transcript)).await;
        let Ok(outcome) = executed else {
            return Err(RunError::Endless { step: format!("{what}{of}"), seconds: bound.as_secs() });
        };
        let why = match outcome? {
            Some(Outcome::Rows(table)) => {
                self.transcript.out(&table.aligned())?;
                return Ok(None);
            }
            None | Some(Outcome::Done) => return Ok(None),
            Some(Outcome::Failed(error)) => session.full_message(&error),
            Some(Outcome::Lost(why)) => why,
        };
        self.transcript.err(&format!("{what}{of} failed: {why}"))?;
        Ok(Some(why))
    }
}
