//! Where PostgreSQL's server binaries are on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::ProvisionError;
use super::shelf::{installed, shelves};
use super::user::{closed_to, server_user};

/// The oldest major version that is supported: `DROP DATABASE … WITH (FORCE)` came with it.
pub const MAJOR_MIN: u32 = 13;

/// A directory with `initdb` and `postgres` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The directory, with symbolic links resolved.
    pub directory: PathBuf,
    /// What its `postgres` calls itself: "15.6 (Debian …)", or "17beta1".
    pub version: String,
    /// Whether it is one of those that driftlock has installed.
    pub is_installed: bool,
    /// The numbers in it, for comparison.
    numbers: Vec<u32>,
}

impl Binaries {
    /// Asks the `postgres` in a directory for its version.
    ///
    /// # Errors
    /// `initdb` or `postgres` is not there or does not run, it is too old, or the server's user cannot get there.
    pub fn at(directory: &Path) -> Result<Self, ProvisionError> {
        let found = Self::ask(directory)?;
        let user = server_user()?;
        match user.as_ref().and_then(|user| Some((user, closed_to(user, &found.directory)?))) {
            Some((user, closed)) => Err(ProvisionError::Closed {
                directory: found.directory.clone(),
                closed: closed.to_owned(),
                user: user.name.clone(),
            }),
            None => Ok(found),
        }
    }

    /// The version of the `postgres` in a directory, whoever may enter it.
    pub(super) fn ask(directory: &Path) -> Result<Self, ProvisionError> {
        for program in ["initdb", "postgres"] {
            let path = directory.join(program);
            fs::metadata(&path).map_err(ProvisionError::file("find the server program", path))?;
        }
        let program = directory.join("postgres");
        let output = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(ProvisionError::file("run", &program))?;
        let text = String::from_utf8_lossy(&output.stdout);
        // "postgres (PostgreSQL) 15.6 (Debian 15.6-0+deb12u1)"
        let version = text.trim().strip_prefix("postgres (PostgreSQL) ").map(str::to_owned);
        let Some(version) = version.filter(|_| output.status.success()) else {
            return Err(ProvisionError::Program {
                program: "postgres --version",
                why: output.status.to_string(),
                log: format!("{text}{}", String::from_utf8_lossy(&output.stderr)),
            });
        };
        let numbers = numbers(&version);
        if numbers.first().is_none_or(|major| *major < MAJOR_MIN) {
            let at = directory.display().to_string();
            return Err(ProvisionError::TooOld { version, at, needed: MAJOR_MIN });
        }
        let directory = fs::canonicalize(directory).map_err(ProvisionError::file("resolve", directory))?;
        Ok(Self { directory, version, is_installed: false, numbers })
    }

    pub(super) fn installed(self) -> Self {
        Self { is_installed: true, ..self }
    }

    /// The major version.
    pub fn major(&self) -> u32 {
        self.numbers.first().copied().unwrap_or_default()
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Every directory that holds the server's binaries, newest first, and those that hold them but
/// cannot be used, with the reason. `pg_bin` alone counts where it is given. What driftlock has installed comes last: having
/// installed one version more must not change what is run where none is asked for.
pub fn binary_directories(pg_bin: Option<&Path>) -> (Vec<Binaries>, Vec<ProvisionError>) {
    if let Some(directory) = pg_bin {
        return match Binaries::at(directory) {
            Ok(binaries) => (vec![binaries], Vec::new()),
            Err(error) => (Vec::new(), vec![error]),
        };
    }
    all()
}

/// The programs of a major version: in `pg_bin` if they are there, else the newest that is found.
///
/// # Errors
/// [`ProvisionError::NoVersion`], with every place that was searched; or `pg_bin` holds none that can be used.
pub fn of_major(major: u32, pg_bin: Option<&Path>) -> Result<Binaries, ProvisionError> {
    let given = pg_bin.map(Binaries::at).transpose()?;
    let (usable, unusable) = all();
    let is_it = |binaries: &&Binaries| binaries.major() == major;
    if let Some(binaries) = given.iter().find(is_it).or_else(|| newest(usable.iter().filter(is_it))) {
        return Ok(binaries.clone());
    }
    let found = given.iter().chain(&usable).map(|other| format!("{} in {}", other.version, other.directory.display()));
    let found = found.chain(unusable.iter().map(ProvisionError::in_full)).collect();
    let given = pg_bin.map(|directory| format!("--pg-bin {}", directory.display()));
    let ours = shelves().into_iter().map(|shelf| shelf.join(format!("{major}.*")).display().to_string());
    let searched = given.into_iter().chain(places(major)).chain(ours).collect();
    Err(ProvisionError::NoVersion { major, searched, found })
}

/// Of equal versions the one found first, which is the one in PATH.
fn newest<'a>(all: impl Iterator<Item = &'a Binaries>) -> Option<&'a Binaries> {
    all.reduce(|best, one| if one.numbers > best.numbers { one } else { best })
}

fn all() -> (Vec<Binaries>, Vec<ProvisionError>) {
    let (mut usable, mut unusable) = (Vec::new(), Vec::new());
    let mut seen = Vec::new();
    let ours = installed();
    for candidate in candidates().into_iter().chain(ours.iter().cloned()) {
        // Symbolic links in PATH (Debian, Homebrew) lead to one program in its own directory, beside
        // which it looks for its libraries.
        let Ok(program) = fs::canonicalize(candidate.join("postgres")) else { continue };
        let Some(directory) = program.parent().map(Path::to_owned) else { continue };
        if seen.contains(&directory) {
            continue;
        }
        match Binaries::at(&directory) {
            Ok(binaries) => usable.push(Binaries { is_installed: ours.contains(&candidate), ..binaries }),
            Err(error) => unusable.push(error),
        }
        seen.push(directory);
    }
    // A stable sort: of equal versions the one found first, which is the one in PATH.
    usable.sort_by(|a, b| a.is_installed.cmp(&b.is_installed).then(b.numbers.cmp(&a.numbers)));
    (usable, unusable)
}

/// Where packages put a version's programs.
const PARENTS: [(&str, &str); 6] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql@"),
    ("/usr/local/opt", "postgresql@"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql@"),
    ("/Applications/Postgres.app/Contents/Versions", ""),
];

/// The places in which a major version is looked for, for people.
fn places(major: u32) -> impl Iterator<Item = String> {
    let named = PARENTS.into_iter().map(move |(parent, prefix)| format!("{parent}/{prefix}{major}/bin"));
    ["PATH".to_owned(), "pg_config --bindir".to_owned()].into_iter().chain(named)
}

fn candidates() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let asked = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).stderr(Stdio::null()).output();
    if let Ok(output) = asked {
        found.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    for (parent, prefix) in PARENTS {
        // Homebrew's newest has no number.
        found.extend(inside(parent, prefix.trim_end_matches('@'), "bin"));
    }
    found.retain(|path| path.is_absolute());
    found
}

/// `<parent>/<prefix>*/<leaf>`.
fn inside(parent: &str, prefix: &str, leaf: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    named.map(|entry| entry.path().join(leaf)).collect()
}

/// "15.6 (Debian 15.6-0)" is [15, 6]; "17beta1" is [17], and so below "17.0".
fn numbers(version: &str) -> Vec<u32> {
    let first = version.split_whitespace().next().unwrap_or_default();
    first.split('.').map_while(|part| part.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(numbers("15.6 (Debian 15.6-0+deb12u1)"), [15, 6]);
        assert_eq!(numbers("17beta1"), [17]);
        assert!(numbers("9.6.24") < numbers("15.6"));
        assert!(numbers("15.6") < numbers("15.10"));
    }

    #[test]
    fn a_directory_without_a_server_says_which_program_is_missing() {
        let empty = tempfile::tempdir().unwrap();
        let (usable, unusable) = binary_directories(Some(empty.path()));
        assert!(usable.is_empty());
        assert!(unusable[0].to_string().contains("initdb"), "{}", unusable[0]);
    }
}
