//! What others on this machine took of its processors while a load was on: they slow the database down, and no
//! number of the generator's shows it. Linux only (proc(5)).

use std::collections::BTreeMap;
use std::fs;

/// The processor time used since the machine started, in ticks.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// By anybody, the host of a virtual machine included (steal).
    busy: u64,
    /// And what nobody used.
    whole: u64,
    /// By this process and its descendants, a server that it started among them.
    ours: u64,
}

/// What a process has used, those of its children included that it has waited for.
struct Process {
    parent: u32,
    ticks: u64,
}

impl Used {
    /// Up to now; `None` where the system does not say.
    pub fn now() -> Option<Self> {
        let (busy, whole) = machine(&fs::read_to_string("/proc/stat").ok()?)?;
        let mut processes = BTreeMap::new();
        for entry in fs::read_dir("/proc").ok()?.flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // Who has ended since is gone, and its time with its parent.
            let stat = fs::read_to_string(entry.path().join("stat")).ok();
            processes.extend(stat.and_then(|stat| process(&stat)).map(|process| (id, process)));
        }
        let ours = of_family(&processes, std::process::id());
        Some(Self { busy, whole, ours })
    }

    /// The part of the processors that others used since `earlier`, 0 to 1.
    pub fn others_since(&self, earlier: &Self) -> f64 {
        let busy = self.busy.saturating_sub(earlier.busy);
        let others = busy.saturating_sub(self.ours.saturating_sub(earlier.ours));
        others as f64 / self.whole.saturating_sub(earlier.whole).max(1) as f64
    }
}

/// The first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal; what guests use is part of user.
fn machine(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().map_while(|number| number.parse().ok()).take(8).collect();
    let whole: u64 = ticks.iter().sum();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some((whole - idle, whole))
}

/// A line of /proc/PID/stat. The name may hold anything, a parenthesis too: what follows the last one counts.
fn process(stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    // utime, stime, cutime, cstime.
    let ticks = fields.get(11..15)?.iter().map(|ticks| ticks.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some(Process { parent, ticks })
}

/// What a process and its descendants have used.
fn of_family(processes: &BTreeMap<u32, Process>, root: u32) -> u64 {
    let is_family = |mut id: u32| {
        // A list that changed while it was read could go round in a circle.
        for _ in 0..processes.len() {
            if id == root {
                return true;
            }
            match processes.get(&id) {
                Some(process) => id = process.parent,
                None => return false,
            }
        }
        false
    };
    processes.iter().filter(|(id, _)| is_family(**id)).map(|(_, process)| process.ticks).sum()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::thread;

    use super::*;

    #[test]
    fn lines_are_read_and_families_added_up() {
        assert_eq!(machine("cpu  10 1 5 100 4 1 1 2 9 9\ncpu0 1 1"), Some((20, 124)));
        assert!(machine("cpux 1").is_none() && machine("").is_none());
        let line = |id: u32, parent: u32, ticks: u64| {
            process(&format!("{id} (a) b) S {parent} 1 1 0 -1 4194560 9 9 9 9 {ticks} 2 3 4 20 0 1 0 5 6 7")).unwrap()
        };
        let processes: BTreeMap<u32, Process> =
            [(1, line(1, 0, 1_000)), (5, line(5, 1, 10)), (6, line(6, 5, 20)), (7, line(7, 1, 500))].into();
        assert_eq!(of_family(&processes, 5), 10 + 20 + 2 * 9);
        assert!(process("5 (a").is_none() && process("5 (a) S 1").is_none());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn who_is_not_ours_is_seen() {
        let before = Used::now().unwrap();
        // Its parent ends at once, so that it is nobody's.
        let busy = "(timeout 3 sh -c 'while :; do :; done') >/dev/null 2>&1 &";
        Command::new("sh").args(["-c", busy]).stdin(Stdio::null()).status().unwrap();
        let cores = thread::available_parallelism().unwrap().get() as f64;
        let is_seen = (0..30).any(|_| {
            Command::new("sleep").arg("0.1").status().unwrap();
            let others = Used::now().unwrap().others_since(&before);
            assert!((0.0..=1.0).contains(&others), "{others}");
            others * cores > 0.1
        });
        assert!(is_seen);
    }
}
