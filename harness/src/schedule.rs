//! Who goes when: free-running with an arranged opening.

pub mod opening;
