//! What the server says of a load while it is on.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_postgres::Client;

use super::seen::Seen;
use crate::app::record::account::Recorded;
use crate::capacity::load::Load;

/// How often the server is asked: what costs a look each 20 ms is a hundredth of a processor at most.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The sessions of this database that are not ours, by what they do.
const SESSIONS: &str = "\
    SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE state = 'active'), \
        pg_catalog.count(*) FILTER (WHERE state LIKE 'idle in transaction%'), \
        pg_catalog.count(*) FILTER (WHERE wait_event_type = 'Lock') \
    FROM pg_catalog.pg_stat_activity \
    WHERE datname = pg_catalog.current_database() AND backend_type = 'client backend' \
        AND pg_catalog.left(application_name, 10) <> 'driftlock/'";
/// What the server has counted.
const COUNTS: &str = "\
    SELECT xact_commit, xact_rollback, deadlocks, tup_inserted + tup_updated + tup_deleted FROM pg_catalog.pg_stat_database \
    WHERE datname = pg_catalog.current_database()";

/// A number that goes up and down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gauge {
    /// Its mean over all looks.
    pub mean: f64,
    /// The most that was seen.
    pub max: u64,
}

/// What the server said of its sessions, look by look, in the time that is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gauges {
    /// How often it was asked.
    pub looks: u64,
    /// The application's sessions.
    pub sessions: Gauge,
    /// Those that carry out a statement.
    pub active: Gauge,
    /// Those whose transaction is open while their program does something else.
    pub idle_in_transaction: Gauge,
    /// Those that wait for a lock.
    pub waiting: Gauge,
}

impl Gauges {
    fn add(&mut self, numbers: [i64; 4]) {
        self.looks += 1;
        let gauges = [&mut self.sessions, &mut self.active, &mut self.idle_in_transaction, &mut self.waiting];
        for (gauge, number) in gauges.into_iter().zip(numbers) {
            let number = u64::try_from(number).unwrap_or(0);
            gauge.mean += (number as f64 - gauge.mean) / self.looks as f64;
            gauge.max = gauge.max.max(number);
        }
    }
}

/// What the server has counted of a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Transactions that were committed, those of one statement included.
    pub committed: u64,
    /// Transactions that were rolled back.
    pub rolled_back: u64,
    /// Deadlocks.
    pub deadlocks: u64,
    /// Rows that were inserted, updated or deleted, those of transactions that were rolled back included.
    pub changed: u64,
}

impl Counts {
    /// Up to now, of sessions that have ended: others tell it at times.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn now(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let row = client.query_one(COUNTS, &[]).await?;
        let number = |at: usize| u64::try_from(row.get::<_, i64>(at)).unwrap_or(0);
        Ok(Self { committed: number(0), rolled_back: number(1), deadlocks: number(2), changed: number(3) })
    }

    /// What came since another time.
    pub fn since(self, before: Self) -> Self {
        Self {
            committed: self.committed.saturating_sub(before.committed),
            rolled_back: self.rolled_back.saturating_sub(before.rolled_back),
            deadlocks: self.deadlocks.saturating_sub(before.deadlocks),
            changed: self.changed.saturating_sub(before.changed),
        }
    }
}

/// What was observed.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// By the server.
    pub gauges: Gauges,
    /// By the proxy, if the application goes through it.
    pub recorded: Option<Recorded>,
}

/// How many sessions there are that are not ours.
///
/// # Errors
/// The server does not answer.
pub async fn sessions(client: &Client) -> Result<i64, tokio_postgres::Error> {
    Ok(client.query_one(SESSIONS, &[]).await?.get(0))
}

/// Observes a load in the time in which it is recorded, from when it begins.
///
/// # Errors
/// The server does not answer.
pub async fn observe(
    mut begun: watch::Receiver<Option<Instant>>,
    load: &Load,
    client: &Client,
    seen: Option<&Seen>,
) -> Result<Observed, tokio_postgres::Error> {
    let begun = match begun.wait_for(Option::is_some).await {
        Ok(begun) => begun.unwrap_or_else(Instant::now),
        // It never begins.
        Err(_) => return Ok(Observed::default()),
    };
    let asked = client.prepare(SESSIONS).await?;
    tokio::time::sleep_until(begun + load.warm_up).await;
    if let Some(seen) = seen {
        seen.recorder().count_anew();
    }
    let looking = async {
        let (mut gauges, mut ticks) = (Gauges::default(), tokio::time::interval(LOOK_EVERY));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = begun + load.warm_up + load.duration;
        while Instant::now() < end {
            let row = client.query_one(&asked, &[]).await?;
            gauges.add([row.get(0), row.get(1), row.get(2), row.get(3)]);
            tokio::select! {
                _ = ticks.tick() => {}
                () = tokio::time::sleep_until(end) => {}
            }
        }
        Ok(gauges)
    };
    let waits = async {
        match seen {
            Some(seen) => seen.recorder().watch_waits(LOOK_EVERY).await,
            None => std::future::pending().await,
        }
    };
    let gauges = tokio::select! {
        gauges = looking => gauges?,
        error = waits => return Err(error),
    };
    Ok(Observed { gauges, recorded: seen.map(|seen| seen.recorder().so_far()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_keeps_the_mean_and_the_most() {
        let mut gauges = Gauges::default();
        gauges.add([4, 1, 0, 3]);
        gauges.add([4, 2, 1, 0]);
        assert_eq!((gauges.looks, gauges.waiting), (2, Gauge { mean: 1.5, max: 3 }));
        assert_eq!((gauges.sessions.mean, gauges.idle_in_transaction.max), (4.0, 1));
    }
}
