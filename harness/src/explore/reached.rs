//! What executions come to, as data: every answer of every step and the final state, with how many executions came to it
//! and one order that does.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::course::{EndRow, EventRow, Names};
use super::search::Execution;
use super::volatile::Volatile;
use super::world::{Rows, What, shown};

/// An outcome of a search.
#[derive(Clone, Debug)]
pub struct Reached {
    /// How many executions came to it.
    pub executions: u64,
    /// What each step came to at last, less what is not compared.
    steps: BTreeMap<(usize, usize), What>,
    stuck: Vec<usize>,
    answers: Vec<Result<Rows, String>>,
    /// The steps of the first execution that came to it, in order.
    order: Vec<(usize, usize)>,
}

impl Reached {
    /// What an execution came to.
    pub fn by(execution: &Execution, volatile: &Volatile) -> Self {
        let what = |actor: usize, step: usize, what: &What| match what {
            What::Done(done) => What::Done(volatile.of_step(actor, step, done)),
            // What a refusal says may hold numbers of processes.
            What::Failed { code, .. } => What::Failed { code: code.clone(), message: String::new() },
            What::Waits { .. } => What::Waits { by: Vec::new() },
        };
        let answers = execution.ended.answers.iter().enumerate();
        Self {
            executions: 0,
            steps: execution
                .events()
                .map(|event| ((event.actor, event.step), what(event.actor, event.step, &event.what)))
                .collect(),
            stuck: execution.ended.stuck.clone(),
            answers: answers.map(|(at, answer)| answer.clone().map(|rows| volatile.of_query(at, &rows))).collect(),
            order: execution.taken.iter().map(|taken| (taken.actor, taken.step)).collect(),
        }
    }

    /// As a row of a report.
    pub fn row(&self, names: &Names) -> OutcomeRow {
        let event = |((actor, step), what): (&(usize, usize), &What)| names.event(*actor, *step, what);
        let name = |(actor, step): &(usize, usize)| {
            let of = names.event(*actor, *step, &What::Waits { by: Vec::new() });
            format!("{}.{}", of.actor, of.step)
        };
        OutcomeRow {
            executions: self.executions,
            steps: self.steps.iter().map(event).collect(),
            stuck: self.stuck.iter().map(|actor| names.actors.get(*actor).cloned().unwrap_or_default()).collect(),
            end: self.answers.iter().enumerate().map(|(at, answer)| names.answer(at, answer)).collect(),
            order: self.order.iter().map(name).collect(),
        }
    }
}

/// An outcome in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct OutcomeRow {
    /// How many executions came to it.
    pub executions: u64,
    /// What each step came to at last.
    pub steps: Vec<EventRow>,
    /// The actors that would wait for ever.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stuck: Vec<String>,
    /// What the queries answered at the end.
    pub end: Vec<EndRow>,
    /// An order that comes to it, as ACTOR.STEP.
    pub order: Vec<String>,
}

/// An outcome as some version has written it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Row {
        executions: u64,
        steps: Vec<EventRow>,
        #[serde(default)]
        stuck: Vec<String>,
        end: Vec<EndRow>,
        order: Vec<String>,
    },
    /// Until it became data: a text for programmers, and how many executions.
    Told(String, u64),
}

impl From<Written> for OutcomeRow {
    fn from(written: Written) -> Self {
        match written {
            Written::Row { executions, steps, stuck, end, order } => Self { executions, steps, stuck, end, order },
            Written::Told(text, executions) => {
                let end =
                    vec![EndRow { query: "outcome".to_owned(), rows: vec![vec![text]], rows_left_out: 0, error: None }];
                Self { executions, steps: Vec::new(), stuck: Vec::new(), end, order: Vec::new() }
            }
        }
    }
}

impl fmt::Display for OutcomeRow {
    /// In one line: each actor's answers that say something, then the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        for of_actor in self.steps.chunk_by(|one, other| one.actor == other.actor) {
            let told = of_actor.iter().filter(|event| event.said != "ok");
            let told: Vec<String> = told.map(|event| format!("{}: {}", event.step, event.said)).collect();
            if !told.is_empty() {
                parts.push(format!("{} [{}]", of_actor[0].actor, told.join(", ")));
            }
        }
        for actor in &self.stuck {
            parts.push(format!("{actor} waits for ever"));
        }
        for answer in &self.end {
            let said = match (&answer.error, answer.rows.is_empty()) {
                (Some(error), _) => format!("failed: {error}"),
                (None, true) => "no row".to_owned(),
                (None, false) => shown(&answer.rows),
            };
            parts.push(format!("{}: {said}", answer.query));
        }
        f.write_str(&parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_version_wrote_is_read() {
        let row: OutcomeRow = serde_json::from_str(r#"["{(0, 0): \"ok\"}", 3]"#).unwrap();
        assert_eq!((row.executions, row.to_string().as_str()), (3, r#"outcome: ({(0, 0): "ok"})"#));
        let again: OutcomeRow = serde_json::from_str(&serde_json::to_string(&row).unwrap()).unwrap();
        assert_eq!(again, row);
    }
}
