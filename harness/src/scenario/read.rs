//! Reads typed values out of a TOML table, and remembers what is wrong with it instead of stopping.
//!
//! A [`Section`] knows every key that was asked for, so that what remains is unknown.

use std::ops::{Range, RangeInclusive};

use jiff::civil::Date;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// The longest text of a value, in bytes, where nothing else is said.
const TEXT_BYTES_MAX: usize = 500;

/// What was found under a key.
pub(super) enum Field<T> {
    /// Nothing.
    Absent,
    /// Something wrong, which has been reported.
    Wrong,
    /// This.
    Is(Spanned<T>),
}

impl<T> Field<T> {
    /// The value, if there is one.
    pub(super) fn given(&self) -> Option<&Spanned<T>> {
        match self {
            Self::Is(value) => Some(value),
            Self::Absent | Self::Wrong => None,
        }
    }

    /// The value or the default; `None` if it was wrong.
    pub(super) fn known(&self, default: T) -> Option<T>
    where
        T: Clone,
    {
        self.map_known(|value| value, default)
    }

    /// What becomes of the value, or what stands for an absent one; `None` if it was wrong.
    pub(super) fn map_known<U>(&self, map: impl FnOnce(T) -> U, absent: U) -> Option<U>
    where
        T: Clone,
    {
        match self {
            Self::Absent => Some(absent),
            Self::Wrong => None,
            Self::Is(value) => Some(map(value.get_ref().clone())),
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// A value with its place, or nothing where the value was wrong: then there is nothing to compare.
pub(super) type Read<T> = Option<Spanned<T>>;

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

    fn at(self, at: Range<usize>) -> Problem {
        Problem { message: self.message, at, label: self.label, also: Vec::new(), help: self.help }
    }
}

/// A table that is being read.
pub(super) struct Section<'t> {
    table: &'t DeTable<'t>,
    /// Where it begins: what is missing is missing here.
    pub(super) at: Range<usize>,
    /// Its name, empty for the whole file.
    name: &'static str,
    asked: Vec<&'static str>,
    missing: Vec<&'static str>,
    problems: &'t mut Vec<Problem>,
}

impl<'t> Section<'t> {
    pub(super) fn new(
        table: &'t DeTable<'t>,
        at: Range<usize>,
        name: &'static str,
        problems: &'t mut Vec<Problem>,
    ) -> Self {
        Self { table, at, name, asked: Vec::new(), missing: Vec::new(), problems }
    }

    /// Reads a value that may be absent.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Field<T> {
        self.asked.push(key);
        let Some(value) = self.table.get(key) else {
            return Field::Absent;
        };
        match read(value.get_ref()) {
            Ok(read) => Field::Is(Spanned::new(value.span(), read)),
            Err(wrong) => {
                let name = self.qualified(key);
                let wrong = Wrong { message: format!("`{name}` {}", wrong.message), ..wrong };
                self.problems.push(wrong.at(value.span()));
                Field::Wrong
            }
        }
    }

    /// Reads a value that takes a default, placed at the section's beginning, when absent.
    pub(super) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Read<T> {
        match self.optional(key, read) {
            Field::Absent => Some(Spanned::new(self.at.clone(), default)),
            Field::Wrong => None,
            Field::Is(value) => Some(value),
        }
    }

    /// Reads a value that must be there.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Read<T> {
        match self.optional(key, read) {
            Field::Absent => {
                self.missing.push(key);
                None
            }
            Field::Wrong => None,
            Field::Is(value) => Some(value),
        }
    }

    /// Reads a list, each item of which has its place; a wrong item is reported and left out.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Field<Vec<Spanned<T>>> {
        self.asked.push(key);
        let name = self.qualified(key);
        let Some(value) = self.table.get(key) else {
            return Field::Absent;
        };
        let Some(items) = value.get_ref().as_array() else {
            self.problems.push(mistyped("a list", value.get_ref()).under(&name).at(value.span()));
            return Field::Wrong;
        };
        let before = self.problems.len();
        let mut list = Vec::new();
        for item in items.iter() {
            match read(item.get_ref()) {
                Ok(read) => list.push(Spanned::new(item.span(), read)),
                Err(wrong) => self.problems.push(wrong.under(&name).at(item.span())),
            }
        }
        if self.problems.len() > before { Field::Wrong } else { Field::Is(Spanned::new(value.span(), list)) }
    }

    /// Reads a list that must be there.
    pub(super) fn required_list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Read<Vec<Spanned<T>>> {
        match self.list(key, read) {
            Field::Absent => {
                self.missing.push(key);
                None
            }
            Field::Wrong => None,
            Field::Is(list) => Some(list),
        }
    }

    /// Looks at a value without reading it.
    pub(super) fn peek(&self, key: &str) -> Option<&DeValue<'t>> {
        self.table.get(key).map(Spanned::get_ref)
    }

    /// Reports something about the section as a whole.
    pub(super) fn refuse(&mut self, message: &str) {
        self.problems.push(Wrong::new(message).under(self.name).at(self.at.clone()));
    }

    /// Reads a table inside; when absent, an empty one in this section's place.
    pub(super) fn section<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let (at, empty) = (self.at.clone(), DeTable::new());
        match self.inner(key) {
            Some((at, table)) => self.read_inner(key, at, table, read),
            None => self.read_inner(key, at, &empty, read),
        }
    }

    /// Reads a table inside, if there is one.
    pub(super) fn optional_section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> Option<Spanned<T>> {
        let (at, table) = self.inner(key)?;
        Some(Spanned::new(at.clone(), self.read_inner(key, at, table, read)))
    }

    /// Reads a list of tables (`[[key]]`); an absent one is empty.
    pub(super) fn sections<T>(&mut self, key: &'static str, read: impl Fn(&mut Section<'_>) -> T) -> Vec<Spanned<T>> {
        self.asked.push(key);
        let Some(value) = self.table.get(key) else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            let wrong = mistyped("a list of tables", value.get_ref()).help(format!("Each begins with `[[{key}]]`."));
            self.problems.push(wrong.under(key).at(value.span()));
            return Vec::new();
        };
        let mut list = Vec::new();
        for item in items.iter() {
            match item.get_ref().as_table() {
                Some(table) => list.push(Spanned::new(item.span(), self.read_inner(key, item.span(), table, &read))),
                None => self.problems.push(mistyped("a table", item.get_ref()).under(key).at(item.span())),
            }
        }
        list
    }

    /// Reports what is missing, and every key that nobody asked for.
    pub(super) fn finish(self) {
        let Self { table, at, name, asked, mut missing, problems } = self;
        for key in table.keys() {
            let text: &str = key.get_ref();
            if asked.contains(&text) {
                continue;
            }
            let place = if name.is_empty() { String::new() } else { format!(" in `{name}`") };
            let mut problem = Problem::new(key.span(), format!("unknown key `{}`{place}", shown(text)));
            let free: Vec<_> = asked.iter().copied().filter(|key| !table.contains_key(*key)).collect();
            if let Some(meant) = nearest(text, &free) {
                missing.retain(|key| *key != meant);
                problem = problem.label(format!("did you mean `{meant}`?"));
            }
            problems.push(problem.help(format!("Known keys: {}.", asked.join(", "))));
        }
        for key in missing {
            let name = if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
            problems.push(Problem::new(at.clone(), format!("`{name}` is missing")));
        }
    }

    fn inner(&mut self, key: &'static str) -> Option<(Range<usize>, &'t DeTable<'t>)> {
        self.asked.push(key);
        let value = self.table.get(key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            let wrong = mistyped("a table", value.get_ref()).help(format!("It begins with `[{key}]`."));
            self.problems.push(wrong.under(key).at(value.span()));
        }
        Some((value.span(), table?))
    }

    fn read_inner<T>(
        &mut self,
        name: &'static str,
        at: Range<usize>,
        table: &DeTable<'_>,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let mut section = Section::new(table, at, name, self.problems);
        let read = read(&mut section);
        section.finish();
        read
    }

    fn qualified(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

impl Wrong {
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn under(mut self, name: &str) -> Self {
        self.message = format!("`{name}` {}", self.message);
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
fn nearest(text: &str, words: &[&'static str]) -> Option<&'static str> {
    // A word far longer than any of ours is no near miss, and is not worth comparing.
    let short = Some(text).filter(|text| text.len() <= 64)?;
    let scored = words.iter().map(|word| (strsim::jaro_winkler(short, word), *word));
    scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, word)| word)
}

/// A text of the file as a message shows it: escaped, and cut.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(40).flat_map(char::escape_debug).collect();
    if text.chars().nth(40).is_some() {
        shown.push('…');
    }
    shown
}
