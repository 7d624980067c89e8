//! What the jobs of an application came to, counted by actor.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::app::work::{Outcome, WorkError};
use crate::scenario::application::Job;

/// What one job came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Came {
    code: Option<u32>,
    met: bool,
    kind: String,
    why: String,
    tells_output: bool,
    names_actor: bool,
}

impl Came {
    /// A job that has ended.
    pub fn of(does: &Job, outcome: &Outcome) -> Self {
        let Outcome { code, met, why, gone, .. } = outcome;
        let is_request = matches!(does, Job::Http(_));
        let kind = match (is_request, *gone) {
            (true, true) => "no answer".to_owned(),
            (false, true) => "gone".to_owned(),
            (true, false) => format!("status {code}"),
            (false, false) => format!("exit {code}"),
        };
        let because = if why.is_empty() { String::new() } else { format!(": {why}") };
        let why = match (is_request, *gone) {
            (true, false) => format!("the answer's status was {code}{because}"),
            (false, false) => format!("its exit was {code}{because}"),
            (_, true) => why.clone(),
        };
        Self { code: (!gone).then_some(*code), met: *met, kind, why, tells_output: false, names_actor: false }
    }

    /// A job whose program cannot be started, or is not ready.
    pub fn unable(error: &WorkError) -> Self {
        let (kind, why) = ("not started".to_owned(), error.to_string());
        let names_actor =
            matches!(error, WorkError::NotReady { .. } | WorkError::ServerEnded { .. } | WorkError::Blocks { .. });
        Self { code: None, met: false, kind, why, tells_output: true, names_actor }
    }

    /// A job that did not end in time.
    pub fn too_long(most: Duration) -> Self {
        let why = format!("it did not end within {} s, and was killed (`silent-seconds`)", most.as_secs());
        Self { code: None, met: false, kind: "too long".to_owned(), why, tells_output: false, names_actor: false }
    }

    /// Whether there is no code, for the program is not there any more or gives no answer.
    pub fn is_gone(&self) -> bool {
        self.code.is_none()
    }

    /// Whether it is one of those that the file expects.
    pub fn is_met(&self) -> bool {
        self.met
    }

    /// In two words: `exit 1`, `status 500`, `no answer`.
    pub fn kind(&self) -> String {
        self.kind.clone()
    }

    /// What happened, in a sentence.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Whether that sentence says whose job it was.
    pub fn names_actor(&self) -> bool {
        self.names_actor
    }

    /// Whether that sentence holds what the program printed.
    pub fn tells_output(&self) -> bool {
        self.tells_output
    }
}

/// How often an actor's job came to something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerRow {
    /// The actor's number, from 0.
    pub actor: usize,
    /// `exit 0`, `status 200`, `no answer`.
    pub kind: String,
    /// Whether the file expects it.
    pub met: bool,
    /// How often.
    pub times: u64,
    /// Of one that is not expected: the first of them in words, with what the program had printed.
    pub example: Option<String>,
}

/// Counts them. There are no more kinds than there are codes, of which a program has 256 and a server some hundreds.
#[derive(Debug, Default)]
pub struct Answers {
    rows: Mutex<BTreeMap<(usize, String), AnswerRow>>,
}

impl Answers {
    /// Counts one; `example` is asked for where it is the first of a kind that is not expected.
    pub fn count(&self, actor: usize, came: &Came, example: impl FnOnce() -> String) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let row = rows.entry((actor, came.kind.clone())).or_insert_with(|| AnswerRow {
            actor,
            kind: came.kind.clone(),
            met: came.met,
            times: 0,
            example: (!came.met).then(example),
        });
        row.times += 1;
    }

    /// What was counted.
    pub fn rows(&self) -> Vec<AnswerRow> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(code: u32, met: bool, why: &str) -> Outcome {
        Outcome { code, answer: String::new(), met, why: why.to_owned(), gone: false }
    }

    #[test]
    fn a_code_of_a_program_s_own_is_told_from_one_that_stands_for_none() {
        let worker = Job::Worker { command: String::new(), exits: vec![0, 255] };
        let kind = |outcome: Outcome| Came::of(&worker, &outcome).kind();
        assert_eq!(kind(outcome(3, true, "sold out")), "exit 3");
        let gone = Outcome::gone(255, "the worker ended with exit code 1 and gave no answer".to_owned());
        assert!(Came::of(&worker, &gone).is_gone());
        assert_eq!(kind(gone), "gone");
        let fails = outcome(255, false, "it says why");
        assert!(!Came::of(&worker, &fails).is_gone());
        assert_eq!(kind(fails), "exit 255");
        assert_eq!(kind(outcome(255, true, "it says so itself")), "exit 255");
        assert!(Came::of(&worker, &outcome(1, false, "")).code.is_some());
    }

    #[test]
    fn the_first_of_a_kind_that_is_not_expected_is_kept_in_words() {
        let (worker, answers) = (Job::Worker { command: String::new(), exits: vec![0] }, Answers::default());
        for (outcome, told) in
            [(outcome(0, true, ""), "never"), (outcome(1, false, "a"), "first"), (outcome(1, false, "b"), "second")]
        {
            answers.count(1, &Came::of(&worker, &outcome), || told.to_owned());
        }
        let rows: Vec<_> = answers.rows().into_iter().map(|row| (row.kind, row.times, row.example)).collect();
        assert_eq!(rows, [("exit 0".to_owned(), 1, None), ("exit 1".to_owned(), 2, Some("first".to_owned()))]);
    }
}
