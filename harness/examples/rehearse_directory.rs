//! What `driftlock rehearse DIR` does, as a library: reads a directory of migrations, rehearses it under verified traffic,
//! and prints what was found.
//!
//! ```sh
//! cargo run --example rehearse_directory -- scenarios/rehearse/unique-index
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};

use drift_engine::lock::Backend;
use driftlock::isolation::start_confining;
use driftlock::provision::{PostgresChoice, Profile, RunName, StartOptions};
use driftlock::rehearse::case::{Beside, Case};
use driftlock::rehearse::progress::Progress;
use driftlock::rehearse::rehearsal::{Options, Targets, rehearse};
use driftlock::rehearse::subject::Subject;
use driftlock::report::rehearsed::row::{RehearseRow, row};
use tokio_util::sync::CancellationToken;

/// Rehearses a directory in every way that its settings ask for; a server is started only where it is for PostgreSQL.
pub async fn rehearsed(directory: &Path, events: u32) -> Result<Vec<RehearseRow>, Box<dyn Error>> {
    let mut subject = Subject::read(directory, None, None)?;
    subject.settings.events = Some(events);
    let start = StartOptions { choice: PostgresChoice::Auto, pg_bin: None, profile: Profile::Durable, tcp: false };
    let server = match subject.settings.backend() {
        // The files are not ours: a server that is given to a powerful role is refused.
        Backend::Postgres => Some(start_confining(&start, &RunName::new("example")?, &CancellationToken::new()).await?),
        Backend::Sqlite => None,
    };
    let options = Options { seed: 1, ..Options::default() };
    let mut targets = Targets::new(server.as_ref(), None, options.seed);
    let mut rows = Vec::new();
    for case in Case::all(&subject, &Beside::default(), None, &[]) {
        let rehearsed = rehearse(&mut targets, &case, &options, &Progress::default()).await?;
        rows.push(row(rehearsed, format!("driftlock rehearse {}", directory.display())));
    }
    drop(targets);
    if let Some(server) = server {
        server.stop().await?;
    }
    Ok(rows)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program prints")]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).map(PathBuf::from).ok_or("the path of a directory is missing")?;
    for row in rehearsed(&path, 10_000).await? {
        println!("{} {}: {}: {}", row.name, row.strategy, row.verdict.as_str(), row.evidence);
        for found in &row.findings {
            println!("{}:{}: {}", found.file, found.line, found.sentence);
        }
    }
    Ok(())
}
