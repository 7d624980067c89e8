//! Real programs as scripts: what public reports are about, each broken and mended in one file.

use std::fs;
use std::path::Path;

use crate::command::driftlock;

/// Every pattern's cases come out as its file says: what is mended is exhausted, what is broken is found.
#[test]
fn every_pattern_is_found_broken_and_exhausted_when_mended() {
    let directory = tempfile::tempdir().unwrap();
    let patterns = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/patterns");
    let files = fs::read_dir(&patterns).unwrap().count();
    let arguments = ["explore", patterns.to_str().unwrap(), "--postgres", "local", "--output", "out"];
    let (code, said) = driftlock(directory.path(), &arguments);
    assert_eq!(code, Some(0), "{said}");
    let report = fs::read_to_string(directory.path().join("out/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let rows = report["results"].as_array().unwrap();
    let of = |word: &str| rows.iter().filter(|row| row["verdict"] == word).map(|row| &row["name"]).collect::<Vec<_>>();
    let (sound, broken) = (of("pass"), of("violation"));
    assert_eq!(sound.len() + broken.len(), rows.len(), "{said}");
    for row in rows.iter().filter(|row| row["verdict"] == "pass") {
        assert_eq!(row["coverage"], "exhausted", "{row}");
        assert!(row["executions"].as_u64() > Some(1), "{row}");
    }
    // Each file has both.
    let files_of = |names: &[&serde_json::Value]| {
        let script = |name: &&serde_json::Value| name.as_str().unwrap().split('/').next().unwrap().to_owned();
        names.iter().map(script).collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!((files_of(&sound), files_of(&broken)), (files, files), "{said}");
}
