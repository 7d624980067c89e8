//! What a check, and a whole case, comes to. Inconclusive is never folded into pass.

use serde::{Deserialize, Serialize};

/// The answer of one check to one history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    /// It held, and this is what shows that it was put to the test.
    Pass {
        /// What was seen, in numbers, as one sentence.
        evidence: String,
    },
    /// It was broken, and this is what shows it.
    Violation {
        /// The operations that show it.
        counterexample: Counterexample,
    },
    /// The run never reached the state that the check is about.
    Inconclusive {
        /// What was missing, as one sentence.
        why: String,
    },
}

/// The few operations that show a violation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counterexample {
    /// What went wrong, as one sentence that names tasks, keys and operations.
    pub sentence: String,
    /// Indices into the history's entries, in the order in which they should be read.
    pub entries: Vec<usize>,
}

impl Verdict {
    /// A pass with its evidence.
    pub fn pass(evidence: impl Into<String>) -> Self {
        Self::Pass { evidence: evidence.into() }
    }

    /// A violation with the entries that show it.
    pub fn violation(sentence: impl Into<String>, entries: Vec<usize>) -> Self {
        Self::Violation { counterexample: Counterexample { sentence: sentence.into(), entries } }
    }

    /// No answer, and why.
    pub fn inconclusive(why: impl Into<String>) -> Self {
        Self::Inconclusive { why: why.into() }
    }

    /// The word for it in reports: `pass`, `violation` or `inconclusive`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass { .. } => "pass",
            Self::Violation { .. } => "violation",
            Self::Inconclusive { .. } => "inconclusive",
        }
    }

    /// The sentence that goes with it: evidence, counterexample or reason.
    pub fn sentence(&self) -> &str {
        match self {
            Self::Pass { evidence } => evidence,
            Self::Violation { counterexample } => &counterexample.sentence,
            Self::Inconclusive { why } => why,
        }
    }
}
