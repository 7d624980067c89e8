//! Every interleaving that matters, of a script's actors, on a real database.
//!
//! [`search`] lets one step through at a time and visits the orders systematically. What a step does
//! is the [`world`]'s business; after each, the database is *asked* who waits. Two orders that differ
//! only in steps that do not touch each other ([`footprint`]) are one: sleep sets (Godefroid,
//! "Partial-Order Methods for the Verification of Concurrent Systems", 1996, chapter 5) see to it that
//! each class is completed once.
//!
//! What it cannot show: a step is one statement or message, and races *inside* two statements that
//! run at the same time are not among its orders. Chosen pairs can be made to, many times over
//! ([`overlap`]): a bounded answer.

pub mod application;
pub mod captured;
pub mod case;
pub mod course;
pub mod effects;
pub mod engine;
pub mod fault;
pub mod faulted;
pub mod footprint;
pub mod hosts;
pub mod judge;
pub mod overlap;
pub mod postgres;
pub mod reached;
mod repeated;
pub mod rules;
pub mod schedule;
pub mod scripted;
pub mod search;
pub mod shrink;
pub mod specification;
pub mod sqlite;
pub mod statement;
pub mod volatile;
pub mod world;
