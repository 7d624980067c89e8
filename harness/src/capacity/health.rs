//! Whether the generator, and not the database, was what a run measured.

use std::time::Duration;

use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};

use super::machine::Used;
use super::phase::Phase;
use super::recording::Recording;
use crate::clock::Clock;

/// Of how much of what is measured the clock may be unable to tell anything.
const CLOCK_SHARE_MAX: f64 = 0.05;
/// How late, as a part of the mean response, the generator may come to what it should do.
const LATE_SHARE_MAX: f64 = 0.25;
/// The part of the machine's processors above which the generator leaves the database too little.
const CPU_SHARE_MAX: f64 = 0.6;

/// The processor time that this process has used, and the machine.
#[derive(Clone, Copy, Debug)]
pub struct CpuTime {
    own: Duration,
    machine: Option<Used>,
}

impl CpuTime {
    /// Up to now.
    pub fn now() -> Self {
        let used = getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| {
            usage.user_time().num_microseconds().saturating_add(usage.system_time().num_microseconds())
        });
        Self { own: Duration::from_micros(u64::try_from(used).unwrap_or(0)), machine: Used::now() }
    }
}

/// What the generator needed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// The processor time, in seconds; on SQLite the database's is part of it.
    pub cpu_seconds: f64,
    /// How long the load was on, in seconds.
    pub wall_seconds: f64,
    /// The processors of the machine.
    pub cores: u32,
    /// How late its threads came to what was due, on average, in nanoseconds.
    pub late_mean: f64,
    /// The same, 99th percentile.
    pub late_p99: u64,
    /// The smallest step that the clock was seen to make, in nanoseconds.
    pub clock_step: u64,
    /// The part of the processors, 0 to 1, that neither this process nor its descendants used; a server that it did not
    /// start counts as another's. `None` where the system does not say.
    pub others: Option<f64>,
}

impl Generator {
    /// From what was measured before and after the load.
    pub fn measured(before: CpuTime, after: CpuTime, wall: Duration, late: &Histogram<u64>, clock: &Clock) -> Self {
        Self {
            cpu_seconds: after.own.saturating_sub(before.own).as_secs_f64(),
            wall_seconds: wall.as_secs_f64(),
            cores: std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1)),
            late_mean: late.mean(),
            late_p99: late.value_at_quantile(0.99),
            clock_step: clock_step(clock),
            others: after.machine.zip(before.machine).map(|(after, before)| after.others_since(&before)),
        }
    }

    /// Adds another one that ran at the same time on another machine.
    pub fn merge(&mut self, other: &Self) {
        self.cpu_seconds += other.cpu_seconds;
        self.wall_seconds = self.wall_seconds.max(other.wall_seconds);
        self.cores += other.cores;
        self.late_mean = self.late_mean.max(other.late_mean);
        self.late_p99 = self.late_p99.max(other.late_p99);
        self.clock_step = self.clock_step.max(other.clock_step);
        self.others = self.others.into_iter().chain(other.others).reduce(f64::max);
    }

    /// The part of the machine's processors that it used.
    pub fn cpu_share(&self) -> f64 {
        self.cpu_seconds / (self.wall_seconds * f64::from(self.cores)).max(f64::MIN_POSITIVE)
    }

    /// Why the run says nothing about the database; nothing if it does. `in_process`: the database
    /// runs in this process, and the processor time is its as well.
    pub fn doubts(&self, recording: &Recording, in_process: bool) -> Vec<String> {
        let mut doubts = Vec::new();
        let Some(response) = recording.mean(Phase::Response) else {
            doubts.push("no task came to its end within the time that is recorded".to_owned());
            return doubts;
        };
        let shortest = recording.mean(Phase::InLock).unwrap_or(response).min(response);
        if self.clock_step as f64 > shortest * CLOCK_SHARE_MAX {
            doubts.push(format!(
                "the clock moves in steps of {:.1} µs, and what is measured takes {:.1} µs",
                self.clock_step as f64 / 1e3,
                shortest / 1e3
            ));
        }
        if self.late_mean > response * LATE_SHARE_MAX {
            doubts.push(format!(
                "the generator came {:.2} ms late to what was due (p99 {:.2} ms), and a task takes {:.2} ms: it is \
                 the bottleneck; put it on another machine, or use fewer workers",
                self.late_mean / 1e6,
                self.late_p99 as f64 / 1e6,
                response / 1e6
            ));
        }
        if !in_process && self.cpu_share() > CPU_SHARE_MAX {
            doubts.push(format!(
                "the generator used {:.0} % of the machine's {} processors: it is the bottleneck; put it on another \
                 machine, or use fewer workers",
                self.cpu_share() * 100.0,
                self.cores
            ));
        }
        doubts
    }
}

/// The smallest step of a thousand readings.
fn clock_step(clock: &Clock) -> u64 {
    let mut last = clock.now().0;
    let steps = (0..1_000).filter_map(|_| {
        let now = clock.now().0;
        let step = now - last;
        last = now;
        (step > 0).then_some(step)
    });
    // A clock that stood still over a thousand readings is a coarse one.
    steps.min().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::recording::{Share, histogram};

    fn recording(response: u64) -> Recording {
        let mut recording = Recording::empty();
        let mut share = Share::default();
        let mut responses = histogram();
        for _ in 0..100 {
            share.add(response, 0, response / 2);
            responses.record(response).unwrap();
        }
        recording.workers.push(share);
        recording.histograms.insert(Phase::Response, responses);
        recording
    }

    fn sound() -> Generator {
        Generator {
            cpu_seconds: 2.0,
            wall_seconds: 10.0,
            cores: 2,
            late_mean: 60_000.0,
            late_p99: 200_000,
            clock_step: 30,
            others: Some(0.02),
        }
    }

    #[test]
    fn a_sound_generator_is_not_doubted_and_each_broken_one_is_for_its_reason() {
        let recording = recording(1_000_000);
        assert_eq!(sound().doubts(&recording, false), Vec::<String>::new());
        let broken = [
            (Generator { late_mean: 300_000.0, ..sound() }, "late"),
            (Generator { cpu_seconds: 13.0, ..sound() }, "processors"),
            (Generator { clock_step: 60_000, ..sound() }, "clock"),
        ];
        for (generator, word) in broken {
            let doubts = generator.doubts(&recording, false);
            assert_eq!(doubts.len(), 1, "{doubts:?}");
            assert!(doubts[0].contains(word), "{doubts:?}");
        }
        assert!(Generator { cpu_seconds: 13.0, ..sound() }.doubts(&recording, true).is_empty());
        assert_eq!(sound().doubts(&Recording::empty(), false).len(), 1);
    }
}
