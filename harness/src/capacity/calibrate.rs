//! What the parts of a task take when nobody is in the way, measured in the same run: the best that
//! the lock could allow, to hold what was achieved against.

use std::sync::Arc;
use std::time::Duration;

use drift_engine::postgres::classify;
use drift_engine::session::{DbError, Kind};
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use super::alarm::Alarm;
use super::drive::{DriveError, drive};
use super::floor::Floor;
use super::job::{Job, Turn};
use super::load::{Arrivals, KeyChoice, Load};
use super::lock_script::TABLES;
use super::phase::{Phase, Times};
use super::recorder::{Errors, Outcome};
use crate::clock::Clock;
use crate::database::postgres::PgDatabase;
use crate::database::waiting::waits;

/// How often a round trip and a flush are measured.
const ROUNDS: u32 = 200;
/// How often the lock is handed over.
const HAND_OVERS: u32 = 40;
/// How long the task runs alone.
const ALONE: Duration = Duration::from_millis(800);
/// How long it is asked whether the other one waits, before it is given up.
const ASKED_MAX: Duration = Duration::from_secs(20);

/// The numbers of tasks that no load has, nor the measurement of the floor: a fresh run may be begun once only.
const NUMBERS: u64 = 1 << 61;

/// A job whose tasks have numbers of their own.
struct Alone<J>(Arc<J>);

impl<J: Job> Job for Alone<J> {
    type Connection = J::Connection;

    async fn connect(&self) -> Result<J::Connection, DbError> {
        self.0.connect().await
    }

    fn key_at(&self, place: u64) -> Option<u32> {
        self.0.key_at(place)
    }

    fn key_of(&self, connection: &J::Connection) -> Option<u32> {
        self.0.key_of(connection)
    }

    fn steps(&self) -> Vec<Vec<String>> {
        self.0.steps()
    }

    async fn perform(&self, connection: &mut J::Connection, turn: Turn, errors: &Errors, times: &mut Times) -> Outcome {
        let turn = Turn { number: NUMBERS + turn.number, ..turn };
        self.0.perform(connection, turn, errors, times).await
    }
}

/// Times of parts, on average, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// What only a server has.
    pub server: Option<ServerTimes>,
    /// A task that is alone: from its start to its end.
    pub service_alone: f64,
    /// A task that is alone: while it has the lock.
    pub in_lock_alone: f64,
    /// What the statements of the engine's task take without the engine; on PostgreSQL only.
    #[serde(default)]
    pub floor: Option<Floor>,
}

/// What a server takes, added round trips not included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerTimes {
    /// A statement that does nothing.
    pub round_trip: f64,
    /// The flush of a COMMIT: its time, less a round trip.
    pub flush: f64,
    /// From the answer to the holder's COMMIT to the waiter's grant; below zero where the waiter hears first.
    pub hand_off: f64,
}

/// The most tasks a second that a lock allows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// On one key: one over the time in the lock and the hand-off.
    pub one_key: f64,
    /// On all keys, and with the workers that there are.
    pub whole: f64,
}

impl Calibration {
    /// What the lock allows under a load. `one_lock`: whatever the key, there is one lock for all.
    pub fn ceiling(&self, load: &Load, one_lock: bool) -> Ceiling {
        let hand_off = self.server.map_or(0.0, |server| server.hand_off.max(0.0));
        let one_key = 1e9 / (self.in_lock_alone + hand_off).max(1.0);
        let hottest = load.lock_shares(one_lock).into_iter().fold(f64::MIN_POSITIVE, f64::max);
        let busy = f64::from(load.pool.unwrap_or(load.workers)) * 1e9 / self.service_alone.max(1.0);
        Ceiling { one_key, whole: (one_key / hottest).min(busy) }
    }
}

/// Measures the parts. The server's are measured on `server`, which gets the lock script's tables if
/// they are not there.
///
/// # Errors
/// See [`DriveError`].
pub async fn calibrate<J: Job>(
    job: Arc<J>,
    load: &Load,
    server: Option<&PgDatabase>,
    clock: &Clock,
    alarm: &Arc<Alarm>,
    cancel: &CancellationToken,
) -> Result<Option<Calibration>, DriveError> {
    let server = match server {
        Some(database) => Some(server_times(database, clock).await?),
        None => None,
    };
    let alone = Load {
        arrivals: Arrivals::Closed,
        workers: 1,
        pool: None,
        keys: KeyChoice::One,
        warm_up: ALONE / 4,
        duration: ALONE,
        ..load.clone()
    };
    let recording = drive(Arc::new(Alone(job)), &alone, clock, alarm, cancel).await?.recording;
    let (service, in_lock) = (recording.mean(Phase::Response), recording.mean(Phase::InLock));
    // Where one task takes longer than this, there is nothing to compare with.
    let (Some(service_alone), Some(in_lock_alone)) = (service, in_lock) else { return Ok(None) };
    Ok(Some(Calibration { server, service_alone, in_lock_alone, floor: None }))
}

async fn server_times(database: &PgDatabase, clock: &Clock) -> Result<ServerTimes, DbError> {
    let (mut a, mut b, mut watcher) = (database.plain().await?, database.plain().await?, database.plain().await?);
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut b).await.map_err(failed)?;
    let there: bool = sqlx::query_scalar("SELECT to_regclass('bench_rows') IS NOT NULL")
        .fetch_one(&mut watcher)
        .await
        .map_err(failed)?;
    if !there {
        send(&mut watcher, TABLES).await?;
    }
    send(&mut watcher, "INSERT INTO bench_rows VALUES (0) ON CONFLICT DO NOTHING").await?;
    let (mut round_trip, mut commit) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        round_trip += timed(clock, &mut a, "BEGIN").await?;
        send(&mut a, "INSERT INTO bench_entries (row_id) VALUES (0)").await?;
        commit += timed(clock, &mut a, "COMMIT").await?;
    }
    let round_trip = nanos(round_trip) / f64::from(ROUNDS);
    let mut hand_off = 0.0;
    for _ in 0..HAND_OVERS {
        const LOCK: &str = "SELECT FROM bench_rows WHERE id = 0 FOR UPDATE";
        send(&mut a, "BEGIN").await?;
        send(&mut a, LOCK).await?;
        send(&mut b, "BEGIN").await?;
        let waiting = async {
            send(&mut b, LOCK).await?;
            Ok(clock.elapsed())
        };
        let releasing = async {
            until_waiting(&mut watcher, pid, clock).await?;
            send(&mut a, "COMMIT").await?;
            Ok(clock.elapsed())
        };
        let (granted, released) = tokio::try_join!(waiting, releasing)?;
        hand_off += nanos(granted) - nanos(released);
        send(&mut b, "ROLLBACK").await?;
    }
    for connection in [a, b, watcher] {
        let _ = connection.close().await;
    }
    Ok(ServerTimes {
        round_trip,
        flush: (nanos(commit) / f64::from(ROUNDS) - round_trip).max(0.0),
        hand_off: hand_off / f64::from(HAND_OVERS),
    })
}

/// Asks the server until the session waits for a lock.
async fn until_waiting(watcher: &mut PgConnection, pid: i32, clock: &Clock) -> Result<(), DbError> {
    let began = clock.elapsed();
    while clock.elapsed() - began < ASKED_MAX {
        if waits(watcher, pid).await.map_err(failed)? {
            return Ok(());
        }
    }
    let message = format!("session {pid} did not wait for a lock that is taken");
    Err(DbError { class: drift_engine::session::ErrorClass::Other, code: None, message, during: Kind::Lock })
}

async fn send(connection: &mut PgConnection, sql: &'static str) -> Result<(), DbError> {
    sqlx::raw_sql(sql).execute(connection).await.map(drop).map_err(failed)
}

async fn timed(clock: &Clock, connection: &mut PgConnection, sql: &'static str) -> Result<Duration, DbError> {
    let began = clock.elapsed();
    send(connection, sql).await?;
    Ok(clock.elapsed() - began)
}

fn failed(error: sqlx::Error) -> DbError {
    classify(error, Kind::Read)
}

fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_is_the_lock_s_or_the_workers_whichever_is_lower() {
        let server = ServerTimes { round_trip: 5e4, flush: 1e6, hand_off: 1e5 };
        let calibration = Calibration { server: Some(server), service_alone: 2e6, in_lock_alone: 9e5, floor: None };
        let load = |workers, keys| Load {
            arrivals: Arrivals::Closed,
            workers,
            pool: None,
            keys,
            key_count: 4,
            round_trip_added: Duration::ZERO,
            warm_up: Duration::ZERO,
            duration: ALONE,
            drain: Duration::ZERO,
            seed: 1,
        };
        let of = |workers, keys, one| calibration.ceiling(&load(workers, keys), one);
        assert_eq!(of(16, KeyChoice::One, false), Ceiling { one_key: 1_000.0, whole: 1_000.0 });
        assert_eq!(of(16, KeyChoice::Uniform, false).whole, 4_000.0);
        assert_eq!(of(16, KeyChoice::Uniform, true).whole, 1_000.0);
        assert_eq!(of(1, KeyChoice::One, false).whole, 500.0);
        let pooled = Load { pool: Some(1), ..load(16, KeyChoice::One) };
        assert_eq!(calibration.ceiling(&pooled, false).whole, 500.0);
    }
}
