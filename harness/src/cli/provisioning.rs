//! The arguments that say where PostgreSQL comes from, shared by every command that needs it.

pub mod versions;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;

pub use self::versions::PgVersions;
use super::Failure;
use super::common::quoted;
use crate::exit::Exit;
use crate::provision::{PostgresChoice, Profile, ProvisionError, StartOptions};

/// Where PostgreSQL comes from.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PostgresArgs {
    /// Where PostgreSQL comes from: auto takes DRIFTLOCK_POSTGRES_URL if that is set, else local
    /// server binaries, else a container. A password in a URL is seen by whoever lists this
    /// machine's processes: the variable is the better place for it
    #[arg(long, value_name = "auto|local|docker|URL", default_value = "auto", value_parser = PostgresChoiceParser)]
    pub postgres: PostgresChoice,

    /// The directory that holds initdb and postgres, instead of the newest one found
    #[arg(long, value_name = "DIR")]
    pub pg_bin: Option<PathBuf>,

    /// The major version of the local server programs: 17; verify, mutate, explore and rehearse take several, as in 15,17
    /// or 14..18, one after another. Looked for in --pg-bin, PATH, where packages put them, and among those that `driftlock
    /// postgres install` got
    #[arg(long, value_name = "N|N,M|N..M")]
    pub pg_version: Option<PgVersions>,

    /// Have PostgreSQL programs that are missing installed without asking, as with CI=true
    #[arg(long)]
    pub yes: bool,

    /// Where the programs of the one version are, once they are found.
    #[arg(skip)]
    pub programs: Option<PathBuf>,
}

impl PostgresArgs {
    /// How to start the server that they ask for; it listens on no port.
    pub fn start_options(&self, profile: Profile) -> StartOptions {
        let choice = match &self.programs {
            Some(_) => PostgresChoice::Local,
            None => self.postgres.clone(),
        };
        StartOptions { choice, pg_bin: self.bin().map(Path::to_owned), profile, tcp: false }
    }

    /// The directory of the programs, where it is known.
    pub fn bin(&self) -> Option<&Path> {
        self.programs.as_deref().or(self.pg_bin.as_deref())
    }

    /// The options that the command of one case must repeat.
    pub(super) fn repeated(&self) -> String {
        let mut words = String::new();
        if self.postgres != PostgresChoice::Auto {
            words.push_str(&format!(" --postgres {}", quoted(&self.postgres.to_string())));
        }
        if let Some(directory) = &self.pg_bin {
            words.push_str(&format!(" --pg-bin {}", quoted(&directory.display().to_string())));
        }
        words + &self.version()
    }

    /// The option that names the version, if one is asked for.
    pub(super) fn version(&self) -> String {
        self.pg_version.as_ref().map(|versions| format!(" --pg-version {versions}")).unwrap_or_default()
    }
}

/// Parses a [`PostgresChoice`] without ever repeating what was typed: clap's own messages would show
/// a mistyped URL with its password.
#[derive(Clone, Copy, Debug)]
pub struct PostgresChoiceParser;

impl TypedValueParser for PostgresChoiceParser {
    type Value = PostgresChoice;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, clap::Error> {
        let explain = |problem: String| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("--postgres: {problem}\n")).with_cmd(command)
        };
        let text = value.to_str().ok_or_else(|| explain("the value is not valid UTF-8".into()))?;
        text.parse().map_err(|error: ProvisionError| explain(error.to_string()))
    }
}

impl From<ProvisionError> for Failure {
    fn from(error: ProvisionError) -> Self {
        let exit = match &error {
            error if error.is_cancelled() => Exit::Interrupted,
            error if error.is_usage() => Exit::Usage,
            _ => Exit::Environment,
        };
        Self { exit, report: error.into() }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        postgres: PostgresArgs,
    }

    #[test]
    fn the_default_is_auto_and_a_mistyped_url_is_not_repeated() {
        let line = Line::try_parse_from(["driftlock"]).unwrap();
        assert_eq!(line.postgres.postgres, PostgresChoice::Auto);
        for text in ["postgres//u:hunter2@h/d", "postgres://u:hunter2@h", "http://u:hunter2@h/d"] {
            let error = Line::try_parse_from(["driftlock", "--postgres", text]).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}
