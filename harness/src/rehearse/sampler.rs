//! What is seen, every few milliseconds, of who waits for what and behind whom; and the switch of whoever looks.
//!
//! The clients' own times say how long something took; these samples say on whose account.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::modes::Mode;
use crate::history::Tick;

/// How the server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// How long to rest between two questions.
    pub every: Duration,
    /// What else is sent each time. Nothing, but for the test that a heavy sampler is noticed.
    pub also: Option<&'static str>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { every: Duration::from_millis(8), also: None }
    }
}

/// Somebody who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Whose session.
    pub pid: i64,
    /// The sessions that it waits for.
    pub behind: Vec<i64>,
    /// The sort of lock: `relation`, `virtualxid`, `transactionid`, `advisory`.
    pub sort: String,
    /// The table, if it waits for one.
    pub table: Option<i64>,
    /// The mode that it wants.
    pub mode: Option<Mode>,
}

/// What the server said once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Before it was asked.
    pub from: Tick,
    /// After it had answered.
    pub until: Tick,
    /// Who waits.
    pub waiting: Vec<Waiting>,
    /// The locks on tables that the migrating session had; looked at where nothing can be asked within it.
    pub has: Vec<(i64, Mode)>,
    /// How far a build of the migrating session's is.
    pub phase: Option<String>,
    /// The sessions that are not ours; looked for where a runner migrates.
    pub foreign: Vec<i64>,
}

impl Sample {
    /// The sessions from `pid` to one of `blockers`, both included, if the first waits for the last: the shortest way.
    pub fn chain(&self, pid: i64, blockers: &[i64]) -> Option<Vec<i64>> {
        let mut ways = vec![vec![pid]];
        let mut seen = vec![pid];
        while !ways.is_empty() {
            let mut longer = Vec::new();
            for way in ways {
                let Some(waiting) = self.waiting.iter().find(|waiting| Some(&waiting.pid) == way.last()) else {
                    continue;
                };
                for next in &waiting.behind {
                    let mut further = way.clone();
                    further.push(*next);
                    if blockers.contains(next) {
                        return Some(further);
                    }
                    if !seen.contains(next) {
                        seen.push(*next);
                        longer.push(further);
                    }
                }
            }
            ways = longer;
        }
        None
    }
}

/// How long to wait for a sampler to heed its switch: one that is busy with a question heeds it after that.
const HEED_MAX: Duration = Duration::from_secs(5);

/// Whether a sampler is to look.
#[derive(Debug)]
pub(super) struct Switch {
    on: AtomicBool,
    /// How often the sampler has rested, and looked.
    heeded: watch::Sender<[u64; 2]>,
}

impl Switch {
    /// Off.
    pub(super) fn new() -> Self {
        Self { on: AtomicBool::new(false), heeded: watch::Sender::new([0; 2]) }
    }

    /// Turns it.
    pub(super) fn turn(&self, on: bool) {
        self.on.store(on, Ordering::SeqCst);
    }

    /// Turns it, and returns when the sampler rests, or has begun to look; however slow the machine is.
    pub(super) async fn heeded(&self, on: bool) {
        self.turn(on);
        let mut heeded = self.heeded.subscribe();
        let before = heeded.borrow()[usize::from(on)];
        let _ = tokio::time::timeout(HEED_MAX, heeded.wait_for(|now| now[usize::from(on)] != before)).await;
    }

    /// What the sampler asks before it rests or looks.
    pub(super) fn is_on(&self) -> bool {
        let on = self.on.load(Ordering::SeqCst);
        self.heeded.send_modify(|heeded| heeded[usize::from(on)] += 1);
        on
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    fn waits(pid: i64, behind: &[i64]) -> Waiting {
        Waiting { pid, behind: behind.to_vec(), sort: "relation".into(), table: Some(1), mode: Some(Mode::AccessShare) }
    }

    #[tokio::test]
    async fn whoever_turns_a_switch_hears_when_it_is_heeded_and_not_of_what_went_before() {
        let switch = Switch::new();
        assert!(!switch.is_on());
        for on in [true, false, false, true] {
            let heeds = async { assert_eq!(switch.is_on(), on) };
            let both = async { tokio::join!(biased; switch.heeded(on), heeds) };
            tokio::time::timeout(HEED_MAX / 2, both).await.expect("it is heeded");
            // Nobody looks at it any more.
            let before = HEED_MAX / 100;
            assert!(tokio::time::timeout(before, switch.heeded(on)).await.is_err());
        }
    }

    #[test]
    fn a_chain_is_followed_to_whoever_is_at_its_end_and_no_circle_is_endless() {
        let waiting = vec![waits(1, &[2]), waits(2, &[3, 4]), waits(4, &[9]), waits(5, &[6]), waits(6, &[5])];
        let sample =
            Sample { from: Tick(0), until: Tick(1), waiting, has: Vec::new(), phase: None, foreign: Vec::new() };
        assert_eq!(sample.chain(1, &[9]), Some(vec![1, 2, 4, 9]));
        assert_eq!(sample.chain(1, &[9, 3]), Some(vec![1, 2, 3]));
        assert_eq!((sample.chain(9, &[1]), sample.chain(5, &[9]), sample.chain(7, &[9])), (None, None, None));
    }
}
