//! Parses the command line, runs the command, exits.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anstream::ColorChoice;
use clap::Parser;
use clap::error::ErrorKind;
use driftlock::cli::{Cli, Color, Context};
use driftlock::exit::Exit;
use driftlock::report::width::fit;
use miette::MietteHandlerOpts;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if asked { Exit::Met.into() } else { Exit::Usage.into() };
        }
    };
    colour(cli.color);
    leave_driver_unsaid();
    if let Some(columns) = columns() {
        fit(columns);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let exit = runtime.block_on(run(cli));
            // A thread that still reads a pipe must not keep the process.
            runtime.shutdown_background();
            exit.into()
        }
        Err(error) => {
            let _ = writeln!(anstream::stderr(), "failed to start: {error}");
            Exit::Environment.into()
        }
    }
}

/// Has everything that is printed be coloured or not, what is said of mistakes included.
fn colour(color: Color) {
    let (choice, of_mistakes) = match color {
        Color::Auto => (ColorChoice::Auto, None),
        Color::Always => (ColorChoice::Always, Some(true)),
        Color::Never => (ColorChoice::Never, Some(false)),
    };
    choice.write_global();
    let handler = move || {
        // A broken line would part a place in a file ("claims.csv:3:4") from its message.
        let options = MietteHandlerOpts::new().wrap_lines(false);
        Box::new(of_mistakes.into_iter().fold(options, MietteHandlerOpts::color).build())
    };
    miette::set_hook(Box::new(move |_| handler())).expect("nothing has been reported yet");
}

/// A panic in the thread of SQLite's driver is an error of the statement that it ran, and is told as one.
fn leave_driver_unsaid() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let of_driver = std::thread::current().name().is_some_and(|name| name.starts_with("sqlx-sqlite-worker"));
        if !of_driver {
            usual(panic);
        }
    }));
}

/// How wide the terminal is, where standard output is one: `COLUMNS`, or what it says itself.
fn columns() -> Option<u16> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let named = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
    named.or_else(|| terminal_size::terminal_size().map(|(width, _)| width.0))
}

async fn run(cli: Cli) -> Exit {
    let cancel = CancellationToken::new();
    // Before anything is begun that would have to be cleaned up.
    match [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal) {
        [Ok(interrupt), Ok(terminate), Ok(hangup)] => {
            tokio::spawn(listen([interrupt, terminate, hangup], cancel.clone()));
        }
        _ => {
            let _ = writeln!(anstream::stderr(), "failed to listen for signals");
            return Exit::Environment;
        }
    }
    let (mut out, mut err) = (anstream::stdout(), anstream::stderr());
    let result = cli.run(&mut Context { out: &mut out, err: &mut err, cancel }).await;
    let exit = match result {
        Ok(exit) => exit,
        Err(failure) => {
            let _ = writeln!(err, "{:?}", failure.report);
            failure.exit
        }
    };
    let _ = out.flush();
    exit
}

/// Cancels at the first request to stop; the second one ends the process, cleaned up or not.
async fn listen([mut interrupt, mut terminate, mut hangup]: [Signal; 3], cancel: CancellationToken) {
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        if cancel.is_cancelled() {
            let _ = writeln!(
                anstream::stderr(),
                "stopped before the clean-up was done; servers that were started here end by themselves"
            );
            #[expect(clippy::disallowed_methods, reason = "the clean-up that hangs is what is being left")]
            std::process::exit(i32::from(Exit::Interrupted as u8));
        }
        cancel.cancel();
    }
}
