//! Which files of a checkout have changed since a branch left another one, as git says it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

/// How long one call of git may take.
const CALL_MAX: Duration = Duration::from_secs(60);

/// The files that have changed, committed or not, new ones included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Since when, as it was given.
    pub base: String,
    files: BTreeSet<PathBuf>,
}

/// Why it cannot be said.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ChangedError {
    /// There is no git.
    #[error("failed to run git: {0}")]
    #[diagnostic(help("Install git, or name the version to begin at: --from N"))]
    NoGit(#[source] std::io::Error),
    /// It takes too long.
    #[error("git {what} has not answered within {} s", CALL_MAX.as_secs())]
    Slow {
        /// What was called.
        what: String,
    },
    /// The directory belongs to no checkout.
    #[error("{directory} is in no checkout of git: {said}")]
    #[diagnostic(help("Name the version to begin at instead: --from N"))]
    NoCheckout {
        /// The directory.
        directory: String,
        /// What git says.
        said: String,
    },
    /// There is no such commit.
    #[error("git knows no commit {base}")]
    #[diagnostic(help(
        "Fetch it: git fetch origin BRANCH, and name it origin/BRANCH. In a GitHub workflow actions/checkout fetches \
         one commit only, unless it is given fetch-depth: 0; in GitLab set GIT_DEPTH to 0"
    ))]
    NoBase {
        /// What was given.
        base: String,
    },
    /// The two have no commit in common, as far as the clone goes.
    #[error("{base} and HEAD have no commit in common{}", if *is_shallow { " in this shallow clone" } else { "" })]
    #[diagnostic(help("{}", if *is_shallow {
        "Fetch the rest: git fetch --unshallow. In a GitHub workflow give actions/checkout fetch-depth: 0; in GitLab \
         set GIT_DEPTH to 0"
    } else {
        "Name a commit that HEAD comes from"
    }))]
    NoCommon {
        /// What was given.
        base: String,
        /// Whether the clone is cut off.
        is_shallow: bool,
    },
    /// It fails otherwise.
    #[error("git {what} failed: {said}")]
    Failed {
        /// What was called.
        what: String,
        /// What it says.
        said: String,
    },
}

impl ChangedError {
    /// Whether another argument would mend it.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::NoBase { .. } | Self::NoCommon { .. } | Self::NoCheckout { .. })
    }
}

impl Changed {
    /// What has changed in the checkout of a directory, since its HEAD left `base`.
    ///
    /// # Errors
    /// See [`ChangedError`].
    pub async fn since(base: &str, directory: &Path) -> Result<Self, ChangedError> {
        let top = git(directory, &["rev-parse", "--show-toplevel"]).await?;
        if !top.status.success() {
            let directory = directory.display().to_string();
            return Err(ChangedError::NoCheckout { directory, said: said(&top) });
        }
        let top = PathBuf::from(path_of(trimmed(&top.stdout)));
        let commit = format!("{base}^{{commit}}");
        let known = git(&top, &["rev-parse", "--verify", "--quiet", "--end-of-options", &commit]).await?;
        if !known.status.success() {
            return Err(ChangedError::NoBase { base: base.to_owned() });
        }
        let commit = String::from_utf8_lossy(trimmed(&known.stdout)).into_owned();
        let common = git(&top, &["merge-base", &commit, "HEAD"]).await?;
        if !common.status.success() {
            let shallow = git(&top, &["rev-parse", "--is-shallow-repository"]).await?;
            let is_shallow = trimmed(&shallow.stdout) == b"true";
            return Err(ChangedError::NoCommon { base: base.to_owned(), is_shallow });
        }
        let common = String::from_utf8_lossy(trimmed(&common.stdout)).into_owned();
        // Against the files as they lie there: what is not committed yet counts too.
        let changed = ["diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", &common, "--"];
        let new = ["ls-files", "-z", "--others", "--exclude-standard"];
        let mut files = BTreeSet::new();
        for call in [&changed[..], &new[..]] {
            let listed = git(&top, call).await?;
            if !listed.status.success() {
                return Err(ChangedError::Failed { what: call[0].to_owned(), said: said(&listed) });
            }
            let names = listed.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
            files.extend(names.map(|name| real(&top.join(path_of(name)))));
        }
        Ok(Self { base: base.to_owned(), files })
    }

    /// Those below a directory that are no longer there.
    pub fn gone(&self, directory: &Path) -> Vec<&Path> {
        let directory = real(directory);
        let below = self.files.iter().filter(|file| file.starts_with(&directory) && !file.exists());
        below.map(PathBuf::as_path).collect()
    }

    /// Whether a file is among them.
    pub fn has(&self, file: &Path) -> bool {
        self.files.contains(&real(file))
    }
}

/// Calls git in a directory. It asks nobody for anything, and waits for no lock.
async fn git(directory: &Path, arguments: &[&str]) -> Result<Output, ChangedError> {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).args(arguments);
    command.env("GIT_OPTIONAL_LOCKS", "0").env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
    command.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(CALL_MAX, command.output()).await {
        Ok(output) => output.map_err(ChangedError::NoGit),
        Err(_) => Err(ChangedError::Slow { what: arguments[0].to_owned() }),
    }
}

/// A name as git prints it.
fn path_of(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\n").unwrap_or(bytes)
}

/// What git says for people, in one line.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// The file behind links, or the path itself where there is none any more.
fn real(file: &Path) -> PathBuf {
    file.canonicalize().unwrap_or_else(|_| file.to_owned())
}
