//! The names of the checks, as scenario files, command lines and reports spell them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckName {
    /// Nobody is alerted twice about the same thing.
    NoDuplicates,
    /// The events are those that the tasks, one after another, would have left.
    SerialOracle,
    /// One more recompute changes nothing.
    Settled,
    /// A task reads every claim that it is promised to read.
    Freshness,
    /// Critical sections of one key are disjoint.
    Exclusion,
    /// Every task works under its customer's lock, until COMMIT.
    LockHeld,
    /// While one holds the lock, the others of its key wait for it.
    WaitersWait,
    /// Tasks of different keys do not wait for each other.
    KeysIndependent,
    /// Claims can be inserted while a task is in its critical section.
    BystandersFree,
    /// Every task took effect exactly once, or failed and left nothing.
    Accounted,
    /// Retries are bounded, paused, and only of what a retry can mend.
    RetriesBounded,
    /// Nobody waits out of all proportion to the others.
    NoStarvation,
}

impl CheckName {
    /// Every check, in the order of reports.
    pub const ALL: [Self; 12] = [
        Self::NoDuplicates,
        Self::SerialOracle,
        Self::Settled,
        Self::Freshness,
        Self::Exclusion,
        Self::LockHeld,
        Self::WaitersWait,
        Self::KeysIndependent,
        Self::BystandersFree,
        Self::Accounted,
        Self::RetriesBounded,
        Self::NoStarvation,
    ];

    /// The name used in files and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoDuplicates => "no-duplicates",
            Self::SerialOracle => "serial-oracle",
            Self::Settled => "settled",
            Self::Freshness => "freshness",
            Self::Exclusion => "exclusion",
            Self::LockHeld => "lock-held",
            Self::WaitersWait => "waiters-wait",
            Self::KeysIndependent => "keys-independent",
            Self::BystandersFree => "bystanders-free",
            Self::Accounted => "accounted",
            Self::RetriesBounded => "retries-bounded",
            Self::NoStarvation => "no-starvation",
        }
    }

    /// Parses the name used in files and on the command line.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.as_str() == text)
    }
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_parsed_and_serialised_as_it_is_spelt() {
        for name in CheckName::ALL {
            assert_eq!(CheckName::parse(name.as_str()), Some(name));
            assert_eq!(serde_json::to_string(&name).unwrap(), format!("\"{name}\""));
        }
        assert_eq!(CheckName::parse("exclusions"), None);
    }
}
