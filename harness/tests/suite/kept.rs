//! What `initdb` makes is kept for the next start, and a start never depends on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a small case on a server of its own, with this cache: what it says.
fn run(cache: &Path) -> String {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["explore", "--built-in", "--filter", "no-lock/read-committed", "--postgres", "local"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftlock"));
    command.args(arguments).current_dir(directory.path()).env("DRIFTLOCK_CACHE_DIR", cache);
    let output = command.output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    said
}

/// The prototypes of a cache.
fn prototypes(cache: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cache).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.join("list").exists()).collect()
}

#[test]
fn a_cluster_is_kept_used_again_and_made_anew_where_it_is_spoiled() {
    let place = tempfile::tempdir().unwrap();
    let cache = place.path().join("cache");
    run(&cache);
    let [kept] = &prototypes(&cache)[..] else { panic!("one is kept") };
    let made = |path: &Path| fs::metadata(path.join("list")).unwrap().modified().unwrap();
    let first = made(kept);
    run(&cache);
    assert_eq!(made(kept), first);
    // A server that began with this file would have another catalog.
    let file = kept.join("files/global/1262");
    let mut bytes = fs::read(&file).unwrap();
    bytes[100] ^= 1;
    fs::write(&file, bytes).unwrap();
    run(&cache);
    assert!(made(kept) > first);
}

#[test]
fn no_start_depends_on_a_cache() {
    let place = tempfile::tempdir().unwrap();
    run(Path::new(""));
    // Neither a file in its place, nor one that others may write to, is used.
    let file = place.path().join("file");
    fs::write(&file, "").unwrap();
    run(&file);
    let open = place.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    run(&open);
    assert_eq!(fs::read_dir(&open).unwrap().count(), 0);
}
