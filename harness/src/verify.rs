//! Runs scenarios on real databases, and judges what was recorded.
//!
//! A [`Case`](plan::Case) is one scenario on one backend with one strategy; [`execute`](execute::execute)
//! turns it into a history, and [`judge`](judge::judge) that into a result.

pub mod execute;
pub mod judge;
pub mod plan;
