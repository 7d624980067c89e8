//! The payer-drift engine: what is computed, and the locking protocol under which it is.
pub mod claim;
pub mod drift;
pub mod lock;
pub mod migrate;
pub mod op;
pub mod policy;
pub mod postgres;
pub mod protocol;
mod rows;
pub mod run;
pub mod session;
pub mod sqlite;
