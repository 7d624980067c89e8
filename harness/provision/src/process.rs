//! Ending processes that are our children.

use std::process::{Child, ExitStatus};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// How long a server may take to end in order before it is given to its watcher. It is usually gone within some ten
/// milliseconds; its processes that do not listen it would end itself only after five seconds.
const ORDERLY: Duration = Duration::from_secs(1);
const AT_ONCE: Duration = Duration::from_secs(5);

/// Asks a server that is our child to end, and answers whether it has. Blocks for at most [`ORDERLY`].
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
    wait(child, ORDERLY).is_some()
}

/// Ends a program that is our child at once, with whatever it started in its process group. Blocks
/// for at most [`AT_ONCE`].
pub(super) fn kill_group(mut child: Child) {
    // Once it was waited for, its number may be anybody's.
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    let _ = killpg(pid(child.id()), Signal::SIGKILL);
    wait(child, AT_ONCE);
}

/// How a child has ended, if it does so in time; it is waited for in any case, so that none stays a zombie.
pub(super) fn wait(mut child: Child, patience: Duration) -> Option<ExitStatus> {
    let (gone, receiver) = mpsc::channel();
    // Waiting itself knows no bound.
    std::thread::spawn(move || {
        if let Ok(status) = child.wait() {
            let _ = gone.send(status);
        }
    });
    receiver.recv_timeout(patience).ok()
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).expect("process ids are positive and fit into pid_t"))
}
