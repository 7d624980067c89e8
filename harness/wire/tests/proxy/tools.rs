//! PostgreSQL's own clients, which speak through libpq.

use std::process::Stdio;

use driftlock_wire::{Config, Endpoint, Listen, Open, Proxy, Record, Upstream};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::cluster::{cluster, program};
use super::{in_time, recorded};

/// Runs a program until its end; gives what it wrote, and whether it was content.
async fn run(name: &str, arguments: &[&str], input: &str) -> (String, bool) {
    let mut command = Command::new(program(name));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("the program is there");
    let mut stdin = child.stdin.take().expect("a pipe");
    let (written, output) = in_time(async {
        tokio::join!(
            async move {
                let written = stdin.write_all(input.as_bytes()).await;
                drop(stdin);
                written
            },
            child.wait_with_output()
        )
    })
    .await;
    written.expect("it reads");
    let output = output.expect("it ends");
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.success())
}

const SCRIPT: &str = r"
\set VERBOSITY verbose
CREATE TEMP TABLE t (id int PRIMARY KEY, x text);
\copy t FROM pstdin
1	one
2	two
\.
SELECT * FROM t;
INSERT INTO t VALUES (1, 'again');
BEGIN;
SAVEPOINT a;
SELECT nothing;
ROLLBACK TO a;
DECLARE c CURSOR FOR SELECT * FROM t ORDER BY id;
FETCH 1 FROM c;
FETCH ALL FROM c;
COMMIT;
COPY t TO STDOUT;
COPY t FROM STDIN;
3	three
x	not a number
\.
SELECT count(*) FROM t;
PREPARE p AS SELECT $1::int;
EXECUTE p(3);
\d t
SELECT generate_series(1, 3) \gx
SELECT $1::text || $2 \bind a b \g
LISTEN n;
NOTIFY n;
";

/// What differs from run to run.
fn comparable(text: &str) -> String {
    let words = text
        .split_inclusive(char::is_whitespace)
        .map(|word| if word.contains("pg_temp_") { "pg_temp\n" } else { word });
    let text: String = words.collect();
    text.lines()
        .filter(|line| !line.contains("LOCATION") && !line.starts_with("Asynchronous"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test]
async fn psql_sees_the_same_through_the_proxy() {
    let (_proxy, endpoint, record) = recorded().await;
    let script = if psql_binds().await {
        SCRIPT.to_owned()
    } else {
        SCRIPT.replace("SELECT $1::text || $2 \\bind a b \\g\n", "")
    };
    let (direct, _) = run("psql", &["-X", &cluster().await.url()], &script).await;
    let (through, _) = run("psql", &["-X", &endpoint.url()], &script).await;
    assert!(direct.contains("three") || direct.contains("22P02"), "{direct}");
    assert_eq!(comparable(&direct), comparable(&through));
    assert!(record.events().len() > 20);
}

async fn psql_binds() -> bool {
    let (version, _) = run("psql", &["--version"], "").await;
    let major = version.split(' ').nth(2).and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    major.is_some_and(|major| major >= 16)
}

#[tokio::test]
async fn pgbench_is_content_in_each_of_its_modes() {
    let cluster = cluster().await;
    let (said, content) = run("pgbench", &["-i", "-q", "-s", "1", &cluster.url()], "").await;
    assert!(content, "{said}");
    let (_proxy, endpoint, record) = recorded().await;
    for mode in ["simple", "extended", "prepared"] {
        let (said, content) = run("pgbench", &["-n", "-M", mode, "-c", "4", "-t", "50", &endpoint.url()], "").await;
        assert!(content && said.contains("number of failed transactions: 0"), "{said}");
    }
    let unknown = record.events().iter().any(|event| match event {
        driftlock_wire::Event::Answered(_, unit, answer) => unit.unknown || answer.unknown,
        _ => false,
    });
    assert!(!unknown);
}

#[tokio::test]
async fn pgbench_pipelines_through_the_proxy() {
    let script = tempfile::NamedTempFile::new().expect("a file");
    let pipeline = "\\startpipeline\nSELECT 1;\nSELECT 2;\nSELECT 3;\n\\endpipeline\n";
    std::fs::write(script.path(), pipeline).expect("written");
    let (_proxy, endpoint, _record) = recorded().await;
    let file = script.path().to_string_lossy();
    let (said, content) =
        run("pgbench", &["-n", "-M", "extended", "-f", &file, "-t", "100", &endpoint.url()], "").await;
    assert!(content && said.contains("actually processed: 100/100"), "{said}");
}

async fn encrypted(listen: Listen) -> (Proxy, Endpoint) {
    let mut config = Config::new(Upstream::parse(&cluster().await.url()).expect("a URL"));
    config.tls = true;
    let proxy = Proxy::new(config, Record::around(Open, 1000)).expect("a proxy");
    let endpoint = proxy.open(listen).await.expect("an endpoint");
    (proxy, endpoint)
}

#[tokio::test]
async fn libpq_speaks_tls_and_binds_the_channel() {
    let (proxy, endpoint) = encrypted(Listen::Tcp).await;
    for parameters in
        ["sslmode=require", "sslmode=require&channel_binding=require", "sslmode=disable", "sslmode=prefer"]
    {
        let url = format!("{}?{parameters}", endpoint.url());
        let (said, content) = run("psql", &["-X", "-At", &url, "-c", "SELECT repeat('x', 1000000)"], "").await;
        assert!(content && said.trim().len() == 1_000_000, "{parameters}: {}", &said[..said.len().min(500)]);
    }
    assert!(proxy.certificate().is_some_and(|certificate| !certificate.is_empty()));
    let unencrypted = endpoint.url() + "?sslmode=require";
    let (said, content) =
        run("psql", &["-X", &unencrypted.replace(&endpoint.password, "wrong"), "-c", "SELECT 1"], "").await;
    assert!(!content && said.contains("password authentication failed"), "{said}");
}

#[tokio::test]
async fn tls_is_declined_where_it_is_not_enabled_and_on_a_unix_socket() {
    let (_proxy, endpoint, _record) = recorded().await;
    let url = endpoint.url() + "?sslmode=require";
    let (said, content) = run("psql", &["-X", &url, "-c", "SELECT 1"], "").await;
    assert!(!content && said.contains("SSL"), "{said}");
    let (_proxy, endpoint) = encrypted(Listen::Unix).await;
    let (said, content) = run("psql", &["-X", "-At", &endpoint.url(), "-c", "SELECT 1"], "").await;
    assert!(content, "{said}");
}
