//! This test program run again as another harness, which can be interrupted, killed, or panic.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use driftlock_provision::{Database, Journal, PostgresChoice, ProvisionError, RunName, Server, SqliteFiles, sweep};
use miette::Diagnostic;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, User};
use tokio_util::sync::CancellationToken;

use crate::{eventually, options, start};

const TASK: &str = "DRIFTLOCK_TEST_TASK";
const CHOICE: &str = "DRIFTLOCK_TEST_CHOICE";
const PG_BIN: &str = "DRIFTLOCK_TEST_PG_BIN";
const ANSWER: &str = "DRIFTLOCK_TEST_ANSWER";

/// A temporary directory as the only place where children make theirs, open to a server's user.
pub fn temporary() -> tempfile::TempDir {
    let mode = fs::Permissions::from_mode(0o755);
    tempfile::Builder::new().prefix("dl").permissions(mode).tempdir_in("/tmp").unwrap()
}

/// The names in a directory.
pub fn contents(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Another harness at work, killed at the latest when this value goes.
pub struct Child {
    process: std::process::Child,
    private: tempfile::TempDir,
}

impl Child {
    /// Starts one; `choice` is its `--postgres`.
    pub fn start(task: &str, temporary: &Path, choice: &str, more: &[(&str, &str)]) -> Self {
        Self::start_as(None, task, temporary, choice, more)
    }

    pub fn start_as(user: Option<&User>, task: &str, temporary: &Path, choice: &str, more: &[(&str, &str)]) -> Self {
        let private = tempfile::tempdir().unwrap();
        fs::set_permissions(private.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let mut program = std::env::current_exe().unwrap();
        if user.is_some() {
            // The checkout may be closed to other users.
            let copy = private.path().join("program");
            fs::copy(&program, &copy).unwrap();
            program = copy;
        }
        let log = fs::File::create(private.path().join("log")).unwrap();
        let mut command = Command::new(program);
        command.args(["--exact", "child::another_harness", "--nocapture"]);
        command.env(TASK, task).env(CHOICE, choice).env("TMPDIR", temporary);
        command.env(ANSWER, private.path().join("answer")).envs(more.iter().copied());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        if let Some(user) = user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).current_dir("/");
        }
        Self { process: command.spawn().unwrap(), private }
    }

    /// What it has to say, once it says it.
    pub async fn answer(&mut self) -> String {
        let path = self.private.path().join("answer");
        eventually("the child answers", || {
            let said = fs::read_to_string(&path).ok();
            if said.is_none() && self.process.try_wait().unwrap().is_some() {
                return Some(fs::read_to_string(&path).unwrap_or_else(|_| panic!("no answer: {}", self.log())));
            }
            said
        })
        .await
    }

    /// How it ends.
    pub async fn end(&mut self) -> ExitStatus {
        eventually("the child ends", || self.process.try_wait().unwrap()).await
    }

    /// How it has ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().unwrap()
    }

    /// Sends a signal to its process group, as a terminal does.
    pub fn signal_only(&self, signal: Signal) {
        killpg(Pid::from_raw(self.process.id().try_into().unwrap()), signal).unwrap();
    }

    /// Sends a signal to its process group, and waits for its end.
    pub async fn signal(&mut self, signal: Signal) -> ExitStatus {
        self.signal_only(signal);
        self.end().await
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.private.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A child that is killed without a chance to clean up.
pub async fn kill(mut child: Child) {
    assert_eq!(child.signal(Signal::SIGKILL).await.signal(), Some(9));
}

/// What the sweep of another harness removes from a temporary directory.
pub async fn sweep_by_another(temporary: &Path) -> Vec<PathBuf> {
    let mut child = Child::start("sweep", temporary, "auto", &[]);
    let answer = child.answer().await;
    assert!(child.end().await.success(), "{}", child.log());
    let swept: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let removed: Vec<PathBuf> = serde_json::from_value(swept["removed"].clone()).unwrap();
    // The sweep also looks into the machine's own temporary directory, where others are at work.
    removed.into_iter().filter(|path| path.starts_with(temporary)).collect()
}

fn tell(text: &str) {
    let path = PathBuf::from(std::env::var_os(ANSWER).unwrap());
    let draft = path.with_extension("draft");
    fs::write(&draft, text).unwrap();
    fs::rename(draft, path).unwrap();
}

/// An error, and what to do about it.
fn in_full(error: &ProvisionError) -> String {
    format!("{}\nhelp: {}", error.in_full(), error.help().unwrap_or(Box::new("none")))
}

async fn forever() {
    // Longer than any test waits; a bound, should the parent be gone.
    tokio::time::sleep(Duration::from_secs(300)).await;
}

/// Not a test of its own: what a child does.
#[tokio::test]
async fn another_harness() {
    let Ok(task) = std::env::var(TASK) else { return };
    tracing::subscriber::set_global_default(Everything).unwrap();
    let mut options = options(std::env::var(CHOICE).unwrap().parse::<PostgresChoice>().unwrap());
    options.pg_bin = std::env::var_os(PG_BIN).map(PathBuf::from);
    match task.as_str() {
        "sweep" => tell(&serde_json::to_string(&sweep().await).unwrap()),
        "error" => {
            let started = Server::start(&options, &RunName::new("error").unwrap(), &CancellationToken::new()).await;
            tell(&in_full(&started.unwrap_err()));
        }
        "fill" => {
            let server = start(&options).await;
            let mut made = 0;
            let error = loop {
                match server.create_database(&format!("copy_{made}"), None).await {
                    Ok(_) => made += 1,
                    Err(error) => break error,
                }
                assert!(made < 100, "the disk has room for {made} databases");
            };
            tell(&in_full(&error));
            server.stop().await.unwrap();
        }
        "cancelled" => cancelled(options).await,
        "files" => {
            let files = SqliteFiles::create(Journal::Wal).await.unwrap();
            match files.create_database("mine", None).await {
                Ok(_) => tell("made"),
                Err(error) => return tell(&in_full(&error)),
            }
            forever().await;
        }
        "use" | "hold" | "interrupt" | "busy" | "panic" => {
            let server = start(&options).await;
            let template = server.create_database("template", None).await.unwrap();
            let copy = server.create_database("copy", Some(&template)).await.unwrap();
            let pid = server.pid().unwrap_or_default();
            let said = serde_json::json!({
                "pid": pid, "databases": [template.name(), copy.name()],
                "directory": server.connect_options(&copy).get_socket().and_then(|socket| socket.parent()),
            });
            tell(&said.to_string());
            match task.as_str() {
                "hold" => forever().await,
                "interrupt" => tokio::select! {
                    () = forever() => {}
                    result = tokio::signal::ctrl_c() => result.unwrap(),
                },
                "busy" => tokio::select! {
                    () = copies(&server, &template) => {}
                    result = tokio::signal::ctrl_c() => result.unwrap(),
                },
                "panic" => panic!("on purpose, with a server running"),
                _ => {}
            }
            server.stop().await.unwrap();
        }
        other => panic!("unknown task {other}"),
    }
}

/// Makes one copy after another.
async fn copies(server: &Server, template: &Database) {
    for n in 0.. {
        let copy = server.create_database(&format!("copy_{n}"), Some(template)).await.unwrap();
        server.drop_database(copy).await.unwrap();
    }
}

/// Starts a server again and again, and gives up later each time, until a start comes through.
async fn cancelled(options: driftlock_provision::StartOptions) {
    let temporary = std::env::temp_dir();
    let run = RunName::new("cancelled").unwrap();
    let mut given_up: u32 = 0;
    // Where a kept cluster is copied, a start comes through after far fewer polls than where initdb runs.
    let step = if std::env::var("DRIFTLOCK_CACHE_DIR").is_ok_and(|cache| cache.is_empty()) { 60 } else { 3 };
    for polls in (0_u32..50).map(|attempt| attempt * step) {
        let cancel = CancellationToken::new();
        let mut left = polls;
        let mut started = std::pin::pin!(Server::start(&options, &run, &cancel));
        let outcome = std::future::poll_fn(|context| {
            if left == 0 {
                cancel.cancel();
            }
            left = left.saturating_sub(1);
            started.as_mut().poll(context)
        })
        .await;
        match outcome {
            Ok(server) => {
                server.stop().await.unwrap();
                break;
            }
            Err(error) => assert!(error.is_cancelled(), "{error}"),
        }
        given_up += 1;
        assert_eq!(contents(&temporary), Vec::<String>::new(), "after {polls} polls");
    }
    tell(&given_up.to_string());
}

/// Logs every event and span with all of their fields.
struct Everything;

impl tracing::Subscriber for Everything {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        log(span);
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        log(values);
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        log(event);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[expect(clippy::print_stderr, reason = "a child's standard error is its log")]
fn log(what: &dyn std::fmt::Debug) {
    eprintln!("{what:?}");
}
