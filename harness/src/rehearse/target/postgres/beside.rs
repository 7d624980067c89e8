//! Companions on PostgreSQL: who else has sessions there while a migration runs.

use std::time::Duration;

use drift_engine::postgres::classify;
use drift_engine::session::{DbError, Kind};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::database::postgres::PgDatabase;
use crate::rehearse::companion::{Companion, ReplicaLock};
use crate::rehearse::fill::ARCHIVE;

/// The advisory lock that replicas exclude each other with.
const REPLICA_KEY: i64 = 0x6d69_6772;
/// How often a replica asks that does not wait in the lock.
const POLL_EVERY: Duration = Duration::from_millis(100);
/// How many replicas there are beside the one that migrates.
pub const REPLICAS: usize = 2;

/// A companion, standing.
pub struct Beside {
    /// Its sessions.
    pub sessions: Vec<i64>,
    /// Dropping it ends the companion.
    ends: DropGuard,
    tasks: Vec<JoinHandle<Result<(), DbError>>>,
}

/// What a companion does once it stands.
enum Part {
    /// Ends its transaction after a while.
    Idle,
    Vacuum,
    Build,
    Waits(ReplicaLock),
    /// Removes these rows.
    Removes(Vec<i64>),
}

impl Beside {
    /// Lets a companion take its place, and returns when it stands; it holds on for `hold`, at the most.
    ///
    /// # Errors
    /// The database cannot be reached, or refuses.
    pub async fn stand(
        companion: Companion,
        database: &PgDatabase,
        lock: ReplicaLock,
        hold: Duration,
    ) -> Result<Self, DbError> {
        let token = CancellationToken::new();
        // One that stands ends too where the next one cannot.
        let ends = token.clone().drop_guard();
        let (mut sessions, mut tasks) = (Vec::new(), Vec::new());
        let count = if companion == Companion::Replicas { REPLICAS } else { 1 };
        for _ in 0..count {
            let mut connection = database.plain().await?;
            let failed = |error| classify(error, Kind::Begin);
            let pid: i32 =
                sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await.map_err(failed)?;
            let part = prepare(companion, lock, &mut connection).await?;
            sessions.push(i64::from(pid));
            let ends = token.clone();
            tasks.push(tokio::spawn(async move {
                play(part, connection, ends, hold).await.map_err(|error| classify(error, Kind::Write))
            }));
        }
        Ok(Self { sessions, ends, tasks })
    }

    /// Ends it, and says what the database refused it, if anything.
    ///
    /// # Panics
    /// The companion panicked.
    pub async fn end(self) -> Vec<DbError> {
        drop(self.ends);
        let mut refused = Vec::new();
        for task in self.tasks {
            refused.extend(task.await.expect("a companion neither panics nor is aborted").err());
        }
        refused
    }
}

/// Takes the migrating replica's lock.
///
/// # Errors
/// The database refuses.
pub async fn lead(connection: &mut PgConnection) -> Result<(), DbError> {
    let lock = format!("SELECT pg_advisory_lock({REPLICA_KEY})");
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(connection).await.map_err(|e| classify(e, Kind::Lock)).map(drop)
}

/// Gives it back.
///
/// # Errors
/// The database refuses.
pub async fn follow(connection: &mut PgConnection) -> Result<(), DbError> {
    let unlock = format!("SELECT pg_advisory_unlock({REPLICA_KEY})");
    sqlx::raw_sql(AssertSqlSafe(unlock)).execute(connection).await.map_err(|e| classify(e, Kind::Unlock)).map(drop)
}

async fn prepare(companion: Companion, lock: ReplicaLock, connection: &mut PgConnection) -> Result<Part, DbError> {
    let work = async {
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
             ORDER BY c.oid",
        )
        .fetch_all(&mut *connection)
        .await?;
        let lock_all = |mode: &str| {
            let one = |table: &String| format!("LOCK TABLE {table} IN {mode} MODE;");
            tables.iter().map(one).collect::<String>()
        };
        let begin = match companion {
            Companion::IdleReader => format!("BEGIN; {}", lock_all("ACCESS SHARE")),
            // A writer has a number, and every other writer's snapshot knows of it.
            Companion::IdleWriter => format!("BEGIN; {} SELECT txid_current();", lock_all("ROW EXCLUSIVE")),
            Companion::IdleSnapshot => {
                "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM pg_class LIMIT 1;".to_owned()
            }
            Companion::Dump => {
                format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {}", lock_all("ACCESS SHARE"))
            }
            Companion::Vacuum => return Ok(Part::Vacuum),
            Companion::SecondBuild => return Ok(Part::Build),
            Companion::Replicas => return Ok(Part::Waits(lock)),
            Companion::Duplicates => return duplicate(connection).await.map(Part::Removes),
        };
        sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut *connection).await?;
        Ok(Part::Idle)
    };
    work.await.map_err(|error: sqlx::Error| classify(error, Kind::Begin))
}

/// Puts an event of the archive there twice, unless something forbids it already.
async fn duplicate(connection: &mut PgConnection) -> Result<Vec<i64>, sqlx::Error> {
    let columns = "customer_id, run_id, payer, cpt_group, drift_type, baseline_value, current_value, delta, \
                   severity, confidence, baseline_start, baseline_end, current_start, current_end";
    let insert = format!(
        "INSERT INTO drift_events ({columns}) SELECT {columns} FROM drift_events \
         WHERE customer_id = {ARCHIVE} ORDER BY id LIMIT 1 RETURNING id"
    );
    match sqlx::query_scalar(AssertSqlSafe(insert)).fetch_all(connection).await {
        Ok(ids) => Ok(ids),
        Err(error) if error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("23505")) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

async fn play(
    part: Part,
    mut connection: PgConnection,
    ends: CancellationToken,
    hold: Duration,
) -> Result<(), sqlx::Error> {
    match part {
        Part::Idle => {
            let _ = tokio::time::timeout(hold, ends.cancelled()).await;
            sqlx::raw_sql("ROLLBACK").execute(&mut connection).await?;
        }
        Part::Vacuum => {
            while !ends.is_cancelled() {
                sqlx::raw_sql("VACUUM").execute(&mut connection).await?;
            }
        }
        Part::Build => {
            let name = "driftlock_second_build";
            let build = format!("CREATE INDEX CONCURRENTLY {name} ON drift_events (severity)");
            let built = sqlx::raw_sql(AssertSqlSafe(build)).execute(&mut connection).await;
            ends.cancelled().await;
            let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {name}");
            sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut connection).await?;
            built?;
        }
        Part::Waits(ReplicaLock::Blocking) => {
            lead_for(&mut connection).await?;
        }
        Part::Waits(ReplicaLock::Polled) => {
            let ask = format!("SELECT pg_try_advisory_lock({REPLICA_KEY})");
            while !sqlx::query_scalar::<_, bool>(AssertSqlSafe(ask.clone())).fetch_one(&mut connection).await?
                && !ends.is_cancelled()
            {
                tokio::time::sleep(POLL_EVERY).await;
            }
        }
        Part::Removes(ids) => {
            ends.cancelled().await;
            sqlx::query("DELETE FROM drift_events WHERE id = ANY($1)").bind(ids).execute(&mut connection).await?;
        }
    }
    // Whatever it still has goes with its session.
    connection.close().await
}

async fn lead_for(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let lock = format!("SELECT pg_advisory_lock({REPLICA_KEY})");
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(connection).await.map(drop)
}
