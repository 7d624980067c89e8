//! A migration, tried out under verified traffic before the deploy: what it blocks, for how long, what is left, and
//! whether it can be undone.

pub mod migrations;
pub mod sql;
