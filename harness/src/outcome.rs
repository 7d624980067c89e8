//! What a command comes to, as data: verdicts, rows, counterexamples, and the one envelope of every report. It prints
//! nothing: [`crate::report`] does.

mod shown;

use drift_engine::lock::{Backend, LockStrategy};
use serde::{Deserialize, Serialize};

pub use self::shown::{outcome, steps};
use crate::check::CheckName;

/// The version of `report.json`.
pub const SCHEMA_VERSION: u32 = 1;

/// The outcome of a whole command: of `verify`, `mutate`, `explore` or `rehearse`, each with rows of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report<R> {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The command.
    pub command: String,
    /// `pass` exactly when every expectation was met; else `violation` or `inconclusive`.
    pub verdict: VerdictKind,
    /// The root seed, where one was given or drawn; else every scenario has its own.
    pub seed: Option<u64>,
    /// How the PostgreSQL server treats the disk.
    pub profile: String,
    /// The databases that were used.
    pub backends: Vec<BackendUsed>,
    /// How many rounds each case was to run, where scripts run freely.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounds: Option<u64>,
    /// How many cases were to be run.
    #[serde(default)]
    pub planned: usize,
    /// The cases that were run, in that order.
    pub results: Vec<R>,
    /// What was left out because it makes no sense there.
    pub not_applicable: Vec<NotApplicable>,
    /// What was asked for and could not be tried, as sentences: a missing backend, a time limit.
    pub not_verified: Vec<String>,
}

/// A case of a report.
pub trait Row {
    /// What it is called in a list of cases: its name, and how it was run.
    fn title(&self) -> String;
    /// On what, and how, it was run.
    fn class(&self) -> String;
    /// What came of it.
    fn verdict(&self) -> VerdictKind;
    /// Whether that is what was expected.
    fn met(&self) -> bool;
    /// The sentence that shows it.
    fn evidence(&self) -> &str;
    /// The command that runs it again.
    fn replay(&self) -> &str;
    /// How long it took, in milliseconds.
    fn duration_ms(&self) -> u64;
}

/// Makes a kind of row a [`Row`]: what all kinds have under one name is theirs, a title and a class their own.
macro_rules! row {
    ($kind:ty, |$row:ident| $title:expr, $class:expr) => {
        impl $crate::outcome::Row for $kind {
            fn title(&self) -> String {
                let $row = self;
                $title
            }

            fn class(&self) -> String {
                let $row = self;
                $class
            }

            fn verdict(&self) -> $crate::outcome::VerdictKind {
                self.verdict
            }

            fn met(&self) -> bool {
                self.met
            }

            fn evidence(&self) -> &str {
                &self.evidence
            }

            fn replay(&self) -> &str {
                &self.replay
            }

            fn duration_ms(&self) -> u64 {
                self.duration_ms
            }
        }
    };
}
pub(crate) use row;

impl<R: Row> Report<R> {
    /// A report to which nothing has come yet.
    pub fn new(command: &str, seed: Option<u64>, profile: &str) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            command: command.to_owned(),
            verdict: VerdictKind::Inconclusive,
            seed,
            profile: profile.to_owned(),
            backends: Vec::new(),
            rounds: None,
            planned: 0,
            results: Vec::new(),
            not_applicable: Vec::new(),
            not_verified: Vec::new(),
        }
    }

    /// Whether cases are missing.
    pub fn is_partial(&self) -> bool {
        self.results.is_empty() || self.results.len() < self.planned
    }

    /// Derives the verdict from the results: nothing run is no pass, and nor is a part of what was to be run.
    pub fn conclude(&mut self) {
        let is_partial = self.is_partial() || !self.not_verified.is_empty();
        self.verdict = VerdictKind::over(self.results.iter().map(|row| (row.met(), row.verdict())), is_partial);
    }
}

/// The outcome of `verify` on scenarios, and of `mutate`.
pub type SuiteReport = Report<ResultRow>;

row!(
    ResultRow,
    |row| format!("{} [{} {}]", row.name, row.backend, row.strategy),
    format!("{}.{}", row.backend, row.strategy)
);

/// The words for verdicts in reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerdictKind {
    /// It held.
    Pass,
    /// It was broken.
    Violation,
    /// No answer.
    Inconclusive,
}

impl VerdictKind {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Violation => "violation",
            Self::Inconclusive => "inconclusive",
        }
    }
}

impl VerdictKind {
    /// Over a whole report, from whether each row is as expected, and its verdict. What was expected and did
    /// not come, or came and was not, outweighs what has no answer; a part of what was to be run is no pass.
    pub fn over(rows: impl Iterator<Item = (bool, Self)> + Clone, is_partial: bool) -> Self {
        let unmet = |word| rows.clone().any(|(met, verdict)| !met && verdict == word);
        if unmet(Self::Violation) || unmet(Self::Pass) {
            Self::Violation
        } else if unmet(Self::Inconclusive) || is_partial {
            Self::Inconclusive
        } else {
            Self::Pass
        }
    }
}

/// A database that was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendUsed {
    /// `postgres`, `sqlite`, or `loom` for what was recorded of it.
    pub name: String,
    /// As the database names it.
    pub version: String,
    /// Where it came from.
    pub provisioned: String,
}

/// What was expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedRow {
    /// Pass or violation.
    pub verdict: VerdictKind,
    /// The check that should be violated; none: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckName>,
}

/// The answer of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRow {
    /// Which one.
    pub name: CheckName,
    /// What it said.
    pub verdict: VerdictKind,
    /// The evidence, the violation, or what was missing.
    pub why: String,
}

/// One operation of a counterexample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Who sent it: `worker 3`, `bystander 8`.
    pub actor: String,
    /// When it was sent, in nanoseconds since the start.
    pub invoked: u64,
    /// When it was answered.
    pub returned: u64,
    /// What was sent.
    pub operation: String,
    /// What was answered.
    pub outcome: String,
}

/// The few operations that show a violation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Which check was violated.
    pub check: CheckName,
    /// What went wrong.
    pub sentence: String,
    /// The operations, in order.
    pub steps: Vec<Step>,
}

/// What is said of a mutant beside its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MutantRow {
    /// The checks that failed.
    pub killed_by: Vec<CheckName>,
    /// How often its altered operation ran.
    pub executed: u64,
    /// What was recorded of it under loom, if the model of the database can express it.
    #[serde(default)]
    pub loom: Option<LoomRow>,
}

/// What was recorded of a mutant under loom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoomRow {
    /// Violation: it was killed.
    pub verdict: VerdictKind,
    /// How many executions were tried.
    pub executions: u64,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    /// The scenario, or the mutant.
    pub name: String,
    /// On which database.
    pub backend: Backend,
    /// With which lock.
    pub strategy: LockStrategy,
    /// What came of it.
    pub verdict: VerdictKind,
    /// What should have.
    pub expected: ExpectedRow,
    /// Whether it did.
    pub met: bool,
    /// What shows the verdict, as one sentence.
    pub evidence: String,
    /// The answers of its checks.
    pub checks: Vec<CheckRow>,
    /// How long it took, set-up included, in milliseconds.
    pub duration_ms: u64,
    /// The command that runs it again.
    pub replay: String,
    /// How many tasks it ran.
    pub tasks: u32,
    /// How many actors the server was seen to keep waiting.
    pub waiters: u32,
    /// The violations, shown.
    pub counterexamples: Vec<Shown>,
    /// The scenario and the mutant's own answers, if it is one.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub mutant: Option<MutantRow>,
}

/// Something that makes no sense on a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotApplicable {
    /// A mutant, or `scenario/check (strategy)`.
    pub name: String,
    /// Where.
    pub backend: Backend,
    /// Why, as one sentence.
    pub reason: String,
}
