//! Runs scenarios on real databases, and judges what was recorded.
//!
//! A [`Case`](plan::Case) is one scenario on one backend with one strategy; [`execute`](execute::execute)
//! turns it into a history, [`judge`](judge::judge) that into a row of the report.

pub mod applications;
pub mod execute;
pub mod freely;
pub mod judge;
pub mod plan;
pub mod rounds;
pub mod suite;
