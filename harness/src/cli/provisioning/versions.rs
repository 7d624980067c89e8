//! The value of `--pg-version`: one major version, or several.

use std::fmt;
use std::str::FromStr;

use crate::provision::MAJOR_MIN;

/// The newest version that can be meant: what is larger is a mistake.
const MAJOR_MAX: u32 = 99;
/// How many may be asked for at once.
const VERSIONS_MAX: usize = 20;

/// Major versions of PostgreSQL, in ascending order, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PgVersions(Vec<u32>);

impl PgVersions {
    /// One version.
    pub fn one(major: u32) -> Self {
        Self(vec![major])
    }

    /// The versions.
    pub fn all(&self) -> &[u32] {
        &self.0
    }
}

impl FromStr for PgVersions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = Vec::new();
        for part in text.split(',') {
            match part.split_once("..") {
                Some((first, last)) => {
                    let (first, last) = (major(first)?, major(last.trim_start_matches('='))?);
                    if first > last {
                        return Err(format!("{part} is empty: write {last}..{first}"));
                    }
                    all.extend(first..=last);
                }
                None => all.push(major(part)?),
            }
        }
        all.sort_unstable();
        all.dedup();
        if all.len() > VERSIONS_MAX {
            return Err(format!("these are {} versions, and at most {VERSIONS_MAX} can be asked for", all.len()));
        }
        Ok(Self(all))
    }
}

/// One major version, as it is typed.
///
/// # Errors
/// It is none, or one that is not supported.
pub fn major(text: &str) -> Result<u32, String> {
    let text = text.trim();
    if let Some((major, _)) = text.split_once('.')
        && major.parse::<u32>().is_ok_and(|major| major >= MAJOR_MIN)
    {
        return Err(format!("{text} is a minor version: {major} takes the newest of them that is found"));
    }
    let whole = text.split_once('.').filter(|(major, _)| !major.is_empty()).map_or(text, |(major, _)| major);
    let number = whole.parse().map_err(|_| format!("{text:?} is no major version: write 17, or 15,17 or 14..18"))?;
    match number {
        MAJOR_MIN..=MAJOR_MAX => Ok(number),
        0..MAJOR_MIN => Err(format!("PostgreSQL {number} is too old: {MAJOR_MIN} or newer is needed")),
        _ => Err(format!("there is no PostgreSQL {number}")),
    }
}

impl fmt::Display for PgVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&all.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_are_read_and_mistakes_named() {
        let read = |text: &str| text.parse::<PgVersions>().map(|versions| versions.to_string());
        assert_eq!(read("17").unwrap(), "17");
        assert_eq!(read("17, 15,15").unwrap(), "15,17");
        assert_eq!(read("14..18").unwrap(), "14,15,16,17,18");
        assert_eq!(read("14..=15,18").unwrap(), "14,15,18");
        for (wrong, why) in [
            ("", "no major version"),
            ("17.4", "minor version"),
            ("9.6", "too old"),
            ("12", "too old"),
            ("18..14", "write 14..18"),
            ("14..", "no major version"),
            ("170", "no PostgreSQL 170"),
            ("13..99", "at most 20"),
            ("-1", "no major version"),
            ("99999999999", "no major version"),
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}
