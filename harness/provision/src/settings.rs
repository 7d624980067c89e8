//! What a throw-away server is told: the two profiles, and what every one of them shares.

use std::fmt;

/// How a throw-away PostgreSQL treats the disk. Every report names the one that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Nothing is flushed and deadlocks are looked for after 100 ms: to verify and to explore.
    Fast,
    /// Commits reach the disk, as in production: for anything that is timed.
    Durable,
}

impl Profile {
    /// The name used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Durable => "durable",
        }
    }

    /// The server's configuration, in the order in which it is written.
    pub(super) fn configuration(self) -> Vec<(&'static str, &'static str)> {
        let mut settings = vec![
            ("max_connections", "200"),
            ("max_prepared_transactions", "10"),
            ("max_wal_senders", "0"),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
            ("lc_messages", "C"),
            ("log_min_messages", "warning"),
        ];
        match self {
            Self::Fast => settings.extend([
                ("fsync", "off"),
                ("synchronous_commit", "off"),
                ("full_page_writes", "off"),
                ("wal_level", "minimal"),
                ("deadlock_timeout", "100ms"),
                // A vacuum in the wrong moment would be one more actor that nobody scheduled. It is not turned off: without it
                // CREATE INDEX leaves a table's statistics alone from PostgreSQL 18 on, and plans are others than anywhere else.
                // So it is on, and never has a turn, nor anything to do if it had one.
                ("autovacuum", "on"),
                ("autovacuum_naptime", "2147483s"),
                ("autovacuum_vacuum_threshold", "2147483647"),
                ("autovacuum_vacuum_insert_threshold", "-1"),
                ("autovacuum_analyze_threshold", "2147483647"),
            ]),
            Self::Durable => {
                settings.extend([("fsync", "on"), ("synchronous_commit", "on"), ("full_page_writes", "on")]);
            }
        }
        settings
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the server really treats the disk, as it said itself.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Settings {
    /// `fsync`.
    pub fsync: String,
    /// `synchronous_commit`.
    pub synchronous_commit: String,
    /// `full_page_writes`.
    pub full_page_writes: String,
    /// `deadlock_timeout`, with its unit.
    pub deadlock_timeout: String,
}

impl Settings {
    /// The profile that these settings amount to: a given server has its own.
    pub fn profile(&self) -> Profile {
        let flushes = self.fsync == "on" && self.full_page_writes == "on" && self.synchronous_commit != "off";
        if flushes { Profile::Durable } else { Profile::Fast }
    }
}
