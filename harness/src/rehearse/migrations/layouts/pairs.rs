//! Names of the form `VERSION_name.up.sql` and `VERSION_name.down.sql`.

use super::super::version::leading_digits;

/// A name, taken apart.
pub(super) struct Pair<'a> {
    /// The digits at its beginning.
    pub(super) number: &'a str,
    /// What stands between the digits and the way.
    pub(super) name: &'a str,
    /// `up` rather than `down`.
    pub(super) is_up: bool,
}

/// Takes a name apart.
pub(super) fn pair(name: &str) -> Option<Pair<'_>> {
    let stem = name.strip_suffix(".sql")?;
    let (stem, is_up) = match (stem.strip_suffix(".up"), stem.strip_suffix(".down")) {
        (Some(stem), _) => (stem, true),
        (_, Some(stem)) => (stem, false),
        _ => return None,
    };
    let (number, rest) = leading_digits(stem)?;
    let name = rest.strip_prefix('_')?;
    Some(Pair { number, name, is_up })
}
