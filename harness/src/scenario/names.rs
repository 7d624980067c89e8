//! The names of the checks, as scenario files, expectations and reports write them.

use std::fmt;

use drift_engine::lock::Promises;
use serde::{Deserialize, Serialize};

/// One check: a question that is asked of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckName {
    /// One run an identity, and one event a business key of a run.
    NoDuplicates,
    /// A run's events are those of the claims that its last committed task read.
    SerialOracle,
    /// After everything is quiet, one more recompute changes nothing.
    Settled,
    /// A task reads every claim acknowledged before its lock was granted, and never fewer than its predecessor.
    Freshness,
    /// Critical sections of one customer do not overlap.
    Exclusion,
    /// The lock is still taken just before its holder's COMMIT.
    LockHeld,
    /// Who comes while the lock is taken waits, by the server's own word, and nobody else does.
    WaitersWait,
    /// Tasks of different customers do not wait for each other.
    KeysIndependent,
    /// Claims are inserted while a task is in its critical section.
    BystandersFree,
    /// Every task ended, every effect belongs to a task, and nothing of a failed one remains.
    Accounted,
    /// No task tries more often than it may.
    RetriesBounded,
    /// No task is overtaken without end.
    NoStarvation,
}

impl CheckName {
    /// Every check.
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

    /// The name used in files and reports.
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

    /// Parses the name used in files and reports.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|check| check.as_str() == text)
    }

    /// Why the check does not apply to a strategy with these promises, as one sentence; `None` if it does.
    ///
    /// `arriving`: whether claims arrive while the tasks run. Without freshness, what the last
    /// committed task wrote may then be older than what is there, or mixed with it.
    pub fn unpromised(self, promises: Promises, arriving: bool) -> Option<&'static str> {
        let (promised, why) = match self {
            Self::Exclusion | Self::LockHeld | Self::WaitersWait => {
                (promises.exclusion, "the strategy promises no exclusion: it takes no lock")
            }
            Self::Freshness => (promises.freshness, "the strategy promises no freshness"),
            Self::SerialOracle | Self::Settled => (
                promises.freshness || !arriving,
                "the strategy promises no freshness, so its last task may undo a newer one while claims arrive",
            ),
            Self::KeysIndependent => {
                (promises.independent_keys, "the strategy promises no independence of customers: one lock serves all")
            }
            Self::BystandersFree => {
                (promises.bystanders_free, "the strategy does not promise that claims can be inserted meanwhile")
            }
            Self::NoDuplicates | Self::Accounted | Self::RetriesBounded | Self::NoStarvation => (true, ""),
        };
        (!promised).then_some(why)
    }
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use drift_engine::lock::LockStrategy;

    use super::CheckName;

    #[test]
    fn every_name_is_read_back_and_is_what_serde_writes() {
        for check in CheckName::ALL {
            assert_eq!(CheckName::parse(check.as_str()), Some(check));
            assert_eq!(serde_json::to_value(check).expect("a string"), check.as_str());
        }
        assert_eq!(CheckName::parse("No-Duplicates"), None);
    }

    #[test]
    fn a_check_applies_where_its_promise_is_made() {
        let applies = |check: CheckName, strategy: LockStrategy, arriving| {
            check.unpromised(strategy.promises(), arriving).is_none()
        };
        assert!(applies(CheckName::BystandersFree, LockStrategy::RowNoKey, true));
        assert!(!applies(CheckName::BystandersFree, LockStrategy::Row, true));
        assert!(!applies(CheckName::Exclusion, LockStrategy::Serializable, true));
        assert!(applies(CheckName::Freshness, LockStrategy::Serializable, true));
        assert!(!applies(CheckName::KeysIndependent, LockStrategy::Immediate, true));
        assert!(applies(CheckName::SerialOracle, LockStrategy::Constraint, false));
        assert!(!applies(CheckName::SerialOracle, LockStrategy::Constraint, true));
        assert!(applies(CheckName::NoDuplicates, LockStrategy::Constraint, true));
    }
}
