//! Which checks a strategy's promises cover: a check that none covers would never be judged.

use drift_engine::lock::Promises;

use driftlock_history::check::CheckName;

/// Why a check does not apply where these promises are made, as one sentence; `None` if it does.
///
/// `arriving`: whether claims arrive while the tasks run. Without freshness, what the last committed
/// task wrote may then be older than what was there, or mixed with it.
pub fn unpromised(check: CheckName, promises: Promises, arriving: bool) -> Option<&'static str> {
    let (promised, why) = match check {
        CheckName::Exclusion | CheckName::LockHeld | CheckName::WaitersWait => {
            (promises.exclusion, "the strategy promises no exclusion: it takes no lock")
        }
        CheckName::Freshness => (promises.freshness, "the strategy promises no freshness"),
        CheckName::SerialOracle | CheckName::Settled => (
            promises.freshness || !arriving,
            "the strategy promises no freshness, so its last task may undo a newer one while claims arrive",
        ),
        CheckName::KeysIndependent => {
            (promises.independent_keys, "the strategy promises no independence of customers: one lock serves all")
        }
        CheckName::BystandersFree => {
            (promises.bystanders_free, "the strategy does not promise that claims can be inserted meanwhile")
        }
        CheckName::NoDuplicates | CheckName::Accounted | CheckName::RetriesBounded | CheckName::NoStarvation => {
            (true, "")
        }
    };
    (!promised).then_some(why)
}

#[cfg(test)]
mod tests {
    use drift_engine::lock::LockStrategy;

    use super::*;

    #[test]
    fn a_check_applies_where_its_promise_is_made() {
        let applies = |check: CheckName, strategy: LockStrategy, arriving| {
            unpromised(check, strategy.promises(), arriving).is_none()
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
