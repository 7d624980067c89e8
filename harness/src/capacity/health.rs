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
/// How late, as a part of what a task itself takes, a closed loop's generator may come to what it should do; and an open
/// loop's, as a part of the time from one arrival of a thread's to its next.
const LATE_SHARE_MAX: f64 = 0.25;
/// The part of an open loop's responses that may be the generator coming late. It is told from the rest as `schedule-lag`.
const LATE_RESPONSE_MAX: f64 = 0.5;
/// The part of the processors that its threads can use above which the generator is busy with itself, or leaves the
/// database too little.
const CPU_SHARE_MAX: f64 = 0.6;
/// The phases of which a task's own time consists, but for what is computed between them.
const OWN: [Phase; 7] =
    [Phase::Begin, Phase::LockWait, Phase::Read, Phase::Write, Phase::Commit, Phase::Other, Phase::Backoff];

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
    /// The processors that its threads can use: never more than it has threads.
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
    /// From what was measured before and after a load that this many threads put on.
    pub fn measured(
        (before, after): (CpuTime, CpuTime),
        wall: Duration,
        threads: usize,
        late: &Histogram<u64>,
        clock: &Clock,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(threads);
        Self {
            cpu_seconds: after.own.saturating_sub(before.own).as_secs_f64(),
            wall_seconds: wall.as_secs_f64(),
            cores: u32::try_from(cores).unwrap_or(u32::MAX).max(1),
            late_mean: late.mean(),
            late_p99: late.value_at_quantile(0.99),
            clock_step: clock_step(clock),
            others: after.machine.zip(before.machine).map(|(after, before)| after.others_since(&before)),
        }
    }

    /// Adds another one that ran at the same time. Each number is then the worse one: a generator that was the
    /// bottleneck spoils what was measured, however idle the others were. Nothing is added up, since they may have
    /// shared the processors.
    pub fn merge(&mut self, other: &Self) {
        if other.cpu_share() > self.cpu_share() {
            (self.cpu_seconds, self.wall_seconds, self.cores) = (other.cpu_seconds, other.wall_seconds, other.cores);
        }
        self.late_mean = self.late_mean.max(other.late_mean);
        self.late_p99 = self.late_p99.max(other.late_p99);
        self.clock_step = self.clock_step.max(other.clock_step);
        self.others = self.others.into_iter().chain(other.others).reduce(f64::max);
    }

    /// The part that it used of the processors that its threads can use.
    pub fn cpu_share(&self) -> f64 {
        self.cpu_seconds / (self.wall_seconds * f64::from(self.cores)).max(f64::MIN_POSITIVE)
    }

    /// How many processors its threads can use, in words.
    pub fn processors(&self) -> String {
        if self.cores == 1 { "the one processor".to_owned() } else { format!("the {} processors", self.cores) }
    }

    /// Why the run says nothing about the database; nothing if it does. `rate`: that of an open loop. `in_process`: the
    /// database runs in this process, and the processor time is its as well.
    pub fn doubts(&self, recording: &Recording, rate: Option<f64>, in_process: bool) -> Vec<String> {
        let mut doubts = Vec::new();
        let Some(own) = own_time(recording) else {
            doubts.push("no task that began within the time that is recorded came to its end".to_owned());
            return doubts;
        };
        let shortest = recording.mean(Phase::InLock).unwrap_or(own).min(own);
        if self.clock_step as f64 > shortest * CLOCK_SHARE_MAX {
            doubts.push(format!(
                "the clock moves in steps of {:.1} µs, and what is measured takes {:.1} µs",
                self.clock_step as f64 / 1e3,
                shortest / 1e3
            ));
        }
        doubts.extend(self.lateness(own, rate));
        if !in_process && self.cpu_share() > CPU_SHARE_MAX {
            doubts.push(format!(
                "the generator used {:.0} % of {} that its threads can use: it is the bottleneck; put it on another \
                 machine, or use fewer workers",
                self.cpu_share() * 100.0,
                self.processors()
            ));
        }
        doubts
    }

    /// Why coming so late says that the generator was measured. `own`: what a task itself takes, in nanoseconds.
    ///
    /// In a closed loop whoever comes late begins the next task late. In an open loop nobody waits for that as long as
    /// arrivals are far enough apart: a processor that sleeps needs a moment to wake, a quarter of a millisecond, say.
    fn lateness(&self, own: f64, rate: Option<f64>) -> Option<String> {
        let late = format!(
            "the generator came {:.2} ms late to what was due (p99 {:.2} ms)",
            self.late_mean / 1e6,
            self.late_p99 as f64 / 1e6
        );
        let Some(rate) = rate else {
            return (self.late_mean > own * LATE_SHARE_MAX).then(|| {
                let own = own / 1e6;
                format!(
                    "{late}, and a task itself takes {own:.2} ms: it is the bottleneck; put it on another machine, or \
                     use fewer workers"
                )
            });
        };
        let apart = 1e9 * f64::from(self.cores) / rate;
        if self.late_mean > apart * LATE_SHARE_MAX {
            let apart = apart / 1e6;
            return Some(format!(
                "{late}, and each of its threads has an arrival every {apart:.2} ms: it is the bottleneck; put it on \
                 another machine, or lower the rate"
            ));
        }
        let response = self.late_mean + own;
        (self.late_mean > response * LATE_RESPONSE_MAX).then(|| {
            let own = own / 1e6;
            format!(
                "{late}, and a task itself takes {own:.2} ms: most of the response is the generator's; put it on a machine \
                 that does nothing else"
            )
        })
    }
}

/// What a task itself took on average, in nanoseconds: its response, less what it waited for a worker and for a
/// connection, which are the longer the worse the generator is. `None` where no task was recorded.
fn own_time(recording: &Recording) -> Option<f64> {
    let sum = |phase: &Phase| recording.histograms.get(phase).map_or(0.0, |times| times.mean() * times.len() as f64);
    let tasks = recording.tasks();
    let response = sum(&Phase::Response);
    // An arrival that nobody came to is in both, and for the same time.
    let less = response - sum(&Phase::Lag) - sum(&Phase::Pool);
    // The difference of two long times is coarse: the parts that were measured apart are in it for certain.
    let parts = OWN.iter().map(sum).sum::<f64>();
    (tasks > 0 && response > 0.0).then(|| less.max(parts) / tasks as f64)
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
        assert_eq!(sound().doubts(&recording, None, false), Vec::<String>::new());
        let broken = [
            (Generator { late_mean: 300_000.0, ..sound() }, "late"),
            (Generator { cpu_seconds: 13.0, ..sound() }, "processors"),
            (Generator { clock_step: 60_000, ..sound() }, "clock"),
        ];
        for (generator, word) in broken {
            let doubts = generator.doubts(&recording, None, false);
            assert_eq!(doubts.len(), 1, "{doubts:?}");
            assert!(doubts[0].contains(word), "{doubts:?}");
        }
        assert!(Generator { cpu_seconds: 13.0, ..sound() }.doubts(&recording, None, true).is_empty());
        assert_eq!(sound().doubts(&Recording::empty(), None, false).len(), 1);
    }

    #[test]
    fn in_an_open_loop_lateness_is_held_against_the_rate_and_the_response() {
        // A short task, and a processor that needs a moment to wake.
        let recording = recording(900_000);
        let late = Generator { late_mean: 240_000.0, late_p99: 400_000, ..sound() };
        assert_eq!(late.doubts(&recording, Some(50.0), false), Vec::<String>::new());
        assert_eq!(late.doubts(&recording, None, false).len(), 1, "in a closed loop each task begins late");
        let doubts = late.doubts(&recording, Some(3_000.0), false);
        assert!(doubts.len() == 1 && doubts[0].contains("an arrival every 0.67 ms"), "{doubts:?}");
        let later = Generator { late_mean: 1_000_000.0, ..late };
        let doubts = later.doubts(&recording, Some(50.0), false);
        assert!(doubts.len() == 1 && doubts[0].contains("most of the response"), "{doubts:?}");
    }

    #[test]
    fn the_later_the_generator_the_more_it_is_doubted_and_not_the_less() {
        // A task itself takes a millisecond, and all the rest of its response is what the generator is behind.
        for behind in [0, 400_000, 50_000_000, 9_000_000_000] {
            let mut recording = recording(1_000_000 + behind);
            for phase in [Phase::Lag, Phase::Pool] {
                let mut waits = histogram();
                waits.record_n(behind / 2, 100).unwrap();
                recording.histograms.insert(phase, waits);
            }
            let mut operations = histogram();
            operations.record_n(950_000, 100).unwrap();
            recording.histograms.insert(Phase::Commit, operations);
            assert_eq!(sound().doubts(&recording, None, false), Vec::<String>::new(), "{behind}");
            let late = Generator { late_mean: 1_300_000.0 + behind as f64 / 10.0, ..sound() };
            let doubts = late.doubts(&recording, None, false);
            assert!(doubts.len() == 1 && doubts[0].contains("late"), "{behind}: {doubts:?}");
        }
    }

    #[test]
    fn arrivals_that_nobody_came_to_make_no_task_longer() {
        let mut recording = recording(1_000_000);
        recording.unfinished = 50;
        let mut waits = histogram();
        waits.record_n(20_000_000_000, 50).unwrap();
        recording.histograms.get_mut(&Phase::Response).unwrap().add(&waits).unwrap();
        recording.histograms.insert(Phase::Lag, waits);
        assert_eq!(sound().doubts(&recording, None, false), Vec::<String>::new());
        let doubts = Generator { late_mean: 300_000.0, ..sound() }.doubts(&recording, None, false);
        assert!(doubts.len() == 1 && doubts[0].contains("late"), "{doubts:?}");
        // With them alone, nothing was measured.
        recording.workers.clear();
        let doubts = sound().doubts(&recording, None, false);
        assert!(doubts.len() == 1 && doubts[0].starts_with("no task"), "{doubts:?}");
    }

    #[test]
    fn a_generator_of_one_thread_is_held_against_one_processor() {
        let (wall, clock, late) = (Duration::from_secs(10), Clock::start(), histogram());
        let at = |seconds| CpuTime { own: Duration::from_secs(seconds), machine: None };
        let pooled = Generator::measured((at(1), at(8)), wall, 1, &late, &clock);
        assert_eq!((pooled.cores, pooled.cpu_share()), (1, 0.7));
        let doubts = Generator { clock_step: 30, ..pooled }.doubts(&recording(1_000_000), None, false);
        assert!(doubts.len() == 1 && doubts[0].contains("70 % of the one processor"), "{doubts:?}");
        let many = Generator::measured((at(1), at(8)), wall, 1 << 20, &late, &clock);
        assert_eq!(many.cores as usize, std::thread::available_parallelism().unwrap().get());
    }

    #[test]
    fn merged_generators_are_doubted_as_the_busiest_of_them_is() {
        let busy = Generator { cpu_seconds: 7.0, cores: 1, ..sound() };
        for (first, second) in [(sound(), busy), (busy, sound())] {
            let mut merged = first;
            merged.merge(&second);
            assert_eq!((merged.cpu_share(), merged.cores), (0.7, 1));
            assert_eq!(merged.doubts(&recording(1_000_000), None, false).len(), 1);
        }
        let mut alike = sound();
        alike.merge(&sound());
        assert_eq!(alike, sound());
    }
}
