//! The same work directly and through the proxy: no difference.

use std::fmt::Write;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use driftlock_wire::{Endpoint, Listen, Open, Proxy};
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt, TryStreamExt};
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, NoTls, SimpleQueryMessage};

use super::{cluster, connect, in_time, proxy, recorded};

/// Runs the work on a direct session, through a proxy that watches, and through one that does not.
async fn assert_same(work: impl AsyncFn(&mut Client) -> String) {
    let cluster = cluster().await;
    let direct = in_time(work(&mut connect(&cluster.url()).await)).await;
    let (open, unwatched) = proxy(Open).await;
    let (recording, watched, record) = recorded().await;
    for endpoint in [&unwatched, &watched] {
        let through = in_time(work(&mut connect(&endpoint.url()).await)).await;
        assert_eq!(direct, through);
    }
    assert!(!record.events().is_empty());
    assert_eq!(record.forgotten(), 0);
    open.stop().await;
    recording.stop().await;
}

fn said(error: &tokio_postgres::Error) -> String {
    // The client has errors of its own: it is told that a COPY has failed in two ways.
    let Some(error) = error.as_db_error() else { return error.to_string() };
    format!("{} {} {:?} {:?}", error.code().code(), error.message(), error.position(), error.constraint())
}

async fn simple(client: &Client, sql: &str) -> String {
    match client.simple_query(sql).await {
        Err(error) => said(&error),
        Ok(messages) => messages.iter().fold(String::new(), |mut all, message| {
            match message {
                SimpleQueryMessage::Row(row) => {
                    (0..row.len()).for_each(|at| write!(all, "{:?} ", row.get(at)).expect("a String"));
                }
                SimpleQueryMessage::CommandComplete(rows) => write!(all, "({rows}) ").expect("a String"),
                _ => {}
            }
            all
        }),
    }
}

#[tokio::test]
async fn simple_queries_and_their_errors_are_the_same() {
    assert_same(async |client| {
        let mut all = String::new();
        for sql in [
            "",
            "SELECT 1",
            "SELECT 1; SELECT 2; SELECT 1/0; SELECT 3",
            "SELEKT",
            "CREATE TEMP TABLE t (id int PRIMARY KEY, x text)",
            "INSERT INTO t SELECT n, repeat('x', n) FROM generate_series(1, 1000) n",
            "INSERT INTO t VALUES (1)",
            "BEGIN; SAVEPOINT a; INSERT INTO t VALUES (1)",
            "SELECT 1",
            "ROLLBACK TO a; SELECT count(*) FROM t; COMMIT",
            "BEGIN; SELECT 1/0",
            "COMMIT",
            "SELECT * FROM t WHERE id % 100 = 0",
            "DO $$ BEGIN RAISE NOTICE 'hello'; END $$",
            "SELECT NULL, '', 'ünïcödé'",
        ] {
            all.push_str(&simple(client, sql).await);
            all.push('\n');
        }
        all
    })
    .await;
}

#[tokio::test]
async fn typed_queries_are_the_same() {
    assert_same(async |client| {
        let mut all = String::new();
        for n in 0..300_i32 {
            let sql = "SELECT $1::int4, $2::int8, $3::text, $4::float8, $5::bool, $6::bytea, NULL::text, now() IS NULL";
            let text = "é".repeat(n as usize);
            let bytes: Vec<u8> = (0..n).map(|byte| byte as u8).collect();
            let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
                [&n, &i64::from(n), &text, &f64::from(n), &(n % 2 == 0), &bytes];
            let row = client.query_one(sql, &params).await.expect("a row");
            let same = row.get::<_, i32>(0) == n && row.get::<_, &str>(2) == text && row.get::<_, &[u8]>(5) == bytes;
            write!(all, "{same} {:?} ", row.get::<_, Option<&str>>(6)).expect("a String");
        }
        let array = client.query_one("SELECT ARRAY[1,2,3], '{}'::int[]", &[]).await.expect("a row");
        write!(all, "{:?}", array.get::<_, Vec<i32>>(0)).expect("a String");
        all
    })
    .await;
}

#[tokio::test]
async fn prepared_statements_savepoints_and_portals_are_the_same() {
    assert_same(async |client| {
        client.batch_execute("CREATE TEMP TABLE t (id int PRIMARY KEY)").await.expect("a table");
        let insert =
            client.prepare_typed("INSERT INTO t VALUES ($1) RETURNING id", &[Type::INT4]).await.expect("prepared");
        let mut all = String::new();
        for n in 0..200_i32 {
            let row = client.query(&insert, &[&(n % 150)]).await;
            all.push_str(&row.map_or_else(|error| said(&error), |rows| rows.len().to_string()));
        }
        all.push_str(&client.prepare("SELECT nothing").await.map_or_else(|error| said(&error), |_| String::new()));
        let mut transaction = client.transaction().await.expect("a transaction");
        {
            let savepoint = transaction.savepoint("a").await.expect("a savepoint");
            all.push_str(
                &savepoint.query("SELECT 1/$1::int", &[&0]).await.map_or_else(|e| said(&e), |_| String::new()),
            );
            savepoint.rollback().await.expect("rolled back");
        }
        let portal = transaction.bind("SELECT id FROM t ORDER BY id", &[]).await.expect("a portal");
        loop {
            let rows = transaction.query_portal(&portal, 40).await.expect("rows");
            write!(all, "[{}]", rows.len()).expect("a String");
            if rows.is_empty() {
                break;
            }
        }
        transaction.commit().await.expect("committed");
        all
    })
    .await;
}

#[tokio::test]
async fn data_is_copied_in_and_out_and_a_copy_that_fails_leaves_the_session_usable() {
    assert_same(async |client| {
        client.batch_execute("CREATE TEMP TABLE t (id int CHECK (id < 10000), x text)").await.expect("a table");
        let mut all = String::new();
        for end in [5_000, 10_001] {
            let mut sink = pin!(client.copy_in::<_, Bytes>("COPY t FROM STDIN").await.expect("copy in"));
            let mut rows = futures_util::stream::iter((0..end).map(|n| Ok(Bytes::from(format!("{n}\trow {n}\n")))));
            // The server may fail at any row, and the client is told then or at the end.
            let copied = match sink.send_all(&mut rows).await {
                Ok(()) => sink.finish().await,
                Err(error) => Err(error),
            };
            all.push_str(&copied.map_or_else(|error| said(&error), |rows| rows.to_string()));
            all.push_str(&simple(client, "SELECT count(*) FROM t").await);
        }
        let out = client.copy_out("COPY (SELECT * FROM t ORDER BY id) TO STDOUT").await.expect("copy out");
        let bytes: Vec<Bytes> = out.try_collect().await.expect("all of it");
        write!(all, "{} {:?}", bytes.len(), bytes.last()).expect("a String");
        {
            let sink = client.copy_in::<_, Bytes>("COPY t FROM STDIN").await.expect("copy in");
            drop(sink);
        }
        all.push_str(&simple(client, "SELECT count(*) FROM t").await);
        all.push_str(
            &client.copy_in::<_, Bytes>("COPY nothing FROM STDIN").await.map_or_else(|e| said(&e), |_| String::new()),
        );
        all.push_str(&simple(client, "SELECT 1").await);
        all
    })
    .await;
}

#[tokio::test]
async fn pipelined_queries_are_answered_in_their_order() {
    assert_same(async |client| {
        let numbers: Vec<i32> = (0..500).collect();
        let statement = client.prepare("SELECT 100 / ($1::int4 - 250)").await.expect("prepared");
        let answers = join_all(numbers.iter().map(|n| async {
            let n = *n;
            client.query_one(&statement, &[&n]).await.map_or_else(|e| said(&e), |row| row.get::<_, i32>(0).to_string())
        }));
        answers.await.join(" ")
    })
    .await;
}

#[tokio::test]
async fn notifications_arrive_while_nothing_is_asked() {
    let (_proxy, endpoint, _record) = recorded().await;
    let (listener, mut connection) = tokio_postgres::connect(&endpoint.url(), NoTls).await.expect("a session");
    let mut messages = futures_util::stream::poll_fn(move |cx| connection.poll_message(cx)).boxed();
    let talking = async {
        listener.batch_execute("LISTEN news").await.expect("listening");
        let speaker = connect(&endpoint.url()).await;
        speaker.batch_execute("NOTIFY news, 'hello'").await.expect("notified");
        std::future::pending::<()>().await;
    };
    let heard = async {
        loop {
            if let Some(Ok(AsyncMessage::Notification(notification))) = messages.next().await {
                return notification.payload().to_owned();
            }
        }
    };
    let heard = tokio::select! { () = talking => unreachable!(), heard = in_time(heard) => heard };
    assert_eq!(heard, "hello");
}

#[tokio::test]
async fn a_running_statement_is_cancelled_through_any_endpoint() {
    let (proxy, endpoint, record) = recorded().await;
    let client = connect(&endpoint.url()).await;
    let token = client.cancel_token();
    let sleeping = client.batch_execute("SELECT pg_sleep(60)");
    let cancelling = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel_query(NoTls).await.expect("sent");
    };
    let (slept, ()) = in_time(async { tokio::join!(sleeping, cancelling) }).await;
    assert!(said(&slept.expect_err("cancelled")).starts_with("57014"));
    assert_eq!(simple(&client, "SELECT 1").await, "(1) Some(\"1\") (1) ".replace("(1) Some", "Some"));
    let cancelled = |event: &driftlock_wire::Event| matches!(event, driftlock_wire::Event::Cancelled(_));
    assert!(record.events().iter().any(cancelled));
    proxy.stop().await;
}

#[tokio::test]
async fn a_parameter_of_64_mb_goes_through_and_is_the_same() {
    let (_proxy, endpoint, record) = recorded().await;
    let client = connect(&endpoint.url()).await;
    let long = "y".repeat(64 << 20);
    let row = client.query_one("SELECT length($1::text), md5($1)", &[&long]).await.expect("a row");
    assert_eq!(row.get::<_, i32>(0), 64 << 20);
    let direct = connect(&cluster().await.url()).await;
    let other = direct.query_one("SELECT length($1::text), md5($1)", &[&long]).await.expect("a row");
    assert_eq!(row.get::<_, String>(1), other.get::<_, String>(1));
    let not_whole = |event: &driftlock_wire::Event| match event {
        driftlock_wire::Event::Arrived(_, unit) => !unit.whole,
        _ => false,
    };
    assert!(record.events().iter().any(not_whole));
}

#[tokio::test]
async fn two_hundred_clients_are_served_at_once_on_both_kinds_of_sockets() {
    let (proxy, tcp, _record) = recorded().await;
    let unix = proxy.open(Listen::Unix).await.expect("an endpoint");
    let one = async |endpoint: &Endpoint, n: i32| {
        let client = connect(&endpoint.url()).await;
        for _ in 0..3 {
            let row = client.query_one("SELECT $1::int4", &[&n]).await.expect("a row");
            assert_eq!(row.get::<_, i32>(0), n);
        }
        client
    };
    let clients = in_time(join_all((0..200).map(|n| one(if n % 2 == 0 { &tcp } else { &unix }, n)))).await;
    assert_eq!(proxy.sessions(), 200);
    drop(clients);
    super::eventually("all sessions are closed", || proxy.sessions() == 0).await;
    drop::<Proxy>(proxy);
}
