//! PostgreSQL's own format for interleavings: isolation-test specifications, run and reported as
//! isolationtester 15 does, byte for byte.
//!
//! A specification names sessions, their steps, and the orders (*permutations*) in which the steps
//! are begun. [`parse`] reads one, [`run`] runs it in a [`Target`]'s database and writes what happens
//! into a [`Transcript`]. Nothing is judged here.
//!
//! ```
//! let spec = driftlock_isolation::parse("session s step a { SELECT 1 } step b {} permutation a b").unwrap();
//! assert_eq!(spec.sessions.len(), 1);
//!
//! let mistakes = driftlock_isolation::parse("session s step a {} permutation a b").unwrap_err();
//! assert!(mistakes[0].to_string().contains("there is no step b"));
//! ```
//!
//! What it cannot do: steps that wait for something other than a lock of another session (a buffer
//! pin, a sleep) are waited for, as isolationtester does; COPY from and to the client is not spoken.

mod lexer;
mod link;
mod parser;
mod permutation;
mod print;
mod run;
mod session;
mod spec;
mod steps;
mod target;
mod transcript;
mod waiting;

pub use parser::{Mistake, parse};
pub use permutation::Orders;
pub use print::Table;
pub use run::{RunError, STEP_MAX, run};
pub use spec::{Begin, Blocker, Permutation, SessionSpec, Spec, Step};
pub use target::{Target, TargetError, config, start_confining};
pub use transcript::{Merged, Split, Transcript};
