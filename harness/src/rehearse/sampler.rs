//! Asks the server, every few milliseconds, who waits for what and behind whom.
//!
//! The clients' own times say how long something took; these samples say on whose account. `pg_blocking_pids` needs
//! the lock manager to itself, so it is called for waiters only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use drift_engine::postgres::classify;
use drift_engine::session::{DbError, Kind};
use sqlx::PgConnection;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::modes::Mode;
use crate::clock::Clock;
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

/// How many samples are kept; further ones are dropped, and the record says so.
const SAMPLES_MAX: usize = 100_000;

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
    pub async fn stop(self) -> Result<Vec<Sample>, DbError> {
        self.wanted.ends.store(true, Ordering::Relaxed);
        self.task.await.expect("the sampler neither panics nor is aborted")
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
    let pids: Vec<i32> = sqlx::query_scalar(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut waiting = Vec::new();
    if !pids.is_empty() {
        type Row = (i32, Vec<i32>, String, Option<i64>, String);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT l.pid, pg_blocking_pids(l.pid), l.locktype, l.relation::int8, l.mode \
             FROM pg_locks l WHERE l.pid = ANY($1::int[]) AND NOT l.granted",
        )
        .bind(pids)
        .fetch_all(&mut *connection)
        .await?;
        waiting.extend(rows.into_iter().filter(|(_, behind, ..)| !behind.is_empty()).map(
            |(pid, behind, sort, table, mode)| Waiting {
                pid: i64::from(pid),
                behind: behind.into_iter().map(i64::from).collect(),
                table: table.filter(|_| sort == "relation"),
                sort,
                mode: Mode::of_catalog(&mode),
            },
        ));
    }
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
