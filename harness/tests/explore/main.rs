//! Exploration on real databases: the reduction loses no outcome, the built-in scripts come out as
//! documented, and what is found can be run again.
#![expect(clippy::unwrap_used, reason = "a helper that cannot do its work fails the test")]
#![expect(clippy::print_stderr, reason = "the figures are wanted of a run with --nocapture")]

mod answers;
mod app_faults;
mod app_mutants;
mod app_repairs;
mod apps;
mod command;
mod engine;
mod export;
mod faults;
mod free;
mod generated;
mod kinds;
mod mutants;
mod overlap;
mod patterns;
mod programs;
mod race;
mod record;
mod reduction;
mod repairs;
mod sessions;
mod world;
