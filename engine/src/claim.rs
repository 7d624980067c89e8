//! The claims of a customer, and the names of things.
//!
//! Identifiers are newtypes, so that a customer cannot be passed where a run is expected.

use std::fmt;
use std::sync::Arc;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// The database key of a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CustomerId(pub i64);

impl fmt::Display for CustomerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What became of a claim. Only these two count; every other outcome is ignored by the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    /// The payer paid.
    Paid,
    /// The payer refused.
    Denied,
}

impl Outcome {
    /// Parses the stored spelling; `None` for every outcome that the engine ignores.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "PAID" => Some(Self::Paid),
            "DENIED" => Some(Self::Denied),
            _ => None,
        }
    }

    /// The stored spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paid => "PAID",
            Self::Denied => "DENIED",
        }
    }
}

/// One claim as it was submitted to a payer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// Who was asked to pay.
    pub payer: Arc<str>,
    /// The procedure group.
    pub cpt_group: Arc<str>,
    /// `PAID`, `DENIED`, or any other text, which the engine ignores.
    pub outcome: Arc<str>,
    /// The day on which the claim was submitted.
    pub submitted_on: Date,
    /// The day on which the payer decided, if it has.
    pub decided_on: Option<Date>,
}
