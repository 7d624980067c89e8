//! Timeouts as choices: `lock_timeout` and `statement_timeout` of a session end a wait when the search says
//! so, and never because time has passed.
//!
//! For the duration of a step that may wait its session's timeouts are set aside. In the branch in which its
//! wait times out, the lock's timeout is as short as can be (the server's own 55P03), and a statement is
//! cancelled as soon as it is seen to wait (57014, as its own timeout gives).

use crate::explore::statement::Does;
use crate::explore::world::Settings;

/// What is sent around a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Around {
    /// Before it.
    pub before: Vec<String>,
    /// After it, to give the session its own settings back.
    pub after: Option<String>,
}

/// Which timeout comes first; where both are set to the same, the lock's.
pub(super) fn is_lock_timeout(settings: &Settings) -> bool {
    let Settings { lock_timeout_ms: lock, statement_timeout_ms: statement, .. } = *settings;
    lock > 0 && (statement == 0 || lock <= statement)
}

/// Whether a wait under these settings would end at some time.
pub(super) fn ends(settings: &Settings) -> bool {
    settings.lock_timeout_ms > 0 || settings.statement_timeout_ms > 0
}

/// Whether what a message does is such that its timeouts can be set aside: it runs under the settings that its
/// session had before it.
pub(super) fn can_be_chosen(does: Does) -> bool {
    matches!(does, Does::Works | Does::Code | Does::TakesBack | Does::Commit | Does::RollBack)
}

/// What is sent around a step of a session with these settings.
pub(super) fn around(settings: &Settings, in_transaction: bool, does: Does, times_out: bool) -> Around {
    if !ends(settings) || !can_be_chosen(does) {
        return Around::default();
    }
    let set = if in_transaction { "SET LOCAL" } else { "SET" };
    let of = |lock: u64, statement: u64| {
        let lock = (settings.lock_timeout_ms > 0).then(|| format!("{set} lock_timeout = {lock}"));
        let statement = (settings.statement_timeout_ms > 0).then(|| format!("{set} statement_timeout = {statement}"));
        lock.into_iter().chain(statement).collect::<Vec<_>>()
    };
    let before = of(u64::from(times_out && is_lock_timeout(settings)), 0);
    // What was set for a transaction is gone with it.
    let is_gone = in_transaction && matches!(does, Does::Commit | Does::RollBack);
    let after = (!is_gone).then(|| of(settings.lock_timeout_ms, settings.statement_timeout_ms).join("; "));
    Around { before, after }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(lock: u64, statement: u64) -> Settings {
        Settings { lock_timeout_ms: lock, statement_timeout_ms: statement, ..Settings::default() }
    }

    #[test]
    fn timeouts_are_set_aside_and_given_back() {
        let both = around(&settings(5, 9), true, Does::Works, false);
        assert_eq!(both.before, ["SET LOCAL lock_timeout = 0", "SET LOCAL statement_timeout = 0"]);
        assert_eq!(both.after.as_deref(), Some("SET LOCAL lock_timeout = 5; SET LOCAL statement_timeout = 9"));
        let timed_out = around(&settings(5, 0), false, Does::Works, true);
        assert_eq!(timed_out.before, ["SET lock_timeout = 1"]);
        assert_eq!(around(&settings(9, 5), false, Does::Works, true).before[0], "SET lock_timeout = 0");
        assert_eq!(around(&settings(5, 0), true, Does::Commit, false).after, None);
        assert_eq!(around(&settings(0, 0), true, Does::Works, true), Around::default());
        assert_eq!(around(&settings(5, 0), false, Does::Begin, false), Around::default());
    }
}
