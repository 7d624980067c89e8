//! The same on SQLite, on a file.

use std::sync::Arc;
use std::time::Duration;

use drift_engine::lock::Backend;
use drift_engine::migrate::{MigrateError, Repair, sqlite};
use drift_engine::session::ErrorClass;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions, Executor, SqliteConnection};
use tempfile::TempDir;

use crate::{DUPLICATES, HASTY, PATIENT, stock, stock_code};

/// A file in a directory of its own, which goes when this is dropped.
struct File {
    directory: TempDir,
    journal: SqliteJournalMode,
}

impl File {
    fn new(journal: SqliteJournalMode) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), journal }
    }

    async fn connect(&self, busy_timeout: Duration) -> SqliteConnection {
        SqliteConnectOptions::new()
            .filename(self.directory.path().join("drift.db"))
            .create_if_missing(true)
            .journal_mode(self.journal)
            .busy_timeout(busy_timeout)
            .connect()
            .await
            .unwrap()
    }
}

async fn open() -> (File, SqliteConnection) {
    let file = File::new(SqliteJournalMode::Wal);
    let conn = file.connect(Duration::from_secs(5)).await;
    (file, conn)
}

async fn catalog(conn: &mut SqliteConnection) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT concat_ws(' ', type, name, tbl_name, sql) FROM sqlite_schema
         WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND tbl_name <> '_sqlx_migrations' ORDER BY 1",
    )
    .fetch_all(conn)
    .await
    .unwrap()
}

async fn seed(conn: &mut SqliteConnection) {
    conn.execute(
        "INSERT INTO customers (name) VALUES ('acme');
         INSERT INTO drift_runs (id, customer_id, as_of, baseline_days, current_days, min_volume, status)
         VALUES ('run', 1, '2024-06-01', 90, 14, 30, 'succeeded')",
    )
    .await
    .unwrap();
}

async fn insert(conn: &mut SqliteConnection, events: &[(&str, f64)]) -> Result<(), sqlx::Error> {
    for (payer, value) in events {
        sqlx::query(
            "INSERT INTO drift_events (
                 customer_id, run_id, payer, cpt_group, drift_type, baseline_value, current_value, delta, severity,
                 confidence, baseline_start, baseline_end, current_start, current_end
             ) VALUES (
                 1, 'run', $1, 'mri', 'DENIAL_RATE', 0, $2, $2, 0.5,
                 1, '2024-02-18', '2024-05-18', '2024-05-18', '2024-06-01'
             )",
        )
        .bind(payer)
        .bind(value)
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

async fn events(conn: &mut SqliteConnection, table: &str) -> Vec<String> {
    let sql = format!(
        "SELECT json_array(id, customer_id, run_id, payer, cpt_group, drift_type, baseline_value, current_value,
             delta, severity, confidence, baseline_start, baseline_end, current_start, current_end)
         FROM {table} ORDER BY id"
    );
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(conn).await.unwrap()
}

fn code(error: sqlx::Error) -> String {
    error.as_database_error().unwrap().code().unwrap().into_owned()
}

#[tokio::test]
async fn up_down_and_up_again_pass_through_equal_catalogs() {
    let (_file, mut conn) = open().await;
    let stock = stock(Backend::Sqlite).await;
    let mut at = vec![catalog(&mut conn).await];
    for version in 1..=4 {
        assert_eq!(sqlite::apply(&mut conn, Some(version), &PATIENT).await.unwrap().versions, [version]);
        at.push(catalog(&mut conn).await);
    }
    assert!(at[..4].windows(2).all(|pair| pair[0] != pair[1]), "each of the first three steps changes something");
    for version in (0..4).rev() {
        assert_eq!(sqlite::undo(&mut conn, version, &PATIENT).await.unwrap().versions, [version + 1]);
        assert_eq!(catalog(&mut conn).await, at[usize::try_from(version).unwrap()], "down to {version}");
    }
    assert_eq!(sqlite::apply(&mut conn, None, &PATIENT).await.unwrap().versions, [1, 2, 3, 4]);
    assert_eq!(catalog(&mut conn).await, at[4]);
    for version in (0..4).rev() {
        stock.undo(&mut conn, version).await.unwrap();
        assert_eq!(catalog(&mut conn).await, at[usize::try_from(version).unwrap()], "down to {version}, sqlx alone");
    }
    stock.run(&mut conn).await.unwrap();
    assert_eq!(catalog(&mut conn).await, at[4]);
    assert_eq!(sqlite::undo(&mut conn, 0, &PATIENT).await.unwrap().versions, [4, 3, 2, 1]);
    assert!(sqlite::applied(&mut conn).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_fold_archives_the_surplus_and_its_undo_restores_every_row() {
    let (_file, mut conn) = open().await;
    sqlite::apply(&mut conn, Some(1), &PATIENT).await.unwrap();
    seed(&mut conn).await;
    insert(&mut conn, &DUPLICATES).await.unwrap();
    let before = events(&mut conn, "drift_events").await;

    sqlite::apply(&mut conn, Some(2), &PATIENT).await.unwrap();
    assert_eq!(events(&mut conn, "drift_events").await, before[2..], "the newest of each key stays");
    assert_eq!(events(&mut conn, "drift_events_archive").await, before[..2]);

    // Withdrawing all and inserting anew must not hand out an archived id.
    conn.execute("DELETE FROM drift_events").await.unwrap();
    insert(&mut conn, &[("humana", 0.5)]).await.unwrap();
    let added = events(&mut conn, "drift_events").await;
    sqlite::undo(&mut conn, 1, &PATIENT).await.unwrap();
    assert_eq!(events(&mut conn, "drift_events").await, [&before[..2], &added[..]].concat());
}

#[tokio::test]
async fn duplicates_that_came_after_the_fold_are_folded_before_the_index_is_built() {
    let (_file, mut conn) = open().await;
    sqlite::apply(&mut conn, Some(2), &PATIENT).await.unwrap();
    seed(&mut conn).await;
    insert(&mut conn, &DUPLICATES).await.unwrap();
    let before = events(&mut conn, "drift_events").await;
    let stock = stock(Backend::Sqlite).await;
    for _ in 0..2 {
        assert_eq!(stock_code(stock.run(&mut conn).await).as_deref(), Some("2067"), "sqlx alone never gets past them");
    }
    let report = sqlite::apply(&mut conn, None, &PATIENT).await.unwrap();
    assert_eq!((report.versions, report.repairs), (vec![3, 4], vec![Repair::FoldedAgain { version: 2 }]));
    sqlite::undo(&mut conn, 1, &PATIENT).await.unwrap();
    assert_eq!(events(&mut conn, "drift_events").await, before);
}

#[tokio::test]
async fn a_call_that_fails_changes_nothing() {
    let (file, mut conn) = open().await;
    conn.execute("CREATE TABLE drift_events_archive (id INTEGER PRIMARY KEY)").await.unwrap();
    let before = catalog(&mut conn).await;
    let error = sqlite::apply(&mut conn, None, &PATIENT).await.unwrap_err();
    assert!(
        matches!(error, MigrateError::File { version: 2, file: "0002_fold_duplicate_events.up.sql", .. }),
        "{error}"
    );
    assert_eq!(error.code(), Some("1"));
    let mut other = file.connect(Duration::ZERO).await;
    assert_eq!(catalog(&mut other).await, before);
    other.execute("DROP TABLE drift_events_archive").await.expect("the file's lock is free");
    sqlite::apply(&mut conn, None, &PATIENT).await.unwrap();
}

#[tokio::test]
async fn duplicates_and_impossible_dates_are_rejected_and_on_conflict_works() {
    let (_file, mut conn) = open().await;
    sqlite::apply(&mut conn, None, &PATIENT).await.unwrap();
    seed(&mut conn).await;
    insert(&mut conn, &[("aetna", 0.1)]).await.unwrap();
    assert_eq!(code(insert(&mut conn, &[("aetna", 0.2)]).await.unwrap_err()), "2067");
    let upsert = "INSERT INTO drift_events SELECT 99, customer_id, run_id, payer, cpt_group, drift_type, 1, 1, 1, 1, 1,
            baseline_start, baseline_end, current_start, current_end FROM drift_events WHERE true
        ON CONFLICT (customer_id, run_id, payer, cpt_group, drift_type) DO UPDATE SET delta = excluded.delta";
    conn.execute(upsert).await.unwrap();
    assert_eq!(events(&mut conn, "drift_events").await.len(), 1);
    for date in ["2024-02-30", "2024-2-3", "yesterday", "now", "2024-02-03T00:00", "2460344.5", ""] {
        let claim = "INSERT INTO claims (customer_id, payer, cpt_group, outcome, submitted_on)
             VALUES (1, 'aetna', 'mri', 'PAID', $1)";
        assert!(sqlx::query(claim).bind(date).execute(&mut conn).await.is_err(), "{date:?}");
    }
    let run = "INSERT INTO drift_runs SELECT $1, customer_id, as_of, baseline_days, current_days, min_volume, $2,
             status, failure FROM drift_runs LIMIT 1";
    assert_eq!(code(sqlx::query(run).bind("b").bind(false).execute(&mut conn).await.unwrap_err()), "2067");
    sqlx::query(run).bind("c").bind(true).execute(&mut conn).await.expect("fresh runs share an identity");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn three_replicas_at_once_migrate_without_an_error() {
    let mut refusals = 0;
    for round in 0..10 {
        let file = Arc::new(File::new(if round % 2 == 0 { SqliteJournalMode::Wal } else { SqliteJournalMode::Delete }));
        // With a busy timeout of nothing every collision is seen, and it is ours to wait.
        let busy_timeout = if round % 4 < 2 { Duration::ZERO } else { Duration::from_secs(5) };
        let start = Arc::new(tokio::sync::Barrier::new(3));
        let mut replicas = Vec::new();
        for _ in 0..3 {
            let (start, mut conn) = (start.clone(), file.connect(busy_timeout).await);
            replicas.push(tokio::spawn(async move {
                start.wait().await;
                sqlite::apply(&mut conn, None, &PATIENT).await
            }));
        }
        let mut versions = Vec::new();
        for replica in replicas {
            let report = replica.await.unwrap().unwrap();
            versions.extend(report.versions);
            refusals += report.refusals;
        }
        assert_eq!(versions, [1, 2, 3, 4], "round {round}: one of them did everything");
    }
    assert!(refusals > 0, "they never met");
}

#[tokio::test]
async fn a_lock_that_is_never_given_back_ends_in_an_error_after_the_bound() {
    let (file, mut holder) = open().await;
    let mut conn = file.connect(Duration::ZERO).await;
    holder.execute("BEGIN IMMEDIATE").await.unwrap();
    for error in [
        sqlite::apply(&mut conn, None, &HASTY).await.unwrap_err(),
        sqlite::undo(&mut conn, 0, &HASTY).await.unwrap_err(),
    ] {
        assert!(matches!(error, MigrateError::Locked { holder: None, polls: 5, .. }), "{error}");
        assert_eq!(error.class(), ErrorClass::LockTimeout);
    }
    holder.execute("ROLLBACK").await.unwrap();
    sqlite::apply(&mut conn, None, &HASTY).await.unwrap();
}

#[tokio::test]
async fn a_reader_that_holds_up_the_commit_is_waited_for_within_the_bound() {
    let file = File::new(SqliteJournalMode::Delete);
    let (mut conn, mut reader) = (file.connect(Duration::ZERO).await, file.connect(Duration::ZERO).await);
    sqlite::apply(&mut conn, Some(1), &HASTY).await.unwrap();
    // More than once: the rollback after the refused commit happens in another thread, and a call that does
    // not wait for it leaves the file locked for a moment only.
    for _ in 0..20 {
        reader.execute("BEGIN; SELECT * FROM claims").await.unwrap();
        let error = sqlite::apply(&mut conn, None, &HASTY).await.unwrap_err();
        assert!(matches!(error, MigrateError::Locked { polls: 5, .. }), "{error}");
        reader.execute("COMMIT").await.unwrap();
        assert_eq!(sqlite::applied(&mut reader).await.expect("no lock is left"), [1].into());
    }
    assert_eq!(sqlite::apply(&mut conn, None, &HASTY).await.unwrap().versions, [2, 3, 4]);
}
