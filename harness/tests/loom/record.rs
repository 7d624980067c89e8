//! The record of what came of an exploration: compared, or written anew.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// The variable that asks for a new record.
const ANEW: &str = "DRIFTLOCK_RECORD_LOOM";

/// Compares what was found with what `file` has of it, or writes it there.
pub fn keep<T: Serialize>(file: &str, recorded: &str, found: &T) {
    let text = serde_json::to_string_pretty(found).expect("a record can be written") + "\n";
    if std::env::var_os(ANEW).is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        fs::write(path, text).expect("the record can be written");
    } else {
        assert_eq!(text, recorded, "{file} is stale: run this once more with {ANEW}=1");
    }
}
