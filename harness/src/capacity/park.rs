//! How a thread that puts on a load waits for its connections: with poll(2), before its runtime does with
//! epoll.
//!
//! Who answers on a Unix socket tells the scheduler that it is about to sleep, so that the one it wakes can have
//! its processor. With poll that is what happens, which is how pgbench waits; with epoll (Linux 6.18, two
//! processors of a virtual machine) the thread stays where it is, and a processor that sleeps is woken
//! for each round trip. A load of one client came to 0.7 of pgbench's rate so.
//!
//! Nothing depends on it: what poll has seen, the runtime sees for itself, and after [`POLL_MAX`] it
//! waits in its own way.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long a thread waits so at once, in milliseconds: as much later it sees what no bell tells it, that somebody
/// stops the load.
const POLL_MAX: u8 = 200;
/// With more connections that are waited for than this, each poll would cost more than it saves.
const WAITED_MAX: usize = 64;

/// What wakes a thread that waits so from another thread, beside its runtime's own waker.
#[derive(Clone, Debug)]
pub struct Bell(Arc<UnixStream>);

/// A thread that waits so.
struct Parking {
    bell: Bell,
    /// Where it is heard.
    heard: UnixStream,
    /// The connections of which an answer is waited for.
    waited: Vec<Arc<OwnedFd>>,
}

thread_local! {
    static PARKING: RefCell<Option<Parking>> = const { RefCell::new(None) };
}

/// From now on this thread waits so, if its runtime calls [`wait`] before it parks.
///
/// # Errors
/// The system has no descriptor to give.
pub fn enable() -> std::io::Result<()> {
    let (bell, heard) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    heard.set_nonblocking(true)?;
    PARKING.set(Some(Parking { bell: Bell(Arc::new(bell)), heard, waited: Vec::new() }));
    Ok(())
}

/// What wakes this thread; `None` if its runtime's waker does.
pub fn bell() -> Option<Bell> {
    PARKING.with_borrow(|parking| parking.as_ref().map(|parking| parking.bell.clone()))
}

impl Bell {
    /// Wakes the thread, or keeps it from waiting.
    pub fn ring(&self) {
        // It can only be full, and then it rings, or the thread is gone.
        let _ = (&*self.0).write(&[1]);
    }
}

/// Waits for an answer on a connection of this thread's while it lives.
#[derive(Debug)]
pub struct Waiting<'a>(&'a Arc<OwnedFd>);

impl<'a> Waiting<'a> {
    /// Begins to wait.
    pub fn new(connection: &'a Arc<OwnedFd>) -> Self {
        PARKING.with_borrow_mut(|parking| {
            if let Some(parking) = parking {
                parking.waited.push(connection.clone());
            }
        });
        Self(connection)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        PARKING.with_borrow_mut(|parking| {
            if let Some(parking) = parking
                && let Some(at) = parking.waited.iter().position(|waited| Arc::ptr_eq(waited, self.0))
            {
                parking.waited.swap_remove(at);
            }
        });
    }
}

/// Waits until a connection that is waited for has something to read, or the bell rings. Without such a connection
/// it waits for nothing.
pub fn wait() {
    PARKING.with_borrow(|parking| {
        let Some(Parking { heard, waited, .. }) = parking else { return };
        if waited.is_empty() || waited.len() > WAITED_MAX {
            return;
        }
        let readable = |waited| PollFd::new(waited, PollFlags::POLLIN);
        let mut polled = Vec::with_capacity(waited.len() + 1);
        polled.push(readable(heard.as_fd()));
        polled.extend(waited.iter().map(|waited| readable(waited.as_fd())));
        // It fails on a signal at the most, and then the runtime waits.
        let _ = poll(&mut polled, PollTimeout::from(POLL_MAX));
        if polled[0].any() == Some(true) {
            let _ = (&*heard).read(&mut [0; 64]);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::capacity::alarm::Alarm;
    use crate::clock::Clock;

    const MAX: Duration = Duration::from_millis(POLL_MAX as u64);

    /// A connection, and who is at its other end.
    fn connection() -> (Arc<OwnedFd>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Arc::new(OwnedFd::from(ours)), theirs)
    }

    fn waited() -> Duration {
        let clock = Clock::start();
        wait();
        clock.elapsed()
    }

    #[test]
    fn a_thread_waits_for_what_it_is_waiting_for_and_for_nothing_else() {
        let (silent, mut theirs) = connection();
        let unheeded = Waiting::new(&silent);
        assert!(waited() < MAX / 2, "the thread does not wait so");
        drop(unheeded);
        enable().unwrap();
        assert!(waited() < MAX / 2, "there is nothing to wait for");
        let waiting = Waiting::new(&silent);
        assert!(waited() >= MAX / 2, "nobody answers");
        let bell = bell().unwrap();
        bell.ring();
        bell.ring();
        assert!(waited() < MAX / 2, "the bell rings");
        assert!(waited() >= MAX / 2, "it has been heard");
        theirs.write_all(b"answer").unwrap();
        assert!(waited() < MAX / 2, "there is an answer");
        drop(waiting);
        let (other, _theirs) = connection();
        let _waiting = Waiting::new(&other);
        assert!(waited() >= MAX / 2, "nobody waits for the answer any more");
        let many: Vec<_> = (0..WAITED_MAX).map(|_| Waiting::new(&other)).collect();
        assert!(waited() < MAX / 2, "there are too many for a poll");
        drop(many);
    }

    #[test]
    fn whoever_waits_for_a_moment_is_woken_while_the_thread_waits_for_an_answer() {
        enable().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().on_thread_park(wait).build().unwrap();
        let (silent, _theirs) = connection();
        let _waiting = Waiting::new(&silent);
        let clock = Clock::start();
        let alarm = Alarm::start(clock.clone()).unwrap();
        let mut late: Vec<_> = (0..9)
            .map(|_| {
                let due = clock.elapsed() + Duration::from_millis(5);
                runtime.block_on(alarm.until(due));
                clock.elapsed().saturating_sub(due)
            })
            .collect();
        late.sort_unstable();
        // Without a bell each would be as late as the poll is long.
        assert!(late[late.len() / 2] < MAX / 4, "{late:?}");
    }
}
