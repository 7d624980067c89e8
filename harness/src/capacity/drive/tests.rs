use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::capacity::calibrate::calibrate;
use crate::capacity::load::KeyChoice;
use crate::capacity::recorder::Errors;

/// What a connection was asked for.
type Asked = BTreeMap<u32, Vec<Turn>>;

/// Does nothing, and remembers on which connection; keys take turns.
struct Nothing {
    keys: u64,
    takes: Duration,
    connections: AtomicU32,
    asked: Mutex<Asked>,
}

impl Nothing {
    fn new(keys: u64, takes: Duration) -> Arc<Self> {
        Arc::new(Self { keys, takes, connections: AtomicU32::new(0), asked: Mutex::default() })
    }

    fn asked(&self) -> Asked {
        self.asked.lock().unwrap().clone()
    }
}

impl Job for Nothing {
    type Connection = u32;

    async fn connect(&self) -> Result<u32, DbError> {
        Ok(self.connections.fetch_add(1, Ordering::Relaxed))
    }

    fn key_at(&self, place: u64) -> Option<u32> {
        Some(u32::try_from(place % self.keys).unwrap() + 1)
    }

    async fn perform(&self, connection: &mut u32, turn: Turn, _: &Errors, times: &mut Times) -> Outcome {
        tokio::time::sleep(self.takes).await;
        times.add(Phase::InLock, 1_000);
        self.asked.lock().unwrap().entry(*connection).or_default().push(turn);
        Outcome::Done
    }
}

fn load(arrivals: Arrivals, workers: u32, duration: Duration) -> Load {
    Load {
        arrivals,
        workers,
        pool: None,
        keys: KeyChoice::Uniform,
        key_count: 4,
        round_trip_added: Duration::ZERO,
        warm_up: Duration::ZERO,
        duration,
        drain: Duration::ZERO,
        seed: 1,
    }
}

fn measures() -> (Clock, Arc<Alarm>) {
    let clock = Clock::start();
    let alarm = Arc::new(Alarm::start(clock.clone()).unwrap());
    (clock, alarm)
}

#[tokio::test]
async fn every_worker_plays_every_actor_however_many_there_are_of_both() {
    for (workers, actors) in [(2, 2), (4, 2), (3, 2), (4, 4), (1, 3), (3, 4)] {
        let mut millis = 100;
        let asked = loop {
            let (clock, alarm) = measures();
            let job = Nothing::new(actors, Duration::from_millis(1));
            let load = load(Arrivals::Closed, workers, Duration::from_millis(millis));
            drive(job.clone(), &load, &clock, &alarm, &CancellationToken::new()).await.unwrap();
            let asked = job.asked();
            // Each worker has to have had more turns than there are actors: on a busy machine that takes longer.
            if asked.len() == workers as usize && asked.values().all(|turns| turns.len() as u64 > actors) {
                break asked;
            }
            assert!(millis < 10_000, "not even in {millis} ms: {asked:?}");
            millis *= 4;
        };
        for turns in asked.into_values() {
            let of = |key| turns.iter().filter(|turn| turn.key == key).count();
            let counts: Vec<usize> = (1..=u32::try_from(actors).unwrap()).map(of).collect();
            let spread = counts.iter().max().unwrap() - counts.iter().min().unwrap();
            assert!(spread <= 1, "{workers} workers, {actors} actors: {counts:?}");
        }
    }
}

#[tokio::test]
async fn no_task_has_a_number_that_another_one_had_and_calibration_s_are_apart() {
    let (clock, alarm) = measures();
    let job = Nothing::new(3, Duration::from_millis(5));
    let (load, cancel) = (load(Arrivals::Closed, 3, Duration::from_millis(100)), CancellationToken::new());
    assert!(calibrate(job.clone(), &load, None, &clock, &alarm, &cancel).await.unwrap().is_some());
    drive(job.clone(), &load, &clock, &alarm, &cancel).await.unwrap();
    let numbers: Vec<u64> = job.asked().into_values().flatten().map(|turn| turn.number).collect();
    assert!(numbers.len() > 20);
    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), numbers.len());
}

#[tokio::test]
async fn counting_what_nobody_came_to_can_be_interrupted() {
    let (clock, alarm) = measures();
    // Some thousand million arrivals, which take minutes to be counted.
    let load = load(Arrivals::Constant(1e12), 2, Duration::from_millis(2));
    let (cancel, job) = (CancellationToken::new(), Nothing::new(1, Duration::from_millis(10)));
    let began = clock.elapsed();
    // Once both workers have had their one task there is nothing left but to count.
    let stopping = async {
        while job.asked().len() < 2 && clock.elapsed() - began < Duration::from_secs(5) {
            alarm.until(clock.elapsed() + Duration::from_millis(1)).await;
        }
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(drive(job.clone(), &load, &clock, &alarm, &cancel), stopping);
    assert!(matches!(ended, Err(DriveError::Interrupted)), "{ended:?}");
    let took = clock.elapsed() - began;
    assert!(took < Duration::from_secs(10), "{took:?}");
}
