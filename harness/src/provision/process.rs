//! Ending processes: a child of ours, or the server that a dead harness left behind.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// How long a server may take to end in order: it aborts its backends, and ends those that do not
/// listen itself after five seconds.
const ORDERLY: Duration = Duration::from_secs(8);
const AT_ONCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// Ends a server that is our child: in order, and if that takes too long, at once. Returns whether
/// it is gone. Blocks for at most [`ORDERLY`] + [`AT_ONCE`].
///
/// SIGQUIT is PostgreSQL's immediate shutdown: no checkpoint of data that nobody will read again,
/// but shared memory and backends are cleaned up.
pub(super) fn end_child(mut child: Child) -> bool {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return true;
    }
    let pid = pid(child.id());
    // Not yet waited for, so the number still means this process.
    let _ = kill(pid, Signal::SIGQUIT);
    let gone = wait(child);
    gone.recv_timeout(ORDERLY).is_ok() || {
        let _ = killpg(pid, Signal::SIGKILL);
        gone.recv_timeout(AT_ONCE).is_ok()
    }
}

/// Ends a program that is our child at once, with whatever it started in its process group. Blocks
/// for at most [`AT_ONCE`].
pub(super) fn kill_group(mut child: Child) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    let _ = killpg(pid(child.id()), Signal::SIGKILL);
    let _ = wait(child).recv_timeout(AT_ONCE);
}

/// Tells when a child has ended: waiting itself knows no bound.
fn wait(mut child: Child) -> mpsc::Receiver<()> {
    let (gone, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = child.wait();
        let _ = gone.send(());
    });
    receiver
}

/// Ends the processes that serve the cluster in `data`, whose owner is dead. Returns whether there
/// is none left. Blocks for at most [`ORDERLY`] + [`AT_ONCE`].
pub(super) fn end_strangers(data: &Path) -> bool {
    for (signal, patience) in [(Signal::SIGQUIT, ORDERLY), (Signal::SIGKILL, AT_ONCE)] {
        for pid in serving(data) {
            let _ = kill(pid, signal);
        }
        let mut left = patience;
        while !serving(data).is_empty() {
            let Some(rest) = left.checked_sub(POLL) else { break };
            left = rest;
            #[expect(clippy::disallowed_methods, reason = "polls, bounded, for the end of a process not our child")]
            std::thread::sleep(POLL);
        }
        if serving(data).is_empty() {
            return true;
        }
    }
    false
}

/// The living processes whose command line names exactly this data directory: its postmaster, or
/// an initdb that is still at work. Its path is random, so nothing else names it by accident.
fn serving(data: &Path) -> Vec<Pid> {
    let noted = fs::read_to_string(data.join("postmaster.pid")).ok();
    let noted = noted.and_then(|text| text.lines().next()?.trim().parse::<i32>().ok());
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let listed = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut found: Vec<Pid> = listed.chain(noted).filter(|pid| names(*pid, data)).map(Pid::from_raw).collect();
    found.sort();
    found.dedup();
    found
}

fn names(pid: i32, data: &Path) -> bool {
    // Zero and below mean process groups to kill(2).
    if pid <= 1 || kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
        return false;
    }
    let data = data.to_string_lossy();
    if let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) {
        return line.split(|b| *b == 0).any(|argument| argument == data.as_bytes());
    }
    if Path::new("/proc/self").exists() {
        return false;
    }
    // Systems without /proc (macOS) have ps.
    let ps = Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid.to_string()]).stderr(Stdio::null()).output();
    ps.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).split_whitespace().any(|word| word == data))
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).expect("process ids are positive and fit into pid_t"))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};

    use super::*;

    fn sleeper(argument: Option<&Path>) -> Child {
        // A shell, so that there is a place for an argument that it does not look at.
        let mut command = Command::new("sh");
        let script = "trap 'kill $!; exit' QUIT; sleep 300 >/dev/null & echo ready; wait";
        command.args(["-c", script]).args(argument).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Before that it is not to be seen yet, or its trap is not set.
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n");
        child
    }

    #[test]
    fn a_process_that_only_has_the_number_in_the_pid_file_is_not_touched() {
        let data = tempfile::tempdir().unwrap();
        let mut stranger = sleeper(None);
        fs::write(data.path().join("postmaster.pid"), format!("{}\n", stranger.id())).unwrap();
        assert!(end_strangers(data.path()));
        assert!(stranger.try_wait().unwrap().is_none());
        assert!(end_child(stranger));
        for number in ["0", "1", "-1", "nonsense", ""] {
            fs::write(data.path().join("postmaster.pid"), number).unwrap();
            assert!(end_strangers(data.path()), "{number}");
        }
    }

    #[test]
    fn a_process_that_serves_the_directory_is_ended() {
        let data = tempfile::tempdir().unwrap();
        let mut server = sleeper(Some(data.path()));
        let gone = std::thread::spawn(move || server.wait());
        assert!(end_strangers(data.path()));
        gone.join().unwrap().unwrap();
    }
}
