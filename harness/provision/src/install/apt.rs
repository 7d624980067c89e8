//! The distribution's own package, downloaded with apt-get and unpacked: nothing is installed in the system, and nobody need be
//! root. Hooks that the system has apt-get run after an update are run for root: its settings are needed, for a proxy say, and
//! cannot be had without them.
//!
//! What the programs need beside the package (libraries, time zones) must be there; whether it is, running them shows.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::command::output;
use super::{Fault, Got};

const UPDATE: Duration = Duration::from_secs(180);
const FETCH: Duration = Duration::from_secs(180);
const UNPACK: Duration = Duration::from_secs(60);

/// The package of a major version.
pub(super) fn package(major: u32) -> String {
    format!("postgresql-{major}")
}

/// Gets a major version into a directory.
pub(super) async fn get(major: u32, stage: &Path) -> Result<Got, Fault> {
    let package = package(major);
    let (lists, cache) = (stage.join("lists"), stage.join("cache"));
    for directory in [lists.join("partial"), cache.join("archives/partial")] {
        std::fs::create_dir_all(&directory).map_err(|error| Fault::of(format!("has no place: {error}")))?;
    }
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        // Lists and a cache of its own: a container's are often empty, and the system's are root's.
        let directories = [("Dir::State::lists", &lists), ("Dir::Cache", &cache)];
        command.args(directories.map(|(name, path)| format!("-o{name}={}", path.display())));
        command.current_dir(stage).args(["-qq", "-oAPT::Sandbox::User=root"]).args(words);
        command
    };
    output(apt(&["update"]), UPDATE).await?;
    output(apt(&["download", &package]), FETCH).await.map_err(|fault| Fault {
        why: format!("could not download {package}, which the distribution may not have: it {}", fault.why),
        log: fault.log,
    })?;
    let entries = std::fs::read_dir(stage).into_iter().flatten().flatten().map(|entry| entry.path());
    let Some(file) = entries.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "deb"))
    else {
        return Err(Fault::of(format!("downloaded no file of {package}")));
    };
    let root = stage.join("root");
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("-x").arg(&file).arg(&root);
    output(unpack, UNPACK).await?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Got { package: name, root })
}
