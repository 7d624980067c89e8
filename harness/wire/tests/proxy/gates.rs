//! What a gate sees, and what becomes of its decisions.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use driftlock_wire::{
    Admission, Answer, ConnectionId, Ending, EndpointId, Event, Gate, Kind, Record, Shown, Step, Ticket, Transaction,
    Unit, Watch, decoded,
};
use futures_util::SinkExt;
use tokio::sync::Semaphore;
use tokio_postgres::{Client, IsolationLevel, SimpleQueryMessage};

use super::{cluster, connect, eventually, in_time, proxy, recorded};

/// Decides by a unit's text, with one rule; everything else goes through.
struct Rule {
    text: &'static str,
    admission: Admission,
}

impl Gate for Rule {
    fn admit(&self, _: ConnectionId, unit: &Arc<Unit>) -> Ticket {
        let meant = |text: &str| text.contains(self.text);
        let in_data = self.text == "COPY data" && unit.kind == Kind::Copy;
        let all = unit.statements().any(meant) || in_data;
        Ticket::Now(if all { self.admission.clone() } else { Admission::Forward })
    }
}

/// Has one text asked in the place of another.
struct Exchange {
    text: &'static str,
    with: &'static str,
}

impl Gate for Exchange {
    fn rewritten(&self, _: ConnectionId, text: &str) -> Option<String> {
        text.contains(self.text).then(|| text.replace(self.text, self.with))
    }
}

/// Has a lock taken wherever a transaction begins.
struct Following;

impl Gate for Following {
    fn followed(&self, _: ConnectionId, text: &str) -> Option<String> {
        (text == "BEGIN").then(|| "SELECT pg_advisory_xact_lock(7)".to_owned())
    }
}

fn refusing(text: &'static str) -> Rule {
    refusing_after(None, text)
}

fn refusing_after(first: Option<&str>, text: &'static str) -> Rule {
    let (sqlstate, message, first) = ("40001".to_owned(), "not now".to_owned(), first.map(str::to_owned));
    Rule { text, admission: Admission::Refuse { sqlstate, message, first } }
}

/// Holds each unit with a mark in it until there is a permit.
#[derive(Clone)]
struct Holding {
    permits: Arc<Semaphore>,
    held: Arc<Mutex<Vec<String>>>,
    closed: Arc<Mutex<Vec<Ending>>>,
}

impl Holding {
    fn new() -> Holding {
        Holding { permits: Arc::new(Semaphore::new(0)), held: Arc::default(), closed: Arc::default() }
    }

    fn held(&self) -> usize {
        self.held.lock().expect("no panic").len()
    }

    fn closed(&self) -> Vec<Ending> {
        self.closed.lock().expect("no panic").clone()
    }
}

impl Gate for Holding {
    fn watch(&self) -> Watch {
        Watch::Rows { bytes_max: 1000 }
    }

    fn admit(&self, _: ConnectionId, unit: &Arc<Unit>) -> Ticket {
        let Some(text) = unit.statements().find(|text| text.contains("/* held */")) else {
            return Ticket::Now(Admission::Forward);
        };
        self.held.lock().expect("no panic").push(text.to_owned());
        let permits = Arc::clone(&self.permits);
        Ticket::later(async move {
            permits.acquire().await.expect("open").forget();
            Admission::Forward
        })
    }

    fn closed(&self, _: ConnectionId, ending: &Ending) {
        self.closed.lock().expect("no panic").push(ending.clone());
    }
}

fn units(events: &[Event]) -> Vec<(Arc<Unit>, Answer)> {
    let answered = |event: &Event| match event {
        Event::Answered(_, unit, answer) => Some((Arc::clone(unit), answer.clone())),
        _ => None,
    };
    events.iter().filter_map(answered).collect()
}

/// The answer to the first unit since that has this text.
fn answer_of(record: &Record<Rule>, text: &str) -> Answer {
    let all = units(&record.take());
    let has = |unit: &Unit| unit.statements().any(|statement| statement.contains(text));
    all.into_iter().find(|(unit, _)| has(unit)).expect("it was answered").1
}

fn code(error: &tokio_postgres::Error) -> String {
    error.as_db_error().expect("an error of the server's").code().code().to_owned()
}

async fn one(client: &Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.expect("a row").get::<_, String>(0)
}

#[tokio::test]
async fn a_unit_is_described_with_its_statement_parameters_and_answer() {
    let (_proxy, endpoint, record) = recorded().await;
    let client = connect(&endpoint.url()).await;
    let statement = client.prepare("SELECT $1::int4 + 1, $2::text, $3::uuid::text, $4::point").await.err();
    assert!(statement.is_none());
    let statement = client.prepare("SELECT $1::int4 + 1, $2::text").await.expect("prepared");
    client.query(&statement, &[&41, &"two"]).await.expect("rows");
    client.batch_execute("BEGIN; SELECT 1/0").await.expect_err("an error");
    client.batch_execute("COMMIT").await.expect("answered with ROLLBACK");
    let units = units(&record.take());
    let (unit, answer) =
        units.iter().find(|(unit, _)| unit.steps.len() > 2 && unit.statements().count() == 1).expect("it");
    assert_eq!(unit.statements().collect::<Vec<_>>(), ["SELECT $1::int4 + 1, $2::text"]);
    let parameters = unit.steps.iter().find_map(|step| match step {
        Step::Bind { parameters, cut: false, .. } => Some(parameters),
        _ => None,
    });
    let shown: Vec<_> =
        parameters.expect("a Bind").iter().map(|one| (one.value.clone().expect("a value"), one.shown)).collect();
    assert_eq!(shown.iter().map(|(text, _)| &*text.text).collect::<Vec<_>>(), ["41", "two"]);
    assert!(shown.iter().all(|(_, shown)| *shown == Shown::Decoded));
    assert_eq!(answer.outcomes.len(), 1);
    assert_eq!((&*answer.outcomes[0].tag, answer.outcomes[0].rows), ("SELECT 1", 1));
    assert_eq!(answer.transaction, Some(Transaction::Idle));
    let [.., (failed, error), (commit, rolled_back)] = &*units else { panic!("two units") };
    assert_eq!(failed.kind, Kind::Query);
    assert_eq!(error.sqlstate(), Some("22012"));
    assert_eq!(error.transaction, Some(Transaction::Failed));
    assert_eq!(commit.statements().collect::<Vec<_>>(), ["COMMIT"]);
    assert_eq!(rolled_back.outcomes[0].tag, "ROLLBACK");
    assert!(units.iter().all(|(unit, answer)| !unit.unknown && !answer.unknown && unit.whole));
}

#[tokio::test]
async fn nothing_of_a_held_unit_reaches_the_server_until_it_is_let_through() {
    let gate = Holding::new();
    let (_proxy, endpoint) = proxy(gate.clone()).await;
    let (client, direct) = (connect(&endpoint.url()).await, connect(&cluster().await.url()).await);
    let pid = client.query_one("SELECT pg_backend_pid()", &[]).await.expect("a row").get::<_, i32>(0);
    let holding = tokio::spawn(async move { (client.batch_execute("SELECT 1 /* held */").await, client) });
    eventually("it is held", || gate.held() == 1).await;
    let asked = format!("SELECT state || ' ' || query FROM pg_stat_activity WHERE pid = {pid}");
    assert!(!one(&direct, &asked).await.contains("held"));
    gate.permits.add_permits(1);
    let (answered, _client) = in_time(holding).await.expect("no panic");
    answered.expect("let through");
    assert!(one(&direct, &asked).await.contains("held"));
}

#[tokio::test]
async fn a_client_that_leaves_while_its_unit_is_held_is_noticed() {
    let gate = Holding::new();
    let (proxy, endpoint) = proxy(gate.clone()).await;
    let client = connect(&endpoint.url()).await;
    let holding = tokio::spawn(async move { client.batch_execute("SELECT 1 /* held */").await });
    eventually("it is held", || gate.held() == 1).await;
    holding.abort();
    // The connection's own task ends once its client is gone, and has asked before.
    let (mut stream, _) = super::signing::sign_in(&endpoint, &[]).await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"Q\0\0\0\x18SELECT 2 /* held */\0").await.expect("sent");
    eventually("it is held", || gate.held() == 2).await;
    drop(stream);
    eventually("its session is closed", || gate.closed().contains(&Ending::ClientGone)).await;
    proxy.stop().await;
    assert!(gate.closed().contains(&Ending::Stopped));
}

/// The row is locked all the same by whoever asks the server itself, so that a lock would be noticed.
#[tokio::test]
async fn an_exchanged_text_is_what_the_server_gets_however_it_is_sent() {
    let record = Record::around(Exchange { text: " FOR UPDATE NOWAIT", with: "" }, 1000);
    let (_proxy, endpoint) = proxy(record.clone()).await;
    let (client, direct) = (connect(&endpoint.url()).await, connect(&cluster().await.url()).await);
    direct
        .batch_execute("CREATE TABLE exchanged (id int, v text); INSERT INTO exchanged VALUES (7, 'seven')")
        .await
        .unwrap();
    direct.batch_execute("BEGIN; SELECT 1 FROM exchanged FOR UPDATE").await.unwrap();
    let sql = "SELECT v FROM exchanged WHERE id = $1 FOR UPDATE NOWAIT";
    // Prepared once and run often; prepared and run in one batch; simple, as one of two statements.
    let prepared = client.prepare(sql).await.expect("prepared");
    for _ in 0..2 {
        assert_eq!(client.query_one(&prepared, &[&7]).await.expect("no lock").get::<_, &str>(0), "seven");
    }
    let typed = client.query_typed(sql, &[(&7_i32, tokio_postgres::types::Type::INT4)]).await.expect("no lock");
    assert_eq!(typed[0].get::<_, &str>(0), "seven");
    client.batch_execute("SELECT 1; SELECT v FROM exchanged FOR UPDATE NOWAIT").await.expect("no lock");
    let units = units(&record.take());
    let texts: Vec<&str> = units.iter().flat_map(|(unit, _)| unit.statements()).collect();
    assert!(texts.iter().filter(|text| text.contains("exchanged")).count() >= 4, "{texts:?}");
    assert!(!texts.iter().any(|text| text.contains("NOWAIT")), "{texts:?}");
}

/// The lock is real, and the client has seen nothing of it.
#[tokio::test]
async fn what_follows_a_statement_runs_with_it_however_it_is_sent_and_only_its_errors_are_seen() {
    let (_proxy, endpoint) = proxy(Record::around(Following, 1000)).await;
    let (client, direct) = (connect(&endpoint.url()).await, connect(&cluster().await.url()).await);
    let is_free = async || {
        let sql = "SELECT pg_try_advisory_lock(7) AND pg_advisory_unlock(7)";
        direct.query_one(sql, &[]).await.expect("asked").get::<_, bool>(0)
    };
    let prepared = client.prepare("BEGIN").await.expect("prepared");
    for round in 0..4 {
        match round {
            0 => {
                let answers = client.simple_query("BEGIN").await.expect("begun");
                assert!(matches!(answers[..], [SimpleQueryMessage::CommandComplete(0)]), "{answers:?}");
            }
            1 => assert!(client.query_typed("BEGIN", &[]).await.expect("begun").is_empty()),
            _ => assert_eq!(client.execute(&prepared, &[]).await.expect("begun"), 0),
        }
        assert!(!is_free().await, "in round {round}");
        assert_eq!(client.query_one("SELECT 2", &[]).await.expect("goes on").get::<_, i32>(0), 2);
        client.batch_execute("COMMIT").await.expect("committed");
        assert!(is_free().await, "after round {round}");
    }
    direct.batch_execute("SELECT pg_advisory_lock(7)").await.expect("locked");
    client.batch_execute("SET lock_timeout = 50").await.expect("set");
    assert_eq!(code(&client.batch_execute("BEGIN").await.expect_err("locked")), "55P03");
    client.batch_execute("ROLLBACK").await.expect("usable");
    assert_eq!(code(&client.execute(&prepared, &[]).await.expect_err("locked")), "55P03");
    client.batch_execute("ROLLBACK").await.expect("usable");
    direct.batch_execute("SELECT pg_advisory_unlock(7)").await.expect("unlocked");
    assert_eq!(client.execute(&prepared, &[]).await.expect("what was left by the error is gone"), 0);
}

/// What is no longer asked for is bound all the same, and the client was told its type.
#[tokio::test]
async fn a_parameter_that_only_the_old_text_asks_for_is_still_bound() {
    let sql = "INSERT INTO kept (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET n = $2";
    let with = "WITH driftlock_kept AS (SELECT $2::pg_catalog.int8) INSERT INTO kept (id) VALUES ($1)";
    let (_proxy, endpoint) = proxy(Exchange { text: sql, with }).await;
    let client = connect(&endpoint.url()).await;
    client.batch_execute("CREATE TEMP TABLE kept (id int PRIMARY KEY, n bigint)").await.unwrap();
    let prepared = client.prepare(sql).await.expect("prepared");
    assert_eq!(prepared.params(), [tokio_postgres::types::Type::INT4, tokio_postgres::types::Type::INT8]);
    assert_eq!(client.execute(&prepared, &[&1, &5_i64]).await.expect("inserted"), 1);
    assert_eq!(code(&client.execute(&prepared, &[&1, &5_i64]).await.expect_err("there is one")), "23505");
}

#[tokio::test]
async fn a_refused_unit_fails_as_if_the_server_had_refused_it() {
    let (_proxy, endpoint) = proxy(refusing("not this")).await;
    let mut client = connect(&endpoint.url()).await;
    // Simple, outside of a transaction and within.
    assert_eq!(code(&client.batch_execute("SELECT 'not this'").await.expect_err("refused")), "40001");
    client.batch_execute("SELECT 1").await.expect("usable");
    client.batch_execute("BEGIN").await.expect("begun");
    assert_eq!(code(&client.batch_execute("SELECT 'not this'").await.expect_err("refused")), "40001");
    assert_eq!(code(&client.batch_execute("SELECT 1").await.expect_err("failed")), "25P02");
    client.batch_execute("ROLLBACK").await.expect("usable");
    // Extended, and prepared before.
    let statement = client.prepare("SELECT 'not this', $1::int4").await.expect("only its execution is refused");
    let transaction =
        client.build_transaction().isolation_level(IsolationLevel::Serializable).start().await.expect("begun");
    let error = transaction.query(&statement, &[&1]).await.expect_err("refused");
    assert_eq!(code(&error), "40001");
    assert_eq!(error.as_db_error().expect("an error").message(), "not now");
    assert_eq!(code(&transaction.query("SELECT 1", &[]).await.expect_err("failed")), "25P02");
    transaction.rollback().await.expect("usable");
    client.query("SELECT $1::int4", &[&1]).await.expect("usable");
}

#[tokio::test]
async fn a_refused_copy_leaves_nothing_and_a_usable_session() {
    let (_proxy, endpoint) = proxy(refusing("COPY data")).await;
    let client = connect(&endpoint.url()).await;
    client.batch_execute("CREATE TEMP TABLE t (x text)").await.expect("a table");
    for rows in [3, 60_000] {
        let mut sink = pin!(client.copy_in::<_, Bytes>("COPY t FROM STDIN").await.expect("the COPY itself is allowed"));
        for _ in 0..rows {
            sink.send(Bytes::from_static(b"some text that is a little longer\n")).await.expect("sent");
        }
        assert_eq!(code(&in_time(sink.finish()).await.expect_err("refused")), "40001");
        assert_eq!(one(&client, "SELECT count(*)::text FROM t").await, "0");
    }
}

#[tokio::test]
async fn a_refused_commit_is_rolled_back_and_what_comes_before_what_is_refused_is_carried_out() {
    let direct = connect(&cluster().await.url()).await;
    direct.batch_execute("CREATE TABLE IF NOT EXISTS undone (x int)").await.expect("a table");
    let (record, of_commits) =
        (Record::around(refusing_after(Some("ROLLBACK"), "COMMIT"), 1000), "SELECT count(*)::text FROM undone");
    let (_proxy, endpoint) = proxy(record.clone()).await;
    let client = connect(&endpoint.url()).await;
    for extended in [false, true] {
        client.batch_execute("BEGIN; INSERT INTO undone VALUES (1)").await.expect("inserted");
        let error = match extended {
            false => in_time(client.batch_execute("COMMIT")).await.expect_err("refused"),
            true => in_time(client.query_typed("COMMIT", &[])).await.expect_err("refused"),
        };
        assert_eq!(code(&error), "40001");
        assert_eq!(one(&client, of_commits).await, "0");
        // No transaction is open any more, and the client is not told how that came.
        let answer = answer_of(&record, "COMMIT");
        assert_eq!((answer.transaction, answer.outcomes.len()), (Some(Transaction::Idle), 0));
    }
    let (record, text) =
        (Record::around(refusing_after(Some("BEGIN"), "/* refused */"), 1000), "BEGIN; SELECT 1 /* refused */");
    let (_proxy, endpoint) = proxy(record.clone()).await;
    let client = connect(&endpoint.url()).await;
    assert_eq!(code(&in_time(client.batch_execute(text)).await.expect_err("refused")), "40001");
    client.batch_execute("ROLLBACK").await.expect("there is one");
    assert_eq!(answer_of(&record, "/* refused */").transaction, Some(Transaction::Failed));
}

#[tokio::test]
async fn a_dropped_unit_is_not_sent_and_a_sent_one_that_is_dropped_is_done() {
    let direct = connect(&cluster().await.url()).await;
    direct.batch_execute("CREATE TABLE IF NOT EXISTS dropped (x int)").await.expect("a table");
    for (admission, count) in [(Admission::Drop, "0"), (Admission::SendThenDrop, "1")] {
        direct.batch_execute("TRUNCATE dropped").await.expect("empty");
        let record = Record::around(Rule { text: "COMMIT", admission }, 1000);
        let (_proxy, endpoint) = proxy(record.clone()).await;
        let client = connect(&endpoint.url()).await;
        client.batch_execute("BEGIN; INSERT INTO dropped VALUES (1)").await.expect("inserted");
        assert!(in_time(client.batch_execute("COMMIT")).await.expect_err("closed").is_closed());
        let closed = |event: &Event| matches!(event, Event::Closed(_, Ending::Dropped));
        eventually("it is closed", || record.events().iter().any(closed)).await;
        // TRUNCATE waits for the transaction's locks: what was not committed is gone by then.
        assert_eq!(one(&direct, "SELECT count(*)::text FROM dropped").await, count);
    }
}

#[tokio::test]
async fn a_cancel_reaches_the_session_of_a_held_unit() {
    let gate = Holding::new();
    let record = Record::around(gate.clone(), 1000);
    let (_proxy, endpoint) = proxy(record.clone()).await;
    let client = connect(&endpoint.url()).await;
    let token = client.cancel_token();
    let holding = tokio::spawn(async move { client.batch_execute("SELECT 1 /* held */").await });
    eventually("it is held", || gate.held() == 1).await;
    in_time(token.cancel_query(tokio_postgres::NoTls)).await.expect("sent");
    let cancelled = |event: &Event| matches!(event, Event::Cancelled(_));
    eventually("it is passed on", || record.events().iter().any(cancelled)).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    gate.permits.add_permits(1);
    in_time(holding).await.expect("no panic").expect("nothing ran when the request came");
}

#[tokio::test]
async fn first_rows_are_given_where_they_are_watched() {
    let record = Record::around(Holding::new(), 1000);
    let (_proxy, endpoint) = proxy(record.clone()).await;
    let client = connect(&endpoint.url()).await;
    client.simple_query("SELECT n, NULL FROM generate_series(1, 1000) n; SELECT 'x' AS name").await.expect("rows");
    let units = units(&record.take());
    let [first, second] = &*units[0].1.outcomes else { panic!("two outcomes") };
    assert_eq!(first.rows, 1000);
    assert!((10..1000).contains(&first.first_rows.len()));
    assert_eq!(first.first_rows[1], [Some(Bytes::from_static(b"2")), None]);
    assert_eq!((first.columns[0].type_oid, first.columns[0].binary), (23, false));
    assert_eq!((&*second.columns[0].name, second.rows), ("name", 1));
}

#[tokio::test]
async fn the_rows_of_a_prepared_statement_have_their_types_and_their_form_in_later_units_too() {
    let record = Record::around(Holding::new(), 1000);
    let (_proxy, endpoint) = proxy(record.clone()).await;
    let client = connect(&endpoint.url()).await;
    let numbers = client.prepare("SELECT $1::int AS n, true").await.expect("prepared");
    let text = client.prepare("SELECT 'x'").await.expect("prepared");
    for n in [1, 2] {
        client.query(&text, &[]).await.expect("a row");
        client.query(&numbers, &[&n]).await.expect("a row");
    }
    let columns = |(_, answer): &(Arc<Unit>, Answer)| {
        let outcome = answer.outcomes.first().filter(|outcome| outcome.rows == 1)?;
        let columns: Vec<(u32, bool)> = outcome.columns.iter().map(|one| (one.type_oid, one.binary)).collect();
        let shown = outcome.first_rows[0].iter().flatten().zip(&columns);
        Some(shown.map(|(value, (oid, _))| decoded(value, *oid).expect("it is simple").to_string()).collect::<Vec<_>>())
            .filter(|_| columns.iter().all(|(_, binary)| *binary))
    };
    let shown: Vec<Vec<String>> = units(&record.take()).iter().filter_map(columns).collect();
    assert_eq!(shown, [vec!["x"], vec!["1", "true"], vec!["x"], vec!["2", "true"]]);
}

/// Turns away whoever asks for a session, as long as it is told to.
#[derive(Clone)]
struct Full(Arc<Mutex<bool>>);

impl Gate for Full {
    fn enters(&self, _: EndpointId) -> Ticket {
        let full = *self.0.lock().expect("no panic");
        Ticket::later(async move {
            let (sqlstate, message) = ("53300".to_owned(), "sorry, too many clients already".to_owned());
            if full { Admission::Refuse { sqlstate, message, first: None } } else { Admission::Forward }
        })
    }
}

#[tokio::test]
async fn a_session_that_the_gate_refuses_is_refused_as_a_server_does() {
    let full = Full(Arc::new(Mutex::new(true)));
    let (proxy, endpoint) = proxy(full.clone()).await;
    let refused = tokio_postgres::connect(&endpoint.url(), tokio_postgres::NoTls).await.err().expect("an error");
    assert_eq!(code(&refused), "53300");
    assert_eq!(proxy.sessions(), 0);
    *full.0.lock().expect("no panic") = false;
    assert_eq!(one(&connect(&endpoint.url()).await, "SELECT 'in'").await, "in");
}
