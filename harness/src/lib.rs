//! Driftlock proves, by running it, that a database-backed job survives concurrency.
pub mod actor;
pub mod check;
pub mod cli;
pub mod clock;
pub mod database;
pub mod exit;
pub mod history;
pub mod lens;
pub mod load;
pub mod mutant;
pub mod scenario;
pub mod schedule;
pub mod sqlite_busy;
pub mod verdict;
pub mod verify;
