//! `bench` and `merge` on real databases, and as the programs that ship.
#![expect(clippy::unwrap_used, reason = "a helper that cannot do its work fails the test")]

mod applications;
#[path = "../program/called.rs"]
mod called;
#[path = "../program/comes.rs"]
mod comes;
mod command;
mod compare;
mod example;
mod fresh;
mod omission;
mod plan;
mod scripts;
mod sign_in;

use std::path::Path;
use std::time::Duration;

use self::called::{Called, end_of, program};

/// Little data for one customer.
const SMALL: &str = r#"
name = "small"
summary = "A few claims of one customer."
checks = ["no-duplicates"]
[data]
claims-per-customer = 40
[tasks]
count = 6
workers = 3
"#;

/// Calls the program in a directory. The bound only keeps a program that hangs from holding up the suite: no verdict
/// depends on it, and a plan of several dozen short loads takes its time on a busy machine.
async fn call(at: &Path, arguments: &[&str]) -> Called {
    end_of(program(at, arguments), Duration::from_secs(600)).await
}
