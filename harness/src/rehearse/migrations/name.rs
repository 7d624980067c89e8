//! What a migration's file name says.

/// What a file does with its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Applies it; nothing undoes it.
    Simple,
    /// Applies it; another file may undo it.
    Up,
    /// Undoes it.
    Down,
}

/// A name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub version: i64,
    pub direction: Direction,
    pub description: String,
}

/// What is wrong with a name, and what to do.
type Wrong = (String, &'static str);

const NAMES: &str =
    "Name it as in 0001_name.sql, 0001_name.up.sql, V1__name.sql, or, if none has a number, name.up.sql.";

/// Reads the names of a directory, which are in order. Names without a number are numbered in that order.
pub(super) fn all(names: &[String]) -> Vec<Result<Name, Wrong>> {
    let stems: Vec<(&str, Direction)> = names.iter().map(|name| stem(name)).collect();
    let unnumbered = |stem: &str, direction| direction != Direction::Simple && numbered(stem, direction).is_none();
    if !stems.is_empty() && stems.iter().all(|(stem, direction)| unnumbered(stem, *direction)) {
        let mut distinct: Vec<&str> = stems.iter().map(|(stem, _)| *stem).collect();
        distinct.sort_unstable();
        distinct.dedup();
        let number = |stem: &str| distinct.iter().position(|other| *other == stem).map_or(0, |at| at as i64 + 1);
        let name = |(stem, direction): &(&str, Direction)| {
            Ok(Name { version: number(stem), direction: *direction, description: words(stem) })
        };
        return stems.iter().map(name).collect();
    }
    let read = |(stem, direction): &(&str, Direction)| match numbered(stem, *direction) {
        Some(read) => read,
        None if *direction == Direction::Simple => Err(("its name has no number".to_owned(), NAMES)),
        None => Err(("its name has no number, and other files have one".to_owned(), NAMES)),
    };
    stems.iter().map(read).collect()
}

/// A name without its suffix, and what the suffix says.
fn stem(name: &str) -> (&str, Direction) {
    let name = name.strip_suffix(".sql").unwrap_or(name);
    match (name.strip_suffix(".up"), name.strip_suffix(".down")) {
        (Some(stem), _) => (stem, Direction::Up),
        (_, Some(stem)) => (stem, Direction::Down),
        _ => (name, Direction::Simple),
    }
}

/// A stem with a number, or with what was meant as one; `None` if there is nothing of the kind.
fn numbered(stem: &str, direction: Direction) -> Option<Result<Name, Wrong>> {
    let version = |digits: &str| digits.parse::<i64>().ok().filter(|version| *version > 0);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((head, description)) = stem.split_once("__") {
        if head == "R" {
            return Some(Err(("a repeatable migration has no version".to_owned(), NAMES)));
        }
        if let Some(number) =
            head.strip_prefix(['V', 'U']).filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        {
            let direction = if head.starts_with('U') { Direction::Down } else { Direction::Up };
            let Some(version) = version(number) else {
                return Some(Err((format!("{head} is no whole number"), "Versions are whole numbers above zero.")));
            };
            return Some(Ok(Name { version, direction, description: words(description) }));
        }
    }
    let (head, description) = stem.split_once('_')?;
    is_number(head).then(|| match version(head) {
        Some(version) => Ok(Name { version, direction, description: words(description) }),
        None => Err((format!("{head} is no version"), "Versions are whole numbers above zero, below 2^63.")),
    })
}

fn words(text: &str) -> String {
    text.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_no_versions() {
        let read = |name: &str| all(&[name.to_owned()]).remove(0);
        assert!(read("99999999999999999999_x.sql").unwrap_err().0.contains("is no version"));
        assert!(read("0_x.sql").is_err() && read("V0__x.sql").is_err() && read("_x.sql").is_err());
        assert_eq!(read("20240101120000_x.sql").unwrap().version, 20_240_101_120_000);
    }
}
