//! What `driftlock explore SCRIPT.toml` does, as a library: reads a script, and visits the orders of each of its cases.
//!
//! ```sh
//! cargo run --example explore_script -- scenarios/explore/lost-update.toml
//! ```

use std::error::Error;
use std::io::stdout;
use std::path::PathBuf;
use std::sync::Arc;

use driftlock::explore::case::Options;
use driftlock::explore::hosts::Hosts;
use driftlock::explore::scripted::{Asked, explore_script};
use driftlock::explore::search::Strategy;
use driftlock::provision::{PostgresChoice, Profile, StartOptions};
use driftlock::report::explored::counterexample;
use driftlock::scenario::script::Script;
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "a program prints")]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).map(PathBuf::from).ok_or("the path of a script is missing")?;
    let script = Script::load(&path)?;
    let start = StartOptions { choice: PostgresChoice::Auto, pg_bin: None, profile: Profile::Fast, tcp: false };
    let mut hosts = Hosts::new(start, CancellationToken::new());
    let (strategy, executions) = (Strategy::Exhaustive, Arc::default());
    let options = Options { strategy, seed: 1, limit: None, all: false, executions };
    for case in &script.cases {
        hosts.ready(case.backend).await?;
        let of_case = Arc::new(script.of_case(case));
        let explored = explore_script(&mut hosts, &of_case, case, &Asked::default(), &options).await?;
        let (verdict, evidence) = explored.verdict(case.violates.as_deref(), script.actors.len(), strategy);
        println!("{} on {}: {}: {evidence}", case.name, case.backend, verdict.as_str());
        for found in &explored.found {
            counterexample(&of_case, found, found.execution.taken.len(), &mut stdout())?;
        }
    }
    hosts.stop().await?;
    Ok(())
}
