//! What migrations do to a real PostgreSQL, fact by fact: the traps that a rehearsal is there for.
//!
//! | fact | shown by |
//! | --- | --- |
//! | 1, USING INDEX takes ACCESS EXCLUSIVE and renames the index | `attaching_an_index_locks_the_table_and_renames_it`; `shipped` |
//! | 2, the pile-up behind a waiting ALTER | `an_idle_reader_makes_an_alter_wait_and_everybody_behind_it`; `shipped` beside `idle-reader` |
//! | 3, for whom a concurrent build waits | `a_concurrent_build_waits_for_writers_and_old_snapshots_and_for_no_idle_reader_of_another_table` |
//! | 4, lock_timeout leaves an INVALID index, and what comes of it | `a_build_that_times_out_leaves_an_invalid_index`; twins `lock-timeout`, `if-not-exists` |
//! | 5, duplicates, and the index that still rejects writes | `a_build_over_duplicates_leaves_an_index_that_rejects_writes`; `if-not-exists` |
//! | 6, two builds on one table | `two_builds_on_one_table_deadlock` |
//! | 7, replicas in a blocking advisory lock | `a_waiter_in_an_advisory_lock_makes_a_build_deadlock_or_hang`; twin `blocking-lock` |
//! | 8, one message is one transaction | `several_statements_in_one_message_are_one_transaction`; twin `set-and-build`; `migrations` |
//! | 9, the order of undoing | `the_index_goes_with_its_constraint`; twins `down-order`, `down-in-transaction` |
//! | 10, a unique index makes updates of its columns key updates | `a_unique_index_makes_updates_block_the_inserts_of_children` |
//! | 11, ON CONFLICT before the index is valid | `on_conflict_needs_a_valid_index`; twin `early-code`; the table of applications in `shipped` |
//! | 12, NULL groups, and what cannot become a constraint | `nulls_are_no_duplicates_and_partial_indexes_no_constraints`; twin `null-groups` |
//! | 13, SQLite | the tests of SQLite |
//! | 14, sqlx's migrator | `sqlx_waits_in_its_lock_keeps_it_after_an_error_and_records_no_failure`; `runner` |
//! | 15, what sampling misses | `a_lock_of_an_instant_is_seen_from_within_and_not_by_sampling`; `shipped` reads it before COMMIT |

use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqlSafeStr};
use tokio::task::JoinHandle;

use crate::ground::{Ground, send};

/// How long something may take to come about.
const SOON: Duration = Duration::from_secs(20);

fn on_ground<F: Future<Output = Ground>>(test: F) {
    let work = async { test.await.stop().await };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        tokio::time::timeout(Duration::from_secs(120), work).await.unwrap();
    });
}

async fn ground(name: &str, set_up: &str) -> Ground {
    let ground = Ground::start(name).await;
    send(&mut ground.session().await, set_up).await.unwrap();
    ground
}

async fn pid(session: &mut PgConnection) -> i32 {
    sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(session).await.unwrap()
}

/// What a query answers, as text.
async fn ask(session: &mut PgConnection, query: &str) -> String {
    let query = format!("SELECT coalesce(({query})::text, 'NULL')");
    sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(session).await.unwrap()
}

/// A statement on its way, and its session.
struct Sent {
    pid: i32,
    task: JoinHandle<Result<(), String>>,
}

impl Ground {
    async fn begin(&self, sql: &'static str) -> Sent {
        let mut session = self.session().await;
        let pid = pid(&mut session).await;
        Sent { pid, task: tokio::spawn(async move { send(&mut session, sql).await }) }
    }
}

impl Sent {
    async fn end(self) -> Result<(), String> {
        tokio::time::timeout(SOON, self.task).await.expect("it ends").unwrap()
    }

    /// By the server's word; answers for whom.
    async fn waits(&self, asking: &mut PgConnection) -> Vec<i32> {
        let waits = async {
            loop {
                let blockers: Vec<i32> = sqlx::query_scalar("SELECT pg_blocking_pids($1)")
                    .bind(self.pid)
                    .fetch_one(&mut *asking)
                    .await
                    .unwrap();
                if !blockers.is_empty() {
                    return blockers;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, waits).await.expect("it comes to wait")
    }
}

const INVALID: &str = "SELECT string_agg(indexrelid::regclass || ' ' || indisvalid || ' ' || indisready, ',') FROM pg_index \
                       WHERE indrelid = 't'::regclass AND NOT indisvalid";
const TABLE: &str = "CREATE TABLE t (a int, b int); CREATE TABLE other (a int); INSERT INTO t SELECT n, n FROM generate_series(1, 100) AS n";

#[test]
fn attaching_an_index_locks_the_table_and_renames_it() {
    on_ground(async {
        let ground = ground("fact1", TABLE).await;
        let mut one = ground.session().await;
        send(&mut one, "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)").await.unwrap();
        send(&mut one, "BEGIN; ALTER TABLE t ADD CONSTRAINT c UNIQUE USING INDEX i").await.unwrap();
        let locked = ask(
            &mut one,
            "SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 't'::regclass AND mode LIKE 'AccessEx%'",
        );
        assert_eq!(locked.await, "AccessExclusiveLock");
        send(&mut one, "COMMIT").await.unwrap();
        assert_eq!(ask(&mut one, "SELECT to_regclass('i')").await, "NULL");
        assert_eq!(ask(&mut one, "SELECT to_regclass('c')").await, "c");
        ground
    });
}

#[test]
fn an_idle_reader_makes_an_alter_wait_and_everybody_behind_it() {
    on_ground(async {
        let ground = ground("fact2", TABLE).await;
        let (mut reader, mut asking) = (ground.session().await, ground.session().await);
        let idle = pid(&mut reader).await;
        send(&mut reader, "BEGIN; SELECT FROM t").await.unwrap();
        let alter = ground.begin("ALTER TABLE t ADD c int").await;
        assert_eq!(alter.waits(&mut asking).await, [idle]);
        let read = ground.begin("SELECT FROM t").await;
        assert_eq!(read.waits(&mut asking).await, [alter.pid]);
        send(&mut reader, "COMMIT").await.unwrap();
        assert_eq!((alter.end().await, read.end().await), (Ok(()), Ok(())));
        ground
    });
}

#[test]
fn a_concurrent_build_waits_for_writers_and_old_snapshots_and_for_no_idle_reader_of_another_table() {
    on_ground(async {
        let ground = ground("fact3", TABLE).await;
        let mut asking = ground.session().await;
        let phase = "SELECT phase FROM pg_stat_progress_create_index";
        for (begins, expected) in [
            ("BEGIN; INSERT INTO t VALUES (0, 0)", Some("waiting for writers before build")),
            ("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM other", Some("waiting for old snapshots")),
            ("BEGIN; SELECT FROM other", None),
        ] {
            let mut other = ground.session().await;
            send(&mut other, begins).await.unwrap();
            let build = ground.begin("CREATE INDEX CONCURRENTLY i ON t (a)").await;
            if let Some(expected) = expected {
                assert_eq!(build.waits(&mut asking).await, [pid_of(&mut asking, begins).await]);
                assert_eq!(ask(&mut asking, phase).await, expected);
                send(&mut other, "ROLLBACK").await.unwrap();
            }
            // The third is idle all the while.
            assert_eq!(build.end().await, Ok(()), "{begins}");
            send(&mut asking, "DROP INDEX i").await.unwrap();
        }
        ground
    });
}

/// The session whose last message this was.
async fn pid_of(asking: &mut PgConnection, message: &str) -> i32 {
    sqlx::query_scalar("SELECT pid FROM pg_stat_activity WHERE query = $1")
        .bind(message)
        .fetch_one(asking)
        .await
        .unwrap()
}

#[test]
fn a_build_that_times_out_leaves_an_invalid_index() {
    on_ground(async {
        let ground = ground("fact4", TABLE).await;
        let (mut writer, mut one) = (ground.session().await, ground.session().await);
        send(&mut writer, "BEGIN; INSERT INTO t VALUES (0, 0)").await.unwrap();
        send(&mut one, "SET lock_timeout = '100ms'").await.unwrap();
        let build = "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)";
        assert_eq!(send(&mut one, build).await, Err("55P03".to_owned()));
        send(&mut writer, "ROLLBACK").await.unwrap();
        assert!(ask(&mut one, INVALID).await.starts_with("i false"));
        assert_eq!(send(&mut one, build).await, Err("42P07".to_owned()));
        assert_eq!(send(&mut one, "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)").await, Ok(()));
        assert!(ask(&mut one, INVALID).await.starts_with("i false"), "success was reported");
        let attach = "ALTER TABLE t ADD CONSTRAINT c UNIQUE USING INDEX i";
        assert_eq!(send(&mut one, attach).await, Err("55000".to_owned()));
        ground
    });
}

#[test]
fn a_build_over_duplicates_leaves_an_index_that_rejects_writes() {
    on_ground(async {
        let ground = ground("fact5", TABLE).await;
        let (mut snapshot, mut asking) = (ground.session().await, ground.session().await);
        // Duplicates in the first scan: INVALID, and not ready.
        send(&mut asking, "INSERT INTO t VALUES (1, 1)").await.unwrap();
        let build = "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)";
        assert_eq!(send(&mut asking, build).await, Err("23505".to_owned()));
        assert_eq!(ask(&mut asking, INVALID).await, "i false false");
        send(&mut asking, "DROP INDEX i; DELETE FROM t WHERE a = 1").await.unwrap();
        // While it waits for an old snapshot it is ready, and not valid: the application sees 23505 already.
        send(&mut snapshot, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM other").await.unwrap();
        let built = ground.begin(build).await;
        built.waits(&mut asking).await;
        assert_eq!(ask(&mut asking, INVALID).await, "i false true");
        assert_eq!(send(&mut asking, "INSERT INTO t VALUES (2, 2)").await, Err("23505".to_owned()));
        // Cut off there, it stays so.
        let cancel = format!("SELECT pg_cancel_backend({})", built.pid);
        send(&mut asking, &cancel).await.unwrap();
        assert_eq!(built.end().await, Err("57014".to_owned()));
        send(&mut snapshot, "ROLLBACK").await.unwrap();
        assert_eq!(ask(&mut asking, INVALID).await, "i false true");
        assert_eq!(send(&mut asking, "INSERT INTO t VALUES (2, 2)").await, Err("23505".to_owned()));
        ground
    });
}

#[test]
fn two_builds_on_one_table_deadlock() {
    on_ground(async {
        let ground = ground("fact6", TABLE).await;
        let (mut writer, mut asking) = (ground.session().await, ground.session().await);
        send(&mut writer, "BEGIN; INSERT INTO t VALUES (0, 0)").await.unwrap();
        let first = ground.begin("CREATE INDEX CONCURRENTLY i ON t (a)").await;
        first.waits(&mut asking).await;
        let second = ground.begin("CREATE INDEX CONCURRENTLY j ON t (b)").await;
        // The second has a snapshot's number already, and waits for the first one's lock on the table.
        assert_eq!(second.waits(&mut asking).await, [first.pid]);
        send(&mut writer, "COMMIT").await.unwrap();
        let ends = [first.end().await, second.end().await];
        let refused: Vec<_> = ends.iter().filter_map(|end| end.as_ref().err()).collect();
        assert_eq!(refused, ["40P01"], "{ends:?}");
        ground
    });
}

#[test]
fn a_waiter_in_an_advisory_lock_makes_a_build_deadlock_or_hang() {
    on_ground(async {
        let ground = ground("fact7", TABLE).await;
        let (mut leader, mut asking) = (ground.session().await, ground.session().await);
        send(&mut leader, "SELECT pg_advisory_lock(7)").await.unwrap();
        let replica = ground.begin("SELECT pg_advisory_lock(7)").await;
        replica.waits(&mut asking).await;
        // The leader builds, and waits for the snapshot of whoever waits for the leader.
        // Whoever looks for the circle first is its victim.
        send(&mut leader, "SET deadlock_timeout = '10ms'").await.unwrap();
        assert_eq!(send(&mut leader, "CREATE INDEX CONCURRENTLY i ON t (a)").await, Err("40P01".to_owned()));
        // Built in another session it waits for the replica, which waits for an idle one: no circle, and no end.
        send(&mut leader, "DROP INDEX i").await.unwrap();
        let build = ground.begin("CREATE INDEX CONCURRENTLY i ON t (a)").await;
        assert_eq!(build.waits(&mut asking).await, [replica.pid]);
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        assert_eq!(build.waits(&mut asking).await, [replica.pid], "longer than deadlock_timeout, and undetected");
        send(&mut leader, "SELECT pg_advisory_unlock(7)").await.unwrap();
        assert_eq!((replica.end().await, build.end().await), (Ok(()), Ok(())));
        ground
    });
}

#[test]
fn several_statements_in_one_message_are_one_transaction() {
    on_ground(async {
        let ground = ground("fact8", TABLE).await;
        let mut one = ground.session().await;
        let both = "SET lock_timeout = '5s'; CREATE INDEX CONCURRENTLY i ON t (a)";
        assert_eq!(send(&mut one, both).await, Err("25001".to_owned()));
        for alone in both.split("; ") {
            send(&mut one, alone).await.unwrap();
        }
        ground
    });
}

#[test]
fn the_index_goes_with_its_constraint() {
    on_ground(async {
        let ground = ground("fact9", TABLE).await;
        let mut one = ground.session().await;
        send(&mut one, "CREATE UNIQUE INDEX c ON t (a)").await.unwrap();
        send(&mut one, "ALTER TABLE t ADD CONSTRAINT c UNIQUE USING INDEX c").await.unwrap();
        let drop = "DROP INDEX CONCURRENTLY c";
        assert_eq!(send(&mut one, drop).await, Err("2BP01".to_owned()));
        send(&mut one, "ALTER TABLE t DROP CONSTRAINT c").await.unwrap();
        assert_eq!(send(&mut one, drop).await, Err("42704".to_owned()));
        send(&mut one, "BEGIN").await.unwrap();
        assert_eq!(send(&mut one, "CREATE INDEX CONCURRENTLY i ON t (a)").await, Err("25001".to_owned()));
        ground
    });
}

#[test]
fn a_unique_index_makes_updates_block_the_inserts_of_children() {
    on_ground(async {
        let family = "CREATE TABLE p (id int PRIMARY KEY, mail text); INSERT INTO p VALUES (1, 'a'); \
                      CREATE TABLE c (p int REFERENCES p)";
        let ground = ground("fact10", family).await;
        let (mut update, mut asking) = (ground.session().await, ground.session().await);
        let (write, insert) = ("BEGIN; UPDATE p SET mail = 'b'", "INSERT INTO c VALUES (1)");
        send(&mut update, write).await.unwrap();
        assert_eq!(ground.begin(insert).await.end().await, Ok(()));
        send(&mut update, "ROLLBACK").await.unwrap();
        // From the moment in which the build has made its row in the catalog: here it still waits for a writer.
        let mut writer = ground.session().await;
        send(&mut writer, "BEGIN; LOCK TABLE p IN ROW EXCLUSIVE MODE").await.unwrap();
        let build = ground.begin("CREATE UNIQUE INDEX CONCURRENTLY i ON p (mail)").await;
        build.waits(&mut asking).await;
        assert!(ask(&mut asking, "SELECT indisready FROM pg_index WHERE indexrelid = 'i'::regclass").await == "false");
        send(&mut update, write).await.unwrap();
        let inserted = ground.begin(insert).await;
        assert_eq!(inserted.waits(&mut asking).await, [pid_of(&mut asking, write).await]);
        for session in [&mut update, &mut writer] {
            send(session, "ROLLBACK").await.unwrap();
        }
        assert_eq!((inserted.end().await, build.end().await), (Ok(()), Ok(())));
        ground
    });
}

#[test]
fn on_conflict_needs_a_valid_index() {
    on_ground(async {
        let ground = ground("fact11", TABLE).await;
        let (mut snapshot, mut one) = (ground.session().await, ground.session().await);
        let upsert = "INSERT INTO t VALUES (1, 1) ON CONFLICT (a) DO NOTHING";
        assert_eq!(send(&mut one, upsert).await, Err("42P10".to_owned()));
        send(&mut snapshot, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM other").await.unwrap();
        let build = ground.begin("CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)").await;
        build.waits(&mut one).await;
        assert_eq!(send(&mut one, upsert).await, Err("42P10".to_owned()), "ready, and not valid yet");
        send(&mut snapshot, "ROLLBACK").await.unwrap();
        assert_eq!(build.end().await, Ok(()));
        assert_eq!(send(&mut one, upsert).await, Ok(()));
        ground
    });
}

#[test]
fn nulls_are_no_duplicates_and_partial_indexes_no_constraints() {
    on_ground(async {
        let ground = ground("fact12", TABLE).await;
        let mut one = ground.session().await;
        send(&mut one, "INSERT INTO t VALUES (NULL, 0), (NULL, 0)").await.unwrap();
        let groups = "SELECT count(*) FROM (SELECT FROM t GROUP BY a HAVING count(*) > 1) AS twice";
        assert_eq!(ask(&mut one, groups).await, "1");
        send(&mut one, "CREATE UNIQUE INDEX whole ON t (a)").await.unwrap();
        send(&mut one, "CREATE UNIQUE INDEX part ON t (a) WHERE b > 0").await.unwrap();
        send(&mut one, "CREATE UNIQUE INDEX expression ON t ((a + 0))").await.unwrap();
        for (index, refused) in [("part", Some("42809")), ("expression", Some("42809")), ("whole", None)] {
            let attach = format!("ALTER TABLE t ADD CONSTRAINT c UNIQUE USING INDEX {index}");
            assert_eq!(send(&mut one, &attach).await.err().as_deref(), refused, "{index}");
        }
        ground
    });
}

/// sqlx's migrator over one file without a transaction.
fn stock(sql: &'static str) -> Migrator {
    let kind = MigrationType::Simple;
    Migrator::with_migrations(vec![Migration::new(1, "one".into(), kind, sql.into_sql_str(), true)])
}

#[test]
fn sqlx_waits_in_its_lock_keeps_it_after_an_error_and_records_no_failure() {
    on_ground(async {
        let ground = ground("fact14", TABLE).await;
        let (mut first, mut asking) = (ground.session().await, ground.session().await);
        let failed = stock("CREATE UNIQUE INDEX CONCURRENTLY i ON t ((1))").run(&mut first).await;
        assert!(failed.is_err());
        assert_eq!(ask(&mut asking, "SELECT count(*) FROM _sqlx_migrations").await, "0", "nothing is recorded");
        let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";
        assert_eq!(ask(&mut asking, held).await, "1", "the lock is still there");
        // The next one waits in the lock, and has a snapshot meanwhile.
        let mut second = ground.session().await;
        let waiter = pid(&mut second).await;
        let snapshot = format!(
            "SELECT backend_xmin IS NOT NULL FROM pg_stat_activity WHERE pid = {waiter} AND wait_event = 'advisory'"
        );
        let waits = async {
            while ask(&mut asking, &snapshot).await != "true" {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let seen = async {
            tokio::time::timeout(SOON, waits).await.expect("it waits with a snapshot");
            first.close().await.unwrap();
        };
        let next = stock("SELECT 1");
        let (went, ()) = tokio::join!(next.run(&mut second), seen);
        // Whoever comes next is none the wiser: version 1 goes through as if it had never been tried.
        assert!(went.is_ok(), "{went:?}");
        ground
    });
}

#[test]
fn a_lock_of_an_instant_is_seen_from_within_and_not_by_sampling() {
    on_ground(async {
        let ground = ground("fact15", TABLE).await;
        let (mut one, mut asking) = (ground.session().await, ground.session().await);
        let strong = "SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND mode = 'AccessExclusiveLock'";
        assert_eq!(ask(&mut asking, strong).await, "0");
        send(&mut one, "BEGIN; ALTER TABLE t ADD c int").await.unwrap();
        assert_eq!(ask(&mut one, strong).await, "1", "within the transaction, before its COMMIT");
        send(&mut one, "COMMIT").await.unwrap();
        assert_eq!(ask(&mut asking, strong).await, "0", "the next sample is too late");
        // How long somebody has been waiting, the server says too, from PostgreSQL 14 on.
        send(&mut one, "BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let read = ground.begin("SELECT FROM t").await;
        read.waits(&mut asking).await;
        let since = "SELECT waitstart <= clock_timestamp() FROM pg_locks WHERE NOT granted AND waitstart IS NOT NULL";
        let told = async {
            while ask(&mut asking, since).await != "true" {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, told).await.expect("the wait has a beginning");
        send(&mut one, "ROLLBACK").await.unwrap();
        assert_eq!(read.end().await, Ok(()));
        ground
    });
}
