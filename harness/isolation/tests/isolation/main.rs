//! Isolation specifications on a real server: our own ones, and PostgreSQL's suite where it is at hand.
#![expect(clippy::unwrap_used, reason = "a helper that cannot do its work fails the test")]

mod own;
mod suite;

use std::path::Path;
use std::time::Duration;

use driftlock_isolation::{self as isolation, Merged, RunError, Target};
use driftlock_provision::{PostgresChoice, Profile, RunName, Server, StartOptions};
use tokio_util::sync::CancellationToken;

async fn server() -> Server {
    let choice = PostgresChoice::Local;
    let options = StartOptions { choice, pg_bin: None, profile: Profile::Fast, tcp: false };
    Server::start(&options, &RunName::new("isolation").unwrap(), &CancellationToken::new()).await.unwrap()
}

/// Runs a specification, and returns all that was said with how it ended.
async fn transcript(target: &Target, file: &Path, step_max: Duration) -> (String, Result<(), RunError>) {
    let text = std::fs::read_to_string(file).unwrap();
    let spec = isolation::parse(&text).unwrap();
    let mut said = Merged(Vec::new());
    let name = file.file_stem().unwrap().to_str().unwrap();
    let ended = isolation::run(&spec, name, target, step_max, &mut said).await;
    (String::from_utf8(said.0).unwrap(), ended)
}
