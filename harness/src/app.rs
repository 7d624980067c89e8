//! A user's own application as actors: its programs are started behind a proxy, which holds each thing that they ask of
//! the database until it is their turn.
//!
//! Each actor has an endpoint of its own, so that who sent what is never guessed. [`gate`] is what the proxy asks and
//! tells, [`process`] starts programs and ends all that they start, [`work`] has an actor do its job once, and [`quiet`]
//! looks whether a program that says nothing still computes.
//! [`record`] holds nothing, and says what a program did. [`rewriting`] changes what programs send.

pub mod code;
mod entries;
pub mod gate;
pub mod http;
pub mod output;
pub mod process;
pub mod quiet;
pub mod record;
pub mod rewriting;
pub mod units;
pub mod work;
