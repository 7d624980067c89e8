//! Programs of the user's: started in a process group of their own, with where the database is in their environment, and
//! ended with all that they have started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::output::Output;
use crate::provision::ProcessGroup;

/// How long the output of a program that has ended is still read: a child of its may hold it open.
const DRAIN_MAX: Duration = Duration::from_millis(200);

/// What a program is started with.
#[derive(Clone, Debug)]
pub struct Launch<'l> {
    /// The shell command.
    pub command: &'l str,
    /// Where it runs.
    pub directory: &'l Path,
    /// Where the database is.
    pub database: &'l [(&'static str, String)],
    /// What else is in its environment.
    pub env: &'l BTreeMap<String, String>,
}

/// A program that was started. Dropping it kills it, and whatever it has started.
#[derive(Debug)]
pub struct Program {
    child: Child,
    group: ProcessGroup,
    readers: Vec<JoinHandle<()>>,
}

/// The streams of a program that is spoken to.
#[derive(Debug)]
pub struct Streams {
    /// What it reads.
    pub stdin: ChildStdin,
    /// What it says.
    pub stdout: ChildStdout,
}

/// The variables by which libpq is led elsewhere than where it is meant to go.
fn leads_elsewhere() -> impl Iterator<Item = OsString> {
    let is_libpq = |name: &OsString| name.to_str().is_some_and(|name| name.starts_with("PG") || name == "DATABASE_URL");
    std::env::vars_os().map(|(name, _)| name).filter(is_libpq)
}

impl Launch<'_> {
    /// Starts the program; all that it prints is kept.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&self, output: &Output) -> io::Result<Program> {
        let (mut program, _) = self.start(output, Stdio::null())?;
        let stdout = program.child.stdout.take();
        program.readers.extend(stdout.map(|stdout| tokio::spawn(output.clone().read(stdout))));
        Ok(program)
    }

    /// Starts a program that is spoken to: what it prints as an error is kept.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn converse(&self, output: &Output) -> io::Result<(Program, Streams)> {
        let (mut program, stdin) = self.start(output, Stdio::piped())?;
        let stdout = program.child.stdout.take();
        let (stdin, stdout) = stdin.zip(stdout).ok_or_else(|| io::Error::other("a pipe is missing"))?;
        Ok((program, Streams { stdin, stdout }))
    }

    /// Starts a program whose output goes to our standard error, as it comes.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn pass_through(&self) -> io::Result<Program> {
        let mut shell = self.shell();
        shell.stdin(Stdio::null()).stdout(Stdio::from(io::stderr())).stderr(Stdio::inherit());
        let group = ProcessGroup::start()?;
        shell.process_group(group.id()).kill_on_drop(true);
        Ok(Program { child: shell.spawn()?, group, readers: Vec::new() })
    }

    /// The shell that runs the command, with its environment.
    fn shell(&self) -> Command {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(self.command).current_dir(self.directory);
        for name in leads_elsewhere() {
            shell.env_remove(name);
        }
        shell.envs(self.database.iter().map(|(name, value)| (name, value)));
        shell.envs(self.env);
        shell
    }

    fn start(&self, output: &Output, stdin: Stdio) -> io::Result<(Program, Option<ChildStdin>)> {
        let mut shell = self.shell();
        shell.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let group = ProcessGroup::start()?;
        shell.process_group(group.id()).kill_on_drop(true);
        let mut child = shell.spawn()?;
        let stderr = child.stderr.take();
        let readers = stderr.map(|stderr| tokio::spawn(output.clone().read(stderr))).into_iter().collect();
        let stdin = child.stdin.take();
        Ok((Program { child, group, readers }, stdin))
    }
}

impl Program {
    /// The number of its process group.
    pub fn group(&self) -> i32 {
        self.group.id()
    }

    /// Waits for its end, and for the last of what it has printed.
    ///
    /// Cancellation: it may be called again.
    ///
    /// # Errors
    /// The system does not say.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        for reader in &mut self.readers {
            let _ = tokio::time::timeout(DRAIN_MAX, reader).await;
        }
        self.readers.clear();
        Ok(status)
    }
}

/// How a program ended, as a shell tells it: its exit code, or 128 and the signal.
pub fn exit_code(status: ExitStatus) -> u32 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u32::try_from(code).unwrap_or(255)
}
