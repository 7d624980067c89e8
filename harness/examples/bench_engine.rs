//! What `driftlock bench same-run` does, as a library: puts a closed loop of the drift engine's tasks on a SQLite file that
//! flushes, and says what it comes to.
//!
//! ```sh
//! cargo run --release --example bench_engine
//! ```

use std::error::Error;
use std::time::Duration;

use drift_engine::lock::{Backend, LockStrategy};
use driftlock::capacity::bed::{Bed, Benched, bench};
use driftlock::capacity::load::{Arrivals, KeyChoice, Load};
use driftlock::capacity::setting::Work;
use driftlock::provision::{PostgresChoice, Profile, StartOptions};
use driftlock::scenario::shipped::{SHIPPED, Shipped};
use tokio_util::sync::CancellationToken;

/// Puts the load on for so long.
pub async fn benched(backend: Backend, strategy: LockStrategy, duration: Duration) -> Result<Benched, Box<dyn Error>> {
    let scenario = SHIPPED.iter().map(Shipped::scenario).find(|scenario| scenario.name == "same-run");
    let scenario = scenario.ok_or("there is no scenario same-run")?;
    let load = Load {
        arrivals: Arrivals::Closed,
        workers: 2,
        pool: None,
        keys: KeyChoice::Uniform,
        key_count: scenario.data.customers,
        round_trip_added: Duration::ZERO,
        warm_up: duration / 4,
        duration,
        drain: Duration::from_secs(10),
        seed: 1,
    };
    let start = StartOptions { choice: PostgresChoice::Auto, pg_bin: None, profile: Profile::Durable, tcp: false };
    let cancel = CancellationToken::new();
    let mut bed = Bed::make(backend, &start, scenario, "example", &cancel).await?;
    let benched = bench(&mut bed, (Work::Engine, strategy), &load, &cancel).await;
    bed.stop().await?;
    Ok(benched?)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program prints")]
async fn main() -> Result<(), Box<dyn Error>> {
    let benched = benched(Backend::Sqlite, LockStrategy::Immediate, Duration::from_secs(4)).await?;
    let recording = &benched.driven.recording;
    println!("{:.0} tasks/s, {} of {} failed", recording.throughput(), recording.failed, recording.tasks());
    Ok(())
}
