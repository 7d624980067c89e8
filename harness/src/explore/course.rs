//! An execution as data, for people and for programs: who did what, in which order, what came of it, who waited for
//! whom, which transactions were open and what they had touched.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::footprint::{Footprint, Touch};
use super::judge::Found;
use super::schedule::done_as;
use super::search::Execution;
use super::statement::words;
use super::world::{Event, Rows, Taken, What};
use crate::scenario::script::Script;
use crate::sql::shortened;

/// The most rows of one answer that are kept.
const ROWS_MAX: usize = 50;
/// The longest value that is kept, in characters.
const VALUE_CHARS_MAX: usize = 500;

/// A violation with the execution that shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counterexample {
    /// What was violated.
    pub check: String,
    /// How, in a sentence.
    pub sentence: String,
    /// The command that runs it again.
    pub replay: String,
    /// How many of its steps show it; those that follow only end what was begun.
    pub shown: usize,
    /// Which step, counted from 0, was sent together with the next one, if any was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub together: Option<usize>,
    /// The execution.
    pub course: Course,
    /// The same actors one after the other, where that does not violate it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Course>,
    /// The ends of what the actors' programs printed, by actor.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, String>,
}

/// An execution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// Who took part, in the order of the script.
    pub actors: Vec<String>,
    /// The steps, in the order in which they were let through.
    pub steps: Vec<CourseStep>,
    /// The actors that would wait for ever.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stuck: Vec<String>,
    /// What the queries answered at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub end: Vec<EndRow>,
}

/// One step that was let through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CourseStep {
    /// Whose.
    pub actor: String,
    /// Its name.
    pub step: String,
    /// What was sent, values filled in.
    pub sql: String,
    /// If it has to wait, its session's timeout ends that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub times_out: bool,
    /// What came of it, and of the steps that it set free.
    pub events: Vec<EventRow>,
    /// The transactions that were open afterwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transactions: Vec<TransactionRow>,
    /// What the server said beside its answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It ended.
    Done,
    /// It was to keep what its transaction did, and took it back.
    RolledBack,
    /// The database refused it.
    Failed,
    /// It waits.
    Waits,
}

/// What became of one actor's step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// Whose.
    pub actor: String,
    /// Its name.
    pub step: String,
    /// What.
    pub kind: EventKind,
    /// The same in a few words.
    pub said: String,
    /// The rows that it returned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Rows,
    /// How many more there were.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows_left_out: usize,
    /// How many rows were returned or changed, where the database says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affected: Option<u64>,
    /// The SQLSTATE, or SQLite's result code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// For whom it waits, as far as the server says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
}

/// An open transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionRow {
    /// Whose.
    pub actor: String,
    /// It has failed: nothing of it will remain.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub aborted: bool,
    /// The relations that it has touched, each with the strongest of `read`, `lock`, `write` and `exclusive`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub touched: BTreeMap<String, String>,
    /// It may have to do with advisory locks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub advisory: bool,
}

/// What a query answered at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndRow {
    /// The invariant's name, or what is compared.
    pub query: String,
    /// Its rows.
    #[serde(default)]
    pub rows: Rows,
    /// How many more there were.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows_left_out: usize,
    /// Why it could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// What actors, steps and queries are called.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The actors.
    pub actors: Vec<String>,
    /// Each actor's steps with their SQL, as far as they are known; others go by their number, from 1.
    pub steps: Vec<Vec<(String, String)>>,
    /// The queries.
    pub queries: Vec<String>,
}

impl Names {
    /// A script's.
    pub fn of(script: &Script) -> Self {
        let queries = script.invariants.iter().chain(&script.serial);
        Self {
            actors: script.actors.iter().map(|actor| actor.name.clone()).collect(),
            steps: script
                .actors
                .iter()
                .map(|actor| actor.steps.iter().map(|step| (step.name.clone(), step.sql.clone())).collect())
                .collect(),
            queries: queries.map(|query| query.name.clone()).collect(),
        }
    }

    fn actor(&self, actor: usize) -> String {
        self.actors.get(actor).cloned().unwrap_or_else(|| format!("actor {actor}"))
    }

    fn step(&self, actor: usize, step: usize) -> (String, &str) {
        match self.steps.get(actor).and_then(|steps| steps.get(step)) {
            Some((name, sql)) => (name.clone(), sql),
            None => ((step + 1).to_string(), ""),
        }
    }

    fn query(&self, query: usize) -> String {
        self.queries.get(query).cloned().unwrap_or_else(|| format!("query {}", query + 1))
    }

    /// What became of a step, as data.
    pub fn event(&self, actor: usize, step: usize, what: &What) -> EventRow {
        let (name, sql) = self.step(actor, step);
        let mut row = EventRow {
            actor: self.actor(actor),
            step: name,
            kind: EventKind::Done,
            said: String::new(),
            rows: Rows::new(),
            rows_left_out: 0,
            affected: None,
            code: None,
            waits_for: Vec::new(),
        };
        match what {
            What::Done(done) => {
                (row.rows, row.rows_left_out) = kept(&done.rows);
                (row.affected, row.said) = (done.affected, short(&done_as(sql, done)));
                if done.rolled_back {
                    row.kind = EventKind::RolledBack;
                }
            }
            What::Failed { code, message } => {
                row.kind = EventKind::Failed;
                row.said = if message.is_empty() { format!("failed: {code}") } else { format!("{message} ({code})") };
                row.said = short(&row.said);
                row.code = Some(code.clone());
            }
            What::Waits { by } => {
                row.kind = EventKind::Waits;
                row.waits_for = by.iter().map(|actor| self.actor(*actor)).collect();
                row.said = match &row.waits_for[..] {
                    [] => "waits".to_owned(),
                    all => format!("waits for {}", all.join(", ")),
                };
            }
        }
        row
    }

    /// What a query answered, as data.
    pub fn answer(&self, query: usize, answer: &Result<Rows, String>) -> EndRow {
        let (rows, rows_left_out) = answer.as_ref().map(kept).unwrap_or_default();
        EndRow { query: self.query(query), rows, rows_left_out, error: answer.as_ref().err().cloned() }
    }
}

fn kept(rows: &Rows) -> (Rows, usize) {
    let row = |row: &Vec<String>| row.iter().map(|value| short(value)).collect();
    (rows.iter().take(ROWS_MAX).map(row).collect(), rows.len().saturating_sub(ROWS_MAX))
}

fn short(text: &str) -> String {
    shortened(text, VALUE_CHARS_MAX)
}

impl Course {
    /// Of an execution.
    pub fn new(names: &Names, execution: &Execution) -> Self {
        let mut open: Vec<Option<Footprint>> = vec![None; names.actors.len()];
        let events = || execution.events();
        let takes_part = |actor: &usize| events().any(|event| event.actor == *actor);
        Self {
            actors: (0..names.actors.len()).filter(takes_part).map(|actor| names.actor(actor)).collect(),
            steps: execution.taken.iter().map(|taken| step(names, taken, &mut open)).collect(),
            stuck: execution.ended.stuck.iter().map(|actor| names.actor(*actor)).collect(),
            end: execution.ended.answers.iter().enumerate().map(|(at, answer)| names.answer(at, answer)).collect(),
        }
    }
}

impl Counterexample {
    /// Of a violation, `shown` steps of which show it.
    pub fn new(names: &Names, found: &Found, shown: usize, replay: String) -> Self {
        Self {
            check: found.check.clone(),
            sentence: found.sentence.clone(),
            replay,
            shown: shown.min(found.execution.taken.len()),
            together: None,
            course: Course::new(names, &found.execution),
            serial: found.serial.as_ref().map(|serial| Course::new(names, serial)),
            outputs: BTreeMap::new(),
        }
    }
}

fn step(names: &Names, taken: &Taken, open: &mut [Option<Footprint>]) -> CourseStep {
    let (name, sql) = names.step(taken.actor, taken.step);
    let sql = if taken.sql.is_empty() { sql.to_owned() } else { taken.sql.clone() };
    for event in &taken.events {
        follow(&mut open[event.actor], taken, event, if event.actor == taken.actor { &sql } else { "" }, names);
    }
    let transactions = match &taken.notes[..] {
        [] => open.iter().enumerate().filter_map(|(at, of)| Some((at, false, of.as_ref()?))).collect::<Vec<_>>(),
        notes => notes
            .iter()
            .enumerate()
            .filter(|(_, note)| note.in_transaction)
            .map(|(at, note)| (at, note.aborted, &note.touched))
            .collect(),
    };
    CourseStep {
        actor: names.actor(taken.actor),
        step: name,
        sql,
        times_out: taken.times_out,
        events: taken.events.iter().map(|event| names.event(event.actor, event.step, &event.what)).collect(),
        transactions: transactions
            .into_iter()
            .map(|(actor, aborted, touched)| transaction(names.actor(actor), aborted, touched))
            .collect(),
        notices: taken.notes.iter().flat_map(|note| &note.notices).map(|notice| short(notice)).collect(),
    }
}

/// Whether a transaction is open after a step, by its text alone: where the world does not say it.
fn follow(open: &mut Option<Footprint>, taken: &Taken, event: &Event, sql: &str, names: &Names) {
    let What::Done(_) = event.what else { return };
    let sql = if sql.is_empty() { names.step(event.actor, event.step).1 } else { sql };
    for statement in words(sql).split(|word| word == ";") {
        match statement.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["BEGIN" | "START", ..] => *open = Some(Footprint::default()),
            ["ROLLBACK", "TO", ..] | ["ROLLBACK", _, "TO", ..] => {}
            ["COMMIT" | "END" | "ROLLBACK" | "ABORT", ..] => *open = None,
            _ => {}
        }
    }
    if let Some(touched) = open
        && event.actor == taken.actor
    {
        touched.add(&taken.footprint);
    }
}

fn transaction(actor: String, aborted: bool, touched: &Footprint) -> TransactionRow {
    let word = |touch: &Touch| match touch {
        Touch::Read => "read",
        Touch::Lock => "lock",
        Touch::Write => "write",
        Touch::Exclusive => "exclusive",
    };
    TransactionRow {
        actor,
        aborted,
        touched: touched.relations.iter().map(|(name, touch)| (name.clone(), word(touch).to_owned())).collect(),
        advisory: touched.advisory,
    }
}
