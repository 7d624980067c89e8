//! Where finished tasks are counted while the load is on. Everything that is counted into has its
//! place before the load begins: to record a task allocates nothing, and waits for nobody but
//! another task of the same thread that ends at the same time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use drift_engine::session::DbError;
use hdrhistogram::Histogram;

use super::load::Load;
use super::parts::{KEYS_APART, PHASES, Part, coarse};
use super::phase::{Phase, Times};
use super::recording::{ATTEMPTS_MAX, Intended, Interval, Recording, SERIES_INTERVAL, Share, histogram};

/// The errors of operations, by code. Only an error waits here.
#[derive(Debug, Default)]
pub struct Errors {
    by_code: Mutex<BTreeMap<String, u64>>,
}

impl Errors {
    /// Counts one: by SQLSTATE or SQLite's code, and without one by its class.
    pub fn count(&self, error: &DbError) {
        let mut by_code = self.by_code.lock().expect("nobody panics while holding the counts");
        let class;
        let code = match &error.code {
            Some(code) => code.as_str(),
            None => {
                class = error.class.to_string();
                &class
            }
        };
        match by_code.get_mut(code) {
            Some(count) => *count += 1,
            None => drop(by_code.insert(code.to_owned(), 1)),
        }
    }
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It was given up.
    Failed,
    /// Its connection is gone.
    Lost,
}

/// One finished task; moments are counted from the start of the load.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    /// Who performed it, from 0.
    pub worker: u32,
    /// Whose it was, from 1.
    pub key: u32,
    /// When it should have started.
    pub intended: Duration,
    /// When it ended.
    pub ended: Duration,
    /// What it spent its time on, but for [`Phase::Response`].
    pub times: &'a Times,
    /// How it ended.
    pub outcome: Outcome,
}

struct Shard {
    histograms: Vec<Histogram<u64>>,
    attempts: Vec<u64>,
    workers: Vec<Share>,
    keys: Vec<Share>,
    series: Vec<Interval>,
    intended: Vec<Intended>,
    failed: u64,
    unfinished: u64,
    by_worker: Vec<Option<Box<Pair>>>,
    by_key: Vec<Pair>,
    other_keys: Pair,
    /// Those of each actor.
    steps: Vec<Vec<Histogram<u64>>>,
}

/// One histogram for each of [`PHASES`].
type Pair = [Histogram<u64>; PHASES.len()];

fn pair() -> Pair {
    PHASES.map(|_| coarse())
}

/// Counts finished tasks.
pub struct Recorder {
    steps: Vec<Vec<String>>,
    warm_up: Duration,
    end: Duration,
    shards: Vec<Mutex<Shard>>,
    /// The errors of operations, those of the warm-up included.
    pub errors: Errors,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

impl Shard {
    /// The finer histograms that anything was recorded in.
    fn parts(&self, names: &[Vec<String>]) -> BTreeMap<Part, Histogram<u64>> {
        let mut parts = BTreeMap::new();
        let mut keep = |part: Part, histogram: &Histogram<u64>| {
            if !histogram.is_empty() {
                parts.insert(part, histogram.clone());
            }
        };
        for (at, phase) in PHASES.into_iter().enumerate() {
            for (worker, pair) in (0..).zip(&self.by_worker) {
                pair.iter().for_each(|pair| keep(Part::Worker(worker, phase), &pair[at]));
            }
            (1..).zip(&self.by_key).for_each(|(key, pair)| keep(Part::Key(key, phase), &pair[at]));
            keep(Part::OtherKeys(phase), &self.other_keys[at]);
        }
        for (actor, (steps, names)) in self.steps.iter().zip(names).enumerate() {
            let steps = steps.iter().zip(names).enumerate();
            steps.for_each(|(step, (histogram, name))| keep(Part::step(actor, step, name), histogram));
        }
        parts
    }
}

impl Recorder {
    /// Makes room for what `threads` threads will record under `load`.
    pub fn new(load: &Load, threads: usize) -> Self {
        Self::with_steps(load, threads, Vec::new())
    }

    /// The same where a key is an actor of a script, whose steps have these names.
    pub fn with_steps(load: &Load, threads: usize, steps: Vec<Vec<String>>) -> Self {
        let intervals = load.duration.as_nanos().div_ceil(SERIES_INTERVAL.as_nanos());
        let intervals = usize::try_from(intervals).expect("bounded by the longest run");
        let threads = threads.max(1);
        // A worker's tasks are one thread's.
        let own = |worker: usize, thread: usize| (worker % threads == thread).then(|| Box::new(pair()));
        let keys_apart = load.key_count.min(KEYS_APART);
        let shard = |thread| {
            Mutex::new(Shard {
                by_worker: (0..load.workers as usize).map(|worker| own(worker, thread)).collect(),
                by_key: (0..keys_apart).map(|_| pair()).collect(),
                other_keys: pair(),
                steps: steps.iter().map(|names| names.iter().map(|_| coarse()).collect()).collect(),
                histograms: Phase::ALL.map(|_| histogram()).into(),
                attempts: vec![0; ATTEMPTS_MAX + 1],
                workers: vec![Share::default(); load.workers as usize],
                keys: vec![Share::default(); load.key_count as usize],
                series: vec![Interval::default(); intervals],
                intended: vec![Intended::default(); intervals],
                failed: 0,
                unfinished: 0,
            })
        };
        Self {
            warm_up: load.warm_up,
            end: load.warm_up + load.duration,
            shards: (0..threads).map(shard).collect(),
            steps,
            errors: Errors::default(),
        }
    }

    /// Counts a finished task of `thread`.
    pub fn record(&self, thread: usize, task: &Finished<'_>) {
        let mut shard = self.shard(thread);
        let shard = &mut *shard;
        let response = nanos(task.ended.saturating_sub(task.intended));
        let lock_wait = task.times.get(Phase::LockWait).unwrap_or(0);
        let in_lock = task.times.get(Phase::InLock).unwrap_or(0);
        if let Some(index) = self.interval(task.ended).filter(|_| task.outcome == Outcome::Done) {
            shard.series[index].add(response, lock_wait, in_lock);
        }
        let Some(index) = self.interval(task.intended) else { return };
        shard.intended[index].performed.add(response, lock_wait, in_lock);
        shard.histograms[Phase::Response.index()].saturating_record(response);
        for phase in Phase::ALL {
            if let Some(nanos) = task.times.get(phase) {
                shard.histograms[phase.index()].saturating_record(nanos);
            }
        }
        shard.attempts[(task.times.attempts as usize).min(ATTEMPTS_MAX)] += 1;
        shard.workers[task.worker as usize].add(response, lock_wait, in_lock);
        shard.keys[task.key as usize - 1].add(response, lock_wait, in_lock);
        let key = task.key as usize - 1;
        let of_key = shard.by_key.get_mut(key).unwrap_or(&mut shard.other_keys);
        let of_worker = shard.by_worker[task.worker as usize].get_or_insert_with(|| Box::new(pair()));
        for of in [of_key, &mut **of_worker] {
            of[0].saturating_record(response);
            if let Some(nanos) = task.times.get(Phase::LockWait) {
                of[1].saturating_record(nanos);
            }
        }
        if let Some(steps) = shard.steps.get_mut(key) {
            task.times.steps.iter().for_each(|(step, nanos)| steps[step].saturating_record(nanos));
        }
        shard.failed += u64::from(task.outcome != Outcome::Done);
    }

    /// Counts a task that nobody came to: it had waited from `intended` until `given_up`, at least.
    pub fn unfinished(&self, thread: usize, intended: Duration, given_up: Duration) {
        if let Some(index) = self.interval(intended) {
            let mut shard = self.shard(thread);
            let waited = nanos(given_up.saturating_sub(intended));
            shard.intended[index].leave(waited);
            shard.histograms[Phase::Response.index()].saturating_record(waited);
            shard.histograms[Phase::Lag.index()].saturating_record(waited);
            shard.unfinished += 1;
        }
    }

    /// The interval that a moment is in, if it is within the time that is recorded.
    fn interval(&self, moment: Duration) -> Option<usize> {
        let since = moment.checked_sub(self.warm_up).filter(|_| moment < self.end)?;
        let index = since.as_nanos() / SERIES_INTERVAL.as_nanos();
        Some(usize::try_from(index).expect("bounded by the longest run"))
    }

    /// Adds up what the threads recorded.
    pub fn finish(self) -> Recording {
        let measured = self.end.saturating_sub(self.warm_up);
        let mut whole = Recording::empty();
        for shard in self.shards {
            let shard = shard.into_inner().expect("nobody panics while recording");
            let parts = shard.parts(&self.steps);
            let part = Recording {
                histograms: Phase::ALL
                    .into_iter()
                    .zip(shard.histograms)
                    .filter(|(_, histogram)| !histogram.is_empty())
                    .collect(),
                parts,
                attempts: shard.attempts,
                workers: shard.workers,
                keys: shard.keys,
                series: shard.series,
                intended: shard.intended,
                measured,
                failed: shard.failed,
                unfinished: shard.unfinished,
                errors: BTreeMap::new(),
            };
            whole.add_shard(&part);
        }
        whole.errors = self.errors.by_code.into_inner().expect("nobody panics while holding the counts");
        whole
    }

    fn shard(&self, thread: usize) -> std::sync::MutexGuard<'_, Shard> {
        self.shards[thread % self.shards.len()].lock().expect("nobody panics while recording")
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::load::{Arrivals, KeyChoice};
    use crate::capacity::log;

    fn load(workers: u32) -> Load {
        Load {
            arrivals: Arrivals::Constant(100.0),
            workers,
            pool: None,
            keys: KeyChoice::Uniform,
            key_count: 3,
            round_trip_added: Duration::ZERO,
            warm_up: Duration::from_millis(100),
            duration: Duration::from_secs(1),
            drain: Duration::ZERO,
            seed: 1,
        }
    }

    /// The `n`th of some tasks of all sorts, and who recorded it.
    fn record(recorder: &Recorder, thread: usize, worker: u32, n: u32) {
        let mut times = Times::default();
        times.attempts = 1 + n % 3;
        times.add(Phase::Lag, u64::from(n) * 17);
        if !n.is_multiple_of(5) {
            times.add(Phase::LockWait, u64::from(n) * 1_931);
            times.add(Phase::InLock, u64::from(n) * 90_001);
        }
        let intended = Duration::from_millis(u64::from(n));
        let ended = intended + Duration::from_nanos(u64::from(n) * 100_003);
        let outcome = if n % 40 == 7 { Outcome::Failed } else { Outcome::Done };
        recorder.record(thread, &Finished { worker, key: 1 + n % 3, intended, ended, times: &times, outcome });
        if n.is_multiple_of(100) {
            recorder.unfinished(thread, intended, Duration::from_secs(2));
        }
    }

    /// As it is read from a run's directory.
    fn read(recording: &Recording) -> Recording {
        let mut text = Vec::new();
        log::write(recording, Duration::from_secs(1), &mut text).unwrap();
        let (histograms, parts) = log::read(&text).unwrap();
        let json = serde_json::to_vec(recording).unwrap();
        Recording { histograms, parts, ..serde_json::from_slice(&json).unwrap() }
    }

    #[test]
    fn merged_recordings_are_what_one_generator_would_have_recorded() {
        let (whole, first, second) =
            (Recorder::new(&load(4), 3), Recorder::new(&load(2), 2), Recorder::new(&load(2), 1));
        for n in 0..1_200 {
            let worker = n % 4;
            record(&whole, n as usize % 3, worker, n);
            record(if worker < 2 { &first } else { &second }, n as usize % 2, worker % 2, n);
        }
        let [whole, first, second] = [whole, first, second].map(|recorder| read(&recorder.finish()));
        assert!(whole.tasks() == 1_000 && whole.failed > 0 && whole.unfinished == 10);
        let mut merged = first.clone();
        merged.merge(&second);
        assert_eq!(merged, whole);
        assert_ne!(first, whole);
        let of = |part| whole.parts.get(&part).map(Histogram::len);
        let by_worker: u64 = (0..4).filter_map(|worker| of(Part::Worker(worker, Phase::Response))).sum();
        let by_key: u64 = (1..=3).filter_map(|key| of(Part::Key(key, Phase::LockWait))).sum();
        assert_eq!((by_worker, by_key), (1_000, whole.histograms[&Phase::LockWait].len()));
        assert_eq!(of(Part::OtherKeys(Phase::Response)), None);
        merged.merge(&second);
        assert_ne!(merged, whole);
    }

    #[test]
    fn keys_have_histograms_up_to_a_number_and_steps_have_their_names() {
        let steps = vec![vec!["a.1".to_owned(), "a.2".to_owned()]];
        let load = Load { key_count: KEYS_APART + 9, ..load(1) };
        let recorder = Recorder::with_steps(&load, 1, steps);
        let mut times = Times::default();
        times.steps.add(1, 70_000);
        let intended = load.warm_up;
        for key in 1..=load.key_count {
            let ended = intended + Duration::from_millis(1);
            let outcome = Outcome::Done;
            recorder.record(0, &Finished { worker: 0, key, intended, ended, times: &times, outcome });
        }
        let recording = read(&recorder.finish());
        let of = |part| recording.parts.get(&part).map(Histogram::len);
        assert_eq!(of(Part::OtherKeys(Phase::Response)), Some(9));
        assert_eq!(recording.parts.keys().filter(|part| matches!(part, Part::Key(..))).count(), KEYS_APART as usize);
        // The steps are those of the first key, and the second was carried out alone.
        assert_eq!((of(Part::step(0, 0, "a.1")), of(Part::step(0, 1, "a.2"))), (None, Some(1)));
    }

    /// A hundred tasks a second, at equal intervals after the warm-up.
    fn even(recorder: &Recorder, duration: Duration, ended: impl Fn(Duration) -> Duration) {
        let (times, every) = (Times::default(), Duration::from_millis(10));
        for n in 0..u32::try_from(duration.as_nanos() / every.as_nanos()).unwrap() {
            let intended = Duration::from_millis(100) + every * n;
            let (ended, outcome) = (ended(intended), Outcome::Done);
            recorder.record(0, &Finished { worker: 0, key: 1, intended, ended, times: &times, outcome });
        }
    }

    #[test]
    fn the_rate_is_that_of_the_time_that_was_recorded_also_where_the_last_interval_is_a_part() {
        for millis in [1_000, 1_050, 1_090] {
            let duration = Duration::from_millis(millis);
            let recorder = Recorder::new(&Load { duration, ..load(1) }, 1);
            even(&recorder, duration, |intended| intended + Duration::from_millis(1));
            let mut recording = read(&recorder.finish());
            assert!((recording.throughput() - 100.0).abs() < 1e-9, "{millis} ms: {}", recording.throughput());
            let last = (millis - 1_000) as f64 / 100.0;
            let last = if last > 0.0 { last } else { 1.0 };
            assert!((recording.last_interval() - last).abs() < 1e-9, "{millis} ms: {}", recording.last_interval());
            let once = recording.clone();
            recording.follow(&once);
            assert!((recording.throughput() - 100.0).abs() < 1e-9, "twice {millis} ms: {}", recording.throughput());
            // Two generators at the same time put on twice as much.
            let mut merged = once.clone();
            merged.merge(&once);
            assert!((merged.throughput() - 200.0).abs() < 1e-9, "{millis} ms: {}", merged.throughput());
        }
    }

    #[test]
    fn what_ends_in_the_drain_counts_where_it_should_have_begun_and_so_does_what_nobody_came_to() {
        let stalled = Duration::from_millis(900);
        let recorder = Recorder::new(&load(1), 1);
        // From 0.8 s on nothing ends before 0.2 s after the last arrival.
        let end = |intended| if intended < stalled { intended } else { Duration::from_millis(1_300) };
        even(&recorder, Duration::from_secs(1), end);
        recorder.unfinished(0, Duration::from_millis(1_050), Duration::from_millis(2_050));
        let recording = read(&recorder.finish());
        let done: Vec<u64> = recording.series.iter().map(|interval| interval.done).collect();
        assert_eq!(done, [10, 10, 10, 10, 10, 10, 10, 10, 0, 0]);
        let performed: Vec<u64> = recording.intended.iter().map(|interval| interval.performed.done).collect();
        assert_eq!(performed, [10; 10]);
        // The first of them waited 400 ms, the last one of these ten 310 ms.
        assert_eq!(recording.intended[8].performed.response, 3_550_000_000);
        let left = recording.intended.iter().map(|interval| (interval.unfinished, interval.waited));
        let left: Vec<_> = left.enumerate().filter(|(_, left)| *left != (0, 0)).collect();
        assert_eq!((left, recording.arrivals()), (vec![(9, (1, 1_000_000_000))], 101));
    }

    #[test]
    fn what_begins_outside_the_recorded_time_is_not_recorded() {
        let recorder = Recorder::new(&load(1), 1);
        let times = Times::default();
        for intended in [0, 99, 100, 1_099, 1_100, 5_000].map(Duration::from_millis) {
            let ended = intended + Duration::from_millis(1);
            let outcome = Outcome::Done;
            recorder.record(0, &Finished { worker: 0, key: 1, intended, ended, times: &times, outcome });
        }
        let recording = recorder.finish();
        assert_eq!(recording.tasks(), 2);
        // What began before and ended within was done within.
        assert_eq!(recording.series.iter().map(|interval| interval.done).sum::<u64>(), 2);
        assert_eq!((recording.series[0].done, recording.series[9].done), (2, 0));
    }
}
