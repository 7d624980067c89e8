//! A proxy before a server, as a program: prints the URL for clients, and serves until it is interrupted or
//! terminated.
//!
//! ```text
//! cargo run --release -p driftlock-wire --example proxy -- --upstream URL [--tls] [--unix] [--watch | --rewrite] [--threads N]
//! ```
//!
//! With `--watch` every unit is described, as a gate would have it; without, nobody looks. With `--rewrite` each text is
//! exchanged for one that means the same. One thread is the default, and what was measured is best on two cores.

use std::io::Write;

use driftlock_wire::{Config, ConnectionId, Gate, Listen, Open, Proxy, Upstream, Watch};
use tokio::signal::unix::{SignalKind, signal};

/// Has everything described, and lets it through.
struct Watching;

impl Gate for Watching {
    fn watch(&self) -> Watch {
        Watch::Units
    }
}

/// Exchanges each text for a longer one that means the same.
struct Rewriting;

impl Gate for Rewriting {
    fn rewritten(&self, _: ConnectionId, text: &str) -> Option<String> {
        // Behind the text, of which a message of the server's may quote the line.
        Some(format!("{text}\n/* written anew */"))
    }
}

/// What is asked for.
#[derive(Default)]
struct Wanted {
    upstream: Option<String>,
    tls: bool,
    unix: bool,
    watch: bool,
    rewrite: bool,
    threads: Option<usize>,
}

fn wanted(mut arguments: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut wanted = Wanted::default();
    while let Some(argument) = arguments.next() {
        match &*argument {
            "--upstream" => wanted.upstream = arguments.next(),
            "--tls" => wanted.tls = true,
            "--unix" => wanted.unix = true,
            "--watch" => wanted.watch = true,
            "--rewrite" => wanted.rewrite = true,
            "--threads" => {
                let threads = arguments.next().and_then(|threads| threads.parse().ok()).filter(|threads| *threads > 0);
                wanted.threads = Some(threads.ok_or("--threads needs a number")?);
            }
            _ => return Err(format!("{argument:?} is not known")),
        }
    }
    Ok(wanted)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let wanted = wanted(std::env::args().skip(1))?;
    let mut builder = match wanted.threads {
        None | Some(1) => tokio::runtime::Builder::new_current_thread(),
        Some(_) => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(wanted.threads.unwrap_or(1)).enable_all().build()?.block_on(serve(wanted))
}

async fn serve(wanted: Wanted) -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::new(Upstream::parse(&wanted.upstream.ok_or("--upstream URL is missing")?)?);
    config.tls = wanted.tls;
    let proxy = match (wanted.rewrite, wanted.watch) {
        (true, _) => Proxy::new(config, Rewriting)?,
        (false, true) => Proxy::new(config, Watching)?,
        (false, false) => Proxy::new(config, Open)?,
    };
    let endpoint = proxy.open(if wanted.unix { Listen::Unix } else { Listen::Tcp }).await?;
    let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    writeln!(std::io::stdout(), "{}", endpoint.url())?;
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    proxy.stop().await;
    Ok(())
}
