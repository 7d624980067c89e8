//! Lenses: sessions around a session, each adding one thing.
//!
//! The order, outermost first: protocol, mutant, gate, trace, fault, driver. The trace lies inside
//! the gate, so that an operation's invocation is the moment at which it was really sent, and not
//! the moment at which it came to the gate. Under load there are two: timed, then delay.

pub mod fault;
pub mod gate;
pub mod mutant;
pub mod trace;
