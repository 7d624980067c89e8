//! Names of what driftlock creates: `driftlock_<run>_<token>_<suffix>`. The token is the proof's
//! handle: it is also the key of the advisory lock that the run's owner holds.

use std::fmt;

use rand::TryRng;
use rand::rngs::SysRng;

use super::ProvisionError;

const PREFIX: &str = "driftlock";
const RUN_CHARS_MAX: usize = 16;
const TOKEN_CHARS: usize = 12;
/// PostgreSQL cuts names after 63 bytes, silently.
const SUFFIX_CHARS_MAX: usize = 63 - (PREFIX.len() + RUN_CHARS_MAX + TOKEN_CHARS + 3);
/// The upper 16 bits of every advisory lock key of ours ("DL"); the token is the rest.
const KEY_SPACE: i64 = 0x444c << 48;

/// What marks one run's databases, unique on its server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RunName {
    run: String,
    token: String,
}

impl RunName {
    /// Makes the name of a run out of what the run is called elsewhere (the name of its output
    /// directory, say): letters and digits are kept, lower-cased, the first 16 of them.
    ///
    /// # Errors
    /// The operating system has no randomness to give.
    pub fn new(run: &str) -> Result<Self, ProvisionError> {
        let kept: String = run
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .take(RUN_CHARS_MAX)
            .collect();
        let random = random()?;
        Ok(Self {
            run: if kept.is_empty() { "run".into() } else { kept },
            token: format!("{:012x}", random & 0xffff_ffff_ffff),
        })
    }

    /// The name of one of the run's databases.
    pub(super) fn database(&self, suffix: &str) -> Result<String, ProvisionError> {
        let bad = |problem| ProvisionError::BadName { name: suffix.to_owned(), problem };
        if suffix.is_empty() {
            return Err(bad("it is empty"));
        }
        if suffix.len() > SUFFIX_CHARS_MAX {
            return Err(bad("it is longer than 23 characters"));
        }
        if !suffix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            return Err(bad("only a-z, 0-9 and _ are allowed"));
        }
        Ok(format!("{self}_{suffix}"))
    }

    /// The run that a database belongs to, if its name is one that [`Self::database`] makes.
    pub(super) fn of_database(name: &str) -> Option<Self> {
        let mut parts = name.splitn(4, '_');
        let (prefix, run, token, suffix) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hexadecimal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let ours = prefix == PREFIX && token.len() == TOKEN_CHARS && token.bytes().all(hexadecimal);
        let candidate = Self { run: run.to_owned(), token: token.to_owned() };
        (ours && candidate.database(suffix).is_ok_and(|made| made == name)).then_some(candidate)
    }

    /// The key of the advisory lock that the run's owner holds.
    pub(super) fn lock_key(&self) -> i64 {
        KEY_SPACE | i64::from_str_radix(&self.token, 16).expect("a token is 12 hexadecimal digits")
    }
}

impl fmt::Display for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}_{}_{}", self.run, self.token)
    }
}

/// A password for a throw-away server: 128 random bits in letters that need no quoting anywhere.
pub(super) fn random_password() -> Result<String, ProvisionError> {
    Ok(format!("{:016x}{:016x}", random()?, random()?))
}

/// Ownership and passwords must not be foreseeable, so this is the one place that asks the operating
/// system; nothing that is replayed depends on it.
fn random() -> Result<u64, ProvisionError> {
    let what = "draw a random number";
    SysRng.try_next_u64().map_err(|e| ProvisionError::Statement { what: what.into(), why: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_name_leads_back_to_its_run_and_to_nothing_else() {
        let run = RunName::new("2026-11-24T03:15/Verify!").unwrap();
        let name = run.database("template_1").unwrap();
        assert!(name.starts_with("driftlock_20261124t0315ver_"), "{name}");
        assert_eq!(RunName::of_database(&name), Some(run));
        for foreign in [
            "driftlock",
            "driftlock_production",
            "driftlock_prod_data_1",
            "driftlock_run_0123456789ab",
            "driftlock_run_0123456789AB_x",
            "driftlock_run_0123456789ab_",
            "mydriftlock_run_0123456789ab_x",
        ] {
            assert_eq!(RunName::of_database(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn the_longest_name_fits_into_postgres_limit() {
        let run = RunName::new("abcdefghijklmnopqrstuvwxyz").unwrap();
        let name = run.database(&"s".repeat(SUFFIX_CHARS_MAX)).unwrap();
        assert!(name.len() <= 63, "{}", name.len());
        assert_eq!(SUFFIX_CHARS_MAX, 23);
        assert!(run.database(&"s".repeat(SUFFIX_CHARS_MAX + 1)).is_err());
        assert!(run.database("a-b").is_err());
    }

    #[test]
    fn two_runs_of_one_name_differ() {
        let (one, other) = (RunName::new("same").unwrap(), RunName::new("same").unwrap());
        assert_ne!(one, other);
        assert_ne!(one.lock_key(), other.lock_key());
        assert!(one.lock_key() > 0);
    }
}
