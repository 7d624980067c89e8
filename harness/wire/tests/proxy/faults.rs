//! Clients and servers that say anything: nothing hangs, and the proxy serves on.

use std::sync::Arc;
use std::time::Duration;

use driftlock_wire::{Config, Door, Endpoint, Event, Listen, Open, Proxy, Record, Upstream};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::NoTls;

use super::signing::{dial, sign_in};
use super::{eventually, in_time};

/// A server that lets everybody in, and then says the same to each.
async fn fake_server(says: Vec<u8>, signs_in: bool) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let says = Arc::new(says);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&says), signs_in));
        }
    });
    port
}

async fn serve(mut stream: TcpStream, says: Arc<Vec<u8>>, signs_in: bool) -> std::io::Result<()> {
    let length = stream.read_u32().await?;
    stream.read_exact(&mut vec![0; length as usize - 4]).await?;
    if signs_in {
        stream.write_all(b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x01\0\0\0\x02Z\0\0\0\x05I").await?;
        // The first words of the client, if it has any.
        let _ = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut [0; 4096])).await;
    }
    stream.write_all(&says).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(())
}

async fn before(port: u16) -> (Proxy, Endpoint, Record<Open>) {
    let upstream = Upstream::parse(&format!("postgresql://wire@127.0.0.1:{port}/postgres")).expect("a URL");
    let record = Record::around(Open, 1000);
    let proxy = Proxy::new(Config::new(upstream), record.clone()).expect("a proxy");
    let endpoint = proxy.open(Listen::Tcp).await.expect("an endpoint");
    (proxy, endpoint, record)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Bytes of which some look like messages.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    let tags = b"QPBDECSHFXdcfzR123TtnDCEZGWIsANKSv".to_vec();
    let message = (prop::sample::select(tags), prop::collection::vec(any::<u8>(), 0..30)).prop_map(|(tag, body)| {
        let length = (body.len() as u32 + 4).to_be_bytes();
        [&[tag], &length[..], &body].concat()
    });
    let noise = prop::collection::vec(any::<u8>(), 0..30);
    prop::collection::vec(prop_oneof![3 => message, 1 => noise], 0..12).prop_map(|parts| parts.concat())
}

fn for_each_case<S: Strategy>(cases: u32, strategy: S, check: impl AsyncFn(S::Value)) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let runtime = runtime();
    let ran = TestRunner::new(config).run(&strategy, |value| {
        runtime.block_on(in_time(check(value)));
        Ok(())
    });
    ran.expect("no case fails");
}

#[test]
fn a_client_may_say_anything_before_it_has_signed_in() {
    let started = prop_oneof![
        anything(),
        anything().prop_map(|rest| [&(rest.len() as u32 + 8).to_be_bytes()[..], &[0, 3, 0, 0], &rest].concat()),
        anything().prop_map(|rest| [&b"\0\0\0\x27\0\x03\0\0user\0wire\0database\0postgres\0\0"[..], &rest].concat()),
        anything().prop_map(|rest| [&b"\0\0\0\x08\x04\xd2\x16\x2f"[..], &rest].concat()),
    ];
    for_each_case(150, started, async |bytes| {
        let (proxy, endpoint, _record) = before(1).await;
        let mut stream = dial(&endpoint).await;
        // It may be refused in the middle of it.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said).await;
        assert!(said.len() < 1000);
        assert_eq!(proxy.sessions(), 0);
        proxy.stop().await;
    });
}

#[test]
fn a_client_and_a_server_may_say_anything_to_each_other() {
    for_each_case(150, (anything(), anything()), async |(client_says, server_says)| {
        let (proxy, endpoint, record) = before(fake_server(server_says, true).await).await;
        let (mut stream, _) = sign_in(&endpoint, &[]).await;
        let _ = stream.write_all(&client_says).await;
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said).await;
        drop(stream);
        let closed = || record.events().iter().any(|event| matches!(event, Event::Closed(..)));
        eventually("it is closed", closed).await;
        assert_eq!(proxy.sessions(), 0);
        proxy.stop().await;
    });
}

#[test]
fn a_server_may_say_anything_while_a_session_is_signed_in() {
    for_each_case(100, anything(), async |server_says| {
        let (proxy, endpoint, _record) = before(fake_server(server_says, false).await).await;
        // Whatever comes of it, it comes to an end.
        let _ = tokio_postgres::connect(&endpoint.url(), NoTls).await.map(drop);
        proxy.stop().await;
    });
}

#[tokio::test]
async fn a_server_that_closes_ends_the_session_with_its_last_words() {
    let last = b"E\0\0\0\x27SFATAL\0C57P01\0Mterminating\0\0";
    let mut words = last.to_vec();
    words[4] = (last.len() - 1) as u8;
    let (_proxy, endpoint, record) = before(fake_server(words.clone(), true).await).await;
    let (mut stream, _) = sign_in(&endpoint, &[]).await;
    let mut said = Vec::new();
    in_time(stream.read_to_end(&mut said)).await.expect("the end");
    assert_eq!(said, words);
    let gone = |event: &Event| matches!(event, Event::Closed(_, driftlock_wire::Ending::ServerGone));
    eventually("it is told", || record.events().iter().any(gone)).await;
}

#[tokio::test]
async fn a_message_without_a_length_ends_the_session_with_the_server_s_own_words() {
    let (_proxy, endpoint, _record) = before(fake_server(Vec::new(), true).await).await;
    let Door::Tcp(_) = endpoint.door else { panic!("a TCP endpoint") };
    let (mut stream, _) = sign_in(&endpoint, &[]).await;
    stream.write_all(b"Q\0\0\0\x03").await.expect("sent");
    let mut said = Vec::new();
    in_time(stream.read_to_end(&mut said)).await.expect("the end");
    assert!(String::from_utf8_lossy(&said).contains("invalid message length"));
}
