//! `bench` and `merge` on real databases, and as the programs that ship.
#![expect(clippy::unwrap_used, reason = "a helper that cannot do its work fails the test")]

mod command;
mod compare;
mod omission;
mod plan;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// Little data for one customer.
const SMALL: &str = r#"
name = "small"
summary = "A few claims of one customer."
checks = ["no-duplicates"]
[data]
claims-per-customer = 40
[tasks]
count = 6
workers = 3
"#;

/// What a call of the program came to.
struct Called {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Called {
    #[track_caller]
    fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self
    }
}

/// Calls the program in a directory, for at most two minutes.
async fn call(at: &Path, arguments: &[&str]) -> Called {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftlock"));
    command.args(arguments).current_dir(at);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(120), child.wait_with_output()).await;
    let output = ended.expect("the program ends in time").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Called { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}
