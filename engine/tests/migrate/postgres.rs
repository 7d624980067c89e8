//! The steps on PostgreSQL: what they make, what they keep, and that they can be undone.

use drift_engine::lock::Backend;
use drift_engine::migrate::{MigrateError, postgres};
use sqlx::{Executor, PgConnection};

use crate::cluster::Database;
use crate::{DUPLICATES, PATIENT, stock, until};

/// Everything that a migration can make, except the table in which migrations are recorded.
pub async fn catalog(conn: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT format('%s %s persistence=%s', c.relkind, c.relname, c.relpersistence)
         FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relname NOT LIKE '\\_sqlx%'
         UNION ALL
         SELECT format('%s.%s %s %s notnull=%s identity=%s default=%s', c.relname, a.attnum, a.attname,
             format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, pg_get_expr(d.adbin, d.adrelid))
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
             AND c.relname NOT LIKE '\\_sqlx%'
         UNION ALL
         SELECT format('%s %s on %s: %s valid=%s index=%s', contype, conname, conrelid::regclass,
             pg_get_constraintdef(oid), convalidated, conindid::regclass)
         FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conname NOT LIKE '\\_sqlx%'
         UNION ALL
         SELECT format('%s valid=%s ready=%s live=%s primary=%s', pg_get_indexdef(indexrelid), indisvalid,
             indisready, indislive, indisprimary)
         FROM pg_index JOIN pg_class c ON c.oid = indexrelid
         WHERE c.relnamespace = 'public'::regnamespace AND c.relname NOT LIKE '\\_sqlx%'
         ORDER BY 1",
    )
    .fetch_all(conn)
    .await
    .unwrap()
}

/// A customer and a run for events to belong to.
pub async fn seed(conn: &mut PgConnection) {
    conn.execute(
        "INSERT INTO customers (name) VALUES ('acme');
         INSERT INTO drift_runs (id, customer_id, as_of, baseline_days, current_days, min_volume, status)
         VALUES ('run', 1, '2024-06-01', 90, 14, 30, 'succeeded')",
    )
    .await
    .unwrap();
}

macro_rules! insert {
    () => {
        "INSERT INTO drift_events (
             customer_id, run_id, payer, cpt_group, drift_type, baseline_value, current_value, delta, severity,
             confidence, baseline_start, baseline_end, current_start, current_end
         ) VALUES (
             1, 'run', $1, 'mri', 'DENIAL_RATE', 0, $2, $2, 0.5,
             1, '2024-02-18', '2024-05-18', '2024-05-18', '2024-06-01'
         )"
    };
}

pub async fn insert(conn: &mut PgConnection, events: &[(&str, f64)]) -> Result<(), sqlx::Error> {
    for (payer, value) in events {
        sqlx::query(insert!()).bind(payer).bind(value).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Inserts an event as live code does once there is a constraint.
pub async fn upsert(conn: &mut PgConnection, payer: &str, value: f64) -> Result<(), sqlx::Error> {
    const ON_CONFLICT: &str = concat!(
        insert!(),
        " ON CONFLICT (customer_id, run_id, payer, cpt_group, drift_type) DO UPDATE SET delta = excluded.delta"
    );
    sqlx::query(ON_CONFLICT).bind(payer).bind(value).execute(conn).await.map(drop)
}

/// The events of a table, as text.
pub async fn events(conn: &mut PgConnection, table: &str) -> Vec<String> {
    let sql = format!("SELECT (to_jsonb(e) - 'kept_id')::text FROM {table} e ORDER BY e.id");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(conn).await.unwrap()
}

/// The object id of the index, which changes when it is built anew, and whether it is valid.
pub async fn signal_index(conn: &mut PgConnection) -> Option<(i64, bool)> {
    sqlx::query_as(
        "SELECT indexrelid::int8, indisvalid FROM pg_index
         WHERE indexrelid = to_regclass('drift_events_unique_signal')",
    )
    .fetch_optional(conn)
    .await
    .unwrap()
}

/// How many advisory locks anybody holds in this database.
pub async fn advisory_locks(conn: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .fetch_one(conn)
    .await
    .unwrap()
}

#[tokio::test]
async fn up_down_and_up_again_pass_through_equal_catalogs() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let mut at = vec![catalog(&mut conn).await];
    for version in 1..=4 {
        let report = postgres::apply(&mut conn, Some(version), &PATIENT).await.unwrap();
        assert_eq!(report.versions, [version]);
        at.push(catalog(&mut conn).await);
    }
    assert!(at.windows(2).all(|pair| pair[0] != pair[1]), "each step changes something");
    for version in (0..4).rev() {
        let report = postgres::undo(&mut conn, version, &PATIENT).await.unwrap();
        assert_eq!(report.versions, [version + 1]);
        assert_eq!(catalog(&mut conn).await, at[usize::try_from(version).unwrap()], "down to {version}");
    }
    assert_eq!(postgres::apply(&mut conn, None, &PATIENT).await.unwrap().versions, [1, 2, 3, 4]);
    assert_eq!(catalog(&mut conn).await, at[4]);
    assert_eq!(postgres::undo(&mut conn, 0, &PATIENT).await.unwrap().versions, [4, 3, 2, 1]);
    assert_eq!(catalog(&mut conn).await, at[0]);
    assert!(postgres::applied(&mut conn).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_files_work_the_same_way_with_sqlx_alone() {
    let database = Database::new().await;
    let (mut conn, stock) = (database.connect().await, stock(Backend::Postgres).await);
    for version in 1..=4 {
        postgres::apply(&mut conn, Some(version), &PATIENT).await.unwrap();
        let ours = catalog(&mut conn).await;
        postgres::undo(&mut conn, version - 1, &PATIENT).await.unwrap();
        let ours_below = catalog(&mut conn).await;
        stock.run_to(version, &mut conn).await.unwrap();
        assert_eq!(catalog(&mut conn).await, ours, "up to {version}");
        stock.undo(&mut conn, version - 1).await.unwrap();
        assert_eq!(catalog(&mut conn).await, ours_below, "down from {version}");
        postgres::apply(&mut conn, Some(version), &PATIENT).await.unwrap();
    }
}

#[tokio::test]
async fn a_fold_archives_the_surplus_and_its_undo_restores_every_row() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    postgres::apply(&mut conn, Some(1), &PATIENT).await.unwrap();
    seed(&mut conn).await;
    insert(&mut conn, &DUPLICATES).await.unwrap();
    let before = events(&mut conn, "drift_events").await;

    postgres::apply(&mut conn, Some(2), &PATIENT).await.unwrap();
    assert_eq!(events(&mut conn, "drift_events").await, before[2..], "the newest of each key stays");
    assert_eq!(events(&mut conn, "drift_events_archive").await, before[..2]);

    insert(&mut conn, &[("humana", 0.5)]).await.unwrap();
    let added = events(&mut conn, "drift_events").await.pop().unwrap();
    postgres::undo(&mut conn, 1, &PATIENT).await.unwrap();
    let after = events(&mut conn, "drift_events").await;
    assert_eq!(after[..4], before);
    assert_eq!(after[4..], [added]);
}

#[tokio::test]
async fn duplicates_are_rejected_and_on_conflict_works_from_the_index_on() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    postgres::apply(&mut conn, Some(2), &PATIENT).await.unwrap();
    seed(&mut conn).await;
    let code = |error: sqlx::Error| error.as_database_error().unwrap().code().unwrap().into_owned();
    assert_eq!(code(upsert(&mut conn, "aetna", 0.1).await.unwrap_err()), "42P10");
    let check = async |conn: &mut PgConnection| {
        upsert(conn, "aetna", 0.1).await.unwrap();
        upsert(conn, "aetna", 0.2).await.unwrap();
        assert_eq!(code(insert(conn, &[("aetna", 0.3)]).await.unwrap_err()), "23505");
        assert_eq!(events(conn, "drift_events").await.len(), 1);
    };
    for version in [3, 4] {
        postgres::apply(&mut conn, Some(version), &PATIENT).await.unwrap();
        check(&mut conn).await;
    }
    postgres::undo(&mut conn, 3, &PATIENT).await.unwrap();
    check(&mut conn).await;
}

#[tokio::test]
async fn undoing_the_constraint_never_takes_on_conflict_away_from_live_traffic() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    let database = Database::new().await;
    let (mut conn, mut live) = (database.connect().await, database.connect().await);
    postgres::apply(&mut conn, None, &PATIENT).await.unwrap();
    seed(&mut conn).await;
    let (count, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let traffic = tokio::spawn({
        let (count, done) = (count.clone(), done.clone());
        async move {
            while !done.load(Ordering::Relaxed) {
                upsert(&mut live, "aetna", 0.1).await?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, sqlx::Error>(())
        }
    });
    for _ in 0..5 {
        for target in [3, 4] {
            let seen = count.load(Ordering::Relaxed);
            until("traffic has gone on", async || traffic.is_finished() || count.load(Ordering::Relaxed) > seen + 10)
                .await;
            if target == 3 {
                postgres::undo(&mut conn, target, &PATIENT).await.unwrap();
            } else {
                postgres::apply(&mut conn, Some(target), &PATIENT).await.unwrap();
            }
        }
    }
    done.store(true, Ordering::Relaxed);
    traffic.await.unwrap().unwrap();
}

#[tokio::test]
async fn runs_share_an_identity_only_when_they_are_not_fresh() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    postgres::apply(&mut conn, None, &PATIENT).await.unwrap();
    seed(&mut conn).await;
    let run = async |conn: &mut PgConnection, id: &str, fresh: bool| {
        sqlx::query(
            "INSERT INTO drift_runs (id, customer_id, as_of, baseline_days, current_days, min_volume, fresh, status)
             VALUES ($1, 1, '2024-06-01', 90, 14, 30, $2, 'running')
             ON CONFLICT (customer_id, as_of, baseline_days, current_days, min_volume) WHERE NOT fresh DO NOTHING",
        )
        .bind(id)
        .bind(fresh)
        .execute(conn)
        .await
        .map(|done| done.rows_affected())
    };
    assert_eq!(run(&mut conn, "shared", false).await.unwrap(), 0);
    assert_eq!(run(&mut conn, "fresh", true).await.unwrap(), 1);
    assert_eq!(run(&mut conn, "fresh again", true).await.unwrap(), 1);
    let status = conn.execute("UPDATE drift_runs SET status = 'lost'").await.unwrap_err();
    assert_eq!(status.as_database_error().unwrap().code().unwrap(), "23514");
}

#[tokio::test]
async fn a_version_that_does_not_exist_is_refused_on_either_side() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let refused = postgres::apply(&mut conn, Some(5), &PATIENT).await.unwrap_err();
    assert!(matches!(refused, MigrateError::NoSuchVersion { target: 5, latest: 4 }), "{refused}");
    let refused = postgres::undo(&mut conn, -1, &PATIENT).await.unwrap_err();
    assert!(matches!(refused, MigrateError::NoSuchVersion { target: -1, latest: 4 }), "{refused}");

    postgres::apply(&mut conn, Some(1), &PATIENT).await.unwrap();
    conn.execute("UPDATE _sqlx_migrations SET checksum = 'other'").await.unwrap();
    let refused = postgres::apply(&mut conn, Some(1), &PATIENT).await.unwrap_err();
    assert!(matches!(refused, MigrateError::Changed(1)), "{refused}");
    conn.execute("UPDATE _sqlx_migrations SET version = 77").await.unwrap();
    let refused = postgres::undo(&mut conn, 0, &PATIENT).await.unwrap_err();
    assert!(matches!(refused, MigrateError::Unknown(77)), "{refused}");
    assert_eq!(advisory_locks(&mut conn).await, 0);
}
