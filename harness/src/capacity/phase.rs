//! The parts of a task's time.

use serde::{Deserialize, Serialize};

use crate::scenario::script::STEPS_MAX;

/// What a task's time is spent on. All but [`Phase::Response`], [`Phase::InLock`] and [`Phase::InTransaction`] are
/// disjoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// From the moment at which it should have started to its end.
    Response,
    /// From the moment at which it should have started to the one at which a worker took it.
    Lag,
    /// Waiting for a connection of the pool.
    Pool,
    /// Beginning transactions, where that takes no lock.
    Begin,
    /// From asking for the lock to having it: the wait, and one round trip.
    LockWait,
    /// From having the lock (without a lock: from the beginning of the transaction) to the answer to
    /// COMMIT or ROLLBACK.
    InLock,
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Commits.
    Commit,
    /// Savepoints and rollbacks.
    Other,
    /// Pauses between tries.
    Backoff,
    /// While a program behind the proxy had a transaction open: from its first statement's way to the server to the
    /// answer that ended it, the program's own time included.
    InTransaction,
}

impl Phase {
    /// Every phase, in the order in which they are reported.
    pub const ALL: [Self; 12] = [
        Self::Response,
        Self::Lag,
        Self::Pool,
        Self::Begin,
        Self::LockWait,
        Self::InLock,
        Self::Read,
        Self::Write,
        Self::Commit,
        Self::Other,
        Self::Backoff,
        Self::InTransaction,
    ];

    /// The name used in files and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::Lag => "schedule-lag",
            Self::Pool => "pool-wait",
            Self::Begin => "begin",
            Self::LockWait => "lock-wait",
            Self::InLock => "in-lock",
            Self::Read => "read",
            Self::Write => "write",
            Self::Commit => "commit",
            Self::Other => "other",
            Self::Backoff => "back-off",
            Self::InTransaction => "in-transaction",
        }
    }

    /// The phase of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }

    /// Its place in [`Phase::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// What one task spent its time on, in nanoseconds, and how often it tried. It lives on the stack: to
/// measure an operation allocates nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    nanos: [u64; Phase::ALL.len()],
    /// The phases that occurred, one bit each: a task that never waited for a pool has no wait of 0.
    occurred: u16,
    /// The tries.
    pub attempts: u32,
    /// A script's steps.
    pub steps: StepTimes,
}

/// What the steps of a script's actor took, in nanoseconds, over all tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepTimes {
    nanos: [u64; STEPS_MAX],
    occurred: u64,
}

impl Default for StepTimes {
    fn default() -> Self {
        Self { nanos: [0; STEPS_MAX], occurred: 0 }
    }
}

impl StepTimes {
    /// Adds to a step, from 0.
    pub fn add(&mut self, step: usize, nanos: u64) {
        self.nanos[step] = self.nanos[step].saturating_add(nanos);
        self.occurred |= 1 << step;
    }

    /// The steps that occurred, each with what it took.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let occurred = |step: &usize| self.occurred & (1 << step) != 0;
        (0..STEPS_MAX).filter(occurred).map(|step| (step, self.nanos[step]))
    }
}

/// There is a bit for each step.
const _: () = assert!(STEPS_MAX == u64::BITS as usize);

impl Times {
    /// Adds to a phase.
    pub fn add(&mut self, phase: Phase, nanos: u64) {
        let total = &mut self.nanos[phase.index()];
        *total = total.saturating_add(nanos);
        self.occurred |= 1 << phase.index();
    }

    /// Adds what others spent on the same task; their tries and steps are theirs.
    pub fn absorb(&mut self, other: &Self) {
        for phase in Phase::ALL {
            if let Some(nanos) = other.get(phase) {
                self.add(phase, nanos);
            }
        }
    }

    /// How long a phase took, if it occurred.
    pub fn get(&self, phase: Phase) -> Option<u64> {
        (self.occurred & (1 << phase.index()) != 0).then(|| self.nanos[phase.index()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_where_its_index_says_and_has_the_name_that_it_is_found_by() {
        for (index, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!((phase.index(), Phase::parse(phase.as_str())), (index, Some(phase)));
        }
        assert_eq!(Phase::parse("sleep"), None);
    }

    #[test]
    fn what_did_not_occur_is_not_zero() {
        let mut times = Times::default();
        times.add(Phase::Lag, 0);
        times.add(Phase::Read, 3);
        times.add(Phase::Read, 4);
        assert_eq!([Phase::Lag, Phase::Read, Phase::Pool].map(|phase| times.get(phase)), [Some(0), Some(7), None]);
    }
}
