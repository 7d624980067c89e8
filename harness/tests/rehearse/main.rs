//! `rehearse` as the program that ships, on a throw-away PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a helper that cannot do its work fails the test")]

mod command;
mod failures;
mod runner;
mod scripted;
mod shipped;

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

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

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

fn rehearse(at: &Path, arguments: &[&str]) -> Called {
    driftlock(at, &[&["rehearse"], arguments].concat())
}

fn driftlock(at: &Path, arguments: &[&str]) -> Called {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftlock"));
    command.args(arguments).current_dir(at);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Called { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A directory that holds a directory of migrations, `m`, with these files.
fn holding(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("m")).unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join("m").join(name), text).unwrap();
    }
    directory
}

/// The findings of a row, as `kind file:line code`.
fn found(row: &Value) -> Vec<String> {
    let one = |finding: &Value| {
        let file = finding["file"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let code = finding["code"].as_str().unwrap_or("-");
        format!("{} {file}:{} {code}", finding["kind"].as_str().unwrap(), finding["line"])
    };
    row["findings"].as_array().unwrap().iter().map(one).collect()
}
