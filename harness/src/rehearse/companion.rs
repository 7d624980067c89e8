//! What else may be going on while a migration runs: each companion is somebody whom a quiet test never meets.
//!
//! A companion stands before the file begins, holds on for a bounded time, and is gone when the file has ended.

use serde::{Deserialize, Serialize};

/// Somebody who is there as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Companion {
    /// A transaction that has read every table, and is idle.
    IdleReader,
    /// A transaction that has written to every table, and is idle.
    IdleWriter,
    /// An idle REPEATABLE READ transaction that has read none of the tables.
    IdleSnapshot,
    /// The locks and the snapshot of pg_dump.
    Dump,
    /// VACUUM, over and over.
    Vacuum,
    /// Another index, built concurrently on the same table.
    SecondBuild,
    /// Two more replicas of the application, which want to migrate too.
    Replicas,
    /// Duplicates that arrive between the check and the index, and are removed before the next try.
    Duplicates,
}

impl Companion {
    /// Every companion.
    pub const ALL: [Self; 8] = [
        Self::IdleReader,
        Self::IdleWriter,
        Self::IdleSnapshot,
        Self::Dump,
        Self::Vacuum,
        Self::SecondBuild,
        Self::Replicas,
        Self::Duplicates,
    ];

    /// The name used in reports and settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IdleReader => "idle-reader",
            Self::IdleWriter => "idle-writer",
            Self::IdleSnapshot => "idle-snapshot",
            Self::Dump => "dump",
            Self::Vacuum => "vacuum",
            Self::SecondBuild => "second-build",
            Self::Replicas => "replicas",
            Self::Duplicates => "duplicates",
        }
    }

    /// Whether it needs the engine's tables.
    pub fn needs_engine(self) -> bool {
        matches!(self, Self::SecondBuild | Self::Duplicates)
    }
}

/// How replicas see to it that one of them migrates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplicaLock {
    /// They wait in `pg_advisory_lock`, with a snapshot: as sqlx does.
    #[default]
    Blocking,
    /// They ask `pg_try_advisory_lock` again and again: as `engine::migrate` does.
    Polled,
}
