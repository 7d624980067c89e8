//! Driftlock proves, by running it, that a database-backed job survives concurrency.
pub mod check;
pub mod cli;
pub mod exit;
pub mod history;
pub mod oracle;
pub mod verdict;
