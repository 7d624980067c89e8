//! Which operations of the traffic are on their way: a file that takes a millisecond is sent while one is, so that it
//! is put to the test at all.
//!
//! An operation counts from after its beginning was noted until before its end is: whoever takes the time, and then
//! sees one under way, has an operation that began before what follows and ended after that time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use drift_engine::op::{Op, Reply};
use drift_engine::session::{DbError, Operation as _, Session, SessionId};
use tokio::sync::Notify;

use super::operation::Class;
use crate::clock::Clock;
use crate::history::Tick;

/// How long to wait for an operation that has just been sent: many times what the traffic rests.
const FRESH_MAX: Duration = Duration::from_millis(50);
/// How long to wait where none is under way at all.
const DEPARTURE_MAX: Duration = Duration::from_millis(2_000);

/// The operations under way.
#[derive(Debug, Default)]
pub struct Flight {
    count: AtomicU32,
    /// How many have come back.
    returned: AtomicU64,
    /// Whether somebody has waited in vain: until something is sent, nobody waits again.
    quiet: AtomicBool,
    departed: Notify,
    /// What was refused so far, by code.
    refused: Mutex<BTreeMap<String, Refusal>>,
}

/// What the database refused the traffic under one code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The SQLSTATE, or what stands for it.
    pub code: String,
    /// How often.
    pub count: u64,
    /// The first operation, for people.
    pub what: String,
    /// What the database said of it.
    pub message: String,
}

impl Flight {
    /// An operation is sent; it is under way until what is answered is dropped.
    pub fn depart(&self) -> Departed<'_> {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.quiet.store(false, Ordering::Relaxed);
        self.departed.notify_waiters();
        Departed(self)
    }

    /// How many operations have come back so far.
    pub fn returned(&self) -> u64 {
        self.returned.load(Ordering::Relaxed)
    }

    /// An operation was refused.
    pub fn refuse(&self, what: &str, error: &DbError) {
        let code = error.code.clone().unwrap_or_else(|| error.class.to_string());
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let first = || Refusal { code: code.clone(), count: 0, what: what.to_owned(), message: error.message.clone() };
        refused.entry(code.clone()).or_insert_with(first).count += 1;
    }

    /// What was refused so far under a code that is not among these.
    pub fn refusals(&self, allowed: &BTreeSet<String>) -> Vec<Refusal> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.values().filter(|one| !allowed.contains(&one.code)).cloned().collect()
    }

    /// Waits until an operation has just been sent and is under way; answers a time that lies before that operation's
    /// end. Where all that are under way are being blocked, one of those is enough; and where there is none, the wait
    /// has an end.
    ///
    /// Cancellation: nothing is lost.
    pub async fn beside_one(&self, clock: &Clock) -> Tick {
        let mut left = if self.quiet.load(Ordering::Relaxed) { Duration::ZERO } else { DEPARTURE_MAX };
        loop {
            let departed = tokio::time::timeout(FRESH_MAX, self.departed.notified()).await.is_ok();
            let now = clock.now();
            if self.count.load(Ordering::SeqCst) > 0 {
                return now;
            }
            if left.is_zero() {
                self.quiet.store(true, Ordering::Relaxed);
                return now;
            }
            if !departed {
                left = left.saturating_sub(FRESH_MAX);
            }
        }
    }
}

/// An operation under way.
#[derive(Debug)]
pub struct Departed<'f>(&'f Flight);

impl Drop for Departed<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
        self.0.returned.fetch_add(1, Ordering::Relaxed);
    }
}

/// A session whose operations count.
pub(super) struct Counted<'f, S> {
    inner: S,
    flight: &'f Flight,
}

impl<'f, S> Counted<'f, S> {
    pub(super) fn new(inner: S, flight: &'f Flight) -> Self {
        Self { inner, flight }
    }
}

impl<S: Session<Op = Op, Reply = Reply>> Session for Counted<'_, S> {
    type Op = Op;
    type Reply = Reply;

    fn id(&self) -> SessionId {
        self.inner.id()
    }

    async fn call(&mut self, op: Op) -> Result<Reply, DbError> {
        let _under_way = Class::of(&op).map(|_| self.flight.depart());
        let kind = op.kind();
        let answer = self.inner.call(op).await;
        if let Err(error) = &answer {
            self.flight.refuse(&kind.to_string(), error);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_waits_is_told_a_time_at_which_an_operation_was_under_way() {
        let (flight, clock) = (Arc::new(Flight::default()), Clock::start());
        let (traffic, timed) = (flight.clone(), clock.clone());
        let operations = tokio::spawn(async move {
            let mut stretches = Vec::new();
            for _ in 0..200 {
                tokio::time::sleep(Duration::from_millis(3)).await;
                let from = timed.now();
                let under_way = traffic.depart();
                tokio::time::sleep(Duration::from_millis(1)).await;
                drop(under_way);
                stretches.push((from, timed.now()));
            }
            stretches
        });
        let mut waits = Vec::new();
        for _ in 0..20 {
            let from = flight.beside_one(&clock).await;
            waits.push((from, clock.now()));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let stretches = operations.await.unwrap();
        for (from, until) in waits {
            assert!(stretches.iter().any(|(began, ended)| *began < until && *ended > from), "{from:?} {until:?}");
        }
    }

    #[tokio::test]
    async fn an_operation_that_never_ends_is_enough_and_where_there_is_none_the_wait_has_an_end() {
        let (flight, clock) = (Flight::default(), Clock::start());
        let blocked = flight.depart();
        flight.beside_one(&clock).await;
        let short = clock.elapsed();
        drop(blocked);
        flight.beside_one(&clock).await;
        let long = clock.elapsed() - short;
        assert!(short < DEPARTURE_MAX && long >= DEPARTURE_MAX, "{short:?} {long:?}");
        // Nor is it waited for again and again.
        flight.beside_one(&clock).await;
        assert!(clock.elapsed() - long - short < DEPARTURE_MAX);
    }
}
