//! The proxy with a real server and real clients.

mod cluster;
mod faults;
mod gates;
mod logs;
mod signing;
mod tools;
mod traffic;

use std::future::Future;
use std::time::Duration;

use driftlock_wire::{Config, Endpoint, Gate, Listen, Open, Proxy, Record, Upstream};
use tokio_postgres::{Client, NoTls};

use cluster::cluster;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A proxy before the tests' server.
async fn proxy(gate: impl Gate) -> (Proxy, Endpoint) {
    let config = Config::new(Upstream::parse(&cluster().await.url()).expect("a URL"));
    let proxy = Proxy::new(config, gate).expect("a proxy");
    let endpoint = proxy.open(Listen::Tcp).await.expect("an endpoint");
    (proxy, endpoint)
}

/// A proxy that is recorded.
async fn recorded() -> (Proxy, Endpoint, Record<Open>) {
    let record = Record::around(Open, 100_000);
    let (proxy, endpoint) = proxy(record.clone()).await;
    (proxy, endpoint, record)
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a session");
    tokio::spawn(connection);
    client
}

/// Waits for a condition, with a bound.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..600 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it ends in time")
}
