//! What the server logs for whoever looks on, and the client never sees.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};

use driftlock_wire::{Config, ConnectionId, Gate, Listen, Proxy, Upstream, Watch};
use tokio_postgres::{AsyncMessage, NoTls};

use super::cluster;

/// Keeps what was logged.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<(String, bool)>>>);

impl Gate for Logs {
    fn watch(&self) -> Watch {
        Watch::Units
    }

    fn logged(&self, _: ConnectionId, detail: &str, cut: bool) {
        self.0.lock().expect("no panic").push((detail.to_owned(), cut));
    }
}

const SESSION: &str = "-c client_min_messages=log -c debug_print_plan=on -c deadlock_timeout=77 -c work_mem=5MB";

#[tokio::test]
async fn logs_go_to_the_gate_and_notices_to_the_client_and_its_own_options_prevail() {
    let mut config = Config::new(Upstream::parse(&cluster().await.url()).expect("a URL"));
    (config.session, config.keeps_logs) = (SESSION.to_owned(), true);
    let logs = Logs::default();
    let proxy = Proxy::new(config, logs.clone()).expect("a proxy");
    let endpoint = proxy.open(Listen::Tcp).await.expect("an endpoint");
    let url = format!("{}?options=-c%20work_mem%3D6MB", endpoint.url());
    let (client, mut connection) = tokio_postgres::connect(&url, NoTls).await.expect("a session");
    let told = Arc::new(Mutex::new(Vec::new()));
    let to = told.clone();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notice(notice) = message {
                to.lock().expect("no panic").push(notice.message().to_owned());
            }
        }
    });
    let shown = async |setting: &str| {
        let row = client.query_one(&format!("SHOW {setting}"), &[]).await.expect("a row");
        row.get::<_, String>(0)
    };
    assert_eq!((shown("deadlock_timeout").await, shown("work_mem").await), ("77ms".to_owned(), "6MB".to_owned()));
    // A tree that is longer than what is looked at is cut, and all of it is kept from the client.
    let long = format!("SELECT {}", vec!["1"; 1_000].join(", "));
    client.batch_execute("SELECT 1").await.expect("it runs");
    client.batch_execute(&long).await.expect("it runs");
    client.batch_execute("DO $$ BEGIN RAISE NOTICE 'seen'; END $$").await.expect("it runs");
    let logs = logs.0.lock().expect("no panic").clone();
    assert!(logs.iter().any(|(detail, cut)| detail.contains("{PLANNEDSTMT") && !cut), "{}", logs.len());
    assert!(logs.iter().any(|(_, cut)| *cut));
    assert!(logs.iter().all(|(detail, _)| detail.len() <= driftlock_wire::bounds::LOG_BYTES_MAX));
    assert_eq!(*told.lock().expect("no panic"), ["seen"]);
}
