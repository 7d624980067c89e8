//! How clients sign in, and who is not let in.

use std::time::Duration;

use bytes::BytesMut;
use driftlock_wire::{Config, Door, Endpoint, Limits, Listen, Names, Open, Proxy, Upstream};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::NoTls;

use super::{cluster, connect, in_time, proxy};

pub async fn dial(endpoint: &Endpoint) -> TcpStream {
    let Door::Tcp(address) = endpoint.door else { panic!("a TCP endpoint") };
    TcpStream::connect(address).await.expect("a connection")
}

/// Reads the next message, and its tag.
async fn next(stream: &mut TcpStream, buffer: &mut BytesMut) -> (u8, Message) {
    loop {
        let tag = buffer.first().copied();
        if let Some(message) = Message::parse(buffer).expect("a message") {
            return (tag.expect("it was read"), message);
        }
        assert!(stream.read_buf(buffer).await.expect("bytes") > 0, "closed");
    }
}

/// Signs in by hand; gives the tags of what came after the password.
pub async fn sign_in(endpoint: &Endpoint, parameters: &[(&str, &str)]) -> (TcpStream, String) {
    let mut stream = dial(endpoint).await;
    let mut packet = BytesMut::new();
    let names = [("user", &*endpoint.user), ("database", &*endpoint.database)];
    frontend::startup_message(names.into_iter().chain(parameters.iter().copied()), &mut packet).expect("a packet");
    stream.write_all(&packet).await.expect("sent");
    let (mut buffer, mut tags) = (BytesMut::new(), String::new());
    let mut scram = ScramSha256::new(endpoint.password.as_bytes(), ChannelBinding::unsupported());
    loop {
        let (tag, message) = next(&mut stream, &mut buffer).await;
        let mut reply = BytesMut::new();
        match message {
            Message::AuthenticationSasl(_) => {
                frontend::sasl_initial_response("SCRAM-SHA-256", scram.message(), &mut reply).expect("a message");
            }
            Message::AuthenticationSaslContinue(body) => {
                scram.update(body.data()).expect("a challenge");
                frontend::sasl_response(scram.message(), &mut reply).expect("a message");
            }
            Message::AuthenticationSaslFinal(body) => scram.finish(body.data()).expect("our server"),
            Message::ReadyForQuery(_) => return (stream, tags),
            _ => tags.push(char::from(tag)),
        }
        stream.write_all(&reply).await.expect("sent");
    }
}

fn code(error: &tokio_postgres::Error) -> &str {
    error.as_db_error().expect("an error of the protocol").code().code()
}

async fn refusal(url: &str) -> String {
    match in_time(tokio_postgres::connect(url, NoTls)).await {
        Ok(_) => panic!("let in"),
        Err(error) => code(&error).to_owned(),
    }
}

#[tokio::test]
async fn only_who_knows_the_endpoint_s_names_and_password_is_let_in() {
    let (proxy, endpoint) = proxy(Open).await;
    let other = proxy.open(Listen::Tcp).await.expect("an endpoint");
    assert_eq!(refusal(&endpoint.url().replace(&endpoint.password, "wrong")).await, "28P01");
    assert_eq!(refusal(&endpoint.url().replace(&endpoint.password, &other.password)).await, "28P01");
    assert_eq!(refusal(&endpoint.url().replace("//wire:", "//root:")).await, "28P01");
    assert_eq!(
        refusal(&endpoint.url().replace("/postgres", "/template1").replace("template1ql", "postgresql")).await,
        "3D000"
    );
    connect(&endpoint.url()).await.batch_execute("SELECT 1").await.expect("let in");
}

#[tokio::test]
async fn any_names_are_led_to_the_server_s_where_that_is_wanted() {
    let mut config = Config::new(Upstream::parse(&cluster().await.url()).expect("a URL"));
    config.names = Names::Any;
    let proxy = Proxy::new(config, Open).expect("a proxy");
    let endpoint = proxy.open(Listen::Tcp).await.expect("an endpoint");
    let client = connect(&endpoint.url().replace("//wire:", "//root:").replace("/postgres?", "/x?")).await;
    let row = client.query_one("SELECT current_user::text || current_database()::text", &[]).await.expect("a row");
    assert_eq!(row.get::<_, String>(0), "wirepostgres");
}

#[tokio::test]
async fn every_kind_of_password_signs_in_at_the_server() {
    let cluster = cluster().await;
    let urls = [
        cluster.url_of("scram_user:scram secret"),
        cluster.tcp_url("scram_user:scram secret"),
        cluster.url_of("md5_user:md5 secret"),
        cluster.url_of("clear_user:clear secret"),
        cluster.tcp_url("wire"),
    ];
    for url in urls {
        let url = url.replace(' ', "%20");
        let proxy = Proxy::new(Config::new(Upstream::parse(&url).expect("a URL")), Open).expect("a proxy");
        let endpoint = proxy.open(Listen::Unix).await.expect("an endpoint");
        connect(&endpoint.url()).await.batch_execute("SELECT 1").await.expect("signed in");
        let directory = endpoint.socket().expect("a socket");
        proxy.stop().await;
        assert!(!directory.exists(), "the socket is gone with its proxy");
    }
    let wrong = cluster.url_of("scram_user:wrong");
    let proxy = Proxy::new(Config::new(Upstream::parse(&wrong).expect("a URL")), Open).expect("a proxy");
    let endpoint = proxy.open(Listen::Tcp).await.expect("an endpoint");
    assert_eq!(refusal(&endpoint.url()).await, "28P01");
    let nowhere = Upstream::parse("postgresql://wire@127.0.0.1:1/x").expect("a URL");
    let proxy = Proxy::new(Config::new(nowhere), Open).expect("a proxy");
    let endpoint = proxy.open(Listen::Tcp).await.expect("an endpoint");
    assert_eq!(refusal(&endpoint.url()).await, "08001");
}

#[tokio::test]
async fn start_up_parameters_reach_the_server_and_its_own_reach_the_client() {
    let (_proxy, endpoint) = proxy(Open).await;
    let url = format!("{}?application_name=me&options=-c%20statement_timeout%3D1234", endpoint.url());
    let client = connect(&url).await;
    let sql = "SELECT current_setting('application_name') || current_setting('statement_timeout')";
    assert_eq!(client.query_one(sql, &[]).await.expect("a row").get::<_, String>(0), "me1234ms");
    let (_stream, tags) = sign_in(&endpoint, &[]).await;
    assert!(tags.starts_with("RS") && tags.ends_with('K'), "{tags}");
    assert_eq!(refusal(&format!("{}?options=-c%20nothing%3D1", endpoint.url())).await, "42704");
}

#[tokio::test]
async fn replication_is_refused_and_encryption_declined() {
    let (_proxy, endpoint) = proxy(Open).await;
    let mut stream = dial(&endpoint).await;
    for request in [80_877_104_u32, 80_877_103] {
        stream.write_all(&[8_u32.to_be_bytes(), request.to_be_bytes()].concat()).await.expect("sent");
        assert_eq!(stream.read_u8().await.expect("an answer"), b'N');
    }
    let mut packet = BytesMut::new();
    frontend::startup_message([("user", "wire"), ("replication", "database")], &mut packet).expect("a packet");
    stream.write_all(&packet).await.expect("sent");
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.expect("the end");
    assert!(String::from_utf8_lossy(&said).contains("0A000"));
}

#[tokio::test]
async fn a_newer_protocol_is_negotiated_and_3_2_has_long_keys() {
    let (_proxy, endpoint) = proxy(Open).await;
    for (minor, negotiated) in [(2, false), (9, true)] {
        let mut stream = dial(&endpoint).await;
        let mut packet = BytesMut::new();
        frontend::startup_message([("user", "wire"), ("database", "postgres")], &mut packet).expect("a packet");
        packet[7] = minor;
        stream.write_all(&packet).await.expect("sent");
        assert_eq!(stream.read_u8().await.expect("an answer") == b'v', negotiated);
    }
}

#[tokio::test]
async fn more_clients_than_the_bound_are_told_so_and_late_ones_are_closed() {
    let mut config = Config::new(Upstream::parse(&cluster().await.url()).expect("a URL"));
    config.limits = Limits { connections_max: 1, startup_time_max: Duration::from_millis(500) };
    let proxy = Proxy::new(config, Open).expect("a proxy");
    let endpoint = proxy.open(Listen::Tcp).await.expect("an endpoint");
    let first = connect(&endpoint.url()).await;
    assert_eq!(refusal(&endpoint.url()).await, "53300");
    first.batch_execute("SELECT 1").await.expect("it is served");
    let mut silent = dial(&endpoint).await;
    assert_eq!(in_time(silent.read(&mut [0; 8])).await.expect("closed"), 0);
    drop(first);
    super::eventually("the place is free again", || proxy.sessions() == 0).await;
    connect(&endpoint.url()).await;
}

#[tokio::test]
async fn stopping_closes_every_connection_and_nothing_hangs() {
    let (proxy, endpoint) = proxy(Open).await;
    let client = connect(&endpoint.url()).await;
    let silent = dial(&endpoint).await;
    let sleeping = client.batch_execute("SELECT pg_sleep(60)");
    let stopping = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        proxy.stop().await;
    };
    let (slept, ()) = in_time(async { tokio::join!(sleeping, stopping) }).await;
    assert!(slept.expect_err("closed").is_closed());
    drop(silent);
    let Door::Tcp(address) = endpoint.door else { panic!("a TCP endpoint") };
    assert!(TcpStream::connect(address).await.is_err());
}
