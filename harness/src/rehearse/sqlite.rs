//! The same rehearsal on a SQLite file, in WAL and in rollback-journal mode.
//!
//! What is recorded has the form of PostgreSQL's record, and is judged by the same rules. Who waits is the word of each
//! connection's busy handler; that it waits for the migration is certain, since the migrating session has the file's
//! one write lock meanwhile.

pub mod advice;
pub mod apply;
pub mod catalog;
pub mod companion;
pub mod course;
pub mod failures;
pub mod fill;
pub mod sampler;
pub mod site;
