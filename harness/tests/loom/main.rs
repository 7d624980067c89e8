//! The protocol that ships, under every order of its operations that loom finds.
//!
//! `drift_engine::protocol::recompute` itself is run, on a session that is a mutex around the model of
//! the database (`driftlock::model`), and the checks of `verify` are put to the history of every
//! execution. Loom's types work without `--cfg loom`; nothing else in the workspace is affected.

mod execution;
mod explore;
mod mutants;
mod record;
mod refusal;
mod shell;
mod sound;
mod world;
