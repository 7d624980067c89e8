//! The advisory lock of a migration: asked for, never waited in.
//!
//! A session that waits in `pg_advisory_lock` holds a snapshot, a concurrent build in the session that has the
//! lock waits for that snapshot, and so the two wait for each other.

use std::time::Duration;

use sqlx::postgres::{PgAdvisoryLock, PgAdvisoryLockGuard, PgAdvisoryLockKey};
use sqlx::{Either, PgConnection};

use super::super::{Limits, MigrateError, Report};
use super::BACKEND;

/// The lock, held. Dropping it gives the lock back as soon as the connection is used again.
pub(super) struct Held<'c> {
    lock: PgAdvisoryLock,
    guard: PgAdvisoryLockGuard<&'c mut PgConnection>,
}

impl Held<'_> {
    /// The connection that holds it.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.guard.as_mut()
    }

    /// Gives the lock back.
    pub(super) async fn release(self) -> Result<(), MigrateError> {
        let failed = MigrateError::database(BACKEND, "give the migration lock back");
        let (_, released) = self.lock.force_release(self.guard.leak()).await.map_err(failed)?;
        if released { Ok(()) } else { Err(MigrateError::LockLost) }
    }
}

/// Asks until the lock is granted, within the limits.
pub(super) async fn acquire<'c>(
    mut conn: &'c mut PgConnection,
    limits: &Limits,
    report: &mut Report,
) -> Result<Held<'c>, MigrateError> {
    let failed = |error| MigrateError::database(BACKEND, "ask for the migration lock")(error);
    let database: String =
        sqlx::query_scalar("SELECT current_database()::text").fetch_one(&mut *conn).await.map_err(failed)?;
    let key = key_of(&database);
    let lock = PgAdvisoryLock::with_key(PgAdvisoryLockKey::BigInt(key));
    let polls = limits.polls_max(Duration::ZERO);
    for poll in 1..=polls {
        conn = match lock.try_acquire(conn).await.map_err(failed)? {
            Either::Left(guard) => return Ok(Held { lock, guard }),
            Either::Right(conn) => conn,
        };
        report.refusals += 1;
        if poll < polls {
            tokio::time::sleep(limits.poll_every).await;
        }
    }
    let holder = holder(conn, key).await.map_err(failed)?;
    Err(MigrateError::Locked { holder, polls, poll_every: limits.poll_every })
}

/// The backend that has the lock. A 64-bit key is shown in two halves, with objsubid 1.
async fn holder(conn: &mut PgConnection, key: i64) -> Result<Option<i32>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT pid FROM pg_locks
         WHERE locktype = 'advisory' AND objsubid = 1 AND granted
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
             AND classid::int8 = ($1 >> 32) & 4294967295 AND objid::int8 = $1 & 4294967295",
    )
    .bind(key)
    .fetch_optional(conn)
    .await
}

/// The key that sqlx derives from the database's name, so that `sqlx migrate` by hand and this exclude each other.
fn key_of(database: &str) -> i64 {
    0x3d32_ad9e * i64::from(crc32(database.as_bytes()))
}

/// CRC-32 as in ISO 3309, reflected, bit by bit: the names are short.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_answers_its_standard_check() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
