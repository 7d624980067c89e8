//! A database with a script's actors on it: lets one step through at a time, and says what came of it.

use std::fmt;
use std::future::Future;

use super::captured::Types;
use super::fault::{Fault, Injected};
use super::footprint::Footprint;
use super::volatile::Volatile;
use crate::provision::machine_failure;
use crate::scenario::script::NamedQuery;

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// It ended.
    Done(Done),
    /// The database refused.
    Failed {
        /// The SQLSTATE, or SQLite's result code.
        code: String,
        /// What it said.
        message: String,
    },
    /// It waits, by the server's word.
    Waits {
        /// For these actors, as far as the server says.
        by: Vec<usize>,
    },
}

/// What a step that ended came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Done {
    /// The rows, in order of their text, for the database owes no other.
    pub rows: Rows,
    /// How many rows were returned or changed, where the database says.
    pub affected: Option<u64>,
    /// It was to keep what its transaction did, and took it back, for that had failed.
    pub rolled_back: bool,
}

/// Rows of values as text, with `NULL` for none.
pub type Rows = Vec<Vec<String>>;

/// Rows as people read them: each in parentheses.
pub fn shown(rows: &Rows) -> String {
    rows.iter().map(|row| format!("({})", row.join(", "))).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(done) if done.rolled_back => f.write_str("rolled back"),
            Self::Done(done) if !done.rows.is_empty() => f.write_str(&shown(&done.rows)),
            Self::Done(Done { affected: Some(rows), .. }) => write!(f, "{rows} rows"),
            Self::Done(_) => f.write_str("ok"),
            Self::Failed { code, message } => write!(f, "failed: {message} ({code})"),
            Self::Waits { .. } => f.write_str("a wait"),
        }
    }
}

/// What became of one actor's step, in the course of a transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whose.
    pub actor: usize,
    /// Which of its steps, from 0.
    pub step: usize,
    /// What.
    pub what: What,
    /// What brought it about, where a fault did.
    pub fault: Option<Injected>,
}

impl Event {
    /// Of a step that no fault has met.
    pub fn new(actor: usize, step: usize, what: What) -> Self {
        Self { actor, step, what, fault: None }
    }

    /// Of a step that a fault has met.
    pub fn failed(actor: usize, step: usize, fault: Injected) -> Self {
        Self { actor, step, what: fault.refusal(), fault: Some(fault) }
    }
}

/// What a search chooses: whose step goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Choice {
    /// Whose.
    pub actor: usize,
    /// If it has to wait, the wait ends with an error: the session's timeout has come. Otherwise none ever does.
    pub times_out: bool,
}

impl From<usize> for Choice {
    fn from(actor: usize) -> Self {
        Self { actor, times_out: false }
    }
}

/// One step let through, with everything that came of it until nobody moved any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whose step.
    pub actor: usize,
    /// Which one, from 0.
    pub step: usize,
    /// Its SQL as it was sent, captured values filled in; empty where steps are no SQL.
    pub sql: String,
    /// What it was, less what may differ from one execution to the next by itself; empty where steps are known beforehand.
    pub shape: String,
    /// What came of it, and of the steps that it set free.
    pub events: Vec<Event>,
    /// What was touched.
    pub footprint: Footprint,
    /// Nothing has changed: a waiting step was tried again in vain.
    pub futile: bool,
    /// What was known of each actor's transaction afterwards.
    pub notes: Vec<Note>,
    /// Which of the two ways of waiting was chosen.
    pub times_out: bool,
    /// It waits, and its session has set a timeout that could end that.
    pub may_time_out: bool,
}

/// What is known of an actor's transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// There is one.
    pub in_transaction: bool,
    /// It has failed.
    pub aborted: bool,
    /// What it has touched so far.
    pub touched: Footprint,
    /// A statement of it has certainly taken a snapshot: whatever is run from now on cannot be the first to do so.
    pub has_snapshot: bool,
    /// What its next statement would be run under.
    pub settings: Settings,
    /// What the server said beside its answers, in the course of this transition.
    pub notices: Vec<String>,
}

/// What a session's next statement is run under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Its transaction sees one state throughout: REPEATABLE READ or SERIALIZABLE.
    pub snapshot: bool,
    /// SERIALIZABLE.
    pub serializable: bool,
    /// A wait for a lock ends with an error after this long, in milliseconds; 0 is never.
    pub lock_timeout_ms: u64,
    /// A statement ends with an error after this long, in milliseconds; 0 is never.
    pub statement_timeout_ms: u64,
    /// A session that does nothing in a transaction for this long is ended, in milliseconds; 0 is never.
    pub idle_timeout_ms: u64,
}

impl Taken {
    /// Whether both took the same course, as far as values are compared. What a failure says may differ in
    /// numbers of processes.
    pub fn agrees(&self, other: &Self, volatile: &Volatile) -> bool {
        let same = |(a, b): (&Event, &Event)| {
            (a.actor, a.step) == (b.actor, b.step)
                && match (&a.what, &b.what) {
                    (What::Done(a_done), What::Done(b_done)) => {
                        volatile.of_step(a.actor, a.step, a_done) == volatile.of_step(b.actor, b.step, b_done)
                    }
                    (What::Failed { code: a, .. }, What::Failed { code: b, .. }) => a == b,
                    (What::Waits { .. }, What::Waits { .. }) => true,
                    (a, b) => a == b,
                }
        };
        (self.actor, self.step, self.events.len(), &self.shape)
            == (other.actor, other.step, other.events.len(), &other.shape)
            && self.events.iter().zip(&other.events).all(same)
    }

    /// Of a step of which nothing more is known; `futile` says that it waited before, and waits on.
    pub fn new(choice: Choice, step: usize, events: Vec<Event>, footprint: Footprint, futile: bool) -> Self {
        let Choice { actor, times_out } = choice;
        Self {
            actor,
            step,
            sql: String::new(),
            shape: String::new(),
            events,
            footprint,
            futile,
            notes: Vec::new(),
            times_out,
            may_time_out: false,
        }
    }

    /// What was chosen.
    pub fn choice(&self) -> Choice {
        Choice { actor: self.actor, times_out: self.times_out }
    }

    /// What is known again, of the actors' transactions and of the step, where it was not looked at anew.
    pub(super) fn remember<'a>(&self, notes: impl Iterator<Item = &'a mut Note>) -> Footprint {
        for (now, then) in notes.zip(&self.notes) {
            now.clone_from(then);
        }
        self.footprint.clone()
    }

    /// What came of it, in words; and what it was, where that is not known beforehand.
    pub fn told(&self) -> String {
        let what = if self.shape.is_empty() { String::new() } else { format!("`{}` → ", self.shape) };
        what + &self.events.iter().map(|event| event.what.to_string()).collect::<Vec<_>>().join("; ")
    }

    /// Whether a step ended as a deadlock's victim.
    pub fn deadlocked(&self) -> bool {
        let is_victim = |event: &Event| matches!(&event.what, What::Failed { code, .. } if code == "40P01");
        self.events.iter().any(|event| event.fault.is_none() && is_victim(event))
    }

    /// Whether the step itself waits.
    pub fn waits(&self) -> bool {
        self.events.iter().any(|event| event.actor == self.actor && matches!(event.what, What::Waits { .. }))
    }
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The actors that wait for ever.
    pub stuck: Vec<usize>,
    /// The answer of each query that was asked.
    pub answers: Vec<Result<Rows, String>>,
}

/// Why a search cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Lost {
    /// What happened.
    pub why: String,
    /// Whether the script is to blame, and not the environment.
    pub by_script: bool,
    /// Whether the database's machine is to blame: a full disk, say.
    pub by_machine: bool,
    /// Where in the script: line and column, from 1.
    pub at: Option<(u32, u32)>,
}

impl Lost {
    /// The database can no longer be used, or does not answer.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), by_script: false, by_machine: false, at: None }
    }

    /// The script's SQL cannot be run.
    pub fn by_script(why: impl Into<String>) -> Self {
        Self { why: why.into(), by_script: true, by_machine: false, at: None }
    }

    /// The script is to blame for it, unless the database's machine is.
    pub fn of_script(self) -> Self {
        Self { by_script: !self.by_machine, ..self }
    }

    /// That the database's machine has failed it, if an error of this code says so.
    pub fn of_machine(what: &str, code: &str, message: &str) -> Option<Self> {
        let why = machine_failure(code)?;
        let why = format!(
            "failed to {what}: {message} ({code}): {why}, so nothing is concluded; a server of driftlock's own keeps its \
             data in TMPDIR"
        );
        Some(Self { by_machine: true, ..Self::new(why) })
    }

    /// The database can no longer be used, with what was being done.
    pub fn during(what: &str, error: impl fmt::Display) -> Self {
        Self::new(format!("failed to {what}: {error}"))
    }
}

/// That nothing can be concluded, if one of these answers says that the database's machine has failed it.
///
/// # Errors
/// It does.
pub fn machine_held<'a>(answers: impl IntoIterator<Item = &'a What>) -> Result<(), Lost> {
    for what in answers {
        if let What::Failed { code, message } = what {
            Lost::of_machine("run a statement", code, message).map_or(Ok(()), Err)?;
        }
    }
    Ok(())
}

/// A database with the actors of one case.
pub trait World: Send {
    /// Puts the database into the state after set-up, with every actor before its first step.
    fn reset(&mut self) -> impl Future<Output = Result<(), Lost>> + Send;

    /// The types of captured columns, where the database has any.
    fn types(&self) -> Types {
        Types::default()
    }

    /// How often the database was made anew: sessions that were opened on it before are gone.
    fn made(&self) -> u64 {
        0
    }

    /// How many actors there are, where one of them can be left out.
    fn actors(&self) -> usize {
        0
    }

    /// Lets an actor take no part until the next reset: the last ones do not wait for it.
    fn leave_out(&mut self, _actor: usize) {}

    /// The actors whose next step can be let through, in order.
    fn enabled(&self) -> Vec<usize>;

    /// Lets an actor's next step through and waits until nobody moves. What came of it the last time,
    /// after the same steps, makes it faster: what it touched is then not observed again.
    ///
    /// Cancellation: the world must then be dropped.
    fn take(&mut self, choice: Choice, last: Option<&Taken>) -> impl Future<Output = Result<Taken, Lost>> + Send;

    /// [`World::take`], whose answers can be judged: none says that the machine has failed the database.
    fn step(&mut self, choice: Choice, last: Option<&Taken>) -> impl Future<Output = Result<Taken, Lost>> + Send {
        async move {
            let taken = self.take(choice, last).await?;
            machine_held(taken.events.iter().filter(|event| event.fault.is_none()).map(|event| &event.what))?;
            Ok(taken)
        }
    }

    /// From the next execution on, actors go one after the other, or no longer.
    fn go_serially(&mut self, _serially: bool) {}

    /// Has the next execution generate other values than those before: what then differs is no outcome.
    fn vary(&mut self) {}

    /// Whether a wait of an actor's next step could end by a timeout that its session has set.
    fn may_time_out(&self, _actor: usize) -> bool {
        false
    }

    /// Has this fault come in each of the next executions, or none. Answers which one had been to come; a world that can
    /// bring none about has none.
    fn inject(&mut self, _fault: Option<Fault>) -> Option<Fault> {
        None
    }

    /// A query for the rows of each table of the beginning: what in them any transaction of the same course gives alike.
    fn tables(&mut self) -> impl Future<Output = Result<Vec<NamedQuery>, Lost>> + Send {
        std::future::ready(Ok(Vec::new()))
    }

    /// What keeps a search of this world from having seen everything, so far.
    fn bounds(&self) -> Vec<String> {
        Vec::new()
    }

    /// Ends every session's transaction, then asks these queries.
    fn finish(&mut self, queries: &[String]) -> impl Future<Output = Result<Ended, Lost>> + Send;
}
