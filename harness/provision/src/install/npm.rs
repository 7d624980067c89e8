//! npm's packages `@embedded-postgres/<platform>`: the server's programs of each release, with what they need.
//!
//! Their versions are PostgreSQL's with a counter behind ("17.2.0-beta.15"), which npm's ranges pass over: the newest of a major
//! version is looked up. npm packages have no symbolic links; a list says which there should be.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::command::output;
use super::{Fault, Got};

/// What npm calls this platform, as the packages' names have it.
const SYSTEMS: [(&str, &str); 2] = [("linux", "linux"), ("macos", "darwin")];
const PROCESSORS: [(&str, &str); 5] =
    [("x86_64", "x64"), ("aarch64", "arm64"), ("arm", "arm"), ("x86", "ia32"), ("powerpc64", "ppc64")];
const LOOK: Duration = Duration::from_secs(60);
const FETCH: Duration = Duration::from_secs(300);
/// The list of links.
const LINKS: &str = "pg-symlinks.json";

/// The package for this platform, or why there is none.
pub(super) fn package() -> Result<String, String> {
    let of = |table: &[(&str, &'static str)], name| table.iter().find(|(ours, _)| *ours == name).map(|(_, npm)| *npm);
    let (system, processor) = (std::env::consts::OS, std::env::consts::ARCH);
    match of(&SYSTEMS, system).zip(of(&PROCESSORS, processor)) {
        Some((system, processor)) => Ok(format!("@embedded-postgres/{system}-{processor}")),
        None => Err(format!("it has no package for {system} on {processor}")),
    }
}

/// Gets the newest release of a major version into a directory.
pub(super) async fn get(major: u32, stage: &Path) -> Result<Got, Fault> {
    let package = package().map_err(Fault::of)?;
    let mut look = npm(stage);
    look.args(["view", &package, "versions", "--json"]);
    let listed = output(look, LOOK).await?;
    let version = newest(&listed, major)?;
    let named = format!("{package}@{version}");
    let mut install = npm(stage);
    install.args(["install", "--ignore-scripts", "--no-save", "--no-package-lock", "--no-audit", "--no-fund"]);
    output(
        {
            install.arg("--prefix").arg(stage).arg(&named);
            install
        },
        FETCH,
    )
    .await?;
    let unpacked = stage.join("node_modules").join(&package);
    let root = unpacked.join("native");
    link(&unpacked, &root)?;
    Ok(Got { package: named, root })
}

fn npm(stage: &Path) -> Command {
    let mut command = Command::new("npm");
    command.current_dir(stage).args(["--loglevel=error", "--no-update-notifier"]);
    command
}

/// The newest of the versions that npm lists which is of a major version.
fn newest(listed: &str, major: u32) -> Result<String, Fault> {
    let unclear = |why: String| Fault { why: format!("answered what cannot be read: {why}"), log: listed.to_owned() };
    let listed: serde_json::Value = serde_json::from_str(listed).map_err(|error| unclear(error.to_string()))?;
    // Of a package with one version, npm lists no list.
    let all = listed.as_array().cloned().unwrap_or_else(|| vec![listed]);
    let numbers =
        |version: &str| -> Vec<u32> { version.split(['.', '-']).filter_map(|part| part.parse().ok()).collect() };
    let all: Vec<&str> = all.iter().filter_map(serde_json::Value::as_str).collect();
    let of_major = all.iter().filter(|version| numbers(version).first() == Some(&major));
    let newest = of_major.max_by_key(|version| numbers(version)).map(|version| (*version).to_owned());
    newest.ok_or_else(|| {
        let mut majors: Vec<u32> = all.iter().filter_map(|version| numbers(version).first().copied()).collect();
        majors.sort_unstable();
        majors.dedup();
        let majors: Vec<String> = majors.iter().map(u32::to_string).collect();
        Fault::of(format!("has no release of PostgreSQL {major}: there are {}", majors.join(", ")))
    })
}

/// Makes the symbolic links that the package lists, each from a file to a file inside of it.
fn link(unpacked: &Path, root: &Path) -> Result<(), Fault> {
    let list = root.join(LINKS);
    // A package without links needs none.
    let Ok(text) = std::fs::read_to_string(&list) else { return Ok(()) };
    let unclear = |why: String| Fault::of(format!("got a package whose {LINKS} cannot be used: {why}"));
    let links: Vec<serde_json::Value> = serde_json::from_str(&text).map_err(|error| unclear(error.to_string()))?;
    for one in &links {
        let (Some(source), Some(target)) = (inside(&one["source"]), inside(&one["target"])) else {
            return Err(unclear(format!("{one} does not name two files inside of it")));
        };
        let (Some(directory), Some(name)) = (target.parent(), source.file_name()) else {
            return Err(unclear(format!("{one} names no file")));
        };
        // All of them lie beside what they lead to.
        if source.parent() != Some(directory) {
            return Err(unclear(format!("{one} leads from one directory to another")));
        }
        let at = unpacked.join(&target);
        match std::os::unix::fs::symlink(name, &at) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(unclear(format!("{}: {error}", at.display())));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A path inside of the package.
fn inside(path: &serde_json::Value) -> Option<PathBuf> {
    let path = PathBuf::from(path.as_str()?);
    path.components().all(|part| matches!(part, Component::Normal(_))).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_release_is_found_by_number() {
        let listed = r#"["16.9.0-beta.15", "17.9.0-beta.16", "17.10.0-beta.16", "17.10.0-beta.17", "17.2.0-beta.15"]"#;
        assert_eq!(newest(listed, 17).unwrap(), "17.10.0-beta.17");
        assert_eq!(newest(r#""16.1.0-beta.1""#, 16).unwrap(), "16.1.0-beta.1");
        assert!(newest(listed, 13).unwrap_err().why.contains("there are 16, 17"));
        assert!(newest("<html>", 17).unwrap_err().why.contains("cannot be read"));
    }

    #[test]
    fn links_are_made_inside_of_the_package_alone() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("native");
        std::fs::create_dir_all(root.join("lib")).unwrap();
        std::fs::write(root.join("lib/libpq.so.5.18"), "it").unwrap();
        let list = |text: &str| std::fs::write(root.join(LINKS), text).unwrap();
        list(r#"[{"source": "native/lib/libpq.so.5.18", "target": "native/lib/libpq.so"}]"#);
        link(place.path(), &root).unwrap();
        assert_eq!(std::fs::read_to_string(root.join("lib/libpq.so")).unwrap(), "it");
        link(place.path(), &root).unwrap();
        for wrong in [
            r#"[{"source": "native/lib/a", "target": "../outside"}]"#,
            r#"[{"source": "/etc/passwd", "target": "native/lib/b"}]"#,
            r#"[{"source": "native/share/a", "target": "native/lib/b"}]"#,
            r#"[{"target": "native/lib/b"}]"#,
            "{}",
        ] {
            list(wrong);
            assert!(link(place.path(), &root).unwrap_err().why.contains("cannot be used"), "{wrong}");
        }
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    }
}
