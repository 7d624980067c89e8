//! Who had how much of a load.

use std::io::{self, Write};

use crate::capacity::recording::{Recording, Share, Spread};

/// How many keys are shown.
const KEYS_SHOWN: usize = 5;

/// Which worker had how much of it.
pub(super) fn workers(recording: &Recording, closed: bool, to: &mut dyn Write) -> io::Result<()> {
    let longest = recording.workers.iter().enumerate().max_by_key(|(_, share)| share.response_max);
    if let (Some(spread), Some((worker, share))) = (Spread::of(&recording.workers), longest) {
        // In an open loop whoever is free takes the next one: nothing is to be divided evenly.
        let fair = if closed { format!("fairness {:.3}, ", spread.index) } else { String::new() };
        write!(to, "workers: {fair}{} to {} tasks each; ", spread.tasks_min, spread.tasks_max)?;
        let longest = share.response_max as f64 / 1e6;
        write!(to, "the longest response was worker {worker}'s, {longest:.1} ms")?;
        if spread.wait_max > 0 {
            let (who, wait) = (spread.waited_longest, spread.wait_max as f64 / 1e6);
            write!(to, ", the longest wait for the lock worker {who}'s, {wait:.1} ms")?;
        }
        writeln!(to)?;
    }
    Ok(())
}

/// Whose the tasks were.
pub(super) fn keys(recording: &Recording, to: &mut dyn Write) -> io::Result<()> {
    let tasks = recording.tasks().max(1) as f64;
    let mut keys: Vec<(usize, &Share)> = recording.keys.iter().enumerate().filter(|(_, key)| key.tasks > 0).collect();
    if keys.len() > 1 {
        keys.sort_by_key(|(_, key)| std::cmp::Reverse(key.tasks));
        let shown: Vec<String> = keys
            .iter()
            .take(KEYS_SHOWN)
            .map(|(index, key)| {
                let millis = |nanos: u64| nanos as f64 / key.tasks as f64 / 1e6;
                let (wait, held) = (millis(key.lock_wait), millis(key.in_lock));
                let share = key.tasks as f64 / tasks * 100.0;
                format!("{} {share:.0} % (lock wait {wait:.2} ms, in it {held:.2} ms)", index + 1)
            })
            .collect();
        writeln!(to, "keys: {} of {} used; {}", keys.len(), recording.keys.len(), shown.join(", "))?;
    }
    Ok(())
}
