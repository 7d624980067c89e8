//! What a migration may cost its traffic.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The limits; each default is what a service that people wait for can usually bear.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Budget {
    /// How long one read may be blocked, in milliseconds.
    pub read_block_ms: u64,
    /// How long one write, or a task's lock, may be blocked, in milliseconds.
    pub write_block_ms: u64,
    /// How long ACCESS EXCLUSIVE may be held on what was there before, in milliseconds.
    pub access_exclusive_ms: u64,
    /// The share of the throughput that may be lost while the migrations run, 0 to 1.
    pub throughput_dip: f64,
    /// How long all files together may take in one direction, in seconds.
    pub total_s: u64,
    /// The SQLSTATEs that the application may see. It retries 40001, 40P01 and 55P03 by itself.
    pub errors: BTreeSet<String>,
    /// How many rows a table has where it is deployed; without it, what grows with the table is always too long.
    pub rows: BTreeMap<String, u64>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            read_block_ms: 500,
            write_block_ms: 2_000,
            access_exclusive_ms: 500,
            throughput_dip: 0.9,
            total_s: 300,
            // Of SQLite's codes none: a busy timeout is longer than any block that is allowed.
            errors: ["40001", "40P01", "55P03"].map(str::to_owned).into(),
            rows: BTreeMap::new(),
        }
    }
}

impl Budget {
    /// In a sentence, for files of SQLite, which have no locks of tables.
    pub fn on_sqlite(&self) -> String {
        self.sentence("")
    }

    fn sentence(&self, locks: &str) -> String {
        format!(
            "a read blocked for {} ms, a write for {} ms, {locks}{:.0} % of the throughput lost, {} s in all, and of \
             errors {}",
            self.read_block_ms,
            self.write_block_ms,
            self.throughput_dip * 100.0,
            self.total_s,
            if self.errors.is_empty() {
                "none".to_owned()
            } else {
                self.errors.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
            }
        )
    }
}

impl std::fmt::Display for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sentence(&format!("ACCESS EXCLUSIVE held for {} ms, ", self.access_exclusive_ms)))
    }
}
