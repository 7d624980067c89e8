use driftlock_provision::{Journal, ProvisionError, SqliteFiles};
use sqlx::{ConnectOptions, Connection, Executor, Row};

async fn count(files: &SqliteFiles, database: &driftlock_provision::SqliteDatabase) -> i64 {
    let mut inside = files.connect_options(database).connect().await.unwrap();
    let row = inside.fetch_one("SELECT count(*) FROM t").await.unwrap();
    inside.close().await.unwrap();
    row.get(0)
}

#[tokio::test]
async fn a_copy_holds_what_was_committed_and_goes_its_own_way() {
    for (journal, mode) in [(Journal::Wal, "wal"), (Journal::Rollback, "delete")] {
        let files = SqliteFiles::create(journal).await.unwrap();
        let template = files.create_database("template", None).await.unwrap();
        let mut inside = files.connect_options(&template).connect().await.unwrap();
        let row = inside.fetch_one("PRAGMA journal_mode").await.unwrap();
        assert_eq!(row.get::<String, _>(0), mode);
        inside.execute("CREATE TABLE t (x); INSERT INTO t VALUES (1)").await.unwrap();
        // Still open: what is in the write-ahead log only must be in the copy.
        let copy = files.create_database("copy", Some(&template)).await.unwrap();
        assert_eq!(count(&files, &copy).await, 1);
        inside.execute("INSERT INTO t VALUES (2)").await.unwrap();
        inside.close().await.unwrap();
        assert_eq!((count(&files, &template).await, count(&files, &copy).await), (2, 1));

        let parent = copy.path().parent().unwrap().to_owned();
        files.drop_database(copy).unwrap();
        drop(files);
        assert!(!parent.exists());
    }
}

#[tokio::test]
async fn a_template_that_is_being_written_to_is_not_copied() {
    for journal in [Journal::Wal, Journal::Rollback] {
        let files = SqliteFiles::create(journal).await.unwrap();
        let template = files.create_database("template", None).await.unwrap();
        let mut inside = files.connect_options(&template).connect().await.unwrap();
        inside
            .execute("CREATE TABLE t (x); INSERT INTO t VALUES (1); BEGIN IMMEDIATE; INSERT INTO t VALUES (2)")
            .await
            .unwrap();
        let refused = files.create_database("copy", Some(&template)).await.unwrap_err();
        assert!(matches!(refused, ProvisionError::TemplateInUse { .. }), "{refused}");
        inside.execute("ROLLBACK").await.unwrap();
        let copy = files.create_database("copy", Some(&template)).await.unwrap();
        assert_eq!(count(&files, &copy).await, 1);
    }
}

#[tokio::test]
async fn a_name_is_given_once_and_stays_inside_the_directory() {
    let files = SqliteFiles::create(Journal::Wal).await.unwrap();
    files.create_database("one", None).await.unwrap();
    for name in ["one", "", "../one", "One"] {
        assert!(matches!(files.create_database(name, None).await, Err(ProvisionError::BadName { .. })), "{name}");
    }
}
