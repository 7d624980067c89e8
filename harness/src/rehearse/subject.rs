//! What is rehearsed: a directory of migrations with its settings, the user's own or one of those that are built in.

use std::path::Path;

use drift_engine::lock::Backend;
use drift_engine::migrate;

use super::companion::Companion;
use super::migrations::layout::Layout;
use super::migrations::{Migration, Migrations, Mistakes, Version};
use super::settings::{FILE, Settings};
use crate::sql::Dialect;

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

/// The files of the migrations that have changed, and of others that this has to do with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowed {
    /// Those that have changed; without any, there is nothing to rehearse.
    pub changed: Vec<String>,
    /// Those that have not, and lie between these: they are rehearsed with them.
    pub between: Vec<String>,
    /// Those that have not, and come later.
    pub newer: Vec<String>,
}

impl Narrowed {
    /// What is to be known about the order, in sentences.
    pub fn notes(&self) -> Vec<String> {
        let some = |files: &[String]| match files {
            [] => None,
            [one] => Some(one.clone()),
            [one, .., last] => Some(format!("{one} to {last}")),
        };
        let changed = || some(&self.changed).unwrap_or_default();
        let between = some(&self.between)
            .map(|files| format!("{files} have not changed, and lie between files that have: they are rehearsed too"));
        let newer = some(&self.newer).map(|files| {
            let changed = changed();
            format!("{changed} comes before what has not changed ({files}): where that is applied already, the order is another one")
        });
        between.into_iter().chain(newer).collect()
    }
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
    #[error("{path} has no version {version}; its versions are {}", versions.iter().map(Version::as_str).collect::<Vec<_>>().join(", "))]
    NoSuchVersion {
        /// The directory.
        path: String,
        /// What was asked for.
        version: Version,
        /// What there is.
        versions: Vec<Version>,
    },
    /// There is nothing between the two.
    #[error("{path} has nothing between version {from} and version {to}")]
    Nothing {
        /// The directory.
        path: String,
        /// The version to begin at.
        from: Version,
        /// The version to go to.
        to: Version,
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
    /// Reads a directory: as one of `layout`, and for `backend`, where these are named.
    ///
    /// # Errors
    /// See [`SubjectError`].
    pub fn read(
        directory: &Path,
        layout: Option<&'static Layout>,
        backend: Option<Backend>,
    ) -> Result<Self, SubjectError> {
        let path = directory.display().to_string();
        let text = match std::fs::read_to_string(directory.join(FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(SubjectError::Settings { path, why: error.to_string() }),
        };
        let wrong = |why| SubjectError::Settings { path: path.clone(), why };
        let mut settings = Settings::parse(&text).map_err(wrong)?;
        let migrations = Migrations::read(directory, layout, backend.or(settings.backend).map(dialect))?;
        if migrations.origin.as_ref().is_some_and(|origin| origin.sqlite.is_some()) {
            settings.backend = Some(Backend::Sqlite);
        }
        Self::with(path, migrations, settings)
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
        Ok(Self { name, path, migrations: Migrations::none(), settings, has_runner: true })
    }

    pub(super) fn new(path: String, migrations: Migrations, settings: &str) -> Result<Self, SubjectError> {
        let wrong = |why| SubjectError::Settings { path: path.clone(), why };
        let settings = Settings::parse(settings).map_err(wrong)?;
        Self::with(path, migrations, settings)
    }

    fn with(path: String, migrations: Migrations, settings: Settings) -> Result<Self, SubjectError> {
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
    pub fn range(&self) -> Result<(Version, Version), SubjectError> {
        let Settings { from, to, .. } = &self.settings;
        if self.has_runner {
            let wanted = |version: &Option<Version>| version.clone().unwrap_or_else(Version::none);
            return Ok((wanted(from), wanted(to)));
        }
        let find = |wanted: &Version| {
            self.migrations.find(wanted).ok_or_else(|| SubjectError::NoSuchVersion {
                path: self.path.clone(),
                version: wanted.clone(),
                versions: self.migrations.list.iter().map(|migration| migration.version.clone()).collect(),
            })
        };
        let to = to.as_ref().map(find).transpose()?.unwrap_or_else(|| self.migrations.latest());
        let from = match from {
            Some(from) => find(from)?,
            // Beside another schema's migrations, all of these are new.
            None if self.settings.base_version > 0 => Version::none(),
            None => self.migrations.before(&to),
        };
        if self.migrations.between(&from, &to).next().is_none() {
            return Err(SubjectError::Nothing { path: self.path.clone(), from, to });
        }
        Ok((from, to))
    }

    /// Has the migrations that somebody has changed be the pending ones: what comes before the first of them is there,
    /// and the last of them is gone to. Answers which they are.
    pub fn narrow(&mut self, is_changed: impl Fn(&Path) -> bool) -> Narrowed {
        let of = |migration: &Migration| {
            let files = std::iter::once(&migration.up.file).chain(migration.down.as_ref().map(|down| &down.file));
            files.into_iter().any(|file| is_changed(Path::new(file)))
        };
        let list = &self.migrations.list;
        let Some((first, last)) = list.iter().position(of).zip(list.iter().rposition(of)) else {
            return Narrowed::default();
        };
        let file = |migration: &Migration| migration.up.file.clone();
        let narrowed = Narrowed {
            changed: list[first..=last].iter().filter(|one| of(one)).map(file).collect(),
            between: list[first..=last].iter().filter(|one| !of(one)).map(file).collect(),
            newer: list[last + 1..].iter().map(file).collect(),
        };
        let (from, to) = (self.migrations.before(&list[first].version), list[last].version.clone());
        (self.settings.from, self.settings.to) = (Some(from), Some(to));
        narrowed
    }

    /// Whether a session that migrates a SQLite file looks after foreign keys: as its settings say, or else its tool.
    pub fn foreign_keys(&self) -> bool {
        let layout = || self.migrations.list.first().is_none_or(|migration| migration.up.layout.foreign_keys);
        self.settings.foreign_keys.unwrap_or_else(layout)
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
    Migrations::of_files(&format!("migrations/{backend}"), files, dialect(backend))
        .expect("the engine's migrations are sound")
}

/// Whose SQL the files for a database hold.
pub(super) fn dialect(backend: Backend) -> Dialect {
    match backend {
        Backend::Postgres => Dialect::Postgres,
        Backend::Sqlite => Dialect::Sqlite,
    }
}
