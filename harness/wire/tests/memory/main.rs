//! Memory does not grow with the size of a message. A process of its own, so that nothing else grows meanwhile.

#[expect(dead_code, reason = "the other tests sign in at the server in more ways")]
#[path = "../proxy/cluster.rs"]
mod cluster;

use std::process::Stdio;
use std::time::Duration;

use driftlock_wire::{Config, Listen, Open, Proxy, Record, Upstream};
use tokio::process::Command;

/// More than what the bounds allow, and a sixteenth of what goes through.
const GROWTH_BYTES_MAX: usize = 4 << 20;

/// The memory of this process that is in use.
fn resident_bytes() -> usize {
    let sizes = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = sizes.split(' ').nth(1).expect("a field").parse().expect("a number");
    pages * 4096
}

#[tokio::test]
async fn rows_and_copies_and_queries_of_64_mb_go_through_in_pieces() {
    let upstream = Upstream::parse(&cluster::cluster().await.url()).expect("a URL");
    let proxy = Proxy::new(Config::new(upstream), Record::around(Open, 1000)).expect("a proxy");
    let url = proxy.open(Listen::Tcp).await.expect("an endpoint").url();
    let row = "SELECT repeat('x', 64 << 20)";
    let copy_out = "COPY (SELECT repeat('x', 64 << 20)) TO STDOUT";
    let copy_in = "CREATE TEMP TABLE t (x text); COPY t FROM STDIN";
    let big = || "y".repeat(64 << 20);
    let query = format!("SELECT length('{}')", big());
    for (what, sql, input) in
        [("row", row, ""), ("copy out", copy_out, ""), ("copy in", copy_in, &*big()), ("query", "", &*query)]
    {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("input");
        std::fs::write(&file, input).expect("written");
        let mut command = Command::new(cluster::program("psql"));
        command.args(["-X", "-At", "-v", "ON_ERROR_STOP=1", &url]);
        if !sql.is_empty() {
            command.args(["-c", sql]);
        }
        command.stdin(std::fs::File::open(&file).expect("it was written"));
        let mut client = command.stdout(Stdio::null()).kill_on_drop(true).spawn().expect("psql");
        let before = resident_bytes();
        let mut most = 0;
        let ended = async {
            loop {
                tokio::select! {
                    ended = client.wait() => return ended.expect("it ends"),
                    () = tokio::time::sleep(Duration::from_millis(1)) => most = most.max(resident_bytes()),
                }
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(120), ended).await.expect("it ends in time");
        assert!(ended.success(), "{what}");
        let grown = most.saturating_sub(before);
        assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes more while a {what} of 64 MB went through");
    }
    proxy.stop().await;
}
