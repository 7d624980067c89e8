//! What is rehearsed: a directory of migrations with its settings, the user's own or one of those that are built in.

use std::path::Path;

use drift_engine::lock::Backend;
use drift_engine::migrate;

use super::companion::Companion;
use super::migrations::{Migrations, Mistakes};
use super::settings::{FILE, Settings};

/// A directory of migrations.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// What it is called: its last part.
    pub name: String,
    /// Where it is, as it is shown.
    pub path: String,
    /// What is in it.
    pub migrations: Migrations,
    /// How it is rehearsed.
    pub settings: Settings,
    /// Whether a tool of its own migrates it: then its files are that tool's business.
    pub has_runner: bool,
}

/// Why a directory cannot be rehearsed.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// Its migrations cannot be read.
    #[error(transparent)]
    Migrations(#[from] Mistakes),
    /// Its settings cannot be read.
    #[error("{path}/{FILE}: {why}")]
    Settings {
        /// The directory.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// It has no such version.
    #[error("{path} has no version {version}; its versions are {}", versions.iter().map(i64::to_string).collect::<Vec<_>>().join(", "))]
    NoSuchVersion {
        /// The directory.
        path: String,
        /// What was asked for.
        version: i64,
        /// What there is.
        versions: Vec<i64>,
    },
    /// There is nothing between the two.
    #[error("{path} has nothing between version {from} and version {to}")]
    Nothing {
        /// The directory.
        path: String,
        /// The version to begin at.
        from: i64,
        /// The version to go to.
        to: i64,
    },
    /// An expectation names a file that there is not.
    #[error("{path}/{FILE}: it expects a finding in {file}, which is not there")]
    NoSuchFile {
        /// The directory.
        path: String,
        /// The file.
        file: String,
    },
}

impl Subject {
    /// Reads a directory.
    ///
    /// # Errors
    /// See [`SubjectError`].
    pub fn read(directory: &Path) -> Result<Self, SubjectError> {
        let path = directory.display().to_string();
        let migrations = Migrations::read(directory)?;
        let text = match std::fs::read_to_string(directory.join(FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(SubjectError::Settings { path, why: error.to_string() }),
        };
        Self::new(path, migrations, &text)
    }

    /// What a runner migrates: of a directory, if there is one, only the settings are read.
    ///
    /// # Errors
    /// See [`SubjectError`].
    pub fn of_runner(directory: Option<&Path>) -> Result<Self, SubjectError> {
        let path = directory.map_or("runner".to_owned(), |path| path.display().to_string());
        let text = directory.map(|directory| std::fs::read_to_string(directory.join(FILE)));
        let text = match text {
            Some(Ok(text)) => text,
            Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(SubjectError::Settings { path, why: error.to_string() });
            }
            _ => String::new(),
        };
        let wrong = |why| SubjectError::Settings { path: path.clone(), why };
        let settings = Settings::parse(&text).map_err(wrong)?;
        let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or(&path).to_owned();
        Ok(Self { name, path, migrations: Migrations { list: Vec::new() }, settings, has_runner: true })
    }

    pub(super) fn new(path: String, migrations: Migrations, settings: &str) -> Result<Self, SubjectError> {
        let wrong = |why| SubjectError::Settings { path: path.clone(), why };
        let settings = Settings::parse(settings).map_err(wrong)?;
        let scripts = || migrations.list.iter().flat_map(|migration| [Some(&migration.up), migration.down.as_ref()]);
        for expect in &settings.expect {
            if !scripts().flatten().any(|script| expect.is_in(&script.file)) {
                return Err(SubjectError::NoSuchFile { path, file: expect.file.clone() });
            }
        }
        let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or(&path).to_owned();
        let subject = Self { name, path, migrations, settings, has_runner: false };
        subject.range()?;
        Ok(subject)
    }

    /// The version to begin at, and the one to go to.
    ///
    /// # Errors
    /// There are no such versions, or nothing lies between them.
    pub fn range(&self) -> Result<(i64, i64), SubjectError> {
        if self.has_runner {
            return Ok((self.settings.from.unwrap_or(0), self.settings.to.unwrap_or(0)));
        }
        let to = self.settings.to.unwrap_or(self.migrations.latest());
        // Beside another schema's migrations, all of these are new.
        let last = if self.settings.base_version > 0 {
            0
        } else {
            self.migrations.between(0, to - 1).map(|migration| migration.version).next_back().unwrap_or(0)
        };
        let from = self.settings.from.unwrap_or(last);
        for version in [from, to] {
            if !self.migrations.knows(version) {
                let versions = self.migrations.list.iter().map(|migration| migration.version).collect();
                return Err(SubjectError::NoSuchVersion { path: self.path.clone(), version, versions });
            }
        }
        if self.migrations.between(from, to).next().is_none() {
            return Err(SubjectError::Nothing { path: self.path.clone(), from, to });
        }
        Ok((from, to))
    }

    /// Beside whom it is rehearsed, where the command line does not say.
    pub fn companion(&self) -> Option<Companion> {
        self.settings.companion
    }
}

/// The engine's own migrations, as a directory.
pub fn own_migrations() -> Migrations {
    own_migrations_of(Backend::Postgres)
}

/// The same for either database.
pub fn own_migrations_of(backend: Backend) -> Migrations {
    let files = migrate::steps(backend).iter().flat_map(|step| {
        let down = step.down.map(|file| (file.name, file.sql));
        std::iter::once((step.up.name, step.up.sql)).chain(down)
    });
    Migrations::of_files(&format!("migrations/{backend}"), files).expect("the engine's migrations are sound")
}
