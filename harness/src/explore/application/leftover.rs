//! What an application's session keeps beyond its transactions: settings, temporary tables, prepared statements, locks.
//!
//! A program that stays keeps its connections from one execution to the next, and so what its job has left in them. What
//! is done once only, as a driver does it after connecting, is the same for all executions that follow. What a job itself
//! leaves is not: its program is started anew then.

use std::collections::BTreeSet;

/// What was left in an actor's sessions.
#[derive(Clone, Debug, Default)]
pub(super) struct Leftover {
    /// The units of this execution that may have left something, by shape.
    now: BTreeSet<String>,
    /// A connection was made in this execution.
    connected: bool,
    /// What was left by the first job of a connection, and not by the next one.
    at_connection: BTreeSet<String>,
    /// How many jobs were looked at.
    jobs: u32,
}

impl Leftover {
    /// A connection was made.
    pub fn connected(&mut self) {
        self.connected = true;
    }

    /// A unit was sent.
    pub fn sent(&mut self, text: &str, shape: &str) {
        if leaves(text) {
            self.now.insert(shape.to_owned());
        }
    }

    /// A job has ended: whether its sessions can be used for the next one.
    pub fn is_clean(&mut self) -> bool {
        let (now, connected) = (std::mem::take(&mut self.now), std::mem::take(&mut self.connected));
        self.jobs = self.jobs.saturating_add(1);
        match self.jobs {
            // Nobody knows yet which of it belongs to the connection.
            1 => {
                self.at_connection = now;
                true
            }
            2 => {
                self.at_connection.retain(|shape| !now.contains(shape));
                now.is_empty()
            }
            _ if connected => now.is_subset(&self.at_connection),
            _ => now.is_empty(),
        }
    }
}

/// Whether a text may leave something in its session.
fn leaves(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let named = ["set_config", "advisory_lock", "advisory_unlock", "currval", "lastval"];
    let Ok(statements) = crate::sql::split(text) else { return true };
    named.iter().any(|name| lower.contains(name))
        || statements.iter().any(|statement| {
            let words: Vec<&str> = statement.words.iter().map(String::as_str).collect();
            match words[..] {
                ["SET", "LOCAL" | "TRANSACTION" | "CONSTRAINTS", ..] | ["PREPARE", "TRANSACTION", ..] => false,
                ["SET" | "RESET" | "LISTEN" | "UNLISTEN" | "PREPARE" | "LOAD" | "DISCARD" | "DO" | "CALL", ..] => true,
                ["DECLARE", ..] => statement.has("HOLD"),
                ["CREATE", ..] | ["SELECT", ..] => statement.has("TEMP") || statement.has("TEMPORARY"),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_told_from_what_ends_with_the_transaction() {
        for text in ["SET x.y = 1", "SELECT set_config('TimeZone', 'UTC', false)", "CREATE TEMP TABLE t ()", "DO $$ $$"]
        {
            assert!(leaves(text), "{text}");
        }
        for text in ["SET LOCAL x.y = 1", "UPDATE t SET v = 1", "SELECT pg_advisory_xact_lock(1)", "BEGIN", "COMMIT"] {
            assert!(!leaves(text), "{text}");
        }
    }

    #[test]
    fn what_a_driver_does_after_connecting_is_not_held_against_it() {
        let mut driver = Leftover::default();
        let mut job = |connects: bool, sends: &[&str]| {
            if connects {
                driver.connected();
            }
            sends.iter().for_each(|text| driver.sent(text, text));
            driver.is_clean()
        };
        let (zone, app) = ("SET TimeZone = 'UTC'", "SET app.user = 1");
        assert!(job(true, &[zone, "BEGIN"]));
        assert!(job(false, &["BEGIN"]) && job(false, &[]));
        assert!(job(true, &[zone]));
        assert!(!job(false, &[app]) && !job(true, &[zone, app]) && !job(false, &[zone]));
        let mut each_time = Leftover::default();
        let mut job = |connects| {
            if connects {
                each_time.connected();
            }
            each_time.sent(app, app);
            each_time.is_clean()
        };
        assert!(job(true) && !job(false) && !job(true));
    }
}
