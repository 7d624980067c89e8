//! What a single value of a scenario file may be, and what is said of one that is not.

use std::ops::{Range, RangeInclusive};

use jiff::civil::Date;
use toml::de::DeValue;

use super::problem::Problem;

/// The longest text of a value, in bytes.
const TEXT_BYTES_MAX: usize = 500;

/// Why a value is wrong.
pub(super) struct Wrong {
    message: String,
    label: Option<String>,
    help: Option<String>,
}

impl Wrong {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), label: None, help: None }
    }

    pub(super) fn at(self, at: Range<usize>) -> Problem {
        Problem { label: self.label, help: self.help, ..Problem::new(at, self.message) }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub(super) fn under(mut self, name: &str) -> Self {
        self.message = format!("`{name}` {}", self.message);
        self
    }

    /// Of a key of a value that is itself below a name.
    pub(super) fn inside(mut self, key: &str) -> Self {
        self.message = format!("has `{key}`, which {}", self.message);
        self
    }
}

/// A whole number within bounds.
pub(super) fn integer(range: RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Result<u64, Wrong> {
    move |value| {
        let integer = value.as_integer().ok_or_else(|| mistyped("a whole number", value))?;
        let read = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let within = read.filter(|number| range.contains(number));
        within.ok_or_else(|| Wrong::new(format!("must be {} to {}", range.start(), range.end())))
    }
}

/// A whole number within bounds that fit.
pub(super) fn number(range: RangeInclusive<u32>) -> impl Fn(&DeValue<'_>) -> Result<u32, Wrong> {
    let wide = integer(u64::from(*range.start())..=u64::from(*range.end()));
    move |value| wide(value).map(|number| u32::try_from(number).expect("the bounds fit"))
}

/// A number within bounds, with or without a fraction.
pub(super) fn real(range: RangeInclusive<f64>) -> impl Fn(&DeValue<'_>) -> Result<f64, Wrong> {
    move |value| {
        let read: Option<f64> = match value {
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse().ok(),
            other => return Err(mistyped("a number", other)),
        };
        let within = read.filter(|number| range.contains(number));
        within.ok_or_else(|| Wrong::new(format!("must be {} to {}", range.start(), range.end())))
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, Wrong> {
    value.as_bool().ok_or_else(|| mistyped("true or false", value))
}

/// A text of bounded length without control characters.
pub(super) fn text(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = value.as_str().ok_or_else(|| mistyped("a text", value))?;
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return Err(Wrong::new(format!("must have 1 to {TEXT_BYTES_MAX} bytes; it has {}", text.len())));
    }
    if text.chars().any(char::is_control) {
        return Err(Wrong::new("must be one line without control characters"));
    }
    Ok(text.to_owned())
}

/// A day, as TOML writes local dates.
pub(super) fn day(value: &DeValue<'_>) -> Result<Date, Wrong> {
    let datetime = value.as_datetime().ok_or_else(|| mistyped("a day", value).help("As in 2026-04-15, unquoted."))?;
    let (Some(date), None) = (datetime.date, datetime.time) else {
        return Err(Wrong::new("must be a day without a time"));
    };
    let number = |part: u8| i8::try_from(part).ok();
    let parts = i16::try_from(date.year).ok().zip(number(date.month)).zip(number(date.day));
    let day = parts.and_then(|((year, month), day)| Date::new(year, month, day).ok());
    day.filter(|day| (1970..=2100).contains(&day.year())).ok_or_else(|| Wrong::new("must be a day of 1970 to 2100"))
}

/// One of several words.
pub(super) fn word<T: Copy, const N: usize>(
    words: [(&'static str, T); N],
) -> impl Fn(&DeValue<'_>) -> Result<T, Wrong> {
    move |value| {
        let names = words.map(|(name, _)| name);
        let expected = || names.map(|name| format!("\"{name}\"")).join(", ");
        let text = value.as_str().ok_or_else(|| mistyped(&format!("one of {}", expected()), value))?;
        if let Some((_, word)) = words.iter().find(|(name, _)| *name == text) {
            return Ok(*word);
        }
        let message = format!("is \"{}\", which is not one of {}", shown(text), expected());
        let label = nearest(text, &names).map(|meant| format!("did you mean \"{meant}\"?"));
        Err(Wrong { message, label, help: None })
    }
}

/// What is said of a value of another type.
pub(super) fn mistyped(expected: &str, found: &DeValue<'_>) -> Wrong {
    let found = match found {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    Wrong::new(format!("must be {expected}, and is {found}"))
}

/// The word that was probably meant.
pub(super) fn nearest<'w>(text: &str, words: &[&'w str]) -> Option<&'w str> {
    // A word far longer than any of ours is no near miss, and is not worth comparing.
    let short = Some(text).filter(|text| text.len() <= 64)?;
    let scored = words.iter().map(|word| (strsim::jaro_winkler(short, word), *word));
    scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, word)| word)
}

/// A text of the file as a message shows it: escaped, and cut.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(40).flat_map(char::escape_debug).collect();
    if text.chars().nth(40).is_some() {
        shown.push('…');
    }
    shown
}
