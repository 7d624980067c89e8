//! Reads typed values out of a TOML table, and remembers what is wrong with it instead of stopping.
//!
//! A [`Section`] knows every key that was asked for, so that what remains is unknown.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{PROBLEMS_MAX, Problem};
use super::value::{Wrong, mistyped, nearest, shown};

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

/// A table that is being read.
pub(super) struct Section<'t> {
    table: &'t DeTable<'t>,
    /// Where it begins: what is missing is missing here.
    pub(super) at: Range<usize>,
    /// Its name, empty for the whole file.
    name: String,
    asked: Vec<&'static str>,
    missing: Vec<&'static str>,
    problems: &'t mut Vec<Problem>,
}

impl<'t> Section<'t> {
    pub(super) fn new(table: &'t DeTable<'t>, at: Range<usize>, name: String, problems: &'t mut Vec<Problem>) -> Self {
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
                self.problems.push(wrong.under(&name).at(value.span()));
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
        let wrong = match self.name.as_str() {
            "" => Wrong::new(format!("the file {message}")),
            name => Wrong::new(message).under(name),
        };
        self.problems.push(wrong.at(self.at.clone()));
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
            self.problems.push(wrong.under(&self.qualified(key)).at(value.span()));
            return Vec::new();
        };
        let mut list = Vec::new();
        for item in items.iter() {
            match item.get_ref().as_table() {
                Some(table) => list.push(Spanned::new(item.span(), self.read_inner(key, item.span(), table, &read))),
                None => {
                    self.problems.push(mistyped("a table", item.get_ref()).under(&self.qualified(key)).at(item.span()))
                }
            }
        }
        list
    }

    /// Reads the tables of a table (`[key.NAME]`), each with its name; an absent one has none.
    pub(super) fn named_sections<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str, &mut Section<'_>) -> T,
    ) -> Vec<(String, Spanned<T>)> {
        let Some((_, table)) = self.inner(key) else {
            return Vec::new();
        };
        let mut list = Vec::new();
        for (name, value) in table {
            let name = &**name.get_ref();
            let full = format!("{key}.{}", shown(name));
            match value.get_ref().as_table() {
                Some(table) => {
                    let of_name = |section: &mut Section<'_>| read(name, section);
                    let read = self.read_inner(&full, value.span(), table, of_name);
                    list.push((name.to_owned(), Spanned::new(value.span(), read)));
                }
                None => {
                    let wrong = mistyped("a table", value.get_ref()).help(format!("It begins with `[{full}]`."));
                    self.problems.push(wrong.under(&self.qualified(&full)).at(value.span()));
                }
            }
        }
        list
    }

    /// Reports what is missing, and every key that nobody asked for.
    pub(super) fn finish(mut self) {
        for key in self.table.keys() {
            let text: &str = key.get_ref();
            if self.asked.contains(&text) {
                continue;
            }
            let place = if self.name.is_empty() { String::new() } else { format!(" in `{}`", self.name) };
            let problem = Problem::new(key.span(), format!("unknown key `{}`{place}", shown(text)));
            let free = self.asked.iter().copied().filter(|key| !self.table.contains_key(*key));
            // Of more mistakes than are listed, most are not worth the comparison.
            let few = self.problems.len() < PROBLEMS_MAX;
            let meant = few.then(|| nearest(text, &free.collect::<Vec<_>>())).flatten();
            let problem = match meant {
                Some(meant) => {
                    self.missing.retain(|key| *key != meant);
                    problem.label(format!("did you mean `{meant}`?"))
                }
                None => problem.doubtful(),
            };
            self.problems.push(problem.help(format!("Known keys: {}.", self.asked.join(", "))));
        }
        for key in &self.missing {
            let message = format!("`{}` is missing", self.qualified(key));
            self.problems.push(Problem::new(self.at.clone(), message).doubtful());
        }
    }

    fn inner(&mut self, key: &'static str) -> Option<(Range<usize>, &'t DeTable<'t>)> {
        self.asked.push(key);
        let value = self.table.get(key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            let wrong = mistyped("a table", value.get_ref()).help(format!("It begins with `[{key}]`."));
            self.problems.push(wrong.under(&self.qualified(key)).at(value.span()));
        }
        Some((value.span(), table?))
    }

    fn read_inner<T>(
        &mut self,
        key: &str,
        at: Range<usize>,
        table: &DeTable<'_>,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let name = self.qualified(key);
        let mut section = Section::new(table, at, name, self.problems);
        let read = read(&mut section);
        section.finish();
        read
    }

    fn qualified(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}
