//! The arguments that say where PostgreSQL comes from, shared by every command that needs it.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;

use super::Failure;
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
}

impl PostgresArgs {
    /// How to start the server that they ask for; it listens on no port.
    pub fn start_options(&self, profile: Profile) -> StartOptions {
        StartOptions { choice: self.postgres.clone(), pg_bin: self.pg_bin.clone(), profile, tcp: false }
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
