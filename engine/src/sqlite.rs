//! The engine's session on SQLite, over a connection that the caller opened.
//!
//! SQLite has no row locks: [`Op::Lock`] is refused, where many libraries let `FOR UPDATE` silently be
//! nothing. The lock is `BEGIN IMMEDIATE`. There is no network, so one
//! operation may take a few statements; whoever holds the write lock is alone with them.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::claim::{Claim, CustomerId};
use crate::drift::{Signal, SignalKey};
use crate::op::{Changes, OnConflict, Op, Reply};
use crate::policy::Windows;
use crate::rows::dates;
use crate::run::{Identity, RunId};
use crate::session::{DbError, ErrorClass, Kind, Operation, Session, SessionId};

/// Rows in one INSERT: 14 parameters each, well below SQLite's limit of 32,766 in a statement.
const ROWS_MAX: usize = 1_000;

const READ_CLAIMS: &str = "\
SELECT payer, cpt_group, submitted_on >= $3 AS is_current, outcome, \
       CAST(julianday(decided_on) - julianday(submitted_on) AS INTEGER) AS decision_days, count(*) AS claims \
FROM claims \
WHERE customer_id = $1 AND submitted_on >= $2 AND submitted_on < $4 AND outcome IN ('PAID', 'DENIED') \
GROUP BY payer, cpt_group, is_current, outcome, decision_days";

const CREATE_RUN: &str = "\
INSERT INTO drift_runs (id, customer_id, as_of, baseline_days, current_days, min_volume, fresh, status, failure) \
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";

const FIND_RUN: &str = "\
SELECT id, status, (customer_id, as_of, baseline_days, current_days, min_volume, fresh) = ($2, $3, $4, $5, $6, $7) AS same \
FROM drift_runs \
WHERE id = $1 OR (NOT fresh AND NOT $7 AND (customer_id, as_of, baseline_days, current_days, min_volume) \
    = ($2, $3, $4, $5, $6)) \
ORDER BY same DESC LIMIT 1";

const CLOSE_RUN: &str =
    "UPDATE drift_runs SET status = 'succeeded', failure = NULL WHERE id = $1 AND status <> 'succeeded'";

const FAIL_RUN: &str = "\
UPDATE drift_runs SET status = 'failed', failure = $8 \
WHERE status <> 'succeeded' AND fresh = $7 AND (NOT fresh OR id = $1) \
  AND (customer_id, as_of, baseline_days, current_days, min_volume) = ($2, $3, $4, $5, $6)";

const READ_EVENTS: &str = "\
SELECT id, payer, cpt_group, drift_type, baseline_value, current_value, delta, severity, confidence \
FROM drift_events WHERE run_id = $1 ORDER BY payer, cpt_group, drift_type DESC, id";

const INSERT_CLAIM: &str = "\
INSERT INTO claims (customer_id, payer, cpt_group, outcome, submitted_on, decided_on) VALUES ($1, $2, $3, $4, $5, $6)";

/// A session on SQLite.
#[derive(Debug)]
pub struct SqliteSession {
    connection: SqliteConnection,
    id: SessionId,
    in_transaction: bool,
}

impl SqliteSession {
    /// Makes a session of a connection; SQLite does not number its connections, so the caller does.
    pub fn new(connection: SqliteConnection, id: SessionId) -> Self {
        Self { connection, id, in_transaction: false }
    }

    /// Gives the connection back.
    pub fn into_inner(self) -> SqliteConnection {
        self.connection
    }

    async fn carry_out(&mut self, op: Op) -> Result<Reply, sqlx::Error> {
        let connection = &mut self.connection;
        match op {
            Op::Begin { immediate, .. } => {
                let begin = if immediate { "BEGIN IMMEDIATE" } else { "BEGIN DEFERRED" };
                sqlx::raw_sql(begin).execute(connection).await?;
                self.in_transaction = true;
            }
            Op::Lock(_) | Op::Unlock { .. } => {
                return Err(sqlx::Error::Configuration("SQLite has no row locks and no advisory locks".into()));
            }
            Op::OpenRun { identity, id, fresh } => {
                let create = bind_run(sqlx::query(CREATE_RUN), &identity, &id, fresh);
                create.bind("running").bind(None::<String>).execute(&mut *connection).await?;
                let find = bind_run(sqlx::query(FIND_RUN), &identity, &id, fresh);
                let row = find.fetch_optional(connection).await?;
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
                let write = Write { customer, run: &run, windows: &windows, signals: &signals, on_conflict };
                return write.carry_out(connection).await.map(Reply::Written);
            }
            Op::CloseRun { run } => {
                sqlx::query(CLOSE_RUN).bind(run.as_str().to_owned()).execute(connection).await?;
            }
            Op::FailRun { identity, id, fresh, reason } => {
                let reason = String::from(&*reason);
                let create = bind_run(sqlx::query(CREATE_RUN), &identity, &id, fresh);
                create.bind("failed").bind(reason.clone()).execute(&mut *connection).await?;
                bind_run(sqlx::query(FAIL_RUN), &identity, &id, fresh).bind(reason).execute(connection).await?;
            }
            Op::ReadEvents { run } => {
                let stored = read_events(connection, &run).await?;
                return Ok(Reply::Events(stored.into_iter().map(|(_, signal)| signal).collect()));
            }
            Op::InsertClaim { customer, claim } => insert_claim(connection, customer, &claim).await?,
            Op::Savepoint => {
                sqlx::raw_sql("SAVEPOINT driftlock").execute(connection).await?;
            }
            Op::RollbackTo => {
                sqlx::raw_sql("ROLLBACK TO SAVEPOINT driftlock").execute(connection).await?;
            }
            Op::Commit => {
                sqlx::raw_sql("COMMIT").execute(connection).await?;
                self.in_transaction = false;
                return Ok(Reply::Committed);
            }
            Op::Rollback => {
                if std::mem::take(&mut self.in_transaction) {
                    rollback(connection).await?;
                }
                return Ok(Reply::RolledBack);
            }
            Op::Pause(delay) => tokio::time::sleep(delay).await,
        }
        Ok(Reply::Done)
    }
}

impl Session for SqliteSession {
    type Op = Op;
    type Reply = Reply;

    fn id(&self) -> SessionId {
        self.id
    }

    async fn call(&mut self, op: Op) -> Result<Reply, DbError> {
        let kind = op.kind();
        self.carry_out(op).await.map_err(|error| classify(error, kind))
    }
}

/// Rolls back; SQLite may have done so by itself after an error (a full disk, say), and then answers
/// with the generic code 1, which ROLLBACK has no other use for.
async fn rollback(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    match sqlx::raw_sql("ROLLBACK").execute(connection).await {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("1") => Ok(()),
        other => other.map(drop),
    }
}

type SqliteQuery = sqlx::query::Query<'static, Sqlite, sqlx::sqlite::SqliteArguments>;

fn bind_run(query: SqliteQuery, identity: &Identity, id: &RunId, fresh: bool) -> SqliteQuery {
    let policy = identity.policy;
    query
        .bind(id.as_str().to_owned())
        .bind(identity.customer.0)
        .bind(identity.as_of.to_string())
        .bind(i64::from(policy.baseline_days()))
        .bind(i64::from(policy.current_days()))
        .bind(i64::from(policy.min_volume()))
        .bind(fresh)
}

/// One write of events.
struct Write<'a> {
    customer: CustomerId,
    run: &'a RunId,
    windows: &'a Windows,
    signals: &'a [Signal],
    on_conflict: OnConflict,
}

impl Write<'_> {
    /// Compares with what is there, and sends only what differs: one statement a thousand events.
    async fn carry_out(&self, connection: &mut SqliteConnection) -> Result<Changes, sqlx::Error> {
        let mut stored: BTreeMap<SignalKey, (i64, Signal)> = BTreeMap::new();
        for (id, signal) in read_events(connection, self.run).await? {
            stored.insert(signal.key(), (id, signal));
        }
        let (mut changes, mut inserts, mut updates) = (Changes::default(), Vec::new(), Vec::new());
        for signal in self.signals {
            match stored.remove(&signal.key()) {
                None => {
                    changes.inserted += 1;
                    inserts.push(signal);
                }
                Some((id, old)) if old != *signal && self.on_conflict != OnConflict::Nothing => {
                    changes.updated += 1;
                    updates.push((id, signal));
                }
                Some(_) => {}
            }
        }
        let stale: Vec<i64> = stored.into_values().map(|(id, _)| id).collect();
        for ids in stale.chunks(ROWS_MAX) {
            let mut delete = QueryBuilder::new("DELETE FROM drift_events WHERE id IN (");
            let mut list = delete.separated(", ");
            for id in ids {
                list.push_bind(*id);
            }
            changes.withdrawn += delete.push(")").build().execute(&mut *connection).await?.rows_affected();
        }
        for signals in inserts.chunks(ROWS_MAX) {
            self.insert(connection, signals).await?;
        }
        for changed in updates.chunks(ROWS_MAX) {
            update(connection, changed).await?;
        }
        Ok(changes)
    }

    async fn insert(&self, connection: &mut SqliteConnection, signals: &[&Signal]) -> Result<(), sqlx::Error> {
        let [baseline_start, current_start, current_end] = dates(self.windows);
        let mut insert = QueryBuilder::new(
            "INSERT INTO drift_events (customer_id, run_id, payer, cpt_group, drift_type, baseline_value, \
             current_value, delta, severity, confidence, baseline_start, baseline_end, current_start, current_end) ",
        );
        insert.push_values(signals, |mut row, signal| {
            row.push_bind(self.customer.0)
                .push_bind(self.run.as_str().to_owned())
                .push_bind(String::from(&*signal.payer))
                .push_bind(String::from(&*signal.cpt_group))
                .push_bind(signal.drift_type.as_str())
                .push_bind(signal.baseline_value)
                .push_bind(signal.current_value)
                .push_bind(signal.delta)
                .push_bind(signal.severity)
                .push_bind(signal.confidence)
                .push_bind(baseline_start.clone())
                .push_bind(current_start.clone())
                .push_bind(current_start.clone())
                .push_bind(current_end.clone());
        });
        insert.push(match self.on_conflict {
            OnConflict::Update => {
                " ON CONFLICT (customer_id, run_id, payer, cpt_group, drift_type) DO UPDATE \
                 SET baseline_value = excluded.baseline_value, current_value = excluded.current_value, \
                 delta = excluded.delta, severity = excluded.severity, confidence = excluded.confidence"
            }
            OnConflict::Nothing => " ON CONFLICT (customer_id, run_id, payer, cpt_group, drift_type) DO NOTHING",
            OnConflict::Error => "",
        });
        insert.build().persistent(false).execute(connection).await.map(drop)
    }
}

/// Brings events that are there up to date, by their ids.
async fn update(connection: &mut SqliteConnection, changed: &[(i64, &Signal)]) -> Result<(), sqlx::Error> {
    let mut update = QueryBuilder::new(
        "UPDATE drift_events SET baseline_value = v.column2, current_value = v.column3, delta = v.column4, \
         severity = v.column5, confidence = v.column6 FROM (",
    );
    update.push_values(changed, |mut row, (id, signal)| {
        row.push_bind(*id)
            .push_bind(signal.baseline_value)
            .push_bind(signal.current_value)
            .push_bind(signal.delta)
            .push_bind(signal.severity)
            .push_bind(signal.confidence);
    });
    update.push(") AS v WHERE drift_events.id = v.column1");
    update.build().persistent(false).execute(connection).await.map(drop)
}

async fn read_events(connection: &mut SqliteConnection, run: &RunId) -> Result<Vec<(i64, Signal)>, sqlx::Error> {
    let rows = sqlx::query(READ_EVENTS).bind(run.as_str().to_owned()).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get("id")?, signal(row)?))).collect()
}

async fn insert_claim(
    connection: &mut SqliteConnection,
    customer: CustomerId,
    claim: &Claim,
) -> Result<(), sqlx::Error> {
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

crate::rows::decoders!(SqliteRow);

/// Classifies a driver's error by its extended result code.
pub fn classify(error: sqlx::Error, during: Kind) -> DbError {
    match &error {
        sqlx::Error::Database(database) => {
            let code = database.code().map(String::from);
            let class = code.as_deref().and_then(|c| c.parse().ok()).map_or(ErrorClass::Other, ErrorClass::of_sqlite);
            DbError { class, code, message: database.message().to_owned(), during }
        }
        sqlx::Error::WorkerCrashed => {
            DbError { class: ErrorClass::Lost, code: None, message: error.to_string(), during }
        }
        _ => DbError { class: ErrorClass::Other, code: None, message: error.to_string(), during },
    }
}
