//! Ends a throw-away cluster's server in order and starts it again: with its data, in its place, and with nobody's session.

use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

use super::ProvisionError;
use super::binaries::Binaries;
use super::cluster::{DATA, LOG, PID_FILE, POLL, Programs, Running, SEGMENTS, end_of, failed};
use super::user::server_user;

/// How long a server may take to let somebody in.
const READY: Duration = Duration::from_secs(60);
/// How long a fast shutdown may take: sessions are ended at once, and a checkpoint is written.
const SHUTDOWN: Duration = Duration::from_secs(60);

/// What ends and starts a cluster's server. It must not outlive the cluster.
#[derive(Clone)]
pub(super) struct Restarter {
    pub server: Running,
    pub binaries: Binaries,
    pub directory: PathBuf,
    pub options: PgConnectOptions,
}

impl Restarter {
    /// The server's process, for a moment.
    pub(super) fn running(&self) -> MutexGuard<'_, Option<Child>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the server shut down as `pg_ctl restart -m fast` does, and starts it again. What was committed is kept, and
    /// nothing else.
    ///
    /// Cancellation: the cluster's end ends what is left.
    pub(super) async fn restart(&self) -> Result<(), ProvisionError> {
        let asked = self.running().as_mut().and_then(|server| match server.try_wait() {
            // Not yet waited for, so the number still means this process.
            Ok(None) => Some(kill(Pid::from_raw(i32::try_from(server.id()).unwrap_or_default()), Signal::SIGINT)),
            // It has ended, and the number may be somebody else's.
            Ok(Some(_)) | Err(_) => None,
        });
        let log = self.directory.join(LOG);
        let lost = |why: String| ProvisionError::Program { program: "postgres", why, log: end_of(&log) };
        match asked {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(lost(format!("it cannot be asked to shut down: {error}"))),
            None => return Err(lost("there is no server to restart".to_owned())),
        }
        let gone = async {
            loop {
                let ended = self.running().as_mut().map_or(Ok(None), Child::try_wait);
                match ended {
                    Ok(Some(status)) => return Ok(status),
                    Ok(None) => tokio::time::sleep(POLL).await,
                    Err(error) => return Err(ProvisionError::file("wait for the server in", &self.directory)(error)),
                }
            }
        };
        let what = || ProvisionError::TimedOut { what: "the server's shutdown".into(), seconds: SHUTDOWN.as_secs() };
        let status = tokio::time::timeout(SHUTDOWN, gone).await.map_err(|_| what())??;
        if !status.success() {
            return Err(failed("postgres", status, &log));
        }
        let user = server_user()?;
        let programs = Programs { binaries: &self.binaries, directory: &self.directory, user: user.as_ref() };
        let server = programs.postgres()?;
        self.running().replace(server);
        let connection = self.ready().await?;
        self.note_segments();
        // Whether it hears of our leaving is of no interest.
        let _ = connection.close().await;
        Ok(())
    }

    /// Notes the segments that it has in /dev/shm, for its watcher: should the server be killed, nobody else knows them.
    pub(super) fn note_segments(&self) {
        let pid = self.running().as_ref().map(Child::id);
        let maps = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/maps")).ok()).unwrap_or_default();
        let paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
        let segments: String =
            paths.filter(|path| path.starts_with("/dev/shm/PostgreSQL.")).map(|path| format!("{path}\n")).collect();
        // Without it a few hundred bytes may stay in memory, which is no reason not to start.
        let _ = fs::write(self.directory.join(SEGMENTS), segments);
    }

    /// Waits until the server lets us in.
    pub(super) async fn ready(&self) -> Result<PgConnection, ProvisionError> {
        // This connection may set a password, and sqlx would log the statement.
        let options = self.options.clone().disable_statement_logging();
        let log = self.directory.join(LOG);
        let pid_file = self.directory.join(DATA).join(PID_FILE);
        let poll = async {
            loop {
                let ended = self.running().as_mut().map(Child::try_wait);
                if let Some(Ok(Some(status))) = ended {
                    return Err(failed("postgres", status, &log));
                }
                // Until then it would start a process for each attempt only to turn us away.
                let ready =
                    fs::read_to_string(&pid_file).is_ok_and(|text| text.lines().any(|line| line.trim() == "ready"));
                if ready && let Ok(connection) = options.connect().await {
                    return Ok(connection);
                }
                tokio::time::sleep(POLL).await;
            }
        };
        match tokio::time::timeout(READY, poll).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ProvisionError::Program {
                program: "postgres",
                why: format!("it did not accept a connection within {} s", READY.as_secs()),
                log: end_of(&log),
            }),
        }
    }
}
