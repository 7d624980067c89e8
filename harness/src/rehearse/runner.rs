//! A tool of the user's own as runner: a shell command that migrates the database whose URL it is given.
//!
//! Nothing of ours can be asked within its transactions. Its sessions are those in the database that are not ours;
//! their locks are sampled, and an event trigger notes, at the end of every command that changes the schema, the locks
//! that its session has: so that one that is held for an instant is not missed. What is rolled back is not noted.

use std::process::Stdio;
use std::time::Duration;

use drift_engine::session::{DbError, ErrorClass, Kind};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::migrations::layout::RUNNER;
use super::migrations::{Script, Transaction, Version};
use crate::provision::{AccessUrl, ProcessGroup};
use crate::sql::Statement;

/// How long one call of the runner may take.
pub const RUNNER_MAX: Duration = Duration::from_secs(600);
/// How much of its output is kept, from the end.
const OUTPUT_BYTES_MAX: usize = 4_000;
/// How many lines of it are shown.
const LINES_SHOWN: usize = 5;

/// The runner of a rehearsal.
#[derive(Debug)]
pub struct Runner<'a> {
    /// What goes up.
    pub up: &'a Script,
    /// What goes down, if anything does.
    pub down: Option<&'a Script>,
    /// Where the database is: for the runner's environment, and for nothing else.
    pub url: AccessUrl,
    /// The version to begin at.
    pub from: Version,
    /// The version to go to; zero means whatever the runner takes for the last.
    pub to: Version,
    /// Whether an event trigger may be made: only where the whole server is thrown away.
    pub may_trigger: bool,
}

/// A command as a file with one statement, so that what is found has a place.
pub fn script(place: &str, command: &str) -> Script {
    let statement = Statement { text: command.to_owned(), line: 1, column: 1, words: Vec::new(), data: None };
    Script {
        file: place.to_owned(),
        text: command.to_owned(),
        transaction: Transaction::Message,
        statements: vec![statement],
        layout: &RUNNER,
    }
}

impl Runner<'_> {
    /// Runs a command, and answers how it failed, if it did.
    ///
    /// Cancellation: the command and its children are killed, as they are when this process is.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn run(&self, command: &str, direction: &str, to: &Version) -> Result<(), DbError> {
        let failed = |message: String| DbError { class: ErrorClass::Other, code: None, message, during: Kind::Write };
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        shell.env("DATABASE_URL", self.url.expose()).env("DRIFTLOCK_DIRECTION", direction);
        shell.env("DRIFTLOCK_FROM", self.from.to_string()).env("DRIFTLOCK_TO", to.to_string());
        let unable = |error| failed(format!("sh cannot be run: {error}"));
        let group = ProcessGroup::start().map_err(unable)?;
        shell.process_group(group.id()).kill_on_drop(true);
        let mut child = shell.spawn().map_err(unable)?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let ended = async { tokio::join!(child.wait(), end_of(out, &self.url), end_of(err, &self.url)) };
        let ended = tokio::time::timeout(RUNNER_MAX, ended).await;
        drop(group);
        match ended {
            Ok((Ok(status), _, _)) if status.success() => Ok(()),
            Ok((Ok(status), out, err)) => {
                let said = if err.trim().is_empty() { out } else { err };
                Err(failed(format!("the runner ended with {status}: {}", shown(&said))))
            }
            Ok((Err(error), ..)) => Err(failed(format!("the runner's end cannot be waited for: {error}"))),
            Err(_) => Err(failed(format!("the runner did not end within {} s, and was killed", RUNNER_MAX.as_secs()))),
        }
    }
}

/// The last lines of what the runner said.
fn shown(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("; ")
}

/// Reads to the end, and keeps the last of it, without the passwords.
async fn end_of(from: Option<impl AsyncRead + Unpin>, url: &AccessUrl) -> String {
    let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
    let (most, mut is_cut) = (OUTPUT_BYTES_MAX + url.password_bytes(), false);
    let Some(mut from) = from else { return String::new() };
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..read]);
        let surplus = kept.len().saturating_sub(most);
        is_cut |= surplus > 0;
        kept.drain(..surplus);
    }
    let said = url.scrub(&String::from_utf8_lossy(&kept));
    // What was cut off may have been the first part of a password, which is not known again by its rest.
    let rest = if is_cut { url.password_bytes() } else { 0 };
    said.chars().skip(rest).collect()
}
