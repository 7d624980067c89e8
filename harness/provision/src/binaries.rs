//! Where PostgreSQL's server binaries are on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::ProvisionError;

/// The oldest major version that is supported: `DROP DATABASE … WITH (FORCE)` came with it.
pub(super) const MAJOR_MIN: u32 = 13;

/// A directory with `initdb` and `postgres` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The directory, with symbolic links resolved.
    pub directory: PathBuf,
    /// What its `postgres` calls itself: "15.6 (Debian …)", or "17beta1".
    pub version: String,
    /// The numbers in it, for comparison.
    numbers: Vec<u32>,
}

impl Binaries {
    /// Asks the `postgres` in a directory for its version.
    ///
    /// # Errors
    /// `initdb` or `postgres` is not there or does not run, or it is too old.
    pub fn at(directory: &Path) -> Result<Self, ProvisionError> {
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
        Ok(Self { directory, version, numbers })
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Every directory that holds the server's binaries, newest first, and those that hold them but
/// cannot be used, with the reason. `pg_bin` alone counts where it is given.
pub fn binary_directories(pg_bin: Option<&Path>) -> (Vec<Binaries>, Vec<ProvisionError>) {
    if let Some(directory) = pg_bin {
        return match Binaries::at(directory) {
            Ok(binaries) => (vec![binaries], Vec::new()),
            Err(error) => (Vec::new(), vec![error]),
        };
    }
    let (mut usable, mut unusable) = (Vec::new(), Vec::new());
    let mut seen = Vec::new();
    for candidate in candidates() {
        // Symbolic links in PATH (Debian, Homebrew) lead to one program in its own directory, beside
        // which it looks for its libraries.
        let Ok(program) = fs::canonicalize(candidate.join("postgres")) else { continue };
        let Some(directory) = program.parent().map(Path::to_owned) else { continue };
        if seen.contains(&directory) {
            continue;
        }
        match Binaries::at(&directory) {
            Ok(binaries) => usable.push(binaries),
            Err(error) => unusable.push(error),
        }
        seen.push(directory);
    }
    // A stable sort: of equal versions the one found first, which is the one in PATH.
    usable.sort_by(|a, b| b.numbers.cmp(&a.numbers));
    (usable, unusable)
}

fn candidates() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let asked = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).stderr(Stdio::null()).output();
    if let Ok(output) = asked {
        found.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    found.extend(inside("/usr/lib/postgresql", "", "bin"));
    found.extend(inside("/usr", "pgsql-", "bin"));
    for brew in ["/opt/homebrew/opt", "/usr/local/opt", "/home/linuxbrew/.linuxbrew/opt"] {
        found.extend(inside(brew, "postgresql", "bin"));
    }
    found.extend(inside("/Applications/Postgres.app/Contents/Versions", "", "bin"));
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
