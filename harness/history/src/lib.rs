//! What was recorded of a run, and the checks that are put to it. Nothing here touches a database, a clock aside.
//!
//! - [`history`]: every operation that was sent, with its answer; [`clock`] is where its times come from;
//! - [`oracle`]: what the tasks of a history would have left, one after another;
//! - [`check`]: the questions, one a file, each of which answers with a [`verdict`].
//!
//! ```
//! use driftlock_history::check::CHECKS;
//!
//! for check in CHECKS {
//!     assert!(check.question.ends_with('?'), "{} asks", check.name);
//! }
//! ```

pub mod check;
pub mod clock;
pub mod history;
pub mod oracle;
pub mod verdict;
