//! What `driftlock verify SCRIPT.toml` does, as a library: the actors of each case run freely, round after round.
//!
//! ```sh
//! cargo run --example verify_script -- scenarios/explore/lost-update.toml
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use driftlock::explore::hosts::Hosts;
use driftlock::outcome::VerdictKind;
use driftlock::provision::{PostgresChoice, Profile, StartOptions};
use driftlock::scenario::script::Script;
use driftlock::verify::freely::verify_script;
use driftlock::verify::rounds::Options;
use tokio_util::sync::CancellationToken;

/// Runs every case of a script for at most so many rounds: its name, its verdict, and what shows that.
pub async fn verified(path: &Path, rounds: u64) -> Result<Vec<(String, VerdictKind, String)>, Box<dyn Error>> {
    let script = Script::load(path)?;
    let start = StartOptions { choice: PostgresChoice::Auto, pg_bin: None, profile: Profile::Fast, tcp: false };
    let mut hosts = Hosts::new(start, CancellationToken::new());
    let mut verdicts = Vec::new();
    for case in &script.cases {
        hosts.ready(case.backend).await?;
        let of_case = Arc::new(script.of_case(case));
        let ran = verify_script(&mut hosts, &of_case, case, Options { rounds, seed: 1 }).await?;
        let (verdict, evidence) = ran.verdict(case.violates.as_deref());
        verdicts.push((case.name.clone(), verdict, evidence));
    }
    hosts.stop().await?;
    Ok(verdicts)
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "a program prints")]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).map(PathBuf::from).ok_or("the path of a script is missing")?;
    for (name, verdict, evidence) in verified(&path, 200).await? {
        println!("{name}: {}: {evidence}", verdict.as_str());
    }
    Ok(())
}
