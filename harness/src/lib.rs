//! Driftlock proves, by running it, that a database-backed job survives concurrency.
pub mod actor;
pub mod app;
pub mod capacity;
pub mod cli;
pub mod database;
pub mod exit;
pub mod explore;
pub mod fixture;
pub mod lens;
pub mod load;
pub mod mutant;
pub mod outcome;
pub mod overall;
pub mod race;
pub mod recheck;
pub mod rehearse;
pub mod report;
pub mod schedule;
pub mod setting;
pub mod sqlite_busy;
pub mod variation;
pub mod verify;

// The crates below, as modules: whoever has driftlock has them too.
pub use driftlock_history::{check, clock, history, oracle, verdict};
pub use driftlock_isolation as isolation;
pub use driftlock_model as model;
pub use driftlock_provision as provision;
pub use driftlock_scenario as scenario;
pub use driftlock_sql::{self as sql, syntax};
