//! Sees to it that a throw-away server does not outlive its owner, however that ends.
//!
//! Nothing of ours can act once this process was killed, and to let the kernel end a child with its parent takes unsafe
//! code (and means the thread that started it). So a shell holds the other end of a pipe: it reads the pipe's end, and
//! then ends the server and removes the directory. It is a shell, and not this program once more, because whoever uses
//! this library, or tests it, is another program.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::process;

const SCRIPT: &str = include_str!("watcher.sh");
/// How long the shell may take to hear that nothing is left to do.
const DISMISSAL: Duration = Duration::from_secs(1);
/// How long it may take to end a server and to remove what it has written: a little more than it waits itself.
const WORK: Duration = Duration::from_secs(8);

/// A shell that watches over a directory. Dropping it has it end the server in the directory, and remove that.
#[derive(Debug)]
pub(super) struct Watcher {
    shell: Child,
}

impl Watcher {
    /// Starts watching over a directory. `lock` is the directory's lock: it stays taken until the watcher is gone.
    pub(super) fn start(directory: &Path, lock: &File) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "driftlock-watcher"]).arg(directory);
        command.stdin(Stdio::piped()).stdout(lock.try_clone()?).stderr(Stdio::null());
        // Ctrl-C is not meant for it, and it keeps nobody from unmounting the place that we were started in.
        command.process_group(0).current_dir("/");
        Ok(Self { shell: command.spawn()? })
    }

    /// Lets it go: nothing is left to end or to remove.
    pub(super) fn dismiss(mut self) {
        if let Some(mut pipe) = self.shell.stdin.take() {
            // One that is gone already need not hear of it.
            let _ = pipe.write_all(b"done\n");
        }
        process::wait(self.shell, DISMISSAL);
    }

    /// Has it do its work now; returns whether no server is left. Blocks for at most [`WORK`].
    pub(super) fn end(mut self) -> bool {
        drop(self.shell.stdin.take());
        process::wait(self.shell, WORK).is_some_and(|status| status.success())
    }
}
