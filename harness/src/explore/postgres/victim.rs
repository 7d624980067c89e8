//! Who becomes the victim of a deadlock: whoever closes the circle.
//!
//! PostgreSQL lets a session look for a deadlock once it has waited for `deadlock_timeout`, once a wait
//! (postgresql.org/docs/15/runtime-config-locks.html), and who looks and finds one is the victim. A new
//! wait can only close a circle if somebody waits for the one who begins it. So that one looks soon, and
//! everybody else late: late enough to be no victim, and soon enough to find the rare circle that a lock
//! closes when it is handed on.

use std::time::Duration;

const SOON: Duration = Duration::from_millis(1);
const LATE: Duration = Duration::from_millis(250);

/// What has a session look late, as an option of it: then it does so after `DISCARD ALL` too. Only for superusers.
pub(super) const LATE_OPTION: &str = "-c deadlock_timeout=250";

/// The statement that has a session look soon, if its next wait may close a circle, or late. Only
/// superusers may run it.
pub(crate) fn setting(may_close: bool) -> String {
    format!("SET deadlock_timeout = {}", if may_close { SOON } else { LATE }.as_millis())
}

/// What is known of a session's setting. A rollback takes back what was set in its transaction, so once it
/// has been changed it is set before every step.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::explore) struct Setting {
    /// Whether the role may change it.
    pub allowed: bool,
    changed: bool,
}

impl Setting {
    /// Of a session that looks late.
    pub(in crate::explore) fn late(allowed: bool) -> Self {
        Self { allowed, changed: false }
    }

    /// What is to be run before a step, if anything.
    pub(in crate::explore) fn before(&mut self, may_close: bool) -> Option<String> {
        self.changed |= may_close;
        (self.allowed && self.changed).then(|| setting(may_close))
    }

    /// What is to be run between two executions, outside a transaction, if anything.
    pub(in crate::explore) fn between(&mut self) -> Option<String> {
        (self.allowed && std::mem::take(&mut self.changed)).then(|| setting(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_sent_from_its_first_change_to_the_end_of_the_execution() {
        let mut one = Setting::late(true);
        assert_eq!(one.before(false), None);
        assert_eq!(one.before(true).as_deref(), Some("SET deadlock_timeout = 1"));
        assert_eq!(one.before(false).as_deref(), Some("SET deadlock_timeout = 250"));
        assert_eq!(one.between().as_deref(), Some("SET deadlock_timeout = 250"));
        assert_eq!((one.between(), one.before(false)), (None, None));
        assert_eq!(Setting::late(false).before(true), None);
        assert!(LATE_OPTION.ends_with(&LATE.as_millis().to_string()));
    }
}
