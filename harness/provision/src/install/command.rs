//! One command of a package client: bounded, in a process group of its own, with what it writes.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::Fault;
use crate::ProcessGroup;

/// How much of what a client writes is shown.
const SHOWN: usize = 2000;

/// Whether a program of this name is in PATH.
pub(super) fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Runs a command to its end, and returns what it wrote to its standard output.
///
/// Cancellation: it is killed, with whatever it has started.
pub(super) async fn output(mut command: Command, bound: Duration) -> Result<String, Fault> {
    let group = ProcessGroup::start().map_err(|error| Fault::of(format!("could not be started: {error}")))?;
    command.process_group(group.id()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| Fault::of(format!("could not be started: {error}")))?;
    match tokio::time::timeout(bound, child.wait_with_output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(Ok(output)) => {
            let written = [output.stdout, output.stderr].concat();
            Err(Fault { why: format!("failed ({})", output.status), log: end_of(&String::from_utf8_lossy(&written)) })
        }
        Ok(Err(error)) => Err(Fault::of(format!("could not be waited for: {error}"))),
        Err(_) => Err(Fault::of(format!("did not come to an end within {} s", bound.as_secs()))),
    }
}

fn end_of(text: &str) -> String {
    let start = text.ceil_char_boundary(text.len().saturating_sub(SHOWN));
    text[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_command_that_fails_is_quoted_and_one_that_hangs_is_ended_with_what_it_started() {
        assert_eq!(output(shell("echo said"), Duration::from_secs(10)).await.unwrap(), "said\n");
        let failed = output(shell("echo no such package >&2; exit 3"), Duration::from_secs(10)).await.unwrap_err();
        assert!(failed.why.contains("exit status: 3") && failed.log.contains("no such package"), "{failed:?}");
        let place = tempfile::tempdir().unwrap();
        let pid = place.path().join("pid");
        let script = format!("sleep 1000 & echo $! >{}; wait", pid.display());
        let hung = output(shell(&script), Duration::from_millis(500)).await.unwrap_err();
        assert!(hung.why.contains("did not come to an end"), "{hung:?}");
        let pid = std::fs::read_to_string(pid).unwrap();
        let is_gone = async {
            // What is left of it until somebody has waited for it is no process any more.
            let state = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
            while state().is_ok_and(|stat| !stat.contains(") Z ")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), is_gone).await.unwrap();
    }
}
