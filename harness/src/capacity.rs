//! Lock contention measured: load on a real database, and what it comes to.
//!
//! A [`Job`](job::Job) is what is done again and again; [`drive`](drive::drive) does it under a
//! [`Load`](load::Load), closed or open, and leaves a [`Recording`](recording::Recording): histograms
//! and counts that add up exactly, so that several generators' recordings can be merged.
//!
//! Latency counts from the moment at which a task *should* have started. An arrival that finds every
//! worker busy is late, never left out: a server that pauses shows up in full.

pub mod alarm;
pub mod application;
pub mod bed;
pub mod calibrate;
mod certain;
pub mod compare;
pub mod delay;
pub mod drive;
pub mod floor;
pub mod health;
pub mod job;
pub mod load;
pub mod lock_script;
pub mod log;
pub mod machine;
pub mod model;
mod park;
pub mod parts;
pub mod pgbench;
pub mod phase;
pub mod plan;
pub mod recorder;
pub mod recording;
pub mod script;
pub mod setting;
pub mod slo;
pub mod stream;
pub mod timed;
pub mod wire;
