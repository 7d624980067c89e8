//! The plan on a database that exists on paper: one lock, and a task that always takes the same time.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use super::*;
use crate::capacity::health::Generator;
use crate::capacity::load::{Arrivals, KeyChoice};
use crate::capacity::phase::Times;
use crate::capacity::recorder::{Finished, Outcome, Recorder};
use crate::capacity::stream::Schedule;

const LOCK: Duration = Duration::from_micros(2_000);
const REST: Duration = Duration::from_micros(1_000);

/// Tasks of 1 ms before the lock and 2 ms in it: no more than 500 a second.
#[derive(Default)]
struct Paper {
    announced: Vec<String>,
    /// What others use of the processors.
    others: f64,
    /// By how much the machine is slower or faster than usual at the most: 0.1 is a tenth.
    drift: f64,
    runs: u32,
}

impl Paper {
    /// How much longer everything takes in the next run. It is as slow or as fast again after some 25 runs.
    fn slow(&mut self) -> f64 {
        self.runs += 1;
        1.0 + self.drift * (f64::from(self.runs) / 4.0).sin()
    }
}

impl Measure for Paper {
    type Error = Infallible;

    async fn measure(&mut self, load: &Load) -> Result<Driven, Infallible> {
        let recorder = Recorder::new(load, 1);
        let end = load.warm_up + load.duration;
        let mut free_at = Duration::ZERO;
        let slow = self.slow();
        let (rest, lock) = (REST.mul_f64(slow), LOCK.mul_f64(slow));
        let mut task = |intended: Duration, worker: u32| {
            let arrived = intended + rest;
            let granted = arrived.max(free_at);
            free_at = granted + lock;
            let mut times = Times::default();
            times.add(Phase::LockWait, (granted - arrived).as_nanos() as u64);
            times.add(Phase::InLock, lock.as_nanos() as u64);
            let outcome = Outcome::Done;
            recorder.record(0, &Finished { worker, key: 1, intended, ended: free_at, times: &times, outcome });
            free_at
        };
        if load.arrivals == Arrivals::Closed {
            let mut ready: VecDeque<(Duration, u32)> =
                (0..load.workers).map(|worker| (Duration::ZERO, worker)).collect();
            while let Some((at, worker)) = ready.pop_front().filter(|(at, _)| *at < end) {
                ready.push_back((task(at, worker), worker));
            }
        } else {
            for arrival in Schedule::new(load) {
                task(arrival.intended, 0);
            }
        }
        let generator = Generator {
            cpu_seconds: 0.1,
            wall_seconds: 10.0,
            cores: 2,
            late_mean: 1.0,
            late_p99: 1,
            clock_step: 20,
            others: Some(self.others),
        };
        Ok(Driven { recording: recorder.finish(), generator })
    }

    fn announce(&mut self, what: &str) {
        self.announced.push(what.to_owned());
    }
}

impl Paper {
    /// The number of passes in which closed loops, or open ones, were measured.
    fn passes(&self, of: &str) -> u32 {
        let passes = self.announced.iter().filter(|what| what.starts_with(of));
        let numbers = passes.filter_map(|what| what.split_once(", pass ")?.1.split(':').next()?.parse().ok());
        numbers.max().unwrap_or(0)
    }
}

fn load() -> Load {
    Load {
        arrivals: Arrivals::Closed,
        workers: 16,
        pool: None,
        keys: KeyChoice::One,
        key_count: 1,
        round_trip_added: Duration::ZERO,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(20),
        drain: Duration::ZERO,
        seed: 1,
    }
}

#[tokio::test]
async fn the_plan_finds_the_limit_the_workers_and_the_rate_of_a_lock_on_paper() {
    let mut paper = Paper { others: 0.3, ..Paper::default() };
    let Ok(plan) =
        plan(&mut paper, &load(), Extent { workers: 16, passes: 14 }, &"p99<20ms".parse().unwrap(), false).await;
    assert!((plan.highest() - 500.0).abs() < 5.0, "{}", plan.highest());
    assert_eq!(plan.enough_workers, 2);
    assert!(plan.limit.iter().all(|limit| (limit / 500.0 - 1.0).abs() < 0.15), "{:?}", plan.limit);
    // Of M/D/1 with 2 ms, 99 % wait less than 17 ms up to about 76 % of the limit.
    let (kept, broken) = (plan.kept.unwrap(), plan.broken.unwrap());
    assert!(kept > 330.0 && broken < 450.0, "{kept} and {broken}");
    let above = plan.open.iter().find(|point| point.rate > kept).unwrap();
    assert!(above.rate / kept <= CLOSE && (above.unsure || above.rate == broken), "{above:?}");
    assert!(plan.crowded.as_ref().is_some_and(|crowded| crowded.rate == kept));
    assert_eq!(plan.responses.len(), 4);
    for check in &plan.responses {
        assert!(check.rate < TRUSTED * plan.reached() && check.mean.off() < 0.15, "{check:?}");
    }
    let within = |of: fn(&Response) -> &Seen| plan.responses.iter().filter(|one| of(one).is_within()).count();
    assert!(within(|one| &one.mean) >= 3 && within(|one| &one.p99) >= 3, "{:?}", plan.responses);
    assert!(plan.mean_models.len() == 4 && plan.p99_models.len() == 3 && !plan.foreseen.is_empty());
    assert_eq!((plan.candidates.len(), plan.others), (2, Some(0.3)));
    assert!(plan.doubts.is_empty());
    // What is disturbed is measured again, as often as is allowed.
    assert_eq!((paper.passes("closed loop"), paper.passes("open loop")), (14, 14));
    assert!(plan.open.iter().any(|point| point.met) && plan.open.iter().any(|point| !point.met));
}

#[tokio::test]
async fn a_machine_that_is_slower_for_a_while_changes_no_prediction() {
    let mut paper = Paper { drift: 0.15, ..Paper::default() };
    let Ok(plan) =
        plan(&mut paper, &load(), Extent { workers: 4, passes: 14 }, &"p99<20ms".parse().unwrap(), false).await;
    let [least, usual, most] = plan.pace.unwrap();
    assert!(least < 0.9 * usual && most > 1.1 * usual && (usual / 500.0 - 1.0).abs() < 0.05, "{:?}", plan.pace);
    for check in &plan.responses {
        // Of a queue whose tasks all take the same time: half of what M/M/1 waits.
        let busy = check.rate / 500.0;
        let known = (3.0 + 2.0 * busy / (2.0 * (1.0 - busy))) * 1e6;
        let off = (check.mean.measured / known - 1.0).abs();
        assert!(off < 0.1 && check.mean.off() < 0.1, "{off} from what is known: {check:?}");
    }
}

#[tokio::test]
async fn passes_end_when_all_is_known_and_where_no_more_are_allowed() {
    for (passes, closed, open) in [(14, 6, 6..14), (3, 3, 3..4)] {
        let mut paper = Paper::default();
        let Ok(plan) =
            plan(&mut paper, &load(), Extent { workers: 6, passes }, &"p99<20ms".parse().unwrap(), false).await;
        // A closed loop always comes to the same; arrivals are a matter of chance.
        assert_eq!(paper.passes("closed loop"), closed);
        assert!(open.contains(&paper.passes("open loop")), "{} of {passes}", paper.passes("open loop"));
        assert!(plan.kept.is_some() && plan.disturbed[0] == 0, "{:?}", plan.disturbed);
    }
}
