//! The engine's session on PostgreSQL, over a connection that the caller opened.
//!
//! The statements of a task are prepared when the session is made, so that each operation is one
//! round trip also the first time. PostgreSQL answers COMMIT of an aborted transaction with success and the tag
//! ROLLBACK, which the driver does not hand over: the session follows the errors itself.

pub mod text;

use sqlx::postgres::PgRow;
use sqlx::{Executor, PgConnection, Row, SqlSafeStr};

use crate::claim::{Claim, CustomerId};
use crate::drift::Signal;
use crate::op::{Changes, Lock, OnConflict, Op, Reply, Scope, Strength, Wait};
use crate::policy::Windows;
use crate::rows::dates;
use crate::run::{Identity, RunId};
use crate::session::{DbError, ErrorClass, Kind, Operation, Session, SessionId};

/// Advisory locks of customers are this plus the customer's id: "drif" in ASCII, in the upper half.
const ADVISORY_BASE: i64 = 0x6472_6966 << 32;

/// The key of the advisory lock that stands for a customer.
pub fn advisory_key(customer: CustomerId) -> i64 {
    ADVISORY_BASE.wrapping_add(customer.0)
}

const READ_CLAIMS: &str = "\
SELECT payer, cpt_group, submitted_on >= $3::text::date AS is_current, outcome, \
       (decided_on - submitted_on)::bigint AS decision_days, count(*) AS claims \
FROM claims \
WHERE customer_id = $1::bigint AND submitted_on >= $2::text::date AND submitted_on < $4::text::date \
      AND outcome IN ('PAID', 'DENIED') \
GROUP BY payer, cpt_group, is_current, outcome, decision_days";

/// `same` is false for a run that has the name and is about something else.
const OPEN_RUN: &str = "\
WITH opened AS ( \
  INSERT INTO drift_runs (id, customer_id, as_of, baseline_days, current_days, min_volume, fresh, status) \
  VALUES ($1::text, $2::bigint, $3::text::date, $4::int, $5::int, $6::int, $7::bool, 'running') \
  ON CONFLICT DO NOTHING RETURNING id, status \
), found AS ( \
  SELECT id, status, (customer_id, as_of, baseline_days, current_days, min_volume, fresh) \
       = ($2::bigint, $3::text::date, $4::int, $5::int, $6::int, $7::bool) AS same \
  FROM drift_runs \
  WHERE id = $1::text OR (NOT fresh AND NOT $7::bool AND (customer_id, as_of, baseline_days, current_days, min_volume) \
      = ($2::bigint, $3::text::date, $4::int, $5::int, $6::int)) \
) \
SELECT id, status, true AS same FROM opened UNION ALL SELECT id, status, same FROM found \
ORDER BY same DESC LIMIT 1";

const CLOSE_RUN: &str =
    "UPDATE drift_runs SET status = 'succeeded', failure = NULL WHERE id = $1::text AND status <> 'succeeded'";

const FAIL_RUN: &str = "\
WITH created AS ( \
  INSERT INTO drift_runs (id, customer_id, as_of, baseline_days, current_days, min_volume, fresh, status, failure) \
  VALUES ($1::text, $2::bigint, $3::text::date, $4::int, $5::int, $6::int, $7::bool, 'failed', $8::text) \
  ON CONFLICT DO NOTHING \
) \
UPDATE drift_runs SET status = 'failed', failure = $8::text \
WHERE status <> 'succeeded' AND fresh = $7::bool AND (NOT fresh OR id = $1::text) \
  AND (customer_id, as_of, baseline_days, current_days, min_volume) \
    = ($2::bigint, $3::text::date, $4::int, $5::int, $6::int)";

const READ_EVENTS: &str = "\
SELECT payer, cpt_group, drift_type, baseline_value, current_value, delta, severity, confidence \
FROM drift_events WHERE run_id = $1::text ORDER BY payer COLLATE \"C\", cpt_group COLLATE \"C\", drift_type DESC";

const INSERT_CLAIM: &str = "\
INSERT INTO claims (customer_id, payer, cpt_group, outcome, submitted_on, decided_on) \
VALUES ($1::bigint, $2::text, $3::text, $4::text, $5::text::date, $6::text::date)";

const LOCK_ADVISORY: &str = "SELECT pg_advisory_xact_lock($1::bigint)::text";
const LOCK_ADVISORY_SESSION: &str = "SELECT pg_advisory_lock($1::bigint)::text";
const UNLOCK_ADVISORY: &str = "SELECT pg_advisory_unlock($1::bigint)";

/// Begins every write of events: what comes in, and the removal of what is no longer true.
macro_rules! write_events {
    ($($rest:literal),+) => {
        concat!(
            "WITH incoming AS ( \
               SELECT * FROM unnest($7::text[], $8::text[], $9::text[], $10::float8[], $11::float8[], \
                                    $12::float8[], $13::float8[], $14::float8[]) \
                 AS t(payer, cpt_group, drift_type, baseline_value, current_value, delta, severity, confidence) \
             ), withdrawn AS ( \
               DELETE FROM drift_events e WHERE e.customer_id = $1::bigint AND e.run_id = $2::text \
                 AND NOT EXISTS (SELECT FROM incoming i WHERE (i.payer, i.cpt_group, i.drift_type) \
                                                            = (e.payer, e.cpt_group, e.drift_type)) \
               RETURNING 1 \
             ), written AS ( \
               INSERT INTO drift_events AS e (customer_id, run_id, payer, cpt_group, drift_type, baseline_value, \
                 current_value, delta, severity, confidence, baseline_start, baseline_end, current_start, current_end) \
               SELECT $1::bigint, $2::text, i.payer, i.cpt_group, i.drift_type, i.baseline_value, i.current_value, \
                 i.delta, i.severity, i.confidence, $3::text::date, $4::text::date, $5::text::date, $6::text::date \
               FROM incoming i ",
            $($rest),+
        )
    };
}

const WRITE_EVENTS_UPDATE: &str = write_events!(
    "ON CONFLICT (customer_id, run_id, payer, cpt_group, drift_type) DO UPDATE \
     SET baseline_value = excluded.baseline_value, current_value = excluded.current_value, \
         delta = excluded.delta, severity = excluded.severity, confidence = excluded.confidence \
     WHERE (e.baseline_value, e.current_value, e.delta, e.severity, e.confidence) IS DISTINCT FROM \
           (excluded.baseline_value, excluded.current_value, excluded.delta, excluded.severity, excluded.confidence) \
     RETURNING xmax = 0 AS is_new \
     ) SELECT (SELECT count(*) FROM written WHERE is_new), (SELECT count(*) FROM written WHERE NOT is_new), \
              (SELECT count(*) FROM withdrawn)"
);

const WRITE_EVENTS_NOTHING: &str = write_events!(
    "ON CONFLICT (customer_id, run_id, payer, cpt_group, drift_type) DO NOTHING RETURNING 1 \
     ) SELECT (SELECT count(*) FROM written), 0::bigint, (SELECT count(*) FROM withdrawn)"
);

const WRITE_EVENTS_ERROR: &str = write_events!(
    "WHERE NOT EXISTS (SELECT FROM drift_events x WHERE x.customer_id = $1::bigint AND x.run_id = $2::text \
        AND (x.payer, x.cpt_group, x.drift_type) = (i.payer, i.cpt_group, i.drift_type)) RETURNING 1 \
     ), updated AS ( \
       UPDATE drift_events e SET baseline_value = i.baseline_value, current_value = i.current_value, \
         delta = i.delta, severity = i.severity, confidence = i.confidence FROM incoming i \
       WHERE e.customer_id = $1::bigint AND e.run_id = $2::text \
         AND (e.payer, e.cpt_group, e.drift_type) = (i.payer, i.cpt_group, i.drift_type) \
         AND (e.baseline_value, e.current_value, e.delta, e.severity, e.confidence) IS DISTINCT FROM \
             (i.baseline_value, i.current_value, i.delta, i.severity, i.confidence) \
       RETURNING 1 \
     ) SELECT (SELECT count(*) FROM written), (SELECT count(*) FROM updated), (SELECT count(*) FROM withdrawn)"
);

/// The statement that locks a customer's row.
fn lock_row(strength: Strength, wait: Wait) -> &'static str {
    macro_rules! lock {
        ($clause:literal) => {
            match wait {
                Wait::Block => concat!("SELECT id FROM customers WHERE id = $1::bigint ", $clause),
                Wait::NoWait => concat!("SELECT id FROM customers WHERE id = $1::bigint ", $clause, " NOWAIT"),
                Wait::SkipLocked => {
                    concat!("SELECT id FROM customers WHERE id = $1::bigint ", $clause, " SKIP LOCKED")
                }
            }
        };
    }
    match strength {
        Strength::KeyShare => lock!("FOR KEY SHARE"),
        Strength::Share => lock!("FOR SHARE"),
        Strength::NoKeyUpdate => lock!("FOR NO KEY UPDATE"),
        Strength::Update => lock!("FOR UPDATE"),
    }
}

/// What the server thinks of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transaction {
    None,
    Open,
    Aborted,
}

/// A session on PostgreSQL.
#[derive(Debug)]
pub struct PgSession {
    connection: PgConnection,
    id: SessionId,
    transaction: Transaction,
}

impl PgSession {
    /// Makes a session of a connection: asks for the backend's process id and prepares the statements.
    ///
    /// # Errors
    /// The connection fails, or the schema is not there.
    pub async fn open(mut connection: PgConnection) -> Result<Self, DbError> {
        let opening = |error| classify(error, Kind::Begin);
        let pid: i32 =
            sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await.map_err(opening)?;
        let statements = [
            lock_row(Strength::NoKeyUpdate, Wait::Block),
            lock_row(Strength::Update, Wait::Block),
            LOCK_ADVISORY,
            OPEN_RUN,
            READ_CLAIMS,
            WRITE_EVENTS_UPDATE,
            CLOSE_RUN,
            INSERT_CLAIM,
        ];
        for sql in statements {
            connection.prepare(sql.into_sql_str()).await.map_err(opening)?;
        }
        Ok(Self { connection, id: SessionId(i64::from(pid)), transaction: Transaction::None })
    }

    /// The connection, for a statement that is none of the protocol's.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Gives the connection back.
    pub fn into_inner(self) -> PgConnection {
        self.connection
    }

    async fn carry_out(&mut self, op: Op) -> Result<Reply, sqlx::Error> {
        let connection = &mut self.connection;
        match op {
            Op::Begin { immediate: true, .. } => {
                return Err(sqlx::Error::Configuration("PostgreSQL has no BEGIN IMMEDIATE".into()));
            }
            Op::Begin { isolation, .. } => {
                sqlx::raw_sql(text::begin(isolation)).execute(connection).await?;
                self.transaction = Transaction::Open;
            }
            Op::Lock(Lock::Row { customer, strength, wait }) => {
                let row = sqlx::query(lock_row(strength, wait)).bind(customer.0).fetch_optional(connection).await?;
                return Ok(Reply::Locked(row.is_some()));
            }
            Op::Lock(Lock::Advisory { customer, scope }) => {
                let sql = match scope {
                    Scope::Transaction => LOCK_ADVISORY,
                    Scope::Session => LOCK_ADVISORY_SESSION,
                };
                sqlx::query(sql).bind(advisory_key(customer)).execute(connection).await?;
                return Ok(Reply::Locked(true));
            }
            Op::Unlock { customer } => {
                sqlx::query(UNLOCK_ADVISORY).bind(advisory_key(customer)).execute(connection).await?;
            }
            Op::OpenRun { identity, id, fresh } => {
                let query = bind_run(sqlx::query(OPEN_RUN), &identity, &id, fresh);
                let row = query.fetch_optional(connection).await?;
                return Ok(Reply::Opened(row.as_ref().map(opened).transpose()?));
            }
            Op::ReadClaims { customer, windows } => {
                let [baseline_start, current_start, current_end] = dates(&windows);
                let query = sqlx::query(READ_CLAIMS).bind(customer.0);
                let rows =
                    query.bind(baseline_start).bind(current_start).bind(current_end).fetch_all(connection).await?;
                return Ok(Reply::Claims(rows.iter().map(cell).collect::<Result<_, _>>()?));
            }
            Op::WriteEvents { customer, run, windows, signals, on_conflict } => {
                let sql = match on_conflict {
                    OnConflict::Update => WRITE_EVENTS_UPDATE,
                    OnConflict::Nothing => WRITE_EVENTS_NOTHING,
                    OnConflict::Error => WRITE_EVENTS_ERROR,
                };
                return write_events(connection, sql, customer, &run, &windows, &signals).await.map(Reply::Written);
            }
            Op::CloseRun { run } => {
                sqlx::query(CLOSE_RUN).bind(run.as_str().to_owned()).execute(connection).await?;
            }
            Op::FailRun { identity, id, fresh, reason } => {
                let query = bind_run(sqlx::query(FAIL_RUN), &identity, &id, fresh);
                query.bind(String::from(&*reason)).execute(connection).await?;
            }
            Op::ReadEvents { run } => {
                let rows = sqlx::query(READ_EVENTS).bind(run.as_str().to_owned()).fetch_all(connection).await?;
                return Ok(Reply::Events(rows.iter().map(signal).collect::<Result<_, _>>()?));
            }
            Op::InsertClaim { customer, claim } => insert_claim(connection, customer, &claim).await?,
            Op::Savepoint => {
                sqlx::raw_sql("SAVEPOINT driftlock").execute(connection).await?;
            }
            Op::RollbackTo => {
                sqlx::raw_sql("ROLLBACK TO SAVEPOINT driftlock").execute(connection).await?;
                self.transaction = Transaction::Open;
            }
            Op::Commit => {
                sqlx::raw_sql("COMMIT").execute(connection).await?;
                let aborted = std::mem::replace(&mut self.transaction, Transaction::None) == Transaction::Aborted;
                return Ok(if aborted { Reply::RolledBack } else { Reply::Committed });
            }
            Op::Rollback => {
                if self.transaction != Transaction::None {
                    sqlx::raw_sql("ROLLBACK").execute(connection).await?;
                    self.transaction = Transaction::None;
                }
                return Ok(Reply::RolledBack);
            }
            Op::Pause(delay) => tokio::time::sleep(delay).await,
        }
        Ok(Reply::Done)
    }
}

impl Session for PgSession {
    type Op = Op;
    type Reply = Reply;

    fn id(&self) -> SessionId {
        self.id
    }

    async fn call(&mut self, op: Op) -> Result<Reply, DbError> {
        let kind = op.kind();
        self.carry_out(op).await.map_err(|error| {
            let refused = matches!(error, sqlx::Error::Database(_));
            if kind == Kind::Commit {
                // A COMMIT that fails has ended the transaction.
                self.transaction = Transaction::None;
            } else if refused && self.transaction == Transaction::Open {
                self.transaction = Transaction::Aborted;
            }
            classify(error, kind)
        })
    }
}

type PgQuery = sqlx::query::Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments>;

fn bind_run(query: PgQuery, identity: &Identity, id: &RunId, fresh: bool) -> PgQuery {
    let policy = identity.policy;
    query
        .bind(id.as_str().to_owned())
        .bind(identity.customer.0)
        .bind(identity.as_of.to_string())
        .bind(int(policy.baseline_days()))
        .bind(int(policy.current_days()))
        .bind(int(policy.min_volume()))
        .bind(fresh)
}

fn int(number: u32) -> i32 {
    i32::try_from(number).expect("a policy's numbers are bounded")
}

async fn write_events(
    connection: &mut PgConnection,
    sql: &'static str,
    customer: CustomerId,
    run: &RunId,
    windows: &Windows,
    signals: &[Signal],
) -> Result<Changes, sqlx::Error> {
    let [baseline_start, current_start, current_end] = dates(windows);
    let texts = |f: fn(&Signal) -> &str| signals.iter().map(|s| f(s).to_owned()).collect::<Vec<_>>();
    let numbers = |f: fn(&Signal) -> f64| signals.iter().map(f).collect::<Vec<_>>();
    let row = sqlx::query(sql)
        .bind(customer.0)
        .bind(run.as_str().to_owned())
        .bind(baseline_start)
        .bind(current_start.clone())
        .bind(current_start)
        .bind(current_end)
        .bind(texts(|s| &s.payer))
        .bind(texts(|s| &s.cpt_group))
        .bind(texts(|s| s.drift_type.as_str()))
        .bind(numbers(|s| s.baseline_value))
        .bind(numbers(|s| s.current_value))
        .bind(numbers(|s| s.delta))
        .bind(numbers(|s| s.severity))
        .bind(numbers(|s| s.confidence))
        .fetch_one(connection)
        .await?;
    let count = |index: usize| row.try_get::<i64, _>(index).map(i64::unsigned_abs);
    Ok(Changes { inserted: count(0)?, updated: count(1)?, withdrawn: count(2)? })
}

async fn insert_claim(connection: &mut PgConnection, customer: CustomerId, claim: &Claim) -> Result<(), sqlx::Error> {
    sqlx::query(INSERT_CLAIM)
        .bind(customer.0)
        .bind(String::from(&*claim.payer))
        .bind(String::from(&*claim.cpt_group))
        .bind(String::from(&*claim.outcome))
        .bind(claim.submitted_on.to_string())
        .bind(claim.decided_on.map(|date| date.to_string()))
        .execute(connection)
        .await
        .map(drop)
}

crate::rows::decoders!(PgRow);

/// Classifies a driver's error by its SQLSTATE, or as a lost connection.
pub fn classify(error: sqlx::Error, during: Kind) -> DbError {
    match &error {
        sqlx::Error::Database(database) => {
            let code = database.code().map(String::from);
            let class = code.as_deref().map_or(ErrorClass::Other, ErrorClass::of_sqlstate);
            DbError { class, code, message: database.message().to_owned(), during }
        }
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            DbError { class: ErrorClass::Lost, code: None, message: error.to_string(), during }
        }
        _ => DbError { class: ErrorClass::Other, code: None, message: error.to_string(), during },
    }
}
