//! Says how far a search has come, while it goes on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::{Context, Failure};

/// After how long it is said, again and again.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Waits for a search, whose executions are counted in `executions`.
///
/// # Errors
/// Somebody stopped it.
pub(super) async fn search<T>(
    name: &str,
    executions: &AtomicU64,
    searching: impl Future<Output = T>,
    context: &mut Context<'_>,
) -> Result<T, Failure> {
    executions.store(0, Ordering::Relaxed);
    let (begin, cancel) = (Instant::now(), context.cancel.clone());
    let mut ticks = tokio::time::interval_at(begin + TOLD_EVERY, TOLD_EVERY);
    let mut searching = std::pin::pin!(searching);
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Failure::interrupted()),
            came = &mut searching => return Ok(came),
            _ = ticks.tick() => {
                let (executions, seconds) = (executions.load(Ordering::Relaxed), begin.elapsed().as_secs());
                writeln!(context.err, "{name}: {executions} executions in {seconds} s")?;
            }
        }
    }
}
