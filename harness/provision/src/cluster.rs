//! A throw-away cluster from local server binaries, in a directory of its own.
//!
//! The directory is entered by its owner and the server's user alone; the socket in it is how the
//! harness connects. The server lives in its own process group: Ctrl-C reaches the harness, which
//! then ends the server in order.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::unistd::User;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Executor, PgConnection};

use super::admin::bounded;
use super::binaries::Binaries;
use super::directory::{self, Contents, OwnedDirectory};
use super::prototype::Prototype;
use super::restart::Restarter;
use super::user::{closed_to, server_user};
use super::{Profile, ProvisionError, name, process};

/// Where the cluster is inside its directory.
pub(super) const DATA: &str = "data";
const SOCKET: &str = "socket";
pub(super) const LOG: &str = "server.log";
/// The postmaster's, in [`DATA`].
pub(super) const PID_FILE: &str = "postmaster.pid";
/// The names of the segments that the server has in /dev/shm: its watcher's list, should the server be killed.
pub(super) const SEGMENTS: &str = "segments";
/// Ours is the only socket in its directory, so the usual number serves where there is no TCP.
const PORT: u16 = 5432;
pub(super) const SUPERUSER: &str = "postgres";
/// sun_path is 104 bytes on macOS (108 on Linux), with its final zero.
const SOCKET_PATH_BYTES_MAX: usize = 103;
const INITDB_ARGUMENTS: [&str; 8] = [
    "--username",
    SUPERUSER,
    "--encoding",
    "UTF8",
    "--locale=C",
    "--auth-local=trust",
    "--auth-host=scram-sha-256",
    "--no-sync",
];
const INITDB: Duration = Duration::from_secs(120);
pub(super) const POLL: Duration = Duration::from_millis(3);
const LOG_BYTES_SHOWN: usize = 2000;
const STARTS_MAX: usize = 3;

/// The server's process, if there is one.
pub(super) type Running = Arc<Mutex<Option<Child>>>;

/// A running cluster. Dropping it stops the server and removes the directory; that blocks for some
/// ten milliseconds, and never for longer than 10 s.
#[derive(Debug)]
pub(super) struct Cluster {
    initdb: Option<Child>,
    /// Whoever restarts it ends one and starts another.
    server: Running,
    binaries: Binaries,
    directory: OwnedDirectory,
    port: u16,
    password: Option<String>,
}

impl Cluster {
    /// Makes a cluster and starts its server; with `tcp`, it also listens on a free port of
    /// 127.0.0.1 and wants a password there.
    ///
    /// Cancellation: dropping the future ends what was started and removes what was made.
    pub(super) async fn start(binaries: &Binaries, profile: Profile, tcp: bool) -> Result<Self, ProvisionError> {
        let user = server_user()?;
        let parent = parent(user.as_ref())?;
        // The server's user must get through to its own directories, but need not list this one.
        let mode = if user.is_some() { 0o711 } else { 0o700 };
        let mut directory = OwnedDirectory::create(&parent, mode, &Contents::Cluster)?;
        // Before anything runs in it, so that there is no moment in which nobody would end that.
        directory.watch()?;
        for name in [DATA, SOCKET] {
            let path = directory.path().join(name);
            fs::DirBuilder::new().mode(0o700).create(&path).map_err(ProvisionError::file("make", &path))?;
            if let Some(user) = &user {
                chown(&path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                    .map_err(ProvisionError::file("give the server's user", &path))?;
            }
        }
        let mut cluster = Self {
            initdb: None,
            server: Running::default(),
            binaries: binaries.clone(),
            directory,
            port: PORT,
            password: None,
        };
        let programs = Programs { binaries, directory: cluster.directory.path(), user: user.as_ref() };
        let prototype = Prototype::of(binaries, &INITDB_ARGUMENTS);
        let data = cluster.directory.path().join(DATA);
        let owner = user.as_ref().map(|user| (user.uid.as_raw(), user.gid.as_raw()));
        if !prototype.as_ref().is_some_and(|prototype| prototype.copy_to(&data, owner)) {
            programs.initdb(&mut cluster.initdb).await?;
            prototype.inspect(|prototype| prototype.keep(&data));
        }
        let mut attempt = 1;
        loop {
            cluster.port = if tcp { free_port()? } else { PORT };
            configure(cluster.directory.path(), profile, tcp.then_some(cluster.port))?;
            let programs = Programs { binaries, directory: cluster.directory.path(), user: user.as_ref() };
            let server = programs.postgres()?;
            cluster.restarter().running().replace(server);
            match cluster.restarter().ready().await {
                // Somebody else may have taken the port between our looking and the server's.
                Err(ProvisionError::Program { .. }) if tcp && attempt < STARTS_MAX => attempt += 1,
                Err(error) => return Err(error),
                Ok(connection) => {
                    cluster.restarter().note_segments();
                    if tcp {
                        cluster.password = Some(set_password(connection, cluster.directory.path()).await?);
                    }
                    return Ok(cluster);
                }
            }
        }
    }

    /// How the harness connects: over the socket, as the superuser.
    pub(super) fn options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(self.directory.path().join(SOCKET))
            .port(self.port)
            .username(SUPERUSER)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
            .application_name("driftlock")
    }

    /// Port and password for processes other than the harness, where TCP was asked for.
    pub(super) fn tcp(&self) -> Option<(u16, &str)> {
        self.password.as_deref().map(|password| (self.port, password))
    }

    /// Where it and everything of its is.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// That the disk is full, if the server has just said so in its log.
    pub(super) fn disk_full(&self, what: &str) -> Option<ProvisionError> {
        disk_full(what, &self.directory.path().join(LOG))
    }

    /// The server's process id.
    pub(super) fn pid(&self) -> Option<u32> {
        self.restarter().running().as_ref().map(Child::id)
    }

    /// What ends and starts its server.
    pub(super) fn restarter(&self) -> Restarter {
        Restarter {
            server: self.server.clone(),
            binaries: self.binaries.clone(),
            directory: self.directory.path().to_owned(),
            options: self.options("postgres"),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let server = self.restarter().running().take();
        let ended = server.is_none_or(process::end_child);
        // A postmaster that ended in order has removed it, and its shared memory.
        let in_order = !self.directory.path().join(DATA).join(PID_FILE).exists();
        // initdb starts servers itself, which do not clean up after themselves when they are ended.
        let at_rest = ended && in_order && self.initdb.is_none();
        if !at_rest && !self.directory.end() {
            tracing::warn!(directory = %self.directory.path().display(), "a throw-away server does not end");
        }
        self.initdb.take().map(process::kill_group).unwrap_or_default();
        // The directory's own drop removes it.
    }
}

/// The programs of a cluster, as they must be run.
pub(super) struct Programs<'a> {
    pub binaries: &'a Binaries,
    pub directory: &'a Path,
    pub user: Option<&'a User>,
}

impl Programs<'_> {
    fn command(&self, program: &str) -> Result<Command, ProvisionError> {
        let log = self.directory.join(LOG);
        let file = |log: &Path| OpenOptions::new().create(true).append(true).mode(0o600).open(log);
        let out = file(&log).map_err(ProvisionError::file("open", &log))?;
        let err = out.try_clone().map_err(ProvisionError::file("open", &log))?;
        let mut command = Command::new(self.binaries.program(program));
        command.current_dir(self.directory).stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        // PGDATA, PGOPTIONS and their like are meant for other servers than this one.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C").env("TZ", "UTC");
        if let Some(user) = self.user {
            // Setting the user as root also drops the supplementary groups.
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        Ok(command)
    }

    /// Runs initdb to its end; as long as it runs, or where it is given up, it is in `running`.
    async fn initdb(&self, running: &mut Option<Child>) -> Result<(), ProvisionError> {
        let mut command = self.command("initdb")?;
        command.arg("-D").arg(self.directory.join(DATA)).args(INITDB_ARGUMENTS);
        let path = self.binaries.program("initdb");
        let initdb = running.insert(command.spawn().map_err(ProvisionError::file("run", path))?);
        let wait = async {
            loop {
                match initdb.try_wait()? {
                    Some(status) => return Ok(status),
                    None => tokio::time::sleep(POLL).await,
                }
            }
        };
        let log = self.directory.join(LOG);
        let waited = tokio::time::timeout(INITDB, wait).await;
        if matches!(waited, Ok(Ok(_))) {
            *running = None;
        }
        match waited {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(failed("initdb", status, &log)),
            Ok(Err(error)) => Err(ProvisionError::file("wait for initdb in", self.directory)(error)),
            Err(_) => Err(ProvisionError::TimedOut { what: "the end of initdb".into(), seconds: INITDB.as_secs() }),
        }
    }

    pub(super) fn postgres(&self) -> Result<Child, ProvisionError> {
        let mut command = self.command("postgres")?;
        command.arg("-D").arg(self.directory.join(DATA));
        command.spawn().map_err(ProvisionError::file("run", self.binaries.program("postgres")))
    }
}

/// The first temporary directory that the server's user can reach and in which a socket's path is
/// not too long.
fn parent(user: Option<&User>) -> Result<PathBuf, ProvisionError> {
    let reachable = |path: &Path| user.is_none_or(|user| closed_to(user, path).is_none());
    let short = |path: &Path| {
        let socket = path.join(directory::EXAMPLE).join(SOCKET).join(".s.PGSQL.65535");
        socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX
    };
    let parents = directory::parents();
    let found = parents.iter().find(|path| path.is_dir() && reachable(path) && short(path));
    found.cloned().ok_or_else(|| ProvisionError::Program {
        program: "postgres",
        why: format!(
            "no temporary directory is short enough for a socket's path and open to the server's user: {parents:?}"
        ),
        log: String::new(),
    })
}

/// Writes the configuration: initdb's own, the profile's, and where to listen.
fn configure(directory: &Path, profile: Profile, tcp: Option<u16>) -> Result<(), ProvisionError> {
    let path = directory.join(DATA).join("postgresql.auto.conf");
    let mut text = String::new();
    for (name, value) in profile.configuration() {
        text.push_str(&format!("{name} = '{value}'\n"));
    }
    let socket = directory.join(SOCKET).display().to_string().replace('\'', "''");
    text.push_str(&format!("unix_socket_directories = '{socket}'\nunix_socket_permissions = 0700\n"));
    text.push_str(&format!("listen_addresses = '{}'\n", if tcp.is_some() { "127.0.0.1" } else { "" }));
    // Its processes have it in their titles, by which its watcher knows them.
    let name = directory.file_name().unwrap_or_default().display();
    text.push_str(&format!("cluster_name = '{name}'\n"));
    text.push_str(&format!("port = {}\npassword_encryption = 'scram-sha-256'\n", tcp.unwrap_or(PORT)));
    // Truncated, not replaced: it must go on belonging to the server's user.
    let written = File::options().write(true).truncate(true).open(&path).and_then(|mut f| f.write_all(text.as_bytes()));
    written.map_err(ProvisionError::file("write", path))
}

fn free_port() -> Result<u16, ProvisionError> {
    let bound = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(ProvisionError::file("find a free port on", "127.0.0.1"))
}

async fn set_password(mut connection: PgConnection, directory: &Path) -> Result<String, ProvisionError> {
    let (password, at) = (name::random_password()?, directory.display().to_string());
    let statement = format!("ALTER ROLE {SUPERUSER} PASSWORD '{password}'");
    bounded("set a password", &at, connection.execute(sqlx::raw_sql(AssertSqlSafe(statement)))).await?;
    Ok(password)
}

pub(super) fn failed(program: &'static str, status: ExitStatus, log: &Path) -> ProvisionError {
    let full = disk_full(&format!("run {program}"), log);
    full.unwrap_or_else(|| ProvisionError::Program { program, why: status.to_string(), log: end_of(log) })
}

/// That the disk is full, if the end of a log says so. Programs have no error codes: this is what the operating system
/// calls it in the C locale, in which they run.
fn disk_full(what: &str, log: &Path) -> Option<ProvisionError> {
    let said = end_of(log);
    let is_full = |line: &&str| line.contains("No space left on device") || line.contains("Disk quota exceeded");
    let why = said.lines().rev().find(is_full)?.trim().to_owned();
    Some(ProvisionError::DiskFull { at: log.parent()?.display().to_string(), what: what.to_owned(), why })
}

/// The last lines of the server's log. It never holds a password: statements are not logged, and
/// only those that fail are quoted.
pub(super) fn end_of(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let start = text.len().saturating_sub(LOG_BYTES_SHOWN);
    let start = (start..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[start..].to_owned()
}
