//! Whether programs that say nothing still compute: the kernel is asked, never a clock alone.
//!
//! Whoever neither speaks to the database nor ends may compute, or may wait for something that is not in the database: a
//! mutex, a queue, another program. What the kernel shows of every thread (proc(5), `stat`) tells one from the other: a
//! thread that runs, or waits for a disk, computes; where all sleep, and none has used the processor since the last look,
//! they wait.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

/// Whose threads are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Watched {
    /// Nobody's: nothing was started.
    #[default]
    Nobody,
    /// Those of the processes of a group.
    Group(i32),
    /// Those of this process that have a name. Whatever a thread starts has its name too, unless it gives another.
    Threads(String),
}

/// What was seen of somebody's threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Threads that run, or wait for what cannot be interrupted.
    busy: usize,
    /// Processor time of all of them, in ticks.
    ticks: u64,
    threads: usize,
}

/// Watches somebody's threads.
#[derive(Debug)]
pub struct Quiet {
    last: Option<Seen>,
    asleep_since: Option<Instant>,
}

impl Default for Quiet {
    fn default() -> Self {
        Self::new()
    }
}

impl Quiet {
    /// Nothing was seen yet.
    pub fn new() -> Self {
        Self { last: None, asleep_since: None }
    }

    /// Looks at the threads: for how long all have slept, as far as was looked.
    pub fn look(&mut self, watched: &Watched) -> Duration {
        let seen = match watched {
            Watched::Nobody => Seen::default(),
            Watched::Group(group) => look(*group),
            Watched::Threads(name) => Seen::of("/proc/self".as_ref(), Some(name)),
        };
        let sleeps = seen.busy == 0 && self.last.is_some_and(|last| last.ticks == seen.ticks);
        self.last = Some(seen);
        if !sleeps {
            self.asleep_since = None;
            return Duration::ZERO;
        }
        self.asleep_since.get_or_insert_with(Instant::now).elapsed()
    }
}

/// Adds up the threads of a group, its leader left aside: that one is ours.
fn look(group: i32) -> Seen {
    let mut seen = Seen::default();
    let Ok(processes) = fs::read_dir("/proc") else { return Seen { busy: 1, ..seen } };
    for process in processes.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // Whoever ends meanwhile cannot be read.
        if Stat::at(&process.path()).is_some_and(|stat| stat.group == group) && pid != group {
            seen.add(Seen::of(&process.path(), None));
        }
    }
    seen
}

impl Seen {
    /// The threads of a process, or those of this name.
    fn of(process: &Path, named: Option<&str>) -> Self {
        let mut seen = Self::default();
        let Ok(threads) = fs::read_dir(process.join("task")) else {
            // Whoever ends meanwhile has none; but we are here.
            return Self { busy: usize::from(named.is_some()), ..seen };
        };
        for thread in threads.flatten() {
            let Some(stat) = Stat::at(&thread.path()) else { continue };
            if named.is_none_or(|name| stat.name == name) {
                let busy = usize::from(matches!(stat.state, b'R' | b'D'));
                seen.add(Self { busy, ticks: stat.ticks, threads: 1 });
            }
        }
        seen
    }

    fn add(&mut self, other: Self) {
        self.busy += other.busy;
        self.ticks += other.ticks;
        self.threads += other.threads;
    }
}

/// What is read of a `stat` file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    state: u8,
    group: i32,
    ticks: u64,
}

impl Stat {
    /// That of a process, or of a thread.
    fn at(directory: &Path) -> Option<Self> {
        Self::read(&fs::read_to_string(directory.join("stat")).ok()?)
    }

    fn read(text: &str) -> Option<Self> {
        // The name may hold anything, brackets and spaces too.
        let (before, rest) = text.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let group = fields.nth(1)?.parse().ok()?;
        let (user, system): (u64, u64) = (fields.nth(8)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Self { name: name.to_owned(), state, group, ticks: user + system })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision::ProcessGroup;
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_name_with_brackets_is_no_hindrance() {
        let text = "7 (a) R (b) S 1 42 42 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 1 0 5 6 7";
        assert_eq!(Stat::read(text), Some(Stat { name: "a) R (b".to_owned(), state: b'S', group: 42, ticks: 42 }));
        assert_eq!(Stat::read("7 (a"), None);
    }

    async fn asleep_within(script: &str, time: Duration) -> bool {
        let group = ProcessGroup::start().expect("a group");
        let mut shell = Command::new("/bin/sh");
        let mut child = shell.args(["-c", script]).process_group(group.id()).spawn().expect("sh runs");
        let (mut quiet, begin) = (Quiet::new(), Instant::now());
        let mut longest = Duration::ZERO;
        while begin.elapsed() < time {
            longest = longest.max(quiet.look(&Watched::Group(group.id())));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(group);
        let _ = child.wait();
        longest > Duration::from_millis(300)
    }

    #[tokio::test]
    async fn who_sleeps_is_told_from_who_computes() {
        assert!(asleep_within("sleep 60", Duration::from_secs(2)).await);
        assert!(!asleep_within("while :; do :; done", Duration::from_secs(1)).await);
    }

    #[tokio::test]
    async fn the_threads_of_a_name_are_looked_at_and_no_others() {
        let (name, stop) = ("quiet-test", Arc::new(AtomicBool::new(false)));
        let sleeps = async || {
            let (mut quiet, watched) = (Quiet::new(), Watched::Threads(name.to_owned()));
            let mut longest = Duration::ZERO;
            for _ in 0..3 {
                longest = longest.max(quiet.look(&watched));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            longest > Duration::ZERO
        };
        let spinning = |name: &str| {
            let stop = stop.clone();
            let spin = move || while !stop.load(Ordering::Relaxed) {};
            std::thread::Builder::new().name(name.to_owned()).spawn(spin).expect("a thread")
        };
        let other = spinning("another-test");
        let (wakes, until) = std::sync::mpsc::channel::<()>();
        let asleep = move || until.recv().map_or((), drop);
        let asleep = std::thread::Builder::new().name(name.to_owned()).spawn(asleep).expect("a thread");
        while Seen::of("/proc/self".as_ref(), Some(name)).threads == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(sleeps().await);
        let own = spinning(name);
        assert!(!sleeps().await);
        stop.store(true, Ordering::Relaxed);
        drop(wakes);
        own.join().and(other.join()).and(asleep.join()).expect("all end");
    }
}
