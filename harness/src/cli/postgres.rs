//! `--postgres` as it was written.
//!
//! Parsed when the command runs: clap repeats a value that it cannot parse, and a mistyped URL has a
//! password in it all the same.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use super::Failure;
use crate::provision::{PostgresChoice, ProvisionError};

/// The value of `--postgres`, not looked at yet.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresArg(String);

impl PostgresArg {
    /// What was chosen.
    ///
    /// # Errors
    /// It is none of the words, and no URL that can be used; the message does not repeat it.
    pub fn choice(&self) -> Result<PostgresChoice, Failure> {
        self.0.parse().map_err(|error: ProvisionError| Failure::usage(error))
    }
}

impl FromStr for PostgresArg {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for PostgresArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.parse::<PostgresChoice>() {
            Ok(choice) => choice.fmt(f),
            Err(_) => f.write_str("(not a choice)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_url_is_refused_late_and_never_repeated() {
        let Ok(arg) = "postgres://u:hunter2@h".parse::<PostgresArg>();
        let failure = arg.choice().unwrap_err();
        assert!(failure.report.to_string().contains("names no database"), "{:?}", failure.report);
        assert!(!format!("{arg:?} {failure:?}").contains("hunter2"));
        let Ok(local) = "local".parse::<PostgresArg>();
        assert_eq!(local.choice().unwrap(), PostgresChoice::Local);
    }
}
