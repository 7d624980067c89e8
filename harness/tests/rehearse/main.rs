//! `rehearse` as the program that ships, on a throw-away PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a helper that cannot do its work fails the test")]

mod apps;
mod blame;
#[path = "../program/called.rs"]
mod called;
mod changed;
#[path = "../program/comes.rs"]
mod comes;
mod command;
mod data;
mod draft;
mod example;
mod facts;
mod failures;
mod given;
mod ground;
mod layouts;
mod observer;
mod runner;
mod scripted;
mod sessions;
mod shipped;
mod sqlite;
mod waiting;

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use self::called::{Called, end_of, program};

impl Called {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

fn rehearse(at: &Path, arguments: &[&str]) -> Called {
    driftlock(at, &[&["rehearse"], arguments].concat())
}

fn driftlock(at: &Path, arguments: &[&str]) -> Called {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(end_of(program(at, arguments), Duration::from_secs(600)))
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
