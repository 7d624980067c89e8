//! What interrupted migrations leave behind on PostgreSQL, and how the next call puts it right.

use drift_engine::lock::Backend;
use drift_engine::migrate::{MigrateError, Repair, postgres};
use drift_engine::session::ErrorClass;
use sqlx::{Connection, Executor, PgConnection};
use tokio::sync::OnceCell;

use crate::cluster::Database;
use crate::postgres::{advisory_locks, catalog, events, insert, seed, signal_index};
use crate::{DUPLICATES, HASTY, PATIENT, stock, stock_code, until, within_reason};

const INDEX: &str = "drift_events_unique_signal";
const SPARE: &str = "drift_events_unique_signal_spare";

/// A database at a version, with a run for events to belong to, and a session in it.
async fn at(version: i64) -> (Database, PgConnection) {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    postgres::apply(&mut conn, Some(version), &PATIENT).await.unwrap();
    seed(&mut conn).await;
    (database, conn)
}

/// What a database looks like that was migrated to a version without any trouble.
async fn untroubled(version: i64) -> &'static [String] {
    static CATALOGS: [OnceCell<Vec<String>>; 5] = [const { OnceCell::const_new() }; 5];
    let make = async || {
        let (_database, mut conn) = at(version).await;
        catalog(&mut conn).await
    };
    CATALOGS[usize::try_from(version).unwrap()].get_or_init(make).await
}

/// A session that has written an event and does not commit: builds wait for it.
async fn writer(database: &Database) -> PgConnection {
    let mut conn = database.connect().await;
    conn.execute("BEGIN").await.unwrap();
    insert(&mut conn, &[("humana", 0.9)]).await.unwrap();
    conn
}

async fn pid(conn: &mut PgConnection) -> i32 {
    sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(conn).await.unwrap()
}

/// Waits until the server says that a backend is building an index and waits for others in it.
async fn until_building(watch: &mut PgConnection, pid: i32) {
    until("the build waits for the writer", async || {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_stat_progress_create_index
             WHERE pid = $1 AND phase = 'waiting for writers before build' AND lockers_total > 0)",
        )
        .bind(pid)
        .fetch_one(&mut *watch)
        .await
        .unwrap()
    })
    .await;
}

fn dropped() -> Repair {
    Repair::DroppedInvalid { index: INDEX }
}

#[tokio::test]
async fn the_index_that_duplicates_left_invalid_is_dropped_and_the_duplicates_are_folded() {
    let (_database, mut conn) = at(2).await;
    let stock = stock(Backend::Postgres).await;
    insert(&mut conn, &DUPLICATES).await.unwrap();
    let before = events(&mut conn, "drift_events").await;
    assert_eq!(stock_code(stock.run(&mut conn).await).as_deref(), Some("23505"));
    assert!(matches!(signal_index(&mut conn).await, Some((_, false))));
    assert_eq!(stock_code(stock.run(&mut conn).await).as_deref(), Some("42P07"), "sqlx alone trips over it");
    conn.execute("SELECT pg_advisory_unlock_all()").await.unwrap();

    let report = postgres::apply(&mut conn, None, &PATIENT).await.unwrap();
    assert_eq!(report.versions, [3, 4]);
    // Its own first build meets the duplicates as well, and only then are they folded.
    assert_eq!(report.repairs, [dropped(), Repair::FoldedAgain { version: 2 }, dropped()]);
    assert_eq!(catalog(&mut conn).await, untroubled(4).await);
    let mut after = events(&mut conn, "drift_events_archive").await;
    after.extend(events(&mut conn, "drift_events").await);
    assert_eq!(after, before, "nothing is lost");
    postgres::undo(&mut conn, 1, &PATIENT).await.unwrap();
    assert_eq!(events(&mut conn, "drift_events").await, before);
}

#[tokio::test]
async fn duplicates_that_cannot_be_folded_end_in_an_error_after_a_bound() {
    let (_database, mut conn) = at(2).await;
    insert(&mut conn, &DUPLICATES).await.unwrap();
    conn.execute(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER keep BEFORE DELETE ON drift_events FOR EACH ROW EXECUTE FUNCTION keep()",
    )
    .await
    .unwrap();
    let error = postgres::apply(&mut conn, None, &PATIENT).await.unwrap_err();
    assert!(matches!(error, MigrateError::File { version: 3, file: "0003_unique_signal_index.up.sql", .. }), "{error}");
    assert_eq!((error.code(), error.class()), (Some("23505"), ErrorClass::Unique));
    assert_eq!(advisory_locks(&mut conn).await, 0);
    assert_eq!(postgres::applied(&mut conn).await.unwrap(), [1, 2].into());

    conn.execute("DROP FUNCTION keep CASCADE").await.unwrap();
    postgres::apply(&mut conn, None, &PATIENT).await.unwrap();
    assert_eq!(catalog(&mut conn).await, untroubled(4).await);
}

#[tokio::test]
async fn the_index_that_a_lock_timeout_left_invalid_is_built_anew() {
    let (database, mut conn) = at(2).await;
    let mut impatient = database.connect_with_lock_timeout("100ms").await;
    let stock = stock(Backend::Postgres).await;
    let mut writer = writer(&database).await;
    assert_eq!(stock_code(stock.run(&mut impatient).await).as_deref(), Some("55P03"));
    impatient.execute("SELECT pg_advisory_unlock_all()").await.unwrap();
    assert!(matches!(signal_index(&mut conn).await, Some((_, false))));

    let error = postgres::apply(&mut impatient, None, &PATIENT).await.unwrap_err();
    assert_eq!(error.code(), Some("55P03"), "the leftover cannot be dropped before the writer ends: {error}");
    assert_eq!(advisory_locks(&mut conn).await, 0);
    writer.execute("COMMIT").await.unwrap();
    assert_eq!(stock_code(stock.run(&mut impatient).await).as_deref(), Some("42P07"), "sqlx alone trips over it");
    impatient.execute("SELECT pg_advisory_unlock_all()").await.unwrap();

    let report = postgres::apply(&mut impatient, None, &PATIENT).await.unwrap();
    assert_eq!((report.versions, report.repairs), (vec![3, 4], vec![dropped()]));
    assert_eq!(catalog(&mut conn).await, untroubled(4).await);
}

#[tokio::test]
async fn an_old_snapshot_holds_a_build_up_no_longer_than_the_limit() {
    let (database, mut conn) = at(2).await;
    let mut idle = database.connect().await;
    idle.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM customers").await.unwrap();
    let error = within_reason(postgres::apply(&mut conn, None, &HASTY)).await.unwrap_err();
    assert!(matches!(error, MigrateError::File { version: 3, .. }), "{error}");
    assert_eq!((error.code(), error.class()), (Some("55P03"), ErrorClass::LockTimeout));
    assert_eq!(advisory_locks(&mut conn).await, 0);
    let timeout: String = sqlx::query_scalar("SHOW lock_timeout").fetch_one(&mut conn).await.unwrap();
    assert_eq!(timeout, "0", "the session is as it was");
    idle.execute("COMMIT").await.unwrap();
    let report = postgres::apply(&mut conn, None, &PATIENT).await.unwrap();
    assert_eq!((report.versions, report.repairs), (vec![3, 4], vec![dropped()]));
}

#[tokio::test]
async fn a_valid_index_whose_version_was_not_recorded_is_left_alone_and_recorded() {
    let (_database, mut conn) = at(2).await;
    conn.execute(drift_engine::migrate::steps(Backend::Postgres)[2].up.sql).await.unwrap();
    let built = signal_index(&mut conn).await;
    let report = postgres::apply(&mut conn, None, &PATIENT).await.unwrap();
    assert_eq!((report.versions, report.repairs), (vec![3, 4], vec![Repair::Recorded { version: 3 }]));
    assert_eq!(signal_index(&mut conn).await, built, "it is the same index");
    assert_eq!(catalog(&mut conn).await, untroubled(4).await);
}

#[tokio::test]
async fn a_valid_index_of_that_name_which_is_another_one_is_left_alone_and_reported() {
    for definition in [
        "UNIQUE INDEX drift_events_unique_signal ON drift_events (customer_id, run_id, payer, drift_type, cpt_group)",
        "INDEX drift_events_unique_signal ON drift_events (customer_id, run_id, payer, cpt_group, drift_type)",
        "UNIQUE INDEX drift_events_unique_signal ON drift_events (customer_id, run_id, payer, cpt_group, drift_type)
         WHERE delta > 0",
    ] {
        let (_database, mut conn) = at(2).await;
        conn.execute(sqlx::AssertSqlSafe(format!("CREATE {definition}"))).await.unwrap();
        let built = signal_index(&mut conn).await;
        let error = postgres::apply(&mut conn, None, &PATIENT).await.unwrap_err();
        assert!(matches!(error, MigrateError::NotOurs { index: INDEX, .. }), "{error}");
        assert_eq!(signal_index(&mut conn).await, built);
        assert_eq!(advisory_locks(&mut conn).await, 0);
    }
}

#[tokio::test]
async fn an_index_that_another_backend_is_building_is_not_dropped_but_waited_for() {
    let (database, mut conn) = at(2).await;
    let (mut builder, mut watch) = (database.connect().await, database.connect().await);
    let mut writer = writer(&database).await;
    let builder_pid = pid(&mut builder).await;
    let build = tokio::spawn(async move {
        builder.execute(drift_engine::migrate::steps(Backend::Postgres)[2].up.sql).await.map(drop)
    });
    until_building(&mut watch, builder_pid).await;
    let (building, valid) = signal_index(&mut watch).await.unwrap();
    assert!(!valid);

    let error = postgres::apply(&mut conn, None, &HASTY).await.unwrap_err();
    assert!(matches!(error, MigrateError::BeingBuilt { pid: Some(pid), .. } if pid == builder_pid), "{error}");
    assert_eq!(advisory_locks(&mut watch).await, 0);

    let waiting = tokio::spawn(async move { (postgres::apply(&mut conn, None, &PATIENT).await, conn) });
    until("the lock is taken", async || advisory_locks(&mut watch).await == 1).await;
    assert_eq!(signal_index(&mut watch).await, Some((building, false)));
    writer.execute("COMMIT").await.unwrap();
    build.await.unwrap().unwrap();
    let (report, _conn) = waiting.await.unwrap();
    assert_eq!(report.unwrap().repairs, [Repair::Recorded { version: 3 }]);
    assert_eq!(signal_index(&mut watch).await, Some((building, true)), "it is that backend's index");
}

#[tokio::test]
async fn an_invalid_index_is_not_dropped_while_a_build_commits_that_it_is_valid() {
    let (database, mut conn) = at(2).await;
    insert(&mut conn, &DUPLICATES).await.unwrap();
    conn.execute(drift_engine::migrate::steps(Backend::Postgres)[2].up.sql).await.unwrap_err();
    let left = signal_index(&mut conn).await;
    // What the end of a build does. It is no longer announced then.
    let mut other = database.connect().await;
    let other_pid = pid(&mut other).await;
    other.execute("SET allow_system_table_mods = on").await.unwrap();
    other
        .execute(
            "BEGIN; UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'drift_events_unique_signal'::regclass",
        )
        .await
        .unwrap();
    let error = postgres::apply(&mut conn, None, &HASTY).await.unwrap_err();
    assert!(matches!(error, MigrateError::BeingBuilt { pid: Some(pid), .. } if pid == other_pid), "{error}");
    assert_eq!(signal_index(&mut conn).await, left);
    other.execute("ROLLBACK").await.unwrap();
    postgres::apply(&mut conn, None, &PATIENT).await.unwrap();
    assert_eq!(catalog(&mut conn).await, untroubled(4).await);
}

#[tokio::test]
async fn a_session_that_is_killed_in_a_build_leaves_nothing_that_the_next_call_cannot_put_right() {
    let (database, mut conn) = at(2).await;
    let mut watch = database.connect().await;
    let mut writer = writer(&database).await;
    let victim = pid(&mut conn).await;
    let call = tokio::spawn(async move { postgres::apply(&mut conn, None, &PATIENT).await });
    until_building(&mut watch, victim).await;
    sqlx::query("SELECT pg_terminate_backend($1)").bind(victim).execute(&mut watch).await.unwrap();
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.class(), ErrorClass::Lost, "{error}");
    writer.execute("COMMIT").await.unwrap();
    until("the server has cleaned up", async || advisory_locks(&mut watch).await == 0).await;

    let report = postgres::apply(&mut watch, None, &PATIENT).await.unwrap();
    assert_eq!((report.versions, report.repairs), (vec![3, 4], vec![dropped()]));
    assert_eq!(catalog(&mut watch).await, untroubled(4).await);
}

#[tokio::test]
async fn a_cancelled_call_gives_the_lock_back_when_its_connection_is_used_or_closed() {
    for close in [false, true] {
        let (database, mut conn) = at(2).await;
        let mut watch = database.connect().await;
        let mut writer = writer(&database).await;
        let cancelled = pid(&mut conn).await;
        tokio::select! {
            result = postgres::apply(&mut conn, None, &PATIENT) => panic!("{result:?}"),
            () = until_building(&mut watch, cancelled) => {}
        }
        assert_eq!(advisory_locks(&mut watch).await, 1);
        writer.execute("COMMIT").await.unwrap();
        if close {
            conn.close().await.unwrap();
        } else {
            conn.ping().await.unwrap();
        }
        until("the lock is free", async || advisory_locks(&mut watch).await == 0).await;
        postgres::apply(&mut watch, None, &PATIENT).await.unwrap();
        assert_eq!(catalog(&mut watch).await, untroubled(4).await);
    }
}

#[tokio::test]
async fn an_undo_of_the_index_that_was_cut_short_can_be_finished_or_turned_back() {
    for finish in [true, false] {
        let (database, mut conn) = at(3).await;
        let mut writer = writer(&database).await;
        let error = postgres::undo(&mut conn, 2, &HASTY).await.unwrap_err();
        assert!(
            matches!(error, MigrateError::File { version: 3, file: "0003_unique_signal_index.down.sql", .. }),
            "{error}"
        );
        assert_eq!(error.code(), Some("55P03"));
        assert!(matches!(signal_index(&mut conn).await, Some((_, false))), "and yet version 3 is recorded");
        writer.execute("COMMIT").await.unwrap();
        if finish {
            assert_eq!(postgres::undo(&mut conn, 2, &PATIENT).await.unwrap().versions, [3]);
            assert_eq!(catalog(&mut conn).await, untroubled(2).await);
        } else {
            let report = postgres::apply(&mut conn, None, &PATIENT).await.unwrap();
            assert_eq!(report.versions, [3, 4]);
            assert_eq!(report.repairs, [dropped(), Repair::Forgotten { version: 3 }]);
            assert_eq!(catalog(&mut conn).await, untroubled(4).await);
        }
    }
}

#[tokio::test]
async fn an_undo_that_died_before_recording_can_be_finished_or_turned_back() {
    for finish in [true, false] {
        let (_database, mut conn) = at(3).await;
        conn.execute("DROP INDEX drift_events_unique_signal").await.unwrap();
        if finish {
            assert_eq!(postgres::undo(&mut conn, 2, &PATIENT).await.unwrap().versions, [3]);
            assert_eq!(catalog(&mut conn).await, untroubled(2).await);
        } else {
            let report = postgres::apply(&mut conn, None, &PATIENT).await.unwrap();
            assert_eq!((report.versions, report.repairs), (vec![3, 4], vec![Repair::Forgotten { version: 3 }]));
            assert_eq!(catalog(&mut conn).await, untroubled(4).await);
        }
    }
}

#[tokio::test]
async fn an_undo_of_the_constraint_that_was_cut_short_can_be_finished_or_turned_back() {
    for finish in [true, false] {
        let (database, mut conn) = at(4).await;
        let (mut impatient, mut reader) = (database.connect_with_lock_timeout("100ms").await, database.connect().await);
        reader.execute("BEGIN; SELECT count(*) FROM drift_events").await.unwrap();
        let error = postgres::undo(&mut impatient, 3, &PATIENT).await.unwrap_err();
        assert!(matches!(error, MigrateError::File { version: 4, .. }), "{error}");
        assert_eq!(error.code(), Some("55P03"));
        assert_eq!(advisory_locks(&mut conn).await, 0);
        reader.execute("COMMIT").await.unwrap();
        let spare: i64 = sqlx::query_scalar("SELECT $1::regclass::oid::int8")
            .bind(SPARE)
            .fetch_one(&mut conn)
            .await
            .expect("the spare index is there");
        if finish {
            assert_eq!(postgres::undo(&mut conn, 3, &PATIENT).await.unwrap().versions, [4]);
            assert_eq!(signal_index(&mut conn).await, Some((spare, true)), "it took over");
            assert_eq!(catalog(&mut conn).await, untroubled(3).await);
        } else {
            let report = postgres::apply(&mut conn, None, &PATIENT).await.unwrap();
            assert_eq!((report.versions, report.repairs), (vec![], vec![Repair::DroppedSpare { index: SPARE }]));
            assert_eq!(catalog(&mut conn).await, untroubled(4).await);
        }
    }
}
