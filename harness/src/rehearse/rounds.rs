//! How often each actor of a traffic has come round.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::history::ActorId;

/// How long to wait between two looks at them.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The rounds of each actor.
#[derive(Debug)]
pub(super) struct Rounds(Vec<AtomicU32>);

impl Rounds {
    /// Of so many actors, before their first.
    pub(super) fn of(actors: usize) -> Self {
        Self((0..actors).map(|_| AtomicU32::new(0)).collect())
    }

    /// Counts one of an actor's.
    pub(super) fn done(&self, actor: ActorId) {
        self.0[actor.0 as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// All together.
    pub(super) fn total(&self) -> u64 {
        self.now().map(u64::from).sum()
    }

    fn now(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|rounds| rounds.load(Ordering::Relaxed))
    }

    /// Waits until each actor has made this many, or `at_most` has passed; answers which.
    pub(super) async fn come_to(&self, least: u32, at_most: Duration) -> bool {
        within(at_most, || self.now().all(|now| now >= least)).await
    }

    /// Waits until each actor has made one more, or they do not go on, or `at_most` has passed; answers
    /// whether it was in time.
    pub(super) async fn one_more(&self, goes_on: impl Fn() -> bool, at_most: Duration) -> bool {
        let then: Vec<u32> = self.now().collect();
        within(at_most, || !goes_on() || self.now().zip(&then).all(|(now, then)| now != *then)).await
    }
}

/// Waits until something is so, or `at_most` has passed; answers which.
async fn within(at_most: Duration, is_so: impl Fn() -> bool) -> bool {
    let mut left = at_most;
    while !is_so() {
        if left.is_zero() {
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        left = left.saturating_sub(LOOK_EVERY);
    }
    true
}
