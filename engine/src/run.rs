//! A run: one customer's drift at one date under one policy, and its life.
//!
//! Two tasks for the same [`Identity`] share one run, whoever starts it; a *fresh* run lies outside
//! that rule, and is how the duplicate-alert bug is let in, on purpose.

use std::fmt;
use std::sync::Arc;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::claim::CustomerId;
use crate::policy::{Policy, PolicyError, Windows};

/// The longest name of a run, in bytes.
pub const RUN_ID_BYTES_MAX: usize = 200;

/// The name of a run, unique in the database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "Arc<str>", try_from = "Arc<str>")]
pub struct RunId(Arc<str>);

/// A name that no run can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a run id has 1 to {RUN_ID_BYTES_MAX} bytes and no NUL; this one has {bytes} bytes")]
pub struct RunIdError {
    /// The length of what was given.
    pub bytes: usize,
}

impl RunId {
    /// Checks and makes a run id.
    ///
    /// # Errors
    /// Empty, longer than [`RUN_ID_BYTES_MAX`], or with a NUL (which PostgreSQL cannot store).
    pub fn new(text: &str) -> Result<Self, RunIdError> {
        if text.is_empty() || text.len() > RUN_ID_BYTES_MAX || text.contains('\0') {
            return Err(RunIdError { bytes: text.len() });
        }
        Ok(Self(text.into()))
    }

    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<Arc<str>> for RunId {
    type Error = RunIdError;

    fn try_from(text: Arc<str>) -> Result<Self, RunIdError> {
        Self::new(&text)
    }
}

impl From<RunId> for Arc<str> {
    fn from(id: RunId) -> Self {
        id.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What makes two recomputes the same run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Whose claims.
    pub customer: CustomerId,
    /// The exclusive end of the current window.
    pub as_of: Date,
    /// Windows and minimum volume.
    pub policy: Policy,
}

impl Identity {
    /// The windows of this run.
    ///
    /// # Errors
    /// They reach beyond the calendar.
    pub fn windows(&self) -> Result<Windows, PolicyError> {
        self.policy.windows(self.as_of)
    }

    /// The name that the run gets when nobody names it.
    pub fn default_run_id(&self) -> RunId {
        let Self { customer, as_of, policy } = self;
        RunId(
            format!("{customer}.{as_of}.{}.{}.{}", policy.baseline_days(), policy.current_days(), policy.min_volume())
                .into(),
        )
    }
}

/// Which run a task asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunChoice {
    /// The identity's run, whatever its name.
    Shared,
    /// The identity's run, which must have this name, or gets it.
    Named(RunId),
    /// A run of its own with this name, beside the identity's.
    Fresh(RunId),
}

impl RunChoice {
    /// The name under which the run is created, if it has to be.
    pub fn id_for(&self, identity: &Identity) -> RunId {
        match self {
            Self::Shared => identity.default_run_id(),
            Self::Named(id) | Self::Fresh(id) => id.clone(),
        }
    }

    /// Whether the run lies outside the identity's uniqueness.
    pub fn is_fresh(&self) -> bool {
        matches!(self, Self::Fresh(_))
    }
}

/// Where a run is in its life. Within one transaction it goes from running to succeeded, so others
/// see `Running` only of a protocol that commits too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Opened, not closed.
    Running,
    /// Its events are those of the claims that its last task read.
    Succeeded,
    /// No task has succeeded, and the last one to end failed.
    Failed,
}

impl Status {
    /// The stored spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }

    /// Parses the stored spelling.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Succeeded, Self::Failed].into_iter().find(|s| s.as_str() == text)
    }
}

/// A run as the database has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its name.
    pub id: RunId,
    /// Where it is in its life.
    pub status: Status,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_is_never_empty_long_or_unstorable() {
        assert!(RunId::new("").is_err());
        assert!(RunId::new("a\0b").is_err());
        assert!(RunId::new(&"x".repeat(RUN_ID_BYTES_MAX + 1)).is_err());
        assert_eq!(RunId::new("nightly").map(|id| id.to_string()), Ok("nightly".to_owned()));
    }
}
