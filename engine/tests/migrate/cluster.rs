//! A throw-away PostgreSQL for this test program: Unix socket only, in a private directory. It is stopped and
//! removed when the program ends, however it ends.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};

/// A database of a test's own. It goes with the cluster.
pub struct Database {
    options: PgConnectOptions,
}

impl Database {
    /// Creates an empty one.
    pub async fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let options = cluster().options();
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut conn = options.clone().database("postgres").connect().await.expect("the cluster accepts connections");
        conn.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        conn.close().await.unwrap();
        Self { options: options.database(&name) }
    }

    /// Opens a session.
    pub async fn connect(&self) -> PgConnection {
        self.options.connect().await.unwrap()
    }

    /// Opens a session with a lock timeout.
    pub async fn connect_with_lock_timeout(&self, timeout: &str) -> PgConnection {
        self.options.clone().options([("lock_timeout", timeout)]).connect().await.unwrap()
    }
}

struct Cluster {
    socket_directory: PathBuf,
    user: String,
    /// Stops the server and removes its files once its standard input closes, which the death of this process
    /// does too.
    _janitor: Child,
}

impl Cluster {
    fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass().socket(&self.socket_directory).username(&self.user)
    }
}

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(start)
}

fn start() -> Cluster {
    let bin = binaries().expect(
        "these tests need the server programs of PostgreSQL (initdb, pg_ctl, postgres): put their directory on PATH",
    );
    let account = Account::of_server();
    let root = tempfile::Builder::new().prefix("drift-").tempdir().unwrap().keep();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
    if let Some((uid, gid)) = account.switch_to {
        chown(&root, Some(uid), Some(gid)).unwrap();
    }
    let data = root.join("data");
    let run = |program: &str, args: &[&OsStr]| {
        let output = account.command(&bin.join(program)).current_dir(&root).args(args).output().unwrap();
        let log = fs::read_to_string(root.join("log")).unwrap_or_default();
        assert!(output.status.success(), "{program}: {}{log}", String::from_utf8_lossy(&output.stderr));
    };
    let janitor = account
        .command("/bin/sh".as_ref())
        .args(["-c", r#"read _; "$0" stop -D "$1/data" -m immediate; rm -rf "$1""#])
        .args([bin.join("pg_ctl").as_os_str(), root.as_os_str()])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Not in the terminal's group: an interrupt must not take the janitor before its work.
        .process_group(0)
        .spawn()
        .unwrap();
    let initdb = ["-D", "data", "-U", "drift", "-E", "UTF8", "--locale=C", "--auth=trust", "--no-sync"];
    run("initdb", &initdb.map(OsStr::new));
    let conf = data.join("postgresql.conf");
    let settings = format!(
        "{}\nlisten_addresses = ''\nunix_socket_directories = '{}'\nfsync = off\nfull_page_writes = off\n\
         wal_level = minimal\nmax_wal_senders = 0\nautovacuum = off\n",
        fs::read_to_string(&conf).unwrap(),
        root.display()
    );
    fs::write(&conf, settings).unwrap();
    run("pg_ctl", &["start", "-w", "-D", "data", "-l", "log"].map(OsStr::new));
    Cluster { socket_directory: root, user: "drift".to_owned(), _janitor: janitor }
}

/// Who runs the server: it refuses to run as root.
struct Account {
    switch_to: Option<(u32, u32)>,
}

impl Account {
    fn of_server() -> Self {
        use std::os::unix::fs::MetadataExt;
        let probe = tempfile::tempfile().unwrap().metadata().unwrap();
        if probe.uid() != 0 {
            return Self { switch_to: None };
        }
        let accounts = fs::read_to_string("/etc/passwd").unwrap();
        let ids = |line: &str| {
            let mut fields = line.split(':').skip(2);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        };
        let of = |name: &str| accounts.lines().find(|line| line.starts_with(&format!("{name}:"))).and_then(ids);
        Self { switch_to: Some(of("postgres").or(of("nobody")).unwrap_or((65534, 65534))) }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some((uid, gid)) = self.switch_to {
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// The newest directory that has the server's programs.
fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path);
    let configured = Command::new("pg_config").arg("--bindir").output().ok();
    let configured = configured.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let mut packaged: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    let version = |path: &PathBuf| -> Option<u32> { path.parent()?.file_name()?.to_str()?.parse().ok() };
    packaged.sort_by_key(|path| std::cmp::Reverse(version(path)));
    let complete = |path: &PathBuf| ["initdb", "pg_ctl", "postgres"].iter().all(|name| path.join(name).is_file());
    on_path.chain(configured).chain(packaged).find(complete)
}
