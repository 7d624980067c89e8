//! Asks the server, every few milliseconds, who waits for what and behind whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use drift_engine::postgres::classify;
use drift_engine::session::{DbError, Kind};
use sqlx::PgConnection;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::database::waiting::{Waiter, wanted};
use crate::rehearse::modes::Mode;
use crate::rehearse::sampler::{Sample, Sampling, Switch, Waiting};

/// How many samples are kept; further ones are dropped, and the record says so.
const SAMPLES_MAX: usize = 100_000;

#[derive(Debug)]
struct Wanted {
    ends: AtomicBool,
    /// Whether to sample at all.
    switch: Switch,
    /// The migrating session whose locks are to be looked at, or zero.
    migrator: AtomicI64,
    /// Whether it is every session that is not ours that migrates.
    foreign: AtomicBool,
}

/// The sampler, running.
#[derive(Debug)]
pub struct Sampler {
    wanted: Arc<Wanted>,
    task: JoinHandle<Result<Vec<Sample>, DbError>>,
}

impl Sampler {
    /// Starts it, on a connection of its own; it rests until [`Sampler::watch`].
    pub fn start(connection: PgConnection, clock: Clock, sampling: Sampling) -> Self {
        let wanted = Arc::new(Wanted {
            ends: AtomicBool::new(false),
            switch: Switch::new(),
            migrator: AtomicI64::new(0),
            foreign: AtomicBool::new(false),
        });
        let task = tokio::spawn(sample(connection, clock, sampling, wanted.clone()));
        Self { wanted, task }
    }

    /// Samples from now on; with a migrator, its locks too.
    pub fn watch(&self, migrator: Option<i64>) {
        self.wanted.migrator.store(migrator.unwrap_or_default(), Ordering::Relaxed);
        self.wanted.switch.turn(true);
    }

    /// Samples, or rests; returns when it does.
    pub(super) async fn heeded(&self, on: bool) {
        self.wanted.switch.heeded(on).await;
    }

    /// Takes every session that is not ours for a migrating one, or not.
    pub fn watch_foreign(&self, foreign: bool) {
        self.wanted.foreign.store(foreign, Ordering::Relaxed);
    }

    /// Ends it, and hands over what was seen.
    ///
    /// # Errors
    /// The server could not be asked.
    ///
    /// # Panics
    /// The task panicked.
    pub async fn stop(mut self) -> Result<Vec<Sample>, DbError> {
        self.wanted.ends.store(true, Ordering::Relaxed);
        (&mut self.task).await.expect("the sampler neither panics nor is aborted")
    }
}

/// The task would go on without it.
impl Drop for Sampler {
    fn drop(&mut self) {
        self.wanted.ends.store(true, Ordering::Relaxed);
    }
}

async fn sample(
    mut connection: PgConnection,
    clock: Clock,
    sampling: Sampling,
    wanted: Arc<Wanted>,
) -> Result<Vec<Sample>, DbError> {
    let mut samples = Vec::new();
    while !wanted.ends.load(Ordering::Relaxed) {
        let rested = tokio::time::sleep(sampling.every);
        if wanted.switch.is_on() && samples.len() < SAMPLES_MAX {
            if let Some(also) = sampling.also {
                let sent = sqlx::raw_sql(also).execute(&mut connection).await;
                sent.map_err(|error| classify(error, Kind::Read))?;
            }
            let migrator = wanted.migrator.load(Ordering::Relaxed);
            let foreign = wanted.foreign.load(Ordering::Relaxed);
            let one =
                ask(&mut connection, &clock, migrator, foreign).await.map_err(|error| classify(error, Kind::Read))?;
            if !one.waiting.is_empty() || !one.has.is_empty() || !one.foreign.is_empty() {
                samples.push(one);
            }
        }
        rested.await;
    }
    Ok(samples)
}

async fn ask(
    connection: &mut PgConnection,
    clock: &Clock,
    migrator: i64,
    foreign: bool,
) -> Result<Sample, sqlx::Error> {
    let from = clock.now();
    let one = |(waiter, table, mode): (Waiter, Option<i64>, String)| Waiting {
        pid: i64::from(waiter.pid),
        behind: waiter.behind.into_iter().map(i64::from).collect(),
        table: table.filter(|_| waiter.sort == "relation"),
        sort: waiter.sort,
        mode: Mode::of_catalog(&mode),
    };
    let waiting = wanted(connection).await?.into_iter().map(one).collect();
    let (mut has, mut phase) = (Vec::new(), None);
    let mut migrators: Vec<i32> = i32::try_from(migrator).into_iter().filter(|pid| *pid != 0).collect();
    if foreign {
        migrators = sqlx::query_scalar(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
             AND backend_type = 'client backend' AND application_name <> 'driftlock'",
        )
        .fetch_all(&mut *connection)
        .await?;
    }
    if !migrators.is_empty() {
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "SELECT relation::int8, mode FROM pg_locks WHERE pid = ANY($1) AND granted AND locktype = 'relation'",
        )
        .bind(&migrators)
        .fetch_all(&mut *connection)
        .await?;
        has.extend(rows.into_iter().filter_map(|(table, mode)| Some((table, Mode::of_catalog(&mode)?))));
        phase = sqlx::query_scalar("SELECT phase FROM pg_stat_progress_create_index WHERE pid = ANY($1) LIMIT 1")
            .bind(&migrators)
            .fetch_optional(&mut *connection)
            .await?;
    }
    let foreign = if foreign { migrators.into_iter().map(i64::from).collect() } else { Vec::new() };
    Ok(Sample { from, until: clock.now(), waiting, has, phase, foreign })
}
