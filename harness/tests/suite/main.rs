//! `verify`, `mutate` and `report` as the program that ships: what they print, write and exit with.
#![expect(clippy::unwrap_used, reason = "a helper that cannot do its work fails the test")]

mod applications;
mod as_isolationtester;
#[path = "../program/called.rs"]
mod called;
mod coverage;
mod doctor;
mod example;
mod harmless;
mod interrupted;
mod kept;
mod mutate;
mod project;
mod refused;
mod scripts;
mod verify;
mod versions;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use self::called::{Called, end_of, program};

/// A few tasks for one customer, with a lock and without: a case on SQLite, and two on PostgreSQL.
const SMALL: &str = r#"
name = "small"
summary = "A few tasks, locked and not."
strategies = ["row-no-key", "constraint", "immediate"]
checks = ["no-duplicates", "settled", "exclusion", "accounted"]
[tasks]
count = 6
workers = 3
"#;

impl Called {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

/// A directory with these files, for calls that are made there.
fn holding(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

/// How long a call may take.
const CALL_MAX: Duration = Duration::from_secs(300);

async fn call(at: &Path, arguments: &[&str]) -> Called {
    end_of(program(at, arguments), CALL_MAX).await
}

/// What is written in a file of JSON.
fn json_in(file: impl AsRef<Path>) -> Value {
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// The names in a directory.
fn names_in(directory: impl AsRef<Path>) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The rows of a report.
fn rows(report: &Value) -> &[Value] {
    report["results"].as_array().unwrap()
}
