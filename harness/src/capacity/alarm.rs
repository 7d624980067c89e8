//! Wakes tasks at a moment, to some fifty microseconds.
//!
//! Tokio's timers are as coarse as a millisecond, which is more than a whole transaction takes. One
//! thread of our own parks until the next moment that somebody waits for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use super::park::{self, Bell};
use crate::clock::Clock;

/// Who waits, and until when on the clock.
struct Sleeper {
    until: Duration,
    waker: Waker,
    bell: Option<Bell>,
}

impl PartialEq for Sleeper {
    fn eq(&self, other: &Self) -> bool {
        self.until == other.until
    }
}

impl Eq for Sleeper {}

impl PartialOrd for Sleeper {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Sleeper {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.until.cmp(&other.until)
    }
}

#[derive(Default)]
struct Sleepers {
    waiting: BinaryHeap<Reverse<Sleeper>>,
    ended: bool,
}

/// The ways that were passed, half a round trip each.
#[derive(Debug, Default)]
struct Ways {
    count: AtomicU64,
    nanos: AtomicU64,
}

/// A thread that wakes tasks. Dropping it ends the thread; nobody must be waiting then.
pub struct Alarm {
    ways: Ways,
    clock: Clock,
    sleepers: Arc<Mutex<Sleepers>>,
    thread: Thread,
    joined: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alarm").finish_non_exhaustive()
    }
}

impl Alarm {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(clock: Clock) -> std::io::Result<Self> {
        let sleepers = Arc::new(Mutex::new(Sleepers::default()));
        let shared = (clock.clone(), sleepers.clone());
        let builder = std::thread::Builder::new().name("alarm".to_owned());
        let joined = builder.spawn(move || keep(&shared.0, &shared.1))?;
        Ok(Self { ways: Ways::default(), clock, sleepers, thread: joined.thread().clone(), joined: Some(joined) })
    }

    /// Waits until the clock shows `until`; a moment that has passed is not waited for.
    ///
    /// Cancellation: safe.
    pub async fn until(&self, until: Duration) {
        poll_fn(|context| {
            if self.clock.elapsed() >= until {
                return Poll::Ready(());
            }
            let mut sleepers = self.sleepers.lock().expect("nobody panics while holding the sleepers");
            let is_first = sleepers.waiting.peek().is_none_or(|Reverse(first)| until < first.until);
            sleepers.waiting.push(Reverse(Sleeper { until, waker: context.waker().clone(), bell: park::bell() }));
            drop(sleepers);
            if is_first {
                self.thread.unpark();
            }
            Poll::Pending
        })
        .await;
    }

    /// Waits for this time, half of what is added to a round trip, and counts how long that really took.
    ///
    /// Cancellation: safe; what is cut short is not counted.
    pub async fn pass(&self, way: Duration) {
        if way.is_zero() {
            return;
        }
        let began = self.clock.elapsed();
        self.until(began + way).await;
        let took = self.clock.elapsed() - began;
        self.ways.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        self.ways.count.fetch_add(1, Relaxed);
    }

    /// Counts from now on only.
    pub fn count_anew(&self) {
        self.ways.nanos.store(0, Relaxed);
        self.ways.count.store(0, Relaxed);
    }

    /// What was added to a round trip on average since it began to count, in nanoseconds; `None` if nothing was.
    pub fn round_trip_added(&self) -> Option<f64> {
        let (nanos, ways) = (self.ways.nanos.load(Relaxed), self.ways.count.load(Relaxed));
        (ways > 0).then(|| nanos as f64 * 2.0 / ways as f64)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.sleepers.lock().expect("nobody panics while holding the sleepers").ended = true;
        self.thread.unpark();
        if let Some(joined) = self.joined.take() {
            let _ = joined.join();
        }
    }
}

/// Wakes everyone who is due, then parks until the next one is.
fn keep(clock: &Clock, sleepers: &Mutex<Sleepers>) {
    let mut due = Vec::new();
    loop {
        let next = {
            let mut sleepers = sleepers.lock().expect("nobody panics while holding the sleepers");
            if sleepers.ended {
                return;
            }
            let now = clock.elapsed();
            while sleepers.waiting.peek().is_some_and(|Reverse(first)| first.until <= now) {
                due.extend(sleepers.waiting.pop().map(|Reverse(sleeper)| sleeper));
            }
            sleepers.waiting.peek().map(|Reverse(first)| first.until)
        };
        for Sleeper { waker, bell, .. } in due.drain(..) {
            waker.wake();
            if let Some(bell) = bell {
                bell.ring();
            }
        }
        match next {
            Some(until) => std::thread::park_timeout(until.saturating_sub(clock.elapsed())),
            None => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_is_woken_early_and_the_past_is_not_waited_for() {
        let clock = Clock::start();
        let alarm = Arc::new(Alarm::start(clock.clone()).unwrap());
        alarm.until(Duration::ZERO).await;
        let waits = [3_000, 500, 1_700, 500].map(|micros| {
            let (alarm, clock, until) = (alarm.clone(), clock.clone(), Duration::from_micros(micros));
            tokio::spawn(async move {
                alarm.until(clock.elapsed() + until).await;
                let began = clock.elapsed();
                alarm.until(began + until).await;
                (clock.elapsed() - began, until)
            })
        });
        for wait in waits {
            let (waited, asked) = wait.await.unwrap();
            assert!(waited >= asked, "{waited:?} instead of {asked:?}");
        }
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_when_it_is_due_and_not_much_later() {
        let clock = Clock::start();
        let alarm = Alarm::start(clock.clone()).unwrap();
        let mut late = Vec::new();
        for micros in [500, 2_000, 5_000, 1_000, 300, 10_000, 700] {
            let due = clock.elapsed() + Duration::from_micros(micros);
            alarm.until(due).await;
            late.push(clock.elapsed().saturating_sub(due));
        }
        late.sort_unstable();
        // A busy machine takes its time, and now and then a lot of it, but not each time.
        assert!(late[late.len() / 2] < Duration::from_millis(200), "{late:?}");
    }

    #[tokio::test]
    async fn what_is_added_to_a_round_trip_is_what_it_took_and_not_what_was_asked_for() {
        let clock = Clock::start();
        let alarm = Alarm::start(clock.clone()).unwrap();
        alarm.pass(Duration::ZERO).await;
        assert_eq!(alarm.round_trip_added(), None);
        let (way, began) = (Duration::from_millis(3), clock.elapsed());
        for _ in 0..4 {
            alarm.pass(way).await;
        }
        // Four ways are two round trips, and nothing else happened meanwhile.
        let took = (clock.elapsed() - began).as_nanos() as f64 / 2.0;
        let added = alarm.round_trip_added().unwrap();
        assert!((6e6..=took).contains(&added), "{added} of {took}");
        alarm.count_anew();
        assert_eq!(alarm.round_trip_added(), None);
    }
}
