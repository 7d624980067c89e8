//! A process group that does not outlive this process: for a command of the user's own, and whatever it starts.
//!
//! Its leader is a shell that waits for the end of a pipe from us, and then kills its group. As long as it leads the
//! group, the group's number means nobody else.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::process;

/// Signals that a command may send to its own group, as `kill 0` does, are not for the leader.
const SCRIPT: &str = "trap '' HUP INT QUIT TERM PIPE USR1 USR2 ALRM; read -r _; kill -s KILL 0";

/// A process group. Dropping it kills what is in it, as does the end of this process.
#[derive(Debug)]
pub struct ProcessGroup {
    leader: Option<Child>,
}

impl ProcessGroup {
    /// Makes a group with nobody in it but its leader.
    pub fn start() -> io::Result<Self> {
        let mut leader = Command::new("/bin/sh");
        leader.args(["-c", SCRIPT, "driftlock-group"]).process_group(0).current_dir("/");
        let leader = leader.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self { leader: Some(leader) })
    }

    /// Its number, for `process_group` of a command that is to be in it.
    pub fn id(&self) -> i32 {
        let id = self.leader.as_ref().map(Child::id).expect("it is taken only by drop");
        i32::try_from(id).expect("process ids are positive and fit into pid_t")
    }

    /// Asks everybody in it to end, as Ctrl-C does.
    pub fn interrupt(&self) {
        // There is somebody in it: the leader, who does not listen.
        let _ = killpg(Pid::from_raw(self.id()), Signal::SIGINT);
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.leader.take().map(process::kill_group).unwrap_or_default();
    }
}
