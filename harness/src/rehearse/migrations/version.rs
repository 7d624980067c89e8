//! A version of the schema: what its tool calls it, and where it stands among the others.
//!
//! Tools have whole numbers, 20 digits, dots, dates, names. So the order is the directory's own, and never that of
//! the text.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most characters that the name of a version may have.
pub const VERSION_CHARACTERS: usize = 255;

/// A version of the schema. Of one directory, they are ordered as its tool orders them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    place: usize,
    name: Arc<str>,
}

impl Version {
    /// The empty database, before every other version.
    pub fn none() -> Self {
        Self { place: 0, name: Arc::from("0") }
    }

    /// The version at a place, from 1.
    pub(crate) fn at(place: usize, name: &str) -> Self {
        Self { place, name: Arc::from(name) }
    }

    /// A version that somebody has named, before a directory has said where it stands.
    pub fn named(name: &str) -> Self {
        Self { place: 0, name: Arc::from(name) }
    }

    /// What a command line says.
    ///
    /// # Errors
    /// It is empty, or too long.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            "" => Err("a version is a number or a name, 0 is the empty database".to_owned()),
            name if name.chars().count() > VERSION_CHARACTERS => {
                Err(format!("a version has at most {VERSION_CHARACTERS} characters"))
            }
            name => Ok(Self::named(name)),
        }
    }

    /// As its tool calls it.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Whether it is the empty database.
    pub fn is_none(&self) -> bool {
        self.place == 0 && &*self.name == "0"
    }

    /// As a number, where it is one that fits.
    pub fn number(&self) -> Option<i64> {
        self.name.bytes().all(|byte| byte.is_ascii_digit()).then(|| self.name.parse().ok()).flatten()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Serialize for Version {
    /// A number where it is one that fits and is written as such, or else a text.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.number().filter(|number| number.to_string() == *self.name) {
            Some(number) => to.serialize_i64(number),
            None => to.serialize_str(&self.name),
        }
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl serde::de::Visitor<'_> for Either {
            type Value = Version;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a version: a number from 0, or a text")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Version, E> {
                Ok(Version::named(&number.to_string()))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Version, E> {
                let number = u64::try_from(number).map_err(|_| E::custom("a version is not below 0"))?;
                self.visit_u64(number)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Version, E> {
                Version::parse(text).map_err(E::custom)
            }
        }
        from.deserialize_any(Either)
    }
}

/// What digits are compared by: twenty of them fit in no number.
pub(super) type Digits = (usize, String);

/// Digits as they are compared.
pub(super) fn digits(text: &str) -> Digits {
    let bare = text.trim_start_matches('0');
    (bare.len(), bare.to_owned())
}

/// Digits as a version shows them: without zeros before them, unless there is nothing else.
pub(super) fn bare(text: &str) -> String {
    match text.trim_start_matches('0') {
        "" => text.to_owned(),
        bare => bare.to_owned(),
    }
}

/// The digits with which a text begins, and what follows them.
pub(super) fn leading_digits(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_written_as_a_number_where_it_is_one_and_read_again() {
        for (name, written) in [
            ("7", "7"),
            ("0", "0"),
            ("20240101120000", "20240101120000"),
            ("20200101000000000001", "\"20200101000000000001\""),
            ("1.10", "\"1.10\""),
            ("0007", "\"0007\""),
        ] {
            let text = serde_json::to_string(&Version::named(name)).unwrap();
            assert_eq!(text, written);
            assert_eq!(serde_json::from_str::<Version>(&text).unwrap().as_str(), name);
        }
        assert!(serde_json::from_str::<Version>("-1").is_err() && Version::parse(" ").is_err());
    }

    #[test]
    fn digits_are_compared_as_numbers_whatever_their_length() {
        assert!(digits("9") < digits("10") && digits("00000000000000000009") < digits("10"));
        assert!(digits("20200101000000000001") < digits("20200101000000000002"));
        assert_eq!((bare("0010"), bare("000")), ("10".to_owned(), "000".to_owned()));
        assert_eq!((leading_digits("12_a"), leading_digits("a")), (Some(("12", "_a")), None));
    }
}
