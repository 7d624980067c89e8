//! Where ticks come from. Everything else takes a clock as an argument.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::history::Tick;

/// A monotonic clock that started at zero: nanoseconds, shared by all actors of a run.
#[derive(Clone, Debug)]
pub struct Clock {
    start: Arc<Instant>,
}

impl Clock {
    /// Starts a clock.
    #[expect(clippy::disallowed_methods, reason = "the one place where time enters a run")]
    pub fn start() -> Self {
        Self { start: Arc::new(Instant::now()) }
    }

    /// The time since the start.
    pub fn now(&self) -> Tick {
        Tick(u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The time since the start, as a duration.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}
