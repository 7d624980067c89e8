//! A PostgreSQL cluster of the tests' own. A guardian process holds the other end of a pipe: however the tests end, the
//! server is stopped and its directory removed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tokio_postgres::{Client, NoTls};

/// Where Debian and others put the programs; else they are looked for in `PATH`.
const BIN_DIRS: [&str; 4] = [
    "/usr/lib/postgresql/18/bin",
    "/usr/lib/postgresql/17/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/15/bin",
];

const HBA: &str = "\
local all scram_user scram-sha-256
local all clear_user password
local all md5_user md5
local all all trust
host all scram_user 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
";

const SETTINGS: [&str; 10] = [
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_connections=320",
    "shared_buffers=64MB",
    "listen_addresses=127.0.0.1",
    "max_wal_senders=0",
    "wal_level=minimal",
    "log_min_messages=fatal",
    "unix_socket_permissions=0777",
];

/// Ends the server when its standard input does.
const GUARDIAN: &str =
    r#"directory="$1"; shift; "$@" & server=$!; cat > /dev/null; kill -INT $server; wait $server; rm -rf "$directory""#;

pub struct Cluster {
    directory: PathBuf,
    port: u16,
    /// Its standard input is the pipe.
    _guardian: Child,
}

pub fn program(name: &str) -> PathBuf {
    let found = BIN_DIRS.iter().map(|bin| Path::new(bin).join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| name.into())
}

/// A command that is not run by root, for the server refuses that.
fn command(name: &str) -> Vec<String> {
    let program = program(name).to_string_lossy().into_owned();
    if nix::unistd::Uid::effective().is_root() {
        let user =
            if nix::unistd::User::from_name("postgres").expect("users").is_some() { "postgres" } else { "nobody" };
        let args = ["setpriv", &format!("--reuid={user}"), "--clear-groups", "--", &program];
        args.map(str::to_owned).into()
    } else {
        vec![program]
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

impl Cluster {
    fn start() -> Cluster {
        let directory = tempfile::Builder::new().prefix("wire-").tempdir().expect("a directory").keep();
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&directory, everyone).expect("permissions");
        let data = directory.join("data");
        let initdb = command("initdb");
        let made = Command::new(&initdb[0])
            .args(&initdb[1..])
            .args(["-A", "trust", "-U", "wire", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data)
            .current_dir(&directory)
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::write(data.join("pg_hba.conf"), HBA).expect("a writable directory");
        let port = free_port();
        let mut guardian = Command::new("sh");
        guardian.args(["-c", GUARDIAN, "guardian"]).arg(&directory).args(command("postgres"));
        guardian.arg("-D").arg(&data).arg("-p").arg(port.to_string()).arg("-k").arg(&directory);
        guardian.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        let log = std::fs::File::create(directory.join("log")).expect("a writable directory");
        let guardian = guardian
            .current_dir(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("a shell");
        Cluster { directory, port, _guardian: guardian }
    }

    /// Over the Unix socket.
    pub fn url(&self) -> String {
        self.url_of("wire")
    }

    pub fn url_of(&self, user: &str) -> String {
        let directory = self.directory.to_string_lossy().replace('/', "%2F");
        format!("postgresql://{user}@/postgres?host={directory}&port={}", self.port)
    }

    pub fn tcp_url(&self, user: &str) -> String {
        format!("postgresql://{user}@127.0.0.1:{}/postgres", self.port)
    }
}

/// The cluster of this process, ready.
pub async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(Cluster::start);
    for _ in 0..300 {
        if let Ok((client, connection)) = tokio_postgres::connect(&cluster.url(), NoTls).await {
            let serving = tokio::spawn(connection);
            prepare(&client).await;
            drop(client);
            serving.await.expect("no panic").expect("a clean end");
            return cluster;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let log = std::fs::read_to_string(cluster.directory.join("log")).unwrap_or_default();
    panic!("the server does not come up:\n{log}");
}

async fn prepare(client: &Client) {
    let roles = "
        BEGIN;
        SELECT pg_advisory_xact_lock(1);
        DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'scram_user') THEN
                CREATE ROLE scram_user SUPERUSER LOGIN PASSWORD 'scram secret';
                SET LOCAL password_encryption = 'md5';
                CREATE ROLE md5_user LOGIN PASSWORD 'md5 secret';
                CREATE ROLE clear_user LOGIN PASSWORD 'clear secret';
            END IF;
        END $$;
        COMMIT;";
    client.batch_execute(roles).await.expect("roles");
}
