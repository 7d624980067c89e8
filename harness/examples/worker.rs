//! A worker, as `worker = "…"` of an application's file starts one: it stays, does its job once for each line of JSON on
//! its standard input, and answers each with a line on its standard output.
//!
//! Its job is a small program, in the file that its only argument names: statements one after the other. A statement may
//! keep the first value that it returns, be sent only if a value that was kept is even, and be followed by others whatever
//! comes of it; it may be prepared first, and go over a second connection. An error that is not ignored ends the job, after a rollback.
//!
//! `WORKER_RETRIES` in its environment says how often a job that has failed is begun anew, over a new connection where the
//! old one is lost; with `WORKER_GIVES_UP` a job that has failed is told to be done.
//!
//! With `--setup FILE` it sends the file to the database and ends; with `--once FILE` it does the job once, and tells by its
//! exit code whether it failed; with `--serve PORT FILE` it does the job for each POST, and answers 200, or 409 if it
//! failed.
//!
//! ```text
//! DATABASE_URL=postgresql://… cargo run -p driftlock --example worker -- program.json
//! {"actor":"a","execution":1}
//! {"ok":true,"answer":["10"]}
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, Write};

use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpListener;
use tokio_postgres::{Client, NoTls, Row, SimpleQueryMessage};

/// One statement of a program.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    /// The SQL; `{name}` stands for what was kept under that name.
    sql: String,
    /// Keeps the first value of the first row; nothing is NULL.
    keep: Option<String>,
    /// It is sent only if what was kept under this name is an even number.
    if_even: Option<String>,
    /// The program goes on after an error.
    #[serde(default)]
    ignores_errors: bool,
    /// It is sent by the extended protocol, as one batch.
    #[serde(default)]
    extended: bool,
    /// It is prepared by a name, and then run.
    #[serde(default)]
    prepared: bool,
    /// It goes over the second connection, which stays open.
    #[serde(default)]
    other: bool,
}

/// Where jobs are done.
struct Database {
    url: String,
    client: Client,
    other: Option<Client>,
    retries: u32,
    gives_up: bool,
}

impl Database {
    async fn open() -> Result<Self, Box<dyn Error>> {
        let url = std::env::var("DATABASE_URL")?;
        let retries = std::env::var("WORKER_RETRIES").ok().map_or(Ok(0), |text| text.parse())?;
        let (client, gives_up) = (connect(&url).await?, std::env::var_os("WORKER_GIVES_UP").is_some());
        Ok(Self { url, client, other: None, retries, gives_up })
    }
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// What a job has seen.
#[derive(Default)]
struct Seen {
    kept: BTreeMap<String, Option<String>>,
    values: Vec<String>,
}

impl Seen {
    fn filled(&self, sql: &str) -> String {
        let literal = |value: &Option<String>| value.as_ref().map_or("NULL".to_owned(), |text| format!("'{text}'"));
        self.kept.iter().fold(sql.to_owned(), |sql, (name, value)| sql.replace(&format!("{{{name}}}"), &literal(value)))
    }

    fn is_even(&self, name: &str) -> bool {
        let value = self.kept.get(name).and_then(|value| value.as_deref());
        value.and_then(|text| text.parse::<i64>().ok()).is_some_and(|number| number % 2 == 0)
    }
}

/// Sends a statement; every value that it returns, by row.
async fn send(client: &Client, statement: &Statement, sql: &str) -> Result<Vec<Option<String>>, tokio_postgres::Error> {
    if statement.prepared {
        let rows = client.query(&client.prepare(sql).await?, &[]).await?;
        return Ok(rows.iter().flat_map(|row| (0..row.len()).map(|at| text(row, at))).collect());
    }
    if statement.extended {
        let rows = client.query_typed(sql, &[]).await?;
        return Ok(rows.iter().flat_map(|row| (0..row.len()).map(|at| text(row, at))).collect());
    }
    let mut values = Vec::new();
    for message in client.simple_query(sql).await? {
        if let SimpleQueryMessage::Row(row) = message {
            values.extend((0..row.len()).map(|at| row.get(at).map(str::to_owned)));
        }
    }
    Ok(values)
}

/// A value of one of the simple types as text; of another one, that it is there.
fn text(row: &Row, at: usize) -> Option<String> {
    if let Ok(value) = row.try_get::<_, Option<String>>(at) {
        return value;
    }
    if let Ok(value) = row.try_get::<_, Option<i64>>(at) {
        return value.map(|number| number.to_string());
    }
    if let Ok(value) = row.try_get::<_, Option<i32>>(at) {
        return value.map(|number| number.to_string());
    }
    match row.try_get::<_, Option<bool>>(at) {
        Ok(value) => value.map(|truth| truth.to_string()),
        Err(_) => Some("?".to_owned()),
    }
}

/// Does the job, once or more often: its answer.
async fn job(database: &mut Database, program: &[Statement]) -> Result<serde_json::Value, tokio_postgres::Error> {
    if database.other.is_none() && program.iter().any(|statement| statement.other) {
        database.other = Some(connect(&database.url).await?);
    }
    let mut answer = attempt(database, program).await;
    for _ in 0..database.retries {
        if answer["ok"] == true {
            break;
        }
        if database.client.is_closed() {
            database.client = connect(&database.url).await?;
        }
        answer = attempt(database, program).await;
    }
    Ok(if database.gives_up { json!({ "ok": true }) } else { answer })
}

/// Does the job once: its answer.
async fn attempt(database: &Database, program: &[Statement]) -> serde_json::Value {
    let mut seen = Seen::default();
    for statement in program {
        if statement.if_even.as_ref().is_some_and(|name| !seen.is_even(name)) {
            continue;
        }
        let sql = seen.filled(&statement.sql);
        let client = database.other.as_ref().filter(|_| statement.other).unwrap_or(&database.client);
        match send(client, statement, &sql).await {
            Ok(mut values) => {
                if let Some(name) = &statement.keep {
                    seen.kept.insert(name.clone(), values.first().cloned().flatten());
                }
                // The database owes no order.
                values.sort_unstable();
                seen.values.extend(values.into_iter().map(|value| value.unwrap_or_else(|| "NULL".to_owned())));
            }
            Err(error) => {
                let code = error.code().map_or("lost", |code| code.code()).to_owned();
                seen.values.push(format!("!{code}"));
                if !statement.ignores_errors {
                    let _ = database.client.batch_execute("ROLLBACK").await;
                    return json!({ "ok": false, "error": code, "answer": seen.values });
                }
            }
        }
    }
    json!({ "ok": true, "answer": seen.values })
}

/// Answers one request after the other.
async fn serve(port: u16, database: &mut Database, program: &[Statement]) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let mut stream = BufStream::new(stream);
        let (mut first, mut header) = (String::new(), String::new());
        stream.read_line(&mut first).await?;
        // What follows the head is not of interest here.
        while stream.read_line(&mut header).await? > 2 {
            header.clear();
        }
        let (status, body) = if first.starts_with("POST") {
            let answer = job(database, program).await?;
            (if answer["ok"] == true { "200 OK" } else { "409 Conflict" }, answer.to_string())
        } else {
            ("200 OK", String::new())
        };
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await?;
        stream.flush().await?;
    }
}

fn read(file: &str) -> Result<Vec<Statement>, Box<dyn Error>> {
    Ok(serde_json::from_str(&std::fs::read_to_string(file)?)?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut database = Database::open().await?;
    match arguments[..] {
        ["--setup", file] => database.client.batch_execute(&std::fs::read_to_string(file)?).await?,
        ["--once", file] => {
            let answer = job(&mut database, &read(file)?).await?;
            if answer["ok"] != true {
                return Err(answer["error"].as_str().unwrap_or("it failed").into());
            }
        }
        ["--serve", port, file] => serve(port.parse()?, &mut database, &read(file)?).await?,
        [file] => {
            let program = read(file)?;
            for line in std::io::stdin().lock().lines() {
                serde_json::from_str::<serde_json::Value>(&line?)?;
                let answer = job(&mut database, &program).await?;
                let mut out = std::io::stdout().lock();
                writeln!(out, "{answer}")?;
                out.flush()?;
            }
        }
        _ => return Err("worker FILE, --setup FILE, --once FILE or --serve PORT FILE".into()),
    }
    Ok(())
}
